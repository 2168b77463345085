//! The caller's TLS and proxy, over real sockets

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use hyper::Uri;
use identity_fetch::rustls::crypto::ring;
use identity_fetch::rustls::pki_types::PrivateKeyDer;
use identity_fetch::rustls::version::TLS13;
use identity_fetch::rustls::{ClientConfig, RootCertStore, ServerConfig};
use identity_fetch::{FetchError, Fetcher, KeyCache, Proxy, Reach, System};
use identity_verify::google::FindKey;
use identity_verify::test_util::google::Cloud;
use openssl::x509::{X509, X509NameBuilder, extension::SubjectAlternativeName};
use openssl::{asn1::Asn1Time, bn::BigNum, hash::MessageDigest, pkey::PKey, rsa::Rsa};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A TLS server on loopback whose certificate is for `localhost`
struct Secure {
    address: SocketAddr,
    /// Trusts its certificate
    tls: Arc<ClientConfig>,
}

impl Secure {
    async fn answering(body: String) -> Self {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let mut subject = X509NameBuilder::new().unwrap();
        subject.append_entry_by_text("CN", "localhost").unwrap();
        let subject = subject.build();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        let serial = BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap();
        builder.set_serial_number(&serial).unwrap();
        builder.set_subject_name(&subject).unwrap();
        builder.set_issuer_name(&subject).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
        builder.set_pubkey(&key).unwrap();
        let context = builder.x509v3_context(None, None);
        let names = SubjectAlternativeName::new().dns("localhost").build(&context).unwrap();
        builder.append_extension(names).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        let certificate = builder.build().to_der().unwrap();

        let key = PrivateKeyDer::try_from(key.private_key_to_pkcs8().unwrap()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone().into()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // Clients that do not trust the certificate end the handshake.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        let mut roots = RootCertStore::empty();
        roots.add(certificate.into()).unwrap();
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { address, tls: Arc::new(tls) }
    }

    fn url(&self, host: &str) -> String {
        format!("https://{host}:{}/certs", self.address.port())
    }
}

/// A proxy on loopback, which connects to `to` whatever it is asked for
struct Tunnels {
    proxy: Proxy,
    /// The heads of requests
    asked: Arc<Mutex<Vec<String>>>,
}

impl Tunnels {
    async fn to(to: SocketAddr, answer: &'static str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let proxy = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let heads = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                heads.lock().unwrap().push(String::from_utf8(head).unwrap().to_lowercase());
                let _ = client.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes()).await;
                if answer.starts_with('2') {
                    let mut server = TcpStream::connect(to).await.unwrap();
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                }
            }
        });
        Self { proxy, asked }
    }
}

async fn get(fetcher: &Fetcher, url: &str) -> Result<String, FetchError> {
    let fetched = fetcher.get(&url.parse::<Uri>().unwrap(), 1 << 16).await?;
    Ok(String::from_utf8(fetched.body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_tls_server_needs_a_trusted_certificate_for_the_requested_host() {
    let server = Secure::answering("hi".to_owned()).await;
    let stranger = Fetcher::new(Arc::new(System), Reach::Anywhere);
    let client = stranger.clone().tls(Arc::clone(&server.tls));
    assert_eq!(get(&client, &server.url("localhost")).await.unwrap(), "hi");

    let other = get(&client, &server.url("127.0.0.1")).await;
    assert!(matches!(other, Err(FetchError::Handshake(_))), "{other:?}");
    // Mozilla's roots do not include the certificate.
    let stranger = get(&stranger, &server.url("localhost")).await;
    assert!(matches!(stranger, Err(FetchError::Handshake(_))), "{stranger:?}");
    // The caller's TLS does not widen what is reached.
    let public = Fetcher::new(Arc::new(System), Reach::Public).tls(Arc::clone(&server.tls));
    let public = get(&public, &server.url("localhost")).await;
    assert!(matches!(public, Err(FetchError::NoAllowedAddress)), "{public:?}");
}

#[tokio::test]
async fn google_keys_are_fetched_through_a_proxy_with_the_callers_authorities() {
    let cloud = Cloud::generate();
    let server = Secure::answering(cloud.jwks_json()).await;
    let tunnels = Tunnels::to(server.address, "200 Connection established").await;
    let proxy = tunnels.proxy.clone().basic("user", "secret").unwrap();
    // Only the proxy reaches the server: nothing listens on port 1.
    let fetcher = Fetcher::through(Arc::new(System), proxy).tls(Arc::clone(&server.tls));
    let url = "https://localhost:1/certs".parse().unwrap();
    let keys = KeyCache::with_fetcher(url, fetcher.clone(), Arc::new(|| SystemTime::UNIX_EPOCH));
    let jwks = cloud.jwks();
    let kid = jwks.ids().next().unwrap();
    assert!(keys.find_key(kid, SystemTime::UNIX_EPOCH).await.unwrap().is_some());

    let asked = tunnels.asked.lock().unwrap().clone();
    let [head] = &asked[..] else { panic!("{asked:?}") };
    assert!(head.starts_with("connect localhost:1 http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nhost: localhost:1\r\n"), "{head}");
    // `user:secret`; the head was made lower-case.
    assert!(head.contains("\r\nproxy-authorization: basic dxnlcjpzzwnyzxq=\r\n"), "{head}");

    // The proxy is asked for a name that this machine cannot resolve. The certificate of the server
    // is for another name, which the proxy cannot hide.
    let elsewhere = get(&fetcher, "https://nowhere.invalid/certs").await;
    assert!(matches!(elsewhere, Err(FetchError::Handshake(_))), "{elsewhere:?}");
    // The proxy would read and could change this, so it is not asked.
    let plain = get(&fetcher, "http://localhost:1/certs").await;
    assert!(matches!(plain, Err(FetchError::ProxyWithoutTls)), "{plain:?}");
    assert_eq!(tunnels.asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_proxy_that_refuses_is_not_bypassed() {
    let server = Secure::answering("hi".to_owned()).await;
    for answer in ["407 Proxy Authentication Required", "302 Found", "503 Unavailable"] {
        let tunnels = Tunnels::to(server.address, answer).await;
        let fetcher = Fetcher::through(Arc::new(System), tunnels.proxy);
        let refused = get(&fetcher.tls(Arc::clone(&server.tls)), &server.url("localhost")).await;
        let Err(FetchError::ProxyRefused(status)) = refused else { panic!("{refused:?}") };
        assert!(answer.starts_with(status.as_str()));
    }
    // A proxy that hangs up, and one that does not speak HTTP.
    for answer in [&b""[..], b"SSH-2.0-OpenSSH_9.2\r\n"] {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let proxy = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let hangs_up = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let _ = client.read(&mut [0; 1024]).await;
            let _ = client.write_all(answer).await;
        });
        let fetcher = Fetcher::through(Arc::new(System), proxy);
        let broken = get(&fetcher, &server.url("localhost")).await;
        assert!(matches!(broken, Err(FetchError::Broken(_))), "{broken:?}");
        hangs_up.await.unwrap();
    }
}
