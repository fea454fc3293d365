//! The real bytecode in revm: one account calls, the clock is set by hand.

use alloy::{
    primitives::{Address, Bytes, U256},
    sol_types::SolCall,
};
use revm::{
    Context, ExecuteCommitEvm, ExecuteEvm, MainBuilder, MainContext,
    context::TxEnv,
    context_interface::result::{ExecutionResult, Output},
    database::InMemoryDB,
    handler::{MainnetContext, MainnetEvm},
    primitives::TxKind,
};

pub(super) const CHAIN_ID: u64 = 31_337;
const GAS: u64 = 16_000_000;

/// What a call returned, or its revert data.
pub(super) type Outcome = Result<Bytes, Bytes>;

pub(super) struct Chain {
    evm: MainnetEvm<MainnetContext<InMemoryDB>>,
}

impl Chain {
    pub(super) fn new(state: InMemoryDB) -> Self {
        let evm = Context::mainnet()
            .with_db(state)
            .modify_cfg_chained(|cfg| {
                cfg.chain_id = CHAIN_ID;
                cfg.disable_nonce_check = true;
                cfg.disable_eip3607 = true;
            })
            .modify_block_chained(|block| block.gas_limit = GAS)
            .build_mainnet();
        Self { evm }
    }

    /// A copy of all state.
    pub(super) fn state(&self) -> InMemoryDB {
        self.evm.ctx.journaled_state.database.clone()
    }

    pub(super) fn warp(&mut self, now_s: u64) {
        self.evm.ctx.block.timestamp = U256::from(now_s);
    }

    pub(super) fn create(&mut self, from: Address, code: Vec<u8>) -> Address {
        match self.evm.transact_commit(transaction(from, TxKind::Create, code.into())).unwrap() {
            ExecutionResult::Success { output: Output::Create(_, Some(address)), .. } => address,
            other => panic!("no contract was created: {other:?}"),
        }
    }

    pub(super) fn send(&mut self, from: Address, to: Address, data: Bytes) -> Outcome {
        let result = self.evm.transact_commit(transaction(from, TxKind::Call(to), data)).unwrap();
        outcome(result)
    }

    /// A view; nothing is kept.
    pub(super) fn view<C: SolCall>(&mut self, to: Address, call: &C) -> C::Return {
        let tx = transaction(Address::ZERO, TxKind::Call(to), call.abi_encode().into());
        let result = self.evm.transact(tx).unwrap().result;
        let data = outcome(result).unwrap_or_else(|data| panic!("{} reverted with {data}", C::SIGNATURE));
        C::abi_decode_returns(&data).unwrap()
    }
}

fn transaction(from: Address, kind: TxKind, data: Bytes) -> TxEnv {
    let tx = TxEnv::builder().caller(from).kind(kind).data(data).gas_limit(GAS).gas_price(0);
    tx.chain_id(Some(CHAIN_ID)).build().unwrap()
}

fn outcome(result: ExecutionResult) -> Outcome {
    match result {
        ExecutionResult::Success { output, .. } => Ok(output.into_data()),
        ExecutionResult::Revert { output, .. } => Err(output),
        halted @ ExecutionResult::Halt { .. } => panic!("{halted:?}"),
    }
}
