//! Docker, or Podman through its Docker-compatible socket.
//!
//! One attempt is three objects: the worker, the volume behind its `/out`, and a holder of that volume (see
//! [`sealed`]). Every step of making and removing them can be repeated, so a keeper that is killed in between starts
//! or removes the rest later.

mod answers;
mod outputs;
mod query;
mod sealed;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use alloy::primitives::B256;
use bollard::{
    API_DEFAULT_VERSION, Docker,
    container::LogOutput,
    errors::Error as DockerError,
    models::{ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum as Status},
    query_parameters::{
        CreateContainerOptions, DownloadFromContainerOptions, ImportImageOptions, LogsOptions, RemoveContainerOptions,
        RemoveVolumeOptions, StopContainerOptions, WaitContainerOptions,
    },
};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::{sync::mpsc, time::Instant};

use self::{
    answers::{
        absent_is_fine, failed, image_name, is_absent, is_answer, labels_of, refused, state_of, status, status_code,
        unix_time,
    },
    outputs::unpack,
};
use super::{
    AttemptId, ContainerState, EngineError, Owner, STDERR_TAIL_BYTES, STOP_GRACE, Started, Starting, WorkOrder, image,
    tail_text,
};

/// How long the engine may take to finish what a keeper that is dead by now has asked for.
const SETTLE: Duration = Duration::from_secs(10);

/// Longest silence of the engine in the middle of an answer.
const IDLE: Duration = Duration::from_secs(60);

/// Docker, or Podman through its Docker-compatible socket.
#[derive(Clone, Debug)]
pub struct DockerEngine {
    docker: Docker,
    owner: Owner,
    /// Images that may run: those loaded through [`Self::load_worker_image`], the newest last. That one is also the
    /// holders'.
    images: Arc<Mutex<Vec<B256>>>,
    starting: Starting,
    /// Held from choosing a device to the container that has it.
    devices: Arc<tokio::sync::Mutex<()>>,
}

/// Finds an engine that answers, and its socket.
pub(super) async fn find(socket: Option<&str>) -> Result<(Docker, String), EngineError> {
    let candidates = match socket {
        Some(socket) => vec![socket.to_owned()],
        None => usual_sockets(),
    };
    let mut reason = String::from("no socket is known");
    for socket in &candidates {
        match tokio::time::timeout(Duration::from_secs(3), connect(socket)).await {
            Ok(Ok(docker)) => return Ok((docker, socket.clone())),
            Ok(Err(error)) => reason = error.to_string(),
            Err(_) => reason = "no answer in 3 seconds".into(),
        }
    }
    Err(EngineError::Unreachable { tried: candidates.join(", "), reason })
}

async fn connect(socket: &str) -> Result<Docker, DockerError> {
    let docker = match socket.strip_prefix("unix://") {
        Some(path) => Docker::connect_with_unix(path, 120, API_DEFAULT_VERSION)?,
        None if socket.starts_with('/') => Docker::connect_with_unix(socket, 120, API_DEFAULT_VERSION)?,
        None => Docker::connect_with_host(socket)?,
    };
    let docker = docker.negotiate_version().await?;
    docker.ping().await?;
    Ok(docker)
}

fn usual_sockets() -> Vec<String> {
    if let Some(host) = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty()) {
        return vec![host];
    }
    let mut sockets = vec!["unix:///var/run/docker.sock".to_owned()];
    if let Ok(runtime) = std::env::var("XDG_RUNTIME_DIR") {
        sockets.push(format!("unix://{runtime}/docker.sock"));
        sockets.push(format!("unix://{runtime}/podman/podman.sock"));
    }
    sockets.push("unix:///run/podman/podman.sock".to_owned());
    sockets
}

impl DockerEngine {
    pub(super) async fn connect(socket: Option<&str>, owner: &str) -> Result<Self, EngineError> {
        let (docker, socket) = find(socket).await?;
        tracing::info!(socket, "container engine found");
        let owner = Owner::new(owner);
        Ok(Self { docker, owner, images: Arc::default(), starting: Starting::default(), devices: Arc::default() })
    }

