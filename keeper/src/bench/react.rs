//! A provider's keeper at work: from the node's word of a block with a bid to the signed match in the node's hands.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use alloy::{
    primitives::Address,
    providers::{Provider, ProviderBuilder, WsConnect},
    signers::local::PrivateKeySigner,
    sol_types::{SolCall, SolEvent},
};
use axum::{Router, body::Bytes, extract::State, routing::post};
use contracts::{
    bindings::{IAIPowerRental as Market, IAgentWallet as Wallet},
    ids::BookId,
};
use eyre::{Context as _, OptionExt as _, ensure};
use futures_util::StreamExt;
use keeper::{
    config::Config,
    daemon,
    preflight::{ContractCall, Preflight},
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{chain::Chain, numbers::percentile_ms};

/// Bids whose times are not counted: caches fill, the book is opened.
const WARM: usize = 5;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Gives the line of numbers.
pub(crate) async fn measure(anvil: &Path, worker: &Path, bids: usize) -> eyre::Result<serde_json::Value> {
    let chain = Chain::start(anvil, PrivateKeySigner::random(), &[]).await?;
    let (sends, mut sent) = mpsc::unbounded_channel();
    let endpoint = Endpoint::start(&chain.url, sends).await?;
    let folder = tempfile::tempdir()?;
    let (provider, config) = chain.provider(folder.path(), &endpoint.url, 5, worker).await?;
    let config = Config::load(&config)?;
    let stop = CancellationToken::new();
    let keeper = tokio::spawn(daemon::run(config, stop.clone()));
    let offer = offer_of(&chain, provider).await?;
    anstream::eprintln!("the provider sells; {bids} bids, one a block");
    chain.rpc.raw_request::<_, ()>("evm_setAutomine".into(), (false,)).await?;
    let session = chain.session.address();
    chain.rpc.raw_request::<_, ()>("anvil_impersonateAccount".into(), (session,)).await?;
    let ws = ProviderBuilder::<_, _, alloy::network::Ethereum>::default()
        .connect_ws(WsConnect::new(chain.url.replace("http", "ws")))
        .await?;
    let mut heads = ws.subscribe_blocks().await?.into_stream();
    let preflight = Preflight::new(chain.rpc.clone(), chain.market.chain_id);
    let (mut reactions, mut preflights) = (Vec::new(), Vec::new());
    for number in 0..(WARM + bids) as u64 {
        while sent.try_recv().is_ok() {}
        let expiry = keeper::clock::now_s() + 3_000;
        let place = Wallet::placeBidCall { terms: chain.terms(number, expiry) };
        let request = alloy::rpc::types::TransactionRequest::default().from(session).to(chain.wallet);
        let _ = chain.rpc.send_transaction(request.input(place.abi_encode().into())).await?;
        let announced = next_block(&chain, &mut heads).await?;
        let (matched, took) =
            tokio::join!(tokio::time::timeout(PATIENCE, sent.recv()), run_match(&chain, &preflight, provider, offer));
        let matched = matched.wrap_err("no match was sent in time")?.ok_or_eyre("the endpoint has ended")?;
        if number as usize >= WARM {
            reactions.push(matched.saturating_duration_since(announced));
            preflights.extend(took?);
        }
        // Let the match be mined and become final.
        for _ in 0..3 {
            next_block(&chain, &mut heads).await?;
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    }
    stop.cancel();
    keeper.await??;
    ensure!(!preflights.is_empty(), "no preflight was measured");
    Ok(json!({
        "bench": "react",
        "react_p50_ms": percentile_ms(&mut reactions, 50),
        "react_p99_ms": percentile_ms(&mut reactions, 99),
        "preflight_p50_ms": percentile_ms(&mut preflights, 50),
    }))
}

/// Mines a block; gives the moment at which the node announced it.
async fn next_block<S>(chain: &Chain, heads: &mut S) -> eyre::Result<Instant>
where
    S: futures_util::Stream<Item = alloy::rpc::types::Header> + Unpin,
{
    let (mined, head) = tokio::join!(chain.rpc.raw_request::<_, String>("evm_mine".into(), ()), async {
        let head = tokio::time::timeout(PATIENCE, heads.next()).await;
        (head, Instant::now())
    });
    mined?;
    head.0.wrap_err("the node announced no block")?.ok_or_eyre("the subscription has ended")?;
    Ok(head.1)
}

/// Time of the match's own run, as the relay does it on a block that it has entered.
async fn run_match(
    chain: &Chain,
    preflight: &Preflight,
    provider: Address,
    offer: u64,
) -> eyre::Result<Option<Duration>> {
    let book = BookId { class: 1, bucket: 0, preemptible: false }.to_u16();
    let market = Market::new(chain.market.market, &chain.rpc);
    let expected = market.bestBid(book, 0).call().await?;
    let data = Market::matchBestCall { offerId: offer, book, minTick: 0, expectedId: expected }.abi_encode().into();
    let call = ContractCall { from: provider, to: chain.market.market, data };
    preflight.warm().await?;
    let began = Instant::now();
    Ok(preflight.check(call).await.ok().map(|_| began.elapsed()))
}

/// Waits until the keeper has listed its slots.
async fn offer_of(chain: &Chain, provider: Address) -> eyre::Result<u64> {
    let filter = alloy::rpc::types::Filter::new()
        .address(chain.market.market)
        .event_signature(Market::OfferPosted::SIGNATURE_HASH)
        .topic2(provider.into_word())
        .from_block(0);
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        if let Some(log) = chain.rpc.get_logs(&filter).await?.first() {
            return Ok(Market::OfferPosted::decode_log(&log.inner)?.offerId);
        }
        // Blocks come with transactions; finality needs some more.
        chain.rpc.raw_request::<_, String>("evm_mine".into(), ()).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    eyre::bail!("the keeper listed no offer within {PATIENCE:?}; RUST_LOG=info shows why")
}

/// The keeper's way to the node, which notes when a transaction passes.
struct Endpoint {
    url: String,
}

#[derive(Clone)]
struct Upstream {
    url: String,
    client: reqwest::Client,
    sends: mpsc::UnboundedSender<Instant>,
}

impl Endpoint {
    async fn start(url: &str, sends: mpsc::UnboundedSender<Instant>) -> eyre::Result<Self> {
        let upstream = Upstream { url: url.to_owned(), client: reqwest::Client::new(), sends };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new().route("/", post(pass_on)).with_state(upstream);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url })
    }
}

async fn pass_on(State(upstream): State<Upstream>, body: Bytes) -> Result<Bytes, String> {
    if body.windows(22).any(|window| window == b"eth_sendRawTransaction") {
        let _ = upstream.sends.send(Instant::now());
    }
    let request = upstream.client.post(&upstream.url).header("content-type", "application/json").body(body);
    let answer = request.send().await.map_err(|error| error.to_string())?;
    answer.bytes().await.map_err(|error| error.to_string())
}
