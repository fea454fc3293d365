//! What Docker must seal off, and what is left in it.

use std::{collections::HashMap, path::Path};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    models::ContainerCreateBody,
    query_parameters::{
        CreateContainerOptions, DownloadFromContainerOptions, ListContainersOptions, ListVolumesOptions,
        RemoveContainerOptions, RemoveImageOptions,
    },
};
use futures_util::StreamExt;
use keeper::{
    act::containers::{Engine, EngineConfig, EngineError, Limits, WorkOrder, layout, probe},
    spec::{InputRef, RentalSpec, TaskSpec, TaskType, sha256},
};

use crate::support::{self, Bench, CHAIN, dynamic_probe, reference_worker, socket};

pub(crate) fn raw() -> Docker {
    raw_at(&socket())
}

fn raw_at(socket: &str) -> Docker {
    Docker::connect_with_unix(socket.trim_start_matches("unix://"), 60, API_DEFAULT_VERSION).unwrap()
}

pub(crate) fn owner(bench: &Bench) -> String {
    match &bench.config {
        EngineConfig::Docker { owner, .. } | EngineConfig::Process { owner, .. } => owner.clone(),
    }
}

/// Whether the running probe has written its report.
pub(crate) async fn has_report(bench: &Bench, order: &WorkOrder) -> bool {
    let name = bench.engine.list(order.chain_id).await.unwrap().into_iter().find(|found| found.id == order.id());
    let name = name.unwrap().name;
    let socket = match &bench.config {
        EngineConfig::Process { state_dir, .. } => {
            return std::fs::read(state_dir.join(name).join("out/report")).is_ok_and(|text| text == b"asleep");
        }
        EngineConfig::Docker { socket, .. } => socket.clone().unwrap(),
    };
    let docker = raw_at(&socket);
    let options = DownloadFromContainerOptions { path: "/out/report".into() };
    let mut archive = std::pin::pin!(docker.download_from_container(&name, Some(options)));
    let mut bytes = Vec::new();
    while let Some(Ok(chunk)) = archive.next().await {
        bytes.extend_from_slice(&chunk);
    }
    bytes.windows(6).any(|window| window == b"asleep")
}

/// Every container and volume with this owner's label, seen past our own code.
pub(crate) async fn objects_of(owner: &str) -> usize {
    let filters = Some(HashMap::from([("label".to_owned(), vec![format!("openclaw.owner={owner}")])]));
    let containers = ListContainersOptions { all: true, filters: filters.clone(), ..Default::default() };
    let containers = raw().list_containers(Some(containers)).await.unwrap().len();
    let volumes = raw().list_volumes(Some(ListVolumesOptions { filters })).await.unwrap();
    containers + volumes.volumes.unwrap_or_default().len()
}

#[tokio::test]
async fn a_worker_is_sealed_off() {
    let bench = Bench::docker().await;
    let report = bench.report(&bench.order(1, 1, "seal")).await;
    let answers: HashMap<_, _> = report.lines().filter_map(|line| line.split_once('=')).collect();
    let check = |name: &str, expect: &str| assert_eq!(answers[name], expect, "{name} in\n{report}");
    check("uid", "65532");
    check("gid", "65532");
    check("capabilities", "0000000000000000");
    check("bounding", "0000000000000000");
    check("no_new_privileges", "1");
    check("seccomp", "2");
    check("interfaces", "lo");
    check("connect", "NetworkUnreachable");
    check("write_root", "ReadOnlyFilesystem");
    check("write_in", "ReadOnlyFilesystem");
    check("environment", "HOME");
    assert_eq!(objects_of(&owner(&bench)).await, 0);
}

#[tokio::test]
async fn too_much_memory_ends_the_worker_and_is_named() {
    let bench = Bench::docker().await;
    let order = bench.order(2, 1, "memory");
    assert_eq!(bench.run(&order).await, (137, true));
    bench.engine.remove(order.id()).await.unwrap();
}

