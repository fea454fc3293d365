//! Outputs on their way from a worker to their folder.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use super::{LayoutError, MAX_OUTPUT_ENTRIES, at, beside, clear, safe_path, swap_in};

/// A folder being filled with outputs, within bounds. What is not committed is cleared by the next attempt.
pub(in crate::act::containers) struct Intake {
    temporary: PathBuf,
    target: PathBuf,
    bytes_left: u64,
    entries_left: usize,
    max_bytes: u64,
}

impl Intake {
    /// Starts anew beside `target`.
    pub(in crate::act::containers) fn begin(target: &Path, max_bytes: u64) -> Result<Self, LayoutError> {
        let temporary = beside(target, "filling");
        clear(&temporary)?;
        fs::create_dir_all(&temporary).map_err(at(&temporary))?;
        let target = target.to_owned();
        Ok(Self { temporary, target, bytes_left: max_bytes, entries_left: MAX_OUTPUT_ENTRIES, max_bytes })
    }

    /// Adds a folder.
    pub(in crate::act::containers) fn folder(&mut self, path: &str) -> Result<(), LayoutError> {
        let target = self.admit(path)?;
        fs::create_dir_all(&target).map_err(at(&target))
    }

    /// Adds a file.
    pub(in crate::act::containers) fn file(&mut self, path: &str, content: &mut dyn Read) -> Result<(), LayoutError> {
        let target = self.admit(path)?;
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(at(parent))?;
        }
        let mut file = File::options().write(true).create_new(true).open(&target).map_err(at(&target))?;
        let taken = io::copy(&mut content.take(self.bytes_left.saturating_add(1)), &mut file).map_err(at(&target))?;
        self.bytes_left = self
            .bytes_left
            .checked_sub(taken)
            .ok_or_else(|| LayoutError::TooMuch(format!("more than {} bytes of outputs", self.max_bytes)))?;
        file.flush().and_then(|()| file.sync_all()).map_err(at(&target))
    }

    /// Makes the folder what the caller asked for.
    pub(in crate::act::containers) fn commit(self) -> Result<(), LayoutError> {
        swap_in(&self.temporary, &self.target)
    }

    fn admit(&mut self, path: &str) -> Result<PathBuf, LayoutError> {
        self.entries_left = self
            .entries_left
            .checked_sub(1)
            .ok_or_else(|| LayoutError::TooMuch(format!("more than {MAX_OUTPUT_ENTRIES} files and folders")))?;
        Ok(self.temporary.join(safe_path(path)?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_intake_is_bounded_and_appears_whole() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("out");
        let mut intake = Intake::begin(&target, 5).unwrap();
        intake.file("d/a", &mut &b"abc"[..]).unwrap();
        assert!(!target.exists());
        assert!(matches!(intake.file("b", &mut &b"abc"[..]), Err(LayoutError::TooMuch(_))));
        drop(intake);
        for content in [&b"first"[..], b"again"] {
            let mut intake = Intake::begin(&target, 5).unwrap();
            intake.file("d/a", &mut &*content).unwrap();
            intake.commit().unwrap();
            assert_eq!(fs::read(target.join("d/a")).unwrap(), content);
        }
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "nothing else is left");
    }
}
