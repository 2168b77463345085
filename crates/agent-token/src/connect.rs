use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{HOST, PROXY_AUTHORIZATION, RETRY_AFTER, USER_AGENT};
use hyper::service::Service;
use hyper::{Request, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::http_error::HttpError;
use crate::proxy::{Kind, Proxy};
use crate::url::BaseUrl;

/// Opens connections, directly or through a proxy, and with TLS if the URL asks for it
///
/// The default connects directly and without TLS.
#[derive(Clone, Debug, Default)]
pub struct Connector {
    pub(crate) proxy: Option<Proxy>,
    /// `None` if neither the URL nor the proxy needs TLS
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// A connection over any transport
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection for one request
pub(crate) struct Connection {
    pub(crate) stream: Box<dyn Stream>,
    /// Whether the peer is a proxy, which needs requests in absolute form (RFC 9112, 3.2.2)
    pub(crate) absolute: bool,
}

impl Connector {
    /// Connects to the host of `url`
    ///
    /// # Errors
    ///
    /// [`HttpError`], which names the step that failed.
    pub(crate) async fn connect(&self, url: &BaseUrl) -> Result<Connection, HttpError> {
        let Some(proxy) = &self.proxy else {
            let stream: Box<dyn Stream> = Box::new(dial(url).await?);
            return self.secured(url, stream, false).await;
        };
        let failed = |error: HttpError| HttpError::Proxy {
            proxy: proxy.to_string(),
            error: Box::new(error),
        };
        let address = proxy.address().map_err(HttpError::ProxyUrl)?;
        match proxy.kind() {
            Kind::Socks5 => {
                let stream = socks(&address, proxy, url).await.map_err(failed)?;
                self.secured(url, Box::new(stream), false).await
            }
            Kind::Http { tls } => {
                let stream: Box<dyn Stream> = Box::new(dial(&address).await.map_err(failed)?);
                let stream =
                    if tls { self.secure(&address, stream).await.map_err(failed)? } else { stream };
                if url.is_tls() {
                    let tunnel = tunnel(stream, proxy, url).await.map_err(failed)?;
                    self.secured(url, tunnel, false).await
                } else {
                    Ok(Connection { stream, absolute: true })
                }
            }
        }
    }

    /// Returns the proxy whose own answers cannot be distinguished from those of `url`
    ///
    /// That is a proxy that gets requests in absolute form. In a tunnel only `url` answers.
    pub(crate) fn relay(&self, url: &BaseUrl) -> Option<&Proxy> {
        let proxy = self.proxy.as_ref()?;
        (matches!(proxy.kind(), Kind::Http { .. }) && !url.is_tls()).then_some(proxy)
    }

    async fn secured(
        &self,
        url: &BaseUrl,
        stream: Box<dyn Stream>,
        absolute: bool,
    ) -> Result<Connection, HttpError> {
        let stream = if url.is_tls() { self.secure(url, stream).await? } else { stream };
        Ok(Connection { stream, absolute })
    }

    async fn secure(
        &self,
        url: &BaseUrl,
        stream: Box<dyn Stream>,
    ) -> Result<Box<dyn Stream>, HttpError> {
        let config = self.tls.clone().ok_or(HttpError::NoTls)?;
        let name = ServerName::try_from(url.host().to_owned()).map_err(|_| HttpError::NoTls)?;
        let connecting = TlsConnector::from(config).connect(name, stream);
        let stream = connecting.await.map_err(HttpError::from_handshake)?;
        Ok(Box::new(stream))
    }
}

/// Resolves the host and connects to the first address that accepts (RFC 8305, "Happy Eyeballs")
async fn dial(url: &BaseUrl) -> Result<TcpStream, HttpError> {
    let connector = TowerToHyperService::new(tcp());
    let stream =
        connector.call(target(url)?).await.map_err(|error| HttpError::Connect(error.into()))?;
    Ok(stream.into_inner())
}

async fn socks(address: &BaseUrl, proxy: &Proxy, url: &BaseUrl) -> Result<TcpStream, HttpError> {
    // The proxy resolves the name: machines behind a proxy often cannot.
    let connector = SocksV5::new(target(address)?, tcp());
    let connector = match proxy.user_and_password() {
        Some((user, password)) => connector.with_auth(user.to_owned(), password.to_owned()),
        None => connector,
    };
    let connecting = TowerToHyperService::new(connector).call(target(url)?);
    let stream = connecting.await.map_err(|error| HttpError::Connect(error.into()))?;
    Ok(stream.into_inner())
}

fn tcp() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector
}

fn target(url: &BaseUrl) -> Result<Uri, HttpError> {
    let text = format!("http://{}/", url.host_and_port());
    text.parse().map_err(|_| HttpError::Request)
}

/// Asks an HTTP proxy for a tunnel to `url` (RFC 9110, 9.3.6)
///
/// hyper-util has a connector for this too, but it does not return the proxy's status, which
/// decides whether the failure is transient.
async fn tunnel(
    stream: Box<dyn Stream>,
    proxy: &Proxy,
    url: &BaseUrl,
) -> Result<Box<dyn Stream>, HttpError> {
    let authority = url.host_and_port();
    let mut request = Request::connect(authority.as_str())
        .header(HOST, authority.as_str())
        .header(USER_AGENT, USER_AGENT_VALUE);
    if let Some(authorization) = proxy.authorization() {
        request = request.header(PROXY_AUTHORIZATION, authorization);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|_| HttpError::Request)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(HttpError::Broken)?;
    // Ends with the tunnel.
    tokio::spawn(connection.with_upgrades());
    let response = sender.send_request(request).await.map_err(HttpError::Broken)?;
    let status = response.status();
    if !status.is_success() {
        let retry_after = response.headers().get(RETRY_AFTER).cloned();
        return Err(HttpError::Tunnel { status, retry_after });
    }
    let tunnel = hyper::upgrade::on(response).await.map_err(HttpError::Broken)?;
    Ok(Box::new(TokioIo::new(tunnel)))
}

pub(crate) const USER_AGENT_VALUE: &str = concat!("authd/", env!("CARGO_PKG_VERSION"));