#[tokio::test]
async fn processes_and_threads_are_limited() {
    let bench = Bench::docker().await;
    let started: u32 = bench.report(&bench.order(3, 1, "threads")).await.parse().unwrap();
    assert!((4..16).contains(&started), "{started} threads with a limit of 16 processes");
}

#[tokio::test]
async fn outputs_are_limited_in_bytes_and_in_number() {
    let bench = Bench::docker().await;
    let order = bench.order(4, 1, "fill");
    let mib: u32 = bench.report(&order).await.parse().unwrap();
    assert!((14..=16).contains(&mib), "{mib} MiB with a limit of {}", order.limits.disk_mib);

    let order = bench.order(4, 2, "many");
    bench.run(&order).await;
    let words = bench.engine.stderr_tail(order.id()).await.unwrap();
    let files: usize = words.split(' ').next().unwrap().parse().unwrap();
    assert!(files < 2 * layout::MAX_OUTPUT_ENTRIES, "{files}");
    let error = bench.engine.collect(&order).await.unwrap_err();
    assert!(error.to_string().contains("more than 4096 files"), "{error}");
    bench.engine.remove(order.id()).await.unwrap();
}

#[tokio::test]
async fn one_binary_has_one_image_id_however_often_it_is_loaded() {
    let bench = Bench::docker().await;
    // A binary of its own, as the other tests need theirs while this one is taken away.
    let worker = bench.folder.path().join("worker");
    let mut bytes = std::fs::read(support::probe()).unwrap();
    bytes.extend_from_slice(&std::process::id().to_le_bytes());
    std::fs::write(&worker, bytes).unwrap();
    let first = bench.engine.load_worker_image(&worker).await.unwrap();
    let name = format!("sha256:{}", hex::encode(first));
    assert_eq!(raw().inspect_image(&name).await.unwrap().id.unwrap(), name);
    let options = RemoveImageOptions { force: true, ..Default::default() };
    raw().remove_image(&name, Some(options.clone()), None).await.unwrap();
    assert!(raw().inspect_image(&name).await.is_err());
    let order = WorkOrder { image: first, ..bench.order(1, 1, "copy") };
    let error = bench.engine.start(&order).await.unwrap_err();
    assert!(matches!(error, EngineError::ImageMissing { .. }), "{error}");
    bench.engine.remove(order.id()).await.unwrap();
    assert_eq!(bench.restarted().await.load_worker_image(&worker).await.unwrap(), first);
    assert_eq!(bench.engine.load_worker_image(&worker).await.unwrap(), first);
    assert_ne!(first, bench.image);
    raw().remove_image(&name, Some(options), None).await.unwrap();
}

#[tokio::test]
async fn binaries_and_images_that_cannot_run_are_named() {
    let bench = Bench::docker().await;
    let error = bench.engine.load_worker_image(&dynamic_probe()).await.unwrap_err().to_string();
    assert!(error.contains("crt-static"), "{error}");
    let order = WorkOrder { image: sha256(b"no such image"), ..bench.order(5, 1, "copy") };
    let error = bench.engine.start(&order).await.unwrap_err();
    assert!(matches!(error, EngineError::ImageNotAllowed { .. }), "{error}");
    let limits = Limits { cpus: 1_000.0, ..order.limits };
    let order = WorkOrder { image: bench.image, limits, ..order };
    let error = bench.engine.start(&order).await.unwrap_err().to_string();
    assert!(error.contains("CPUs"), "{error}");
    bench.engine.remove(order.id()).await.unwrap();
    assert_eq!(objects_of(&owner(&bench)).await, 0);
}

