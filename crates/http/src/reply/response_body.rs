use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};

/// The body of an answer: in memory as a whole, or made piece by piece while it is sent
///
/// It fails if a piece could not be made. The client must then see that the answer is not complete,
/// so the connection has to be closed.
pub struct ResponseBody(Kind);

enum Kind {
    Whole(Full<Bytes>),
    Pieces(UnsyncBoxBody<Bytes, BoxError>),
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl ResponseBody {
    /// A body of another type, which is sent as it comes
    ///
    /// For hosts that answer some requests themselves.
    pub fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        Self(Kind::Pieces(body.map_err(Into::into).boxed_unsync()))
    }

    /// A body whose pieces are made when the client has room for them
    pub(crate) fn pieces<E: Into<BoxError>>(
        pieces: impl futures_util::Stream<Item = Result<Bytes, E>> + Send + 'static,
    ) -> Self {
        use futures_util::StreamExt;
        let frames = pieces.map(|piece| piece.map(Frame::data).map_err(Into::into));
        Self(Kind::Pieces(StreamBody::new(frames).boxed_unsync()))
    }
}

impl From<Bytes> for ResponseBody {
    fn from(bytes: Bytes) -> Self {
        Self(Kind::Whole(Full::new(bytes)))
    }
}

impl Default for ResponseBody {
    fn default() -> Self {
        Self(Kind::Whole(Full::default()))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Whole(whole) => Pin::new(whole).poll_frame(cx).map_err(|never| match never {}),
            Kind::Pieces(pieces) => Pin::new(pieces).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(whole) => whole.is_end_stream(),
            Kind::Pieces(pieces) => pieces.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(whole) => whole.size_hint(),
            Kind::Pieces(pieces) => pieces.size_hint(),
        }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("size", &self.size_hint()).finish_non_exhaustive()
    }
}
