use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use super::exchange::{AGENT, FetchError, MAX_HEAD, MAX_HEADERS, TIMEOUT, parts};
use super::freshness;
use super::network::{Network, Stream};
use super::proxy::Proxy;
use super::reach::Reach;

/// Makes one request at a time, bounded in every way
///
/// `GET` or `POST` over HTTP/1.1, with TLS 1.3 and Mozilla's roots for `https` unless
/// [`tls`](Self::tls) says otherwise. Every request resolves the name and opens its own connection,
/// so the checked address is the one that is connected to. Redirects are not followed. Proxies and
/// other settings of the environment are ignored, and nothing is retried.
#[derive(Clone)]
pub struct Fetcher {
    network: Arc<dyn Network>,
    reach: Reach,
    /// Replaces [`MOZILLA`]
    tls: Option<Arc<ClientConfig>>,
    proxy: Option<Arc<Proxy>>,
}

/// A complete answer, of status 200 unless others were asked for
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fetched {
    /// The whole body
    pub body: Bytes,
    /// The time for which the headers allow caching: `max-age` of `Cache-Control` minus `Age`;
    /// `None` if the headers do not say
    pub lifetime: Option<Duration>,
}

impl Fetcher {
    /// Makes requests through `network` to the addresses that `reach` allows
    #[must_use]
    pub const fn new(network: Arc<dyn Network>, reach: Reach) -> Self {
        Self { network, reach, tls: None, proxy: None }
    }

    /// Makes requests through `proxy`, for `https` URLs that the operator wrote
    ///
    /// The proxy resolves the names, so this fetcher cannot check the addresses that they lead to.
    /// It therefore has [`Reach::Anywhere`].
    #[must_use]
    pub fn through(network: Arc<dyn Network>, proxy: Proxy) -> Self {
        Self { proxy: Some(Arc::new(proxy)), ..Self::new(network, Reach::Anywhere) }
    }

    /// Uses the TLS of the caller, such as with the authorities of a company or of the system
    ///
    /// Requests are HTTP/1.1, so `config` must not offer another protocol (ALPN).
    #[must_use]
    pub fn tls(self, config: Arc<ClientConfig>) -> Self {
        Self { tls: Some(config), ..self }
    }

    /// Also trusts the certificate authorities of this system, and speaks TLS 1.2 as well
    ///
    /// For a server of the operator's own company, whose certificate is often of an authority of
    /// its own. `SSL_CERT_FILE` and `SSL_CERT_DIR` replace the authorities of the system, as with
    /// OpenSSL. They are read once, here.
    ///
    /// # Errors
    ///
    /// [`FetchError::Tls`].
    pub fn trusting_system(self) -> Result<Self, FetchError> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        // A system's store often has a few unusable certificates, which are skipped.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(FetchError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(self.tls(Arc::new(config)))
    }

    /// Fetches `url`, which must be absolute and of scheme `http` or `https`
    ///
    /// # Errors
    ///
    /// Fails unless an address that may be reached sends a complete answer with status 200 and
    /// at most `limit` bytes within five seconds.
    pub async fn get(&self, url: &Uri, limit: usize) -> Result<Fetched, FetchError> {
        let outgoing = Outgoing::new(Method::GET, &[], Bytes::new());
        self.in_time(url, outgoing, limit).await
    }

    /// Fetches `url` with these headers, which may have credentials for its host
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn get_with(
        &self,
        url: &Uri,
        headers: &[(HeaderName, HeaderValue)],
        limit: usize,
    ) -> Result<Fetched, FetchError> {
        let outgoing = Outgoing::new(Method::GET, headers, Bytes::new());
        self.in_time(url, outgoing, limit).await
    }

    /// Posts `body` to `url`, which must be absolute and of scheme `http` or `https`
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn post(
        &self,
        url: &Uri,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
        limit: usize,
    ) -> Result<Fetched, FetchError> {
        self.in_time(url, Outgoing::new(Method::POST, headers, body), limit).await
    }

    /// Posts `body` to `url`, and returns answers with status 400 or 401 like those with status 200
    ///
    /// For endpoints of OAuth 2.0, whose answers with these statuses say in their bodies what is
    /// refused (RFC 6749, section 5.2).
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn post_to_oauth(
        &self,
        url: &Uri,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
        limit: usize,
    ) -> Result<Fetched, FetchError> {
        let accepts = &[StatusCode::OK, StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED];
        let outgoing = Outgoing { accepts, ..Outgoing::new(Method::POST, headers, body) };
        self.in_time(url, outgoing, limit).await
    }

    async fn in_time(
        &self,
        url: &Uri,
        outgoing: Outgoing<'_>,
        limit: usize,
    ) -> Result<Fetched, FetchError> {
        let exchange = self.exchange(url, outgoing, limit);
        timeout(TIMEOUT, exchange).await.unwrap_or(Err(FetchError::TimedOut))
    }

    async fn exchange(
        &self,
        url: &Uri,
        outgoing: Outgoing<'_>,
        limit: usize,
    ) -> Result<Fetched, FetchError> {
        let (host, port, tls) = parts(url).ok_or(FetchError::Url)?;
        let expected = Expected { accepts: outgoing.accepts, limit };
        let request = outgoing.request(url)?;
        let stream = match &self.proxy {
            Some(_) if !tls => return Err(FetchError::ProxyWithoutTls),
            Some(proxy) => {
                let (at, proxy_port) = proxy.address();
                proxy.tunnel(self.connect(at, proxy_port).await?, host, port).await?
            }
            None => self.connect(host, port).await?,
        };
        if tls {
            send(request, self.secure(host, stream).await?, expected).await
        } else {
            send(request, stream, expected).await
        }
    }

    async fn connect(&self, host: &str, port: u16) -> Result<Box<dyn Stream>, FetchError> {
        let found = match host.parse() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => self.network.resolve(host, port).await.map_err(FetchError::Resolve)?,
        };
        // The check is on the addresses that are connected to below. If the name were resolved
        // again after the check, a name server could answer differently the second time.
        let addresses = found.into_iter().map(|found| found.ip());
        let allowed: Vec<IpAddr> = addresses.filter(|ip| self.reach.allows(*ip)).collect();
        let mut failed = FetchError::NoAllowedAddress;
        for address in allowed.into_iter().take(MAX_ADDRESSES) {
            let connecting = self.network.connect(SocketAddr::new(address, port));
            match timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failed = FetchError::Connect(error),
                Err(late) => failed = FetchError::Connect(late.into()),
            }
        }
        Err(failed)
    }

    async fn secure(
        &self,
        host: &str,
        stream: Box<dyn Stream>,
    ) -> Result<impl Stream + use<>, FetchError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| FetchError::Url)?;
        let config = match &self.tls {
            Some(config) => config,
            None => MOZILLA.as_ref().map_err(|error| FetchError::Tls(error.clone()))?,
        };
        let connector = TlsConnector::from(Arc::clone(config));
        connector.connect(name, stream).await.map_err(FetchError::Handshake)
    }
}

