//! Private servers start, are joined, stop, and leave nothing behind

#![allow(clippy::unwrap_used)] // helpers outside of `#[test]` functions

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use private_postgres::{Ephemeral, Error, Persistent, Settings};
use tokio_postgres::{NoTls, SimpleQueryMessage};

#[test]
fn an_ephemeral_server_survives_a_pause_and_leaves_nothing() {
    let mut server = Ephemeral::start(&Settings::default()).unwrap();
    let folder = socket_folder(&server.url("postgres"));
    assert!(answers(&folder));

    server.pause().unwrap();
    assert!(!answers(&folder));
    server.resume().unwrap();
    assert!(answers(&folder));

    drop(server);
    assert!(!folder.exists());
}

#[test]
fn a_superuser_of_any_name_reaches_any_database() {
    let settings = Settings::default().superuser("Zoë & 50%");
    let server = Ephemeral::start(&settings).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        ask(&server.url("postgres"), r#"CREATE DATABASE "50% off?""#).await;
        let found = ask(&server.url("50% off?"), "SELECT current_user, current_database()").await;
        assert_eq!(found, ["Zoë & 50%", "50% off?"]);
    });
}

#[test]
fn an_ephemeral_server_writes_commits_to_disk_if_that_is_asked() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (durable, expected) in [(false, "off"), (true, "on")] {
        let server = Ephemeral::start(&Settings::default().durable(durable)).unwrap();
        let settings = "SELECT current_setting('fsync'), current_setting('synchronous_commit')";
        let found = runtime.block_on(ask(&server.url("postgres"), settings));
        assert_eq!(found, [expected, expected]);
    }
}

#[test]
fn only_a_server_that_exists_is_started_if_that_is_asked() {
    let home = Home::new("absent");
    let folder = home.0.join("none");
    let settings = Settings::default();
    let error = Persistent::start_existing(&folder, &settings).unwrap_err();
    assert!(matches!(&error, Error::NoData { home } if *home == folder), "{error}");
    assert!(!folder.exists() && !Persistent::exists(&folder));
    std::fs::create_dir_all(&folder).unwrap();
    assert!(!Persistent::exists(&folder), "a folder without data");
    Persistent::start_existing(&folder, &settings).unwrap_err();
    std::fs::remove_dir_all(&home.0).unwrap();
    Persistent::start(&home.0, &settings).unwrap().stop().unwrap();
    assert!(Persistent::exists(&home.0));
    Persistent::start_existing(&home.0, &settings).unwrap().stop().unwrap();
}

#[test]
fn an_error_of_initdb_is_reported_at_once_with_its_message() {
    let home = Home::new("refused");
    let settings = Settings::default().superuser("pg_app");
    for error in [
        Ephemeral::start(&settings).unwrap_err(),
        Persistent::start(&home.0, &settings).unwrap_err(),
    ] {
        assert!(matches!(&error, Error::Failed { log } if log.contains("pg_app")), "{error}");
    }
}

#[test]
fn an_ephemeral_server_that_is_not_dropped_leaves_nothing() {
    for end in ["exit", "kill"] {
        let (mut child, line) = run_child("ephemeral", end, Path::new(""));
        let folder = socket_folder(&line);
        assert!(folder.exists());
        if end == "kill" {
            assert!(answers(&folder));
            child.kill().unwrap();
        } else {
            drop(child.stdin.take());
        }
        child.wait().unwrap();
        eventually(end, || !folder.exists());
        assert!(!answers(&folder));
    }
}

#[test]
fn a_persistent_server_keeps_its_data_and_stops_with_its_last_user() {
    let home = Home::new("kept");
    let first = Persistent::start(&home.0, &Settings::default()).unwrap();
    let folder = socket_folder(&first.url());
    assert!(!first.was_joined() && answers(&folder));

    let second = Persistent::start(&home.0, &Settings::default()).unwrap();
    assert!(second.was_joined());
    assert_eq!(second.url(), first.url());
    first.stop().unwrap();
    assert!(answers(&folder), "the second still uses it");
    second.stop().unwrap();
    assert!(!answers(&folder));

    let again = Persistent::start(&home.0, &Settings::default()).unwrap();
    assert!(!again.was_joined() && answers(&folder));
    drop(again);
    assert!(!answers(&folder));
}

#[test]
fn a_persistent_server_outlives_a_killed_process_and_is_joined_by_the_next() {
    let home = Home::new("killed");
    let (mut child, line) = run_child("persistent", "kill", &home.0);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(answers(&socket_folder(&line)));

    let next = Persistent::start(&home.0, &Settings::default()).unwrap();
    assert!(next.was_joined());
    next.stop().unwrap();
    assert!(!answers(&socket_folder(&line)));
}

