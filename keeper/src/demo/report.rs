//! The reckoning. Money and states are read from the chain; containers run and gas are what the keepers journalled.

use std::{collections::BTreeMap, path::Path, time::Duration};

use alloy::{
    primitives::{B256, U256},
    providers::Provider,
    rpc::types::Filter,
    sol_types::SolEventInterface,
};
use contracts::{
    bindings::{IAIPowerRental, IAIPowerRental::IAIPowerRentalEvents as MarketEvent, IAgentWallet, Status},
    ids::AgreementId,
    units::Amount,
};
use eyre::{Context as _, OptionExt as _, bail, ensure};
use indexer::{Index, IndexConfig};
use keeper::{socket::Request, spec::sha256};
use serde_json::{Value, json};

use crate::{actors::Actor, show::Show, stage::Stage, work::Finished};

/// Settlement takes the challenge window and some blocks.
const SETTLED_WITHIN: Duration = Duration::from_secs(180);

/// Registering, approving and listing take a few blocks.
const LISTED_WITHIN: Duration = Duration::from_secs(60);

/// A rental ever bid for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rental {
    /// Of its work.
    pub spec_hash: B256,
    /// Whether it became an agreement.
    pub matched: bool,
    /// By a call.
    pub status: Status,
}

/// All rentals ever bid for.
pub(crate) async fn rentals(stage: &Stage) -> eyre::Result<BTreeMap<AgreementId, Rental>> {
    let market = IAIPowerRental::new(stage.deployment.market, &stage.chain);
    let mut rentals = BTreeMap::new();
    for event in events(stage).await? {
        match event {
            MarketEvent::BidPlaced(bid) => {
                let status = market.agreement(bid.agreementId).call().await?.status;
                rentals.insert(bid.agreementId.into(), Rental { spec_hash: bid.specHash, matched: false, status });
            }
            MarketEvent::AgreementCreated(made) => {
                let id = AgreementId::from(made.agreementId);
                rentals.get_mut(&id).ok_or_eyre("a rental without a bid")?.matched = true;
            }
            _ => {}
        }
    }
    Ok(rentals)
}

/// Every event of the market, oldest first.
pub(crate) async fn events(stage: &Stage) -> eyre::Result<Vec<MarketEvent>> {
    let at = &stage.deployment;
    let filter = Filter::new().address(at.market).from_block(at.start_block);
    let logs = stage.chain.get_logs(&filter).await?;
    Ok(logs.iter().filter_map(|log| MarketEvent::decode_log(&log.inner).ok().map(|event| event.data)).collect())
}

fn is_live(status: Status) -> bool {
    matches!(status, Status::Open | Status::Confirmed | Status::Running | Status::Submitted | Status::Disputed)
}