#[tokio::test]
async fn two_keepers_on_one_engine_do_not_touch_each_other() {
    let (ours, theirs) = (Bench::docker().await, Bench::docker().await);
    let EngineConfig::Docker { socket, .. } = &theirs.config else { unreachable!() };
    let config = EngineConfig::Docker { socket: socket.clone(), owner: format!("{}-other", owner(&theirs)) };
    let theirs = Bench::over(config, support::probe()).await;
    let (our_order, their_order) = (ours.order(6, 1, "sleep"), theirs.order(6, 1, "sleep"));
    assert!(!ours.engine.start(&our_order).await.unwrap().adopted);
    assert!(!theirs.engine.start(&their_order).await.unwrap().adopted);
    assert_eq!(theirs.engine.list(CHAIN).await.unwrap().len(), 1);
    assert_eq!(theirs.engine.reap(u64::MAX).await.unwrap().len(), 1);
    assert_eq!(ours.engine.list(CHAIN).await.unwrap().len(), 1);
    ours.engine.remove(our_order.id()).await.unwrap();
}

#[tokio::test]
async fn overlapping_starts_of_one_rental_are_refused() {
    let bench = Bench::docker().await;
    let order = bench.order(9, 1, "copy");
    let both = tokio::join!(bench.engine.start(&order), bench.engine.start(&order));
    assert!(both.0.is_ok() && matches!(both.1, Err(EngineError::StartUnderWay { .. })), "{both:?}");
    bench.engine.remove(order.id()).await.unwrap();
}

#[tokio::test]
async fn a_device_is_given_to_one_worker_at_a_time() {
    let bench = Bench::docker().await;
    let device = |number: u32| format!("openclaw.test/device-{}={number}", std::process::id());
    let order = |rental| WorkOrder { devices: vec![device(0), device(1)], ..bench.order(rental, 1, "copy") };
    // Somebody has both; one is only being made, which counts as well.
    let names = [0, 1].map(|number| format!("device-{}-{number}", std::process::id()));
    for (name, number) in names.iter().zip(0..) {
        let labels = HashMap::from([("openclaw.device".to_owned(), device(number))]);
        let image = Some(format!("sha256:{}", hex::encode(bench.image)));
        let cmd = Some(vec!["--hold".to_owned()]);
        let body = ContainerCreateBody { image, cmd, labels: Some(labels), ..Default::default() };
        let options = CreateContainerOptions { name: Some(name.clone()), ..Default::default() };
        raw().create_container(Some(options), body).await.unwrap();
    }
    let error = bench.engine.start(&order(20)).await.unwrap_err();
    assert!(matches!(error, EngineError::DevicesBusy { .. }) && error.is_retryable(), "{error}");
    // The second is free again: it is asked for, of an engine that has no such device.
    let options = RemoveContainerOptions { force: true, ..Default::default() };
    raw().remove_container(&names[1], Some(options.clone())).await.unwrap();
    let error = bench.engine.start(&order(20)).await.unwrap_err().to_string();
    assert!(error.contains("start container") && error.to_lowercase().contains("cdi"), "{error}");
    raw().remove_container(&names[0], Some(options)).await.unwrap();
    bench.engine.remove(order(20).id()).await.unwrap();
    assert_eq!(objects_of(&owner(&bench)).await, 0);
}

