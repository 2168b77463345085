//! Serving one connection, from its first byte to its end
//!
//! hyper keeps two buffers of 8 KiB for each connection. A connection that is not used for a moment is
//! taken back from it, and given to it again once bytes arrive: thousands of clients that keep their
//! connections then cost little.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::HttpService;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::answer::{Answer, BoxError};
use crate::connection::{Connection, End, MOMENT};
use crate::stream::{Observed, Stream};
use crate::tls::Tls;

/// What hyper calls for each request
pub(crate) trait Answers:
    HttpService<Incoming, ResBody = Answer, Error: Into<BoxError>, Future: Send + Unpin>
    + Clone
    + Send
    + Unpin
    + 'static
{
}

impl<S> Answers for S where
    S: HttpService<Incoming, ResBody = Answer, Error: Into<BoxError>, Future: Send + Unpin>
        + Clone
        + Send
        + Unpin
        + 'static
{
}

/// The version of HTTP that a client speaks
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http1,
    Http2,
}

/// Serves a connection until it ends
///
/// # Errors
///
/// Clients that hang up or do not speak HTTP are errors here, and not errors of the server.
pub(crate) async fn serve(
    mut stream: Stream,
    connection: &Arc<Connection>,
    service: impl Answers,
) -> Result<(), BoxError> {
    let mut begun = Bytes::new();
    loop {
        let version = match begun.is_empty() {
            // A request that has arrived is answered, also if the connection is to end now.
            true => tokio::select! {
                biased;
                first = first_bytes(&mut stream, connection) => match first? {
                    Some((version, bytes)) => {
                        begun = bytes;
                        Some(version)
                    }
                    None => None,
                },
                end = connection.ended() => {
                    if end == End::Finish {
                        // On the heap, so that a kept connection has no room for it.
                        Box::pin(shut_down(&mut stream)).await;
                    }
                    None
                }
            },
            // HTTP/2 is not taken back.
            false => Some(Version::Http1),
        };
        let Some(version) = version else { return Ok(()) };
        let io = Observed { stream, begun, connection: Arc::clone(connection) };
        match version {
            Version::Http2 => {
                connection.speaks_http2();
                return Box::pin(serve_http2(io, connection, service)).await;
            }
            Version::Http1 => {
                connection.served(true);
                let served = Box::pin(serve_http1(io, connection, service.clone())).await?;
                let Some(rest) = served else { return Ok(()) };
                (stream, begun) = rest;
                connection.served(false);
            }
        }
    }
}

/// Sets up TLS with a client; `None` if that takes too long, or room is needed for others
///
/// # Errors
///
/// Fails if the client hangs up, or does not speak TLS as this server does.
pub(crate) async fn secure(
    stream: Stream,
    tls: &Tls,
    connection: &Connection,
) -> io::Result<Option<Stream>> {
    let Stream::Tcp(stream) = stream else { return Ok(Some(stream)) };
    // A handshake has the time of a head, from the moment that the client connected.
    connection.bytes_wait();
    let secured = tokio::select! {
        secured = tls.accept(stream, connection.source) => secured.map(Some),
        _ = connection.ended() => Ok(None),
    };
    connection.head_ends();
    secured
}

/// Reads the first bytes, which say which version the client speaks; `None` if it hangs up
///
/// The preface of HTTP/2 begins with `PRI` (RFC 9113, section 3.4), and no method of HTTP/1.1 does.
/// Over TLS the client has chosen before.
async fn first_bytes(
    stream: &mut Stream,
    connection: &Connection,
) -> io::Result<Option<(Version, Bytes)>> {
    let chosen = stream.chose_http2();
    let (mut bytes, mut count) = ([0; PREFACE.len()], 0);
    loop {
        let read = stream.read(bytes.get_mut(count..).unwrap_or_default()).await?;
        if read == 0 {
            return Ok(None);
        }
        connection.bytes_read(read);
        count += read;
        let begun = bytes.get(..count).unwrap_or_default();
        let version = match chosen {
            Some(true) => Version::Http2,
            Some(false) => Version::Http1,
            None if begun == PREFACE => Version::Http2,
            None if !PREFACE.starts_with(begun) => Version::Http1,
            None => continue,
        };
        return Ok(Some((version, Bytes::copy_from_slice(begun))));
    }
}

const PREFACE: &[u8; 3] = b"PRI";

async fn serve_http2(
    io: Observed,
    connection: &Connection,
    service: impl Answers,
) -> Result<(), BoxError> {
    let serving = http2().serve_connection(TokioIo::new(io), service);
    let mut serving = pin!(serving);
    loop {
        tokio::select! {
            served = serving.as_mut() => return served.map_err(Into::into),
            end = connection.ended() => match end {
                End::Finish => serving.as_mut().graceful_shutdown(),
                End::Close => return Ok(()),
                End::Park => {}
            },
        }
    }
}

/// Returns the stream, and what was read from it, if the connection is to be kept without hyper
async fn serve_http1(
    io: Observed,
    connection: &Connection,
    service: impl Answers,
) -> Result<Option<(Stream, Bytes)>, BoxError> {
    let mut serving = http1().serve_connection(TokioIo::new(io), service);
    let mut answered = None;
    loop {
        let ended = tokio::select! {
            // As above. hyper returns after some requests, so that a client cannot put off the end.
            biased;
            served = std::future::poll_fn(|cx| serving.poll_without_shutdown(cx)) => Some(served),
            end = connection.ended() => match end {
                End::Close => return Ok(None),
                End::Finish => {
                    answered = None;
                    Pin::new(&mut serving).graceful_shutdown();
                    None
                }
                End::Park => {
                    answered = connection.answered();
                    if answered.is_some() {
                        Pin::new(&mut serving).graceful_shutdown();
                    }
                    None
                }
            },
        };
        let Some(served) = ended else { continue };
        let http1::Parts { io, read_buf, .. } = serving.into_parts();
        let mut stream = io.into_inner().stream;
        served?;
        // A request that arrived at this moment was answered with the end of the connection.
        if answered.is_some() && connection.answered() == answered {
            // What was read stands in a buffer of 8 KiB, which even an empty part would keep.
            return Ok(Some((stream, Bytes::copy_from_slice(&read_buf))));
        }
        shut_down(&mut stream).await;
        return Ok(None);
    }
}

/// Says to the client that nothing more is sent
async fn shut_down(stream: &mut Stream) {
    // Over TLS this is written, and the client may not read.
    let _ = timeout(MOMENT, stream.shutdown()).await;
}

/// The limits on what a client may send before a request is handled
///
/// The time for a head is not hyper's to limit: it would end kept connections, too.
fn http1() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.header_read_timeout(None).max_buf_size(HEAD_BYTES);
    http
}

fn http2() -> http2::Builder<TokioExecutor> {
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.max_concurrent_streams(128)
        .max_header_list_size(16 * 1024)
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(256 * 1024)
        .max_send_buf_size(64 * 1024);
    http
}

/// The size of a request's head over HTTP/1.1
///
/// Enough for the check of a request whose address and other headers have 64 KiB each, as proxies
/// admit them. An address alone can have 65,534 bytes, a limit of the `http` crate.
const HEAD_BYTES: usize = 160 * 1024;

#[cfg(test)]
mod tests;
