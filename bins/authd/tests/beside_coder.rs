//! The commands and settings of `docs/beside-coder.md`, one after the other as an operator runs
//! them

#![allow(clippy::print_stdout, reason = "a test reports what it skips")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use testkit::net::Client;
use testkit::{Database, Release};
use tokio::process::{Child, Command};

/// The page, and the addresses that replace those in it
struct Page {
    text: String,
    folder: PathBuf,
    places: Vec<(&'static str, String)>,
}

impl Page {
    fn read(database: &Database, folder: &Path, port: u16) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let example = |name: &str| root.join("docs/proxies").join(name).display().to_string();
        // The tests' database is reached through a socket: `…?host=FOLDER&user=NAME`.
        let (server, _) = database.url().rsplit_once("user=").unwrap();
        Self {
            text: std::fs::read_to_string(root.join("docs/beside-coder.md")).unwrap(),
            folder: folder.to_owned(),
            places: vec![
                ("postgres://coder@db.internal/coder", database.url().to_owned()),
                ("postgres://authd@db.internal/coder", format!("{server}user=beside")),
                // The owner of the tests' own server is called `authd`.
                ("ROLE authd", "ROLE beside".to_owned()),
                ("authd grants", "authd grants --role beside".to_owned()),
                ("OWNED BY authd", "OWNED BY beside".to_owned()),
                ("127.0.0.1:8080", format!("127.0.0.1:{port}")),
                ("/etc/authd/authd.toml", folder.join("authd.toml").display().to_string()),
                ("/etc/nginx/nginx.conf", example("beside-coder.nginx.conf")),
                ("/etc/caddy/Caddyfile", example("beside-coder.Caddyfile")),
            ],
        }
    }

    /// The lines of all code blocks of one kind, in order
    fn blocks(&self, kind: &str) -> Vec<String> {
        let fence = format!("```{kind}\n");
        let blocks = self.text.split(&fence).skip(1);
        let lines = blocks.flat_map(|block| block.split("\n```").next().unwrap().lines());
        lines.map(|line| self.placed(line)).collect()
    }

    fn placed(&self, line: &str) -> String {
        self.places.iter().fold(line.to_owned(), |line, (there, here)| line.replace(there, here))
    }

    /// The command, run by a shell
    fn shell(&self, line: &str) -> Command {
        let own = Path::new(env!("CARGO_BIN_EXE_authd")).parent().unwrap().display().to_string();
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-e", "-c", line])
            .current_dir(&self.folder)
            .env("PATH", format!("{own}:{path}:/usr/sbin"))
            .env("HOME", &self.folder)
            .kill_on_drop(true);
        command
    }

    async fn run(&self, line: &str) -> Output {
        let output = self.shell(line).output();
        tokio::time::timeout(Duration::from_secs(120), output)
            .await
            .unwrap_or_else(|_| panic!("{line} takes too long"))
            .unwrap()
    }

    async fn is_known(&self, program: &str) -> bool {
        self.run(&format!("command -v {program}")).await.status.success()
    }

    /// Starts a server, and returns once it is ready
    async fn serve(&self, line: &str, port: u16) -> Child {
        let mut server =
            self.shell(&format!("exec {line}")).stderr(Stdio::inherit()).spawn().unwrap();
        for _ in 0..3_000 {
            let ready = Client::new().get(&format!("http://127.0.0.1:{port}/readyz")).await;
            if ready.is_ok_and(|ready| ready.status == 200) {
                return server;
            }
            assert!(server.try_wait().unwrap().is_none(), "{line} has ended");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{line} is not ready");
    }
}

/// A database with the control plane's tables and keys, and without authd's own tables
async fn control_planes() -> Database {
    let database = Database::of_release(Release::NEWEST).await;
    database.store().await.remove_owned().await.unwrap();
    database
        .sql(
            "INSERT INTO crypto_keys (feature, sequence, secret, starts_at) VALUES
                 ('workspace_apps_token', 1, repeat('ab', 64), now() - interval '1 day'),
                 ('workspace_apps_api_key', 1, repeat('ab', 32), now() - interval '1 day')",
        )
        .await;
    database
}

#[tokio::test]
async fn every_command_of_the_page_works() {
    let database = control_planes().await;
    let before = tables(&database).await;
    let folder = std::env::temp_dir().join(format!("authd-beside-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&folder).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let page = Page::read(&database, &folder, port);
    std::fs::write(folder.join("authd.toml"), page.blocks("toml").join("\n")).unwrap();

    let commands = page.blocks("console");
    let mut server = None;
    for line in &commands {
        let program = line.split(' ').next().unwrap();
        if ["nginx", "caddy", "psql", "curl"].contains(&program) && !page.is_known(program).await {
            assert!(std::env::var_os("AUTHD_REQUIRE_PROGRAMS").is_none(), "no {program}");
            println!("{program} is not installed, and not tried: {line}");
            continue;
        }
        if line.starts_with("authd serve ") {
            server = Some(page.serve(line, port).await);
            continue;
        }
        if line.starts_with("authd migrate --remove-owned") {
            // The page says that it is stopped first.
            let mut server: Child = server.take().unwrap();
            server.kill().await.unwrap();
        }
        let output = page.run(line).await;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success(),
            "{line}: {stderr}{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    assert_eq!(tables(&database).await, before);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn every_setting_on_the_page_exists() {
    let page = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/beside-coder.md"),
    );
    let rows: Vec<String> = page.unwrap().lines().map(str::to_owned).collect();
    let settings: Vec<&str> =
        rows.iter().filter_map(|row| row.strip_prefix("| `CODER_")?.split('`').nth(2)).collect();
    assert!(settings.len() > 10, "{settings:?}");
    let help = Command::new(env!("CARGO_BIN_EXE_authd")).args(["serve", "--help"]).output().await;
    let help = String::from_utf8(help.unwrap().stdout).unwrap();
    for setting in settings {
        let flag = format!(" --{} ", setting.replace('_', "-"));
        assert!(help.contains(&flag), "{flag}");
    }
}

/// All tables, sequences and types
async fn tables(database: &Database) -> Vec<String> {
    database
        .sql(
            "select relname from pg_class where relnamespace = 'public'::regnamespace
             union select typname from pg_type where typnamespace = 'public'::regnamespace
             order by 1",
        )
        .await
}
