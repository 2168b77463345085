#![allow(clippy::unwrap_used)] // a test whose server fails has failed

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// A TLS proxy in front of a server, with a self-signed certificate
#[derive(Debug)]
pub struct TlsFront {
    /// The address on which the proxy listens
    pub address: SocketAddr,
    /// The file with the certificate in PEM
    pub ca_file: PathBuf,
}

impl TlsFront {
    /// Starts with a certificate for `name` that is valid from yesterday until tomorrow
    pub async fn start(name: &str, upstream: SocketAddr) -> Self {
        Self::valid(name, upstream, -1, 1).await
    }

    /// Starts with a certificate that is valid between these days, counted from now
    pub async fn valid(name: &str, upstream: SocketAddr, from: i64, until: i64) -> Self {
        Self::with(upstream, |key| certificate(key, name, (from, until), false)).await
    }

    /// Starts as [`valid`](Self::valid), with a certificate that says that it is an authority, as
    /// `openssl req -x509` makes it
    pub async fn authority(name: &str, upstream: SocketAddr, from: i64, until: i64) -> Self {
        Self::with(upstream, |key| certificate(key, name, (from, until), true)).await
    }

    async fn with(upstream: SocketAddr, issue: impl FnOnce(&PKey<Private>) -> X509) -> Self {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let certificate = issue(&key);
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

impl Drop for TlsFront {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.ca_file);
    }
}

fn certificate(
    key: &PKey<Private>,
    name: &str,
    (from, until): (i64, i64),
    is_authority: bool,
) -> X509 {
    let mut subject = X509NameBuilder::new().unwrap();
    // A unique name: the system's store may hold another certificate of `localhost`.
    let common_name = format!("authd test {}", uuid::Uuid::new_v4());
    subject.append_entry_by_text("CN", &common_name).unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(&subject).unwrap();
    let from = Asn1Time::from_unix(now() + from * 86_400).unwrap();
    let until = Asn1Time::from_unix(now() + until * 86_400).unwrap();
    builder.set_not_before(&from).unwrap();
    builder.set_not_after(&until).unwrap();
    builder.set_pubkey(key).unwrap();
    let context = builder.x509v3_context(None, None);
    let names = SubjectAlternativeName::new().dns(name).build(&context).unwrap();
    builder.append_extension(names).unwrap();
    if is_authority {
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    }
    builder.sign(key, MessageDigest::sha256()).unwrap();
    builder.build()
}

/// Seconds since 1970: rustls reads the system's clock too
#[expect(clippy::disallowed_methods, reason = "a certificate has to be valid now")]
fn now() -> i64 {
    chrono::Utc::now().timestamp()
}
