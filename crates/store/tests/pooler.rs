//! Through a real PgBouncer: what works, what is left behind, and what is refused

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use agent_auth::{Candidates, ProvenInstance};
use app_audit::{Journal, Window};
use app_authz::token::{Feature, Rotation};
use store::inspection::{Asked, Part};
use store::revocations::{Revocations, Slice};
use store::{Error, Migrations, Opening, Options, PgStore, Pooling, Store};
use testkit::Database;
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls};

use crate::common::certificates::certificate;
use crate::common::server::{Program, find, free_port};
use crate::common::{INSTANCE, entry, event, one_agent};

mod common;

#[tokio::test]
async fn nothing_that_authd_sets_reaches_other_clients_of_a_pooler() {
    let database = Database::new().await;
    // Another one than authd's own sessions have.
    let zone = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = %L', \
                current_database(), 'America/St_Johns'); END $$";
    database.sql(zone).await;
    for mode in ["session", "transaction"] {
        // The pooler resets nothing, so that a setting would be visible to the next client.
        let Some(pooler) = Pooler::start(&database, mode, "server_reset_query =") else { return };
        let before = pooler.settings().await;
        assert!(before[0].contains("TimeZone=America/St_Johns"), "{before:?}");
        let store = PgStore::connect(&pooler.url(), &Options::default()).await;
        if let Ok(store) = &store {
            use_everything(store).await;
        }
        drop(store);
        for (before, after) in before.iter().zip(pooler.settings().await) {
            let changed: Vec<_> = after.difference(before).collect();
            assert!(changed.is_empty(), "{mode}: {changed:?}");
        }
    }
}

#[tokio::test]
async fn a_pooler_of_sessions_is_worked_through() {
    let database = Database::new().await;
    let direct = database.store().await;
    assert!(!direct.is_pooled());
    assert_eq!(direct.pooling().await, Ok(Pooling::None));
    // One refuses settings, the other drops them without a word.
    for extra in ["", "ignore_startup_parameters = options"] {
        let Some(pooler) = Pooler::start(&database, "session", extra) else { return };
        let store = PgStore::connect(&pooler.url(), &Options::default()).await.unwrap();
        assert!(store.is_pooled(), "{extra}");
        assert_eq!(store.pooling().await, Ok(Pooling::Session), "{extra}");
        let looked = store.inspect(&Asked::with([Part::Apps]), &|| SystemTime::UNIX_EPOCH).await;
        let server = looked.unwrap().server;
        assert_eq!(server.pooling, Pooling::Session, "{extra}");
        let jit = server.settings.iter().find(|setting| setting.name == "jit").unwrap();
        assert_eq!((&*jit.value, jit.wanted.as_deref()), ("on", Some("off")), "{extra}");
        use_everything(&store).await;
    }
}

#[tokio::test]
async fn a_program_opens_its_connections_through_a_pooler() {
    let database = Database::new().await;
    // One refuses settings, the other drops them without a word.
    for extra in ["", "ignore_startup_parameters = options"] {
        let Some(pooler) = Pooler::start(&database, "session", extra) else { return };
        let config: tokio_postgres::Config = pooler.url().parse().unwrap();
        let connect = move |opening: Opening| {
            let config = config.clone();
            async move { opening.connect(&config, NoTls).await }
        };
        let store = PgStore::from_connect(connect, &Options::default());
        assert_eq!(store.pooling().await, Ok(Pooling::Session), "{extra}");
        use_everything(&store).await;
        assert!(store.is_pooled(), "{extra}");
    }
}

#[tokio::test]
async fn a_pooler_of_transactions_must_keep_prepared_statements_apart() {
    let database = Database::new().await;
    let Some(pooler) = Pooler::start(&database, "transaction", "") else { return };
    let opened = PgStore::connect(&pooler.url(), &Options::default()).await;
    if pooler.keeps_statements {
        let store = opened.unwrap();
        assert_eq!(store.pooling().await, Ok(Pooling::Transaction));
        let other = PgStore::connect(&pooler.url(), &Options::default()).await.unwrap();
        tokio::join!(use_everything(&store), use_everything(&other));
    } else {
        let Err(Error::Pooler { reason }) = opened else { panic!("statements may be mixed up") };
        assert!(reason.contains("max_prepared_statements"), "{reason}");
    }
}

