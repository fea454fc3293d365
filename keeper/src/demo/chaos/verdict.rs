//! What must hold when all is over. Money and rentals are read from the chain, containers from the engine, never from
//! who is judged; only what became of the jobs is as the agent tells it.

use std::collections::BTreeMap;

use alloy::{
    primitives::{Address, B256, U256, address},
    providers::Provider,
};
use contracts::bindings::{
    IAIPowerRental, IAIPowerRental::IAIPowerRentalEvents as MarketEvent, IAgentWallet, IERC20, Status,
};
use keeper::socket::Request;
use serde_json::{Value, json};

use super::Cast;
use crate::{
    containers_left,
    report::{collect, events, index_equals_chain, rentals},
    stage::{Options, Stage},
};

/// Slashed bonds end here.
const BURNED: Address = address!("000000000000000000000000000000000000dEaD");
/// Of a hundred matched rentals so many must settle.
const SETTLED_PERCENT: usize = 95;

/// The judgement.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// Numbers.
    pub line: Value,
    /// What does not hold.
    pub faults: Vec<String>,
}

/// Looks at everything.
///
/// # Errors
/// When something cannot be read.
pub(crate) async fn check(stage: &Stage, options: &Options, cast: &mut Cast) -> eyre::Result<Verdict> {
    let mut faults = Vec::new();
    collect(stage).await?;
    let rentals = rentals(stage).await?;
    let matched: Vec<_> = rentals.values().filter(|rental| rental.matched).collect();
    let settled = matched.iter().filter(|rental| rental.status == Status::Settled).count();
    let mut by_status = BTreeMap::<String, usize>::new();
    for rental in &matched {
        *by_status.entry(format!("{:?}", rental.status)).or_default() += 1;
    }
    if settled * 100 < matched.len() * SETTLED_PERCENT || matched.is_empty() {
        faults.push(format!("of {} matched rentals {settled} settled: {by_status:?}", matched.len()));
    }
    // A piece of work is paid for once, whatever happened on the way.
    let mut paid = BTreeMap::<B256, usize>::new();
    for rental in rentals.values().filter(|rental| rental.status == Status::Settled) {
        *paid.entry(rental.spec_hash).or_default() += 1;
    }
    let twice = paid.values().filter(|times| **times > 1).count();
    if twice > 0 {
        faults.push(format!("{twice} pieces of work were paid for more than once"));
    }
    let held = stray_money(stage).await?;
    if held != 0 {
        faults.push(format!("the market holds {held} base units more than it owes"));
    }
    let wallet = IAgentWallet::new(stage.wallet, &stage.chain);
    let reserved = wallet.reserved().call().await?;
    if !reserved.is_zero() {
        faults.push(format!("{reserved} base units are still reserved in the agent's wallet"));
    }
    let containers = containers_left(stage, options).await?;
    if containers > 0 {
        faults.push(format!("{containers} containers were left behind"));
    }
    let waiting = waiting_transactions(stage).await?;
    if waiting > 0 {
        faults.push(format!("{waiting} transactions wait for a nonce before them"));
    }
    let equal = index_equals_chain(stage).await?;
    if !equal {
        faults.push("the agent's index differs from the chain".into());
    }
    let (mut finished, mut failed) = (0, Vec::new());
    for actor in cast.actors() {
        let status = actor.document(Request::Status).await?;
        for job in status["jobs"].as_array().into_iter().flatten() {
            match job["outcome"]["state"].as_str() {
                Some("finished") => finished += 1,
                _ => failed.push(job["outcome"].clone()),
            }
        }
    }
    Ok(Verdict {
        line: json!({
            "rentals_matched": matched.len(),
            "rentals_settled": settled,
            "rentals_by_status": by_status,
            "jobs_finished": finished,
            "jobs_failed": failed,
            "paid_twice": twice,
            "stray_base_units": held.to_string(),
            "containers_left": containers,
            "waiting_transactions": waiting,
            "index_equals_chain": equal,
        }),
        faults,
    })
}

/// Tokens in the market beyond credits and bonds. Nothing is live any more, so that no escrow is left.
async fn stray_money(stage: &Stage) -> eyre::Result<i128> {
    let at = &stage.deployment;
    let market = IAIPowerRental::new(at.market, &stage.chain);
    let mut owed = i128::try_from(market.keyAccount(stage.session).call().await?.credit.to::<u128>())?;
    let treasury = market.config().call().await?.treasury;
    for account in stage.providers.iter().copied().chain([treasury, BURNED]) {
        owed += i128::try_from(market.creditOf(account).call().await?.to::<u128>())?;
    }
    for event in events(stage).await? {
        if let MarketEvent::OfferPosted(posted) = event {
            let offer = market.offer(posted.offerId).call().await?;
            owed += i128::try_from(offer.bondPerSlot.to::<u128>() * u128::from(offer.slots))?;
        }
    }
    let held: U256 = IERC20::new(at.token, &stage.chain).balanceOf(at.market).call().await?;
    Ok(i128::try_from(held.to::<u128>())? - owed)
}

/// Transactions in the pool: a gap before them is the only reason to be there once all is over.
async fn waiting_transactions(stage: &Stage) -> eyre::Result<u64> {
    // A transaction on its way to the next block is no gap: two blocks are enough for it.
    let mut waiting = 0;
    for _ in 0..30 {
        let pool: Value = stage.chain.raw_request("txpool_status".into(), ()).await?;
        let count =
            |field: &str| u64::from_str_radix(pool[field].as_str().unwrap_or("0x0").trim_start_matches("0x"), 16);
        waiting = count("pending")? + count("queued")?;
        if waiting == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    Ok(waiting)
}
