//! Why a request about app access is not answered as asked

use app_authz::credential::SessionDenial;
use http::StatusCode;

use super::{SIGNED_OUT, chain};
use crate::apps::Told;
use crate::quote::quote;

/// Why a request about app access is not answered as asked
#[derive(Debug)]
pub(crate) enum AccessFailure {
    /// No access URL is configured
    Off,
    /// No session, or one that is no good
    SignedOut(Option<SessionDenial>),
    /// No proxy's token, or one that is no good
    NoProxy,
    /// The store cannot answer
    Store(store::Error),
    /// Something is not as it must be: most likely the keys cannot be fetched
    Internal(app_authz::Error),
    /// The system has no random bytes
    NoRandomness,
    /// Only a trusted proxy may ask this
    UntrustedPeer,
    /// A page of another origin asks for a change
    ForeignOrigin,
    /// A parameter or field is not usable
    Invalid { message: &'static str, detail: String },
    /// Nothing there, or nothing for this caller
    NotFound,
    /// The caller may not do this
    Forbidden,
    /// The database refuses rows that contradict each other or others
    Contradiction(String),
    /// The rows are a control plane's, and this is what would be changed of them
    ControlPlane(String),
}

impl AccessFailure {
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::SignedOut(Some(refusal)) if refusal.is_forbidden() => StatusCode::FORBIDDEN,
            Self::SignedOut(_) | Self::NoProxy => StatusCode::UNAUTHORIZED,
            Self::Store(error) if error.is_transient() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(app_authz::Error::KeysUnavailable(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Store(_) | Self::Internal(_) | Self::NoRandomness => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Self::UntrustedPeer | Self::ForeignOrigin | Self::Forbidden | Self::ControlPlane(_) => {
                StatusCode::FORBIDDEN
            }
            Self::Invalid { .. } => StatusCode::BAD_REQUEST,
            Self::Contradiction(_) => StatusCode::CONFLICT,
            Self::Off | Self::NotFound => StatusCode::NOT_FOUND,
        }
    }

    pub(super) const fn class(&self) -> &'static str {
        match self {
            Self::Off => "app_access_off",
            Self::SignedOut(_) => "signed_out",
            Self::NoProxy => "no_proxy",
            Self::Store(_) => "store_failed",
            Self::Internal(app_authz::Error::KeysUnavailable(_)) => "keys_unavailable",
            Self::Internal(_) => "internal",
            Self::NoRandomness => "no_randomness",
            Self::UntrustedPeer => "untrusted_peer",
            Self::ForeignOrigin => "foreign_origin",
            Self::Invalid { .. } => "invalid",
            Self::NotFound => "not_found",
            Self::Forbidden => "forbidden",
            Self::Contradiction(_) => "contradiction",
            Self::ControlPlane(_) => "control_plane",
        }
    }

    pub(super) fn log_detail(&self) -> String {
        match self {
            Self::Store(error) => chain(error),
            Self::Internal(error) => chain(error),
            Self::SignedOut(Some(refusal)) => refusal.to_string(),
            other => other.detail(),
        }
    }

    pub(super) fn message(&self) -> String {
        match self {
            Self::Off => "App access is not configured.",
            Self::SignedOut(Some(SessionDenial::Inactive(status))) => {
                return format!(
                    "User is not active (status = {}). Contact an admin to reactivate your account.",
                    quote(status.as_str())
                );
            }
            Self::SignedOut(_) => SIGNED_OUT,
            Self::NoProxy => "Missing or invalid proxy token.",
            Self::Store(_) | Self::Internal(_) | Self::NoRandomness => {
                "Internal server error."
            }
            Self::UntrustedPeer => "Only a trusted proxy may ask this.",
            Self::ForeignOrigin | Self::Forbidden => "Forbidden.",
            Self::Invalid { message, .. } => message,
            Self::Contradiction(_) => "The database refuses the rows.",
            Self::ControlPlane(_) => "The tables are a control plane's.",
            Self::NotFound => "Resource not found or you do not have access to this resource",
        }
        .to_owned()
    }

    pub(super) fn detail(&self) -> String {
        match self {
            Self::Off => "Set `--access-url` to turn it on.",
            Self::SignedOut(None) => {
                "Cookie or query parameter `coder_session_token`, or header `Coder-Session-Token`, \
                 must be given."
            }
            Self::SignedOut(Some(refusal)) => match refusal {
                SessionDenial::Expired => "The session has expired.",
                SessionDenial::Inactive(_) => "The session itself is good.",
                SessionDenial::NoLink | SessionDenial::LinkExpired => {
                    "The sign-in of your identity provider is no longer good. Sign in again."
                }
                SessionDenial::WrongAudience => "The session is for another server.",
                _ => "The session token is not valid.",
            },
            Self::NoProxy => "Send the proxy's token as `Coder-External-Proxy-Token`.",
            Self::Store(_) | Self::Internal(_) | Self::NoRandomness => {
                "The cause is in the server's log, under this answer's X-Request-Id."
            }
            Self::UntrustedPeer => {
                "The address this came from is in none of `--proxy-trusted-origins`."
            }
            Self::ForeignOrigin => "The request comes from a page of another origin.",
            Self::Invalid { detail, .. } | Self::Contradiction(detail) => return detail.clone(),
            Self::ControlPlane(changes) => {
                return format!(
                    "This would change {changes}. Start authd with `--into-control-plane` to let it."
                );
            }
            Self::NotFound => "It may exist for somebody else.",
            Self::Forbidden => "You do not have permission to do this.",
        }
        .to_owned()
    }

    /// What a visitor of an app host is told
    pub(crate) fn told(&self) -> Told {
        tracing::error!(class = self.class(), detail = self.log_detail(), "visit failed");
        Told::json(self.status(), &self.message(), &self.detail())
    }
}
