//! Who vouches for providers' certificates: the system's roots, and those that the agent's owner adds.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rustls_platform_verifier::Verifier;
use tokio_rustls::rustls::{
    self, ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};

/// The roots, and what is made of them once for all connections: the system's are in hundreds of files. Clones share it, so a
/// change of the system's roots shows after a restart.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    extra: Vec<CertificateDer<'static>>,
    config: Arc<OnceLock<ClientConfig>>,
}

impl Roots {
    /// Trusts the certificates in a PEM file besides the system's.
    ///
    /// # Errors
    /// [`CaError`] names the file and the remedy.
    pub fn trust(&mut self, path: &Path) -> Result<(), CaError> {
        let error = |source| CaError { path: path.to_owned(), source };
        let pem = std::fs::read(path).map_err(error)?;
        let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
        let found = found.map_err(|why| error(io::Error::other(why.to_string())))?;
        if found.is_empty() {
            return Err(error(io::Error::other("no certificate is in it")));
        }
        // A root that cannot be used shows here, not when the first provider is met.
        let mut usable = RootCertStore::empty();
        for certificate in &found {
            usable.add(certificate.clone()).map_err(|why| error(io::Error::other(why)))?;
        }
        self.extra.extend(found);
        self.config = Arc::default();
        Ok(())
    }

    /// How a client speaks TLS with these roots.
    pub(super) fn config(&self) -> Result<ClientConfig, rustls::Error> {
        if let Some(config) = self.config.get() {
            return Ok(config.clone());
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Verifier::new_with_extra_roots(self.extra.iter().cloned(), provider.clone())?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(self.config.get_or_init(|| config).clone())
    }
}

/// A file of trusted certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("agent.extra_ca {path}: {source}; it must be a PEM file of root certificates")]
pub struct CaError {
    path: PathBuf,
    source: io::Error,
}
