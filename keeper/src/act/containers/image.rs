//! The worker's image: `FROM scratch`, one static binary, byte for byte the same from the same binary.
//!
//! Container engines give every build its own id, so an image is not built but written: a tar with fixed times and
//! owners that is both a docker-archive and an OCI layout. Engines with the classic store name it by its config
//! digest, those with the containerd store by its manifest digest; both are known beforehand.

use alloy::primitives::B256;
use serde_json::{Value, json};

use crate::spec::sha256;

/// User and group the worker runs as.
pub const WORKER_UID: u64 = 65_532;

/// Largest worker binary, bytes.
pub const MAX_BINARY_BYTES: u64 = 512 << 20;

/// A loadable image.
#[derive(Clone, Debug)]
pub struct Image {
    /// What `docker load` reads.
    pub archive: Vec<u8>,
    /// SHA-256 of the config: the id in the classic store.
    pub config: B256,
    /// SHA-256 of the manifest: the id in the containerd store.
    pub manifest: B256,
    /// Name and tag, for people.
    pub tag: String,
}

/// The binary cannot run in an empty root.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BinaryError {
    /// Not ELF, 64 bit, little-endian.
    #[error("it is no 64-bit Linux program; build the worker on Linux")]
    NotElf,
    /// Needs a loader that an empty root lacks.
    #[error(
        "it is not statically linked, so it cannot run alone in an image; build it with \
         `cargo rustc -p worker --release -- -C target-feature=+crt-static`"
    )]
    Dynamic,
    /// A processor this project does not know.
    #[error("it is for processor {0} (ELF machine number); x86-64 and AArch64 are known")]
    Machine(u16),
}

/// Writes the image of a static binary.
///
/// # Errors
/// [`BinaryError`] when the binary could not run in it.
pub fn build(binary: &[u8]) -> Result<Image, BinaryError> {
    let architecture = static_architecture(binary)?;
    let layer = layer(binary);
    let layer_hash = sha256(&layer);
    let epoch = "1970-01-01T00:00:00Z";
    let config = to_bytes(&json!({
        "architecture": architecture,
        "config": { "User": format!("{WORKER_UID}:{WORKER_UID}"), "Entrypoint": ["/worker"], "WorkingDir": "/" },
        "created": epoch,
        "history": [{ "created": epoch, "created_by": "openclaw worker image" }],
        "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [digest(layer_hash)] },
    }));
    let config_hash = sha256(&config);
    let tag = format!("openclaw/worker:{}", &hex::encode(config_hash)[..12]);
    let manifest = to_bytes(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest(config_hash),
            "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": digest(layer_hash),
            "size": layer.len(),
        }],
    }));
    let manifest_hash = sha256(&manifest);
    let index = to_bytes(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest(manifest_hash),
            "size": manifest.len(),
            "annotations": {
                "io.containerd.image.name": format!("docker.io/{tag}"),
                "org.opencontainers.image.ref.name": tag.rsplit(':').next(),
            },
        }],
    }));
    let docker_manifest = to_bytes(&json!([{
        "Config": blob_path(config_hash),
        "RepoTags": [tag],
        "Layers": [blob_path(layer_hash)],
    }]));

    let mut archive = Archive::default();
    archive.file("oci-layout", 0o644, 0, br#"{"imageLayoutVersion":"1.0.0"}"#);
    archive.file("index.json", 0o644, 0, &index);
    archive.file("manifest.json", 0o644, 0, &docker_manifest);
    for (hash, content) in [(config_hash, &config), (manifest_hash, &manifest), (layer_hash, &layer)] {
        archive.file(&blob_path(hash), 0o644, 0, content);
    }
    Ok(Image { archive: archive.finish(), config: config_hash, manifest: manifest_hash, tag })
}