#[tokio::test]
async fn a_pooler_of_transactions_that_was_told_to_forget_statements_is_refused() {
    let database = Database::new().await;
    let Some(pooler) = Pooler::start(&database, "transaction", "") else { return };
    if !pooler.keeps_statements {
        return;
    }
    let forget = "max_prepared_statements = 0";
    for (mode, said) in [("transaction", "max_prepared_statements"), ("statement", "")] {
        let pooler = Pooler::start(&database, mode, forget).unwrap();
        let Err(Error::Pooler { reason }) =
            PgStore::connect(&pooler.url(), &Options::default()).await
        else {
            panic!("{mode}: statements may be mixed up")
        };
        assert!(reason.contains(said), "{reason}");
    }
}

#[tokio::test]
async fn a_slow_statement_is_given_up_on_this_side() {
    let database = Database::new().await;
    database.store().await.load(&one_agent()).await.unwrap();
    let options = Options::default().statement_timeout(Duration::from_secs(1));
    for (mode, tls) in [("session", false), ("session", true), ("transaction", false)] {
        let Some(pooler) = Pooler::start_with(&database, mode, "", tls) else { return };
        if mode == "transaction" && !pooler.keeps_statements {
            continue;
        }
        let store = PgStore::connect(&pooler.url(), &options).await.unwrap();
        store.by_instance(ProvenInstance::assume_verified(INSTANCE)).await.unwrap();
        let locked = database.hold("LOCK TABLE workspace_agents, crypto_keys").await;

        let (read, write) = tokio::join!(
            store.by_instance(ProvenInstance::assume_verified(INSTANCE)),
            rotate(&store)
        );
        assert!(matches!(read, Err(Error::Unavailable { .. })), "{read:?}");
        assert!(matches!(write, Err(Error::Unavailable { .. })), "{write:?}");
        // They were cancelled, and do not wait for the lock, which is still held.
        let waiting = "SELECT count(*) FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while database.sql(waiting).await != ["0"] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        locked.commit().await;
        assert_eq!(
            store.by_instance(ProvenInstance::assume_verified(INSTANCE)).await.unwrap().len(),
            1,
            "{mode}"
        );
    }
}

