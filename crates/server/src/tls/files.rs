use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use thiserror::Error;
use tokio_rustls::rustls;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::validity::expiry;

/// Why a certificate cannot be used
///
/// No message quotes a file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The system did not let the files be read to the end
    #[error("reading the certificate was interrupted: {0}")]
    Interrupted(String),
    /// The key is not that of the certificate
    #[error("the key in `{}` is not that of the certificate in `{}`", key.display(), certificate.display())]
    Mismatch {
        /// The file of the certificate
        certificate: PathBuf,
        /// The file of the key
        key: PathBuf,
    },
    /// The file does not have what it should
    #[error("`{}` is not a PEM file with {expected}", path.display())]
    Malformed {
        /// The file
        path: PathBuf,
        /// What it should have
        expected: &'static str,
    },
    /// The file cannot be read
    #[error("`{}` cannot be read: {error}", path.display())]
    Unreadable {
        /// The file
        path: PathBuf,
        /// The system's reason
        #[source]
        error: io::Error,
    },
    /// The certificate or the key is of a kind that is not supported
    #[error("the certificate cannot be used: {0}")]
    Unusable(#[source] rustls::Error),
}

/// The files of a certificate and its key
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// What changes when files are replaced or written
///
/// Symbolic links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp([Option<FileStamp>; 2]);

type FileStamp = (u64, u64, i64, i64, u64);

impl Files {
    pub(super) fn stamp(&self) -> Stamp {
        Stamp([&self.certificate, &self.key].map(|path| {
            let file = fs::metadata(path).ok()?;
            Some((file.dev(), file.ino(), file.mtime(), file.mtime_nsec(), file.len()))
        }))
    }

    /// Reads both files; returns the certificate and when the first of its chain expires
    pub(super) fn read(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<(Arc<CertifiedKey>, SystemTime), TlsError> {
        let malformed = |path: &Path, expected| TlsError::Malformed { path: path.into(), expected };
        let of_certificate = || malformed(&self.certificate, "certificates");
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(&read(&self.certificate)?).collect();
        let chain = chain.map_err(|_| of_certificate())?;
        let expires: Option<Vec<_>> = chain.iter().map(|certificate| expiry(certificate)).collect();
        let expires = expires.and_then(|all| all.into_iter().min()).ok_or_else(of_certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?)
            .map_err(|_| malformed(&self.key, "a private key"))?;
        let certified =
            CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => TlsError::Mismatch {
                    certificate: self.certificate.clone(),
                    key: self.key.clone(),
                },
                error => TlsError::Unusable(error),
            })?;
        Ok((Arc::new(certified), expires))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |error| TlsError::Unreadable { path: path.to_owned(), error };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(LARGEST).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// In bytes; a file that is larger is cut, and then not usable
const LARGEST: u64 = 1 << 20;
