//! Errors, and the one place where each becomes a status, a class and a message
//!
//! Each crate has its own error type and knows nothing of HTTP. A client gets deliberately less
//! than the log: a stable sentence and class, never fetched content, a token, a document or an
//! allow list. Three words have one meaning each: a *denial* is a decision of a library, a
//! [`Rejection`] is an answer instead of the app, and an *error* is everything else that keeps a
//! request from being answered as asked.

mod access;
mod answer;
mod not_json;
mod not_refreshed;
mod quote;
mod rejection;
mod sign_in;

use std::error::Error as StdError;

use http::StatusCode;
use http::header::{ALLOW, CONNECTION, HeaderValue, RETRY_AFTER};

pub(crate) use self::access::{AccessError, SIGNED_OUT};
pub use self::answer::Answer;
pub(crate) use self::not_json::NotJson;
pub(crate) use self::not_refreshed::NotRefreshed;
pub(crate) use self::quote::quote;
pub(crate) use self::rejection::Rejection;
pub(crate) use self::sign_in::{MachineFacts, SignInDenial, SignInError, StoredAs};
use crate::port_error::ErasedPortError;
use crate::reply::{Invalid, Problem, Response};
use crate::request_facts::{RequestFacts, log_request};

/// Why a request is not answered as asked
#[derive(Debug)]
pub(crate) enum Error {
    /// App access, or another request of a user or a proxy
    Access(AccessError),
    /// An agent's sign-in
    SignIn(SignInError),
    /// The body did not arrive in time
    BodyTimeout,
    /// The body is larger than `limit` bytes
    BodyTooLarge { limit: usize },
    /// The connection broke while the body was read
    BodyUnreadable(BoxError),
    /// The body is declared as something other than JSON
    UnsupportedMediaType,
    /// The body is not JSON of the expected shape
    NotJson(NotJson),
    /// Required fields are missing or empty
    Validation(Vec<Invalid>),
    /// The path exists, for other methods
    MethodNotAllowed { allowed: String },
    /// The path does not exist
    RouteNotFound,
    /// The answer was not ready in time
    DeadlineExceeded,
    /// The store does not answer, or cannot
    NotReady(ErasedPortError),
    /// App access has no keys to sign with
    NoKeys,
    /// No machine has to answer a nonce
    NoChallenge,
    /// A key to make a nonce with is missing
    NoNonces,
    /// The server is about to stop
    Stopping,
    /// The request would wait for its turn for too long; in seconds
    Overloaded { retry_after: u64 },
    /// Too many attempts of the same source have failed; in seconds
    TooManyFailures { retry_after: u64 },
    /// The OpenID provider does not answer, or not as it should
    ProviderUnavailable { cause: String },
    /// A handler panicked
    Panicked,
}

/// An error of a body or a store, with its original type erased
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

