//! Runs a transaction in revm against the chain's current state before anyone pays for it.
//!
//! [`Preflighted`] has no public constructor, so nothing that has not run here can reach the relay. A revert is decoded
//! and named. OpenZeppelin's forwarder drops the inner revert data, so a forwarded call is run as the forwarder would
//! make it, with the signer's address appended (ERC-2771); those of one batch run one after the other on one state.

mod hot;
mod state;

use alloy::{
    eips::BlockNumberOrTag,
    primitives::{Address, Bytes, U256},
    providers::{DynProvider, Provider},
    rpc::types::Header,
};
use contracts::errors::describe_revert;
use revm::{
    Context, ExecuteCommitEvm, ExecuteEvm, MainBuilder, MainContext,
    context::TxEnv,
    context_interface::result::ExecutionResult,
    database::CacheDB,
    primitives::{TxKind, hardfork::SpecId},
};
use tokio::runtime::Handle;

use self::state::{Cache, Forked};

/// Gas offered to a simulation; below the cap of a single transaction (EIP-7825).
const SIMULATION_GAS: u64 = 12_000_000;
/// Added to what a simulation used, for what changes until the transaction is mined: colder slots, more dead bids.
const GAS_MARGIN: u64 = 400_000;
/// Most gas of one transaction (EIP-7825).
pub const MAX_TRANSACTION_GAS: u64 = 16_777_216;

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
    changes: bool,
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

    /// Whether it changed anything of the contract called.
    pub fn changes(&self) -> bool {
        self.changes
    }

    /// A call that makes `inner` calls, each of which ran here, and needs `overhead_gas` besides them.
    pub fn wrapping(call: ContractCall, inner: &[Ran], overhead_gas: u64) -> Self {
        let gas_limit = Self::wrapping_gas(inner, overhead_gas).min(MAX_TRANSACTION_GAS);
        let changes = inner.iter().any(|ran| ran.changes);
        Self { call, gas_limit, changes }
    }

    /// Gas that [`Self::wrapping`] would offer, were there no bound.
    pub fn wrapping_gas<'a>(inner: impl IntoIterator<Item = &'a Ran>, overhead_gas: u64) -> u64 {
        let used: u64 = inner.into_iter().map(|ran| ran.gas_used + ran.gas_used / 4).sum();
        used + overhead_gas + GAS_MARGIN
    }
}

/// An inner call that succeeded here.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    gas_used: u64,
    changes: bool,
}

impl Ran {
    /// Gas that it used as a transaction of its own, which is more than as a call.
    pub fn gas_used(&self) -> u64 {
        self.gas_used
    }
}

/// Why a call may not be sent.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PreflightError {
    /// It would fail on chain.
    #[error("it would fail on chain: {0}")]
    Reverted(String),
    /// The chain could not be read.
    #[error("the chain's state could not be read: {0}")]
    Unavailable(String),
}

/// Runs calls against the newest block. Clones share what they have read.
#[derive(Clone, Debug)]
pub struct Preflight {
    provider: DynProvider,
    chain_id: u64,
    cache: Cache,
}

impl Preflight {
    /// Reads state through `provider`.
    pub fn new(provider: DynProvider, chain_id: u64) -> Self {
        Self { provider, chain_id, cache: Cache::default() }
    }

    /// Runs `call`; success gives the only thing the relay sends.
    ///
    /// # Errors
    /// [`PreflightError::Reverted`] with the decoded reason.
    pub async fn check(&self, call: ContractCall) -> Result<Preflighted, PreflightError> {
        self.check_after(Vec::new(), call).await
    }

    /// As [`Self::check`], on the state that `before` leaves: calls that are on their way and will be mined first. What became of
    /// them by now is no matter; one that fails here changes nothing.
    ///
    /// # Errors
    /// [`PreflightError::Reverted`] with the decoded reason.
    pub async fn check_after(
        &self,
        before: Vec<ContractCall>,
        call: ContractCall,
    ) -> Result<Preflighted, PreflightError> {
        let Ran { gas_used: used, changes } = self.run_last(before.into_iter().chain([call.clone()]).collect()).await?;
        Ok(Preflighted { call, gas_limit: used + used / 4 + GAS_MARGIN, changes })
    }

