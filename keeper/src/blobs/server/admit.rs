//! Who may do what: the rental's own agent, once for each request it signed.

use std::time::Duration;

use alloy::primitives::{Address, B128, B256};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use contracts::ids::AgreementId;

use super::{
    BlobEvent, Problem, RentalAccess, ServerLimits, ServerState,
    places::{Crowded, Place, Places},
    replay::Refusal,
};
use crate::{
    blobs::{auth::Subject, store::RentalFiles},
    clock::now_s,
};

/// Longest wait for the keeper to take an event.
const EVENT_WAIT: Duration = Duration::from_secs(5);

pub(super) type Answer<T> = Result<T, Problem>;

/// What of a request is signed, and its headers.
pub(super) struct Call {
    method: Method,
    uri: Uri,
    pub(super) headers: HeaderMap,
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Call {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self { method: parts.method.clone(), uri: parts.uri.clone(), headers: parts.headers.clone() })
    }
}

impl ServerState {
    /// The rental, if it is this provider's and the request is signed by its agent over `content`.
    pub(super) fn admit(&self, id: &str, call: &Call, content: B256) -> Answer<(AgreementId, RentalAccess)> {
        let (rental, access) = self.look_up(id)?;
        self.check_agent(rental, &access, call, content)?;
        Ok((rental, access))
    }

    pub(super) fn admit_for_spec(&self, id: &str, call: &Call) -> Answer<(AgreementId, RentalAccess)> {
        let (rental, access) = self.look_up(id)?;
        self.check_agent(rental, &access, call, access.spec_hash)?;
        Ok((rental, access))
    }

    fn look_up(&self, id: &str) -> Answer<(AgreementId, RentalAccess)> {
        let not_found = |detail: String| Problem::new(StatusCode::NOT_FOUND, detail);
        let rental: AgreementId = id.parse().map_err(|error| not_found(format!("{error}")))?;
        // One spelling of an id, so that one signature is for one path.
        if id != rental.to_string() {
            return Err(not_found(format!("write the rental's id as {rental}")));
        }
        let seen = (self.access)(rental);
        let access = seen.rental.ok_or_else(|| {
            let block = seen.block;
            let detail =
                format!("rental {rental} is not known here at block {block}; if it was matched later, ask again then");
            Problem { block: Some(block), ..not_found(detail) }
        })?;
        if access.provider != self.config.provider {
            let (theirs, ours) = (access.provider, self.config.provider);
            return Err(not_found(format!(
                "rental {rental} belongs to provider {theirs}, but this is {ours}; ask that one"
            )));
        }
        if !access.here {
            let detail = format!(
                "rental {rental} is for offer {}, which another node of provider {} works for; ask that one",
                access.offer, access.provider
            );
            return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail));
        }
        Ok((rental, access))
    }

    fn check_agent(&self, rental: AgreementId, access: &RentalAccess, call: &Call, content: B256) -> Answer<()> {
        let now_unix_s = now_s();
        let subject = Subject {
            method: call.method.as_str(),
            path: call.uri.path_and_query().map_or(call.uri.path(), |path| path.as_str()),
            content,
            chain_id: self.config.chain_id,
            market: self.config.market,
            expires_unix_s: 0,
            nonce: B128::ZERO,
        };
        let signed = subject.verify(&call.headers, now_unix_s)?;
        let signer = signed.signer;
        if signer != access.agent {
            let detail =
                format!("rental {rental} was bid for by {}, not by {signer}; sign with that key", access.agent);
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        if access.open_until_unix_s <= now_unix_s {
            let detail = format!("rental {rental} ended long ago and its blobs are no longer served");
            return Err(Problem::new(StatusCode::GONE, detail));
        }
        // Only what agents of this provider's own rentals signed takes memory.
        self.served.take(&signed, now_unix_s).map_err(|refusal| match refusal {
            Refusal::Void(reason) => reason.error(&signed).into(),
            Refusal::KeyIsBusy => {
                let limit = self.config.limits.requests_per_agent;
                let detail = format!("{signer} made {limit} requests within a minute; try again in a moment");
                Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)
            }
            Refusal::AllAreBusy => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many requests at this provider; try again in a moment",
            ),
        })
    }

    /// A place for a transfer of the rental's agent.
    pub(super) fn place(&self, places: &Places<Address>, access: &RentalAccess, what: &str) -> Answer<Place<Address>> {
        places.take(access.agent).map_err(|crowded| match crowded {
            Crowded::Own => Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                format!("{} has too many {what} under way; begin the next when one has ended", access.agent),
            ),
            Crowded::All => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("too many {what} at this provider; try again in a moment"),
            ),
        })
    }

    pub(super) fn limits(&self) -> &ServerLimits {
        &self.config.limits
    }

    /// What the store has for the rental as it is now; what is of another spec (a reorganisation) does not count.
    pub(super) async fn files(&self, rental: AgreementId, access: &RentalAccess) -> Option<RentalFiles> {
        self.store.rental(rental).await.filter(|files| files.spec_hash == access.spec_hash)
    }

    pub(super) async fn check_spec(&self, rental: AgreementId, access: &RentalAccess) -> Answer<()> {
        if self.store.spec_hash(rental) == Some(access.spec_hash) {
            return Ok(());
        }
        let detail = format!("the spec of rental {rental} is not here; push it first");
        Err(Problem::new(StatusCode::NOT_FOUND, detail))
    }

    pub(super) async fn tell_if_complete(&self, rental: AgreementId) -> Answer<()> {
        match self.store.rental(rental).await {
            Some(files) if files.spec.is_some() && files.missing.is_empty() => {
                self.tell(BlobEvent::InputsComplete { rental }).await
            }
            _ => Ok(()),
        }
    }

    /// Hands an event to the keeper. What it is about is on disk by now, so a client that is told to come again loses
    /// nothing.
    pub(super) async fn tell(&self, event: BlobEvent) -> Answer<()> {
        self.events.send_timeout(event, EVENT_WAIT).await.map_err(|_| {
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "this provider's keeper is busy; send the same again in a moment",
            )
        })
    }
}