    /// The same engine in another keeper's name.
    pub(super) fn of(self, owner: &str) -> Self {
        Self { owner: Owner::new(owner), ..self }
    }

    pub(super) async fn load_worker_image(&self, binary: &Path) -> Result<B256, EngineError> {
        let refuse = |what: String| EngineError::Image { path: binary.to_owned(), what };
        let path = binary.to_owned();
        let image = tokio::task::spawn_blocking(move || {
            let bytes = std::fs::metadata(&path).map_err(|error| error.to_string())?.len();
            if bytes > image::MAX_BINARY_BYTES {
                return Err(format!("{bytes} bytes, at most {} are taken", image::MAX_BINARY_BYTES));
            }
            let content = std::fs::read(&path).map_err(|error| error.to_string())?;
            image::build(&content).map_err(|error| error.to_string())
        })
        .await
        .map_err(|error| refuse(error.to_string()))?
        .map_err(refuse)?;

        let expected = [image.config, image.manifest];
        if self.image_id(&image.tag).await?.is_none_or(|id| !expected.contains(&id)) {
            let body = bollard::body_full(Bytes::from(image.archive));
            let mut progress = std::pin::pin!(self.docker.import_image(ImportImageOptions::default(), body, None));
            while let Some(line) = progress.next().await {
                line.map_err(failed("load image", &image.tag))?;
            }
        }
        let id = self.image_id(&image.tag).await?.ok_or_else(|| refuse("the engine lost it while loading".into()))?;
        if !expected.contains(&id) {
            return Err(refuse(format!(
                "the engine made image {id} of it instead of {}; remove {} and load again",
                image.config, image.tag
            )));
        }
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        images.retain(|known| *known != id);
        images.push(id);
        Ok(id)
    }

    pub(super) async fn start(&self, order: &WorkOrder) -> Result<Started, EngineError> {
        let _guard = self.starting.enter(order.rental)?;
        if !self.images.lock().unwrap_or_else(PoisonError::into_inner).contains(&order.image) {
            return Err(EngineError::ImageNotAllowed { rental: order.rental, image: order.image });
        }
        self.refuse_second_attempt(order).await?;
        let name = self.owner.container(order.id());
        let known = match self.inspect(&name).await? {
            Some(found) => found,
            None => self.made(order, &name).await?,
        };
        self.check_owner(&name, &known)?;
        let found_spec = sealed::spec_of(&labels_of(&known));
        if found_spec != order.spec_hash {
            return Err(EngineError::OtherWork { name, found: found_spec, wanted: order.spec_hash });
        }
        if status(&known) != Status::CREATED {
            return Ok(Started { name, adopted: true });
        }
        // The holder goes first: a tmpfs that the worker alone mounts is empty once it ends.
        self.hold(order, &name).await?;
        if let Err(error) = self.start_container(&name).await {
            // A worker that the engine cannot start stays "created" for ever; what is known not to run is removed.
            if matches!(&error, EngineError::Engine { source, .. } if is_answer(source)) {
                self.remove(order.id()).await?;
            }
            return Err(error);
        }
        Ok(Started { name, adopted: false })
    }

    pub(super) async fn state(&self, id: AttemptId) -> Result<ContainerState, EngineError> {
        let name = self.owner.container(id);
        let Some(found) = self.inspect(&name).await? else { return Ok(ContainerState::Missing) };
        self.check_owner(&name, &found)?;
        Ok(state_of(&found))
    }

