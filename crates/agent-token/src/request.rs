use std::pin::pin;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, LOCATION, PROXY_AUTHORIZATION, USER_AGENT,
};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::connect::{Connection, Connector, USER_AGENT_VALUE};
use crate::failure::Failure;
use crate::http_error::{HttpError, retry_after};
use crate::url::BaseUrl;

/// One HTTP request
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a Method,
    pub(crate) base: &'a BaseUrl,
    /// Path and query, with a leading slash
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(HeaderName, &'a str)],
    pub(crate) body: &'a Bytes,
}

/// A complete answer of any status
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// How long one request may take
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection is ready, TLS and proxy included
    pub connect: Duration,
    /// From then until the answer is complete
    pub answer: Duration,
}

impl Timeouts {
    /// Doubles both after every failure, up to 30 seconds and to what is `left` of the time for
    /// attempts
    ///
    /// A service that is slow while a whole site boots answers in the end; one that is silent
    /// must not take all the time.
    pub(crate) fn after(self, failures: u32, left: Option<Duration>) -> Self {
        let factor = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
        let grown = |own: Duration| {
            let least = own.min(SHORTEST);
            let most = left.map_or(LONGEST, |left| left.clamp(least, LONGEST));
            own.saturating_mul(factor).min(most)
        };
        Self { connect: grown(self.connect), answer: grown(self.answer) }
    }
}

impl Request<'_> {
    /// Sends the request once, on a connection of its own, and does not follow redirects
    ///
    /// # Errors
    ///
    /// If the answer is not complete within the timeouts.
    pub(crate) async fn send(
        &self,
        connector: &Connector,
        timeouts: Timeouts,
    ) -> Result<Response, HttpError> {
        let connection = timeout(timeouts.connect, connector.connect(self.base))
            .await
            .map_err(|_| HttpError::SlowConnect(timeouts.connect))??;
        timeout(timeouts.answer, self.exchange(connector, connection))
            .await
            .map_err(|_| HttpError::Silent(timeouts.answer))?
    }

    /// The requested URL, without the query
    pub(crate) fn url(&self) -> String {
        let path = self.path.split_once('?').map_or(self.path, |(path, _)| path);
        format!("{}{path}", self.base)
    }

    async fn exchange(
        &self,
        connector: &Connector,
        Connection { stream, absolute }: Connection,
    ) -> Result<Response, HttpError> {
        let path = self.base.join(self.path);
        let target =
            if absolute { format!("http://{}{path}", self.base.authority()) } else { path };
        let mut request = hyper::Request::builder()
            .method(self.method)
            .uri(target)
            .header(HOST, self.base.authority())
            .header(USER_AGENT, USER_AGENT_VALUE)
            .header(CONNECTION, "close");
        let proxy = connector.proxy.as_ref().filter(|_| absolute);
        if let Some(value) = proxy.and_then(|proxy| proxy.authorization()) {
            request = request.header(PROXY_AUTHORIZATION, value);
        }
        for (name, value) in self.headers {
            request = request.header(name, *value);
        }
        let request = request.body(Full::new(self.body.clone())).map_err(|_| HttpError::Request)?;
        let handshake =
            http1::Builder::new().max_buf_size(LARGEST_HEAD).handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(HttpError::Broken)?;
        let response = async move {
            let response = sender.send_request(request).await.map_err(HttpError::Broken)?;
            let (head, body) = response.into_parts();
            let body =
                Limited::new(body, LARGEST_BODY).collect().await.map_err(|error| match error
                    .downcast::<hyper::Error>(
                ) {
                    Ok(error) => HttpError::Broken(*error),
                    Err(error) => {
                        debug_assert!(error.is::<LengthLimitError>());
                        HttpError::TooLarge { limit: LARGEST_BODY }
                    }
                })?;
            Ok(Response { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        // Not spawned: dropping this future then closes the socket.
        match select(pin!(response), pin!(connection)).await {
            Either::Left((response, _)) => response,
            Either::Right((_, response)) => response.await,
        }
    }
}

/// Converts an answer with a status other than 200 into a failure
///
/// The caller says whether the status is transient, because 404 has another meaning for the
/// metadata service than for the control plane.
pub(crate) fn unexpected_status(
    response: &Response,
    url: &str,
    is_transient: bool,
    now: SystemTime,
) -> Failure {
    let status = response.status;
    let message = format!("`{url}` answered {status}");
    let target = response.headers.get(LOCATION).filter(|_| status.is_redirection());
    if let Some(target) = target {
        let target = String::from_utf8_lossy(target.as_bytes());
        return Failure::permanent(format!(
            "{message}: it redirects to `{}`, which is not followed",
            excerpt(&target)
        ));
    }
    match is_transient {
        true => Failure::transient(message).retry_after(retry_after(&response.headers, now)),
        false => Failure::permanent(message),
    }
}

/// The beginning of a text from elsewhere, escaped so that it can be printed
pub(crate) fn excerpt(text: &str) -> String {
    // `floor_char_boundary` needs Rust 1.91.
    let end = (0..=text.len().min(200)).rev().find(|end| text.is_char_boundary(*end));
    let end = end.unwrap_or_default();
    let dots = if end < text.len() { "…" } else { "" };
    format!("{}{dots}", text.get(..end).unwrap_or_default().escape_debug())
}

const LONGEST: Duration = Duration::from_secs(30);
const SHORTEST: Duration = Duration::from_secs(2);

/// A proof has about four thousand bytes, and a session token a hundred
const LARGEST_BODY: usize = 1 << 20;
const LARGEST_HEAD: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_grow_and_fit_into_the_time_that_is_left() {
        let own = Timeouts { connect: Duration::from_secs(2), answer: Duration::from_secs(5) };
        let seconds = |failures, left: Option<u64>| {
            let Timeouts { connect, answer } = own.after(failures, left.map(Duration::from_secs));
            (connect.as_secs(), answer.as_secs())
        };
        assert_eq!(seconds(0, None), (2, 5));
        assert_eq!(seconds(1, None), (4, 10));
        assert_eq!(seconds(9, None), (30, 30));
        assert_eq!(seconds(99, None), (30, 30));
        assert_eq!(seconds(9, Some(12)), (12, 12));
        assert_eq!(seconds(0, Some(0)), (2, 2));
    }
}
