//! Finds the node of a provider that works for a rental.
//!
//! A provider with one node is simply gone to. Of several, all are asked at once, and the first that knows the rental as its
//! own is dealt with; it is asked alone the next time. One that works for other offers says so (421), which nothing is
//! concluded from but that; each is checked like any stranger's endpoint before it is talked to.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use contracts::ids::AgreementId;
use futures_util::{StreamExt, stream::FuturesUnordered};
use reqwest::Method;
use tokio::time::Instant;

use super::{BLOCK_PAUSE, Client, ClientAuth, ClientError};
use crate::{
    blobs::guard::{self, Reach},
    spec::sha256,
};

/// Longest wait for a node's word; one that is away must not hold up the others.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// How long the nodes' indexes may take to reach the block of the match.
const INDEX_TIME: Duration = Duration::from_secs(15);
/// Offers whose node is remembered.
const REMEMBERED: usize = 4_096;

/// Remembers which node works for which offer. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Nodes(Arc<Mutex<HashMap<u64, String>>>);

/// The rental whose node is sought.
#[derive(Clone, Copy, Debug)]
pub struct Sought {
    /// The rental.
    pub rental: AgreementId,
    /// Its offer, which one node works for.
    pub offer: u64,
    /// Block of the match.
    pub matched_block: u64,
}

impl Nodes {
    /// A connection to the node, by what its provider `published`: one endpoint, or several with spaces between them.
    ///
    /// # Errors
    /// [`ClientError`]: the most telling answer if no node has the rental.
    pub async fn find(
        &self,
        published: &str,
        reach: &Reach,
        auth: ClientAuth,
        sought: Sought,
    ) -> Result<Client, ClientError> {
        let nodes = guard::nodes(published)?;
        if let [only] = nodes[..] {
            return Client::connect(only, reach, auth).await;
        }
        let ask = async |node: &str| {
            let client = Client::connect(node, reach, auth.clone()).await?;
            client.answers_for(sought.rental).await.map(|()| client)
        };
        if let Some(node) = self.known(sought.offer).filter(|node| nodes.contains(&node.as_str()))
            && let Ok(client) = ask(&node).await
        {
            return Ok(client);
        }
        let until = Instant::now() + INDEX_TIME;
        loop {
            let mut answers: FuturesUnordered<_> =
                nodes.iter().map(|node| async { (*node, ask(node).await) }).collect();
            let mut refusals = Vec::with_capacity(nodes.len());
            while let Some((node, answer)) = answers.next().await {
                match answer {
                    Ok(client) => {
                        self.remember(sought.offer, node);
                        return Ok(client);
                    }
                    Err(error) => refusals.push(error),
                }
            }
            let told = refusals.into_iter().max_by_key(|error| weight(error, sought.matched_block));
            match told {
                Some(error) if weight(&error, sought.matched_block) < BEHIND || Instant::now() >= until => {
                    return Err(error);
                }
                _ => tokio::time::sleep(BLOCK_PAUSE).await,
            }
        }
    }

    fn known(&self, offer: u64) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&offer).cloned()
    }

    fn remember(&self, offer: u64, node: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(offer, node.to_owned());
    }
}

/// A node that does not know the block of the match yet may be the one.
const BEHIND: u8 = 2;

/// How much an answer tells about where the rental is: a node that is away may be the one, one that works for other offers
/// is not.
fn weight(error: &ClientError, matched_block: u64) -> u8 {
    match error {
        ClientError::Refused { status: 404, block: Some(block), .. } if *block < matched_block => BEHIND,
        ClientError::Refused { status: 421, .. } => 0,
        _ => 1,
    }
}

impl Client {
    /// Whether the node at the other end has this rental for its own; asked once.
    async fn answers_for(&self, rental: AgreementId) -> Result<(), ClientError> {
        let path = format!("/v1/rentals/{rental}");
        let request = self.request(Method::GET, &path, sha256(b""))?.timeout(ANSWER_TIME);
        self.once(Method::GET, &path, request).await.map(drop)
    }
}