/// Waits until every provider has listed its slots.
pub(crate) async fn await_offers(stage: &Stage) -> eyre::Result<()> {
    let since = std::time::Instant::now();
    loop {
        let listed =
            events(stage).await?.into_iter().filter(|event| matches!(event, MarketEvent::OfferPosted(_))).count();
        if listed >= stage.providers.len() {
            return Ok(());
        }
        if since.elapsed() > LISTED_WITHIN {
            bail!("after {LISTED_WITHIN:?} only {listed} of {} providers have an offer", stage.providers.len());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until every agreement is over and every provider has pulled its pay.
pub(crate) async fn await_settlement(stage: &Stage) -> eyre::Result<()> {
    let market = IAIPowerRental::new(stage.deployment.market, &stage.chain);
    let since = std::time::Instant::now();
    loop {
        let statuses = rentals(stage).await?.into_iter().map(|(id, rental)| (id, rental.status));
        let live: Vec<_> = statuses.filter(|(_, status)| is_live(*status)).collect();
        let mut owed = Amount::ZERO;
        for provider in &stage.providers {
            owed = owed + Amount::from(market.creditOf(*provider).call().await?);
        }
        if live.is_empty() && owed == Amount::ZERO {
            return Ok(());
        }
        if since.elapsed() > SETTLED_WITHIN {
            bail!("after {SETTLED_WITHIN:?} these are not over: {live:?}; credits of providers: {owed}");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// The last line of a run.
pub(crate) async fn reckon(
    stage: &Stage,
    cast: &[Actor],
    finished: &[Finished],
    engine: &str,
    left: usize,
    show: &Show,
) -> eyre::Result<Value> {
    let wallet = IAgentWallet::new(stage.wallet, &stage.chain);
    collect(stage).await?;
    let (mut earned, mut fees) = (Amount::ZERO, Amount::ZERO);
    for event in events(stage).await? {
        if let MarketEvent::PaymentProcessed(paid) = event {
            earned = earned + Amount::from(paid.pay);
            fees = fees + Amount::from(paid.fee);
        }
    }
    let settled = rentals(stage).await?.into_values().filter(|rental| rental.status == Status::Settled).count();
    let (mut containers, mut gas_wei) = (0, U256::ZERO);
    for actor in cast {
        let status = actor.document(Request::Status).await?;
        gas_wei += status["gas_wei"].as_str().unwrap_or("0").parse::<U256>()?;
        let journal = actor.document(Request::Journal { limit: 1_000 }).await?;
        let done = |record: &&Value| {
            record["key"].as_str().is_some_and(|key| key.starts_with("work/")) && record["state"]["state"] == "done"
        };
        containers += journal.as_array().map_or(0, |records| records.iter().filter(done).count());
    }
    let equal = index_equals_chain(stage).await?;
    Ok(json!({
        "rentals_settled": settled,
        "containers_run": containers,
        "containers_left": left,
        "engine": engine,
        "results": finished.iter().map(result).collect::<eyre::Result<Vec<_>>>()?,
        "wallet_spent_wei": wallet.lifetimeSpent().call().await?.to_string(),
        "wallet_limit_wei": wallet.limits().call().await?.daily.to_string(),
        "provider_earned_wei": earned.0.to_string(),
        "fee_wei": fees.0.to_string(),
        "escrow_held_wei": wallet.reserved().call().await?.to_string(),
        "gas_spent_wei": gas_wei.to_string(),
        "index_equals_chain": equal,
        "seconds": (show.seconds() * 10.0).round() / 10.0,
    }))
}

/// The wallet counts what its key's last rentals spent, and takes what they left: nothing of it stays at the market.
/// Anybody may ask it to.
pub(crate) async fn collect(stage: &Stage) -> eyre::Result<()> {
    let wallet = IAgentWallet::new(stage.wallet, &stage.chain);
    let receipt = wallet.collect(stage.session).send().await?.get_receipt().await?;
    ensure!(receipt.status(), "collecting for the wallet {} reverted", stage.wallet);
    Ok(())
}

/// A result's files as they are on disk now, hashed again.
fn result(finished: &Finished) -> eyre::Result<Value> {
    let mut files = Vec::new();
    for (path, expected) in &finished.files {
        let path = finished.folder.join(path);
        let bytes = std::fs::read(&path).wrap_err_with(|| path.display().to_string())?;
        ensure!(sha256(&bytes) == *expected, "{} is not what was submitted", path.display());
        files.push(json!({ "path": path, "sha256": expected }));
    }
    Ok(json!({ "input": finished.label, "rental": finished.rental, "files": files }))
}

/// Compares the agent's index with the chain, row by row, by calls.
pub(crate) async fn index_equals_chain(stage: &Stage) -> eyre::Result<bool> {
    let at = &stage.deployment;
    let data_dir: &Path = &stage.data_dir("agent");
    for _ in 0..3 {
        let index = Index::open_read_only(IndexConfig {
            rpc_urls: vec![stage.rpc.clone()],
            chain_id: at.chain_id,
            market: at.market,
            factory: at.factory,
            start_block: at.start_block,
            data_dir: data_dir.join("index"),
            undo_horizon_blocks: at.preset.params().undo_horizon_blocks,
            poll_interval: Duration::from_millis(250),
        })?;
        let report = index.verify().await?;
        if report.is_equal() {
            return Ok(report.checked > 0);
        }
        anstream::eprintln!("index differs from the chain: {:?}", report.mismatches);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    Ok(false)
}
