use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use crate::account::Account;
use crate::binaries::Binaries;
use crate::folder::temporary_folder;
use crate::postmaster::{self, Postmaster};
use crate::{Error, Settings, folder};

/// A private server for tests and demonstrations, which ends with its process
///
/// Its data is in a temporary folder and is not protected against a crash, which makes it fast, unless
/// [`Settings::durable`] is set.
/// Dropping this stops the server and removes the folder. The same happens when the process
/// exits without dropping it or is killed: a shell at the other end of a pipe then does both.
#[derive(Debug)]
pub struct Ephemeral {
    folder: PathBuf,
    superuser: String,
    /// The shell
    watch: Child,
    log: File,
}

impl Ephemeral {
    /// Creates and starts a server
    ///
    /// # Errors
    ///
    /// Fails if no server is installed, or if it does not become ready within a minute.
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
            .args(["-c", WATCH, "private-postgres"])
            .args([binaries.folder(), &folder])
            .arg(&settings.superuser)
            .arg(if settings.durable { "on" } else { "off" })
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(share()?)
            .stderr(share()?)
            .spawn()
            .map_err(Error::io("running", "sh".as_ref()))?;

        let superuser = settings.superuser.clone();
        let mut server = Self { folder, superuser, watch, log };
        server.run()?;
        Ok(server)
    }

    /// The URL of `database` for the superuser
    ///
    /// A new server has a database named `postgres`. Whether `database` exists is not checked.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        folder::url(&self.folder, database, &self.superuser)
    }

    /// Stops the server and keeps its data, as an outage would
    ///
    /// Returns after the server has ended.
    ///
    /// # Errors
    ///
    /// Fails if the server does not stop within a minute.
    pub fn pause(&mut self) -> Result<(), Error> {
        self.order("stop")?;
        let stopped = self.folder.join(STOPPED);
        postmaster::wait("stop", || Ok(stopped.exists().then_some(())))
    }

    /// Starts the server again after [`pause`](Self::pause), with the same URL
    ///
    /// # Errors
    ///
    /// Fails if the server does not become ready within a minute.
    pub fn resume(&mut self) -> Result<(), Error> {
        let _ = std::fs::remove_file(self.folder.join(STOPPED));
        self.run()
    }

    fn run(&mut self) -> Result<(), Error> {
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

/// A file that exists once the server has ended, for any reason
const STOPPED: &str = "stopped";

/// Runs the server, follows orders on standard input, and removes everything at its end
///
/// Standard input ends with this process, however that ends. Arguments: the folder of the
/// programs, the temporary folder, the superuser, whether commits are written to disk. The server is stopped through the process id
/// that it has written itself. The shell that runs it only waits, then creates `stopped`.
const WATCH: &str = r#"
cd "$2" || exit
"$1/initdb" --pgdata data --username "$3" --auth trust --encoding UTF8 --locale C \
    --no-sync --no-instructions </dev/null ||
    { : >stopped; cat >/dev/null; cd /; rm -rf "$2"; exit 1; }
signal() {
    [ -e stopped ] || kill "-$1" "$(head -n 1 data/postmaster.pid)" 2>/dev/null
}
stopped=yes
while read -r order; do
    case $order in
    start)
        {
            "$1/postgres" -D data -k "$2" -p 5432 -c listen_addresses= -c max_connections=300 \
                -c fsync="$4" -c synchronous_commit="$4" -c full_page_writes="$4" \
                -c autovacuum=off -c wal_level=minimal -c max_wal_senders=0 </dev/null
            : >stopped
        } &
        stopped=no ;;
    stop)
        signal INT ;;
    esac
done
while [ $stopped = no ] && [ ! -e stopped ]; do
    signal QUIT
    sleep 0.02
done
cd /
rm -rf "$2"
"#;
