use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::Error;
use crate::folder::SOCKET;

/// What a server writes about itself in `postmaster.pid`
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Postmaster {
    pub(crate) pid: Pid,
    pub(crate) socket_folder: PathBuf,
    ready: bool,
}

impl Postmaster {
    /// The server that runs, or ran, in `data`
    ///
    /// Also returns `None` while the file is being written.
    pub(crate) fn of(data: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(data.join(FILE)).ok()?)
    }

    /// Lines: process, data folder, start time, port, socket folder, address,
    /// shared memory, status
    fn parse(file: &str) -> Option<Self> {
        let lines: Vec<&str> = file.lines().map(str::trim).collect();
        Some(Self {
            // Negative while `initdb` runs a server for itself alone.
            pid: lines.first()?.parse().ok().filter(|pid| *pid > 0).and_then(Pid::from_raw)?,
            socket_folder: PathBuf::from(lines.get(4)?),
            ready: lines.get(7).is_some_and(|status| *status == "ready"),
        })
    }

    /// Whether the server accepts connections
    ///
    /// The file survives a crash, and another program may have its process id since, so the
    /// socket is tried too.
    pub(crate) fn serves(&self) -> bool {
        self.ready && UnixStream::connect(self.socket_folder.join(SOCKET)).is_ok()
    }

    /// Whether a process with the server's id exists
    pub(crate) fn is_alive(&self) -> bool {
        test_kill_process(self.pid) != Err(rustix::io::Errno::SRCH)
    }

    /// Whether the process with the server's id is another program than PostgreSQL
    ///
    /// Returns `false` where the system does not say.
    pub(crate) fn is_another_program(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/comm", self.pid.as_raw_nonzero()))
            .is_ok_and(|name| name.trim() != "postgres")
    }

    /// Asks the server to end all sessions and stop
    pub(crate) fn interrupt(&self) {
        // Fails if the server has just stopped, which is fine.
        let _ = kill_process(self.pid, Signal::INT);
    }

    /// Asks the server to stop at once; the next start recovers
    pub(crate) fn quit(&self) {
        let _ = kill_process(self.pid, Signal::QUIT);
    }
}

/// Waits until `done` returns a value, at most [`TIMEOUT`]
pub(crate) fn wait<T>(
    verb: &'static str,
    mut done: impl FnMut() -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(value) = done()? {
            return Ok(value);
        }
        if Instant::now() > deadline {
            return Err(Error::TimedOut { verb, after: TIMEOUT });
        }
        thread::sleep(POLL);
    }
}

/// The failure of a server or of `initdb` that wrote `log`
pub(crate) fn failed(log: &mut File) -> Error {
    let end = log.seek(SeekFrom::End(0)).unwrap_or_default();
    let mut bytes = Vec::new();
    let read = log
        .seek(SeekFrom::Start(end.saturating_sub(LOG_TAIL)))
        .and_then(|_| log.read_to_end(&mut bytes));
    let log = match read {
        Ok(_) => String::from_utf8_lossy(&bytes).trim().to_owned(),
        Err(error) => format!("(its log cannot be read: {error})"),
    };
    Error::Failed { log }
}

pub(crate) const FILE: &str = "postmaster.pid";
/// How long a server may take to stop, or to start, which may include recovery
const TIMEOUT: Duration = Duration::from_secs(60);
/// How often a file that the server writes is read
const POLL: Duration = Duration::from_millis(5);
/// In bytes
const LOG_TAIL: u64 = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_file_with_a_process_is_a_server() {
        let file = "4711\n/data\n1700000000\n5432\n/run\n\n  11 22\nready   \n";
        let server = Postmaster::parse(file).unwrap();
        assert_eq!(server.pid.as_raw_nonzero().get(), 4711);
        assert_eq!(server.socket_folder, Path::new("/run"));
        assert!(server.ready);

        let starting = file.replace("ready   ", "starting");
        assert!(!Postmaster::parse(&starting).unwrap().ready);
        for pid in ["0", "-4711", "x", ""] {
            let alone = file.replacen("4711", pid, 1);
            assert_eq!(Postmaster::parse(&alone), None, "{pid:?}");
        }
        for broken in ["", "4711\n/data\n"] {
            assert_eq!(Postmaster::parse(broken), None, "{broken:?}");
        }
    }
}
