//! Programs that a test runs for itself: a PostgreSQL server with TLS, and PgBouncer

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::print_stdout, reason = "what was left out is to be seen")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A temporary folder that another account owns, and the program that runs in it
///
/// When this is dropped, or its process ends in any way, the program is stopped and the
/// folder removed.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) folder: PathBuf,
    account: (u32, u32),
    watch: Option<Child>,
}

impl Program {
    /// A folder for a program that runs as the owner of `path`
    pub(crate) fn as_owner_of(path: &Path) -> Self {
        let owner = std::fs::metadata(path).unwrap();
        Self::of((owner.uid(), owner.gid()))
    }

    fn of(account: (u32, u32)) -> Self {
        let folder = std::env::temp_dir().join(format!("authd-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&folder).unwrap();
        let program = Self { folder, account, watch: None };
        program.give(&program.folder, 0o700);
        program
    }

    /// Writes a file that only the program may read
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, content).unwrap();
        self.give(&path, 0o600);
        path
    }

    fn give(&self, path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        chown(path, Some(self.account.0), Some(self.account.1)).unwrap();
    }

    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null()).uid(self.account.0).gid(self.account.1);
        command
    }

    /// Starts `program`, and waits until `is_ready`
    pub(crate) fn start(
        &mut self,
        program: &Path,
        arguments: &[&str],
        is_ready: impl Fn() -> bool,
    ) {
        let mut watch = self.command("sh");
        let log = std::fs::File::create(self.folder.join("output")).unwrap();
        watch.args(["-c", WATCH, "watch"]).arg(program).args(arguments);
        watch.stdin(Stdio::piped()).stderr(log);
        self.watch = Some(watch.spawn().unwrap());
        let begun = Instant::now();
        while !is_ready() {
            assert!(begun.elapsed() < Duration::from_secs(30), "{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("output")).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(watch) = &mut self.watch {
            drop(watch.stdin.take());
            let _ = watch.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A PostgreSQL server that listens on 127.0.0.1
#[derive(Debug)]
pub(crate) struct Postgres {
    pub(crate) program: Program,
    binaries: PathBuf,
    pub(crate) port: u16,
}

impl Postgres {
    /// Makes a server with the user `authd`, without starting it
    pub(crate) fn new() -> Self {
        let binaries = binaries();
        let program = Program::of(account());
        let mut initdb = program.command(binaries.join("initdb"));
        initdb.args(["-D", "data", "-U", "authd", "--auth", "trust", "--encoding", "UTF8"]);
        assert!(initdb.args(["--no-sync", "--no-instructions"]).status().unwrap().success());
        Self { program, binaries, port: free_port() }
    }

    pub(crate) fn start(&mut self, settings: &[&str]) {
        let port = self.port.to_string();
        let folder = self.program.folder.to_str().unwrap().to_owned();
        let mut arguments = vec!["-D", "data", "-k", &folder, "-p", &port];
        for setting in ["listen_addresses=127.0.0.1", "fsync=off"].iter().chain(settings) {
            arguments.extend(["-c", setting]);
        }
        let (is_ready, port) = (self.binaries.join("pg_isready"), self.port.to_string());
        self.program.start(&self.binaries.join("postgres"), &arguments, || {
            let mut asked = Command::new(&is_ready);
            asked.args(["-q", "-h", "127.0.0.1", "-p", &port]).status().unwrap().success()
        });
    }
}

impl Postgres {
    /// Runs a statement as `authd`
    pub(crate) fn sql(&self, statement: &str) {
        let mut psql = self.program.command(self.binaries.join("psql"));
        psql.args(["-X", "-q", "-h", self.program.folder.to_str().unwrap(), "-U", "authd"]);
        psql.args(["-p", &self.port.to_string(), "-d", "postgres", "-c", statement]);
        assert!(psql.status().unwrap().success(), "{statement}");
    }
}

/// A program in `PATH` or where Debian puts servers, or nothing if it is not installed
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join(name)).find(|program| program.is_file());
    if found.is_none() {
        let missing = format!("{name} is not installed, and this test does nothing");
        assert!(std::env::var_os("AUTHD_REQUIRE_PROGRAMS").is_none(), "{missing}");
        println!("{missing}");
    }
    found
}

pub(crate) fn free_port() -> u16 {
    testkit::net::free_address().port()
}

/// PostgreSQL does not run as root
fn account() -> (u32, u32) {
    let own = std::fs::metadata("/proc/self").unwrap();
    if own.uid() != 0 {
        return (own.uid(), own.gid());
    }
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap();
    let postgres = accounts.lines().find_map(|line| line.strip_prefix("postgres:")).unwrap();
    let ids: Vec<&str> = postgres.split(':').collect();
    (ids[1].parse().unwrap(), ids[2].parse().unwrap())
}

/// The newest installed server
fn binaries() -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut folders: Vec<_> =
        installed.map(|version| version.unwrap().path().join("bin")).collect();
    folders.sort();
    folders.pop().unwrap_or_else(|| find("initdb").unwrap().parent().unwrap().to_owned())
}

/// Runs a program until standard input ends, and removes the folder then
///
/// Which signal means at once differs: PgBouncer before 1.23 stops on `TERM`, later ones and
/// PostgreSQL on `QUIT`.
const WATCH: &str = r#"
folder=$PWD
"$@" </dev/null >&2 &
cat >/dev/null
kill -QUIT $!
kill -TERM $! 2>/dev/null
wait
cd /
rm -rf "$folder"
"#;
