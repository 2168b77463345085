//! Why a visit to an app does not get through, and what its visitor is told

use app_authz::Denial;
use app_authz::address::HttpUrl;
use app_authz::app::{AgentStatus, Reason, ResolveError};
use app_authz::credential::UserStatus;
use http::StatusCode;
use tracing::{debug, error};
use uuid::Uuid;

use super::{Body, chain};
use crate::apps::{Preflight, Told};
use crate::pages::Page;
use crate::quote::quote;

/// Why a visit does not get through
#[derive(Debug)]
pub(crate) enum Refused {
    /// The request is not sound in itself: a server wrote it
    InvalidRequest(app_authz::Error),
    /// The directory cannot be asked
    Directory(store::Error),
    /// Whoever asks has a good session and may not be here
    Inactive(UserStatus),
    /// The request leads nowhere
    Unresolved(ResolveError),
    /// Somebody is signed in and may not open it
    Denied(Denial),
    /// Nobody is signed in, and a terminal's connection cannot be sent to sign in
    TerminalSignIn,
    /// Nobody is signed in: this is where to do it
    SignIn(HttpUrl),
    /// Nobody is signed in, and there is no address to come back to
    NoWayBack(app_authz::Error),
    /// Nobody is signed in, and the path asked for climbs out of the app
    UnsafePath,
    /// The agent is not there
    AgentNotConnected(AgentStatus),
    /// The permit could not be signed
    Unsigned(app_authz::Error),
    /// It could not be recorded, and must be
    Unrecorded,
    /// The handler panicked
    Panicked,
    /// As many visits as allowed are being decided
    Overloaded,

    /// Neither host nor path names an app
    NoApp,
    /// A label of an app host that names no app
    MalformedHost(String),
    /// `@me`, which is somebody else for everybody
    Me,
    /// Apps are not reached by path here
    PathAppsDisabled,
    /// A port that no app can be on
    ReservedPort,
    /// A sealed session on the dashboard's own host, which needs none
    SealOnDashboard,
    /// A sealed session that cannot be opened
    BadSeal,
    /// The keys to open it with cannot be fetched
    SealKeys(app_authz::Error),
    /// It is a browser's question whether a page may ask, and that is answered
    Preflight(Preflight),
    /// It may go on, and nothing here can carry it there
    NoCarrier,
    /// It went on, and the proxy could not reach the app
    Unreachable,
}

impl Refused {
    /// The status; of a visitor to be sent to sign in, only a browser is
    pub(crate) const fn status(&self, html: bool) -> StatusCode {
        match self {
            Self::Preflight(_) => StatusCode::NO_CONTENT,
            Self::SignIn(_) if html => StatusCode::SEE_OTHER,
            Self::SignIn(_) | Self::Inactive(_) => StatusCode::UNAUTHORIZED,
            Self::Unresolved(ResolveError::Stopped)
            | Self::MalformedHost(_)
            | Self::ReservedPort
            | Self::SealOnDashboard
            | Self::UnsafePath
            | Self::BadSeal => StatusCode::BAD_REQUEST,
            Self::Unresolved(unresolved) if unresolved.is_not_found() => StatusCode::NOT_FOUND,
            Self::Denied(_) | Self::TerminalSignIn | Self::NoApp | Self::Me => {
                StatusCode::NOT_FOUND
            }
            Self::PathAppsDisabled => StatusCode::FORBIDDEN,
            Self::AgentNotConnected(_) | Self::NoCarrier | Self::Unreachable => {
                StatusCode::BAD_GATEWAY
            }
            Self::Directory(error) if error.is_transient() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unsigned(app_authz::Error::KeysUnavailable(_))
            | Self::SealKeys(_)
            | Self::Unrecorded
            | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::InvalidRequest(_)
            | Self::Directory(_)
            | Self::Unresolved(_)
            | Self::NoWayBack(_)
            | Self::Unsigned(_)
            | Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A stable word, for metrics, the log and the audit
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::Directory(_) => "lookup_failed",
            Self::Inactive(UserStatus::Dormant) => "user_dormant",
            Self::Inactive(_) => "user_suspended",
            Self::Unresolved(unresolved) => match unresolved {
                ResolveError::NoWorkspace => "no_workspace",
                ResolveError::NotOwner => "not_owner",
                ResolveError::Stopped => "workspace_stopped",
                ResolveError::NoAgent => "no_agent",
                ResolveError::PortByPath => "port_by_path",
                ResolveError::AgentNeeded => "agent_needed",
                ResolveError::NoApp => "no_app",
                _ => "no_app_url",
            },
            Self::Denied(denial) => denial.reason().as_str(),
            Self::TerminalSignIn | Self::SignIn(_) => Reason::NotSignedIn.as_str(),
            Self::NoWayBack(_) => "no_way_back",
            Self::UnsafePath => "unsafe_path",
            Self::AgentNotConnected(_) => "agent_not_connected",
            Self::Unsigned(_) => "unsigned",
            Self::Unrecorded => "unrecorded",
            Self::Panicked => "panicked",
            Self::Overloaded => "overloaded",
            Self::NoApp => "not_an_app",
            Self::MalformedHost(_) => "malformed_host",
            Self::Me => "me",
            Self::PathAppsDisabled => "path_apps_disabled",
            Self::ReservedPort => "reserved_port",
            Self::SealOnDashboard => "seal_on_dashboard",
            Self::BadSeal => "bad_seal",
            Self::SealKeys(_) => "keys_unavailable",
            Self::Preflight(_) => "preflight",
            Self::NoCarrier => "no_carrier",
            Self::Unreachable => "unreachable",
        }
    }

