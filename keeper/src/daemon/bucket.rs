//! Joins a bucket, and a provider's mirror of it.

use std::{path::Path, sync::Arc, time::Duration};

use contracts::ids::AgreementId;
use eyre::{Context as _, OptionExt as _};
use indexer::{Index, rows::Status};
use object_store::aws::AmazonS3Builder;
use tokio::sync::{mpsc, watch};

use super::provider::access_of;
use crate::{
    benchmark::Scored,
    blobs::{
        BlobEvent, Store,
        bucket::{Bucket, Mirror, Rentals, Standing},
    },
    clock::now_s,
    config::BucketConfig,
    keys,
    seller::Seller,
};

/// Between two looks at the bucket.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Between two looks for what is over.
const CLEAR_EVERY: Duration = Duration::from_secs(600);
/// Live rentals of a provider that are looked at.
const MAX_LIVE: usize = 1_000;

pub(super) fn bucket(config: &BucketConfig) -> eyre::Result<Bucket> {
    let (name, prefix) = config.parts().ok_or_eyre("the bucket's url is not of the form s3://NAME/PREFIX")?;
    let secret = |reference: &str| keys::secret(reference, Path::new(&config.url));
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(name)
        .with_region(&config.region)
        .with_access_key_id(secret(&config.access_key)?)
        .with_secret_access_key(secret(&config.secret_key)?);
    if let Some(service) = &config.service {
        // The operator's own choice, not a stranger's: a service on this machine or network may do without TLS.
        builder = builder.with_endpoint(service).with_allow_http(service.starts_with("http://"));
    }
    let objects = builder.build().wrap_err_with(|| format!("bucket {}", config.url))?;
    Ok(Bucket::new(Arc::new(objects), prefix))
}

pub(super) fn mirror(
    bucket: Bucket,
    seller: Seller,
    index: Index,
    store: Store,
    score: watch::Receiver<Option<Scored>>,
    events: mpsc::Sender<BlobEvent>,
) -> Mirror {
    let (of_live, own) = (index.clone(), seller.clone());
    // Nodes of a fleet may share a bucket: each takes in what is for its own offers.
    let live = move || {
        let snapshot = of_live.snapshot().ok();
        let rows = snapshot.and_then(|snapshot| snapshot.agreements_by_provider(own.provider, true, MAX_LIVE).ok());
        rows.unwrap_or_default().into_iter().filter(|row| own.works_on(row)).map(|row| row.id).collect()
    };
    let standing = move |rental: AgreementId| {
        let row = index.snapshot().ok().and_then(|snapshot| snapshot.agreement(rental).ok().flatten());
        let Some((row, access)) = row.and_then(|row| access_of(&row, &seller).map(|access| (row, access))) else {
            return Standing::Other;
        };
        match row.status {
            _ if access.provider != seller.provider || !access.here => Standing::Other,
            Status::Confirmed => Standing::Waiting(access),
            _ if access.open_until_unix_s <= now_s() => Standing::Over,
            _ => Standing::Other,
        }
    };
    let rentals = Rentals { live: Box::new(live), standing: Box::new(standing) };
    Mirror { bucket, store, rentals, score, events, every: LOOK_EVERY, clear_every: CLEAR_EVERY }
}
