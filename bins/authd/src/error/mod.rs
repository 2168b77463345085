//! The one place where errors become statuses
//!
//! Each crate has its own error type and knows nothing of HTTP. What a client is
//! told is deliberately less than what the log says: a stable sentence or class,
//! never a fetched byte, a token, a document or an allow list.

mod access;
mod identity;
mod not_json;
mod visit;

use std::error::Error as StdError;

use agent_auth::Denial as Refusal;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONNECTION, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use identity_verify::{Cloud, Reason, Rejection};
use serde::Serialize;

pub(crate) use self::access::AccessFailure;
pub(crate) use self::identity::{MachineFacts, RefusedInstance};
use self::identity::{invalid_identity_message, refusal_message};
pub(crate) use self::not_json::NotJson;
pub(crate) use self::visit::{Refused, SIGNED_OUT};

/// Why a request was not answered as asked
#[derive(Debug)]
pub(crate) enum Failure {
    /// A request about app access
    Access(AccessFailure),
    /// The body did not arrive in time
    BodyTimeout,
    /// The body is larger than `limit` bytes
    BodyTooLarge { limit: usize },
    /// The connection broke while the body was read
    BodyUnreadable(Box<dyn StdError + Send + Sync>),
    /// The answer was not ready in time
    DeadlineExceeded,
    /// A verified instance may not sign in
    InstanceRefused(Box<RefusedInstance>),
    /// A genuine proof, for an id that no instance of that cloud can have
    InstanceUnknown { instance_id: String, cloud: Cloud },
    /// The proof does not verify
    InvalidIdentity { cloud: Cloud, rejection: Box<Rejection> },
    /// The store could not say which agents an instance has
    LookupFailed(Box<dyn StdError + Send + Sync>),
    /// The store cannot answer at present which agents an instance has
    LookupUnavailable(Box<dyn StdError + Send + Sync>),
    /// A known path, another method
    MethodNotAllowed { allowed: &'static str },
    /// The body is not JSON of the expected shape
    NotJson(NotJson),
    /// The store does not answer
    NotReady(Box<dyn StdError + Send + Sync>),
    /// As many requests as allowed are being answered already
    Overloaded,
    /// A handler panicked
    Panicked,
    /// No route of ours
    RouteNotFound,
    /// The body is declared to be something else than JSON
    UnsupportedMediaType,
    /// Required fields are absent or empty
    Validation(Vec<Invalid>),
}

/// What the control plane's tables lack, if the store failed of that
fn unfit<'a>(error: &'a (dyn StdError + Send + Sync + 'static)) -> Option<&'a store::Unfit> {
    match error.downcast_ref() {
        Some(store::Error::Tables(unfit)) => Some(unfit),
        _ => None,
    }
}

/// A field that did not pass, and why
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Invalid {
    field: &'static str,
    detail: &'static str,
}

impl Invalid {
    pub(crate) const fn required(field: &'static str) -> Self {
        Self { field, detail: "This field is required and must not be empty." }
    }
}

/// The JSON of every refusal
#[derive(Serialize)]
struct Body<'a> {
    message: String,
    detail: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    validations: &'a [Invalid],
}

impl Failure {
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Access(failure) => failure.status(),
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyUnreadable(_) | Self::NotJson(_) | Self::Validation(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::DeadlineExceeded
            | Self::LookupUnavailable(_)
            | Self::NotReady(_)
            | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::InstanceRefused(refused) => match refused.refusal {
                Refusal::Stale => StatusCode::BAD_REQUEST,
                Refusal::NotFound | Refusal::NoAgentOfThatName => StatusCode::NOT_FOUND,
                // `Ambiguous`, `SharedByWorkspaces`, `TooMany`, and whatever comes
                // later: the instance is known, but not as one agent.
                _ => StatusCode::CONFLICT,
            },
            Self::InstanceUnknown { .. } | Self::RouteNotFound => StatusCode::NOT_FOUND,
            Self::InvalidIdentity { rejection, .. } => match rejection.reason() {
                Reason::MalformedClaims => StatusCode::BAD_REQUEST,
                // Not the machine's fault, and it should come again.
                Reason::KeysUnavailable => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::UNAUTHORIZED,
            },
            Self::LookupFailed(_) | Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }

    /// The label under which metrics and logs know the failure
    pub(crate) const fn class(&self) -> &'static str {
        match self {
            Self::Access(failure) => failure.class(),
            Self::BodyTimeout => "body_timeout",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::BodyUnreadable(_) => "body_unreadable",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::InstanceRefused(refused) => match refused.refusal {
                Refusal::Ambiguous { .. } => "ambiguous",
                Refusal::NoAgentOfThatName => "no_agent_of_that_name",
                Refusal::NotFound => "not_found",
                Refusal::SharedByWorkspaces => "shared_by_workspaces",
                Refusal::Stale => "stale",
                Refusal::TooMany => "too_many",
                _ => "refused",
            },
            Self::InstanceUnknown { .. } => "not_found",
            Self::InvalidIdentity { .. } => "invalid_identity",
            Self::LookupFailed(_) => "lookup_failed",
            Self::LookupUnavailable(_) => "lookup_unavailable",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::NotJson(_) => "not_json",
            Self::NotReady(_) => "not_ready",
            Self::Overloaded => "overloaded",
            Self::Panicked => "panicked",
            Self::RouteNotFound => "route_not_found",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::Validation(_) => "validation",
        }
    }

