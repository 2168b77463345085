use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::server_verifier::ServerVerifier;

/// Configures TLS with the certificate authorities that the system trusts, and those in `ca_file`
///
/// `SSL_CERT_FILE` and `SSL_CERT_DIR` replace the authorities of the system, as with OpenSSL.
///
/// # Errors
///
/// [`CertificatesError`] if `ca_file` is not usable, or if no authority is trusted.
pub(crate) fn client_config(
    ca_file: Option<&Path>,
) -> Result<Arc<ClientConfig>, CertificatesError> {
    let system = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let mut trusted: HashSet<_> = system.certs.into_iter().collect();
    // A system's store often has a few unusable certificates, which are skipped.
    trusted.retain(|certificate| roots.add(certificate.clone()).is_ok());
    if let Some(path) = ca_file {
        for certificate in read(path)? {
            roots.add(certificate.clone()).map_err(|error| CertificatesError::NotAnAuthority {
                path: path.to_owned(),
                error,
            })?;
            trusted.insert(certificate);
        }
    }
    if trusted.is_empty() {
        let error = system.errors.into_iter().next();
        return Err(CertificatesError::None(
            error.map_or_else(String::new, |error| format!(": {error}")),
        ));
    }
    let provider = Arc::new(ring::default_provider());
    let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| CertificatesError::Tls(rustls::Error::General(error.to_string())))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(CertificatesError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ServerVerifier::new(chains, trusted)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Reads the certificates of a PEM file, which has at least one
fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificatesError> {
    let unreadable = |error| CertificatesError::Unreadable { path: path.to_owned(), error };
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(unreadable)?
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    match certificates.is_empty() {
        true => Err(unreadable(pem::Error::NoItemsFound)),
        false => Ok(certificates),
    }
}

/// Why TLS cannot be used
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CertificatesError {
    /// The system does not trust any certificate authority
    #[error(
        "this system does not trust any certificate authority{0}; install `ca-certificates`, or \
         provide certificates in a CA file or in `SSL_CERT_FILE`"
    )]
    None(String),
    /// A certificate of the CA file is not a certificate authority
    #[error("`{}` has a certificate that is not usable as an authority", path.display())]
    NotAnAuthority {
        /// The CA file
        path: PathBuf,
        /// Why not
        #[source]
        error: rustls::Error,
    },
    /// TLS cannot be configured
    #[error("TLS is not usable")]
    Tls(#[source] rustls::Error),
    /// The CA file cannot be read, or is not a PEM file with a certificate
    #[error("`{}` is not a PEM file of certificates", path.display())]
    Unreadable {
        /// The CA file
        path: PathBuf,
        /// Why not
        #[source]
        error: pem::Error,
    },
}