#[tokio::test]
async fn settings_of_the_url_that_a_pooler_keeps_back_are_named() {
    let database = Database::new().await;
    let (drop, track) =
        ("ignore_startup_parameters = options", "track_extra_parameters = search_path");
    for extra in ["", drop, track] {
        let Some(pgbouncer) = find("pgbouncer") else { return };
        if extra == track && version(&pgbouncer) < (1, 20) {
            continue;
        }
        let Some(pooler) = Pooler::start(&database, "session", extra) else { return };
        let url = format!("{}?search_path=elsewhere", pooler.url());
        let error = PgStore::connect(&url, &Options::default()).await.unwrap_err();
        let Error::Unavailable { reason } = error else { panic!("{error}") };
        assert!(
            reason.to_string().contains("keeps `search_path` from the server"),
            "{extra}: {reason}"
        );
        // What the role has anyway does no harm.
        if extra == drop {
            let url = format!("{}?search_path=%22$user%22,public", pooler.url());
            PgStore::connect(&url, &Options::default()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn migrations_through_a_pooler_leave_no_lock_behind() {
    for mode in ["session", "transaction"] {
        let database = Database::empty().await;
        let Some(pooler) = Pooler::start(&database, mode, "") else { return };
        let Ok(store) = PgStore::connect(&pooler.url(), &Options::default()).await else {
            assert!(!pooler.keeps_statements);
            continue;
        };
        // Two replicas at once, and once more.
        let other = PgStore::connect(&pooler.url(), &Options::default()).await.unwrap();
        let all = tokio::join!(store.migrate(Migrations::All), other.migrate(Migrations::All));
        assert!(all.0.is_ok() && all.1.is_ok(), "{all:?}");
        store.migrate(Migrations::All).await.unwrap();
        use_everything(&store).await;
        let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted \
                     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        assert_eq!(database.sql(locks).await, ["0"], "{mode}");
    }
}

/// Reads, writes, and transactions, several at a time
async fn use_everything(store: &PgStore) {
    let (one, other) = (one_agent(), one_agent());
    let (one, other) = tokio::join!(store.load(&one), store.load(&other));
    one.unwrap();
    other.unwrap();
    for _ in 0..4 {
        let entry = [entry(&event(1))];
        let (ping, found, rotated, noted) = tokio::join!(
            store.ping(),
            store.by_instance(ProvenInstance::assume_verified(INSTANCE)),
            rotate(store),
            store.note(&entry, Window::default())
        );
        ping.unwrap();
        assert!(found.unwrap().len() >= 2);
        rotated.unwrap();
        noted.unwrap();
    }
    store.revocations(None, Slice::ALL, SystemTime::UNIX_EPOCH).await.unwrap();
    // Another client of the pooler would get the notifications.
    let changed = timeout(Duration::from_secs(1), store.changed()).await;
    assert!(changed.is_err(), "{changed:?}");
}

async fn rotate(store: &PgStore) -> Result<usize, Error> {
    store.rotate(Feature::WorkspaceAppsToken, |_| Vec::new()).await
}

/// PgBouncer before a test's server
struct Pooler {
    program: Program,
    port: u16,
    database: String,
    /// Whether this version can keep prepared statements apart
    keeps_statements: bool,
    tls: bool,
}

impl Pooler {
    /// Starts one in a mode, with further lines of its configuration; nothing if it is not
    /// installed
    fn start(database: &Database, mode: &str, extra: &str) -> Option<Self> {
        Self::start_with(database, mode, extra, false)
    }

    fn start_with(database: &Database, mode: &str, extra: &str, tls: bool) -> Option<Self> {
        let pgbouncer = find("pgbouncer")?;
        let config: tokio_postgres::Config = database.url().parse().unwrap();
        let tokio_postgres::config::Host::Unix(folder) = &config.get_hosts()[0] else {
            panic!("the tests' server has a socket")
        };
        let keeps_statements = version(&pgbouncer) >= (1, 21);
        let statements = match keeps_statements && !extra.contains("max_prepared_statements") {
            true => "max_prepared_statements = 100",
            false => "",
        };
        let port = free_port();
        let mut program = Program::as_owner_of(folder);
        let security = if tls {
            let (own, key) = certificate("localhost", None);
            program.write("own.crt", own.to_pem().unwrap());
            program.write("own.key", key.private_key_to_pem_pkcs8().unwrap());
            "client_tls_sslmode = require\nclient_tls_cert_file = own.crt\n\
             client_tls_key_file = own.key\n"
        } else {
            ""
        };
        let file = program.write(
            "pgbouncer.ini",
            format!(
                "[databases]\n* = host={} port=5432 user=authd\n[pgbouncer]\n\
                 listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
                 auth_type = any\npool_mode = {mode}\ndefault_pool_size = {POOL}\n\
                 {security}{statements}\n{extra}\n",
                folder.display()
            ),
        );
        program.start(&pgbouncer, &["-q", file.to_str().unwrap()], || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        let database = config.get_dbname().unwrap().to_owned();
        Some(Self { program, port, database, keeps_statements, tls })
    }

    fn url(&self) -> String {
        let (port, database) = (self.port, &self.database);
        match self.tls {
            true => format!(
                "postgresql://authd@localhost:{port}/{database}?sslmode=verify-full&sslrootcert={}",
                self.program.folder.join("own.crt").display()
            ),
            false => format!("postgresql://authd@127.0.0.1:{port}/{database}"),
        }
    }

    /// What each of as many clients as there are connections finds set, one by one
    async fn settings(&self) -> Vec<BTreeSet<String>> {
        let mut clients = Vec::new();
        let mut found = Vec::new();
        for _ in 0..POOL {
            let client = self.client().await;
            // The transaction keeps the connection, so that the next client has another.
            client.batch_execute("BEGIN").await.unwrap();
            found.push(settings(&client).await);
            clients.push(client);
        }
        for client in &clients {
            client.batch_execute("ROLLBACK").await.unwrap();
        }
        found
    }

    async fn client(&self) -> Client {
        let url = format!("{}?application_name=another", self.url());
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

/// All settings that a session may change
async fn settings(client: &Client) -> BTreeSet<String> {
    let all = "SELECT name || '=' || setting FROM pg_settings \
               WHERE context IN ('user', 'superuser') AND name NOT LIKE 'transaction_%' AND name NOT LIKE 'plpgsql.%' \
               UNION ALL SELECT current_setting('authd.settings', true)";
    let rows = client.simple_query(all).await.unwrap();
    let rows = rows.into_iter().filter_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    rows.collect()
}

fn version(pgbouncer: &Path) -> (u32, u32) {
    let said = Command::new(pgbouncer).arg("--version").output().unwrap().stdout;
    let said = String::from_utf8(said).unwrap();
    let version = said.lines().next().unwrap().rsplit(' ').next().unwrap();
    let mut numbers = version.split('.').map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// More than authd opens in these tests
const POOL: usize = 20;
