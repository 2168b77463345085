use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Error;

/// Since when the database cannot be connected to, as all connections of a store see it
///
/// A restart takes a second or two, and a failover some more. A caller who comes meanwhile waits
/// for the database, since a machine that is sent away comes back late. Once an outage has lasted
/// longer, callers get its error at once, and do not pile up.
#[derive(Debug, Default)]
pub(super) struct Outage {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Nothing is waited for before the first connection: a URL may be wrong
    was_connected: bool,
    since: Option<Instant>,
    /// Why the last attempt failed; `None` if it succeeded
    failure: Option<Error>,
}

impl Outage {
    /// Takes note of an attempt to connect, and returns whether to make another after [`PAUSE`]
    pub(super) fn is_waited_for<T>(&self, attempt: &Result<T, Error>) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failure = attempt.as_ref().err().cloned();
        match attempt {
            Ok(_) => {
                state.was_connected = true;
                state.since = None;
                false
            }
            Err(Error::Unavailable { .. }) if state.was_connected => {
                let since = *state.since.get_or_insert_with(Instant::now);
                since.elapsed() < RESTART
            }
            Err(_) => false,
        }
    }

    /// Why the last attempt to connect failed; `None` if it succeeded
    pub(super) fn failure(&self) -> Option<Error> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).failure.clone()
    }
}

/// How long a restart or a failover is waited for, less than a request may take
const RESTART: Duration = Duration::from_secs(4);

/// Time between two attempts while callers wait
pub(super) const PAUSE: Duration = Duration::from_millis(50);
