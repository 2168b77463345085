//! TLS as clients see it: versions of HTTP, a certificate that is replaced, and handshakes that are
//! slow or broken

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail")]

mod certificate;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use authd_server::{Limits, Listener, Server, Tls, TlsError};
use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::certificate::{Certificate, Mounted};

struct Running {
    server: Server,
    tls: Tls,
    address: SocketAddr,
}

impl Running {
    async fn start(mounted: &Mounted, limits: Limits) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = load(mounted).unwrap();
        let server = Server::new(limits);
        let handler = |_, request: Request<_>| async move {
            let size = if request.uri().path() == "/large" { 3_000_000 } else { 2 };
            Response::new(Full::from(vec![b'x'; size]))
        };
        let (serving, listener) = (server.clone(), Listener::from(listener).with_tls(&tls));
        tokio::spawn(async move {
            serving.serve(vec![listener], handler, std::future::pending()).await;
        });
        let watching = tls.clone();
        tokio::spawn(async move { watching.watch(SystemTime::now).await });
        Self { server, tls, address }
    }

    /// A connection from 127.0.0.N that trusts these certificates
    async fn connect(&self, n: u8, trusted: &[&Certificate], alpn: &[&[u8]]) -> Client {
        let stream = self.plain(n).await;
        handshake(stream, config(trusted, alpn)).await.unwrap()
    }

    async fn plain(&self, n: u8) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::new(127, 0, 0, n), 0).into()).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    async fn wait_for(&self, holds: impl Fn() -> bool) {
        let waited = timeout(LONG, async {
            while !holds() {
                sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(waited.await.is_ok(), "{:?}", self.server.counts());
    }
}

type Client = TlsStream<TcpStream>;

fn load(mounted: &Mounted) -> Result<Tls, TlsError> {
    Tls::load(&mounted.path("tls.crt"), &mounted.path("tls.key"))
}

fn config(trusted: &[&Certificate], alpn: &[&[u8]]) -> ClientConfig {
    config_of(trusted, alpn, &[&TLS12, &TLS13])
}

fn config_of(
    trusted: &[&Certificate],
    alpn: &[&[u8]],
    versions: &[&'static tokio_rustls::rustls::SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(CertificateDer::from(certificate.der.clone())).unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

async fn handshake(stream: TcpStream, config: ClientConfig) -> std::io::Result<Client> {
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Sends a request over HTTP/1.1, and returns the head of its answer
async fn ask(client: &mut Client) -> Option<String> {
    ask_with(client, "x: y").await
}

async fn ask_with(client: &mut Client, field: &str) -> Option<String> {
    let request = format!("GET / HTTP/1.1\r\nhost: localhost\r\n{field}\r\n\r\n");
    client.write_all(request.as_bytes()).await.ok()?;
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\nxx") {
        let mut byte = [0];
        client.read_exact(&mut byte).await.ok()?;
        text.extend(byte);
    }
    String::from_utf8(text).ok()
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn clients_choose_a_version_of_http_and_of_tls() {
    let certificate = Certificate::expiring_in(30);
    let mounted = Mounted::new("versions", &certificate);
    let server = Running::start(&mounted, Limits::default()).await;
    let trusted = [&certificate];
    for versions in [&[&TLS12][..], &[&TLS13]] {
        for alpn in [&[][..], &[&b"http/1.1"[..]], &[b"h2", b"http/1.1"]] {
            let stream = server.plain(1).await;
            let mut client = handshake(stream, config_of(&trusted, alpn, versions)).await.unwrap();
            let chosen = client.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            assert_eq!(chosen.as_deref(), alpn.first().copied());
            if alpn.first() != Some(&&b"h2"[..]) {
                assert!(ask(&mut client).await.unwrap().starts_with("HTTP/1.1 200"));
                continue;
            }
            let io = TokioIo::new(client);
            let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
            let (mut sender, connection) = builder.handshake::<_, Empty<Bytes>>(io).await.unwrap();
            tokio::spawn(connection);
            let request = Request::get("https://localhost/large").body(Empty::new()).unwrap();
            let answer = sender.send_request(request).await.unwrap();
            assert_eq!(answer.version(), Version::HTTP_2);
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), 3_000_000);
        }
    }
    // Another protocol, and plain HTTP.
    let stream = server.plain(1).await;
    assert!(handshake(stream, config(&trusted, &[b"imap"])).await.is_err());
    let mut plain = server.plain(1).await;
    plain.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = timeout(LONG, plain.read_to_end(&mut rest)).await.unwrap();
    let rest = String::from_utf8(rest).unwrap();
    assert!(rest.starts_with("HTTP/1.1 400") && rest.ends_with("use https://.\n"), "{rest:?}");
    assert_eq!(server.tls.failed_handshakes(), 2);
}

#[tokio::test]
async fn a_kept_connection_is_put_aside_and_goes_on() {
    let certificate = Certificate::expiring_in(30);
    let mounted = Mounted::new("kept", &certificate);
    let limits = Limits { head: Duration::from_millis(300), ..Limits::default() };
    let server = Running::start(&mounted, limits).await;
    let mut client = server.connect(1, &[&certificate], &[]).await;
    for _ in 0..3 {
        let answer = ask(&mut client).await.unwrap();
        assert!(!answer.contains("connection: close"), "{answer}");
        // Longer than a connection is kept ready, and than a head may take.
        sleep(Duration::from_millis(700)).await;
    }
    // One that has not sent a request yet is silent, and not slow.
    let mut silent = server.connect(1, &[&certificate], &[]).await;
    sleep(Duration::from_millis(700)).await;
    assert!(ask(&mut silent).await.is_some());
    assert_eq!(server.server.counts().overdue, 0);
}

#[tokio::test]
async fn a_client_may_send_more_than_a_handshake_may_have() {
    let certificate = Certificate::expiring_in(30);
    let mounted = Mounted::new("more", &certificate);
    let server = Running::start(&mounted, Limits::default()).await;
    let mut client = server.connect(1, &[&certificate], &[]).await;
    let field = format!("x: {}", "y".repeat(30_000));
    for _ in 0..4 {
        assert!(ask_with(&mut client, &field).await.is_some());
    }
}

/// Without a notice, a client cannot tell the end from an attack (RFC 8446, section 6.1)
#[tokio::test]
async fn a_connection_that_was_put_aside_ends_with_a_notice() {
    let certificate = Certificate::expiring_in(30);
    let mounted = Mounted::new("notice", &certificate);
    // Longer than a connection is kept ready.
    let limits = Limits { idle: Duration::from_millis(1_200), ..Limits::default() };
    let server = Running::start(&mounted, limits).await;
    let mut client = server.connect(1, &[&certificate], &[]).await;
    assert!(ask(&mut client).await.is_some());
    let end = timeout(LONG, client.read(&mut [0])).await.unwrap();
    assert_eq!(end.unwrap(), 0);
}

#[tokio::test]
async fn an_answer_that_is_not_read_ends_its_connection() {
    let certificate = Certificate::expiring_in(30);
    let mounted = Mounted::new("unread", &certificate);
    let limits = Limits { answer: Duration::from_millis(400), ..Limits::default() };
    let server = Running::start(&mounted, limits).await;
    let mut deaf = server.connect(1, &[&certificate], &[]).await;
    for _ in 0..5 {
        deaf.write_all(b"GET /large HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    }
    server.wait_for(|| server.server.counts().overdue == 1).await;
    server.wait_for(|| server.server.counts().open == 0).await;
}

#[tokio::test]
async fn a_replaced_certificate_is_used_without_losing_a_request() {
    let [old, new] = [30, 60].map(Certificate::expiring_in);
    let mut mounted = Mounted::new("replaced", &old);
    let server = Arc::new(Running::start(&mounted, Limits::default()).await);
    let (old, new) = (Arc::new(old), Arc::new(new));
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut load = Vec::new();
    for n in 0..4 {
        let (server, old, new) = (Arc::clone(&server), Arc::clone(&old), Arc::clone(&new));
        let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
        load.push(tokio::spawn(async move {
            let mut kept = server.connect(n + 1, &[&old, &new], &[]).await;
            while !stop.load(Ordering::Relaxed) {
                assert!(ask(&mut kept).await.is_some());
                let mut fresh = server.connect(n + 1, &[&old, &new], &[]).await;
                assert!(ask(&mut fresh).await.is_some());
                asked.fetch_add(2, Ordering::Relaxed);
            }
        }));
    }
    server.wait_for(|| asked.load(Ordering::Relaxed) > 20).await;
    let expires = |days: u64| {
        let left = server.tls.expires().duration_since(SystemTime::now()).unwrap();
        left.as_secs().abs_diff(days * 86_400) < 100
    };
    assert!(expires(30));
    // A key of another certificate, and a file without a certificate: the old one stays.
    mounted.replace(&new.certificate, &old.key);
    assert!(matches!(load_error(&mounted), TlsError::Mismatch { .. }));
    server.tls.reload(SystemTime::now()).await;
    mounted.replace(b"-----BEGIN CERTIFICATE-----\n", &old.key);
    server.tls.reload(SystemTime::now()).await;
    assert!(expires(30));
    let mut client = server.connect(9, &[&old], &[]).await;
    assert!(ask(&mut client).await.is_some());
    // The change is noticed without a call.
    mounted.replace(&new.certificate, &new.key);
    server.wait_for(|| expires(60)).await;
    let before = asked.load(Ordering::Relaxed);
    server.wait_for(|| asked.load(Ordering::Relaxed) > before + 20).await;
    assert!(handshake(server.plain(9).await, config(&[&old], &[])).await.is_err());
    assert!(ask(&mut client).await.is_some(), "a connection from before");
    stop.store(true, Ordering::Relaxed);
    for client in load {
        client.await.unwrap();
    }
}

fn load_error(mounted: &Mounted) -> TlsError {
    load(mounted).unwrap_err()
}

#[tokio::test]
async fn files_that_are_not_usable_are_named() {
    let [one, other] = [30, 30].map(Certificate::expiring_in);
    let mut mounted = Mounted::new("unusable", &one);
    for (certificate, key, expected) in [
        (&one.certificate[..], &other.key[..], "is not that of the certificate"),
        (b"", &one.key, "tls.crt` is not a PEM file with certificates"),
        (&one.key, &one.key, "tls.crt` is not a PEM file with certificates"),
        (&one.certificate, &one.certificate, "tls.key` is not a PEM file with a private key"),
        (&one.certificate, b"secret", "tls.key` is not a PEM file with a private key"),
    ] {
        mounted.replace(certificate, key);
        let error = load_error(&mounted).to_string();
        assert!(error.contains(expected) && !error.contains("secret"), "{error}");
    }
    std::fs::remove_file(mounted.path("tls.key")).unwrap();
    let error = load_error(&mounted).to_string();
    assert!(error.contains("tls.key` cannot be read"), "{error}");
}

#[tokio::test]
async fn an_expired_certificate_is_used_and_refused_by_clients() {
    let expired = Certificate::expiring_in(-2);
    let mounted = Mounted::new("expired", &expired);
    let server = Running::start(&mounted, Limits::default()).await;
    assert!(server.tls.expires() < SystemTime::now());
    assert!(handshake(server.plain(1).await, config(&[&expired], &[])).await.is_err());
}

/// Clients that send nothing, half a handshake, or a byte at a time
#[tokio::test]
async fn slow_handshakes_are_cut_off_and_displace_only_each_other() {
    let certificate = Certificate::expiring_in(30);
    let mounted = Mounted::new("slow", &certificate);
    let head = Duration::from_millis(1_500);
    let server =
        Running::start(&mounted, Limits { connections: 40, head, ..Limits::default() }).await;
    let mut kept = server.connect(1, &[&certificate], &[]).await;
    assert!(ask(&mut kept).await.is_some());

    let start = Instant::now();
    let mut slow = Vec::new();
    for n in 0..120_u32 {
        let mut stream = server.plain(2).await;
        match n % 3 {
            0 => {}
            // The head of a record of 300 bytes, and a part of it.
            1 => drop(stream.write_all(&[22, 3, 1, 1, 44, 1, 0, 1, 40, 3, 3]).await),
            _ => {
                let mut dribbling = server.plain(2).await;
                slow.push(tokio::spawn(async move {
                    for byte in [22, 3, 1, 1, 44, 1].iter().chain(&[0; 300]) {
                        if dribbling.write_all(&[*byte]).await.is_err() {
                            break;
                        }
                        sleep(Duration::from_millis(50)).await;
                    }
                }));
            }
        }
        slow.push(tokio::spawn(async move {
            let mut rest = Vec::new();
            let _ = timeout(LONG, stream.read_to_end(&mut rest)).await.expect("it is ended");
        }));
        if n % 10 == 0 {
            let asked = Instant::now();
            let mut other = server.connect(3, &[&certificate], &[]).await;
            assert!(ask(&mut other).await.is_some());
            assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        }
    }
    assert!(server.server.counts().open <= 40);
    assert!(ask(&mut kept).await.is_some());
    for client in slow {
        timeout(LONG, client).await.unwrap().unwrap();
    }
    let counts = server.server.counts();
    assert!(counts.overdue > 0 && counts.replaced > 0, "{counts:?} {:?}", start.elapsed());
}
