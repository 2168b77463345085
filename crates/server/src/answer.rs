use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use crate::connection::Connection;

/// The body of an answer, which counts as waiting until it was written to the socket
#[derive(Debug)]
pub(crate) struct Answer(Option<Waiting>);

/// The bytes of an answer that its client has not taken
#[derive(Debug)]
pub(crate) struct Waiting {
    bytes: Bytes,
    connection: Arc<Connection>,
}

impl Answer {
    pub(crate) fn new(body: Full<Bytes>, connection: &Arc<Connection>) -> Self {
        let mut body = body;
        let frame =
            Pin::new(&mut body).poll_frame(&mut Context::from_waker(std::task::Waker::noop()));
        let bytes = match frame {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            _ => Bytes::new(),
        };
        Self((!bytes.is_empty()).then(|| {
            connection.answer_waits(bytes.len());
            Waiting { bytes, connection: Arc::clone(connection) }
        }))
    }
}

impl Body for Answer {
    type Data = Waiting;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Waiting>, Infallible>>> {
        Poll::Ready(self.0.take().map(|waiting| Ok(Frame::data(waiting))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let bytes = self.0.as_ref().map_or(0, Buf::remaining);
        SizeHint::with_exact(u64::try_from(bytes).unwrap_or(u64::MAX))
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
