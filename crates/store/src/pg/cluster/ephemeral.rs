use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use super::account::Account;
use super::binaries::Binaries;
use super::postmaster::{self, Postmaster};
use super::{Error, SUPERUSER, Settings, temporary_folder};

/// A private server for tests and demonstrations, gone with its process
///
/// Its data is in a temporary folder and is not protected against a crash, which
/// makes it fast. Server and folder are removed when this is dropped, and as well
/// when the process exits without dropping it or is killed: a shell keeps watch
/// over both at the other end of a pipe.
#[derive(Debug)]
pub struct Ephemeral {
    folder: PathBuf,
    watch: Child,
    log: File,
}

impl Ephemeral {
    /// Makes and starts a server
    ///
    /// # Errors
    ///
    /// No server is installed, or it does not become ready.
    pub fn start(settings: &Settings) -> Result<Self, Error> {
        let binaries = Binaries::find(settings, None)?;
        let account = Account::for_new_data();
        let folder = temporary_folder(&account)?;
        let log_path = folder.join("log");
        let log = File::options()
            .create_new(true)
            .append(true)
            .read(true)
            .open(&log_path)
            .map_err(Error::io("creating", &log_path))?;
        let share = || log.try_clone().map_err(Error::io("opening", &log_path));

        let watch = account
            .command("sh")
            .args(["-c", WATCH, "authd-postgres"])
            .args([binaries.folder(), &folder])
            .arg(SUPERUSER)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(share()?)
            .stderr(share()?)
            .spawn()
            .map_err(Error::io("running", "sh".as_ref()))?;

        let mut server = Self { folder, watch, log };
        server.resume()?;
        Ok(server)
    }

    /// The URL of `database`; a new server has one named `postgres`
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        super::url(&self.folder, database)
    }

    /// Stops the server and keeps its data, as an outage would
    ///
    /// # Errors
    ///
    /// The server did not stop in time.
    pub fn pause(&mut self) -> Result<(), Error> {
        self.order("stop")?;
        let stopped = self.folder.join(STOPPED);
        postmaster::wait("stop", || Ok(stopped.exists().then_some(())))
    }

    /// Starts the server again after [`pause`](Self::pause)
    ///
    /// # Errors
    ///
    /// The server does not become ready.
    pub fn resume(&mut self) -> Result<(), Error> {
        let _ = std::fs::remove_file(self.folder.join(STOPPED));
        self.order("start")?;
        postmaster::wait("start", || {
            let watch_ended =
                self.watch.try_wait().map_err(Error::io("waiting for", &self.folder))?.is_some();
            if watch_ended || self.folder.join(STOPPED).exists() {
                return Err(postmaster::failed(&mut self.log));
            }
            let server = Postmaster::of(&self.folder.join("data"));
            Ok(server.is_some_and(|server| server.serves()).then_some(()))
        })
    }

    fn order(&mut self, order: &str) -> Result<(), Error> {
        let Some(pipe) = &mut self.watch.stdin else { return Ok(()) };
        // Written at once, so that the shell never reads half an order.
        let written = pipe.write_all(format!("{order}\n").as_bytes());
        match written {
            Err(_) if matches!(self.watch.try_wait(), Ok(Some(_))) => {
                Err(postmaster::failed(&mut self.log))
            }
            written => written.map_err(Error::io("commanding", &self.folder)),
        }
    }
}

impl Drop for Ephemeral {
    fn drop(&mut self) {
        drop(self.watch.stdin.take());
        let _ = self.watch.wait();
    }
}

/// Says that the server has ended, whether it was told to or failed
const STOPPED: &str = "stopped";

/// Runs the server, does as it is told on standard input, and when that ends,
/// however it ends, removes everything
///
/// Arguments: the folder of the programs, the temporary folder, the superuser. The
/// server is stopped by the process id it wrote down itself; its own shell only
/// waits for it to say `stopped`.
const WATCH: &str = r#"
cd "$2" || exit
"$1/initdb" --pgdata data --username "$3" --auth trust --encoding UTF8 --locale C \
    --no-sync --no-instructions </dev/null || { cat >/dev/null; cd /; rm -rf "$2"; exit 1; }
tell() {
    [ -e stopped ] || kill "-$1" "$(head -n 1 data/postmaster.pid)" 2>/dev/null
}
stopped=yes
while read -r order; do
    case $order in
    start)
        {
            "$1/postgres" -D data -k "$2" -p 5432 -c listen_addresses= -c max_connections=300 \
                -c fsync=off -c synchronous_commit=off -c full_page_writes=off \
                -c autovacuum=off -c wal_level=minimal -c max_wal_senders=0 </dev/null
            : >stopped
        } &
        stopped=no ;;
    stop)
        tell INT ;;
    esac
done
while [ $stopped = no ] && [ ! -e stopped ]; do
    tell QUIT
    sleep 0.02
done
cd /
rm -rf "$2"
"#;
