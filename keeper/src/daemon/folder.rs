//! A keeper's data folder: one owner at a time, and a name of its own.

use std::{
    fs::File,
    io::{Read, Seek, Write},
    path::Path,
};

use alloy::primitives::Address;
use eyre::Context as _;

pub(super) fn lock_file(data_dir: &Path) -> eyre::Result<File> {
    let path = data_dir.join("lock");
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .wrap_err_with(|| format!("lock file {}", path.display()))
}

pub(super) fn note_owner(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

pub(super) fn owner_of(data_dir: &Path) -> String {
    let mut text = String::new();
    let read = File::open(data_dir.join("lock")).and_then(|file| file.take(32).read_to_string(&mut text));
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "unknown".into(),
    }
}

/// The name of a keeper's data folder, which it must have by now.
///
/// # Errors
/// When there is none: then the folder is no keeper's that ever sold.
pub fn known_node_id(data_dir: &Path) -> eyre::Result<String> {
    let path = data_dir.join("node-id");
    let id = std::fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
    eyre::ensure!(!id.is_empty(), "{} is not there; name the data folder of a provider's keeper", path.display());
    Ok(id)
}

/// A random name of this data folder: two keepers on one engine never touch each other's containers.
pub(super) fn node_id(data_dir: &Path) -> eyre::Result<String> {
    let path = data_dir.join("node-id");
    if let Ok(id) = std::fs::read_to_string(&path)
        && !id.trim().is_empty()
    {
        return Ok(id.trim().to_owned());
    }
    let id = format!("{:x}", Address::random());
    std::fs::write(&path, &id).wrap_err_with(|| path.display().to_string())?;
    Ok(id)
}
