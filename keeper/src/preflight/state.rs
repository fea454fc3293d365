//! The chain's state as of one block, read through the RPC when the machine asks for it, and kept while the block is the
//! newest.
//!
//! Code is kept across blocks: a contract's never changes. What runs need again and again is read at once, in one request,
//! when a new block comes, so that a run finds it warm.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use alloy::{
    eips::BlockId,
    primitives::{Address, B256, Bytes, U256},
    providers::{DynProvider, Provider},
    rpc::client::BatchRequest,
    transports::TransportError,
};
use revm::{
    bytecode::Bytecode,
    database_interface::{DBErrorMarker, DatabaseRef},
    state::AccountInfo,
};
use tokio::runtime::Handle;

use super::hot::{Hot, Place};

/// Contracts whose code is kept.
const CODES: usize = 256;

/// The chain could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateError {
    #[error("{0}")]
    Transport(#[from] TransportError),
    #[error("the endpoint does not have block {0}")]
    NoBlock(u64),
    #[error("code {0} was not read with its account")]
    NoCode(B256),
}

impl DBErrorMarker for StateError {}

#[derive(Debug, Default)]
struct Known {
    block: B256,
    accounts: HashMap<Address, AccountInfo>,
    slots: HashMap<(Address, U256), U256>,
    codes: HashMap<Address, Bytecode>,
    hot: Hot,
}

/// State shared by the runs of one relay.
#[derive(Clone, Debug, Default)]
pub(super) struct Cache(Arc<Mutex<Known>>);

impl Cache {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Whatever a panicking run left is whole entries.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `block` the one that the state is of, and reads again what lately was needed.
    pub(super) async fn enter(&self, provider: &DynProvider, block: B256) -> Result<(), StateError> {
        let places: Vec<Place> = {
            let mut known = self.known();
            if known.block == block {
                return Ok(());
            }
            known.accounts.clear();
            known.slots.clear();
            known.block = block;
            known.hot.enter()
        };
        if places.is_empty() {
            return Ok(());
        }
        let at = BlockId::hash(block);
        let mut batch = BatchRequest::new(provider.client());
        let mut slots = Vec::new();
        let mut accounts = Vec::new();
        for place in places {
            match place {
                Place::Slot(address, slot) => {
                    slots.push((address, slot, batch.add_call::<_, U256>("eth_getStorageAt", &(address, slot, at))?));
                }
                Place::Account(address) => {
                    let code = self.known().codes.get(&address).cloned();
                    let balance = batch.add_call::<_, U256>("eth_getBalance", &(address, at))?;
                    let nonce = batch.add_call::<_, U256>("eth_getTransactionCount", &(address, at))?;
                    let unknown = match code {
                        Some(_) => None,
                        None => Some(batch.add_call::<_, Bytes>("eth_getCode", &(address, at))?),
                    };
                    accounts.push((address, balance, nonce, code, unknown));
                }
            }
        }
        batch.send().await?;
        let mut read_slots = Vec::with_capacity(slots.len());
        for (address, slot, answer) in slots {
            read_slots.push(((address, slot), answer.await?));
        }
        let mut read_accounts = Vec::with_capacity(accounts.len());
        for (address, balance, nonce, code, unknown) in accounts {
            let code = match (code, unknown) {
                (Some(code), _) => code,
                (None, Some(answer)) => Bytecode::new_raw(answer.await?),
                (None, None) => Bytecode::default(),
            };
            read_accounts.push((address, account(balance.await?, nonce.await?, code)));
        }
        let mut known = self.known();
        // Another block may have become the newest meanwhile.
        if known.block == block {
            known.slots.extend(read_slots);
            known.accounts.extend(read_accounts);
        }
        Ok(())
    }
}

fn account(balance: U256, nonce: U256, code: Bytecode) -> AccountInfo {
    AccountInfo::new(balance, nonce.saturating_to(), code.hash_slow(), code)
}

/// State of one block as the machine reads it; only on threads that may block.
#[derive(Debug)]
pub(super) struct Forked {
    pub(super) provider: DynProvider,
    pub(super) cache: Cache,
    pub(super) block: B256,
    pub(super) runtime: Handle,
}

impl Forked {
    fn at(&self) -> BlockId {
        BlockId::hash(self.block)
    }
}

impl DatabaseRef for Forked {
    type Error = StateError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, StateError> {
        let code = {
            let mut known = self.cache.known();
            known.hot.used(Place::Account(address));
            if known.block == self.block
                && let Some(found) = known.accounts.get(&address)
            {
                return Ok(Some(found.clone()));
            }
            known.codes.get(&address).cloned()
        };
        let (balance, nonce, code) = self.runtime.block_on(async {
            let read_code = async {
                match code {
                    Some(code) => Ok(code),
                    None => self.provider.get_code_at(address).block_id(self.at()).await.map(Bytecode::new_raw),
                }
            };
            tokio::try_join!(
                async { self.provider.get_balance(address).block_id(self.at()).await },
                async { self.provider.get_transaction_count(address).block_id(self.at()).await },
                read_code,
            )
        })?;
        let info = account(balance, U256::from(nonce), code.clone());
        let mut known = self.cache.known();
        // An account without code may get some; a delegation may change.
        if !code.is_empty() && !code.is_eip7702() && (known.codes.len() < CODES || known.codes.contains_key(&address)) {
            known.codes.insert(address, code);
        }
        if known.block == self.block {
            known.accounts.insert(address, info.clone());
        }
        Ok(Some(info))
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, StateError> {
        // Accounts come with their code.
        Err(StateError::NoCode(code_hash))
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        {
            let mut known = self.cache.known();
            known.hot.used(Place::Slot(address, slot));
            if known.block == self.block
                && let Some(found) = known.slots.get(&(address, slot))
            {
                return Ok(*found);
            }
        }
        let value =
            self.runtime.block_on(async { self.provider.get_storage_at(address, slot).block_id(self.at()).await })?;
        let mut known = self.cache.known();
        if known.block == self.block {
            known.slots.insert((address, slot), value);
        }
        Ok(value)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, StateError> {
        let block = self.runtime.block_on(async { self.provider.get_block_by_number(number.into()).await })?;
        block.map(|block| block.header.hash).ok_or(StateError::NoBlock(number))
    }
}
