//! What the engine holds: questions that change nothing.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use alloy::primitives::B256;
use bollard::{
    errors::Error as DockerError,
    models::{ContainerInspectResponse, ContainerSummary},
    query_parameters::{ListContainersOptions, ListVolumesOptions},
};
use tokio::time::Instant;

use super::{
    super::{EngineError, Found, Owner, WorkOrder},
    DockerEngine, SETTLE,
    answers::{failed, has_ended, is_absent, is_between_states, is_live},
    sealed,
};

impl DockerEngine {
    pub(in super::super) async fn list(&self, chain_id: Option<u64>) -> Result<Vec<Found>, EngineError> {
        let mut found = self.list_of(Some(&self.owner)).await?;
        found.retain(|found| found.owner == self.owner.name && chain_id.is_none_or(|chain| chain == found.id.chain_id));
        Ok(found)
    }

    /// Everything of every keeper.
    pub(in super::super) async fn list_all(&self) -> Result<Vec<Found>, EngineError> {
        self.list_of(None).await
    }

    async fn list_of(&self, owner: Option<&Owner>) -> Result<Vec<Found>, EngineError> {
        let filters = sealed::filters(owner);
        let containers = self.containers(filters.clone()).await?;
        let options = ListVolumesOptions { filters: Some(filters) };
        let volumes = self.docker.list_volumes(Some(options)).await.map_err(failed("list", "volumes"))?;
        let parts = containers
            .into_iter()
            .map(|found| (found.labels.unwrap_or_default(), is_live(found.state)))
            .chain(volumes.volumes.unwrap_or_default().into_iter().map(|volume| (volume.labels, false)));
        let mut attempts = BTreeMap::<String, Found>::new();
        for (labels, running) in parts {
            match sealed::found(&labels, running) {
                Some(found) => {
                    let known = attempts.entry(found.name.clone()).or_insert_with(|| found.clone());
                    known.running |= found.running;
                    known.deadline_unix_s = known.deadline_unix_s.min(found.deadline_unix_s);
                }
                None => {
                    tracing::warn!(?labels, "a container or volume with an owner label of ours has no readable name")
                }
            }
        }
        let mut attempts: Vec<_> = attempts.into_values().collect();
        attempts.sort_by_key(|found| found.id);
        Ok(attempts)
    }

    /// Law 3: another attempt at work means that this one must not start.
    pub(super) async fn refuse_second_attempt(&self, order: &WorkOrder) -> Result<(), EngineError> {
        let other = |found: &Found| found.running && found.id.rental == order.rental && found.id != order.id();
        match self.list(Some(order.chain_id)).await?.into_iter().find(other) {
            None => Ok(()),
            Some(other) => {
                let (rental, running, wanted) = (order.rental, other.id.attempt, order.attempt);
                Err(EngineError::AnotherAttempt { rental, running, wanted })
            }
        }
    }

    /// One of the order's devices that no worker has which may still run.
    pub(super) async fn free_device(&self, order: &WorkOrder) -> Result<String, EngineError> {
        let holders = self.containers(sealed::with_device()).await?;
        let taken: Vec<_> = holders
            .into_iter()
            .filter(|found| !has_ended(found.state))
            .filter_map(|found| sealed::device_of(&found.labels.unwrap_or_default()).map(str::to_owned))
            .collect();
        let free = order.devices.iter().find(|device| !taken.contains(device));
        let busy = || EngineError::DevicesBusy { rental: order.rental, wanted: order.devices.join(", ") };
        free.cloned().ok_or_else(busy)
    }

    pub(super) async fn inspect(&self, name: &str) -> Result<Option<ContainerInspectResponse>, EngineError> {
        settled(|| async {
            match self.docker.inspect_container(name, None).await {
                Err(error) if is_absent(&error) => Ok(None),
                answer => answer.map(Some),
            }
        })
        .await
        .map_err(failed("inspect container", name))
    }

    async fn containers(&self, filters: HashMap<String, Vec<String>>) -> Result<Vec<ContainerSummary>, EngineError> {
        let options = ListContainersOptions { all: true, filters: Some(filters), ..Default::default() };
        settled(|| self.docker.list_containers(Some(options.clone()))).await.map_err(failed("list", "containers"))
    }

    pub(super) async fn image_id(&self, image: &str) -> Result<Option<B256>, EngineError> {
        match self.docker.inspect_image(image).await {
            Ok(found) => {
                let id = found.id.unwrap_or_default();
                Ok(id.strip_prefix("sha256:").unwrap_or(&id).parse().ok())
            }
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(failed("inspect image", image)(error)),
        }
    }
}

/// Asks again while Podman tells of a state that Docker has no word for.
async fn settled<T, F: Future<Output = Result<T, DockerError>>>(ask: impl Fn() -> F) -> Result<T, DockerError> {
    let until = Instant::now() + SETTLE;
    loop {
        match ask().await {
            Err(error) if is_between_states(&error) && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            answer => return answer,
        }
    }
}
