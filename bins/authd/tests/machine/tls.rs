#![allow(unreachable_pub, reason = "shared by the files of this test")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use authd::machine::{Machine, Patience};
use identity_verify::Cloud;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509, X509NameBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::world::{TOKEN, World, complaint};

/// TLS in front of a server, with a certificate of its own
pub struct Secure {
    pub address: SocketAddr,
    /// Its certificate in PEM
    pub ca_file: PathBuf,
}

impl Secure {
    /// Valid from yesterday until tomorrow
    pub async fn start(name: &str, upstream: SocketAddr) -> Self {
        Self::valid(name, upstream, -1, 1).await
    }

    /// Valid between these days from now
    pub async fn valid(name: &str, upstream: SocketAddr, from: i64, until: i64) -> Self {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let certificate = certificate(&key, name, from, until);
        let ca_file = std::env::temp_dir().join(format!("authd-ca-{}.pem", uuid::Uuid::new_v4()));
        std::fs::write(&ca_file, certificate.to_pem().unwrap()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.to_der().unwrap().into()],
                PrivateKeyDer::try_from(key.private_key_to_pkcs8().unwrap()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut stream = acceptor.accept(stream).await.ok()?;
                    let mut upstream = TcpStream::connect(upstream).await.ok()?;
                    copy_bidirectional(&mut stream, &mut upstream).await.ok()
                });
            }
        });
        Self { address, ca_file }
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.ca_file);
    }
}

fn certificate(key: &PKey<openssl::pkey::Private>, name: &str, from: i64, until: i64) -> X509 {
    let mut subject = X509NameBuilder::new().unwrap();
    // Of nobody else: a system's store may hold a certificate of a `localhost`.
    let common_name = format!("authd test {}", uuid::Uuid::new_v4());
    subject.append_entry_by_text("CN", &common_name).unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(&subject).unwrap();
    let now = chrono::DateTime::<chrono::Utc>::from(authd::system_clock()()).timestamp();
    builder.set_not_before(&Asn1Time::from_unix(now + from * 86_400).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_unix(now + until * 86_400).unwrap()).unwrap();
    builder.set_pubkey(key).unwrap();
    let context = builder.x509v3_context(None, None);
    let names = SubjectAlternativeName::new().dns(name).build(&context).unwrap();
    builder.append_extension(names).unwrap();
    builder.sign(key, openssl::hash::MessageDigest::sha256()).unwrap();
    builder.build()
}

/// The machine of `world`, whose control plane is `secure`, with or without its authority
fn machine(world: &World, secure: &Secure, trusting: bool) -> Machine {
    let url = format!("https://localhost:{}", secure.address.port());
    let ca_file = trusting.then_some(&*secure.ca_file);
    let machine = world.machine_at(&url).in_environment(|_| None, ca_file).unwrap();
    let metadata = world.machine_of_any_cloud().metadata;
    Machine { metadata, cloud: Some(Cloud::Azure), patience: Patience::Once, ..machine }
}

#[tokio::test]
async fn the_sites_own_authority_is_trusted_beside_the_systems() {
    let world = World::of(Cloud::Azure);
    let secure = Secure::start("localhost", world.control_plane.address()).await;
    let token = machine(&world, &secure, true).sign_in().await.unwrap();
    assert_eq!(token.reveal(), TOKEN);
}

#[tokio::test]
async fn what_a_certificate_lacks_is_shown_and_only_time_is_waited_for() {
    let world = World::of(Cloud::Azure);
    let upstream = world.control_plane.address();
    let good = Secure::start("localhost", upstream).await;
    let stranger = machine(&world, &good, false);
    // Waiting for another certificate would be waiting for ever.
    let said = complaint(&Machine { patience: Patience::Unlimited, ..stranger }).await;
    assert!(said.contains("UnknownIssuer") && said.contains("--ca-file"), "{said}");

    let other = Secure::start("elsewhere.example.com", upstream).await;
    let other = machine(&world, &other, true);
    let said = complaint(&Machine { patience: Patience::Unlimited, ..other }).await;
    assert!(said.contains("not valid for name \"localhost\""), "{said}");

    for (from, until) in [(-9, -1), (1, 9)] {
        let ended = Secure::valid("localhost", upstream, from, until).await;
        let ended = machine(&world, &ended, true);
        let patience = Patience::For(std::time::Duration::from_millis(10));
        let said = complaint(&Machine { patience, ..ended }).await;
        assert!(said.contains("is the clock of this machine right?"), "{said}");
        assert!(said.contains("gave up"), "{said}");
    }
}

#[tokio::test]
async fn https_where_http_is_spoken_is_told_so() {
    let world = World::of(Cloud::Azure);
    // As a web server answers bytes that are not a request.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 64]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            let _ = stream.shutdown().await;
        }
    });
    let machine = world.machine_at(&format!("https://{plain}"));
    // An authority is needed to begin with, and any will do.
    let secure = Secure::start("localhost", world.control_plane.address()).await;
    let machine = machine.in_environment(|_| None, Some(&secure.ca_file)).unwrap();
    let metadata = world.machine_of_any_cloud().metadata;
    let machine = Machine { metadata, cloud: Some(Cloud::Azure), ..machine };
    let said = complaint(&Machine { patience: Patience::Unlimited, ..machine }).await;
    assert!(said.contains("does not speak TLS") && said.contains("http://"), "{said}");
}

#[test]
fn a_file_of_authorities_that_is_not_usable_is_named() {
    let folder = std::env::temp_dir().join(format!("authd-ca-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).unwrap();
    let world = World::of(Cloud::Azure);
    for (name, content) in [
        ("absent.pem", None),
        ("empty.pem", Some("")),
        ("text.pem", Some("no certificate")),
        ("broken.pem", Some("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")),
    ] {
        let path = folder.join(name);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let machine = world.machine_at("https://coder.example.com");
        let error = machine.in_environment(|_| None, Some(&path)).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}
