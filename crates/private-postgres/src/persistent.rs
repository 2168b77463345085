use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::fs::{FlockOperation as Lock, flock};
use rustix::io::retry_on_intr;

use crate::account::Account;
use crate::binaries::Binaries;
use crate::folder::{fits_a_socket, temporary_folder};
use crate::postmaster::{self, Postmaster};
use crate::{Error, Settings, folder};

/// A private server that keeps its data from one start to the next
///
/// Several processes may share one: the first starts the server, the others join,
/// and the last to leave stops it. A process that is killed leaves its server
/// running, and the next one joins that.
#[derive(Debug)]
pub struct Persistent {
    data: PathBuf,
    socket_folder: PathBuf,
    superuser: String,
    /// Locked while the server is being started or stopped
    gate: File,
    /// Locked, shared, by every process that uses the server
    users: File,
    /// The server, if this process started it
    child: Option<Child>,
    /// Writes a new server's files to disk
    sync: Option<Child>,
    left: bool,
}

impl Persistent {
    /// Starts the server whose data is in `home`, or joins it if it runs
    ///
    /// `home` is created if it does not exist. It must be used for nothing else, and only the
    /// server's account may enter it: that of this process, or if it is root, `postgres` or
    /// `nobody`.
    ///
    /// # Errors
    ///
    /// Fails if no server of the right version is installed, if the folder cannot be used or
    /// holds other files, or if the server does not become ready within a minute.
    pub fn start(home: &Path, settings: &Settings) -> Result<Self, Error> {
        fs::create_dir_all(home).map_err(Error::io("creating", home))?;
        let home = &fs::canonicalize(home).map_err(Error::io("resolving", home))?;
        let data = home.join("data");
        if !data.exists() {
            refuse_foreign_files(home)?;
        }
        let gate = lock_file(home, "start.lock")?;
        let users = lock_file(home, "users.lock")?;
        lock(&gate, Lock::LockExclusive).map_err(Error::io("locking", home))?;

        let is_new = !data.exists();
        if is_new {
            create(home, &data, settings)?;
        }
        let (server, child) = match running(&data)? {
            Some(server) => (server, None),
            None => {
                let (server, child) = start(home, &data, settings)?;
                (server, Some(child))
            }
        };

        let sync = if is_new { Some(sync(home, &data, settings)?) } else { None };

        lock(&users, Lock::LockShared).map_err(Error::io("locking", home))?;
        lock(&gate, Lock::Unlock).map_err(Error::io("unlocking", home))?;
        let socket_folder = server.socket_folder;
        let superuser = settings.superuser.clone();
        Ok(Self { data, socket_folder, superuser, gate, users, child, sync, left: false })
    }

    /// Starts the server whose data is in `home`, or joins it if it runs, and creates nothing
    ///
    /// # Errors
    ///
    /// [`Error::NoData`] if `home` has no data; otherwise as [`start`](Self::start).
    pub fn start_existing(home: &Path, settings: &Settings) -> Result<Self, Error> {
        match Self::exists(home) {
            true => Self::start(home, settings),
            false => Err(Error::NoData { home: home.to_owned() }),
        }
    }

    /// Whether `home` holds the data of a server, as far as this process may look
    #[must_use]
    pub fn exists(home: &Path) -> bool {
        home.join("data").exists()
    }

    /// The URL of the database `postgres`, for the superuser
    #[must_use]
    pub fn url(&self) -> String {
        folder::url(&self.socket_folder, "postgres", &self.superuser)
    }

    /// Whether the server was started by another process
    #[must_use]
    pub fn was_joined(&self) -> bool {
        self.child.is_none()
    }

    /// Stops the server, unless another process uses it
    ///
    /// Open connections are closed. Dropping does the same, but reports no failures.
    ///
    /// # Errors
    ///
    /// Fails if the server does not stop within a minute.
    pub fn stop(mut self) -> Result<(), Error> {
        self.leave()
    }

