//! What a server asks of a client that connects: certificates, passwords, a kind of session

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::path::PathBuf;

use agent_auth::{Candidates, ProvenInstance};
use openssl::pkey::{PKey, Private};
use openssl::symm::Cipher;
use openssl::x509::X509;
use store::{Error, Migrations, Options, PgStore, Store};
use testkit::{Database, OwnServer};
use tokio::net::TcpListener;

use crate::common::certificates::certificate;
use crate::common::server::{Postgres, free_port};

use crate::common::{INSTANCE, one_agent};
mod common;

#[tokio::test]
async fn a_client_certificate_opens_a_server_that_asks_for_one() {
    let server = Secured::start();
    let (own, own_key) = server.mint("authd");
    let files = server.files("own", &own, &own_key);
    server.connect("authd", &files).await.unwrap();

    let roots = encoded(&std::fs::read_to_string(&server.roots).unwrap());
    let url = server.url("authd").replace(&encoded(server.roots.to_str().unwrap()), &roots);
    let certificate = encoded(std::str::from_utf8(&own.to_pem().unwrap()).unwrap());
    let key = encoded(std::str::from_utf8(&own_key.private_key_to_pem_pkcs8().unwrap()).unwrap());
    let url = format!("{url}&sslinline=true&sslcert={certificate}&sslkey={key}");
    PgStore::connect(&url, &Options::default()).await.unwrap();

    // No certificate, another user's, and one of an authority that the server does not know.
    let (other, other_key) = server.mint("other");
    let (ca, ca_key) = certificate_of_nobody();
    let (stranger, stranger_key) = certificate_by(&ca, &ca_key, "authd");
    for (files, said) in [
        (String::new(), "requires a valid client certificate"),
        (server.files("other", &other, &other_key), "certificate authentication failed"),
        (server.files("stranger", &stranger, &stranger_key), ""),
    ] {
        let Err(Error::Unavailable { reason }) = server.connect("authd", &files).await else {
            panic!("{files} opens the server")
        };
        let place = format!("`localhost:{}`: ", server.postgres.port);
        assert!(
            reason.to_string().contains(&place) && reason.to_string().contains(said),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn certificates_and_keys_that_cannot_be_used_are_named() {
    let (ca, ca_key) = certificate_of_nobody();
    let (own, key) = certificate_by(&ca, &ca_key, "authd");
    let (_, other_key) = certificate_by(&ca, &ca_key, "authd");
    let folder = Folder::new();
    let pem = |name, bytes: Vec<u8>| folder.write(name, &bytes);
    let certificate = pem("own.pem", own.to_pem().unwrap());
    let key_file = pem("own.key", key.private_key_to_pem_pkcs8().unwrap());
    let other_key = pem("other.key", other_key.private_key_to_pem_pkcs8().unwrap());
    let locked = key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"hunter2");
    let locked = pem("locked.key", locked.unwrap());

    let new = |certificate: &str, key: &str, more: &str| {
        let url = format!("host=h sslmode=require sslcert={certificate} sslkey={key}{more}");
        PgStore::new(&url, &Options::default())
    };
    new(&certificate, &key_file, "").unwrap();
    new(&certificate, &locked, " sslpassword=hunter2").unwrap();
    for (certificate, key, more, named, said) in [
        (&certificate, &other_key, "", &other_key, "is not the key of the first certificate in"),
        (&certificate, &"/nowhere".to_owned(), "", &"/nowhere".to_owned(), "cannot be read"),
        (&"/nowhere".to_owned(), &key_file, "", &"/nowhere".to_owned(), "cannot be read"),
        (&key_file, &key_file, "", &key_file, "holds no certificates"),
        (&certificate, &certificate, "", &certificate, "holds no private key"),
        (&certificate, &locked, "", &locked, "there is no `sslpassword`"),
        (&certificate, &locked, " sslpassword=hunter3", &locked, "cannot be decrypted"),
    ] {
        let error = new(certificate, key, more).unwrap_err();
        let Error::Tls { reason } = &error else { panic!("{error}") };
        assert!(
            reason.to_string().contains(named) && reason.to_string().contains(said),
            "{reason}"
        );
        assert!(!format!("{error:?}").contains("hunter"), "{error:?}");
    }
}

/// Whether the database answers, which has no tables for authd to fit
async fn answers(store: &PgStore) -> bool {
    matches!(store.ping().await, Err(Error::Tables(_)))
}

#[tokio::test]
async fn certificates_that_are_replaced_count_for_the_next_connection() {
    let server = Secured::start();
    let (own, own_key) = server.mint("authd");
    let (other, other_key) = server.mint("other");
    let files = server.files("x", &other, &other_key);
    let url = format!("{}{files}", server.url("authd"));
    let store = PgStore::new(&url, &Options::default().read_connections(1)).unwrap();
    assert!(matches!(store.ping().await.unwrap_err(), Error::Unavailable { .. }));

    server.files("x", &own, &own_key);
    assert!(answers(&store).await);
    // While a file is half written.
    server.folder.write("x.pem", b"");
    assert!(answers(&store).await);
    let fresh = PgStore::new(&url, &Options::default()).unwrap_err();
    assert!(matches!(fresh, Error::Tls { .. }), "{fresh}");
}

#[tokio::test]
async fn a_password_comes_out_of_a_file_that_is_read_for_each_connection() {
    let server = Secured::start();
    let folder = Folder::new();
    let file = folder.write("pass", b"localhost:*:*:keeper:yesterday's\n");
    let url = format!("{}&passfile={}&channel_binding=require", server.url("keeper"), file);
    let store = PgStore::new(&url, &Options::default()).unwrap();
    let refused = store.ping().await.unwrap_err().to_string();
    assert!(refused.contains("password authentication failed"), "{refused}");

    folder.write("pass", b"localhost:*:*:keeper:to\\:day's\n");
    assert!(answers(&store).await);
}

#[tokio::test]
async fn a_schema_of_its_own_is_where_everything_happens() {
    for parameter in ["search_path=authd", "options=-csearch_path%3Dauthd"] {
        let database = Database::empty().await;
        database.sql("CREATE SCHEMA authd").await;
        let url = format!("{}&{parameter}", database.url());
        let store = PgStore::connect(&url, &Options::default()).await.unwrap();
        assert!(!store.is_pooled());
        store.migrate(Migrations::All).await.unwrap();
        store.load(&one_agent()).await.unwrap();
        assert_eq!(
            store.by_instance(ProvenInstance::assume_verified(INSTANCE)).await.unwrap().len(),
            1
        );

        let elsewhere = "SELECT DISTINCT table_schema FROM information_schema.tables \
                         WHERE table_schema NOT IN ('pg_catalog', 'information_schema')";
        assert_eq!(database.sql(elsewhere).await, ["authd"], "{parameter}");
        assert_eq!(database.sql("SELECT count(*) FROM authd.workspace_agents").await, ["1"]);
    }
}

#[tokio::test]
async fn of_several_hosts_the_first_that_answers_is_used() {
    let database = Database::new().await;
    database.store().await.load(&one_agent()).await.unwrap();
    let (socket, name) = socket_and_name(&database);
    // One refuses, one says nothing, and one is a folder without a socket.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusing = format!("127.0.0.1:{}", free_port());
    for others in [refusing.clone(), silent.local_addr().unwrap().to_string(), "%2Fnowhere".into()]
    {
        let url = format!("postgresql://authd@{others},{}/{name}", encoded(&socket));
        let store = PgStore::connect(&url, &Options::default()).await.unwrap();
        assert_eq!(
            store.by_instance(ProvenInstance::assume_verified(INSTANCE)).await.unwrap().len(),
            1
        );
    }

    let url = format!("postgresql://authd@{refusing},%2Fnowhere/{name}");
    let error = PgStore::connect(&url, &Options::default()).await.unwrap_err();
    let Error::Unavailable { reason } = error else { panic!("{error}") };
    for host in [&*refusing, "/nowhere/.s.PGSQL.5432"] {
        assert!(
            reason.to_string().contains(&format!("`{host}`: error connecting to server")),
            "{reason}"
        );
    }

    let url = format!("postgresql://{}/d?connect_timeout=1", silent.local_addr().unwrap());
    let error = PgStore::connect(&url, &Options::default()).await.unwrap_err();
    let place = format!("`{}`", silent.local_addr().unwrap());
    let error = error.to_string();
    assert!(error.contains("within 1") && error.contains(&place), "{error}");
}

#[tokio::test]
async fn a_session_that_can_write_is_found_behind_those_that_cannot() {
    let mut standby = Postgres::new();
    standby.program.write("data/standby.signal", "");
    standby.start(&[]);
    let servers = (OwnServer::start().await, OwnServer::start().await);
    let (reading, writing) = (servers.0.database().await, servers.1.database().await);
    reading.sql("ALTER DATABASE postgres SET default_transaction_read_only = on").await;
    let address = format!("127.0.0.1:{}", standby.port);
    let socket = |database| encoded(&socket_and_name(database).0);
    let (standby, reading, writing) = (&*address, &*socket(&reading), &*socket(&writing));
    let open = async |hosts: &[&str], wanted: &str| {
        let hosts = hosts.join(",");
        let url = format!("postgresql://authd@{hosts}/postgres?target_session_attrs={wanted}");
        PgStore::connect(&url, &Options::default()).await
    };

    for hosts in [[standby, reading, writing], [reading, writing, standby]] {
        let store = open(&hosts, "read-write").await.unwrap();
        store.migrate(Migrations::All).await.unwrap();
        store.load(&one_agent()).await.unwrap();
    }
    // A standby has none of the tables, a primary that is read-only neither.
    let has_tables = async |hosts: &[&str], wanted: &str| {
        open(hosts, wanted)
            .await
            .unwrap()
            .by_instance(ProvenInstance::assume_verified(INSTANCE))
            .await
            .is_ok()
    };
    for (hosts, wanted, expected) in [
        (vec![standby, writing], "primary", true),
        (vec![standby, writing], "any", false),
        (vec![writing, standby], "any", true),
        (vec![writing, standby], "standby", false),
        (vec![writing, standby], "prefer-standby", false),
        (vec![writing, reading], "prefer-standby", true),
        (vec![writing, reading], "read-only", false),
    ] {
        assert_eq!(has_tables(&hosts, wanted).await, expected, "{hosts:?} {wanted}");
    }
    for (hosts, wanted, said) in [
        (vec![standby, reading], "read-write", "the session is read-only"),
        (vec![standby], "primary", "the server is a standby"),
        (vec![writing, reading], "standby", "the server is not a standby"),
        (vec![writing], "read-only", "the session is not read-only"),
    ] {
        let Err(Error::Unavailable { reason }) = open(&hosts, wanted).await else {
            panic!("{hosts:?} {wanted}")
        };
        let listed = reason.to_string().split("; ").count();
        assert!(
            listed == hosts.len() && reason.to_string().matches(said).count() == listed,
            "{reason}"
        );
    }
}

/// A server that takes `authd` by certificate and `keeper` by password, over TLS
struct Secured {
    postgres: Postgres,
    ca: (X509, PKey<Private>),
    folder: Folder,
    roots: PathBuf,
}

impl Secured {
    fn start() -> Self {
        let ca = certificate("test authority", None);
        let (own, key) = certificate("localhost", Some((&ca.0, &ca.1)));
        let mut postgres = Postgres::new();
        let program = &postgres.program;
        program.write("data/server.crt", own.to_pem().unwrap());
        program.write("data/server.key", key.private_key_to_pem_pkcs8().unwrap());
        program.write("data/ca.crt", ca.0.to_pem().unwrap());
        program.write(
            "data/pg_hba.conf",
            "local all all trust\n\
             hostssl all authd 127.0.0.1/32 cert\n\
             hostssl all keeper 127.0.0.1/32 scram-sha-256\n",
        );
        postgres.start(&["ssl=on", "ssl_ca_file=ca.crt"]);
        postgres.sql("CREATE ROLE keeper LOGIN PASSWORD 'to:day''s'");
        let folder = Folder::new();
        let roots = PathBuf::from(folder.write("roots.pem", &ca.0.to_pem().unwrap()));
        Self { postgres, ca, folder, roots }
    }

    fn mint(&self, name: &str) -> (X509, PKey<Private>) {
        certificate(name, Some((&self.ca.0, &self.ca.1)))
    }

    /// The parameters that name a certificate and its key
    fn files(&self, name: &str, certificate: &X509, key: &PKey<Private>) -> String {
        let certificate = self.folder.write(&format!("{name}.pem"), &certificate.to_pem().unwrap());
        let key = key.private_key_to_pem_pkcs8().unwrap();
        let key = self.folder.write(&format!("{name}.key"), &key);
        format!("&sslcert={}&sslkey={}", encoded(&certificate), encoded(&key))
    }

    fn url(&self, user: &str) -> String {
        let port = self.postgres.port;
        let roots = encoded(self.roots.to_str().unwrap());
        format!(
            "postgresql://{user}@localhost:{port}/postgres?sslmode=verify-full&sslrootcert={roots}"
        )
    }

    async fn connect(&self, user: &str, files: &str) -> Result<PgStore, Error> {
        PgStore::connect(&format!("{}{files}", self.url(user)), &Options::default()).await
    }
}

/// An authority that no server knows
fn certificate_of_nobody() -> (X509, PKey<Private>) {
    certificate("another authority", None)
}

fn certificate_by(ca: &X509, key: &PKey<Private>, name: &str) -> (X509, PKey<Private>) {
    certificate(name, Some((ca, key)))
}

/// A folder that is gone with the test
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("authd-login-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Writes a file, and returns its path
    fn write(&self, name: &str, content: &[u8]) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Where a test's database is
fn socket_and_name(database: &Database) -> (String, String) {
    let config: tokio_postgres::Config = database.url().parse().unwrap();
    let tokio_postgres::config::Host::Unix(folder) = &config.get_hosts()[0] else {
        panic!("the tests' server has a socket")
    };
    (folder.to_str().unwrap().to_owned(), config.get_dbname().unwrap().to_owned())
}

/// A text as it stands in a URL
fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
