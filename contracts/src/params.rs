//! Presets: the market's clocks and the margins that go with them, in one table.

use std::{fmt, str::FromStr};

use alloy::primitives::aliases::U40;
use serde::{Deserialize, Serialize};

use crate::bindings::Timing;

/// Fee of a new market, basis points of the provider's gross pay.
pub const FEE_BPS: u16 = 250;

/// Which set of clocks a deployment uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// A chain of one's own with one-second blocks: short clocks, loopback endpoints allowed.
    Demo,
    /// A public layer-2 chain.
    L2,
}

/// What a preset means; all times in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Params {
    /// Expected time between blocks.
    pub block_time_s: u64,
    /// Blocks on top of an event before a container is started for it.
    pub confirmations: u64,
    /// From match to start.
    pub start_deadline_s: u64,
    /// From a rental's end to the last moment for its submission.
    pub submit_grace_s: u64,
    /// From submission to settlement.
    pub challenge_window_s: u64,
    /// From a dispute to its default ruling.
    pub dispute_timeout_s: u64,
    /// A bid rests at least this long.
    pub min_bid_lifetime_s: u64,
    /// Least time billed for a started rental.
    pub min_billed_s: u64,
    /// Pre-empted rentals are paid in whole multiples of this.
    pub checkpoint_s: u64,
    /// A slot's bond is at least this many seconds at the reserve price.
    pub bond_s: u64,
    /// Blocks that the index can undo.
    pub undo_horizon_blocks: u64,
}

impl Preset {
    /// The table.
    pub const fn params(self) -> Params {
        match self {
            Self::Demo => Params {
                block_time_s: 1,
                confirmations: 2,
                start_deadline_s: 30,
                submit_grace_s: 30,
                challenge_window_s: 10,
                dispute_timeout_s: 60,
                min_bid_lifetime_s: 10,
                min_billed_s: 5,
                checkpoint_s: 5,
                bond_s: 60,
                undo_horizon_blocks: 256,
            },
            Self::L2 => Params {
                block_time_s: 2,
                confirmations: 5,
                start_deadline_s: 600,
                submit_grace_s: 600,
                challenge_window_s: 1_800,
                dispute_timeout_s: 259_200,
                min_bid_lifetime_s: 120,
                min_billed_s: 60,
                checkpoint_s: 60,
                bond_s: 3_600,
                undo_horizon_blocks: 4_096,
            },
        }
    }
}

impl Params {
    /// The clocks as the market's constructor takes them.
    pub fn timing(&self) -> Timing {
        let s = |seconds: u64| U40::from(seconds);
        Timing {
            startDeadline: s(self.start_deadline_s),
            submitGrace: s(self.submit_grace_s),
            challengeWindow: s(self.challenge_window_s),
            disputeTimeout: s(self.dispute_timeout_s),
            minBidLifetime: s(self.min_bid_lifetime_s),
            minBilled: s(self.min_billed_s),
            checkpoint: s(self.checkpoint_s),
            bondSeconds: s(self.bond_s),
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Demo => "demo",
            Self::L2 => "l2",
        })
    }
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "demo" => Ok(Self::Demo),
            "l2" => Ok(Self::L2),
            other => Err(format!("'{other}' is no preset: use demo or l2")),
        }
    }
}
