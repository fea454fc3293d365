//! What the process engine keeps, and whom it leaves alone.

use std::{fs, process::Command};

use keeper::act::containers::{ContainerState, Engine, EngineConfig};

use crate::support::{Bench, CHAIN};

#[tokio::test]
async fn a_number_that_now_belongs_to_somebody_else_is_left_alone() {
    let bench = Bench::process().await;
    let order = bench.order(1, 1, "sleep");
    let name = bench.engine.start(&order).await.unwrap().name;
    let EngineConfig::Process { state_dir, .. } = &bench.config else { unreachable!() };
    let pid_file = state_dir.join(&name).join("pid");
    let ours = fs::read_to_string(&pid_file).unwrap();

    // After a reboot the number in the file may be anybody's: here, a stranger's. Start times are told in ticks of 10 ms, and
    // two processes of the same tick differ by their number alone.
    std::thread::sleep(std::time::Duration::from_millis(30));
    let mut stranger = Command::new("sleep").arg("600").spawn().unwrap();
    let our_pid = ours.split(' ').next().unwrap();
    fs::write(&pid_file, ours.replacen(our_pid, &stranger.id().to_string(), 1)).unwrap();
    assert!(matches!(bench.engine.state(order.id()).await.unwrap(), ContainerState::Exited { code: 137, .. }));
    bench.engine.stop(order.id()).await.unwrap();
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger must live");
    stranger.kill().unwrap();
    stranger.wait().unwrap();

    fs::write(&pid_file, &ours).unwrap();
    assert!(matches!(bench.engine.state(order.id()).await.unwrap(), ContainerState::Running { .. }));
    bench.engine.remove(order.id()).await.unwrap();
    assert!(!std::path::Path::new("/proc").join(our_pid).join("exe").exists(), "the worker's shell must be gone");
    assert_eq!(fs::read_dir(state_dir).unwrap().count(), 0);
}

#[tokio::test]
async fn memory_and_file_sizes_are_limited() {
    let bench = Bench::process().await;
    let order = bench.order(2, 1, "memory");
    let (code, _) = bench.run(&order).await;
    assert_eq!(code, 134, "an allocation that fails aborts the worker");
    bench.engine.remove(order.id()).await.unwrap();
    let order = bench.order(2, 2, "fill");
    let (code, _) = bench.run(&order).await;
    assert_eq!(code, 128 + 25, "SIGXFSZ");
    bench.engine.remove(order.id()).await.unwrap();
}

#[tokio::test]
async fn the_environment_of_the_keeper_stays_with_the_keeper() {
    let bench = Bench::process().await;
    let report = bench.report(&bench.order(3, 1, "seal")).await;
    let names = report.lines().find_map(|line| line.strip_prefix("environment=")).unwrap();
    // What shells set by themselves.
    assert!(names.split(',').all(|name| ["", "PWD", "OLDPWD", "SHLVL", "_"].contains(&name)), "{names}");
}

#[tokio::test]
async fn another_owner_in_the_same_folder_sees_nothing() {
    let bench = Bench::process().await;
    let order = bench.order(4, 1, "sleep");
    bench.engine.start(&order).await.unwrap();
    let EngineConfig::Process { worker, state_dir, .. } = bench.config.clone() else { unreachable!() };
    let other = Engine::connect(&EngineConfig::Process { worker, state_dir, owner: "other".into() }).await.unwrap();
    assert_eq!(other.list(CHAIN).await.unwrap(), []);
    assert_eq!(other.reap(u64::MAX).await.unwrap(), []);
    bench.engine.remove(order.id()).await.unwrap();
}

#[tokio::test]
async fn a_worker_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let worker = folder.path().join("no-worker");
    let config = EngineConfig::Process { worker, state_dir: folder.path().into(), owner: "test".into() };
    let error = Engine::connect(&config).await.unwrap_err().to_string();
    assert!(error.contains("no-worker"), "{error}");
}
