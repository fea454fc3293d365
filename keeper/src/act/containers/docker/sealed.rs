//! What a sealed worker is: the container, its `/out` volume, and the holder that keeps the volume alive.
//!
//! `/out` is a tmpfs volume, because that is the one place with a size that the kernel enforces on every host. Such a
//! volume is emptied when its last container ends, so a second, idle container mounts it from before the worker
//! starts until the outputs are collected.

use std::collections::HashMap;

use alloy::primitives::B256;
use bollard::models::{
    ContainerCreateBody, DeviceRequest, HostConfig, HostConfigLogConfig, Mount, MountBindOptions, MountType,
    MountVolumeOptions, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum, VolumeCreateRequest,
};

use super::super::{AttemptId, Found, Owner, STOP_GRACE, WorkOrder, image::WORKER_UID, layout::MAX_OUTPUT_ENTRIES};

const CHAIN: &str = "openclaw.chain";
const RENTAL: &str = "openclaw.rental";
const ATTEMPT: &str = "openclaw.attempt";
const DEADLINE: &str = "openclaw.deadline";
const OWNER: &str = "openclaw.owner";
const SPEC: &str = "openclaw.spec";
const DEVICE: &str = "openclaw.device";
const ROLE: &str = "openclaw.role";

/// Memory of the holder, which only sleeps.
const HOLDER_MIB: i64 = 16;

pub(super) type Labels = HashMap<String, String>;

/// Name of the container that keeps `/out`.
pub(super) fn holder_name(name: &str) -> String {
    format!("{name}-hold")
}

/// Name of the volume behind `/out`.
pub(super) fn volume_name(name: &str) -> String {
    format!("{name}-out")
}

/// Value of the owner label.
pub(super) fn owner_of(labels: &Labels) -> &str {
    labels.get(OWNER).map_or("nobody", String::as_str)
}

/// Filter for everything of `owner`, or of all keepers. Engines disagree on how several filters combine, so the engine gets
/// this one, and the rest is compared here.
pub(super) fn filters(owner: Option<&Owner>) -> HashMap<String, Vec<String>> {
    let label = owner.map_or_else(|| OWNER.to_owned(), |owner| format!("{OWNER}={}", owner.name));
    HashMap::from([("label".to_owned(), vec![label])])
}

/// The attempt that an object of the engine belongs to; `None` if its labels are not ours.
pub(super) fn found(labels: &Labels, running: bool) -> Option<Found> {
    let id = AttemptId {
        chain_id: labels.get(CHAIN)?.parse().ok()?,
        rental: labels.get(RENTAL)?.parse().ok()?,
        attempt: labels.get(ATTEMPT)?.parse().ok()?,
    };
    let owner = Owner::new(labels.get(OWNER)?);
    let deadline_unix_s = labels.get(DEADLINE)?.parse().ok()?;
    let running = running && labels.get(ROLE).is_some_and(|role| role == "worker");
    let name = owner.container(id);
    Some(Found { id, spec_hash: spec_of(labels), deadline_unix_s, owner: owner.name, name, running })
}

/// Value of the spec label; zero without one.
pub(super) fn spec_of(labels: &Labels) -> B256 {
    labels.get(SPEC).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// The volume behind `/out`.
pub(super) fn volume(order: &WorkOrder, owner: &Owner, name: &str) -> VolumeCreateRequest {
    // Folders and the root take inodes as well.
    let inodes = MAX_OUTPUT_ENTRIES + 64;
    // Pages, not `size`: Podman takes that word for a quota of the disk below. The engine is on this machine, as is `/in`.
    let blocks = order.limits.disk_bytes() / rustix::param::page_size() as u64;
    let options = format!(
        "nr_blocks={blocks},nr_inodes={inodes},uid={WORKER_UID},gid={WORKER_UID},mode=0700,nosuid,nodev,noexec"
    );
    VolumeCreateRequest {
        name: Some(volume_name(name)),
        driver: Some("local".into()),
        driver_opts: Some(HashMap::from([
            ("type".into(), "tmpfs".into()),
            ("device".into(), "tmpfs".into()),
            ("o".into(), options),
        ])),
        labels: Some(labels(order, owner, "volume")),
        ..Default::default()
    }
}

/// The holder of `/out`: the worker's binary, asleep.
pub(super) fn holder(order: &WorkOrder, owner: &Owner, name: &str, image: String) -> ContainerCreateBody {
    let mut host = sealed_host(HOLDER_MIB << 20, 50_000_000, 8);
    host.mounts = Some(vec![out_mount(name)]);
    ContainerCreateBody {
        cmd: Some(vec!["--hold".into()]),
        image: Some(image),
        labels: Some(labels(order, owner, "holder")),
        host_config: Some(host),
        ..sealed_body()
    }
}

/// Filter for every worker that has a device, of any keeper.
pub(super) fn with_device() -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![DEVICE.to_owned()])])
}

