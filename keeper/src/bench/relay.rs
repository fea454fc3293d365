//! Bids through the relay, in batches, against the same bids sent as direct calls that were signed beforehand.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEnvelope},
    eips::Encodable2718,
    network::TxSignerSync,
    primitives::{B256, TxKind, U256},
    providers::{DynProvider, Provider, ProviderBuilder},
    rpc::types::Filter,
    signers::local::PrivateKeySigner,
    sol_types::{SolCall, SolEvent},
};
use contracts::bindings::{IAIPowerRental as Market, IAgentWallet as Wallet};
use eyre::{ensure, eyre};
use futures_util::{StreamExt, TryStreamExt, stream};
use keeper::{
    act::{
        calls::Addresses,
        relay::{Relay, Session},
    },
    clock::now_s,
    config::RelayConfig,
    event::{Event, Intent},
    job::JobId,
    journal::Journal,
    preflight::Preflight,
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{chain::Chain, numbers::rounded};

/// Rounds of both, of which the middle one counts: the node's own rate differs by a half from one to the next.
const ROUNDS: u64 = 3;
/// Between the first bids' numbers of what runs one after the other.
const APART: u64 = 1_000_000;
/// Direct calls handed to the node at once.
const SENDERS: usize = 8;
/// Longest wait for the direct calls.
const PATIENCE: Duration = Duration::from_secs(120);
/// Transactions under way at most: blocks come once a second, and what they take in a second must be there.
const IN_FLIGHT: usize = 256;
/// Bids that open the book and warm the accounts, outside of the measurement.
const WARM: u64 = 20;

/// Gives the line of numbers.
pub(crate) async fn measure(anvil: &Path, requests: usize) -> eyre::Result<serde_json::Value> {
    let chain = Chain::start(anvil, PrivateKeySigner::random(), &[]).await?;
    let relayer = PrivateKeySigner::random();
    chain.fund(relayer.address()).await?;
    direct(&chain, 0, WARM as usize).await?;
    chain.tick().await?;

    let from_block = chain.rpc.get_block_number().await?;
    let (mut rounds, mut gas_direct) = (Vec::new(), 0);
    for round in 0..ROUNDS {
        let (gas, took) = direct(&chain, (2 * round + 1) * APART, requests).await?;
        gas_direct = gas;
        let direct_per_s = requests as f64 / took.as_secs_f64();
        let began = Instant::now();
        relayed(&chain, relayer.clone(), (2 * round + 2) * APART, requests).await?;
        let requests_per_s = requests as f64 / began.elapsed().as_secs_f64();
        let ratio = requests_per_s / direct_per_s;
        anstream::eprintln!(
            "{requests} direct calls: {direct_per_s:.0}/s; through the relay: {requests_per_s:.0}/s, {ratio:.2}"
        );
        rounds.push((ratio, requests_per_s, direct_per_s));
    }
    rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (ratio, requests_per_s, direct_per_s) = rounds[rounds.len() / 2];
    let gas_per_request = gas_of_batches(&chain, from_block).await?;
    Ok(json!({
        "bench": "relay",
        "requests_per_s": rounded(requests_per_s),
        "direct_per_s": rounded(direct_per_s),
        "ratio": rounded(ratio),
        "gas_per_request": gas_per_request,
        "gas_direct": gas_direct,
        "gas_ratio": rounded(gas_per_request as f64 / gas_direct as f64),
    }))
}

/// Signs beforehand, sends, waits until all are executed; gives the gas of one and the time from the first that was sent.
async fn direct(chain: &Chain, first: u64, count: usize) -> eyre::Result<(u64, Duration)> {
    let from = chain.session.address();
    let start = chain.rpc.get_transaction_count(from).await?;
    let expiry = now_s() + 3_000;
    let mut signed = Vec::with_capacity(count);
    for at in 0..count as u64 {
        let input = Wallet::placeBidCall { terms: chain.terms(first + at, expiry) }.abi_encode().into();
        let mut tx = TxEip1559 {
            chain_id: chain.market.chain_id,
            nonce: start + at,
            gas_limit: 600_000,
            max_fee_per_gas: 100_000_000_000,
            max_priority_fee_per_gas: 1,
            to: TxKind::Call(chain.wallet),
            value: U256::ZERO,
            access_list: Default::default(),
            input,
        };
        let signature = chain.session.sign_transaction_sync(&mut tx)?;
        let envelope = TxEnvelope::Eip1559(tx.into_signed(signature));
        signed.push((*envelope.tx_hash(), envelope.encoded_2718()));
    }
    let began = Instant::now();
    let hashes: Vec<B256> = signed.iter().map(|(hash, _)| *hash).collect();
    stream::iter(signed)
        .map(|(_, raw)| async move { chain.rpc.send_raw_transaction(&raw).await.map(drop) })
        .buffered(SENDERS)
        .try_collect::<Vec<()>>()
        .await?;
    let last = hashes.last().copied().unwrap_or_default();
    while chain.rpc.get_transaction_receipt(last).await?.is_none() {
        ensure!(began.elapsed() < PATIENCE, "{last} is not mined in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let took = began.elapsed();
    let mut gas = 0;
    let sample: Vec<_> = hashes.iter().rev().take(50).collect();
    for hash in &sample {
        let receipt = chain.rpc.get_transaction_receipt(**hash).await?.ok_or_else(|| eyre!("{hash} has no receipt"))?;
        ensure!(receipt.status(), "{hash} reverted");
        gas += receipt.gas_used;
    }
    Ok((gas / sample.len().max(1) as u64, took))
}

/// Plans bids as fast as the relay takes them, and waits until all of them are mined.
async fn relayed(chain: &Chain, relayer: PrivateKeySigner, first: u64, count: usize) -> eyre::Result<()> {
    let folder = tempfile::tempdir()?;
    let journal = Journal::open(folder.path())?;
    let provider: DynProvider = ProviderBuilder::default().connect_http(chain.url.parse()?).erased();
    let session = Session { wallet: chain.wallet, key: chain.session.clone(), forwarder: chain.market.forwarder };
    let relay = Relay {
        provider: provider.clone(),
        chain_id: chain.market.chain_id,
        signer: relayer,
        session: Some(session),
        addresses: Addresses { market: chain.market.market, token: chain.market.token },
        journal: journal.clone(),
        preflight: Preflight::new(provider, chain.market.chain_id),
        poll: Duration::from_millis(50),
        confirmations: 2,
        config: RelayConfig { max_in_flight: IN_FLIGHT, gas_budget_per_day: 1_000.0, ..RelayConfig::default() },
        index: None,
    };
    let (inbox, records) = mpsc::channel(1_024);
    let (out, mut events) = mpsc::channel(1_024);
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay.run(records, out, stop.clone()));
    let planner = tokio::spawn(async move {
        let expiry = now_s() + 3_000;
        for at in 0..count as u64 {
            let intent = Intent::Bid {
                job: JobId(first + at),
                attempt: 0,
                class: 1,
                tick: 130,
                max_duration_s: 300,
                expiry,
                spec_hash: B256::from(U256::from(first + at + 1)),
            };
            let record = journal.plan(intent, "measured".into(), now_s())?;
            inbox.send(record).await?;
        }
        eyre::Ok(inbox)
    });
    let mut mined = std::collections::HashSet::new();
    while mined.len() < count {
        match events.recv().await {
            Some(Event::Acted(outcome)) => {
                outcome.result.map_err(|error| eyre!("{}: {error}", outcome.key))?;
                mined.insert(outcome.key);
            }
            Some(_) => {}
            None => break,
        }
    }
    let _inbox = planner.await??;
    stop.cancel();
    running.await??;
    ensure!(mined.len() == count, "{} of {count} requests were mined", mined.len());
    Ok(())
}

/// Gas of one request in full batches.
async fn gas_of_batches(chain: &Chain, from_block: u64) -> eyre::Result<u64> {
    let filter = Filter::new()
        .address(chain.market.market)
        .event_signature(Market::BidPlaced::SIGNATURE_HASH)
        .from_block(from_block + 1);
    let mut by_tx = std::collections::HashMap::<B256, u64>::new();
    for log in chain.rpc.get_logs(&filter).await? {
        if let Some(hash) = log.transaction_hash {
            *by_tx.entry(hash).or_default() += 1;
        }
    }
    let (mut gas, mut requests) = (0, 0);
    for (hash, bids) in by_tx.into_iter().filter(|(_, bids)| *bids == 20).take(50) {
        let receipt = chain.rpc.get_transaction_receipt(hash).await?.ok_or_else(|| eyre!("{hash} has no receipt"))?;
        gas += receipt.gas_used;
        requests += bids;
    }
    ensure!(requests > 0, "no full batch was sent; measure with more requests");
    Ok(gas / requests)
}