    pub(super) async fn wait(&self, id: AttemptId, timeout: Duration) -> Result<ContainerState, EngineError> {
        let name = self.owner.container(id);
        let until = Instant::now() + timeout;
        loop {
            let state = self.state(id).await?;
            if !matches!(state, ContainerState::Running { .. }) || Instant::now() >= until {
                return Ok(state);
            }
            // The engine tells of the end at once; the pause is for an engine that is restarted meanwhile, and for
            // one that says "ended" before it shows the state as ended.
            let options = WaitContainerOptions { condition: "not-running".into() };
            let mut end = std::pin::pin!(self.docker.wait_container(&name, Some(options)));
            let pause = (until - Instant::now()).min(Duration::from_secs(5));
            let _ = tokio::time::timeout(pause, end.next()).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) async fn stop(&self, id: AttemptId) -> Result<(), EngineError> {
        let name = self.owner.container(id);
        let options = StopContainerOptions { t: Some(STOP_GRACE.as_secs() as i32), ..Default::default() };
        let stopped = self.docker.stop_container(&name, Some(options)).await;
        absent_is_fine(stopped).map_err(failed("stop container", &name))
    }

    pub(super) async fn collect(&self, order: &WorkOrder) -> Result<(), EngineError> {
        let name = self.owner.container(order.id());
        let worker = self.inspect(&name).await?.ok_or_else(|| EngineError::NotFound { name: name.clone() })?;
        match state_of(&worker) {
            ContainerState::Missing => return Err(EngineError::NotFound { name }),
            ContainerState::Running { .. } => return Err(EngineError::StillRunning { name }),
            ContainerState::Exited { .. } => {}
        }
        let holder = sealed::holder_name(&name);
        let times =
            |found: &ContainerInspectResponse| found.state.clone().map(|state| (state.started_at, state.finished_at));
        let finished = times(&worker).and_then(|(_, at)| unix_time(at.as_deref()?));
        let held = self.inspect(&holder).await?.is_some_and(|found| {
            // One that was started again after the work was done holds an empty volume.
            let started = times(&found).and_then(|(at, _)| unix_time(at.as_deref()?));
            status(&found) == Status::RUNNING && started.is_some() && started <= finished
        });
        if !held {
            return Err(EngineError::OutputsLost { name });
        }

        let options = DownloadFromContainerOptions { path: "/out/.".into() };
        let mut archive = std::pin::pin!(self.docker.download_from_container(&holder, Some(options)));
        let (sender, receiver) = mpsc::channel::<std::io::Result<Bytes>>(4);
        let (target, max_bytes) = (order.out_dir.clone(), order.limits.disk_bytes());
        let unpacking = tokio::task::spawn_blocking(move || unpack(receiver, &target, max_bytes));
        let mut broken = None;
        while broken.is_none() {
            let piece = match tokio::time::timeout(IDLE, archive.next()).await {
                Ok(Some(Ok(chunk))) if chunk.is_empty() => continue,
                Ok(Some(Ok(chunk))) => Ok(chunk),
                // An empty piece is the end. Without it (this future was dropped) nothing is committed.
                Ok(None) => Ok(Bytes::new()),
                Ok(Some(Err(error))) => Err(error),
                Err(_) => Err(DockerError::RequestTimeoutError),
            };
            let is_end = piece.as_ref().is_ok_and(Bytes::is_empty);
            let piece = piece.map_err(|error| {
                broken = Some(error);
                std::io::ErrorKind::ConnectionAborted.into()
            });
            // The reader has gone away when it refused something; it says what below.
            if sender.send(piece).await.is_err() || is_end {
                break;
            }
        }
        drop(sender);
        let unpacked = unpacking.await;
        if let Some(error) = broken {
            return Err(failed("copy outputs from", &holder)(error));
        }
        match unpacked {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(EngineError::Outputs { name, source }),
            Err(error) => Err(EngineError::Process { name, what: format!("unpacking its outputs failed: {error}") }),
        }
    }

    pub(super) async fn stderr_tail(&self, id: AttemptId) -> Result<String, EngineError> {
        let name = self.owner.container(id);
        let options = LogsOptions { stderr: true, tail: "50".into(), ..Default::default() };
        let mut log = std::pin::pin!(self.docker.logs(&name, Some(options)));
        let mut tail = Vec::new();
        while let Some(line) = tokio::time::timeout(IDLE, log.next()).await.ok().flatten() {
            match line {
                Ok(LogOutput::StdErr { message }) => tail.extend_from_slice(&message),
                Ok(_) => {}
                Err(error) if is_absent(&error) => break,
                Err(error) => return Err(failed("read the log of", &name)(error)),
            }
            let excess = tail.len().saturating_sub(STDERR_TAIL_BYTES);
            tail.drain(..excess);
        }
        Ok(tail_text(&tail))
    }

    pub(super) async fn remove(&self, id: AttemptId) -> Result<(), EngineError> {
        let name = self.owner.container(id);
        let (holder, volume) = (sealed::holder_name(&name), sealed::volume_name(&name));
        let until = Instant::now() + SETTLE;
        loop {
            let mut refusal = None;
            for container in [&name, &holder] {
                let options = RemoveContainerOptions { force: true, ..Default::default() };
                let removed = self.docker.remove_container(container, Some(options)).await;
                refusal = refusal.or(refused(removed).map_err(failed("remove container", container))?);
            }
            let removed = self.docker.remove_volume(&volume, Some(RemoveVolumeOptions { force: true })).await;
            refusal = refusal.or(refused(removed).map_err(failed("remove volume", &volume))?);
            // A removal under way, or a container that was being made and is there only now, takes another round.
            match refusal {
                None => return Ok(()),
                Some(error) if Instant::now() >= until => return Err(failed("remove", &name)(error)),
                Some(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// The worker's container and its volume, made but not started.
    async fn made(&self, order: &WorkOrder, name: &str) -> Result<ContainerInspectResponse, EngineError> {
        let (_choosing, device) = if order.devices.is_empty() {
            (None, None)
        } else {
            let choosing = self.devices.lock().await;
            (Some(choosing), Some(self.free_device(order).await?))
        };
        let volume = sealed::volume(order, &self.owner, name);
        let made = self.docker.create_volume(volume).await;
        made.map_err(failed("create volume", &sealed::volume_name(name)))?;
        let worker = sealed::worker(order, &self.owner, name, image_name(order.image), device);
        self.created(order, name, worker).await
    }

    async fn hold(&self, order: &WorkOrder, name: &str) -> Result<(), EngineError> {
        let newest = self.images.lock().unwrap_or_else(PoisonError::into_inner).last().copied();
        let image = newest.unwrap_or(order.image);
        let holder = sealed::holder_name(name);
        self.created(order, &holder, sealed::holder(order, &self.owner, name, image_name(image))).await?;
        self.start_container(&holder).await?;
        // The holder sleeps for ever. One that does not is no holder, and the outputs would be lost.
        let held = self.inspect(&holder).await?;
        if held.as_ref().is_none_or(|found| status(found) != Status::RUNNING) {
            let what = "the worker image ends at once when run as `worker --hold`; build the worker of this version";
            return Err(EngineError::Process { name: holder, what: what.into() });
        }
        Ok(())
    }

    /// The container of that name, made if there is none. While the engine still works on the request of a keeper
    /// that is dead by now, the name is taken but nothing is to be seen: that takes a moment, not an error.
    async fn created(
        &self,
        order: &WorkOrder,
        name: &str,
        body: ContainerCreateBody,
    ) -> Result<ContainerInspectResponse, EngineError> {
        let until = Instant::now() + SETTLE;
        loop {
            if let Some(found) = self.inspect(name).await? {
                return Ok(found);
            }
            let options = CreateContainerOptions { name: Some(name.to_owned()), ..Default::default() };
            match self.docker.create_container(Some(options), body.clone()).await {
                Ok(_) => {}
                Err(error) if status_code(&error) == Some(409) && Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) if is_absent(&error) => {
                    let image = body.image.unwrap_or_default();
                    return Err(EngineError::ImageMissing { rental: order.rental, image });
                }
                Err(error) => return Err(failed("create container", name)(error)),
            }
        }
    }

    async fn start_container(&self, name: &str) -> Result<(), EngineError> {
        match self.docker.start_container(name, None).await {
            Err(error) if status_code(&error) != Some(304) => Err(failed("start container", name)(error)),
            _ => Ok(()),
        }
    }

    fn check_owner(&self, name: &str, found: &ContainerInspectResponse) -> Result<(), EngineError> {
        match sealed::owner_of(&labels_of(found)) {
            owner if owner == self.owner.name => Ok(()),
            owner => Err(EngineError::Foreign { name: name.to_owned(), owner: owner.to_owned() }),
        }
    }
}
