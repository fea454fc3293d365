//! One run of the worker: folders, `task.json`, blobs, and checks that every run must pass.

use std::{fs, path::PathBuf, process::Command};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

pub(crate) const SPEC: &str = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

/// A task laid out on disk, before the worker ran.
pub(crate) struct Task {
    folder: TempDir,
    json: Value,
    environment: Option<(&'static str, &'static str)>,
    /// Of address space; unlimited if absent.
    mib: Option<u64>,
}

/// What a run left behind.
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) log: String,
    pub(crate) manifest: Value,
    folder: TempDir,
}

impl Task {
    pub(crate) fn new(task_type: &str, inputs: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("in/blobs")).unwrap();
        let mut task = Self {
            folder,
            json: json!({
                "version": 1, "rental": "0x010203040506070809101112", "task_id": "t0", "task_type": task_type,
                "spec_sha256": SPEC, "inputs": [], "parameters": {},
            }),
            environment: None,
            mib: None,
        };
        inputs.iter().for_each(|(name, content)| task.add(name, content));
        task
    }

    fn add(&mut self, name: &str, content: &[u8]) {
        let sha256 = hex::encode(Sha256::digest(content));
        fs::write(self.blob(&sha256), content).unwrap();
        let input = json!({"name": name, "sha256": sha256, "bytes": content.len()});
        self.json["inputs"].as_array_mut().unwrap().push(input);
    }

    /// Where the blob of this hash lies.
    pub(crate) fn blob(&self, sha256: &str) -> PathBuf {
        self.folder.path().join("in/blobs").join(sha256)
    }

    /// Replaces one field of `task.json`, named by its JSON pointer.
    pub(crate) fn with(mut self, pointer: &str, value: Value) -> Self {
        *self.json.pointer_mut(pointer).unwrap() = value;
        self
    }

    /// Runs with this variable in its environment.
    pub(crate) fn under(self, variable: (&'static str, &'static str)) -> Self {
        Self { environment: Some(variable), ..self }
    }

    /// Runs with so much address space and no more.
    pub(crate) fn within_mib(self, mib: u64) -> Self {
        Self { mib: Some(mib), ..self }
    }

    pub(crate) fn json(&self, pointer: &str) -> &Value {
        self.json.pointer(pointer).unwrap()
    }

    pub(crate) fn run(self) -> Outcome {
        let text = self.json.to_string();
        self.run_with(Some(text.as_bytes()))
    }

    /// Runs with these bytes as `task.json`, or without the file.
    pub(crate) fn run_with(self, task_json: Option<&[u8]>) -> Outcome {
        let (input, output) = (self.folder.path().join("in"), self.folder.path().join("out"));
        if let Some(bytes) = task_json {
            fs::write(input.join("task.json"), bytes).unwrap();
        }
        let worker = env!("CARGO_BIN_EXE_worker");
        let mut command = match self.mib {
            Some(mib) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", "ulimit -v \"$1\" && shift && exec \"$@\"", "sh", &(mib * 1024).to_string(), worker]);
                shell
            }
            None => Command::new(worker),
        };
        command.arg("--in").arg(&input).arg("--out").arg(&output).envs(self.environment);
        let run = command.output().unwrap();
        assert!(run.stdout.is_empty(), "results are files, never stdout");
        let manifest = serde_json::from_slice(&fs::read(output.join("manifest.json")).unwrap()).unwrap();
        let outcome = Outcome {
            code: run.status.code().expect("the worker must exit by itself"),
            log: String::from_utf8(run.stderr).unwrap(),
            manifest,
            folder: self.folder,
        };
        outcome.check_manifest();
        outcome
    }
}

impl Outcome {
    /// The folder's files and the manifest are the same set, in order, with the right sizes and hashes.
    fn check_manifest(&self) {
        assert_eq!(self.manifest["version"], 1);
        let listed: Vec<String> = self.files().map(|file| file["path"].as_str().unwrap().to_owned()).collect();
        assert!(listed.is_sorted(), "{listed:?}");
        let mut found: Vec<String> = fs::read_dir(self.folder.path().join("out"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "manifest.json")
            .collect();
        found.sort();
        assert_eq!(listed, found, "{}", self.log);
        for file in self.files() {
            let content = self.read(file["path"].as_str().unwrap());
            assert_eq!(file["bytes"], content.len());
            assert_eq!(file["sha256"], hex::encode(Sha256::digest(&content)));
            assert!(file["media_type"].as_str().unwrap().contains('/'));
        }
    }

    fn files(&self) -> impl Iterator<Item = &Value> {
        self.manifest["files"].as_array().unwrap().iter()
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.files().map(|file| file["path"].as_str().unwrap()).collect()
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.path().join("out").join(name)).unwrap()
    }

    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.read(name)).unwrap()
    }

    /// The run succeeded and the manifest belongs to the task.
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.log);
        assert_eq!((&self.manifest["task_id"], &self.manifest["spec_sha256"]), (&json!("t0"), &json!(SPEC)));
        self
    }

    /// The run failed with this code, and both the log and `error.json` say `words`.
    #[track_caller]
    pub(crate) fn failed(self, code: i32, words: &str) -> Self {
        assert_eq!(self.code, code, "{}", self.log);
        let error = self.json("error.json");
        assert_eq!(error["code"], code);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(words), "{message:?} does not say {words:?}");
        assert!(self.log.contains(words), "{:?} does not say {words:?}", self.log);
        self
    }
}
