//! TLS by rustls, with certificates that are renewed while the keeper runs.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use alloy::primitives::B256;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::spec::sha256;

/// The files are looked at when somebody connects, at most this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A server's certificate and key. When the files change, connections from then on get what is in them.
#[derive(Clone, Debug)]
pub struct Tls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    certificate: PathBuf,
    key: PathBuf,
    current: Mutex<Current>,
}

#[derive(Clone)]
struct Current {
    config: Arc<ServerConfig>,
    /// Of what was read last, whether it was good or not: each change is tried, and complained of, once.
    seen: B256,
    looked: Instant,
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Current").field("seen", &self.seen).finish_non_exhaustive()
    }
}

/// Certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No such file, or it may not be read.
    #[error("TLS file {path}: {source}; provider.tls must name PEM files that the keeper may read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not what it should be.
    #[error("TLS file {path} holds no {what}: {reason}; it must be a PEM file")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// They do not belong together, or are of a kind that is not known.
    #[error("TLS certificate {certificate} cannot be used with key {key}: {source}; the key must be the certificate's")]
    Pair {
        /// The file of the chain.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

impl Tls {
    /// Reads a chain of certificates, the server's own first, and its key, both PEM.
    ///
    /// # Errors
    /// [`TlsError`] names the file and the remedy.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let files = Files::read(certificate, key)?;
        let current =
            Current { config: files.config(certificate, key)?, seen: files.fingerprint(), looked: Instant::now() };
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        Ok(Self(Arc::new(Inner { certificate, key, current: Mutex::new(current) })))
    }

    /// What the next connection is met with. While the files are no good, it is what was good last.
    pub(super) async fn acceptor(&self) -> TlsAcceptor {
        let known = {
            let mut current = self.current();
            let is_due = current.looked.elapsed() >= LOOK_EVERY;
            if is_due {
                current.looked = Instant::now();
            }
            (!is_due).then(|| current.config.clone())
        };
        if let Some(config) = known {
            return config.into();
        }
        let this = self.clone();
        let _ = tokio::task::spawn_blocking(move || this.look()).await;
        self.current().config.clone().into()
    }

    fn look(&self) {
        let Inner { certificate, key, .. } = &*self.0;
        let (seen, found) = match Files::read(certificate, key) {
            Ok(files) => (files.fingerprint(), files.config(certificate, key)),
            Err(error) => (sha256(error.to_string().as_bytes()), Err(error)),
        };
        let mut current = self.current();
        if current.seen == seen {
            return;
        }
        current.seen = seen;
        match found {
            Ok(config) => {
                tracing::info!(certificate = %certificate.display(), "the TLS certificate was renewed");
                current.config = config;
            }
            Err(error) => tracing::error!(%error, "the TLS certificate was not renewed; the one before stays in use"),
        }
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Current> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let read = |path: &Path| std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source });
        Ok(Self { certificate: read(certificate)?, key: read(key)? })
    }

    fn fingerprint(&self) -> B256 {
        sha256(&[sha256(&self.certificate), sha256(&self.key)].concat())
    }

    fn config(&self, certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
        let no = |path: &Path, what, reason: String| TlsError::Pem { path: path.to_owned(), what, reason };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<_, _>>()
            .map_err(|error| no(certificate, "certificate", error.to_string()))?;
        if chain.is_empty() {
            return Err(no(certificate, "certificate", "none is in it".into()));
        }
        let own =
            PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| no(key, "private key", error.to_string()))?;
        let pair = |source| TlsError::Pair { certificate: certificate.to_owned(), key: key.to_owned(), source };
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(pair)?
            .with_no_client_auth()
            .with_single_cert(chain, own)
            .map_err(pair)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}