    /// What the log says beyond the reason, if anything
    pub(crate) fn log_detail(&self) -> Option<String> {
        match self {
            Self::Directory(error) => Some(chain(error)),
            Self::InvalidRequest(error)
            | Self::NoWayBack(error)
            | Self::Unsigned(error)
            | Self::SealKeys(error) => Some(chain(error)),
            Self::AgentNotConnected(status) => Some(status.to_string()),
            Self::Unresolved(unresolved) => Some(unresolved.to_string()),
            _ => None,
        }
    }

    /// Leaves one line in the log
    pub(crate) fn log(&self, request_id: Uuid) {
        let (reason, detail) = (self.reason(), self.log_detail());
        if self.status(true).is_server_error() {
            error!(%request_id, reason, detail, "visit failed");
        } else {
            debug!(%request_id, reason, detail, "visit refused");
        }
    }

    /// What the visitor is told: a page or an address, or the same as JSON
    ///
    /// The control plane's clients know some of these answers as JSON, whatever they
    /// accept.
    pub(crate) fn told(self, html: bool) -> Told {
        let status = self.status(html);
        let page = match self {
            Self::Preflight(preflight) => return Told::preflight(status, preflight),
            Self::SignIn(address) if html => return Told::redirect(status, address.to_string()),
            Self::SignIn(_) => {
                return Told::json(status, SIGNED_OUT, "Send a session token to open the app.");
            }
            Self::Inactive(user) => {
                let message = format!(
                    "User is not active (status = {}). Contact an admin to reactivate your account.",
                    quote(user.as_str())
                );
                return Told::json(status, &message, "The session itself is good.");
            }
            Self::TerminalSignIn => {
                let message = "Resource not found or you do not have access to this resource";
                return Told::json(status, message, "Nobody is signed in.");
            }
            Self::ReservedPort => {
                let message = "Port is invalid. Coder reserves ports less than 9.";
                return Told::json(status, message, "Choose another port for the app.");
            }
            other => other.page(status),
        };
        if html { Told::page(page) } else { Told::json(status, &page.title, &page.text) }
    }

    fn page(self, status: StatusCode) -> Page {
        let page = |title: &str, text: &str| Page {
            status: status.as_u16(),
            title: title.to_owned(),
            text: text.to_owned(),
            warnings: Vec::new(),
            retry: false,
        };
        match self {
            Self::Denied(denial) => Page {
                warnings: denial.warnings().iter().map(ToString::to_string).collect(),
                ..page(NOT_FOUND, NOT_FOUND_TEXT)
            },
            Self::Unresolved(ResolveError::Stopped) => page(
                "Workspace Offline",
                "Last workspace transition was to the state \"stop\", not \"start\". Start the \
                 workspace to open its apps.",
            ),
            Self::Unresolved(unresolved) if unresolved.is_not_found() => {
                page(NOT_FOUND, NOT_FOUND_TEXT)
            }
            Self::NoApp => page(NOT_FOUND, "This address leads to no app."),
            Self::Me => {
                page(NOT_FOUND, "Applications must be accessed with the full username, not @me.")
            }
            Self::MalformedHost(label) => page(
                "Invalid Application URL",
                &format!(
                    "Could not parse subdomain application URL {}: it is neither of the form \
                     app--workspace--user nor of the form port--agent--workspace--user.",
                    quote(&label)
                ),
            ),
            Self::PathAppsDisabled => page(
                "Forbidden",
                "Path-based applications are disabled on this deployment by its administrator.",
            ),
            Self::SealOnDashboard => page(
                "Bad Request",
                "This address carries a session for an app's own host, and this is not one.",
            ),
            Self::UnsafePath => page(
                "Bad Request",
                "The path leads out of the app. Open the app from the dashboard.",
            ),
            Self::BadSeal => page(
                "Bad Request",
                "The session in this address cannot be read or is no longer good. Open the app \
                 again.",
            ),
            Self::AgentNotConnected(agent) => Page {
                retry: true,
                ..page(
                    "Application Unavailable",
                    &format!("Agent state is \"{agent}\", not \"connected\"."),
                )
            },
            Self::NoCarrier => page(
                "Application Unavailable",
                "You may open this app, but no proxy carries this address to it. An administrator \
                 has to put one in front.",
            ),
            Self::Unreachable => Page {
                retry: true,
                ..page(
                    "Application Unavailable",
                    "You may open this app, but it does not answer. It may still be starting, or \
                     have stopped.",
                )
            },
            Self::Unrecorded => Page {
                retry: true,
                ..page("Try Again", "The visit could not be recorded, and has to be.")
            },
            _ if matches!(status, StatusCode::SERVICE_UNAVAILABLE) => {
                Page { retry: true, ..page("Try Again", "The server cannot answer at the moment.") }
            }
            _ => page(
                "Internal Server Error",
                "The cause is in the server's log, under this answer's X-Request-Id.",
            ),
        }
    }
}

impl Told {
    pub(crate) fn json(status: StatusCode, message: &str, detail: &str) -> Self {
        let body =
            Body { message: message.to_owned(), detail: detail.to_owned(), validations: &[] };
        Self::of_json(status, serde_json::to_value(body).unwrap_or_default())
    }
}

/// What whoever lacks a session is told, as the control plane tells it
pub(crate) const SIGNED_OUT: &str =
    "You are signed out or your session has expired. Please sign in again to continue.";

const NOT_FOUND: &str = "Application Not Found";
const NOT_FOUND_TEXT: &str = "The application or workspace you are trying to access does not exist or you do not have \
     permission to access it.";
