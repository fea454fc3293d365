//! What a session key may do, as people write it.

use std::{str::FromStr, time::Duration};

use alloy::primitives::{
    U256,
    aliases::{U40, U96},
};
use clap::{Args, ValueEnum};
use contracts::{
    bindings::{IAIPowerRental as Market, KeyPolicy},
    classes::HardwareClass,
    price,
    units::Amount,
};
use eyre::{Context as _, OptionExt as _, bail};

use crate::cli::{
    owner::{Chain, units},
    span,
};

/// A key lives so long unless told otherwise, seconds.
const DEFAULT_VALID_S: u64 = 30 * 86_400;
/// Bid, cancel, dispute.
const DEFAULT_RIGHTS: u8 = 1 | 2 | 4;

/// Rights and limits of a key. Prefixed on the command line, since a wallet has limits too.
#[derive(Args)]
pub(super) struct PolicyArgs {
    /// The key is dead after this; 30 days if absent.
    #[arg(long, value_parser = humantime::parse_duration)]
    valid_for: Option<Duration>,
    /// Most it may spend plus reserve in 24 hours, AIT.
    #[arg(long, value_name = "AIT")]
    key_daily: Option<Amount>,
    /// Most that one of its bids may reserve, AIT; the daily limit if absent.
    #[arg(long, value_name = "AIT")]
    key_per_bid: Option<Amount>,
    /// Most it may ever spend plus reserve, AIT; 30 times the daily limit if absent.
    #[arg(long, value_name = "AIT")]
    key_lifetime: Option<Amount>,
    /// Classes it may rent, each with the highest price per hour if you give one; all, if absent.
    #[arg(long = "allow", value_name = "CLASS[=AIT]")]
    classes: Vec<Allowed>,
    /// What it may do; all but delegating, if absent.
    #[arg(long, value_enum, value_delimiter = ',')]
    rights: Vec<Right>,
    /// Only providers on the wallet's allow-list may work for it.
    #[arg(long)]
    listed_providers_only: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Right {
    /// Place bids.
    Bid,
    /// Cancel its bids and rentals.
    Cancel,
    /// Dispute results.
    Dispute,
    /// Let other keys spend within its own limits.
    Delegate,
}

impl Right {
    fn bit(self) -> u8 {
        match self {
            Self::Bid => 1,
            Self::Cancel => 2,
            Self::Dispute => 4,
            Self::Delegate => 8,
        }
    }
}

#[derive(Clone, Copy)]
struct Allowed {
    class: HardwareClass,
    highest_per_hour: Option<Amount>,
}

impl FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (class, price) = text.split_once('=').map_or((text, None), |(class, price)| (class, Some(price)));
        let class = class.parse().map_err(|error| format!("{error}"))?;
        let highest_per_hour = price.map(str::parse).transpose().map_err(|error| format!("{error}"))?;
        Ok(Self { class, highest_per_hour })
    }
}

