//! What is asked wrongly, what is missing, what was tampered with.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::bench::Task;

fn task() -> Task {
    Task::new("text_processing", &[("notes.md", b"# Notes\n\nSome words.\n".as_slice())])
}

#[test]
fn a_tampered_blob_is_found_before_any_work() {
    let task =
        Task::new("text_processing", &[("fine.md", b"Fine.".as_slice()), ("notes.md", b"Some words.".as_slice())]);
    let sha256 = task.json("/inputs/1/sha256").as_str().unwrap().to_owned();
    fs::write(task.blob(&sha256), "Some w0rds.").unwrap();
    let outcome = task.run().failed(66, "notes.md: expected sha256");
    assert_eq!(outcome.names(), ["error.json"]);
    assert_eq!(outcome.json("error.json")["inputs"], json!(["notes.md"]));
    assert_eq!(outcome.manifest["task_id"], "t0");
}

#[test]
fn a_blob_of_another_size_is_refused() {
    let task = task();
    let sha256 = task.json("/inputs/0/sha256").as_str().unwrap().to_owned();
    fs::write(task.blob(&sha256), "longer than it should be, by far").unwrap();
    task.run().failed(66, "expected 21 bytes, found 32 bytes");
}

#[test]
fn a_missing_blob_is_named() {
    let task = task();
    fs::remove_file(task.blob(task.json("/inputs/0/sha256").as_str().unwrap())).unwrap();
    task.run().failed(66, "notes.md: cannot read");
}

#[test]
fn an_empty_input_is_refused_by_every_craft() {
    for craft in ["text_processing", "image_processing", "data_analysis"] {
        Task::new(craft, &[("nothing.md", b"".as_slice())]).run().failed(65, "nothing.md: is empty");
    }
}

#[test]
fn crafts_that_the_worker_lacks_are_declined() {
    for craft in ["audio_processing", "video_processing", "model_training", "mining"] {
        let outcome = Task::new(craft, &[("a.md", b"a".as_slice())]).run();
        outcome.failed(64, &format!("this worker does not do \"{craft}\"; it does text_processing"));
    }
}

#[test]
fn every_field_of_the_task_is_checked() {
    let check = |pointer: &str, value: Value, code: i32, words: &str| {
        task().with(pointer, value).run().failed(code, words);
    };
    check("/version", json!(2), 64, "task.json has version 2");
    check("/spec_sha256", json!("ABC"), 65, "spec_sha256 \"ABC\"");
    check("/inputs", json!([]), 65, "has 0 inputs");
    check("/inputs/0/sha256", json!("../../../../etc/passwd"), 65, "is not 64 lower-case hexadecimal digits");
    check("/inputs/0/bytes", json!(-1), 65, "task.json: is not a task");
    check("/parameters", json!({"sentence": 3}), 64, "unknown field `sentence`, expected `sentences`");
    check("/parameters", json!({"sentences": 0}), 64, "parameter sentences is 0");
    check("/task_type", json!(null), 65, "task.json: is not a task");
    let picture = || Task::new("image_processing", &[("a.png", b"a".as_slice())]);
    picture().with("/parameters", json!({"max_px": 100_000})).run().failed(64, "parameter max_px is 100000");
    picture().with("/parameters", json!({"format": "tiff"})).run().failed(64, "unknown variant `tiff`");
    let table = Task::new("data_analysis", &[("a.csv", b"a".as_slice())]);
    table.with("/parameters", json!({"delimiter": "x"})).run().failed(64, "parameter delimiter is 'x'");
}

#[test]
fn without_a_readable_task_there_is_still_a_manifest() {
    let outcome = task().run_with(None).failed(66, "task.json: cannot read");
    assert_eq!((&outcome.manifest["task_id"], &outcome.manifest["spec_sha256"]), (&Value::Null, &Value::Null));
    task().run_with(Some(b"{")).failed(65, "task.json: is not a task");
    task().run_with(Some(&vec![b' '; (1 << 20) + 1])).failed(65, "task.json: is larger than");
}

#[test]
fn parameters_may_be_left_out() {
    task().with("/parameters", Value::Null).run().succeeded();
}

#[test]
fn a_second_run_replaces_what_the_first_left() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    fs::create_dir(&input).unwrap();
    fs::create_dir(&output).unwrap();
    fs::write(output.join("manifest.json"), "of an earlier run").unwrap();
    let run =
        Command::new(env!("CARGO_BIN_EXE_worker")).arg("--in").arg(&input).arg("--out").arg(&output).output().unwrap();
    assert_eq!(run.status.code(), Some(66));
    let manifest: Value = serde_json::from_slice(&fs::read(output.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["files"][0]["path"], "error.json");
}

#[test]
fn results_that_cannot_be_written_end_with_74() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("file");
    fs::write(&blocked, "in the way").unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_worker")).arg("--out").arg(blocked.join("out")).output().unwrap();
    assert_eq!(run.status.code(), Some(74));
    assert!(String::from_utf8(run.stderr).unwrap().contains("cannot write"));
}

#[test]
fn the_command_line_explains_itself() {
    let run = |arguments: &[&str]| Command::new(env!("CARGO_BIN_EXE_worker")).args(arguments).output().unwrap();
    let unknown = run(&["--input", "x"]);
    assert_eq!(unknown.status.code(), Some(64));
    assert!(String::from_utf8(unknown.stderr).unwrap().contains("unknown argument \"--input\""));
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8(help.stdout).unwrap().contains("Usage: worker"));
}

#[test]
fn a_holder_sleeps_until_it_is_killed() {
    let mut holder = Command::new(env!("CARGO_BIN_EXE_worker")).arg("--hold").spawn().unwrap();
    // Whatever ends by itself would be gone long before another process has come and gone.
    assert!(Command::new(env!("CARGO_BIN_EXE_worker")).arg("--version").status().unwrap().success());
    assert!(holder.try_wait().unwrap().is_none());
    holder.kill().unwrap();
    holder.wait().unwrap();
}