impl Error {
    /// What the client and the log are to see
    pub(crate) fn problem(&self) -> Problem<'_> {
        match self {
            Self::Access(error) => error.problem(),
            Self::SignIn(error) => error.problem(),
            Self::BodyTimeout => Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "body_timeout",
                "The request body did not arrive in time.",
                "Send the whole body within the request deadline.",
            )
            .header(CONNECTION, CLOSE),
            Self::BodyTooLarge { limit } => Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "The request body is too large.",
                format!("At most {limit} bytes are accepted."),
            )
            .header(CONNECTION, CLOSE),
            Self::BodyUnreadable(error) => Problem::new(
                StatusCode::BAD_REQUEST,
                "body_unreadable",
                "The request body could not be read.",
                "The connection broke before the body ended.",
            )
            .cause(chain(error.as_ref()))
            .header(CONNECTION, CLOSE),
            Self::UnsupportedMediaType => Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "Request body must be valid JSON.",
                "Send it as `Content-Type: application/json`.",
            ),
            Self::NotJson(error) => Problem::new(
                StatusCode::BAD_REQUEST,
                "not_json",
                "Request body must be valid JSON.",
                error.detail(),
            ),
            Self::Validation(fields) => {
                let names: Vec<_> = fields.iter().map(|invalid| invalid.field).collect();
                let detail = format!("required: {}", names.join(", "));
                Problem::new(StatusCode::BAD_REQUEST, "validation", "Validation failed.", detail)
                    .invalid(fields)
            }
            Self::MethodNotAllowed { allowed } => {
                let problem = Problem::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "method_not_allowed",
                    "Method not allowed.",
                    format!("Allowed here: {allowed}."),
                );
                match HeaderValue::from_str(allowed) {
                    Ok(allowed) => problem.header(ALLOW, allowed),
                    Err(_) => problem,
                }
            }
            Self::RouteNotFound => Problem::new(
                StatusCode::NOT_FOUND,
                "route_not_found",
                "Route not found.",
                "Nothing is served under this path.",
            ),
            Self::DeadlineExceeded => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "deadline_exceeded",
                "The request took too long.",
                TRY_AGAIN,
            ),
            Self::NotReady(error) => {
                let (message, detail) = match error.unfit() {
                    // The names of tables and columns are not secret, unlike those of hosts.
                    Some(unfit) => ("The tables do not fit.", unfit),
                    None => ("The database is not reachable.", TRY_AGAIN),
                };
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", message, detail)
                    .cause(chain(error))
            }
            Self::NoKeys => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "no_keys",
                "The keys of app access are missing.",
                "They are made, or fetched, again in a moment. The log has the reason.",
            ),
            Self::NoChallenge => Problem::new(
                StatusCode::NOT_FOUND,
                "no_challenge",
                "No nonce is demanded.",
                "Sign in with a proof that has none.",
            ),
            Self::NoNonces => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "no_nonces",
                "The keys of nonces are not available.",
                "They are made, or fetched, again in a moment. The log has the reason.",
            ),
            Self::Stopping => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "stopping",
                "The server is about to stop.",
                "Send requests to another replica.",
            ),
            Self::Overloaded { retry_after } => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "The server is busy.",
                TRY_AGAIN,
            )
            .header(RETRY_AFTER, (*retry_after).into()),
            Self::TooManyFailures { retry_after } => Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_failures",
                "Too many attempts from this address have failed.",
                "Try again in a minute.",
            )
            .header(RETRY_AFTER, (*retry_after).into()),
            Self::ProviderUnavailable { cause } => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "provider_unavailable",
                "The identity provider does not answer as it should.",
                TRY_AGAIN,
            )
            .cause(cause.clone()),
            Self::Panicked => Problem::internal("panicked", "Internal server error."),
        }
    }

    /// Whether any client can cause it, at any rate it likes, while the server works
    pub(crate) const fn is_of_clients(&self) -> bool {
        matches!(self, Self::SignIn(SignInError::InvalidIdentity { .. }))
    }

    /// Whether it is logged elsewhere, and not for each request
    pub(crate) const fn is_summed(&self) -> bool {
        matches!(self, Self::Overloaded { .. } | Self::TooManyFailures { .. } | Self::Stopping)
    }

    /// What the log says about the machine that the error concerns, if it concerns one
    pub(crate) fn machine(&self) -> Option<MachineFacts<'_>> {
        match self {
            Self::SignIn(error) => error.machine(),
            _ => None,
        }
    }

    /// Writes one line to the log, as an error only if the server is at fault
    pub(crate) fn log(&self, facts: &RequestFacts) {
        let problem = self.problem();
        let (class, status, detail) =
            (problem.class, problem.status.as_u16(), problem.log_detail());
        let machine = self.machine();
        let is_warning = machine.is_some() || status == 401;
        // `tracing` leaves out fields without a value.
        let MachineFacts {
            instance_id,
            instance_id_unverified,
            cloud,
            verified,
            setting,
            value,
            claims,
        } = machine.unwrap_or_default();
        let (value, claims) = (value.as_deref(), claims.as_deref());
        macro_rules! write_line {
            ($level:ident, $message:tt) => {
                log_request!(
                    $level,
                    facts,
                    status,
                    class,
                    instance_id,
                    instance_id_unverified,
                    cloud,
                    verified,
                    setting,
                    value,
                    claims,
                    detail,
                    $message
                )
            };
        }
        if problem.status.is_server_error() && !self.is_of_clients() {
            write_line!(error, "request failed");
        } else if is_warning || problem.status.is_server_error() {
            write_line!(warn, "request refused");
        } else {
            write_line!(info, "request refused");
        }
    }

    /// Whether the client has no session that is good, and a new one may be
    pub(crate) const fn is_signed_out(&self) -> bool {
        matches!(self, Self::Access(AccessError::SignedOut(denial)) if !AccessError::is_final(*denial))
    }

    /// The answer to a program
    pub(crate) fn into_response(self) -> Response {
        self.problem().into_response()
    }
}

impl From<AccessError> for Error {
    fn from(error: AccessError) -> Self {
        Self::Access(error)
    }
}

impl From<SignInError> for Error {
    fn from(error: SignInError) -> Self {
        Self::SignIn(error)
    }
}

/// The text of an error and of its causes, outermost first
///
/// A cause that the text before it already has is not repeated.
pub fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// The rest of a body that was not read makes the connection useless
const CLOSE: HeaderValue = HeaderValue::from_static("close");

const TRY_AGAIN: &str = "Try again in a moment.";
