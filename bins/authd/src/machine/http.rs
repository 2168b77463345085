use std::error::Error as StdError;
use std::io;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use chrono::DateTime;
use futures_util::future::{Either, select};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{
    CONNECTION, DATE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, PROXY_AUTHORIZATION,
    RETRY_AFTER, USER_AGENT,
};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::time::timeout;
use tokio_rustls::rustls::{self, CertificateError};

use super::connect::{Connection, Connector};
use super::proxy::ProxyError;
use super::trouble::Trouble;
use super::url::BaseUrl;
use crate::client::Answer;
use authd_http::error_chain as chain;

/// One request
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) method: &'a Method,
    pub(super) base: &'a BaseUrl,
    /// With a slash in front, and with the query
    pub(super) path: &'a str,
    pub(super) headers: &'a [(HeaderName, &'a str)],
    pub(super) body: &'a Bytes,
}

/// How long one request may take
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection is ready, TLS and proxy included
    pub connect: Duration,
    /// From there until the whole answer is in
    pub answer: Duration,
}

impl Timeouts {
    /// Both doubled as often as attempts failed, and cut to what is `left` of the time for
    /// attempts
    ///
    /// A service that is slow while a whole site boots answers in the end; one that is
    /// silent must not take all the time there is.
    pub(super) fn after(self, failures: u32, left: Option<Duration>) -> Self {
        let factor = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
        let grown = |own: Duration| {
            let least = own.min(SHORTEST);
            let most = left.map_or(LONGEST, |left| left.clamp(least, LONGEST));
            own.saturating_mul(factor).min(most)
        };
        Self { connect: grown(self.connect), answer: grown(self.answer) }
    }
}

impl Question<'_> {
    /// Asks once, and takes an answer of any status
    ///
    /// A redirect is an answer too: it is not followed.
    ///
    /// # Errors
    ///
    /// If the answer is not complete within the timeouts.
    pub(super) async fn ask(
        &self,
        connector: &Connector,
        timeouts: Timeouts,
    ) -> Result<Answer, HttpError> {
        let connection = timeout(timeouts.connect, connector.connect(self.base))
            .await
            .map_err(|_| HttpError::SlowConnect(timeouts.connect))??;
        timeout(timeouts.answer, self.exchange(connector, connection))
            .await
            .map_err(|_| HttpError::Silent(timeouts.answer))?
    }

    /// The address that is asked, without the query
    pub(super) fn url(&self) -> String {
        let path = self.path.split_once('?').map_or(self.path, |(path, _)| path);
        format!("{}{path}", self.base)
    }

    async fn exchange(
        &self,
        connector: &Connector,
        Connection { stream, absolute }: Connection,
    ) -> Result<Answer, HttpError> {
        let path = self.base.join(self.path);
        let target =
            if absolute { format!("http://{}{path}", self.base.authority()) } else { path };
        let mut request = Request::builder()
            .method(self.method)
            .uri(target)
            .header(HOST, self.base.authority())
            .header(USER_AGENT, USER_AGENT_VALUE)
            .header(CONNECTION, "close");
        if absolute && let Some(value) = connector.proxy.as_ref().and_then(|p| p.authorization()) {
            request = request.header(PROXY_AUTHORIZATION, value);
        }
        for (name, value) in self.headers {
            request = request.header(name, *value);
        }
        let request = request.body(Full::new(self.body.clone())).map_err(|_| HttpError::Request)?;
        let handshake =
            http1::Builder::new().max_buf_size(LARGEST_HEAD).handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(HttpError::Broken)?;
        let answer = async move {
            let response = sender.send_request(request).await.map_err(HttpError::Broken)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, LARGEST_ANSWER).collect().await.map_err(|error| {
                match error.downcast::<hyper::Error>() {
                    Ok(error) => HttpError::Broken(*error),
                    Err(error) => {
                        debug_assert!(error.is::<LengthLimitError>());
                        HttpError::TooLarge
                    }
                }
            })?;
            Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        // Driven here and not on a task of its own, so that giving up closes the socket.
        match select(pin!(answer), pin!(connection)).await {
            Either::Left((answer, _)) => answer,
            Either::Right((_, answer)) => answer.await,
        }
    }
}

/// Why an answer is incomplete or missing
#[derive(Debug, Error)]
pub(super) enum HttpError {
    #[error("the answer broke off or is not HTTP")]
    Broken(#[source] hyper::Error),
    #[error("no connection")]
    Connect(#[source] Box<dyn StdError + Send + Sync>),
    #[error("TLS is not possible with this host")]
    NoTls,
    #[error("{proxy}")]
    Proxy {
        proxy: String,
        #[source]
        error: Box<Self>,
    },
    #[error(transparent)]
    ProxyUrl(ProxyError),
    #[error("the request cannot be sent")]
    Request,
    #[error("connected, but no answer within {} seconds", .0.as_secs_f32())]
    Silent(Duration),
    #[error("no connection within {} seconds", .0.as_secs_f32())]
    SlowConnect(Duration),
    #[error("{0}")]
    Tls(Trouble),
    #[error("the answer is larger than {LARGEST_ANSWER} bytes")]
    TooLarge,
    #[error("no tunnel: it answered {status}")]
    Tunnel { status: StatusCode, retry_after: Option<HeaderValue> },
}

impl HttpError {
    /// Whether the host was not even reached, so that another address may do
    pub(super) const fn is_unreached(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::SlowConnect(_))
    }

    /// Whether the host took the request and said nothing
    pub(super) const fn is_silent(&self) -> bool {
        matches!(self, Self::Silent(_))
    }

    /// What to say and do about it
    ///
    /// `now` is for a `Retry-After` that is a date.
    pub(super) fn into_trouble(self, url: &str, now: SystemTime) -> Trouble {
        let what = format!("`{url}`: {}", chain(&self));
        match self.innermost() {
            Self::Tunnel { status, retry_after } if is_passing(*status) => {
                let mut headers = HeaderMap::new();
                headers.extend(retry_after.clone().map(|value| (RETRY_AFTER, value)));
                Trouble::passing(what).not_before(self::retry_after(&headers, now))
            }
            Self::Tunnel { status, .. } => {
                let hint = match *status {
                    StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                        ", the proxy wants a user and a password in its URL"
                    }
                    _ => "",
                };
                Trouble::lasting(what).with(hint)
            }
            Self::Tls(trouble) => Trouble { what, cure: trouble.cure },
            Self::NoTls | Self::ProxyUrl(_) | Self::Request => Trouble::lasting(what),
            _ => Trouble::passing(what),
        }
    }

