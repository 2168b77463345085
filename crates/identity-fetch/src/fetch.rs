use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use super::freshness;
use super::network::{Network, Stream};
use super::reach::Reach;

/// Makes one request at a time, bounded in every way
///
/// `GET` or `POST` over HTTP/1.1, with TLS 1.3 and Mozilla's roots for `https`. Every request resolves the
/// name and opens its own connection, so the checked address is the one that is connected to.
/// Redirects are not followed. Proxies and other settings of the environment are ignored, and
/// nothing is retried.
#[derive(Clone)]
pub struct Fetcher {
    network: Arc<dyn Network>,
    reach: Reach,
    roots: Arc<RootCertStore>,
}

/// A complete answer of status 200
#[derive(Clone, Debug, PartialEq, Eq)]
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
    pub fn new(network: Arc<dyn Network>, reach: Reach) -> Self {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        Self { network, reach, roots: Arc::new(roots) }
    }

    /// Fetches `url`, which must be absolute and of scheme `http` or `https`
    ///
    /// # Errors
    ///
    /// Fails unless an address that may be reached sends a complete answer with status 200 and
    /// at most `limit` bytes within five seconds.
    pub async fn get(&self, url: &Uri, limit: usize) -> Result<Fetched, FetchError> {
        let outgoing = Outgoing { method: Method::GET, headers: &[], body: Bytes::new() };
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
        self.in_time(url, Outgoing { method: Method::POST, headers, body }, limit).await
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
        let request = outgoing.request(url)?;
        let stream = self.connect(host, port).await?;
        if tls {
            send(request, self.secure(host, stream).await?, limit).await
        } else {
            send(request, stream, limit).await
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

    async fn secure<'a>(
        &self,
        host: &str,
        stream: Box<dyn Stream + 'a>,
    ) -> Result<impl Stream + use<'a>, FetchError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| FetchError::Url)?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .map_err(FetchError::Tls)?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(name, stream).await.map_err(FetchError::Handshake)
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").field("reach", &self.reach).finish_non_exhaustive()
    }
}

/// The host, the port, and whether to use TLS
fn parts(url: &Uri) -> Option<(&str, u16, bool)> {
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

/// A request without its URL
struct Outgoing<'a> {
    method: Method,
    headers: &'a [(HeaderName, HeaderValue)],
    body: Bytes,
}

impl Outgoing<'_> {
    fn request(self, url: &Uri) -> Result<Request<Full<Bytes>>, FetchError> {
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let host = url.authority().map_or("", |authority| authority.as_str());
        let mut request = Request::builder()
            .method(self.method)
            .uri(path)
            .header(HOST, host)
            .header(USER_AGENT, concat!("authd/", env!("CARGO_PKG_VERSION")))
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
    limit: usize,
) -> Result<Fetched, FetchError> {
    let handshake = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(FetchError::Broken)?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(FetchError::Broken)?;
        let (head, body) = response.into_parts();
        if head.status != StatusCode::OK {
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

/// Why nothing was fetched
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The answer is not HTTP, or ended too early
    #[error("the answer broke off or is not HTTP")]
    Broken(#[source] hyper::Error),
    /// The connection could not be opened
    #[error("no connection")]
    Connect(#[source] io::Error),
    /// The TLS handshake failed, for example because the certificate is not for that host
    #[error("no secure connection")]
    Handshake(#[source] io::Error),
    /// The name has no address, or only ones that may not be reached
    #[error("the host has no address that may be reached")]
    NoAllowedAddress,
    /// The name could not be resolved
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

/// From the start of the name lookup to the last byte
const TIMEOUT: Duration = Duration::from_secs(5);

/// For each address, so that one that drops packets leaves time for the next
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_500);
const MAX_ADDRESSES: usize = 3;

const MAX_HEAD: usize = 32 << 10;
const MAX_HEADERS: usize = 64;

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;
    use openssl::x509::{X509, X509NameBuilder, extension::SubjectAlternativeName};
    use openssl::{asn1::Asn1Time, bn::BigNum, hash::MessageDigest, pkey::PKey, rsa::Rsa};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;

    use super::*;

    /// Connects every name to one TLS server
    struct SecureServer(TlsAcceptor);

    impl Network for SecureServer {
        fn resolve<'a>(
            &'a self,
            _host: &'a str,
            port: u16,
        ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
            Box::pin(async move { Ok(vec![([1, 1, 1, 1], port).into()]) })
        }

        fn connect(&self, _address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Stream>>> {
            let (ours, theirs) = duplex(16 << 10);
            let accepting = self.0.accept(theirs);
            tokio::spawn(async move {
                let Ok(mut stream) = accepting.await else { return };
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
                let _ = stream.shutdown().await;
            });
            Box::pin(async move {
                let stream: Box<dyn Stream> = Box::new(ours);
                Ok(stream)
            })
        }
    }

    /// A server with a certificate for `name`, and a fetcher that trusts this certificate
    fn server_and_client(name: &str) -> (Arc<SecureServer>, Fetcher) {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let mut subject = X509NameBuilder::new().unwrap();
        subject.append_entry_by_text("CN", name).unwrap();
        let subject = subject.build();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        builder
            .set_serial_number(&BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap())
            .unwrap();
        builder.set_subject_name(&subject).unwrap();
        builder.set_issuer_name(&subject).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
        builder.set_pubkey(&key).unwrap();
        let context = builder.x509v3_context(None, None);
        let names = SubjectAlternativeName::new().dns(name).build(&context).unwrap();
        builder.append_extension(names).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        let certificate = builder.build().to_der().unwrap();

        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.clone().into()],
                PrivateKeyDer::try_from(key.private_key_to_pkcs8().unwrap()).unwrap(),
            )
            .unwrap();
        let server = Arc::new(SecureServer(TlsAcceptor::from(Arc::new(config))));
        let mut roots = RootCertStore::empty();
        roots.add(certificate.into()).unwrap();
        let client =
            Fetcher { roots: Arc::new(roots), ..Fetcher::new(server.clone(), Reach::Public) };
        (server, client)
    }

    #[tokio::test]
    async fn a_tls_server_needs_a_trusted_certificate_for_the_requested_host() {
        let (server, client) = server_and_client("keys.test");
        let url = Uri::from_static("https://keys.test/certs");
        assert_eq!(client.get(&url, 100).await.unwrap().body, "hi");

        let other = client.get(&Uri::from_static("https://other.test/certs"), 100).await;
        assert!(matches!(other, Err(FetchError::Handshake(_))), "{other:?}");
        // Mozilla's roots do not include the certificate.
        let stranger = Fetcher::new(server, Reach::Public).get(&url, 100).await;
        assert!(matches!(stranger, Err(FetchError::Handshake(_))), "{stranger:?}");
    }
}
