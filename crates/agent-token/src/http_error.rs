use std::error::Error as StdError;
use std::io;
use std::time::{Duration, SystemTime};

use chrono::DateTime;
use hyper::StatusCode;
use hyper::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use thiserror::Error;
use tokio_rustls::rustls::{self, CertificateError};

use crate::failure::Failure;
use crate::proxy::ProxyError;

/// Why a request got no complete answer
#[derive(Debug, Error)]
pub(crate) enum HttpError {
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
    Tls(Failure),
    #[error("the answer is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("no tunnel: it answered {status}")]
    Tunnel { status: StatusCode, retry_after: Option<HeaderValue> },
}

impl HttpError {
    /// Whether the host was not reached, so that another address may be
    pub(crate) const fn is_unreachable(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::SlowConnect(_))
    }

    /// Whether the host accepted the request and did not answer
    pub(crate) const fn is_silent(&self) -> bool {
        matches!(self, Self::Silent(_))
    }

    /// Converts the error into a failure of a request to `url`
    ///
    /// `now` is for a `Retry-After` that is a date.
    pub(crate) fn into_failure(self, url: &str, now: SystemTime) -> Failure {
        let message = format!("`{url}`: {}", chain(&self));
        match self.innermost() {
            Self::Tunnel { status, retry_after } if is_transient(*status) => {
                let mut headers = HeaderMap::new();
                headers.extend(retry_after.clone().map(|value| (RETRY_AFTER, value)));
                Failure::transient(message).retry_after(self::retry_after(&headers, now))
            }
            Self::Tunnel { status, .. } => {
                let hint = match *status {
                    StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                        ", the proxy requires a user and a password in its URL"
                    }
                    _ => "",
                };
                Failure::permanent(message).with(hint)
            }
            Self::Tls(failure) => Failure { message, kind: failure.kind },
            Self::NoTls | Self::ProxyUrl(_) | Self::Request => Failure::permanent(message),
            _ => Failure::transient(message),
        }
    }

    fn innermost(&self) -> &Self {
        match self {
            Self::Proxy { error, .. } => error.innermost(),
            own => own,
        }
    }

    /// Distinguishes a certificate that is not accepted from a peer that does not speak TLS
    pub(crate) fn from_handshake(error: io::Error) -> Self {
        let cause = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
        let failure = match cause {
            Some(rustls::Error::InvalidMessage(_)) => Failure::permanent(
                "the server there does not speak TLS; should its URL begin with http://?",
            ),
            Some(rustls::Error::InvalidCertificate(error)) => untrusted(error),
            Some(other) => Failure::transient(format!("no secure connection: {other}")),
            None => Failure::transient(format!("no secure connection: {error}")),
        };
        Self::Tls(failure)
    }
}

/// What is wrong with the server's certificate
fn untrusted(error: &CertificateError) -> Failure {
    let message = format!("its certificate is not accepted: {error}");
    match error {
        // `BadSignature` means that an authority has another key under the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            Failure::permanent(message)
                .with("; provide the site's own authority in a CA file or in `SSL_CERT_FILE`")
        }
        // A machine that has just booted may not know the time yet.
        CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. }
        | CertificateError::Expired
        | CertificateError::ExpiredContext { .. } => {
            Failure::transient(message).with("; is the clock of this machine right?")
        }
        _ => Failure::permanent(message),
    }
}

/// Whether a later request may get another status, whatever was requested
pub(crate) fn is_transient(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT
                | StatusCode::GONE
                | StatusCode::TOO_EARLY
                | StatusCode::TOO_MANY_REQUESTS
        )
}

/// How long the service asks to wait (RFC 9110, 10.2.3), at most a day
///
/// A date is compared with the service's own clock if the answer has its time, and with `now`
/// otherwise.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let its_now = headers.get(DATE).and_then(|date| http_date(date.to_str().ok()?));
            http_date(text)?.duration_since(its_now.unwrap_or(now)).unwrap_or_default()
        }
    };
    Some(asked.min(A_DAY))
}

/// Parses a date (RFC 9110, 5.6.7)
fn http_date(text: &str) -> Option<SystemTime> {
    DateTime::parse_from_rfc2822(text).ok().map(SystemTime::from)
}

/// An error with its causes, outermost first
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(&format!(": {cause_text}"));
        }
        next = cause.source();
    }
    text
}

const A_DAY: Duration = Duration::from_secs(24 * 3_600);

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;

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
}
