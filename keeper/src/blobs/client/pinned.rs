//! Names lead where they led when they were checked.

use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Answers every name with the addresses that were checked. It asks nobody, so no later answer counts.
#[derive(Clone, Debug)]
pub(super) struct Pinned(pub(super) Vec<SocketAddr>);

impl Resolve for Pinned {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(self.0.clone().into_iter());
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use alloy::{primitives::Address, signers::local::PrivateKeySigner};
    use axum::Router;
    use contracts::ids::AgreementId;
    use tokio::net::TcpListener;

    use crate::blobs::{
        Client, ClientAuth, ClientError,
        guard::{Endpoint, Reach},
    };

    /// A server that refuses everything with its own status.
    async fn listen(address: &str, status: u16) -> SocketAddr {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let status = axum::http::StatusCode::from_u16(status).unwrap();
        let router = Router::new().fallback(move || async move { status });
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    use super::*;

    #[tokio::test]
    async fn a_name_that_leads_elsewhere_by_now_is_not_followed() {
        // The name was checked when it led to one address; whoever resolves it now finds another, or nothing.
        let checked = listen("127.0.0.2:0", 403).await;
        listen(&format!("127.0.0.1:{}", checked.port()), 410).await;
        for name in ["localhost", "localhost.", "rebound.invalid"] {
            let url = format!("http://{name}:{}", checked.port()).parse().unwrap();
            let auth = ClientAuth { signer: PrivateKeySigner::random(), chain_id: 1, market: Address::ZERO };
            let client = Client::to(Endpoint { url, addresses: vec![checked] }, &Reach::demo(), auth).unwrap();
            let error = client.status(AgreementId::default()).await.unwrap_err();
            assert!(matches!(error, ClientError::Refused { status: 403, .. }), "{name}: {error}");
        }
    }
}