#[tokio::test]
async fn outputs_that_did_not_survive_are_reported_lost() {
    let bench = Bench::docker().await;
    let order = bench.order(7, 1, "copy");
    bench.run(&order).await;
    let name = bench.engine.list(CHAIN).await.unwrap().remove(0).name;
    let options = RemoveContainerOptions { force: true, ..Default::default() };
    raw().remove_container(&format!("{name}-hold"), Some(options)).await.unwrap();
    let error = bench.engine.collect(&order).await.unwrap_err();
    assert!(matches!(error, EngineError::OutputsLost { .. }), "{error}");
    bench.engine.remove(order.id()).await.unwrap();
    assert_eq!(objects_of(&owner(&bench)).await, 0);
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_named() {
    assert_eq!(probe(Some(&socket())).await, Some(socket()));
    assert_eq!(probe(Some("unix:///nowhere.sock")).await, None);
    let config = EngineConfig::Docker { socket: Some("unix:///nowhere.sock".into()), owner: "test".into() };
    let error = Engine::connect(&config).await.unwrap_err().to_string();
    assert!(error.contains("/nowhere.sock") && error.contains("start Docker"), "{error}");
}

/// The reference worker's own work, run as a keeper runs it.
struct Reference {
    bench: Bench,
    order: WorkOrder,
    spec: RentalSpec,
}

impl Reference {
    async fn task(task_type: TaskType, inputs: &[(&str, &[u8])]) -> Self {
        let owner = format!("reference-{task_type}-{}", std::process::id());
        let config = EngineConfig::Docker { socket: Some(socket()), owner };
        let bench = Bench::over(config, &reference_worker()).await;
        let input = |(name, content): &(&str, &[u8])| InputRef {
            name: (*name).into(),
            sha256: sha256(content),
            bytes: content.len() as u64,
        };
        let inputs_refs = inputs.iter().map(input).collect();
        let task = TaskSpec { task_id: "t0".into(), task_type, inputs: inputs_refs, parameters: Default::default() };
        let spec = RentalSpec { version: 1, salt: sha256(b"salt"), tasks: vec![task], keep_warm_s: 0 };
        let contents: Vec<&[u8]> = inputs.iter().map(|(_, content)| *content).collect();
        let order = bench.order_for(8, 1, &spec, &contents);
        Self { bench, order, spec }
    }

    /// Runs it and gives what it made, with nothing left in the engine.
    async fn outputs(&self) -> layout::Outputs {
        let Self { bench, order, spec } = self;
        let ended = bench.run(order).await;
        assert_eq!(ended, (0, false), "{}", bench.engine.stderr_tail(order.id()).await.unwrap());
        bench.engine.collect(order).await.unwrap();
        let outputs = layout::read_outputs(&order.out_dir, 1 << 20).unwrap();
        let identity = (outputs.manifest.task_id.as_str(), outputs.manifest.spec_sha256);
        assert_eq!(identity, ("t0", sha256(&spec.to_bytes())));
        bench.engine.remove(order.id()).await.unwrap();
        assert_eq!(objects_of(&owner(bench)).await, 0);
        outputs
    }
}

#[tokio::test]
async fn the_reference_worker_does_real_work_in_a_container() {
    let text = b"# Title\n\nSome *real* words, and some more.\n";
    let work = Reference::task(TaskType::TextProcessing, &[("a.md", text)]).await;
    assert!(!work.outputs().await.manifest.files.is_empty());
}

#[tokio::test]
async fn a_model_judges_in_a_container_as_it_does_outside() {
    let mut work = Reference::task(
        TaskType::ModelInference,
        &[
            ("m.safetensors", include_bytes!("../../../script/samples/source-language.safetensors")),
            ("m.json", include_bytes!("../../../script/samples/source-language.json")),
            ("rows.csv", include_bytes!("../../../script/samples/source-lines.csv")),
        ],
    )
    .await;
    // The fewest that a worker may have: no thread can be started besides its own.
    work.order.limits.pids = 4;
    let names: Vec<String> = work.outputs().await.manifest.files.into_iter().map(|file| file.path).collect();
    assert_eq!(names, ["rows.predictions.csv", "rows.summary.json"]);
    let outside = work.bench.folder.path().join("outside");
    let mut worker = std::process::Command::new(reference_worker());
    worker.arg("--in").arg(&work.order.in_dir).arg("--out").arg(&outside);
    assert!(worker.status().unwrap().success());
    let read = |folder: &Path, name: &str| std::fs::read(folder.join(name)).unwrap();
    for name in ["manifest.json", "rows.predictions.csv", "rows.summary.json"] {
        assert_eq!(read(&work.order.out_dir, name), read(&outside, name), "{name}");
    }
}
