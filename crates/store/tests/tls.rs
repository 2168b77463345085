//! Connections to the database are secured when the URL asks for it, or not made

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::pin::Pin;

use openssl::ssl::{Ssl, SslAcceptor, SslConnector, SslMethod};
use postgres_openssl::MakeTlsConnector;
use store::{Error, Opening, Options, PgStore, Store};
use testkit::Database;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_openssl::SslStream;
use tokio_postgres::config::SslMode;

use crate::common::certificates::certificate;

mod common;

#[tokio::test]
async fn a_server_that_proves_its_name_is_spoken_to_in_secret() {
    let front = Front::start("localhost").await;
    for mode in ["require", "verify-ca", "verify-full"] {
        let store = front.connect("localhost", &format!("sslmode={mode}"), true).await.unwrap();
        store.ping().await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_cannot_is_not_spoken_to() {
    let front = Front::start("localhost").await;
    // For another name, and from an authority that this machine does not trust.
    for (host, known) in [("127.0.0.1", true), ("localhost", false)] {
        let refused = front.connect(host, "sslmode=require", known).await.unwrap_err();
        let Error::Unavailable { reason } = refused else { panic!("{refused}") };
        assert!(reason.to_string().contains("certificate verify failed"), "{reason}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_it_is_asked_for() {
    let database = Database::new().await;
    let url = database.url();
    assert!(url.contains('?'), "{url}");
    let socket = socket(url);
    let folder = socket.strip_suffix("/.s.PGSQL.5432").unwrap();
    // Over a socket of this machine PostgreSQL offers none.
    for url in [
        format!("{url}&sslmode=require"),
        format!("{url}&%73slmode=verify-ca"),
        format!("{url}&sslmode=verify%2Dfull"),
        format!("host={folder} user=authd sslmode = require"),
        format!("sslrootcert=system host={folder} user=authd"),
    ] {
        let refused = PgStore::connect(&url, &Options::default()).await.unwrap_err();
        let Error::Unavailable { reason } = refused else { panic!("{url}: {refused}") };
        assert!(
            reason.to_string().contains("does not support TLS")
                && reason.to_string().contains(&socket),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn authorities_that_cannot_be_read_are_told_at_once() {
    for (path, said) in
        [("/nowhere/ca.pem", "cannot be read"), ("/dev/null", "holds no certificates")]
    {
        let url = format!("postgresql://localhost/d?sslmode=require&sslrootcert={path}");
        let Err(Error::Tls { reason }) = PgStore::new(&url, &Options::default()) else {
            panic!("{path} is not an authority")
        };
        assert!(reason.to_string().contains(path) && reason.to_string().contains(said), "{reason}");
    }
}

/// The store knows nothing about the connector, so it may be one of any library
#[tokio::test]
async fn a_program_brings_its_own_tls() {
    let front = Front::start("localhost").await;
    for (host, expected) in [("localhost", true), ("127.0.0.1", false)] {
        let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
        builder.set_ca_file(&front.authority).unwrap();
        let tls = MakeTlsConnector::new(builder.build());
        let mut config = tokio_postgres::Config::new();
        config.user("authd").dbname(front.database_name()).host(host).port(front.port);
        config.ssl_mode(SslMode::Require);
        let connect = move |opening: Opening| {
            let (config, tls) = (config.clone(), tls.clone());
            async move { opening.connect(&config, tls).await }
        };
        let store = PgStore::from_connect(connect, &Options::default());
        match store.ping().await {
            Ok(()) => assert!(expected, "the certificate is for another name than {host}"),
            Err(refused) => {
                assert!(!expected, "{refused}");
                assert!(refused.to_string().contains("certificate verify failed"), "{refused}");
            }
        }
    }
}

/// A server that speaks TLS in front of one that does not
struct Front {
    database: Database,
    port: u16,
    authority: String,
}

impl Front {
    async fn start(name: &str) -> Self {
        let database = Database::new().await;
        let (ca, ca_key) = certificate("test authority", None);
        let (leaf, key) = certificate(name, Some((&ca, &ca_key)));
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        acceptor.set_private_key(&key).unwrap();
        acceptor.set_certificate(&leaf).unwrap();
        let acceptor = acceptor.build();

        let path = std::env::temp_dir().join(format!("authd-ca-{}.pem", uuid::Uuid::new_v4()));
        std::fs::write(&path, ca.to_pem().unwrap()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let socket = socket(database.url());
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(relay(client, acceptor.clone(), socket.clone()));
            }
        });
        Self { database, port, authority: path.to_str().unwrap().to_owned() }
    }

    fn database_name(&self) -> &str {
        self.database.url().split('?').next().unwrap().rsplit('/').next().unwrap()
    }

    async fn connect(&self, host: &str, query: &str, known: bool) -> Result<PgStore, Error> {
        let name = self.database_name();
        let mut url = format!("postgresql://authd@{host}:{}/{name}?{query}", self.port);
        if known {
            url.push_str("&sslrootcert=");
            url.push_str(&self.authority);
        }
        PgStore::connect(&url, &Options::default()).await
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.authority);
    }
}

/// Answers the request for TLS, and passes on what is said over it
async fn relay(mut client: TcpStream, acceptor: SslAcceptor, socket: String) {
    let mut request = [0; 8];
    client.read_exact(&mut request).await.unwrap();
    assert_eq!(request, [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f], "a request for TLS");
    client.write_all(b"S").await.unwrap();
    let mut client = SslStream::new(Ssl::new(acceptor.context()).unwrap(), client).unwrap();
    // A client that does not trust us goes away here.
    if Pin::new(&mut client).accept().await.is_ok() {
        let mut server = UnixStream::connect(socket).await.unwrap();
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}

/// The socket of the server behind a test's URL
fn socket(url: &str) -> String {
    let config: tokio_postgres::Config = url.parse().unwrap();
    let tokio_postgres::config::Host::Unix(folder) = &config.get_hosts()[0] else {
        panic!("the tests' server has a socket")
    };
    format!("{}/.s.PGSQL.5432", folder.display())
}
