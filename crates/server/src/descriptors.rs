use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::warn;

use crate::Limits;

impl Limits {
    /// The same limits, with no more connections than this process may open files
    ///
    /// First raises the soft limit of open files to the hard one: the usual 1,024 is for programs
    /// that use `select`. Logs a warning if the hard limit is too low.
    #[must_use]
    pub fn within_open_files(self) -> Self {
        let Some(files) = raise_open_files() else { return self };
        let room = usize::try_from(files).unwrap_or(usize::MAX).saturating_sub(OTHER_FILES).max(1);
        if room >= self.connections {
            return self;
        }
        warn!(
            max_connections = room,
            files, "fewer connections than configured: raise the limit of open files (LimitNOFILE)"
        );
        Self { connections: room, ..self }
    }
}

/// Returns how many files this process may open from now on; `None` if the number is not limited
fn raise_open_files() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        let _ = setrlimit(Resource::Nofile, limit);
    }
    getrlimit(Resource::Nofile).current
}

/// Files that are not connections of clients: of the database, the log, the listeners
const OTHER_FILES: usize = 128;
