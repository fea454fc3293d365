//! Turns intents into calls.

use alloy::{
    primitives::{
        Address, B256, Bytes, U256,
        aliases::{U24, U40},
    },
    sol_types::SolCall,
};
use contracts::{
    bindings::{BidTerms, IAIPowerRental as Market, IAgentWallet as Wallet, IERC20},
    deploy::REFERENCE_TEMPLATE,
    units::Amount,
};

use crate::event::Intent;

/// A call as the relay sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// From the relay's own account.
    Direct {
        /// Contract.
        to: Address,
        /// Calldata.
        data: Bytes,
    },
    /// Signed by the session key and sent through the forwarder to the wallet.
    Forwarded {
        /// Calldata for the wallet.
        data: Bytes,
    },
}

/// Where things are on chain.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// AIPowerRental.
    pub market: Address,
    /// AIT.
    pub token: Address,
}

/// The call for an intent; `None` for intents that act off the chain.
///
/// # Errors
/// When a number does not fit its field; the message names it.
pub fn prepare(intent: &Intent, at: Addresses) -> Result<Option<Prepared>, String> {
    let direct = |data: Vec<u8>| Ok(Some(Prepared::Direct { to: at.market, data: data.into() }));
    let forwarded = |data: Vec<u8>| Ok(Some(Prepared::Forwarded { data: data.into() }));
    match intent.clone() {
        Intent::RegisterProvider { endpoint } => direct(Market::registerProviderCall { endpoint }.abi_encode()),
        Intent::ApproveBond { amount } => {
            let data = IERC20::approveCall { spender: at.market, value: U256::from(amount.0) }.abi_encode();
            Ok(Some(Prepared::Direct { to: at.token, data: data.into() }))
        }
        Intent::PostOffer { class, book_mask, slots, reserve_tick, bond_per_slot, valid_until } => direct(
            Market::postOfferCall {
                cls: class,
                bookMask: book_mask,
                slots,
                reserveTick: reserve_tick,
                bondPerSlot: units(bond_per_slot, "bond")?,
                validUntil: seconds(valid_until, "valid_until")?,
            }
            .abi_encode(),
        ),
        Intent::Match { offer, book, min_tick, expected } => direct(
            Market::matchBestCall { offerId: offer, book, minTick: min_tick, expectedId: expected.into() }.abi_encode(),
        ),
        Intent::Start { rental, spec_hash, image, countersignature } => direct(
            Market::startCall { agreementId: rental.into(), specHash: spec_hash, imageDigest: image, countersignature }
                .abi_encode(),
        ),
        Intent::Decline { rental } => direct(Market::declineCall { agreementId: rental.into() }.abi_encode()),
        // Whoever gives way has no result to show; the clock alone makes the bill.
        Intent::Preempt { rental } => direct(
            Market::preemptCall { agreementId: rental.into(), resultHash: B256::ZERO, receiptRoot: B256::ZERO }
                .abi_encode(),
        ),
        Intent::Submit { rental, seconds: claimed, result_hash, receipt_root } => direct(
            Market::submitCall {
                agreementId: rental.into(),
                claimedSeconds: seconds(claimed, "seconds")?,
                resultHash: result_hash,
                receiptRoot: receipt_root,
            }
            .abi_encode(),
        ),
        Intent::Advance { rental } => direct(Market::advanceCall { agreementId: rental.into() }.abi_encode()),
        Intent::Withdraw { to } => direct(Market::withdrawCall { to }.abi_encode()),
        Intent::Bid { class, tick, max_duration_s, expiry, spec_hash, .. } => {
            let terms = BidTerms {
                cls: class,
                preemptible: false,
                tick,
                maxDuration: U24::try_from(max_duration_s).map_err(|_| format!("{max_duration_s} s is too long"))?,
                expiry: seconds(expiry, "expiry")?,
                templateId: REFERENCE_TEMPLATE,
                specHash: spec_hash,
                // A heuristic priced it.
                policyHash: B256::ZERO,
            };
            forwarded(Wallet::placeBidCall { terms }.abi_encode())
        }
        Intent::Dispute { rental, reason_hash } => {
            forwarded(Wallet::disputeCall { bidId: rental.into(), reasonHash: reason_hash }.abi_encode())
        }
        Intent::Cancel { rental, .. } => forwarded(Wallet::cancelBidCall { bidId: rental.into() }.abi_encode()),
        Intent::UpdateOffer { offer, reserve_tick, valid_until } => direct(
            Market::updateOfferCall {
                offerId: offer,
                reserveTick: reserve_tick,
                validUntil: seconds(valid_until, "valid_until")?,
            }
            .abi_encode(),
        ),
        Intent::CloseOffer { offer } => direct(Market::closeOfferCall { offerId: offer }.abi_encode()),
        Intent::Work { .. } | Intent::Deliver { .. } | Intent::Fetch { .. } | Intent::Attend { .. } => Ok(None),
    }
}

fn seconds(value: u64, field: &str) -> Result<U40, String> {
    U40::try_from(value).map_err(|_| format!("{field} = {value} does not fit 40 bits"))
}

fn units(value: Amount, field: &str) -> Result<alloy::primitives::aliases::U96, String> {
    value.to_u96().ok_or_else(|| format!("{field} = {value} does not fit 96 bits"))
}