impl PolicyArgs {
    /// The contract's form. Limits that are not given follow `daily`, and whatever is not given stays within `parent`'s.
    pub(super) async fn policy(
        &self,
        chain: &Chain,
        daily: Option<Amount>,
        parent: Option<&KeyPolicy>,
    ) -> eyre::Result<KeyPolicy> {
        let daily = self.key_daily.or(daily).ok_or_eyre("give the key's daily limit with --key-daily")?;
        let within = |default: Amount, most: Option<U96>| most.map_or(default, |most| default.min(most.into()));
        let lifetime = match self.key_lifetime {
            Some(lifetime) => lifetime,
            None => {
                let month = Amount(daily.0.checked_mul(30).ok_or_eyre("--key-daily is too large")?);
                within(month, parent.map(|parent| parent.lifetime))
            }
        };
        let per_bid = self.key_per_bid.unwrap_or_else(|| within(daily, parent.map(|parent| parent.perBid)));
        let now_s = keeper::clock::now_s();
        let expiry_s = match self.valid_for {
            Some(valid_for) => now_s.saturating_add(valid_for.as_secs()),
            None => parent.map_or(u64::MAX, |parent| parent.expiry.to::<u64>()).min(now_s + DEFAULT_VALID_S),
        };
        let rights = self.rights.iter().fold(0, |all, right| all | right.bit());
        let default_rights = DEFAULT_RIGHTS & parent.map_or(DEFAULT_RIGHTS, |parent| parent.permissions);
        let (class_mask, max_ticks) = match parent {
            Some(parent) if self.classes.is_empty() => (parent.classMask, parent.maxTicks),
            _ => self.caps(chain).await?,
        };
        Ok(KeyPolicy {
            expiry: U40::try_from(expiry_s).wrap_err("--valid-for is too long")?,
            permissions: if self.rights.is_empty() { default_rights } else { rights },
            classMask: class_mask,
            // A list that binds the parent binds its keys.
            providerList: self.listed_providers_only || parent.is_some_and(|parent| parent.providerList),
            daily: units(daily, "--key-daily")?,
            perBid: units(per_bid, "--key-per-bid")?,
            lifetime: units(lifetime, "--key-lifetime")?,
            maxTicks: max_ticks,
        })
    }

    /// Classes allowed, and the highest tick of each.
    async fn caps(&self, chain: &Chain) -> eyre::Result<(u32, U256)> {
        if self.classes.is_empty() {
            let mask = HardwareClass::ALL.iter().fold(0u32, |mask, class| mask | 1 << class.number());
            return Ok((mask, U256::MAX));
        }
        let market = Market::new(chain.config.chain.market, &chain.provider);
        let (mut mask, mut ticks) = (0u32, U256::ZERO);
        for Allowed { class, highest_per_hour } in &self.classes {
            let tick = match highest_per_hour {
                None => u8::MAX,
                Some(highest) => {
                    let base = market.classBase(class.number()).call().await.wrap_err("reading the class's prices")?;
                    let per_second =
                        highest.0.checked_mul(price::PRICE_SCALE).ok_or_eyre("that price is too high")? / 3_600;
                    // Tick 0 stands for a forbidden class in a key's caps.
                    match price::tick_at_most(base, per_second) {
                        Some(tick) if tick > 0 => tick,
                        _ => bail!(
                            "{highest} per hour is below the lowest price of {class}; raise it, or leave the class out"
                        ),
                    }
                }
            };
            mask |= 1 << class.number();
            ticks |= U256::from(tick) << (usize::from(class.number()) * 8);
        }
        Ok((mask, ticks))
    }
}

/// A policy in words.
pub(super) fn describe(policy: &KeyPolicy) -> Vec<(&'static str, String)> {
    let limit = |raw: U96| Amount::from(raw).to_string();
    let rights = [(1, "bid"), (2, "cancel"), (4, "dispute"), (8, "delegate")];
    let rights = rights.iter().filter(|(bit, _)| policy.permissions & bit != 0).map(|(_, name)| *name);
    let classes = HardwareClass::ALL.iter().filter(|class| policy.classMask >> class.number() & 1 == 1);
    let expiry_s = policy.expiry.to::<u64>();
    let left_s = expiry_s.saturating_sub(keeper::clock::now_s());
    vec![
        ("rights", rights.collect::<Vec<_>>().join(", ")),
        (
            "classes",
            classes
                .map(|class| {
                    let tick = policy.maxTicks.byte(usize::from(class.number()));
                    if tick == u8::MAX {
                        class.name().to_owned()
                    } else {
                        format!("{} up to tick {tick}", class.name())
                    }
                })
                .collect::<Vec<_>>()
                .join(", "),
        ),
        ("daily limit", limit(policy.daily)),
        ("limit per bid", limit(policy.perBid)),
        ("lifetime limit", limit(policy.lifetime)),
        ("valid until", format!("{} ({} left)", crate::cli::date(expiry_s), span(left_s / 60 * 60))),
    ]
}
