//! Sends transactions: one relay per account, one transaction at a time, so that a nonce has one owner.
//!
//! A signed transaction is stored before it is sent. A time-out means "unknown: read the chain"; the same bytes are sent
//! again, never others. After a restart, what was signed is carried to its end before anything new.

use std::time::Duration;

use alloy::{
    eips::{BlockId, Encodable2718},
    network::{EthereumWallet, NetworkTransactionBuilder, TransactionBuilder},
    primitives::{Address, B256, Bytes, U256, aliases::U48},
    providers::{DynProvider, Provider},
    rpc::types::{TransactionReceipt, TransactionRequest},
    signers::local::PrivateKeySigner,
    sol_types::{SolCall, SolEvent},
};
use contracts::{
    bindings::{ForwardRequest, IERC2771Forwarder as Forwarder},
    typed_data::sign_forward,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::calls::{Addresses, Prepared, prepare};
use crate::{
    clock::now_s,
    event::{Done, Event, Outcome},
    journal::{Journal, JournalError, Record, State},
    preflight::{ContractCall, Preflight, PreflightError, Preflighted},
};

/// A forwarded request is dead after this: requests cannot be cancelled, so they live shortly.
const FORWARD_LIFETIME_S: u64 = 90;
/// Least gas of a forwarded request. The forwarder only checks that a 63rd of it is left, five calls further out than where
/// it runs short: a request that asks for less could be made to fail, its nonce spent, by whoever sends it.
const FORWARD_GAS_FLOOR: u64 = 1_500_000;
/// The same bytes are sent again when the chain has not shown them for so long.
const RESEND_AFTER: Duration = Duration::from_secs(6);
/// Looks at a consumed nonce without a receipt before the transaction is called lost.
const LOST_AFTER_LOOKS: u32 = 8;
/// Looks at a nonce that lies ahead of the account's before the gap is filled.
const GAP_AFTER_LOOKS: u32 = 8;

/// Session key of an agent's wallet.
#[derive(Clone, Debug)]
pub struct Session {
    /// The wallet.
    pub wallet: Address,
    /// The key.
    pub key: PrivateKeySigner,
    /// ERC2771Forwarder.
    pub forwarder: Address,
}

/// Sends one account's transactions.
#[derive(Debug)]
pub struct Relay {
    /// Chain access.
    pub provider: DynProvider,
    /// EIP-155 id.
    pub chain_id: u64,
    /// The account.
    pub signer: PrivateKeySigner,
    /// For forwarded calls.
    pub session: Option<Session>,
    /// Contracts.
    pub addresses: Addresses,
    /// Memory.
    pub journal: Journal,
    /// Simulator.
    pub preflight: Preflight,
    /// Time between looks at the chain.
    pub poll: Duration,
}

/// Why a transaction had no effect, or is not known to have had one.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The keeper is stopping; the journal says where to go on.
    #[error("stopped")]
    Stopped,
}

impl Relay {
    /// Carries records until `stop`: first those that an earlier run left signed, then those from `inbox`.
    pub async fn run(self, mut inbox: mpsc::Receiver<Record>, out: mpsc::Sender<Event>, stop: CancellationToken) {
        let left: Vec<_> = match self.journal.records() {
            Ok(records) => records.into_iter().filter(|(_, record)| self.owns(&record.state)).collect(),
            Err(error) => {
                warn!(%error, "the relay cannot read the journal");
                return;
            }
        };
        for (_, record) in left {
            self.report(&record, &out, &stop).await;
        }
        loop {
            let record = tokio::select! {
                () = stop.cancelled() => return,
                record = inbox.recv() => record,
            };
            let Some(record) = record else { return };
            self.report(&record, &out, &stop).await;
        }
    }

    fn owns(&self, state: &State) -> bool {
        matches!(state, State::Signed { sender, .. } if *sender == self.signer.address())
    }

    async fn report(&self, record: &Record, out: &mpsc::Sender<Event>, stop: &CancellationToken) {
        let key = record.intent.key();
        let result = match self.carry(&key, record, stop).await {
            Ok(block) => Ok(Done::Mined { block }),
            Err(RelayError::Stopped) => return,
            Err(error) => {
                let text = error.to_string();
                let failed = self.journal.advance(&key, State::Failed { error: text.clone() }, now_s());
                if let Err(error) = failed {
                    warn!(%key, %error, "a failure could not be journalled");
                }
                Err(text)
            }
        };
        // The loop outlives the relay; if it is gone, the journal has the outcome.
        let _ = out.send(Event::Acted(Outcome { key, result })).await;
    }

