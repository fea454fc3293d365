//! What the engine's answers mean.

use std::time::Duration;

use alloy::primitives::B256;
use bollard::{
    errors::Error as DockerError,
    models::{ContainerInspectResponse, ContainerStateStatusEnum as Status, ContainerSummaryStateEnum},
};

use super::{
    super::{ContainerState, EngineError},
    sealed::Labels,
};

pub(super) fn status(found: &ContainerInspectResponse) -> Status {
    found.state.as_ref().and_then(|state| state.status).unwrap_or(Status::EMPTY)
}

pub(super) fn labels_of(found: &ContainerInspectResponse) -> Labels {
    found.config.as_ref().and_then(|config| config.labels.clone()).unwrap_or_default()
}

pub(super) fn is_live(state: Option<ContainerSummaryStateEnum>) -> bool {
    use ContainerSummaryStateEnum as State;
    matches!(state, Some(State::RUNNING | State::PAUSED | State::RESTARTING | State::STOPPING))
}

pub(super) fn has_ended(state: Option<ContainerSummaryStateEnum>) -> bool {
    use ContainerSummaryStateEnum as State;
    matches!(state, Some(State::EXITED | State::DEAD))
}

pub(super) fn state_of(found: &ContainerInspectResponse) -> ContainerState {
    let Some(state) = &found.state else { return ContainerState::Missing };
    let seconds = |text: &Option<String>| text.as_deref().and_then(unix_time).map_or(0, |time| time.as_secs());
    let started_unix_s = seconds(&state.started_at);
    match status(found) {
        Status::RUNNING | Status::PAUSED | Status::RESTARTING | Status::STOPPING => {
            ContainerState::Running { started_unix_s }
        }
        Status::EXITED | Status::DEAD => ContainerState::Exited {
            code: state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(-1),
            oom_killed: state.oom_killed.unwrap_or(false),
            started_unix_s,
            finished_unix_s: seconds(&state.finished_at),
        },
        Status::CREATED | Status::REMOVING | Status::EMPTY => ContainerState::Missing,
    }
}

/// Time since 1970 of an RFC 3339 time; Docker writes `Z`, Podman an offset.
pub(super) fn unix_time(text: &str) -> Option<Duration> {
    let (date, time) = text.split_once('T')?;
    let zone = time.find(['Z', '+', '-'])?;
    let local = humantime::parse_rfc3339(&format!("{date}T{}Z", &time[..zone])).ok()?;
    let local = local.duration_since(std::time::UNIX_EPOCH).ok()?;
    let offset = match &time[zone..] {
        "Z" => return Some(local),
        offset => offset[1..].split_once(':')?,
    };
    let offset = Duration::from_secs(offset.0.parse::<u64>().ok()? * 3_600 + offset.1.parse::<u64>().ok()? * 60);
    if time[zone..].starts_with('-') { local.checked_add(offset) } else { local.checked_sub(offset) }
}

pub(super) fn image_name(id: B256) -> String {
    format!("sha256:{}", hex::encode(id))
}

pub(super) fn failed<'a>(what: &'static str, name: &'a str) -> impl Fn(DockerError) -> EngineError + 'a {
    move |source| EngineError::Engine { what, name: name.to_owned(), source: Box::new(source) }
}

pub(super) fn status_code(error: &DockerError) -> Option<u16> {
    match error {
        DockerError::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

pub(super) fn is_answer(error: &DockerError) -> bool {
    status_code(error).is_some()
}

pub(super) fn is_absent(error: &DockerError) -> bool {
    status_code(error) == Some(404)
}

/// Podman calls a container whose process has ended "stopped" until it has cleaned up behind it, a moment later; and it fails
/// when the process ends while it looks for its control group.
pub(super) fn is_between_states(error: &DockerError) -> bool {
    match error {
        DockerError::JsonDataError { message, .. } => message.contains("unknown variant `stopped`"),
        DockerError::DockerResponseServerError { status_code: 500, message } => {
            message.starts_with("read /proc/") && message.ends_with("/cgroup: no such process")
        }
        _ => false,
    }
}

/// A removal that the engine puts off; what is gone already is fine.
pub(super) fn refused(result: Result<(), DockerError>) -> Result<Option<DockerError>, DockerError> {
    match result {
        Err(error) if status_code(&error) == Some(409) => Ok(Some(error)),
        other => absent_is_fine(other).map(|()| None),
    }
}

pub(super) fn absent_is_fine(result: Result<(), DockerError>) -> Result<(), DockerError> {
    match result {
        Err(error) if matches!(status_code(&error), Some(404 | 304)) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_of_docker_and_podman_are_read() {
        for text in ["2026-11-23T04:20:00.123456789Z", "2026-11-23T05:20:00.123+01:00", "2026-11-22T22:50:00-05:30"] {
            assert_eq!(unix_time(text).map(|time| time.as_secs()), Some(1_795_407_600), "{text}");
        }
        assert!(unix_time("2026-11-23T04:20:00.123456789Z") < unix_time("2026-11-23T04:20:00.2Z"));
        assert_eq!(unix_time("0001-01-01T00:00:00Z"), None);
        assert_eq!(unix_time("yesterday"), None);
    }

    #[test]
    fn only_what_passes_by_itself_is_between_states() {
        let answer = |status_code, message: &str| DockerError::DockerResponseServerError {
            status_code,
            message: message.into(),
        };
        assert!(is_between_states(&answer(500, "read /proc/17644/cgroup: no such process")));
        assert!(!is_between_states(&answer(500, "read /proc/17644/cgroup: permission denied")));
        assert!(!is_between_states(&answer(404, "no such container")));
    }
}
