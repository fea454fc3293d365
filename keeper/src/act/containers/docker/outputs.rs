//! Outputs on their way from the engine to a folder: a tar in pieces, unpacked within bounds.

use std::path::Path;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::super::layout::{Intake, LayoutError};

/// Unpacks the engine's tar of `/out` into `target`, within bounds.
pub(super) fn unpack(
    receiver: mpsc::Receiver<std::io::Result<Bytes>>,
    target: &Path,
    max_bytes: u64,
) -> Result<(), LayoutError> {
    let broken = |source| LayoutError::Io { path: "/out".into(), source };
    let mut intake = Intake::begin(target, max_bytes)?;
    let mut archive = tar::Archive::new(Chunks { receiver, current: Bytes::new(), ended: false });
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let raw = entry.path_bytes();
        let path = std::str::from_utf8(&raw).map_err(|_| LayoutError::Path {
            path: String::from_utf8_lossy(&raw).escape_debug().to_string(),
            why: "it is not UTF-8",
        })?;
        let path = path.trim_end_matches('/');
        let path = path.strip_prefix("./").unwrap_or(path).to_owned();
        let kind = match entry.header().entry_type() {
            tar::EntryType::Directory if path.is_empty() || path == "." => continue,
            tar::EntryType::Directory => {
                intake.folder(&path)?;
                continue;
            }
            tar::EntryType::Regular => {
                intake.file(&path, &mut entry)?;
                continue;
            }
            tar::EntryType::Symlink => "symbolic link",
            tar::EntryType::Link => "hard link",
            tar::EntryType::Fifo => "pipe",
            tar::EntryType::Char | tar::EntryType::Block => "device",
            _ => "special file",
        };
        return Err(LayoutError::Kind { path: path.escape_debug().to_string(), kind });
    }
    intake.commit()
}

/// Pieces of an async stream, read in a blocking thread. An empty piece is the end; a channel that closes before it was
/// cut off.
struct Chunks {
    receiver: mpsc::Receiver<std::io::Result<Bytes>>,
    current: Bytes,
    ended: bool,
}

impl std::io::Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.current.is_empty() && !self.ended {
            let cut_off = || std::io::ErrorKind::UnexpectedEof.into();
            self.current = self.receiver.blocking_recv().unwrap_or_else(|| Err(cut_off()))?;
            self.ended = self.current.is_empty();
        }
        let taken = buffer.len().min(self.current.len());
        buffer[..taken].copy_from_slice(&self.current.split_to(taken));
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_tar_that_tries_to_get_out_or_hide_is_refused() {
        async fn check(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>), expect: &str) {
            let root = tempfile::tempdir().unwrap();
            let target = root.path().join("out");
            let mut builder = tar::Builder::new(Vec::new());
            fill(&mut builder);
            let bytes = builder.into_inner().unwrap();
            let (sender, receiver) = mpsc::channel(1);
            let goal = target.clone();
            let unpacking = tokio::task::spawn_blocking(move || unpack(receiver, &goal, 1_000));
            for chunk in bytes.chunks(700).chain([&[][..]]) {
                if sender.send(Ok(Bytes::copy_from_slice(chunk))).await.is_err() {
                    break;
                }
            }
            let error = unpacking.await.unwrap().unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
            assert!(!target.exists());
        }
        fn entry(kind: tar::EntryType, name: &[u8], size: u64) -> tar::Header {
            let mut header = tar::Header::new_gnu();
            header.as_mut_bytes()[..name.len()].copy_from_slice(name);
            header.set_entry_type(kind);
            header.set_size(size);
            header.set_cksum();
            header
        }
        use tar::EntryType as Kind;
        check(|tar| tar.append(&entry(Kind::Symlink, b"./a", 0), &[][..]).unwrap(), "symbolic link").await;
        check(|tar| tar.append(&entry(Kind::Link, b"./a", 0), &[][..]).unwrap(), "hard link").await;
        check(|tar| tar.append(&entry(Kind::Block, b"./a", 0), &[][..]).unwrap(), "device").await;
        check(|tar| tar.append(&entry(Kind::Regular, b"../a", 1), &b"x"[..]).unwrap(), "'../a'").await;
        check(|tar| tar.append(&entry(Kind::Regular, b"/etc/x", 1), &b"x"[..]).unwrap(), "/etc/x").await;
        check(|tar| tar.append(&entry(Kind::Regular, b"a", 1_001), &[0; 1_001][..]).unwrap(), "1000 bytes").await;
        check(|tar| tar.append(&entry(Kind::Regular, b"\xff", 1), &b"x"[..]).unwrap(), "UTF-8").await;
    }

    #[tokio::test]
    async fn a_tar_that_is_cut_off_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("out");
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        builder.append_data(&mut header, "a", &b"x"[..]).unwrap();
        let bytes = builder.into_inner().unwrap();
        let (sender, receiver) = mpsc::channel(1);
        let goal = target.clone();
        let unpacking = tokio::task::spawn_blocking(move || unpack(receiver, &goal, 1_000));
        // The whole entry, but neither the tar's end nor the stream's.
        sender.send(Ok(Bytes::copy_from_slice(&bytes[..1_024]))).await.unwrap();
        drop(sender);
        assert!(unpacking.await.unwrap().is_err());
        assert!(!target.exists());
    }
}