    /// What the log says beyond the class: for operators, never for clients
    ///
    /// Errors of `serde_json` quote the value they stumble over, which may be a
    /// signature, so only their kind and place are told.
    pub(crate) fn log_detail(&self) -> String {
        match self {
            Self::Access(failure) => failure.log_detail(),
            Self::BodyUnreadable(error)
            | Self::LookupFailed(error)
            | Self::LookupUnavailable(error)
            | Self::NotReady(error) => chain(error.as_ref()),
            Self::InstanceRefused(refused) => refused.log_detail(),
            Self::InvalidIdentity { rejection, .. } => chain(rejection.error()),
            other => other.detail(),
        }
    }

    /// The machine the failure is about, if it is about one
    pub(crate) fn machine(&self) -> Option<MachineFacts<'_>> {
        match self {
            Self::InstanceRefused(refused) => Some(refused.machine()),
            Self::InstanceUnknown { instance_id, cloud } => {
                Some(MachineFacts::verified(instance_id, *cloud))
            }
            Self::InvalidIdentity { cloud, rejection } => {
                Some(MachineFacts::of_rejection(rejection, *cloud))
            }
            _ => None,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Access(failure) => failure.message(),
            Self::BodyTimeout => "The request body did not arrive in time.".to_owned(),
            Self::BodyTooLarge { .. } => "The request body is too large.".to_owned(),
            Self::BodyUnreadable(_) => "The request body could not be read.".to_owned(),
            Self::DeadlineExceeded => "The request took too long.".to_owned(),
            Self::InstanceRefused(refused) => refused.message(),
            Self::InstanceUnknown { instance_id, .. } => {
                refusal_message(instance_id, None, &Refusal::NotFound)
            }
            Self::InvalidIdentity { cloud, rejection } => {
                invalid_identity_message(*cloud, rejection.reason()).to_owned()
            }
            Self::LookupFailed(_) | Self::LookupUnavailable(_) => {
                "Internal error fetching provisioner job agent.".to_owned()
            }
            Self::MethodNotAllowed { .. } => "Method not allowed.".to_owned(),
            Self::NotJson(_) => "Request body must be valid JSON.".to_owned(),
            Self::NotReady(error) if unfit(error.as_ref()).is_some() => {
                "The tables of the control plane do not fit.".to_owned()
            }
            Self::NotReady(_) => "The database is not reachable.".to_owned(),
            Self::Overloaded => "The server is busy.".to_owned(),
            Self::Panicked => "Internal server error.".to_owned(),
            Self::RouteNotFound => "Route not found.".to_owned(),
            Self::UnsupportedMediaType => "Request body must be valid JSON.".to_owned(),
            Self::Validation(_) => "Validation failed.".to_owned(),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Access(failure) => failure.detail(),
            Self::BodyTimeout => "Send the whole body within the request deadline.".to_owned(),
            Self::BodyTooLarge { limit } => format!("At most {limit} bytes are accepted."),
            Self::BodyUnreadable(_) => "The connection broke before the body ended.".to_owned(),
            // The names of tables and columns are not a secret, unlike those of hosts.
            Self::NotReady(error) => match unfit(error.as_ref()) {
                Some(unfit) => unfit.to_string(),
                None => "Try again in a moment.".to_owned(),
            },
            Self::DeadlineExceeded | Self::LookupUnavailable(_) | Self::Overloaded => {
                "Try again in a moment.".to_owned()
            }
            Self::InstanceRefused(refused) => refused.detail().to_owned(),
            Self::InstanceUnknown { .. } => {
                "The id is not one that this cloud gives to instances.".to_owned()
            }
            Self::InvalidIdentity { rejection, .. } => rejection.reason().to_string(),
            Self::LookupFailed(_) | Self::Panicked => {
                "The cause is in the server's log, under this answer's X-Request-Id.".to_owned()
            }
            Self::MethodNotAllowed { allowed } => format!("Allowed here: {allowed}."),
            Self::NotJson(error) => error.detail(),
            Self::RouteNotFound => "Nothing is served under this path.".to_owned(),
            Self::UnsupportedMediaType => "Send it as `Content-Type: application/json`.".to_owned(),
            Self::Validation(fields) => {
                let names: Vec<_> = fields.iter().map(|invalid| invalid.field).collect();
                format!("required: {}", names.join(", "))
            }
        }
    }

    /// The answer to the client
    pub(crate) fn into_response(self) -> Response<Full<Bytes>> {
        let validations: &[Invalid] = match &self {
            Self::Validation(fields) => fields,
            _ => &[],
        };
        let body = Body { message: self.message(), detail: self.detail(), validations };
        let mut response = crate::routes::json(self.status(), &body);
        let status = response.status();
        let headers = response.headers_mut();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        match self {
            Self::Access(AccessFailure::SignedOut(_) | AccessFailure::NoProxy) => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
            }
            Self::MethodNotAllowed { allowed } => {
                headers.insert(ALLOW, HeaderValue::from_static(allowed));
            }
            // Whatever is left of the body is not worth reading.
            Self::BodyTimeout | Self::BodyTooLarge { .. } | Self::BodyUnreadable(_) => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

impl From<AccessFailure> for Failure {
    fn from(failure: AccessFailure) -> Self {
        Self::Access(failure)
    }
}

/// How to be let in (RFC 6750, section 3)
pub(crate) const CHALLENGE: &str = "Bearer realm=\"coder\", error=\"invalid_token\"";

/// An error with its causes, outermost first
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