    fn innermost(&self) -> &Self {
        match self {
            Self::Proxy { error, .. } => error.innermost(),
            own => own,
        }
    }

    /// Tells what a certificate lacks from a peer that does not speak TLS
    pub(super) fn from_handshake(error: io::Error) -> Self {
        let cause = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
        let trouble = match cause {
            Some(rustls::Error::InvalidMessage(_)) => Trouble::lasting(
                "what listens there does not speak TLS; is its URL one of http://?",
            ),
            Some(rustls::Error::InvalidCertificate(error)) => untrusted(error),
            Some(other) => Trouble::passing(format!("no secure connection: {other}")),
            None => Trouble::passing(format!("no secure connection: {error}")),
        };
        Self::Tls(trouble)
    }
}

/// What is wrong with the server's certificate
fn untrusted(error: &CertificateError) -> Trouble {
    let what = format!("its certificate is not accepted: {error}");
    match error {
        // The latter of an authority that has another key under its old name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Trouble::lasting(what)
            .with("; name the site's own authority with `--ca-file` or `SSL_CERT_FILE`"),
        // A machine that has just booted may not know the time yet.
        CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. }
        | CertificateError::Expired
        | CertificateError::ExpiredContext { .. } => {
            Trouble::passing(what).with("; is the clock of this machine right?")
        }
        _ => Trouble::lasting(what),
    }
}

/// Whether a later attempt at any request may get another status
pub(super) fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT
                | StatusCode::GONE
                | StatusCode::TOO_EARLY
                | StatusCode::TOO_MANY_REQUESTS
        )
}

/// Trouble with an answer of another status than 200
///
/// Which statuses pass is the caller's question, because 404 means something else at
/// either service.
pub(super) fn unwanted(answer: &Answer, url: &str, passing: bool, now: SystemTime) -> Trouble {
    let status = answer.status;
    let what = format!("`{url}` answered {status}");
    if status.is_redirection()
        && let Some(target) = answer.headers.get(LOCATION)
    {
        let target = String::from_utf8_lossy(target.as_bytes());
        return Trouble::lasting(format!(
            "{what}: it redirects to `{}`, which is not followed",
            cut(&target)
        ));
    }
    match passing {
        true => Trouble::passing(what).not_before(retry_after(&answer.headers, now)),
        false => Trouble::lasting(what),
    }
}

/// How long the service asks to be left alone (RFC 9110, 10.2.3), at most a day
///
/// A date is held against the service's own clock where it tells the time.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let its_now = headers.get(DATE).and_then(|date| moment(date.to_str().ok()?));
            moment(text)?.duration_since(its_now.unwrap_or(now)).unwrap_or_default()
        }
    };
    Some(asked.min(A_DAY))
}

/// A date of HTTP (RFC 9110, 5.6.7)
fn moment(text: &str) -> Option<SystemTime> {
    DateTime::parse_from_rfc2822(text).ok().map(SystemTime::from)
}

/// The beginning of a text of others, as it may be printed
pub(super) fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(200);
    let dots = if end < text.len() { "…" } else { "" };
    format!("{}{dots}", text.get(..end).unwrap_or_default().escape_debug())
}

pub(super) const USER_AGENT_VALUE: &str = concat!("authd/", env!("CARGO_PKG_VERSION"));

const LONGEST: Duration = Duration::from_secs(30);
const SHORTEST: Duration = Duration::from_secs(2);
const A_DAY: Duration = Duration::from_hours(24);

/// A proof has some four thousand bytes, a session token a hundred
const LARGEST_ANSWER: usize = 1 << 20;
const LARGEST_HEAD: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = DateTime::parse_from_rfc3339("2026-11-21T00:00:00Z").unwrap().into();
        let asked = |pairs: &[(HeaderName, &'static str)]| {
            let pairs =
                pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
            retry_after(&HeaderMap::from_iter(pairs), now).map(|asked| asked.as_secs())
        };
        for (value, expected) in [
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("0", Some(0)),
            ("99999999999", Some(86_400)),
            ("Sat, 21 Nov 2026 00:00:30 GMT", Some(30)),
            ("Fri, 20 Nov 2026 00:00:30 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("1.5", None),
        ] {
            assert_eq!(asked(&[(RETRY_AFTER, value)]), expected, "{value}");
        }
        let by_its_clock = [
            (RETRY_AFTER, "Sat, 21 Nov 2026 00:00:30 GMT"),
            (DATE, "Sat, 21 Nov 2026 00:00:10 GMT"),
        ];
        assert_eq!(asked(&by_its_clock), Some(20));
        assert_eq!(asked(&[]), None);
    }

    #[test]
    fn timeouts_grow_and_fit_into_what_is_left() {
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
