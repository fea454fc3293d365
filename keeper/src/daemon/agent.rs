//! Joins the agent's side.

use std::path::Path;

use alloy::{providers::Provider, signers::local::PrivateKeySigner};
use contracts::params::Preset;
use eyre::{Context as _, bail};
use tracing::info;

use super::{Hands, jobs_dir};
use crate::{
    act::{errands::Courier, relay::Session},
    config::{AgentConfig, Config},
    keeper::AgentSide,
    purse::Purse,
};

pub(super) async fn agent_side(
    config: &Config,
    agent: &AgentConfig,
    session: PrivateKeySigner,
    relayer: PrivateKeySigner,
    data_dir: &Path,
    hands: &Hands<'_>,
) -> eyre::Result<AgentSide> {
    let chain = &config.chain;
    let code = hands.chain.provider.get_code_at(agent.wallet).await.wrap_err("reading the wallet's code")?;
    if code.is_empty() {
        bail!("agent.wallet {} has no code on this chain; create it first, or check the address", agent.wallet);
    }
    let courier = Courier {
        key: session.clone(),
        chain_id: chain.chain_id,
        market: chain.market,
        allow_private: chain.preset == Preset::Demo,
        jobs_dir: jobs_dir(data_dir),
    };
    let (key, relayer_address) = (session.address(), relayer.address());
    let session = Session { wallet: agent.wallet, key: session, forwarder: chain.forwarder };
    let relay = hands.relay(config, relayer, Some(session));
    let purse =
        Purse { provider: hands.chain.provider.clone(), token: hands.chain.addresses.token, wallet: agent.wallet, key };
    info!(wallet = %agent.wallet, session_key = %key, "agent");
    Ok(AgentSide {
        wallet: agent.wallet,
        key,
        relayer: relayer_address,
        strategy: agent.strategy.clone(),
        courier,
        purse,
        relay,
    })
}
