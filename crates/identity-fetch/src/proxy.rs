use std::fmt;
use std::pin::pin;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue, PROXY_AUTHORIZATION, USER_AGENT};
use hyper::{Method, Request, Uri, upgrade};
use hyper_util::rt::TokioIo;
use thiserror::Error;

use crate::exchange::{AGENT, FetchError, MAX_HEAD, MAX_HEADERS, parts};
use crate::network::Stream;

/// A proxy that opens tunnels: HTTP `CONNECT` (RFC 9110, 9.3.6)
///
/// The proxy learns the host and the size of an answer, but not its content, since only `https`
/// URLs are fetched through it. It resolves the host itself, so no address is checked: use it for
/// URLs that the operator wrote. `Debug` prints neither user nor password.
#[derive(Clone)]
pub struct Proxy {
    host: String,
    port: u16,
    authorization: Option<HeaderValue>,
}

impl Proxy {
    /// Sends a user and password to the proxy (RFC 7617)
    ///
    /// # Errors
    ///
    /// [`ProxyError::User`] if `user` contains a colon, which would end it.
    pub fn basic(self, user: &str, password: &str) -> Result<Self, ProxyError> {
        if user.contains(':') {
            return Err(ProxyError::User);
        }
        let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        let mut value = HeaderValue::try_from(value).map_err(|_| ProxyError::User)?;
        value.set_sensitive(true);
        Ok(Self { authorization: Some(value), ..self })
    }

    pub(crate) fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Asks the proxy at the other end of `stream` for a connection to `host`
    pub(crate) async fn tunnel(
        &self,
        stream: Box<dyn Stream>,
        host: &str,
        port: u16,
    ) -> Result<Box<dyn Stream>, FetchError> {
        let target =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut request = Request::builder()
            .method(Method::CONNECT)
            .uri(&target)
            .header(HOST, &target)
            .header(USER_AGENT, AGENT);
        if let Some(authorization) = &self.authorization {
            request = request.header(PROXY_AUTHORIZATION, authorization);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|_| FetchError::Url)?;
        let handshake = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(FetchError::Broken)?;
        let opened = async move {
            let answer = sender.send_request(request).await.map_err(FetchError::Broken)?;
            if !answer.status().is_success() {
                return Err(FetchError::ProxyRefused(answer.status()));
            }
            upgrade::on(answer).await.map_err(FetchError::Broken)
        };
        // As for an answer, both are polled here, so that dropping this future closes the socket.
        let opened = match select(pin!(opened), pin!(connection.with_upgrades())).await {
            Either::Left((opened, _)) => opened?,
            Either::Right((_, opened)) => opened.await?,
        };
        Ok(Box::new(TokioIo::new(opened)))
    }
}

impl FromStr for Proxy {
    type Err = ProxyError;

    /// Reads `http://HOST:PORT`; without a port it is 80
    fn from_str(text: &str) -> Result<Self, ProxyError> {
        let uri: Uri = text.parse().map_err(|_| ProxyError::NotAUrl)?;
        let authority = uri.authority().ok_or(ProxyError::NotAUrl)?;
        if authority.as_str().contains('@') {
            return Err(ProxyError::Credentials);
        }
        match parts(&uri) {
            Some((host, port, false)) if uri.path_and_query().is_some_and(|path| path == "/") => {
                Ok(Self { host: host.to_owned(), port, authorization: None })
            }
            _ => Err(ProxyError::NotHttp),
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// Why a text does not name a usable proxy
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyError {
    /// The text is not a URL with a host
    #[error("not a URL with a host")]
    NotAUrl,
    /// The URL has another scheme than `http`, a path, a query, or a port that is not a number
    /// below 65,536
    #[error("a proxy is given as `http://HOST:PORT`")]
    NotHttp,
    /// The URL contains a user or password: they are given with [`Proxy::basic`]
    #[error("a proxy's URL must not contain a user or password")]
    Credentials,
    /// The user cannot be sent
    #[error("a proxy's user must not contain a colon")]
    User,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_host_and_a_port() {
        for (text, expected) in [
            ("http://proxy.example:3128", Ok(("proxy.example", 3128))),
            ("http://proxy.example/", Ok(("proxy.example", 80))),
            ("http://[::1]:8080", Ok(("::1", 8080))),
            ("", Err(ProxyError::NotAUrl)),
            ("/", Err(ProxyError::NotAUrl)),
            ("proxy.example:3128", Err(ProxyError::NotHttp)),
            ("https://proxy.example:3128", Err(ProxyError::NotHttp)),
            ("socks5://proxy.example:1080", Err(ProxyError::NotHttp)),
            ("http://proxy.example/path", Err(ProxyError::NotHttp)),
            ("http://proxy.example?query", Err(ProxyError::NotHttp)),
            ("http://proxy.example:65536", Err(ProxyError::NotHttp)),
            ("http://proxy.example:", Err(ProxyError::NotHttp)),
            ("http://user:secret@proxy.example", Err(ProxyError::Credentials)),
        ] {
            let proxy = text.parse::<Proxy>();
            assert_eq!(proxy.as_ref().map(Proxy::address).map_err(|error| *error), expected);
        }
        let proxy: Proxy = "http://proxy.example".parse().unwrap();
        let proxy = proxy.basic("user", "secret").unwrap();
        assert!(!format!("{proxy:?}").contains("dXNlcjpzZWNyZXQ="), "{proxy:?}");
        assert_eq!(proxy.basic("a:b", "c").unwrap_err(), ProxyError::User);
    }
}
