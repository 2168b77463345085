use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::{Instant, sleep, timeout};

use super::options::{LogTo, Options};
use super::process::Usage;
use super::tally::Outcome;
use super::{StormError, http1};

/// How authd is started
#[derive(Clone, Debug)]
pub(super) struct Launch {
    authd: PathBuf,
    database_url: String,
    trust: PathBuf,
    /// Where log files are written
    folder: PathBuf,
    args: Vec<String>,
    log: LogTo,
    /// The soft limit of descriptors, if there is one
    descriptors: Option<u64>,
}

impl Launch {
    pub(super) fn new(
        authd: PathBuf,
        database_url: &str,
        folder: &Path,
        options: &Options,
        soft_limit: Option<u64>,
    ) -> Self {
        Self {
            authd,
            database_url: database_url.to_owned(),
            trust: folder.join("trust"),
            folder: folder.to_owned(),
            args: options.server_arg.clone(),
            log: options.log,
            descriptors: options.server_descriptors.or(soft_limit),
        }
    }

    pub(super) fn trust(&self) -> &Path {
        &self.trust
    }

    /// Creates the tables, as an operator does
    pub(super) async fn migrate(&self) -> Result<(), StormError> {
        let mut command = self.command();
        command.args(["migrate", "--database-url", &self.database_url]);
        let output = command.stdin(Stdio::null()).output().await;
        let output = output.map_err(StormError::io(self.running()))?;
        if output.status.success() {
            return Ok(());
        }
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(StormError::Server { what: format!("migrate ended with {}", output.status), log })
    }

    /// Starts a server at `address` and waits until `/readyz` answers 200
    pub(super) async fn start(&self, address: SocketAddr) -> Result<Server, StormError> {
        let log_path = self.log_file(address);
        let log = match self.log {
            LogTo::NeverRead => Stdio::piped(),
            LogTo::Null => Stdio::null(),
            LogTo::File => {
                let file = File::options().create(true).append(true).open(&log_path);
                file.map_err(StormError::io(format!("creating {}", log_path.display())))?.into()
            }
        };
        let mut command = self.command();
        command.args(["serve", "--listen", &address.to_string()]);
        command.args(["--database-url", &self.database_url, "--trust-dir"]).arg(&self.trust);
        command.args(&self.args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut child = command.spawn().map_err(StormError::io(self.running()))?;
        let unread = child.stderr.take();
        let mut server = Server { address, child, _unread: unread };
        let deadline = Instant::now() + START;
        while !matches!(timeout(START, get(address, "/readyz")).await, Ok(Ok(200))) {
            let waited = server.child.try_wait().map_err(StormError::io(self.running()))?;
            let what = match waited {
                Some(status) => format!("serve ended with {status}"),
                None if Instant::now() > deadline => "was not ready within a minute".to_owned(),
                None => {
                    sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            return Err(StormError::Server { what, log: tail(&log_path) });
        }
        Ok(server)
    }

    pub(super) fn log_file(&self, address: SocketAddr) -> PathBuf {
        self.folder.join(format!("{}.log", address.port()))
    }

    /// The program with its limit of descriptors, without settings of the environment
    fn command(&self) -> Command {
        let mut command = match self.descriptors {
            // This process has raised its own limit, which a child would inherit.
            Some(descriptors) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", r#"ulimit -Sn "$0" && exec "$@""#, &descriptors.to_string()]);
                shell.arg(&self.authd);
                shell
            }
            None => Command::new(&self.authd),
        };
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AUTHD_") {
                command.env_remove(name);
            }
        }
        command.kill_on_drop(true);
        command
    }

    fn running(&self) -> String {
        format!("running {}", self.authd.display())
    }
}

/// A running authd
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    child: Child,
    /// The other end of the pipe for the log, which is never read
    _unread: Option<ChildStderr>,
}

impl Server {
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn usage(&self) -> Usage {
        self.child.id().map_or_else(Usage::default, |id| Usage::of(&id.to_string()))
    }

    /// Stops the server by SIGTERM, or by SIGKILL after a minute
    ///
    /// Returns its last usage, how long it took, and how it ended.
    pub(super) async fn stop(mut self) -> Result<Stopped, StormError> {
        let usage = self.usage();
        let begun = Instant::now();
        let id = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(id) = id {
            // Fails if it has just ended, which the status shows.
            let _ = kill_process(id, Signal::TERM);
        }
        let ended = timeout(STOP, self.child.wait()).await;
        let status = match ended {
            Ok(status) => status.map_err(StormError::io("waiting for authd"))?,
            Err(_) => {
                self.child.kill().await.map_err(StormError::io("killing authd"))?;
                self.child.wait().await.map_err(StormError::io("waiting for authd"))?
            }
        };
        Ok(Stopped { usage, took: begun.elapsed(), status })
    }
}

/// The end of a server
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) usage: Usage,
    pub(super) took: Duration,
    pub(super) status: ExitStatus,
}

/// The binary to drive
pub(super) fn find(given: Option<&Path>) -> Result<PathBuf, StormError> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => beside().map_err(StormError::io("looking for authd"))?,
    };
    let build = if cfg!(debug_assertions) {
        "cargo build -p authd"
    } else {
        "cargo build --release -p authd"
    };
    if path.is_file() { Ok(path) } else { Err(StormError::NoBinary { path, build }) }
}

/// `authd` in the folder of this program, or above it if this program is a test in `deps`
fn beside() -> std::io::Result<PathBuf> {
    let mut folder = std::env::current_exe()?;
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    Ok(folder.join("authd"))
}

/// The status of the answer to a GET request
pub(super) async fn get(address: SocketAddr, path: &str) -> Result<u16, Outcome> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut stream = http1::connect(OBSERVER, address).await?;
    Ok(http1::exchange(&mut stream, request.as_bytes()).await?.status)
}

/// The end of a log
fn tail(log: &Path) -> String {
    let read = File::open(log).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    });
    read.unwrap_or_else(|_| "(the log was not kept)".to_owned())
}

/// Where questions about health come from: not an address on which a server listens, whose port
/// one of them could take
pub(super) const OBSERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// How long a server may take to be ready
const START: Duration = Duration::from_secs(60);
/// How long a server may take to stop
const STOP: Duration = Duration::from_secs(60);
/// In bytes
const TAIL: u64 = 2_000;
