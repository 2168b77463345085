use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A stream that fails once its peer has been silent for too long
///
/// hyper limits the time for the head of a request, but only once it knows the version of HTTP.
/// A peer that sends half a preface, or nothing, would keep its connection for ever. Each byte in
/// either direction restarts the time. A host that serves connections itself wraps each in one.
#[derive(Debug)]
pub struct IdleTimeout<T> {
    stream: T,
    limit: Duration,
    /// When the last byte was read or written
    active: Instant,
    /// At or before the end of the time: it is not reset for every byte, because that locks all
    /// timers
    deadline: Pin<Box<Sleep>>,
}

impl<T> IdleTimeout<T> {
    /// Fails once `stream` has been silent for `limit`
    pub fn new(stream: T, limit: Duration) -> Self {
        Self { stream, limit, active: Instant::now(), deadline: Box::pin(sleep(limit)) }
    }

    /// Returns `io`, or fails if it is pending and the time is over
    fn watch<R>(&mut self, cx: &mut Context<'_>, io: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if io.is_ready() {
            self.active = Instant::now();
            return io;
        }
        loop {
            ready!(self.deadline.as_mut().poll(cx));
            let end = self.active + self.limit;
            if Instant::now() >= end {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.deadline.as_mut().reset(end);
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for IdleTimeout<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.watch(cx, read)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for IdleTimeout<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test(start_paused = true)]
    async fn only_a_silent_peer_times_out() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut ours = IdleTimeout::new(ours, Duration::from_secs(10));
        let peer = tokio::spawn(async move {
            for _ in 0..5 {
                sleep(Duration::from_secs(9)).await;
                theirs.write_all(b"x").await.unwrap();
            }
            // Keeps its end open and sends no more.
            std::future::pending::<()>().await;
        });
        let mut byte = [0];
        for _ in 0..5 {
            ours.read_exact(&mut byte).await.unwrap();
        }
        let error = ours.read_exact(&mut byte).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        peer.abort();
    }
}
