//! Private keys: encrypted keystores on disk, passwords from the environment or a file.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use alloy::{primitives::Address, signers::local::PrivateKeySigner};

use crate::config::KeyConfig;

/// A key that cannot be opened or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The password's place is not named as `env:` or `file:`.
    #[error("'{0}' is no secret reference: write env:NAME or file:PATH (never the secret itself)")]
    Reference(String),
    /// The variable is not set.
    #[error("environment variable {0} holds no secret for {1}; set it and start again")]
    Variable(String, PathBuf),
    /// The file cannot be read.
    #[error("file {path}: {source}; it should hold a secret, or be a keystore")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Wrong password, or no keystore.
    #[error(
        "keystore {path} stays locked: {source}; check its password, or that it is an Ethereum keystore (version 3)"
    )]
    Locked {
        /// The keystore.
        path: PathBuf,
        /// Why.
        source: alloy::signers::local::LocalSignerError,
    },
    /// One account in two places.
    #[error(
        "account {0} is named twice among agent.relayer_key, agent.more_relayer_keys and provider.key; its nonces need \
         one owner: give each its own key"
    )]
    Twice(Address),
    /// Not overwritten.
    #[error("{0} exists; keys are never overwritten, choose another name")]
    Exists(PathBuf),
}

/// Opens the key that `config` names. Slow by design (scrypt): run it off the event loop.
///
/// # Errors
/// [`KeyError`] names the keystore or the password's place.
pub fn load(config: &KeyConfig) -> Result<PrivateKeySigner, KeyError> {
    let path = &config.keystore;
    std::fs::metadata(path).map_err(|source| KeyError::File { path: path.clone(), source })?;
    let password = secret(&config.password, path)?;
    PrivateKeySigner::decrypt_keystore(path, password).map_err(|source| KeyError::Locked { path: path.clone(), source })
}

/// Whether each of the accounts that send has one place in the configuration.
///
/// # Errors
/// [`KeyError::Twice`].
pub fn one_owner_each(senders: impl IntoIterator<Item = Address>) -> Result<(), KeyError> {
    let mut seen = HashSet::new();
    senders.into_iter().try_for_each(|sender| if seen.insert(sender) { Ok(()) } else { Err(KeyError::Twice(sender)) })
}

/// Makes a new random key in an encrypted keystore that only its owner may read.
///
/// # Errors
/// [`KeyError::Exists`] when `path` is taken; [`KeyError::File`] when it cannot be written.
pub fn create(path: &Path, password: &str) -> Result<PrivateKeySigner, KeyError> {
    let file = |source| KeyError::File { path: path.into(), source };
    if path.exists() {
        return Err(KeyError::Exists(path.into()));
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(file)?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("key.json");
    let key = PrivateKeySigner::random();
    let locked = |source| KeyError::Locked { path: path.into(), source };
    PrivateKeySigner::encrypt_keystore(folder, &mut rand::thread_rng(), key.to_bytes(), password, Some(name))
        .map_err(locked)?;
    restrict(path).map_err(file)?;
    Ok(key)
}

/// Sets mode 0600.
fn restrict(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

/// What `env:NAME` or `file:PATH` holds; `purpose` is the keystore or the bucket that it is for.
///
/// # Errors
/// [`KeyError`] names the secret's place.
pub fn secret(reference: &str, purpose: &Path) -> Result<String, KeyError> {
    match reference.split_once(':') {
        Some(("env", name)) => std::env::var(name).map_err(|_| KeyError::Variable(name.into(), purpose.into())),
        Some(("file", path)) => std::fs::read_to_string(path)
            .map(|text| text.trim_end_matches('\n').to_owned())
            .map_err(|source| KeyError::File { path: path.into(), source }),
        _ => Err(KeyError::Reference(reference.into())),
    }
}