    /// Gas that `call` uses when it succeeds.
    ///
    /// # Errors
    /// [`PreflightError::Reverted`] with the decoded reason.
    pub async fn gas_used(&self, call: ContractCall) -> Result<u64, PreflightError> {
        self.run_last(vec![call]).await.map(|ran| ran.gas_used)
    }

    async fn run_last(&self, calls: Vec<ContractCall>) -> Result<Ran, PreflightError> {
        let ran = self.run(calls).await?.pop();
        ran.unwrap_or_else(|| Err(PreflightError::Unavailable("nothing ran".into())))
    }

    /// Runs `calls` one after the other, each on the state that those before it left; one that reverts changes nothing.
    /// Gives an answer for each.
    ///
    /// # Errors
    /// [`PreflightError::Unavailable`] when the chain cannot be read.
    pub async fn run(&self, calls: Vec<ContractCall>) -> Result<Vec<Result<Ran, PreflightError>>, PreflightError> {
        let header = self.newest().await?;
        let fork = Forked {
            provider: self.provider.clone(),
            cache: self.cache.clone(),
            block: header.hash,
            runtime: Handle::current(),
        };
        let chain_id = self.chain_id;
        // The machine asks for state as it goes and waits for the answer: that must not hold up the runtime's threads.
        tokio::task::spawn_blocking(move || execute(fork, chain_id, &header, calls))
            .await
            .map_err(|error| unavailable(&error))?
    }

    /// Reads what lately was needed as of the newest block, so that the next run finds it.
    ///
    /// # Errors
    /// [`PreflightError::Unavailable`] when the chain cannot be read.
    pub async fn warm(&self) -> Result<(), PreflightError> {
        self.newest().await.map(drop)
    }

    async fn newest(&self) -> Result<Header, PreflightError> {
        let block = self.provider.get_block_by_number(BlockNumberOrTag::Latest).await;
        let header = block
            .map_err(|error| unavailable(&error))?
            .ok_or_else(|| PreflightError::Unavailable("the endpoint has no newest block".into()))?
            .header;
        self.cache.enter(&self.provider, header.hash).await.map_err(|error| unavailable(&error))?;
        Ok(header)
    }
}

fn unavailable(error: &dyn std::fmt::Display) -> PreflightError {
    PreflightError::Unavailable(error.to_string())
}

/// Executes on a blocking thread.
fn execute(
    fork: Forked,
    chain_id: u64,
    header: &Header,
    calls: Vec<ContractCall>,
) -> Result<Vec<Result<Ran, PreflightError>>, PreflightError> {
    let mut evm = Context::mainnet()
        .with_db(CacheDB::new(fork))
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
    let mut answers = Vec::with_capacity(calls.len());
    for call in calls {
        let tx = TxEnv::builder()
            .caller(call.from)
            .kind(TxKind::Call(call.to))
            .data(call.data)
            .gas_limit(SIMULATION_GAS)
            .gas_price(0)
            .chain_id(Some(chain_id))
            .build()
            .map_err(|error| PreflightError::Unavailable(format!("{error:?}")))?;
        let ran = evm.transact(tx).map_err(|error| unavailable(&error))?;
        let changes = ran.state.get(&call.to).is_some_and(|account| account.changed_storage_slots().next().is_some());
        evm.commit(ran.state);
        let result = ran.result;
        let used = result.tx_gas_used();
        answers.push(match result {
            ExecutionResult::Success { .. } => Ok(Ran { gas_used: used, changes }),
            ExecutionResult::Revert { output, .. } => Err(PreflightError::Reverted(describe_revert(&output))),
            ExecutionResult::Halt { reason, .. } => Err(PreflightError::Reverted(format!("halted: {reason:?}"))),
        });
    }
    Ok(answers)
}