    fn leave(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.left, true) {
            return Ok(());
        }
        if let Some(mut sync) = self.sync.take() {
            sync.wait().map_err(Error::io("waiting for", &self.data))?;
        }
        lock(&self.gate, Lock::LockExclusive).map_err(Error::io("locking", &self.data))?;
        lock(&self.users, Lock::Unlock).map_err(Error::io("unlocking", &self.data))?;
        let is_last = lock(&self.users, Lock::NonBlockingLockExclusive).is_ok();
        let result = if is_last { self.shut_down() } else { Ok(()) };
        lock(&self.gate, Lock::Unlock).map_err(Error::io("unlocking", &self.data))?;
        result
    }

    fn shut_down(&mut self) -> Result<(), Error> {
        let Some(server) = Postmaster::of(&self.data) else { return Ok(()) };
        if self.child.is_none() && !server.serves() {
            return Ok(());
        }
        server.interrupt();
        let stopped = postmaster::wait("stop", || {
            let stopped = match &mut self.child {
                // A child that has ended exists until it is waited for.
                Some(child) => {
                    child.try_wait().map_err(Error::io("waiting for", &self.data))?.is_some()
                }
                // A server that stops in order removes the file last.
                None => !server.is_alive() || !self.data.join(postmaster::FILE).exists(),
            };
            Ok(stopped.then_some(()))
        });
        if stopped.is_err() {
            server.quit();
        }
        if self.data.parent().is_some_and(|home| !self.socket_folder.starts_with(home)) {
            let _ = fs::remove_dir_all(&self.socket_folder);
        }
        stopped
    }
}

impl Drop for Persistent {
    fn drop(&mut self) {
        let _ = self.leave();
    }
}

/// Fails if `home` holds files that are not of a server, such as `/tmp` or a user's home does
///
/// Files that an earlier start left behind are accepted, and so is `lost+found` of a new file
/// system.
fn refuse_foreign_files(home: &Path) -> Result<(), Error> {
    const OURS: [&str; 8] =
        ["data", "data.new", "log", "log.1", "lost+found", "run", "start.lock", "users.lock"];
    for entry in fs::read_dir(home).map_err(Error::io("reading", home))? {
        let name = entry.map_err(Error::io("reading", home))?.file_name();
        if !OURS.iter().any(|ours| name == *ours) {
            return Err(Error::NotEmpty { path: home.to_owned() });
        }
    }
    Ok(())
}

fn lock_file(home: &Path, name: &str) -> Result<File, Error> {
    let path = home.join(name);
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(Error::io("opening", &path))
}

/// Locks or unlocks a file; `File::lock` needs Rust 1.89
fn lock(file: &File, operation: Lock) -> io::Result<()> {
    Ok(retry_on_intr(|| flock(file, operation))?)
}

/// Creates the data folder, in one step as seen by another process
fn create(home: &Path, data: &Path, settings: &Settings) -> Result<(), Error> {
    let binaries = Binaries::find(settings, None)?;
    let account = Account::for_new_data();
    account.reaches(data)?;
    close(home)?;
    account.own(home)?;

    // Remains of a process that was killed in the middle of this.
    let unfinished = home.join("data.new");
    let _ = fs::remove_dir_all(&unfinished);

    let mut log = log_file(home)?;
    let outcome = account
        .command(binaries.initdb())
        .args(["--username", &settings.superuser, "--auth", "trust", "--encoding", "UTF8"])
        .args(["--locale", "C", "--no-instructions", "--no-sync", "--pgdata"])
        .arg(&unfinished)
        .current_dir(home)
        .stdin(Stdio::null())
        .stdout(share(&log, home)?)
        .stderr(share(&log, home)?)
        .status()
        .map_err(Error::io("running", &binaries.initdb()))?;
    if !outcome.success() {
        return Err(postmaster::failed(&mut log));
    }
    fs::rename(&unfinished, data).map_err(Error::io("renaming", &unfinished))
}

/// Starts to write what `initdb` created to disk, which may take seconds
///
/// The caller need not wait: the server syncs what it writes itself, and until this is done
/// the database is almost empty.
fn sync(home: &Path, data: &Path, settings: &Settings) -> Result<Child, Error> {
    let binaries = find_binaries(data, settings)?;
    let log = log_file(home)?;
    Account::of_existing(data)?
        .command(binaries.initdb())
        .args(["--sync-only", "--pgdata"])
        .arg(data)
        .current_dir(home)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(share(&log, home)?)
        .stderr(share(&log, home)?)
        .spawn()
        .map_err(Error::io("running", &binaries.initdb()))
}

