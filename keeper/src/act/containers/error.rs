//! What goes wrong with an engine, and what to do about it.

use std::{io, path::PathBuf};

use alloy::primitives::B256;
use contracts::ids::AgreementId;

use super::layout::LayoutError;

/// An engine call failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No engine answers.
    #[error("no container engine answers at {tried}: {reason}; start Docker or Podman, or name its socket")]
    Unreachable {
        /// Sockets that were tried.
        tried: String,
        /// Of the last one.
        reason: String,
    },
    /// The engine refused or did not answer.
    #[error("the container engine could not {what} {name}: {source}")]
    Engine {
        /// E.g. `create container`.
        what: &'static str,
        /// Container, volume or image.
        name: String,
        /// What it said.
        #[source]
        source: Box<bollard::errors::Error>,
    },
    /// The binary cannot be an image, or the engine has another one.
    #[error("worker image of {path}: {what}")]
    Image {
        /// The binary.
        path: PathBuf,
        /// What is wrong and what to do.
        what: String,
    },
    /// The image of an order is not in the engine.
    #[error("rental {rental}: image {image} is not in the container engine; load the worker image again")]
    ImageMissing {
        /// The rental.
        rental: AgreementId,
        /// The image's id.
        image: String,
    },
    /// The limits of an order are out of range.
    #[error("rental {rental}: {what}; correct the limits in the configuration")]
    Limits {
        /// The rental.
        rental: AgreementId,
        /// Which one.
        what: String,
    },
    /// Law 3: one attempt at a time.
    #[error("rental {rental}: attempt {running} is still at work; stop or remove it before attempt {wanted}")]
    AnotherAttempt {
        /// The rental.
        rental: AgreementId,
        /// The attempt at work.
        running: u32,
        /// The attempt asked for.
        wanted: u32,
    },
    /// The attempt's name is taken by work to another spec, as after a reorganisation that gave the rental's id away.
    #[error("{name} works to spec {found}, not {wanted}; remove it and start a new attempt")]
    OtherWork {
        /// Name in the engine.
        name: String,
        /// Spec of its label; zero without one.
        found: B256,
        /// Spec asked for.
        wanted: B256,
    },
    /// An image that was not loaded through this engine's own call.
    #[error("rental {rental}: image {image} is not on the allow-list; only the configured worker's image may run")]
    ImageNotAllowed {
        /// The rental.
        rental: AgreementId,
        /// The image's id.
        image: B256,
    },
    /// A worker that needs an accelerator, and all have one.
    #[error("rental {rental}: none of {wanted} is free; offer no more slots than accelerators")]
    DevicesBusy {
        /// The rental.
        rental: AgreementId,
        /// CDI ids.
        wanted: String,
    },
    /// Two overlapping calls.
    #[error("rental {rental} is being started by another call; wait for that one")]
    StartUnderWay {
        /// The rental.
        rental: AgreementId,
    },
    /// The name is taken by somebody else's container.
    #[error("{name} exists in the container engine but belongs to '{owner}'; remove it or rename this node")]
    Foreign {
        /// Name in the engine.
        name: String,
        /// Its owner label.
        owner: String,
    },
    /// The attempt was never started or is removed.
    #[error("{name} is not in the engine; start it first")]
    NotFound {
        /// Name in the engine.
        name: String,
    },
    /// Outputs are taken only from ended attempts.
    #[error("{name} is still at work; wait for it or stop it before collecting")]
    StillRunning {
        /// Name in the engine.
        name: String,
    },
    /// `/out` lives in memory and did not survive.
    #[error(
        "the outputs of {name} are gone, since the container engine was restarted; remove it and start a new attempt"
    )]
    OutputsLost {
        /// Name in the engine.
        name: String,
    },
    /// The outputs are not what a worker may write.
    #[error("outputs of {name}: {source}")]
    Outputs {
        /// Name in the engine.
        name: String,
        /// What is wrong.
        #[source]
        source: LayoutError,
    },
    /// A file or folder of the keeper.
    #[error("could not {what} {path}: {source}")]
    Io {
        /// E.g. `read`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The process engine could not bring a worker to life.
    #[error("process of {name}: {what}")]
    Process {
        /// Name in the engine.
        name: String,
        /// What is wrong and what to do.
        what: String,
    },
}

impl EngineError {
    /// Whether the same call may succeed later without anyone changing anything.
    pub fn is_retryable(&self) -> bool {
        use bollard::errors::Error as Docker;
        match self {
            Self::Unreachable { .. } | Self::StartUnderWay { .. } | Self::DevicesBusy { .. } | Self::Io { .. } => true,
            Self::Engine { source, .. } => match source.as_ref() {
                Docker::DockerResponseServerError { status_code, .. } => *status_code >= 500 || *status_code == 409,
                Docker::JsonDataError { .. } | Docker::JsonSerdeError { .. } => false,
                _ => true,
            },
            _ => false,
        }
    }
}