/// TLS 1.3 with Mozilla's roots
static MOZILLA: LazyLock<Result<Arc<ClientConfig>, rustls::Error>> = LazyLock::new(|| {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
});

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher")
            .field("reach", &self.reach)
            .field("proxy", &self.proxy)
            .finish_non_exhaustive()
    }
}

/// A request without its URL
struct Outgoing<'a> {
    method: Method,
    headers: &'a [(HeaderName, HeaderValue)],
    body: Bytes,
    /// The statuses of answers that are returned
    accepts: &'static [StatusCode],
}

/// Which answers are returned
#[derive(Clone, Copy)]
struct Expected {
    accepts: &'static [StatusCode],
    limit: usize,
}

impl<'a> Outgoing<'a> {
    const fn new(method: Method, headers: &'a [(HeaderName, HeaderValue)], body: Bytes) -> Self {
        Self { method, headers, body, accepts: &[StatusCode::OK] }
    }

    fn request(self, url: &Uri) -> Result<Request<Full<Bytes>>, FetchError> {
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let host = url.authority().map_or("", |authority| authority.as_str());
        let mut request = Request::builder()
            .method(self.method)
            .uri(path)
            .header(HOST, host)
            .header(USER_AGENT, AGENT)
            .header(CONNECTION, "close");
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        request.body(Full::new(self.body)).map_err(|_| FetchError::Url)
    }
}

async fn send(
    request: Request<Full<Bytes>>,
    stream: impl Stream,
    Expected { accepts, limit }: Expected,
) -> Result<Fetched, FetchError> {
    let handshake = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(FetchError::Broken)?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(FetchError::Broken)?;
        let (head, body) = response.into_parts();
        if !accepts.contains(&head.status) {
            return Err(FetchError::Status(head.status));
        }
        let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if declared > limit {
            return Err(FetchError::TooLarge { limit });
        }
        let body = Limited::new(body, limit).collect().await.map_err(|error| match error
            .downcast::<hyper::Error>(
        ) {
            Ok(error) => FetchError::Broken(*error),
            Err(error) => {
                debug_assert!(error.is::<LengthLimitError>());
                FetchError::TooLarge { limit }
            }
        })?;
        let lifetime = freshness::lifetime(&head.headers);
        Ok(Fetched { body: body.to_bytes(), lifetime })
    };
    // Polled here and not in a separate task, so that dropping this future closes the socket.
    match select(pin!(answer), pin!(connection)).await {
        Either::Left((answer, _)) => answer,
        // The connection has ended: the answer is complete, or reading it fails.
        Either::Right((_, answer)) => answer.await,
    }
}

/// For each address, so that one that drops packets leaves time for the next
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_500);
const MAX_ADDRESSES: usize = 3;
