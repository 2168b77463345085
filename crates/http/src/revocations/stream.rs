//! Revocations as server-sent events (WHATWG HTML, section 9.2)

use std::convert::Infallible;
use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::time::{Instant, sleep_until};

use super::listener::{Received, RevocationListener};
use super::position::Position;

/// What a listener receives, as the client takes it
///
/// Ends if the client is too slow, after some minutes so that the client's right is checked again, and
/// when the server stops. The client goes on from the last id.
pub(crate) fn stream(
    listener: RevocationListener,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let now = Instant::now();
    let state = State { listener, head: true, beat: now + HEARTBEAT, end: now + LONGEST };
    unfold(state, |mut state| async move {
        let piece = state.piece().await?;
        Some((Ok(piece), state))
    })
}

struct State {
    listener: RevocationListener,
    /// Whether nothing was sent yet
    head: bool,
    beat: Instant,
    end: Instant,
}

impl State {
    async fn piece(&mut self) -> Option<Bytes> {
        if std::mem::take(&mut self.head) {
            return Some(head(self.listener.began));
        }
        let piece = tokio::select! {
            biased;
            received = self.listener.receive() => match received {
                Received::Entry(entry) => {
                    let position = Position::of_entry(entry.id, entry.at);
                    let data = serde_json::to_string(&entry.revocation).unwrap_or_default();
                    event("revoked", position, &data)
                }
                Received::Reset(position) => event("reset", position, "{}"),
                Received::Lagged | Received::Stopped => return None,
            },
            () = sleep_until(self.end) => return None,
            () = sleep_until(self.beat) => heartbeat(self.listener.position()),
        };
        self.beat = Instant::now() + HEARTBEAT;
        Some(piece)
    }
}

/// The first piece, which has a position unless the client has one
fn head(began: Option<Position>) -> Bytes {
    let mut text = format!("retry: {}\n", RETRY.as_millis());
    end_with_position(&mut text, began)
}

/// A comment that shows that the connection works, with the position that is reached
///
/// An id without data is remembered, and not an event.
fn heartbeat(position: Option<Position>) -> Bytes {
    end_with_position(&mut ":\n".to_owned(), position)
}

fn end_with_position(text: &mut String, position: Option<Position>) -> Bytes {
    if let Some(position) = position {
        // Writing to a string does not fail.
        let _ = writeln!(text, "id: {position}");
    }
    text.push('\n');
    std::mem::take(text).into()
}

fn event(name: &str, position: Position, data: &str) -> Bytes {
    format!("event: {name}\nid: {position}\ndata: {data}\n\n").into()
}

/// How long after a piece there is another one
const HEARTBEAT: Duration = Duration::from_secs(10);

/// How long a client is listened to without checking again who it is
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// How long a client waits before it connects again
const RETRY: Duration = Duration::from_secs(1);
