use app_authz::credential::{SessionDenial, UserStatus};
use http::StatusCode;

use super::rejection::several_users;
use super::{NotRefreshed, chain, quote};
use crate::port_error::ErasedPortError;
use crate::reply::{Problem, Reply};
use crate::request_facts::{RequestFacts, log_request};

/// Why a request of a user or a proxy is not answered as asked
#[derive(Debug)]
pub(crate) enum AccessError {
    /// App access is not configured
    Off,
    /// The request carries no session, or one that is not good
    SignedOut(Option<SessionDenial>),
    /// The request carries no proxy's token, or one that is not good
    NotProxy,
    /// The store fails
    Store(ErasedPortError),
    /// The session depends on a provider's token that could not be refreshed
    NotRefreshed(NotRefreshed),
    /// App access failed: most likely the keys cannot be fetched
    Internal(app_authz::Error),
    /// The system has no random bytes
    NoRandomness,
    /// Only a trusted proxy may ask this
    UntrustedPeer,
    /// A page of another origin asks for a change
    ForeignOrigin,
    /// A parameter or field is not usable
    Invalid { message: &'static str, detail: String },
    /// It does not exist, or not for this caller
    NotFound,
    /// The caller may not do this
    Forbidden,
    /// The database refuses rows that contradict each other or existing ones
    Contradiction(String),
    /// The tables belong to a control plane, and the import would change these of its rows
    ControlPlane(String),
}

impl AccessError {
    /// The store fails
    pub(crate) fn store(error: impl Into<ErasedPortError>) -> Self {
        Self::Store(error.into())
    }

    /// A parameter or field is not usable
    pub(crate) fn invalid(message: &'static str, detail: impl Into<String>) -> Self {
        Self::Invalid { message, detail: detail.into() }
    }

    /// Whether signing in again does not help a client whose session is denied
    pub(crate) const fn is_final(denial: Option<SessionDenial>) -> bool {
        match denial {
            Some(denial) => denial.is_final(),
            None => false,
        }
    }

    /// What the client and the log are to see
    pub(crate) fn problem(&self) -> Problem<'_> {
        match self {
            Self::Off => Problem::new(
                StatusCode::NOT_FOUND,
                "app_access_off",
                "App access is not configured.",
                "Set `--access-url` to turn it on.",
            ),
            Self::SignedOut(denial) => signed_out(*denial),
            Self::NotProxy => Problem::new(
                StatusCode::UNAUTHORIZED,
                "no_proxy",
                "Missing or invalid proxy token.",
                "Send the proxy's token as `Coder-External-Proxy-Token`.",
            )
            .challenge(),
            Self::Store(error) => {
                let mut problem = Problem::internal("store_failed", INTERNAL).cause(chain(error));
                if error.is_unavailable() {
                    problem.status = StatusCode::SERVICE_UNAVAILABLE;
                }
                problem
            }
            Self::NotRefreshed(error) => {
                let mut problem =
                    Problem::internal("provider_unavailable", INTERNAL).cause(error.to_string());
                problem.status = StatusCode::SERVICE_UNAVAILABLE;
                problem
            }
            Self::Internal(error @ app_authz::Error::KeysUnavailable(_)) => {
                let mut problem =
                    Problem::internal("keys_unavailable", INTERNAL).cause(chain(error));
                problem.status = StatusCode::SERVICE_UNAVAILABLE;
                problem
            }
            Self::Internal(error) => Problem::internal("internal", INTERNAL).cause(chain(error)),
            Self::NoRandomness => Problem::internal("no_randomness", INTERNAL),
            Self::UntrustedPeer => Problem::new(
                StatusCode::FORBIDDEN,
                "untrusted_peer",
                "Only a trusted proxy may ask this.",
                "The address this came from is in none of `--proxy-trusted-origins`.",
            ),
            Self::ForeignOrigin => Problem::new(
                StatusCode::FORBIDDEN,
                "foreign_origin",
                "Forbidden.",
                "The request comes from a page of another origin.",
            ),
            Self::Invalid { message, detail } => {
                Problem::new(StatusCode::BAD_REQUEST, "invalid", *message, &**detail)
            }
            Self::NotFound => Problem::new(
                StatusCode::NOT_FOUND,
                "not_found",
                "Resource not found or you do not have access to this resource",
                "It may exist for somebody else.",
            ),
            Self::Forbidden => Problem::new(
                StatusCode::FORBIDDEN,
                "forbidden",
                "Forbidden.",
                "You do not have permission to do this.",
            ),
            Self::Contradiction(reason) => Problem::new(
                StatusCode::CONFLICT,
                "contradiction",
                "The database refuses the rows.",
                &**reason,
            ),
            Self::ControlPlane(changes) => Problem::new(
                StatusCode::FORBIDDEN,
                "control_plane",
                "The tables are a control plane's.",
                format!(
                    "This would change {changes}. Start authd with `--into-control-plane` to let it."
                ),
            ),
        }
    }

    /// The reply to a visitor of an app's host
    pub(crate) fn reply(&self, facts: &RequestFacts, is_of_person: bool) -> Reply {
        let problem = self.problem();
        let (class, detail) = (problem.class, problem.log_detail());
        log_request!(error, facts, class, detail, "visit failed");
        if is_of_person { Reply::page(problem) } else { Reply::json(&problem) }
    }
}

/// The request carries no session, or one that `denial` keeps from being good
pub(super) fn signed_out(denial: Option<SessionDenial>) -> Problem<'static> {
    if denial == Some(SessionDenial::SeveralUsers) {
        return several_users().challenge();
    }
    let status = match denial {
        Some(denial) if denial.is_forbidden() => StatusCode::FORBIDDEN,
        _ => StatusCode::UNAUTHORIZED,
    };
    let message = match denial {
        Some(SessionDenial::Inactive(status)) => inactive_message(status.as_str()),
        _ => SIGNED_OUT.to_owned(),
    };
    let detail = match denial {
        None => {
            "Cookie or query parameter `coder_session_token`, or header `Coder-Session-Token`, \
             must be given."
        }
        Some(SessionDenial::Expired) => "The session has expired.",
        Some(SessionDenial::Inactive(_)) => "The session itself is good.",
        Some(SessionDenial::NoLink | SessionDenial::LinkExpired) => {
            "The sign-in of your identity provider is no longer good. Sign in again."
        }
        Some(SessionDenial::WrongAudience) => "The session is for another server.",
        Some(_) => "The session token is not valid.",
    };
    let problem = Problem::new(status, "signed_out", message, detail).challenge();
    let problem = match denial {
        Some(SessionDenial::Inactive(status)) => problem.words(inactive_words(status)),
        _ => problem,
    };
    match denial {
        Some(denial) => problem.cause(denial.to_string()),
        None => problem,
    }
}

/// The sentence for a user whose account is not active, as the control plane has it
pub(super) fn inactive_message(status: &str) -> String {
    format!(
        "User is not active (status = {}). Contact an admin to reactivate your account.",
        quote(status)
    )
}

/// The same as title and text of a page
pub(super) const fn inactive_words(status: UserStatus) -> (&'static str, &'static str) {
    match status {
        UserStatus::Dormant => (
            "Your account is dormant",
            "It has not been used for a long time. Ask an administrator to activate it again.",
        ),
        _ => ("Your account is suspended", "Ask an administrator to activate it again."),
    }
}

/// The sentence for a request without a session, as the control plane has it
pub(crate) const SIGNED_OUT: &str =
    "You are signed out or your session has expired. Please sign in again to continue.";

const INTERNAL: &str = "Internal server error.";
