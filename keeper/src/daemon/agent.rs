//! Joins the agent's side.

use std::path::Path;

use alloy::{providers::Provider, signers::local::PrivateKeySigner};
use contracts::params::Preset;
use eyre::{Context as _, bail};
use tracing::info;

use super::{Hands, bucket::bucket, jobs_dir};
use crate::{
    act::{errands::Courier, relay::Session},
    blobs::{Nodes, Reach},
    config::{AgentConfig, Config},
    keeper::AgentSide,
    purse::Purse,
};

pub(super) async fn agent_side(
    config: &Config,
    agent: &AgentConfig,
    session: PrivateKeySigner,
    relayers: Vec<PrivateKeySigner>,
    data_dir: &Path,
    hands: &Hands<'_>,
) -> eyre::Result<AgentSide> {
    let chain = &config.chain;
    let code = hands.chain.provider.get_code_at(agent.wallet).await.wrap_err("reading the wallet's code")?;
    if code.is_empty() {
        bail!("agent.wallet {} has no code on this chain; create it first, or check the address", agent.wallet);
    }
    let demo = chain.preset == Preset::Demo;
    let mut reach = Reach { private: demo, plain_http: demo || agent.allow_plain_http, ..Reach::default() };
    if let Some(path) = &agent.extra_ca {
        reach.roots.trust(path)?;
    }
    let courier = Courier {
        key: session.clone(),
        chain_id: chain.chain_id,
        market: chain.market,
        reach,
        buckets: agent
            .buckets
            .iter()
            .map(|config| Ok((config.url.clone(), bucket(config)?)))
            .collect::<eyre::Result<_>>()?,
        nodes: Nodes::default(),
        min_billed_s: chain.preset.params().min_billed_s,
        jobs_dir: jobs_dir(data_dir),
    };
    let (key, accounts) = (session.address(), relayers.iter().map(PrivateKeySigner::address).collect());
    let session = Session { wallet: agent.wallet, key: session, forwarder: chain.forwarder };
    let relay = hands.relays(config, relayers, Some(session)).await?;
    let purse =
        Purse { provider: hands.chain.provider.clone(), token: hands.chain.addresses.token, wallet: agent.wallet, key };
    info!(wallet = %agent.wallet, session_key = %key, "agent");
    Ok(AgentSide {
        wallet: agent.wallet,
        key,
        relayers: accounts,
        strategy: agent.strategy.clone(),
        courier,
        purse,
        relay,
    })
}
