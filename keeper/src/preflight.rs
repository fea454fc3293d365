//! Runs a transaction in revm against the chain's current state before anyone pays for it.
//!
//! [`Preflighted`] has no public constructor, so nothing that has not run here can reach the relay. A revert is decoded
//! and named. OpenZeppelin's forwarder drops the inner revert data, so a forwarded call is also run as the forwarder
//! would make it, with the signer's address appended (ERC-2771).

use alloy::{
    eips::{BlockId, BlockNumberOrTag},
    primitives::{Address, Bytes, U256},
    providers::{DynProvider, Provider},
};
use contracts::errors::describe_revert;
use revm::{
    Context, ExecuteEvm, MainBuilder, MainContext,
    context::TxEnv,
    context_interface::result::ExecutionResult,
    database::{AlloyDB, CacheDB},
    database_interface::WrapDatabaseAsync,
    primitives::{TxKind, hardfork::SpecId},
};

/// Gas offered to a simulation; below the cap of a single transaction (EIP-7825).
const SIMULATION_GAS: u64 = 12_000_000;
/// Added to what a simulation used, for what changes until the transaction is mined: colder slots, more dead bids.
const GAS_MARGIN: u64 = 400_000;

/// A call to one contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContractCall {
    /// Caller.
    pub from: Address,
    /// Contract.
    pub to: Address,
    /// Calldata.
    pub data: Bytes,
}

/// A call that succeeded against the state of a recent block.
#[derive(Clone, Debug)]
pub struct Preflighted {
    call: ContractCall,
    gas_limit: u64,
}

impl Preflighted {
    /// The call.
    pub fn call(&self) -> &ContractCall {
        &self.call
    }

    /// Gas to offer.
    pub fn gas_limit(&self) -> u64 {
        self.gas_limit
    }
}

/// Why a call may not be sent.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// It would fail on chain.
    #[error("it would fail on chain: {0}")]
    Reverted(String),
    /// The chain could not be read.
    #[error("the chain's state could not be read: {0}")]
    Unavailable(String),
}

/// Runs calls against the newest block.
#[derive(Clone, Debug)]
pub struct Preflight {
    provider: DynProvider,
    chain_id: u64,
}

impl Preflight {
    /// Reads state through `provider`.
    pub fn new(provider: DynProvider, chain_id: u64) -> Self {
        Self { provider, chain_id }
    }

    /// Runs `call`; success gives the only thing the relay sends.
    ///
    /// # Errors
    /// [`PreflightError::Reverted`] with the decoded reason.
    pub async fn check(&self, call: ContractCall) -> Result<Preflighted, PreflightError> {
        let used = self.gas_used(call.clone()).await?;
        Ok(Preflighted { call, gas_limit: used + used / 4 + GAS_MARGIN })
    }

    /// Gas that `call` uses when it succeeds.
    ///
    /// # Errors
    /// [`PreflightError::Reverted`] with the decoded reason.
    pub async fn gas_used(&self, call: ContractCall) -> Result<u64, PreflightError> {
        let unavailable = |error: &dyn std::fmt::Display| PreflightError::Unavailable(error.to_string());
        let block = self
            .provider
            .get_block_by_number(BlockNumberOrTag::Latest)
            .await
            .map_err(|error| unavailable(&error))?
            .ok_or_else(|| PreflightError::Unavailable("the endpoint has no newest block".into()))?;
        let (provider, chain_id) = (self.provider.clone(), self.chain_id);
        let header = block.header;
        let run = move || execute(provider, chain_id, &header, call);
        tokio::task::spawn_blocking(run).await.map_err(|error| unavailable(&error))?
    }
}

/// Executes on a blocking thread: revm reads missing state through the provider as it goes.
fn execute(
    provider: DynProvider,
    chain_id: u64,
    header: &alloy::rpc::types::Header,
    call: ContractCall,
) -> Result<u64, PreflightError> {
    let remote = AlloyDB::new(provider, BlockId::hash(header.hash));
    let Some(state) = WrapDatabaseAsync::new(remote) else {
        return Err(PreflightError::Unavailable("the keeper needs a multi-threaded runtime".into()));
    };
    let mut evm = Context::mainnet()
        .with_db(CacheDB::new(state))
        .modify_cfg_chained(|cfg| {
            cfg.chain_id = chain_id;
            cfg.set_spec_and_mainnet_gas_params(SpecId::OSAKA);
            cfg.disable_nonce_check = true;
            // Gas is priced at zero here; whether the sender can pay for it is the node's answer when it is sent.
            cfg.disable_base_fee = true;
            cfg.disable_eip3607 = true;
        })
        .modify_block_chained(|block| {
            block.number = U256::from(header.number + 1);
            block.timestamp = U256::from(header.timestamp + 1);
            block.gas_limit = header.gas_limit.max(SIMULATION_GAS);
            block.beneficiary = header.beneficiary;
        })
        .build_mainnet();
    let tx = TxEnv::builder()
        .caller(call.from)
        .kind(TxKind::Call(call.to))
        .data(call.data)
        .gas_limit(SIMULATION_GAS)
        .gas_price(0)
        .chain_id(Some(chain_id))
        .build()
        .map_err(|error| PreflightError::Unavailable(format!("{error:?}")))?;
    let result = evm.transact(tx).map_err(|error| PreflightError::Unavailable(error.to_string()))?.result;
    let used = result.tx_gas_used();
    match result {
        ExecutionResult::Success { .. } => Ok(used),
        ExecutionResult::Revert { output, .. } => Err(PreflightError::Reverted(describe_revert(&output))),
        ExecutionResult::Halt { reason, .. } => Err(PreflightError::Reverted(format!("halted: {reason:?}"))),
    }
}
