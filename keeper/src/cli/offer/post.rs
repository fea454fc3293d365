//! `keeper offer post`: the owner of a fleet posts an offer for each of its nodes.

use std::{process::ExitCode, time::Duration};

use alloy::{primitives::U256, sol_types::SolCall};
use clap::Args;
use contracts::{
    bindings::{IAIPowerRental as Market, IERC20},
    classes::HardwareClass,
    units::Amount,
};
use eyre::{Context as _, OptionExt as _, bail};
use keeper::{
    clock::now_s,
    config::{LONGEST_S, SLOTS},
    roles::provider::{OFFER_LIFETIME_S, book_mask, least_bond, lowest_tick},
};

use super::super::owner::{Owner, OwnerArgs, units};

#[derive(Args)]
pub(in crate::cli) struct Post {
    #[command(flatten)]
    owner: OwnerArgs,
    /// Hardware class sold: cpu_only, low_end_gpu, mid_range_gpu, high_end_gpu or premium_gpu.
    #[arg(long)]
    class: HardwareClass,
    /// Rentals at once.
    #[arg(long)]
    slots: u16,
    /// Lowest price, AIT per hour.
    #[arg(long)]
    reserve_per_hour: Amount,
    /// Longest rental taken: 10m to 24h.
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
    max_duration: Duration,
    /// Take pre-emptible work too.
    #[arg(long)]
    preemptible: bool,
    /// Let it stand for so long from now; the node that names it prolongs it. 30 days if absent.
    #[arg(long, value_parser = humantime::parse_duration)]
    valid_for: Option<Duration>,
}

impl Post {
    pub(in crate::cli) async fn run(self) -> eyre::Result<ExitCode> {
        if !SLOTS.contains(&self.slots) {
            bail!("--slots {}: use {} to {}", self.slots, SLOTS.start(), SLOTS.end());
        }
        let longest_s = self.max_duration.as_secs();
        if !LONGEST_S.contains(&longest_s) {
            bail!("--max-duration {longest_s}s: use 10m (the shortest book) to 24h");
        }
        if self.reserve_per_hour == Amount::ZERO {
            bail!("--reserve-per-hour 0: state the lowest price you sell at");
        }
        let owner = self.owner.open().await?;
        let at = owner.chain.config.chain.market;
        let market = Market::new(at, &owner.chain.provider);
        if !market.isProvider(owner.address()).call().await.wrap_err("reading the provider")? {
            bail!("{} is no provider yet; `keeper provider register` makes it one", owner.address());
        }
        let base = market.classBase(self.class.number()).call().await.wrap_err("reading the class")?;
        if base == 0 {
            bail!("the market has no class {}; sell another", self.class);
        }
        let reserve_tick = lowest_tick(base, self.reserve_per_hour)
            .ok_or_eyre(format!("{} per hour is above the highest tick of the class", self.reserve_per_hour))?;
        let timing = market.timing().call().await.wrap_err("reading the market's clocks")?;
        let bond = least_bond(base, reserve_tick, timing.bondSeconds.to())
            .ok_or_eyre("the bond of a slot is more than the contracts can hold; lower --reserve-per-hour")?;
        let bonds = Amount(bond.0 * u128::from(self.slots));
        if !approve(&owner, bonds).await? {
            // Without the allowance the rest cannot even be tried.
            return Ok(ExitCode::SUCCESS);
        }
        let valid_s = self.valid_for.map_or(OFFER_LIFETIME_S, |valid| valid.as_secs());
        let until_s = now_s().saturating_add(valid_s);
        let call = Market::postOfferCall {
            cls: self.class.number(),
            bookMask: book_mask(longest_s, self.preemptible),
            slots: self.slots,
            reserveTick: reserve_tick,
            bondPerSlot: units(bond, "the bond")?,
            validUntil: until_s.try_into().wrap_err("--valid-for is too long")?,
        };
        let Some(receipt) = owner.send(at, call.abi_encode(), "posting the offer").await? else {
            return Ok(ExitCode::SUCCESS);
        };
        let posted = receipt.decoded_log::<Market::OfferPosted>();
        let offer =
            posted.ok_or_eyre("the transaction posted no offer; `keeper offer list` shows what there is")?.offerId;
        anstream::println!(
            "offer {offer}: {} slots of {}, bonds of {bonds}; one node names it: offers = [{offer}]",
            self.slots,
            self.class
        );
        Ok(ExitCode::SUCCESS)
    }
}

/// Lets the market pull what of the bonds the provider's credit does not cover. False when that was only tried.
async fn approve(owner: &Owner, bonds: Amount) -> eyre::Result<bool> {
    let (at, token) = (owner.chain.config.chain.market, owner.chain.token);
    let credit = Market::new(at, &owner.chain.provider).creditOf(owner.address()).call().await;
    let credit = Amount::from(credit.wrap_err("reading the credit")?);
    let due = U256::from(bonds.0.saturating_sub(credit.0));
    let ait = IERC20::new(token, &owner.chain.provider);
    let held = ait.balanceOf(owner.address()).call().await.wrap_err("reading the AIT")?;
    if held < due {
        bail!(
            "{} holds {}, but the bonds take {bonds}, of which the market holds {credit} as credit; send it some AIT",
            owner.address(),
            Amount::from_units(held)
        );
    }
    if ait.allowance(owner.address(), at).call().await.wrap_err("reading the allowance")? >= due {
        return Ok(true);
    }
    let data = IERC20::approveCall { spender: at, value: due }.abi_encode();
    Ok(owner.send(token, data, "allowing the bonds").await?.is_some())
}
