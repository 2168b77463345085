use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// TLS with the authorities that this system trusts, and those in `ca_file`
///
/// `SSL_CERT_FILE` and `SSL_CERT_DIR` stand in the place of the system's own, as
/// OpenSSL has it.
///
/// # Errors
///
/// [`RootsError`] if `ca_file` is not usable, or if there is not one authority.
pub(super) fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, RootsError> {
    let system = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A store often has a few that cannot be used, which must not spoil the others.
    let (mut trusted, _) = roots.add_parsable_certificates(system.certs);
    if let Some(path) = ca_file {
        for certificate in read(path)? {
            roots
                .add(certificate)
                .map_err(|error| RootsError::NotAnAuthority { path: path.to_owned(), error })?;
            trusted += 1;
        }
    }
    if trusted == 0 {
        let error = system.errors.into_iter().next();
        return Err(RootsError::None(error.map_or_else(String::new, |error| format!(": {error}"))));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(RootsError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The certificates of a PEM file, at least one
fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, RootsError> {
    let unreadable = |error| RootsError::Unreadable { path: path.to_owned(), error };
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(unreadable)?
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    match certificates.is_empty() {
        true => Err(unreadable(pem::Error::NoItemsFound)),
        false => Ok(certificates),
    }
}

/// Why TLS is not usable
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RootsError {
    /// No certificate authority is trusted
    #[error(
        "this system trusts no certificate authority{0}; install `ca-certificates`, or name a \
         file of certificates with `--ca-file` or `SSL_CERT_FILE`"
    )]
    None(String),
    /// A certificate of the file cannot be a root
    #[error("`{}` holds a certificate that is not usable as a root", path.display())]
    NotAnAuthority {
        /// The file
        path: PathBuf,
        /// Why not
        #[source]
        error: rustls::Error,
    },
    /// TLS cannot be set up
    #[error("TLS is not usable")]
    Tls(#[source] rustls::Error),
    /// The file cannot be read, or has no certificate in PEM
    #[error("`{}` is not a file of certificates in PEM", path.display())]
    Unreadable {
        /// The file
        path: PathBuf,
        /// Why not
        #[source]
        error: pem::Error,
    },
}
