//! How a provider is dealt with: at its own endpoint, or by way of a bucket.

use std::path::{Path, PathBuf};

use alloy::primitives::B256;
use contracts::ids::AgreementId;
use indexer::rows::AgreementRow;

use super::{Courier, ErrandError, retry};
use crate::{
    benchmark::Scored,
    blobs::{
        Client, ClientAuth, ClientError, ResultDocument, Sought,
        bucket::{Bucket, BucketError},
        guard,
    },
    spec::{InputRef, Manifest, RentalSpec, Statement},
};

pub(super) enum Way {
    Direct(Client),
    Bucket(Bucket),
}

impl Courier {
    /// The way to a rental's provider by what it published: to the node that works for the rental's offer.
    pub(super) async fn way(&self, endpoint: &str, row: &AgreementRow) -> Result<Way, ErrandError> {
        if endpoint.starts_with("s3://") {
            return self.bucket(endpoint).map(|bucket| Way::Bucket(bucket.clone()));
        }
        let auth = self.auth();
        let matched = row.matched.as_ref().ok_or_else(|| retry("the bid is not matched"))?;
        let sought = Sought { rental: row.id, offer: matched.offer_id, matched_block: matched.block };
        self.nodes.find(endpoint, &self.reach, auth, sought).await.map(Way::Direct).map_err(served)
    }

    /// What a provider says of its speed, by what it published: of a fleet, the first node that says something. Whether it
    /// holds is for the caller to check.
    ///
    /// # Errors
    /// [`ErrandError`] when it says nothing.
    pub async fn score(&self, endpoint: &str) -> Result<Scored, ErrandError> {
        if endpoint.starts_with("s3://") {
            return self.bucket(endpoint)?.score().await.map_err(found);
        }
        let mut silence = retry("the provider publishes no endpoint");
        for node in guard::nodes(endpoint).map_err(retry)? {
            let asked = async { Client::connect(node, &self.reach, self.auth()).await?.score().await };
            match asked.await {
                Ok(score) => return Ok(score),
                Err(error) => silence = served(error),
            }
        }
        Err(silence)
    }

    fn bucket(&self, endpoint: &str) -> Result<&Bucket, ErrandError> {
        let found = self.buckets.iter().find(|(url, _)| url == endpoint);
        // Without the right to its bucket nothing can be said about what the provider serves.
        let (_, bucket) = found.ok_or_else(|| {
            retry(format!("the provider uses the bucket {endpoint:?}; name it in agent.buckets to deal with it"))
        })?;
        Ok(bucket)
    }

    fn auth(&self) -> ClientAuth {
        ClientAuth { signer: self.key.clone(), chain_id: self.chain_id, market: self.market }
    }
}

impl Way {
    pub(super) async fn result(&self, rental: AgreementId, spec_hash: B256) -> Result<ResultDocument, ErrandError> {
        match self {
            Self::Direct(client) => client.result(rental, spec_hash).await.map_err(served),
            Self::Bucket(bucket) => bucket.result(rental).await.map_err(found),
        }
    }

    pub(super) async fn outputs(
        &self,
        rental: AgreementId,
        manifest: &Manifest,
        folder: &Path,
        max_bytes: u64,
    ) -> Result<Vec<PathBuf>, ErrandError> {
        match self {
            Self::Direct(client) => client.outputs(rental, manifest, folder, max_bytes).await.map_err(served),
            Self::Bucket(bucket) => bucket.outputs(rental, manifest, folder, max_bytes).await.map_err(found),
        }
    }

    /// Hands more tasks to a rental that runs.
    pub(super) async fn push_more(
        &self,
        rental: AgreementId,
        spec: &RentalSpec,
        blob: impl Fn(&InputRef) -> PathBuf,
    ) -> Result<(), ErrandError> {
        match self {
            Self::Direct(client) => match client.push_more(rental, &spec.to_bytes(), spec, blob).await {
                Ok(_) => Ok(()),
                // It runs no more, is sealed, or is full.
                Err(error @ ClientError::Refused { status: 404 | 409 | 422 | 507, .. }) => {
                    Err(ErrandError::LeftOut(error.to_string()))
                }
                Err(error) => Err(retry(error)),
            },
            Self::Bucket(_) => Err(ErrandError::LeftOut("nothing can be pushed by way of a bucket".into())),
        }
    }

    /// The results so far; `None` while there are none.
    pub(super) async fn results_so_far(
        &self,
        rental: AgreementId,
        spec_hash: B256,
    ) -> Result<Option<ResultDocument>, ErrandError> {
        match self {
            Self::Direct(client) => match client.result(rental, spec_hash).await {
                Err(ClientError::Refused { status: 404, .. }) => Ok(None),
                result => result.map(Some).map_err(served),
            },
            Self::Bucket(_) => Err(ErrandError::LeftOut("a bucket shows results only when all are done".into())),
        }
    }

    /// Whom a result that does not hold speaks against: its provider, if nobody else can have put it there.
    pub(super) fn blame(&self, error: ErrandError) -> ErrandError {
        match (self, error) {
            (Self::Bucket(_), ErrandError::Refuted(text)) => ErrandError::Unserved(text),
            (_, error) => error,
        }
    }

    /// None by way of a bucket: what is written there every 10 s would cost more than it tells.
    pub(super) async fn statements(&self, rental: AgreementId) -> Result<Vec<Statement>, ErrandError> {
        match self {
            Self::Direct(client) => client.statements(rental).await.map_err(served),
            Self::Bucket(_) => Ok(Vec::new()),
        }
    }
}

/// Bytes that contradict what the provider signed are a reason to dispute, and so is a provider that keeps them to
/// itself; what goes wrong here is not.
fn served(error: ClientError) -> ErrandError {
    match error {
        ClientError::Content { .. } => ErrandError::Refuted(error.to_string()),
        ClientError::Unreachable { .. } | ClientError::Refused { .. } | ClientError::Endpoint(_) => {
            ErrandError::Unserved(error.to_string())
        }
        other => retry(other),
    }
}

/// Others may write to a bucket too, so what is wrong there is not served, but refutes nobody. A bucket that does not
/// answer is not the provider.
fn found(error: BucketError) -> ErrandError {
    match error {
        BucketError::Content { .. } => ErrandError::Unserved(error.to_string()),
        error if error.is_missing() => ErrandError::Unserved(error.to_string()),
        other => retry(other),
    }
}
