//! Deploys a market of one's own: for demos, tests and new chains.

use alloy::{
    network::TransactionBuilder,
    primitives::{Address, B256, Bytes, U256},
    providers::Provider,
    rpc::types::TransactionRequest,
    sol_types::{SolCall, SolValue},
};
use serde::{Deserialize, Serialize};

use crate::{
    artifacts::{self, ArtifactError},
    bindings::{IAIPowerRental as Market, Template},
    classes::HardwareClass,
    params::{FEE_BPS, Preset},
    price::base_from_reference,
    typed_data::FORWARDER_NAME,
};

/// Id of the spec template that fits the reference worker.
pub const REFERENCE_TEMPLATE: u16 = 1;

/// Who holds which power over a new market.
#[derive(Clone, Copy, Debug)]
pub struct Roles {
    /// Sends the transactions and owns the settings.
    pub admin: Address,
    /// Receives fees.
    pub treasury: Address,
    /// Rules on disputes.
    pub arbiter: Address,
    /// May stop entries.
    pub pauser: Address,
}

/// Where a market is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// EIP-155 id.
    pub chain_id: u64,
    /// Clocks.
    pub preset: Preset,
    /// AIT.
    pub token: Address,
    /// ERC2771Forwarder.
    pub forwarder: Address,
    /// AIPowerRental.
    pub market: Address,
    /// AgentWalletFactory.
    pub factory: Address,
    /// First block to index.
    pub start_block: u64,
}

/// The deployment stopped; what was deployed before stays and costs nothing further.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The endpoint failed.
    #[error("deploying {step}: {error}")]
    Transport {
        /// Which transaction.
        step: &'static str,
        /// Why.
        error: String,
    },
    /// A transaction reverted.
    #[error("deploying {0}: the transaction {1} reverted")]
    Reverted(&'static str, B256),
    /// No usable bytecode.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
}

/// Deploys token (unless given), forwarder, market and factory, and registers the hardware classes and the reference
/// template. `provider` must sign for `roles.admin`.
///
/// # Errors
/// [`DeployError`] names the step.
pub async fn deploy(
    provider: &impl Provider,
    preset: Preset,
    roles: Roles,
    token: Option<Address>,
) -> Result<Deployment, DeployError> {
    let failed = |step| {
        move |error: alloy::transports::TransportError| DeployError::Transport { step, error: error.to_string() }
    };
    let chain_id = provider.get_chain_id().await.map_err(failed("chain id"))?;
    let start_block = provider.get_block_number().await.map_err(failed("block number"))?;
    let token = match token {
        Some(token) => token,
        None => create(provider, roles.admin, "AITToken", Vec::new()).await?,
    };
    let forwarder = create(provider, roles.admin, "ERC2771Forwarder", (FORWARDER_NAME,).abi_encode_params()).await?;
    // The market and the factory know each other for good: the factory's address follows from the next nonce but one.
    let nonce = provider.get_transaction_count(roles.admin).await.map_err(failed("nonce"))?;
    let factory = roles.admin.create(nonce + 1);
    let arguments =
        (token, factory, roles.admin, roles.treasury, roles.arbiter, roles.pauser, FEE_BPS, preset.params().timing());
    let market = create(provider, roles.admin, "AIPowerRental", arguments.abi_encode_params()).await?;
    let created = create(provider, roles.admin, "AgentWalletFactory", (market, forwarder).abi_encode_params()).await?;
    if created != factory {
        let error = format!("the factory is at {created}, not at {factory}: the account sent something else meanwhile");
        return Err(DeployError::Transport { step: "AgentWalletFactory", error });
    }
    for class in HardwareClass::ALL {
        let base = base_from_reference(class.reference_per_hour()).unwrap_or_default();
        let call = Market::addClassCall { cls: class.number(), basePrice: base };
        send(provider, roles.admin, "addClass", market, call.abi_encode()).await?;
    }
    let call = Market::addTemplateCall {
        templateId: REFERENCE_TEMPLATE,
        classMask: HardwareClass::ALL.iter().fold(0, |mask, class| mask | 1 << class.number()),
        template: Template { memoryMiB: 4_096, diskMiB: 4_096, pids: 256, network: false, imageDigest: B256::ZERO },
    };
    send(provider, roles.admin, "addTemplate", market, call.abi_encode()).await?;
    Ok(Deployment { chain_id, preset, token, forwarder, market, factory, start_block })
}

async fn create(
    provider: &impl Provider,
    from: Address,
    name: &'static str,
    arguments: Vec<u8>,
) -> Result<Address, DeployError> {
    let mut code = artifacts::creation_code(name)?.to_vec();
    code.extend(arguments);
    let request = TransactionRequest::default().with_from(from).with_deploy_code(Bytes::from(code));
    confirm(provider, name, request)
        .await?
        .ok_or_else(|| DeployError::Transport { step: name, error: "the receipt names no contract".into() })
}

async fn send(
    provider: &impl Provider,
    from: Address,
    step: &'static str,
    to: Address,
    data: Vec<u8>,
) -> Result<(), DeployError> {
    let request = TransactionRequest::default().with_from(from).with_to(to).with_input(data).with_value(U256::ZERO);
    confirm(provider, step, request).await.map(|_| ())
}

async fn confirm(
    provider: &impl Provider,
    step: &'static str,
    request: TransactionRequest,
) -> Result<Option<Address>, DeployError> {
    let failed = |error: &dyn std::fmt::Display| DeployError::Transport { step, error: error.to_string() };
    let pending = provider.send_transaction(request).await.map_err(|error| failed(&error))?;
    let receipt = pending
        .with_timeout(Some(std::time::Duration::from_secs(120)))
        .get_receipt()
        .await
        .map_err(|error| failed(&error))?;
    if !receipt.status() {
        return Err(DeployError::Reverted(step, receipt.transaction_hash));
    }
    Ok(receipt.contract_address)
}