/// The server that serves from `data`, if one runs
///
/// Waits for a server that is starting or stopping: a killed process may have left it behind.
fn running(data: &Path) -> Result<Option<Postmaster>, Error> {
    postmaster::wait("start", || {
        let Some(server) = Postmaster::of(data) else { return Ok(Some(None)) };
        if server.serves() {
            return Ok(Some(Some(server)));
        }
        if !server.is_alive() {
            return Ok(Some(None));
        }
        if server.is_another_program() {
            // After a crash, another program was given the process id. The server would
            // take that program for a running server and refuse to start.
            let stale = data.join(postmaster::FILE);
            fs::remove_file(&stale).map_err(Error::io("removing", &stale))?;
            return Ok(Some(None));
        }
        Ok(None)
    })
}

fn start(home: &Path, data: &Path, settings: &Settings) -> Result<(Postmaster, Child), Error> {
    let account = Account::of_existing(data)?;
    account.reaches(data)?;
    let binaries = find_binaries(data, settings)?;
    let socket_folder = socket_folder(home, &account)?;
    let mut log = log_file(home)?;

    let mut child = account
        .command(binaries.postgres())
        .arg("-D")
        .arg(data)
        .arg("-k")
        .arg(&socket_folder)
        .args(["-p", "5432", "-c", "listen_addresses=", "-c"])
        .arg(format!("cluster_name={}", settings.superuser))
        .current_dir(home)
        // A ^C in the terminal must reach this process only, which stops the server last.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(share(&log, home)?)
        .stderr(share(&log, home)?)
        .spawn()
        .map_err(Error::io("running", &binaries.postgres()))?;

    let server = postmaster::wait("start", || {
        if child.try_wait().map_err(Error::io("waiting for", data))?.is_some() {
            return Err(postmaster::failed(&mut log));
        }
        Ok(Postmaster::of(data).filter(Postmaster::serves))
    });
    match server {
        Ok(server) => Ok((server, child)),
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

fn find_binaries(data: &Path, settings: &Settings) -> Result<Binaries, Error> {
    let version_file = data.join("PG_VERSION");
    let wanted = fs::read_to_string(&version_file).map_err(Error::io("reading", &version_file))?;
    let wanted = wanted.trim();
    Binaries::find(settings, Some(wanted)).map_err(|missing| match Binaries::find(settings, None) {
        Ok(_) => Error::DifferentVersion { data: data.to_owned(), wanted: wanted.to_owned() },
        Err(_) => missing,
    })
}

/// The folder of the socket: beside the data, or a temporary one if that path is too long
///
/// A process that joins reads it from `postmaster.pid`.
fn socket_folder(home: &Path, account: &Account) -> Result<PathBuf, Error> {
    let beside = home.join("run");
    if !fits_a_socket(&beside) {
        return temporary_folder(account);
    }
    fs::create_dir_all(&beside).map_err(Error::io("creating", &beside))?;
    close(&beside)?;
    account.own(&beside)?;
    Ok(beside)
}

fn close(folder: &Path) -> Result<(), Error> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
        .map_err(Error::io("closing", folder))
}

/// The log; the previous one is kept
fn log_file(home: &Path) -> Result<File, Error> {
    let path = home.join("log");
    if fs::metadata(&path).is_ok_and(|log| log.len() > MAX_LOG) {
        fs::rename(&path, home.join("log.1")).map_err(Error::io("renaming", &path))?;
    }
    File::options()
        .create(true)
        .append(true)
        .read(true)
        .open(&path)
        .map_err(Error::io("opening", &path))
}

fn share(log: &File, home: &Path) -> Result<File, Error> {
    log.try_clone().map_err(Error::io("opening the log in", home))
}

/// In bytes
const MAX_LOG: u64 = 1 << 20;
