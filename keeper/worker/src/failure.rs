//! What can go wrong, and the exit code of each. The codes are those of BSD `sysexits.h`.

use std::{io, path::PathBuf};

/// Why a task, or one of its inputs, could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line or the task asks for something in a way that cannot be understood.
    #[error("{0}")]
    Usage(String),

    /// The task type is not one of this worker's crafts.
    #[error(
        "this worker does not do {0:?}; it does text_processing, image_processing, data_analysis and \
         model_inference: rent with one of those, or from a provider whose image does {0:?}"
    )]
    UnsupportedType(String),

    /// An input has the right hash but cannot be processed.
    #[error("{name}: {reason}")]
    BadInput { name: String, reason: String },

    /// Several inputs, or one of several, could not be processed.
    #[error("{} of {total} inputs could not be processed: {}", failures.len(), list(failures))]
    BadInputs { failures: Vec<Failure>, total: usize },

    /// An input, or `task.json` itself, is not there or cannot be read.
    #[error("{name}: cannot read {}: {source}", path.display())]
    Missing { name: String, path: PathBuf, source: io::Error },

    /// An input's bytes are not the ones the task names.
    #[error("{name}: expected {expected}, found {found}: the blob was damaged or exchanged; push it again")]
    Mismatch { name: String, expected: String, found: String },

    /// The worker itself broke.
    #[error("defect in the worker: {0}")]
    Internal(String),

    /// A result could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Output { path: PathBuf, source: io::Error },
}

impl Failure {
    /// A fault in one input's content.
    pub(crate) fn bad(name: &str, reason: impl Into<String>) -> Self {
        Self::BadInput { name: name.to_owned(), reason: reason.into() }
    }

    /// The process's exit code.
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::UnsupportedType(_) => 64,
            Self::BadInput { .. } | Self::BadInputs { .. } => 65,
            Self::Missing { .. } | Self::Mismatch { .. } => 66,
            Self::Internal(_) => 70,
            Self::Output { .. } => 74,
        }
    }

    /// True when the other inputs of the task can still be processed.
    pub(crate) const fn is_about_one_input(&self) -> bool {
        matches!(self, Self::BadInput { .. })
    }

    /// The names of the inputs at fault, for `error.json`.
    pub(crate) fn names(&self) -> Vec<&str> {
        match self {
            Self::BadInput { name, .. } | Self::Missing { name, .. } | Self::Mismatch { name, .. } => vec![name],
            Self::BadInputs { failures, .. } => failures.iter().flat_map(Self::names).collect(),
            _ => Vec::new(),
        }
    }
}

/// Turns the broken inputs of a task with `total` inputs into the task's own outcome.
pub(crate) fn sum_up(mut broken: Vec<Failure>, total: usize) -> Result<(), Failure> {
    match broken.len() {
        0 => Ok(()),
        1 if total == 1 => Err(broken.remove(0)),
        _ => Err(Failure::BadInputs { failures: broken, total }),
    }
}

fn list(failures: &[Failure]) -> String {
    failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
