#[cfg(feature = "tls-openssl")]
mod by_openssl;

use std::path::PathBuf;

#[cfg(feature = "tls-openssl")]
pub(super) use postgres_openssl::MakeTlsConnector;

use super::url::Secret;
#[cfg(not(feature = "tls-openssl"))]
use crate::Error;

/// Opens TLS streams; without OpenSSL, no value is ever made
#[cfg(not(feature = "tls-openssl"))]
pub(super) type MakeTlsConnector = tokio_postgres::NoTls;

/// How connections to the database are secured
///
/// There are fewer modes than in libpq: connections are either not encrypted, or use TLS with
/// the server's certificate and name verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Security {
    Clear,
    /// TLS; a server without a valid certificate for its name is refused
    Tls(Tls),
}

/// The TLS parameters of a URL
#[cfg_attr(not(feature = "tls-openssl"), allow(dead_code, reason = "parsed for their errors"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tls {
    /// The authorities to trust in place of the system's
    pub(super) roots: Option<Pem>,
    /// The client certificate, for servers that ask for one
    pub(super) identity: Option<Identity>,
    /// Whether the server's name is sent in the handshake (SNI)
    pub(super) sends_name: bool,
    pub(super) oldest: Version,
    pub(super) newest: Option<Version>,
    /// Whether TLS begins without negotiation, which servers support since PostgreSQL 17
    pub(super) direct: bool,
}

/// A client certificate with its chain, and its key
#[cfg_attr(not(feature = "tls-openssl"), allow(dead_code, reason = "as above"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) certificate: Pem,
    pub(super) key: Pem,
    pub(super) passphrase: Option<Secret>,
}

/// Certificates or a key in PEM form
#[cfg_attr(not(feature = "tls-openssl"), allow(dead_code, reason = "as above"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pem {
    File(PathBuf),
    /// The URL contains the text: `sslinline`
    Inline(Secret),
}

impl Tls {
    /// Whether anything is read from files, which may be replaced while authd runs
    pub(super) fn names_files(&self) -> bool {
        let identity = self.identity.as_ref();
        let pems = [
            self.roots.as_ref(),
            identity.map(|identity| &identity.certificate),
            identity.map(|identity| &identity.key),
        ];
        pems.iter().any(|pem| matches!(pem, Some(Pem::File(_))))
    }
}

/// A version of TLS
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Tls1_2,
    Tls1_3,
}

#[cfg(not(feature = "tls-openssl"))]
impl Tls {
    /// # Errors
    ///
    /// Always [`Error::Tls`].
    #[expect(clippy::unused_self, reason = "as with OpenSSL")]
    pub(super) fn connector(&self) -> Result<MakeTlsConnector, Error> {
        let reason = "the URL asks for TLS, and authd-store was built without its feature \
                      `tls-openssl`";
        Err(Error::Tls { reason: reason.into() })
    }
}
