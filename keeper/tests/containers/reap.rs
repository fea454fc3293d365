//! `keeper reap` as a timer runs it: no keeper, no data folder, no chain.

use std::process::Command;

use keeper::act::containers::{ContainerState, EngineConfig, WorkOrder};

use crate::{
    docker::{objects_of, owner},
    support::{Bench, now},
};

fn reap(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_keeper")).arg("reap").args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

/// A grace that only what was due in 1970 has outlived.
fn grace() -> String {
    format!("{}s", now() - 100_000)
}

#[tokio::test]
async fn the_late_are_removed_with_all_they_have_and_the_others_run_on() {
    let bench = Bench::docker().await;
    let EngineConfig::Docker { socket, .. } = &bench.config else { unreachable!() };
    let late = WorkOrder { deadline_unix_s: 1_000, ..bench.order(1, 1, "sleep") };
    let due = WorkOrder { deadline_unix_s: now() - 1, ..bench.order(2, 1, "sleep") };
    let late_name = bench.engine.start(&late).await.unwrap().name;
    bench.engine.start(&due).await.unwrap();
    assert_eq!(objects_of(&owner(&bench)).await, 6, "worker, holder and volume of each");
    let (code, text) = reap(&["--docker-socket", socket.as_deref().unwrap(), "--grace", &grace()]);
    assert!(code == Some(0) && text.contains(&format!("{late_name} removed")), "{code:?} {text}");
    assert_eq!(bench.engine.state(late.id()).await.unwrap(), ContainerState::Missing);
    assert_eq!(objects_of(&owner(&bench)).await, 3);
    assert!(matches!(bench.engine.state(due.id()).await.unwrap(), ContainerState::Running { .. }), "it has its grace");
    bench.engine.remove(due.id()).await.unwrap();
}

#[tokio::test]
async fn processes_are_reaped_by_the_folder_alone() {
    let bench = Bench::process().await;
    let EngineConfig::Process { state_dir, .. } = &bench.config else { unreachable!() };
    let folder = state_dir.to_str().unwrap();
    let order = WorkOrder { deadline_unix_s: now() - 60, ..bench.order(1, 1, "sleep") };
    let name = bench.engine.start(&order).await.unwrap().name;
    let (code, text) = reap(&["--engine", "process", "--state-dir", folder]);
    assert!(code == Some(0) && text.contains(&format!("{name} removed")), "{code:?} {text}");
    assert_eq!(bench.engine.state(order.id()).await.unwrap(), ContainerState::Missing);
    let (code, text) = reap(&["--engine", "process"]);
    assert!(code == Some(2) && text.contains("--state-dir"), "{code:?} {text}");
}

#[test]
fn an_engine_that_does_not_answer_is_named() {
    let (code, text) = reap(&["--docker-socket", "unix:///nowhere.sock"]);
    assert!(code == Some(1) && text.contains("/nowhere.sock"), "{code:?} {text}");
}
