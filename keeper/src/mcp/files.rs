//! Which files an agent can hand in, and what it gets to see of those that come back.
//!
//! What is handed in leaves this machine for a stranger's. A model that was talked into it would hand in a key or a
//! password file, so only files of one folder are taken, never the keeper's own, and never a keystore.

use std::{
    io::Read,
    path::{Component, Path, PathBuf},
};

use serde_json::{Value, json};

use super::asked::InlineText;

/// Files looked into for being a keystore; those are small.
const KEYSTORE_BYTES: u64 = 64 << 10;
/// Inputs of one job.
const MAX_INPUTS: usize = 16;
/// Inline texts of one job together, bytes.
const MAX_TEXT_BYTES: usize = 4 << 20;
/// Text of one result shown.
const SHOWN_BYTES: u64 = 16 << 10;
/// Texts of one job's results shown.
const SHOWN_TOTAL_BYTES: u64 = 64 << 10;

/// The folder that files are taken from.
#[derive(Clone, Debug)]
pub(super) struct Inputs {
    folder: PathBuf,
    keepers_own: Option<PathBuf>,
}

/// Holds files that are gone when it is dropped.
pub(super) type Kept = Option<tempfile::TempDir>;

impl Inputs {
    pub(super) fn new(folder: PathBuf, data_dir: &Path) -> Result<Self, String> {
        let real = folder.canonicalize();
        let folder =
            real.map_err(|error| format!("--inputs {}: {error}; name a folder that is there", folder.display()))?;
        Ok(Self { folder, keepers_own: data_dir.canonicalize().ok() })
    }

    /// Absolute paths of files and texts.
    pub(super) fn admit(&self, names: &[String], texts: &[InlineText]) -> Result<(Vec<PathBuf>, Kept), String> {
        if names.is_empty() && texts.is_empty() {
            return Err("nothing to work on: give inputs or texts".into());
        }
        if names.len() + texts.len() > MAX_INPUTS {
            return Err(format!("{} inputs given; at most {MAX_INPUTS} are taken", names.len() + texts.len()));
        }
        let mut paths = names.iter().map(|name| self.file(name)).collect::<Result<Vec<_>, _>>()?;
        if texts.is_empty() {
            return Ok((paths, None));
        }
        if texts.iter().map(|text| text.text.len()).sum::<usize>() > MAX_TEXT_BYTES {
            return Err(format!("texts are too long; at most {MAX_TEXT_BYTES} bytes are taken, put more into a file"));
        }
        let kept = tempfile::tempdir().map_err(|error| format!("the texts cannot be kept: {error}"))?;
        for (number, InlineText { name, text }) in texts.iter().enumerate() {
            // A folder each, so that two texts may have one name.
            let folder = kept.path().join(number.to_string());
            let path = folder.join(plain_name(name)?);
            let written = std::fs::create_dir(&folder).and_then(|()| std::fs::write(&path, text));
            written.map_err(|error| format!("the text '{name}' cannot be kept: {error}"))?;
            paths.push(path);
        }
        Ok((paths, Some(kept)))
    }

    fn file(&self, name: &str) -> Result<PathBuf, String> {
        let path = self.folder.join(name).canonicalize();
        let path = path.map_err(|_| format!("input '{name}' does not exist in {}", self.folder.display()))?;
        if !path.starts_with(&self.folder) {
            return Err(format!(
                "input '{name}' lies outside {}; only files of that folder can be handed in",
                self.folder.display()
            ));
        }
        if self.keepers_own.as_ref().is_some_and(|own| path.starts_with(own)) {
            return Err(format!("input '{name}' is the keeper's own; it cannot be handed in"));
        }
        if is_keystore(&path) {
            return Err(format!("input '{name}' is a keystore; keys are never handed in"));
        }
        Ok(path)
    }
}

/// A file name that is nothing else.
fn plain_name(name: &str) -> Result<&str, String> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(part)), None) if part == name && name.len() <= 255 => Ok(name),
        _ => Err(format!("'{name}' is no file name: use one such as notes.md")),
    }
}

/// Whether a file is an Ethereum keystore.
fn is_keystore(path: &Path) -> bool {
    let Ok(file) = std::fs::File::open(path) else { return false };
    let mut text = Vec::new();
    if file.take(KEYSTORE_BYTES).read_to_end(&mut text).is_err() {
        return false;
    }
    let document: Option<Value> = serde_json::from_slice(&text).ok();
    document.is_some_and(|document| document.get("crypto").or_else(|| document.get("Crypto")).is_some())
}

/// The files of a finished job's document: where they are, and what small texts say.
pub(super) fn listed(document: &Value) -> Value {
    let folder = PathBuf::from(document["folder"].as_str().unwrap_or_default());
    let mut left = SHOWN_TOTAL_BYTES;
    let files = document["outcome"]["files"].as_array().into_iter().flatten().map(|file| {
        let path = folder.join(file[0].as_str().unwrap_or_default());
        let bytes = std::fs::metadata(&path).map(|about| about.len()).ok();
        let text =
            bytes.filter(|bytes| *bytes <= SHOWN_BYTES.min(left)).and_then(|_| std::fs::read_to_string(&path).ok());
        left -= text.as_ref().map_or(0, |text| text.len() as u64).min(left);
        json!({ "path": path, "sha256": file[1], "bytes": bytes, "text": text })
    });
    files.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn stage() -> (tempfile::TempDir, Inputs) {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["work", "work/keeper", "elsewhere"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        std::fs::write(dir.path().join("work/notes.md"), "words").unwrap();
        std::fs::write(dir.path().join("work/key.json"), r#"{"crypto":{"cipher":"aes-128-ctr"},"version":3}"#).unwrap();
        std::fs::write(dir.path().join("work/keeper/lock"), "1").unwrap();
        std::fs::write(dir.path().join("elsewhere/secret"), "secret").unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere/secret"), dir.path().join("work/link")).unwrap();
        let inputs = Inputs::new(dir.path().join("work"), &dir.path().join("work/keeper")).unwrap();
        (dir, inputs)
    }

    #[test]
    fn only_harmless_files_of_the_folder_are_handed_in() {
        let (dir, inputs) = stage();
        let (paths, _) = inputs.admit(&["notes.md".into()], &[]).unwrap();
        assert_eq!(paths, [dir.path().canonicalize().unwrap().join("work/notes.md")]);
        let secret = dir.path().join("elsewhere/secret").display().to_string();
        for (name, word) in [
            ("../elsewhere/secret", "outside"),
            (secret.as_str(), "outside"),
            ("link", "outside"),
            ("/etc/passwd", "outside"),
            ("keeper/lock", "keeper's own"),
            ("key.json", "keystore"),
            ("nowhere.md", "does not exist"),
        ] {
            let error = inputs.admit(&[name.into()], &[]).unwrap_err();
            assert!(error.contains(word), "{name}: {error}");
        }
    }

    #[test]
    fn texts_are_files_with_plain_names() {
        let (_dir, inputs) = stage();
        let text = |name: &str| InlineText { name: name.into(), text: "words".into() };
        let (paths, kept) = inputs.admit(&[], &[text("a.md"), text("a.md")]).unwrap();
        assert_eq!(paths.len(), 2);
        assert!(paths.iter().all(|path| std::fs::read_to_string(path).unwrap() == "words"));
        drop(kept);
        assert!(!paths[0].exists());
        for name in ["", "..", "a/b.md", "/etc/passwd", "a/"] {
            assert!(inputs.admit(&[], &[text(name)]).is_err(), "'{name}'");
        }
        assert!(inputs.admit(&[], &[]).is_err());
    }
}
