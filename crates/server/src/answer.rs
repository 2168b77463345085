use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

use crate::connection::{Connection, InProgress};

/// The body of an answer, which counts as waiting until it was written to the socket
#[derive(Debug)]
pub(crate) struct Answer {
    first: Option<Waiting>,
    /// `None` if the first piece is the whole answer
    rest: Option<Rest>,
}

/// The bytes of an answer that its client has not taken
#[derive(Debug)]
pub(crate) struct Waiting {
    bytes: Bytes,
    connection: Arc<Connection>,
}

/// The pieces of an answer that are made while it is sent
struct Rest {
    pieces: UnsyncBoxBody<Bytes, BoxError>,
    connection: Arc<Connection>,
    /// Until the last piece, the connection is not idle
    _in_progress: InProgress,
}

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Answer {
    /// `in_progress` is dropped at once if the whole answer is there
    pub(crate) fn new<B>(body: B, connection: &Arc<Connection>, in_progress: InProgress) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let mut body = body;
        let mut first = None;
        // Without a known size it is made piece by piece, once the client has room.
        if body.size_hint().exact().is_some() {
            let cx = &mut Context::from_waker(Waker::noop());
            if let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(cx) {
                let bytes = frame.into_data().unwrap_or_default();
                first = (!bytes.is_empty()).then(|| Waiting::new(bytes, connection));
            }
        }
        let rest = (!body.is_end_stream()).then(|| Rest {
            pieces: body.map_err(Into::into).boxed_unsync(),
            connection: Arc::clone(connection),
            _in_progress: in_progress,
        });
        Self { first, rest }
    }
}

impl Waiting {
    fn new(bytes: Bytes, connection: &Arc<Connection>) -> Self {
        connection.answer_waits(bytes.len());
        Self { bytes, connection: Arc::clone(connection) }
    }
}

impl Body for Answer {
    type Data = Waiting;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Waiting>, BoxError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let Some(frame) = ready!(Pin::new(&mut rest.pieces).poll_frame(cx)) else {
            self.rest = None;
            return Poll::Ready(None);
        };
        let connection = &rest.connection;
        Poll::Ready(Some(
            frame.map(|frame| frame.map_data(|bytes| Waiting::new(bytes, connection))),
        ))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().map_or(0, Buf::remaining);
        let first = u64::try_from(first).unwrap_or(u64::MAX);
        let Some(rest) = &self.rest else { return SizeHint::with_exact(first) };
        let mut hint = rest.pieces.size_hint();
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(first));
        }
        hint.set_lower(hint.lower().saturating_add(first));
        hint
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest").finish_non_exhaustive()
    }
}

impl Buf for Waiting {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.connection.answer_taken(count);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.connection.answer_taken(self.bytes.remaining());
    }
}
