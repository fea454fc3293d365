//! Where an intent stands, and the only ways on from there.

use alloy::primitives::{Address, B256, U256};
use serde::{Deserialize, Serialize};

/// Where an intent stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Nothing has left the keeper yet.
    Planned,
    /// A transaction was signed; it may or may not have been sent. The bytes are in the outbox under sender and nonce.
    Signed {
        /// Hash of the transaction as it was first signed; a replacement has another.
        hash: B256,
        /// Account.
        sender: Address,
        /// Its nonce.
        nonce: u64,
    },
    /// It took effect in a block that a reorganisation may still take back.
    Included {
        /// Account.
        sender: Address,
        /// Its nonce.
        nonce: u64,
        /// Block of the transaction.
        block: u64,
        /// Wei of gas paid.
        gas_wei: U256,
    },
    /// Its effect took place for good.
    Done {
        /// Block of the transaction, 0 off the chain.
        block: u64,
        /// Wei of gas paid.
        gas_wei: U256,
    },
    /// It had no effect.
    Failed {
        /// What happened.
        error: String,
    },
}

impl State {
    /// Every name, in the order in which a record goes through them.
    pub const NAMES: [&str; 5] = ["planned", "signed", "included", "done", "failed"];

    /// Name for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Signed { .. } => "signed",
            Self::Included { .. } => "included",
            Self::Done { .. } => "done",
            Self::Failed { .. } => "failed",
        }
    }

    /// Whether something may still happen.
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Planned | Self::Signed { .. } | Self::Included { .. })
    }

    /// The only ways forward; an ended intent may be planned again as a new attempt. A signed one returns to planned when
    /// its transaction can no longer land; one that was mined, or is planned anew, returns to signed when a reorganisation
    /// took the block of its transaction, however deep.
    pub fn can_transition_to(&self, next: &Self) -> bool {
        matches!(
            (self, next),
            (Self::Planned, Self::Signed { .. } | Self::Done { .. } | Self::Failed { .. })
                | (
                    Self::Signed { .. },
                    Self::Planned | Self::Included { .. } | Self::Done { .. } | Self::Failed { .. }
                )
                | (Self::Included { .. }, Self::Signed { .. } | Self::Done { .. })
                | (Self::Done { .. } | Self::Failed { .. }, Self::Planned | Self::Signed { .. })
        )
    }
}

#[cfg(test)]
pub(super) fn one_of_each() -> [State; 5] {
    let (sender, nonce) = (Address::ZERO, 0);
    [
        State::Planned,
        State::Signed { hash: B256::ZERO, sender, nonce },
        State::Included { sender, nonce, block: 1, gas_wei: U256::MAX },
        State::Done { block: 1, gas_wei: U256::MAX },
        State::Failed { error: "no".into() },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_named() {
        assert_eq!(one_of_each().map(|state| state.name()), State::NAMES);
    }

    #[test]
    fn every_pair_of_states_is_decided() {
        let allowed: Vec<_> = one_of_each()
            .iter()
            .flat_map(|from| one_of_each().map(|to| (from.clone(), to)))
            .filter(|(from, to)| from.can_transition_to(to))
            .map(|(from, to)| (from.name(), to.name()))
            .collect();
        assert_eq!(
            allowed,
            [
                ("planned", "signed"),
                ("planned", "done"),
                ("planned", "failed"),
                ("signed", "planned"),
                ("signed", "included"),
                ("signed", "done"),
                ("signed", "failed"),
                ("included", "signed"),
                ("included", "done"),
                ("done", "planned"),
                ("done", "signed"),
                ("failed", "planned"),
                ("failed", "signed"),
            ]
        );
    }
}