/// The device of a worker.
pub(super) fn device_of(labels: &Labels) -> Option<&str> {
    labels.get(DEVICE).map(String::as_str)
}

/// The worker, with the device of this CDI id.
pub(super) fn worker(
    order: &WorkOrder,
    owner: &Owner,
    name: &str,
    image: String,
    device: Option<String>,
) -> ContainerCreateBody {
    let limits = &order.limits;
    let mut host = sealed_host(i64::from(limits.memory_mib) << 20, (limits.cpus * 1e9) as i64, limits.pids.into());
    // Docker takes no relative path; one that cannot be made absolute is refused by it with the path in its words.
    let in_dir = std::path::absolute(&order.in_dir).unwrap_or_else(|_| order.in_dir.clone());
    let input = Mount {
        target: Some("/in".into()),
        source: Some(in_dir.to_string_lossy().into_owned()),
        typ: Some(MountType::BIND),
        read_only: Some(true),
        bind_options: Some(MountBindOptions { non_recursive: Some(true), ..Default::default() }),
        ..Default::default()
    };
    host.mounts = Some(vec![input, out_mount(name)]);
    let mut labels = labels(order, owner, "worker");
    if let Some(device) = device {
        labels.insert(DEVICE.to_owned(), device.clone());
        let request =
            DeviceRequest { driver: Some("cdi".into()), device_ids: Some(vec![device]), ..Default::default() };
        host.device_requests = Some(vec![request]);
    }
    ContainerCreateBody { image: Some(image), labels: Some(labels), host_config: Some(host), ..sealed_body() }
}

fn sealed_body() -> ContainerCreateBody {
    ContainerCreateBody {
        user: Some(format!("{WORKER_UID}:{WORKER_UID}")),
        hostname: Some("worker".into()),
        env: Some(Vec::new()),
        network_disabled: Some(true),
        attach_stdin: Some(false),
        attach_stdout: Some(false),
        attach_stderr: Some(false),
        open_stdin: Some(false),
        tty: Some(false),
        stop_timeout: Some(STOP_GRACE.as_secs() as i64),
        ..Default::default()
    }
}

/// No network, no capabilities, no new privileges, no swap, no writable root; bounded memory, cores, processes, log.
fn sealed_host(memory_bytes: i64, nano_cpus: i64, pids: i64) -> HostConfig {
    let ulimit = |name: &str, value| ResourcesUlimits { name: Some(name.into()), soft: Some(value), hard: Some(value) };
    HostConfig {
        network_mode: Some("none".into()),
        readonly_rootfs: Some(true),
        cap_drop: Some(vec!["ALL".into()]),
        security_opt: Some(vec!["no-new-privileges:true".into()]),
        privileged: Some(false),
        memory: Some(memory_bytes),
        memory_swap: Some(memory_bytes),
        nano_cpus: Some(nano_cpus),
        pids_limit: Some(pids),
        // Podman would ask for the most there is, which not every machine lets it. The number counts for all workers together.
        ulimits: Some(vec![ulimit("nofile", 1_024), ulimit("nproc", 32_768), ulimit("core", 0)]),
        // Shared memory is charged to the container; a small one keeps libraries that want it alive.
        shm_size: Some(1 << 20),
        ipc_mode: Some("private".into()),
        init: Some(true),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".into()),
            config: Some(HashMap::from([("max-size".into(), "64k".into()), ("max-file".into(), "1".into())])),
        }),
        oom_score_adj: Some(500),
        // A worker that the engine starts again would be an attempt that nobody journalled.
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        auto_remove: Some(false),
        ..Default::default()
    }
}

fn out_mount(name: &str) -> Mount {
    Mount {
        target: Some("/out".into()),
        source: Some(volume_name(name)),
        typ: Some(MountType::VOLUME),
        read_only: Some(false),
        // Copying the image's /out into a new volume would also copy its owner.
        volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..Default::default() }),
        ..Default::default()
    }
}

fn labels(order: &WorkOrder, owner: &Owner, role: &str) -> Labels {
    [
        (CHAIN, order.chain_id.to_string()),
        (RENTAL, order.rental.to_string()),
        (ATTEMPT, order.attempt.to_string()),
        (DEADLINE, order.deadline_unix_s.to_string()),
        (SPEC, order.spec_hash.to_string()),
        (OWNER, owner.name.clone()),
        (ROLE, role.to_owned()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}