    /// Signs and sends a planned record, or goes on with a signed one, until its fate is known.
    async fn carry(&self, key: &str, record: &Record, stop: &CancellationToken) -> Result<u64, RelayError> {
        let state = match &record.state {
            State::Signed { .. } => record.state.clone(),
            _ => self.sign(key, record, stop).await?,
        };
        let State::Signed { raw, hash, sender, nonce } = state else {
            return Err(RelayError::Refused(format!("{key} is already {}", state.name())));
        };
        let receipt = self.settle(key, &raw, hash, sender, nonce, stop).await?;
        let block = receipt.block_number.unwrap_or_default();
        let gas_wei = U256::from(receipt.gas_used) * U256::from(receipt.effective_gas_price);
        if !receipt.status() {
            return Err(RelayError::Refused(format!("transaction {hash} reverted in block {block}")));
        }
        let inner_failed = receipt.logs().iter().any(|log| {
            Forwarder::ExecutedForwardRequest::decode_log(&log.inner).is_ok_and(|executed| !executed.success)
        });
        if inner_failed {
            return Err(RelayError::Refused(format!("transaction {hash}: the wallet refused the forwarded call")));
        }
        self.journal.advance(key, State::Done { block, gas_wei }, now_s())?;
        info!(%key, tx = %hash, block, gas = receipt.gas_used, "mined");
        Ok(block)
    }

    async fn sign(&self, key: &str, record: &Record, stop: &CancellationToken) -> Result<State, RelayError> {
        let prepared = prepare(&record.intent, self.addresses)
            .map_err(RelayError::Refused)?
            .ok_or_else(|| RelayError::Refused(format!("{key} is no transaction")))?;
        let ready = self.read(stop, || self.ready(&prepared)).await?;
        let request = self.read(stop, || self.request(&ready)).await?;
        let nonce = request.nonce.unwrap_or_default();
        let wallet = EthereumWallet::from(self.signer.clone());
        let envelope = request.build(&wallet).await.map_err(|error| RelayError::Refused(error.to_string()))?;
        let state = State::Signed {
            raw: Bytes::from(envelope.encoded_2718()),
            hash: *envelope.tx_hash(),
            sender: self.signer.address(),
            nonce,
        };
        self.journal.advance(key, state.clone(), now_s())?;
        Ok(state)
    }

    /// Repeats a read while the chain cannot be reached: nothing was signed yet, so nothing can be lost.
    async fn read<T, F>(&self, stop: &CancellationToken, attempt: impl Fn() -> F) -> Result<T, RelayError>
    where
        F: Future<Output = Result<T, RelayError>>,
    {
        let mut pause = self.poll;
        loop {
            match attempt().await {
                Err(RelayError::Preflight(PreflightError::Unavailable(error))) => {
                    warn!(%error, retry_in_ms = pause.as_millis() as u64, "the chain cannot be read; trying again");
                    self.sleep(pause, stop).await?;
                    pause = (pause * 2).min(Duration::from_secs(10));
                }
                other => return other,
            }
        }
    }

    /// Preflights the outermost call.
    async fn ready(&self, prepared: &Prepared) -> Result<Preflighted, RelayError> {
        let from = self.signer.address();
        match prepared {
            Prepared::Direct { to, data } => {
                Ok(self.preflight.check(ContractCall { from, to: *to, data: data.clone() }).await?)
            }
            Prepared::Forwarded { data } => {
                let session = self.session.as_ref().ok_or_else(|| {
                    RelayError::Refused("this keeper has no session key; add an [agent] table".into())
                })?;
                let (to, data) = self.forward(session, data).await?;
                Ok(self.preflight.check(ContractCall { from, to, data }).await?)
            }
        }
    }

    /// Runs the wallet's call as the forwarder will make it, then signs the request for it.
    async fn forward(&self, session: &Session, data: &Bytes) -> Result<(Address, Bytes), RelayError> {
        let key = session.key.address();
        let as_forwarded = Bytes::from([data.as_ref(), key.as_slice()].concat());
        let inner = ContractCall { from: session.forwarder, to: session.wallet, data: as_forwarded };
        let used = self.preflight.gas_used(inner).await?;
        let forwarder = Forwarder::new(session.forwarder, &self.provider);
        let nonce = forwarder.nonces(key).call().await.map_err(|error| unavailable(&error))?;
        let request = ForwardRequest {
            from: key,
            to: session.wallet,
            value: U256::ZERO,
            gas: U256::from((used + used / 2).max(FORWARD_GAS_FLOOR)),
            nonce,
            deadline: U48::from(now_s() + FORWARD_LIFETIME_S),
            data: data.clone(),
        };
        let signed = sign_forward(request, &session.key, self.chain_id, session.forwarder)
            .await
            .map_err(|error| RelayError::Refused(error.to_string()))?;
        Ok((session.forwarder, Forwarder::executeCall { request: signed }.abi_encode().into()))
    }

