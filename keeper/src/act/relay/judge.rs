//! Reads a receipt: what became of each intent of a parcel.

use alloy::{
    primitives::{Address, U256},
    rpc::types::{Log, TransactionReceipt},
    sol_types::{SolCall, SolEvent},
};
use contracts::{
    bindings::{IAIPowerRental as Market, IERC2771Forwarder as Forwarder},
    ids::AgreementId,
};

use crate::{
    journal::{Landed, Parcel, SignedRequest, Verdict},
    ledger::OVERTAKEN,
};

/// Puts into `parcel` what `receipt` says. A forwarded request that it does not name has no verdict yet: it may still be
/// brought to the chain by whoever saw it.
pub(super) fn judge(parcel: &mut Parcel, receipt: &TransactionReceipt) {
    let block = receipt.block_number.unwrap_or_default();
    let hash = receipt.transaction_hash;
    let cancelled = parcel.versions.iter().any(|version| version.hash == hash && version.cancels);
    let (to, data) = (parcel.to, parcel.data());
    for item in &mut parcel.items {
        item.verdict = match &item.request {
            Some(_) if cancelled || !receipt.status() => None,
            Some(request) => executed(receipt.logs(), to, request).map(|success| match success {
                true => Verdict::Executed { block },
                false => {
                    Verdict::Refused { error: format!("transaction {hash}: the wallet refused the forwarded call") }
                }
            }),
            None if cancelled => {
                let error = "it was not mined in time and was cancelled; raise relay.max_fee_gwei if the chain is dear";
                Some(Verdict::Refused { error: error.into() })
            }
            None if receipt.status() => Some(match overtaken(receipt.logs(), to, &data) {
                None => Verdict::Executed { block },
                Some(bid) => Verdict::Overtaken { error: format!("{}; transaction {hash} changed nothing", gone(bid)) },
            }),
            None => Some(Verdict::Refused { error: format!("transaction {hash} reverted in block {block}") }),
        };
    }
    parcel.landed = Some(Landed {
        hash,
        block,
        block_hash: receipt.block_hash.unwrap_or_default(),
        gas_wei: U256::from(receipt.gas_used) * U256::from(receipt.effective_gas_price),
    });
}

/// The bid that a match was for, if the market gave it no rental: the match then changed nothing, by the market's rules.
fn overtaken(logs: &[Log], market: Address, data: &[u8]) -> Option<AgreementId> {
    let bid = expected_match(data)?;
    let is_it = |log: &Log| {
        let created = Market::AgreementCreated::decode_log(&log.inner);
        log.address() == market && created.is_ok_and(|created| AgreementId::from(created.agreementId) == bid)
    };
    (!logs.iter().any(is_it)).then_some(bid)
}

/// The bid that a call means to match, if it is a match of one bid.
pub(super) fn expected_match(data: &[u8]) -> Option<AgreementId> {
    let call = Market::matchBestCall::abi_decode(data).ok()?;
    (!call.expectedId.is_zero()).then(|| call.expectedId.into())
}

/// What is said of a bid that somebody else took.
pub(super) fn gone(bid: AgreementId) -> String {
    format!("{OVERTAKEN}bid {bid} was not at the head of its book any more, and the next one is looked for")
}

/// Whether the forwarder says that it ran `request`, and with what success.
pub(super) fn executed(logs: &[Log], forwarder: Address, request: &SignedRequest) -> Option<bool> {
    logs.iter()
        .filter(|log| log.address() == forwarder)
        .filter_map(|log| Forwarder::ExecutedForwardRequest::decode_log(&log.inner).ok())
        .find(|executed| executed.signer == request.signer && executed.nonce == U256::from(request.nonce))
        .map(|executed| executed.success)
}
