//! The revert data that each refusal of the model stands for.

use alloy::{
    primitives::{
        Bytes, U256,
        aliases::{U24, U40, U96},
    },
    sol_types::SolError,
};
use contracts::{
    bindings::{IAIPowerRental as M, IAgentWallet as W, IAgentWalletFactory as F, IERC20 as T, Status as ChainStatus},
    book::{Error, Status},
};

mod openzeppelin {
    alloy::sol! {
        error EnforcedPause();
        error ExpectedPause();
        error OwnableUnauthorizedAccount(address account);
        error InvalidAccountNonce(address account, uint256 currentNonce);
        error ERC20InvalidReceiver(address receiver);
        error SafeCastOverflowedUintDowncast(uint8 bits, uint256 value);
    }
}
use openzeppelin as Z;

pub(super) fn chain_status(status: Status) -> ChainStatus {
    ChainStatus::try_from(status as u8).unwrap()
}

pub(super) fn u96(amount: u128) -> U96 {
    U96::from(amount)
}

pub(super) fn u40(seconds: u64) -> U40 {
    U40::from(seconds)
}

/// What the contracts revert with.
pub(super) fn revert_data(error: &Error) -> Bytes {
    macro_rules! data {
        ($of:ident :: $name:ident { $($field:ident : $value:expr),* $(,)? }) => {
            $of::$name { $($field: $value),* }.abi_encode()
        };
    }
    use Error as E;
    let data = match *error {
        E::ClassUnknown { class } => data!(M::ClassUnknown { cls: class }),
        E::ClassExists { class } => data!(M::ClassExists { cls: class }),
        E::InvalidClass { class } => data!(M::InvalidClass { cls: class }),
        E::TemplateUnknown { template, class } => data!(M::TemplateUnknown { templateId: template, cls: class }),
        E::TemplateExists { template } => data!(M::TemplateExists { templateId: template }),
        E::InvalidTemplate { template, max } => data!(M::InvalidTemplate { templateId: template, max: max }),
        E::InvalidDuration { max_duration_s } => data!(M::InvalidDuration { maxDuration: U24::from(max_duration_s) }),
        E::BidLifetimeTooShort { expiry_s, earliest_s } => {
            data!(M::BidLifetimeTooShort { expiry: u40(expiry_s), earliest: u40(earliest_s) })
        }
        E::BidLifetimeTooLong { expiry_s, latest_s } => {
            data!(M::BidLifetimeTooLong { expiry: u40(expiry_s), latest: u40(latest_s) })
        }
        E::ZeroSpecHash => data!(M::ZeroSpecHash {}),
        E::NotWallet { caller } => data!(M::NotWallet { caller: caller }),
        E::KeyOfAnotherWallet { agent, wallet } => data!(M::KeyOfAnotherWallet { agent: agent, wallet: wallet }),
        E::NotKeyWallet { agent, caller } => data!(M::NotKeyWallet { agent: agent, caller: caller }),
        E::NotConsumer { id, caller } => data!(M::NotConsumer { agreementId: id.to_u96(), caller: caller }),
        E::NotProvider { caller } => data!(M::NotProvider { caller: caller }),
        E::NotOperator { offer, caller } => data!(M::NotOperator { offerId: offer, caller: caller }),
        E::NotArbiter { caller } => data!(M::NotArbiter { caller: caller }),
        E::NotPauser { caller } => data!(M::NotPauser { caller: caller }),
        E::InvalidBidSignature { wallet, agent } => data!(M::InvalidBidSignature { wallet: wallet, agent: agent }),
        E::InvalidStartSignature { id, signer } => {
            data!(M::InvalidStartSignature { agreementId: id.to_u96(), signer: signer })
        }
        E::WrongStatus { id, status } => {
            data!(M::WrongStatus { agreementId: id.to_u96(), status: chain_status(status) })
        }
        E::BidTooYoung { id, cancellable_s } => {
            data!(M::BidTooYoung { agreementId: id.to_u96(), cancellableAt: u40(cancellable_s) })
        }
        E::NotYet { id, available_s } => data!(M::NotYet { agreementId: id.to_u96(), availableAt: u40(available_s) }),
        E::TooLate { id, deadline_s } => data!(M::TooLate { agreementId: id.to_u96(), deadline: u40(deadline_s) }),
        E::OfferUnknown { offer } => data!(M::OfferUnknown { offerId: offer }),
        E::OfferInactive { offer } => data!(M::OfferInactive { offerId: offer }),
        E::OfferFull { offer } => data!(M::OfferFull { offerId: offer }),
        E::BookNotServed { offer, book } => data!(M::BookNotServed { offerId: offer, book: book.to_u16() }),
        E::InvalidOffer => data!(M::InvalidOffer {}),
        E::BondTooSmall { bond_per_slot, minimum } => {
            data!(M::BondTooSmall { bondPerSlot: u96(bond_per_slot), minimum: u96(minimum) })
        }
        E::ClaimTooLong { id, claimed_s, elapsed_s } => {
            data!(M::ClaimTooLong { agreementId: id.to_u96(), claimed: u40(claimed_s), elapsed: u40(elapsed_s) })
        }
        E::NotPreemptible { id } => data!(M::NotPreemptible { agreementId: id.to_u96() }),
        E::RulingOutOfRange { pay, slash } => data!(M::RulingOutOfRange { pay: u96(pay), slash: u96(slash) }),
        E::FeeTooHigh { fee_bps, max } => data!(M::FeeTooHigh { feeBps: fee_bps, max: max }),
        E::ZeroAddress => data!(M::ZeroAddress {}),
        E::NothingToWithdraw { account } => data!(M::NothingToWithdraw { account: account }),
        E::EndpointTooLong { length, max } => {
            data!(M::EndpointTooLong { length: U256::from(length), max: U256::from(max) })
        }
        E::NotOwner { caller } => data!(W::NotOwner { caller: caller }),
        E::NotAgent { caller } => data!(W::NotAgent { caller: caller }),
        E::AgentExpired { agent, expiry_s } => data!(W::AgentExpired { agent: agent, expiry: u40(expiry_s) }),
        E::AgentUnknown { agent } => data!(W::AgentUnknown { agent: agent }),
        E::AgentExists { agent } => data!(W::AgentExists { agent: agent }),
        E::PermissionMissing { agent, permission } => {
            data!(W::PermissionMissing { agent: agent, permission: permission })
        }
        E::WalletPaused => data!(W::WalletPaused {}),
        E::ClassForbidden { agent, class } => data!(W::ClassForbidden { agent: agent, cls: class }),
        E::TickAboveCap { agent, tick, max_tick } => {
            data!(W::TickAboveCap { agent: agent, tick: tick, maxTick: max_tick })
        }
        E::PerBidLimitExceeded { spender, amount, limit } => {
            data!(W::PerBidLimitExceeded { agent: spender, amount: u96(amount), limit: u96(limit) })
        }
        E::DailyLimitExceeded { spender, wanted, limit } => {
            data!(W::DailyLimitExceeded { agent: spender, wanted: U256::from(wanted), limit: u96(limit) })
        }
        E::LifetimeLimitExceeded { spender, wanted, limit } => {
            data!(W::LifetimeLimitExceeded { agent: spender, wanted: U256::from(wanted), limit: u96(limit) })
        }
        E::NotBidAgent { id, caller } => data!(W::NotBidAgent { bidId: id.to_u96(), caller: caller }),
        E::BidUnknown { id } => data!(W::BidUnknown { bidId: id.to_u96() }),
        E::DelegationTooDeep { parent } => data!(W::DelegationTooDeep { parent: parent }),
        E::DelegationExceedsParent { parent } => data!(W::DelegationExceedsParent { parent: parent }),
        E::LimitTooLarge { limit, max } => data!(W::LimitTooLarge { limit: u96(limit), max: u96(max) }),
        E::InvalidPolicy => data!(W::InvalidPolicy {}),
        E::ZeroOwner => data!(F::ZeroOwner {}),
        E::EnforcedPause => data!(Z::EnforcedPause {}),
        E::ExpectedPause => data!(Z::ExpectedPause {}),
        E::OwnableUnauthorizedAccount { caller } => data!(Z::OwnableUnauthorizedAccount { account: caller }),
        E::InvalidAccountNonce { wallet, agent, nonce } => {
            let current = U256::from_be_slice(agent.as_slice()) << 96 | U256::from(nonce);
            data!(Z::InvalidAccountNonce { account: wallet, currentNonce: current })
        }
        E::ERC20InsufficientBalance { sender, balance, needed } => data!(T::ERC20InsufficientBalance {
            sender: sender,
            balance: U256::from(balance),
            needed: U256::from(needed),
        }),
        E::ERC20InsufficientAllowance { spender, allowance, needed } => data!(T::ERC20InsufficientAllowance {
            spender: spender,
            allowance: U256::from(allowance),
            needed: U256::from(needed),
        }),
        E::ERC20InvalidReceiver { receiver } => data!(Z::ERC20InvalidReceiver { receiver: receiver }),
        E::PriceTooLarge => Z::SafeCastOverflowedUintDowncast::SELECTOR.to_vec(),
    };
    data.into()
}