#[test]
fn a_server_starts_after_a_crash() {
    let home = Home::new("crash");
    let server = Persistent::start(&home.0, &Settings::default()).unwrap();
    let pid_file = home.0.join("data/postmaster.pid");
    let left = fs::read_to_string(&pid_file).unwrap();
    server.stop().unwrap();

    // The process id of the crashed server now belongs to this test.
    let (_, rest) = left.split_once('\n').unwrap();
    fs::write(&pid_file, format!("{}\n{rest}", std::process::id())).unwrap();
    fs::create_dir(home.0.join("data.new")).unwrap();
    Persistent::start(&home.0, &Settings::default()).unwrap().stop().unwrap();
}

#[test]
fn a_home_whose_path_is_too_long_for_a_socket_gets_another_socket_folder() {
    let home = Home::new(&"deep".repeat(30));
    let server = Persistent::start(&home.0, &Settings::default()).unwrap();
    let folder = socket_folder(&server.url());
    assert!(!folder.starts_with(&home.0) && answers(&folder));
    server.stop().unwrap();
    assert!(!folder.exists());
}

#[test]
fn a_folder_without_a_server_is_named() {
    let settings = Settings::default().binaries("/nonexistent");
    let error = Ephemeral::start(&settings).unwrap_err();
    assert!(matches!(error, Error::NotInstalled { .. }));
    assert!(error.to_string().contains("in `/nonexistent`"), "{error}");
}

#[test]
fn a_folder_with_other_files_is_refused_and_not_changed() {
    use std::os::unix::fs::PermissionsExt;

    let home = Home::new("used");
    fs::create_dir(&home.0).unwrap();
    fs::set_permissions(&home.0, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(home.0.join("thesis"), "").unwrap();
    let error = Persistent::start(&home.0, &Settings::default()).unwrap_err();
    assert!(matches!(error, Error::NotEmpty { .. }), "{error}");
    assert!(error.to_string().contains("private-used-"), "{error}");
    assert_eq!(fs::metadata(&home.0).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::read_dir(&home.0).unwrap().count(), 1);
}

#[test]
fn a_home_that_the_server_may_not_enter_is_refused_by_name() {
    use std::os::unix::fs::PermissionsExt;

    let home = Home::new("closed");
    fs::create_dir(&home.0).unwrap();
    fs::set_permissions(&home.0, fs::Permissions::from_mode(0o700)).unwrap();
    let result = Persistent::start(&home.0.join("inner"), &Settings::default());
    // Only root runs the server as another account.
    if let Err(error) = result {
        assert!(matches!(error, Error::OutOfReach { .. }), "{error}");
        assert!(error.to_string().contains("closed"), "{error}");
    }
}

/// The code that the tests above run in a separate process
#[test]
#[ignore = "run by the other tests"]
fn child() {
    let Ok(kind) = env::var("PRIVATE_POSTGRES_TEST_CHILD") else { return };
    let settings = Settings::default();
    match kind.as_str() {
        "ephemeral" => {
            let server = Ephemeral::start(&settings).unwrap();
            println!("\n{}", server.url("postgres"));
            let _ = std::io::stdin().lines().next();
            std::mem::forget(server);
            std::process::exit(0);
        }
        _ => {
            let home = PathBuf::from(env::var("PRIVATE_POSTGRES_TEST_HOME").unwrap());
            let server = Persistent::start(&home, &settings).unwrap();
            println!("\n{}", server.url());
            let _ = std::io::stdin().lines().next();
        }
    }
}

fn run_child(kind: &str, end: &str, home: &Path) -> (Child, String) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env("PRIVATE_POSTGRES_TEST_CHILD", kind)
        .env("PRIVATE_POSTGRES_TEST_HOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = lines.map_while(Result::ok).find(|line| line.starts_with("postgresql://"));
    (child, url.unwrap_or_else(|| panic!("no server to {end}")))
}

/// The first row that `statement` returns
async fn ask(url: &str, statement: &str) -> Vec<String> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let messages = client.simple_query(statement).await.unwrap();
    drop(client);
    connection.await.unwrap().unwrap();
    let row = messages.into_iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    row.iter().flat_map(|row| (0..row.len()).map(|i| row.get(i).unwrap().to_owned())).collect()
}

fn socket_folder(url: &str) -> PathBuf {
    let (_, query) = url.split_once("host=").unwrap();
    query.split('&').next().unwrap().into()
}

fn answers(folder: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(folder.join(".s.PGSQL.5432")).is_ok()
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A folder for a persistent server, removed at the end of the test
struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Self {
        let name = format!("private-{name}-{}", std::process::id());
        let home = Self(env::temp_dir().join(name));
        // An earlier process with this id may have been killed.
        let _ = fs::remove_dir_all(&home.0);
        home
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