/// `amd64` or `arm64` for a program that needs no loader.
fn static_architecture(binary: &[u8]) -> Result<&'static str, BinaryError> {
    const PT_INTERP: u32 = 3;
    let number = |at: usize, bytes: usize| -> Result<u64, BinaryError> {
        let field = binary.get(at..at.saturating_add(bytes)).ok_or(BinaryError::NotElf)?;
        Ok(field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    if !binary.starts_with(&[0x7f, b'E', b'L', b'F', 2, 1]) {
        return Err(BinaryError::NotElf);
    }
    // Offsets of the ELF64 header: machine 18, program header table 32, entry size 54, entry count 56.
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for entry in 0..count {
        let at = table.checked_add(entry * size).and_then(|at| usize::try_from(at).ok()).ok_or(BinaryError::NotElf)?;
        if number(at, 4)? == u64::from(PT_INTERP) {
            return Err(BinaryError::Dynamic);
        }
    }
    match number(18, 2)? {
        62 => Ok("amd64"),
        183 => Ok("arm64"),
        other => Err(BinaryError::Machine(other as u16)),
    }
}

/// The root: mount points and the binary.
fn layer(binary: &[u8]) -> Vec<u8> {
    let mut layer = Archive::default();
    layer.folder("in/", 0);
    layer.folder("out/", WORKER_UID);
    layer.file("worker", 0o755, 0, binary);
    layer.finish()
}

/// A tar whose bytes depend on its content alone.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn folder(&mut self, path: &str, owner: u64) {
        self.entry(path, tar::EntryType::Directory, 0o755, owner, &[]);
    }

    fn file(&mut self, path: &str, mode: u32, owner: u64, content: &[u8]) {
        self.entry(path, tar::EntryType::Regular, mode, owner, content);
    }

    fn entry(&mut self, path: &str, kind: tar::EntryType, mode: u32, owner: u64, content: &[u8]) {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        // All paths here are short and relative, which is all that `set_path` could object to.
        let named = header.set_path(path);
        debug_assert!(named.is_ok(), "{path}");
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        // Two empty blocks end a tar.
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

fn digest(hash: B256) -> String {
    format!("sha256:{}", hex::encode(hash))
}

fn blob_path(hash: B256) -> String {
    format!("blobs/sha256/{}", hex::encode(hash))
}

fn to_bytes(value: &Value) -> Vec<u8> {
    // Plain data with string keys always serialises.
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A header with one program header of the given type.
    fn elf(machine: u16, segment: u32) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&1_u16.to_le_bytes());
        bytes[64..68].copy_from_slice(&segment.to_le_bytes());
        bytes
    }

    #[test]
    fn one_binary_gives_one_image_and_another_gives_another() {
        let first = build(&elf(62, 1)).unwrap();
        let again = build(&elf(62, 1)).unwrap();
        assert_eq!((&first.archive, first.config, first.manifest), (&again.archive, again.config, again.manifest));
        assert_ne!(first.config, build(&elf(183, 1)).unwrap().config);
    }

    #[test]
    fn the_archive_can_be_read_back_and_its_hashes_hold() {
        let image = build(&elf(62, 1)).unwrap();
        let mut blobs = 0;
        for entry in tar::Archive::new(image.archive.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut content = Vec::new();
            std::io::copy(&mut entry, &mut content).unwrap();
            if let Some(hash) = path.strip_prefix("blobs/sha256/") {
                assert_eq!(hash, hex::encode(sha256(&content)));
                blobs += 1;
            }
        }
        assert_eq!(blobs, 3);
    }

    #[test]
    fn binaries_that_could_not_run_are_refused_with_the_remedy() {
        assert_eq!(build(b"#!/bin/sh").unwrap_err(), BinaryError::NotElf);
        assert_eq!(build(&elf(62, 1)[..40]).unwrap_err(), BinaryError::NotElf);
        assert_eq!(build(&elf(62, 3)).unwrap_err(), BinaryError::Dynamic);
        assert_eq!(build(&elf(8, 1)).unwrap_err(), BinaryError::Machine(8));
        assert!(BinaryError::Dynamic.to_string().contains("crt-static"));
    }
}
