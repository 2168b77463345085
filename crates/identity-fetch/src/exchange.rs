use std::io;
use std::time::Duration;

use hyper::{StatusCode, Uri};
use thiserror::Error;
use tokio_rustls::rustls;

/// Why nothing was fetched
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The answer is not HTTP, or ended too early
    #[error("the answer broke off or is not HTTP")]
    Broken(#[source] hyper::Error),
    /// The connection to the host, or to the proxy, could not be opened
    #[error("no connection")]
    Connect(#[source] io::Error),
    /// The TLS handshake failed, for example because the certificate is not for that host
    #[error("no secure connection")]
    Handshake(#[source] io::Error),
    /// The name has no address, or only ones that may not be reached
    #[error("the host has no address that may be reached")]
    NoAllowedAddress,
    /// The proxy did not open a connection to the host, for example because it wants a password
    #[error("the proxy answered with status {}", .0.as_u16())]
    ProxyRefused(StatusCode),
    /// An `http` URL is not fetched through a proxy, which could change the answer
    #[error("only https URLs are fetched through a proxy")]
    ProxyWithoutTls,
    /// The name of the host, or of the proxy, could not be resolved
    #[error("the host's addresses cannot be found")]
    Resolve(#[source] io::Error),
    /// The answer has another status than 200, such as a redirect
    #[error("the answer has status {}", .0.as_u16())]
    Status(StatusCode),
    /// The answer was not complete in time
    #[error("no complete answer within {} seconds", TIMEOUT.as_secs())]
    TimedOut,
    /// The TLS client could not be configured
    #[error("TLS is not usable")]
    Tls(#[source] rustls::Error),
    /// The answer is larger than the limit
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes
        limit: usize,
    },
    /// The URL is not an absolute `http` or `https` URL
    #[error("not a URL that can be fetched")]
    Url,
}

/// The host, the port, and whether to use TLS
pub(crate) fn parts(url: &Uri) -> Option<(&str, u16, bool)> {
    let authority = url.authority()?;
    let (tls, usual) = match url.scheme_str()? {
        "http" => (false, 80),
        "https" => (true, 443),
        _ => return None,
    };
    let host = authority.host();
    // The authority is only a host and a port: anything else, such as a user, is refused.
    let port = match authority.as_str().strip_prefix(host)? {
        "" => usual,
        port => port.strip_prefix(':')?.parse().ok()?,
    };
    // IPv6 addresses stand in brackets (RFC 3986, 3.2.2).
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (!host.is_empty()).then_some((host, port, tls))
}

/// From the start of the name lookup to the last byte
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) const MAX_HEAD: usize = 32 << 10;
pub(crate) const MAX_HEADERS: usize = 64;

/// The value of `User-Agent`
pub(crate) const AGENT: &str = concat!("authd/", env!("CARGO_PKG_VERSION"));