    async fn request(&self, ready: &Preflighted) -> Result<TransactionRequest, RelayError> {
        let from = self.signer.address();
        let fees = self.provider.estimate_eip1559_fees().await.map_err(|error| unavailable(&error))?;
        // One transaction at a time: whatever this account sent is mined, so the newest state has the next nonce.
        let nonce = self.provider.get_transaction_count(from).await.map_err(|error| unavailable(&error))?;
        let call = ready.call();
        Ok(TransactionRequest::default()
            .with_chain_id(self.chain_id)
            .with_from(from)
            .with_to(call.to)
            .with_input(call.data.clone())
            .with_nonce(nonce)
            // A forwarded request needs its gas and a 64th on top; unused gas is returned.
            .with_gas_limit(ready.gas_limit().max(FORWARD_GAS_FLOOR + FORWARD_GAS_FLOOR / 2))
            .with_max_fee_per_gas(fees.max_fee_per_gas)
            .with_max_priority_fee_per_gas(fees.max_priority_fee_per_gas))
    }

    /// Sends `raw`, and again while the chain does not show it, until there is a receipt or its nonce went to another.
    async fn settle(
        &self,
        key: &str,
        raw: &Bytes,
        hash: B256,
        sender: Address,
        nonce: u64,
        stop: &CancellationToken,
    ) -> Result<TransactionReceipt, RelayError> {
        let mut sent_at: Option<tokio::time::Instant> = None;
        let (mut looks_at_used_nonce, mut looks_at_gap) = (0, 0);
        loop {
            match self.provider.get_transaction_receipt(hash).await {
                Ok(Some(receipt)) => return Ok(receipt),
                Ok(None) => {}
                Err(error) => debug!(%key, %error, "no answer about a receipt"),
            }
            let next = self.provider.get_transaction_count(sender).block_id(BlockId::latest()).await.unwrap_or(nonce);
            looks_at_gap = if next < nonce { looks_at_gap + 1 } else { 0 };
            if looks_at_gap >= GAP_AFTER_LOOKS {
                looks_at_gap = 0;
                self.fill_gap(next).await;
            }
            if next > nonce {
                looks_at_used_nonce += 1;
                if looks_at_used_nonce >= LOST_AFTER_LOOKS {
                    let text = format!("transaction {hash} was replaced: nonce {nonce} of {sender} went to another");
                    return Err(RelayError::Refused(text));
                }
            } else if sent_at.is_none_or(|at| at.elapsed() >= RESEND_AFTER) {
                sent_at = Some(tokio::time::Instant::now());
                match self.provider.send_raw_transaction(raw).await {
                    Ok(_) => debug!(%key, tx = %hash, "sent"),
                    // "already known" and the like: only a receipt or the nonce tells what is true.
                    Err(error) => warn!(%key, tx = %hash, %error, "the endpoint did not take the transaction"),
                }
            }
            self.sleep(self.poll, stop).await?;
        }
    }

    /// A reorganisation that dropped an earlier transaction leaves a nonce that nothing would ever use, and everything
    /// after it would wait for ever. An empty transaction takes its place; what the dropped one did is wished for again.
    async fn fill_gap(&self, nonce: u64) {
        let address = self.signer.address();
        warn!(%address, nonce, "a reorganisation dropped a transaction; its nonce is filled");
        let filler = async {
            let fees = self.provider.estimate_eip1559_fees().await?;
            let request = TransactionRequest::default()
                .with_chain_id(self.chain_id)
                .with_from(address)
                .with_to(address)
                .with_nonce(nonce)
                .with_gas_limit(21_000)
                .with_max_fee_per_gas(fees.max_fee_per_gas)
                .with_max_priority_fee_per_gas(fees.max_priority_fee_per_gas);
            let envelope = request.build(&EthereumWallet::from(self.signer.clone())).await?;
            let _ = self.provider.send_raw_transaction(&envelope.encoded_2718()).await?;
            eyre::Ok(())
        };
        if let Err(error) = filler.await {
            warn!(%address, nonce, %error, "the nonce could not be filled; tried again shortly");
        }
    }

    async fn sleep(&self, pause: Duration, stop: &CancellationToken) -> Result<(), RelayError> {
        tokio::select! {
            () = stop.cancelled() => Err(RelayError::Stopped),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }
}

fn unavailable(error: &dyn std::fmt::Display) -> RelayError {
    RelayError::Preflight(PreflightError::Unavailable(error.to_string()))
}
