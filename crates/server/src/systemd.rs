//! Being run by systemd: sockets that it listens on, and what it wants to know
//!
//! Without systemd, nothing here has an effect. See `sd_listen_fds(3)` and `sd_notify(3)`.

use std::io;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc::{Sender, channel};
use tracing::debug;

use crate::Listener;

/// The TCP and Unix sockets that systemd listens on for this process
///
/// Connections wait in them while the process is restarted. Call it once, before threads are
/// started that read the environment.
///
/// # Errors
///
/// Fails if a socket that was passed is neither a TCP nor a Unix stream socket that listens.
pub fn sockets() -> io::Result<Vec<Listener>> {
    let mut passed = ListenFd::from_env();
    let mut listeners = Vec::new();
    for n in 0..passed.len() {
        // What is not a Unix socket stays in its place.
        if let Ok(Some(listener)) = passed.take_unix_listener(n) {
            listener.set_nonblocking(true)?;
            listeners.push(UnixListener::from_std(listener)?.into());
        } else if let Some(listener) = passed.take_tcp_listener(n)? {
            listener.set_nonblocking(true)?;
            listeners.push(TcpListener::from_std(listener)?.into());
        }
    }
    Ok(listeners)
}

/// Tells systemd how the process is
///
/// On a thread of its own, so that a supervisor that does not listen stops nothing. Once it listens
/// again, it is told what was not said yet: that the process is ready, that it is alive, and that
/// it stops.
#[derive(Clone, Debug)]
pub struct Notifier(Sender<NotifyState<'static>>);

impl Notifier {
    /// Starts the thread
    ///
    /// # Errors
    ///
    /// Fails if the system has no thread left.
    pub fn start() -> io::Result<Self> {
        let (sender, mut states) = channel(WAITING);
        std::thread::Builder::new().name("systemd".to_owned()).spawn(move || {
            while let Some(state) = states.blocking_recv() {
                if let Err(error) = sd_notify::notify(&[state]) {
                    debug!(%error, "systemd was not notified");
                }
            }
        })?;
        Ok(Self(sender))
    }

    /// Says that the process answers requests, and from then on regularly that it is alive
    ///
    /// The future ends only if systemd does not watch the process.
    pub async fn ready(&self) {
        self.say(NotifyState::Ready);
        let Some(every) = sd_notify::watchdog_enabled() else { return };
        loop {
            tokio::time::sleep((every / 3).max(Duration::from_millis(10))).await;
            // One that waits stands for those after it, and they leave the room to say that the
            // process stops.
            if self.0.capacity() == WAITING {
                self.say(NotifyState::Watchdog);
            }
        }
    }

    /// Says that the process is about to end
    pub fn stopping(&self) {
        self.say(NotifyState::Stopping);
    }

    fn say(&self, state: NotifyState<'static>) {
        // There is room for each state once.
        let _ = self.0.try_send(state);
    }
}

/// States that wait for systemd to listen: each of the three once
const WAITING: usize = 3;
