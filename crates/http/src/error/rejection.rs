use app_authz::Denial;
use app_authz::address::HttpUrl;
use app_authz::app::{AgentStatus, Reason, ResolveError};
use app_authz::credential::UserStatus;
use http::StatusCode;

use super::access::{inactive_message, inactive_words};
use super::{NotRefreshed, SIGNED_OUT, chain, quote};
use crate::port_error::ErasedPortError;
use crate::purpose::Purpose;
use crate::reply::{Preflight, Problem, Reply};
use crate::request_facts::{RequestFacts, log_request};

/// An answer to a visit instead of the app
#[derive(Debug)]
pub(crate) enum Rejection {
    /// The request is malformed: another server wrote it
    InvalidRequest(app_authz::Error),
    /// The store fails
    Directory(ErasedPortError),
    /// The session depends on a provider's token that could not be refreshed
    NotRefreshed(NotRefreshed),
    /// The session is good, but its user's account is not active
    Inactive(UserStatus),
    /// The request does not lead to an app
    Unresolved(ResolveError),
    /// The visitor's own address leads to something that cannot be opened at it
    NotOpenable(ResolveError),
    /// The user is signed in and may not open the app
    Denied(Denial),
    /// The visitor has to sign in, and a terminal's connection cannot be redirected
    TerminalSignIn,
    /// The visitor has to sign in at this address
    SignIn(HttpUrl),
    /// The visitor has to sign in, and no address to return to is known
    NoReturn(app_authz::Error),
    /// The visitor has to sign in, and the requested path leads out of the app
    UnsafePath,
    /// The agent is not connected
    AgentNotConnected(AgentStatus),
    /// The permit could not be signed
    Unsigned(app_authz::Error),
    /// The visit could not be recorded, and must be
    Unrecorded,
    /// The handler panicked
    Panicked,
    /// The limit of visits that are decided at the same time is reached
    Overloaded,

    /// Neither host nor path names an app
    NoApp,
    /// A host of the app pattern whose label does not name an app
    MalformedHost(String),
    /// `@me` is relative to the caller, so it cannot name an app
    Me,
    /// Apps by path are disabled
    PathAppsDisabled,
    /// The visitor may open the agent's ports, and this is one that no app may use
    ReservedPort,
    /// A sealed session on the dashboard's own host, which needs none
    SealOnDashboard,
    /// A sealed session that cannot be opened
    BadSeal,
    /// The browser comes back from signing in without what it was given on the way
    LostSignIn,
    /// The browser sends sessions of different users, which other hosts may have set
    SeveralUsers,
    /// The keys of sealed sessions cannot be fetched
    SealKeys(app_authz::Error),
    /// A browser's preflight request, which the page may follow with the request itself
    Preflight(Preflight),
    /// The visitor may open the app, and the page that makes the request may not
    ForeignPage,
    /// The visit is allowed, but it was not made through a proxy that could carry it to the app
    NotProxied,
    /// The visit was allowed, and the proxy could not reach the app
    Unreachable,
    /// The visit was allowed, and the app's answer took longer than the proxy waits
    TimedOut,
}

impl Rejection {
    /// What the visitor and the log are to see
    pub(crate) fn problem(&self) -> Problem<'_> {
        match self {
            Self::InvalidRequest(error) => internal_page("invalid_request").cause(chain(error)),
            Self::Directory(error) if error.is_unavailable() => {
                try_again("lookup_failed", CANNOT_ANSWER).cause(chain(error))
            }
            Self::Directory(error) => internal_page("lookup_failed").cause(chain(error)),
            Self::NotRefreshed(error) => {
                try_again("provider_unavailable", CANNOT_ASK).cause(error.to_string())
            }
            Self::Inactive(user) => inactive(*user),
            Self::Unresolved(error) => unresolved(*error).cause(error.to_string()),
            Self::NotOpenable(error) => not_openable(*error).cause(error.to_string()),
            Self::Denied(denial) => denied(denial.reason()),
            Self::TerminalSignIn => not_found(
                Reason::NotSignedIn.as_str(),
                "Resource not found or you do not have access to this resource",
                "Nobody is signed in.",
            )
            .words(("You are signed out", "Sign in to the site to open terminals.")),
            Self::SignIn(_) => denied(Reason::NotSignedIn),
            Self::NoReturn(error) => internal_page("no_way_back").cause(chain(error)),
            Self::UnsafePath => bad_request(
                "unsafe_path",
                "The path leads out of the app. Open the app from the dashboard.",
            ),
            Self::AgentNotConnected(status) => agent_not_connected(*status),
            Self::Unsigned(error @ app_authz::Error::KeysUnavailable(_)) => {
                try_again("unsigned", CANNOT_ANSWER).cause(chain(error))
            }
            Self::Unsigned(error) => internal_page("unsigned").cause(chain(error)),
            Self::Unrecorded => {
                try_again("unrecorded", "The visit could not be recorded, and has to be.")
            }
            Self::Panicked => internal_page("panicked"),
            Self::Overloaded => try_again("overloaded", CANNOT_ANSWER),
            Self::NoApp => not_found("not_an_app", NOT_FOUND, "This address leads to no app."),
            Self::MalformedHost(label) => Problem::new(
                StatusCode::BAD_REQUEST,
                "malformed_host",
                "Invalid Application URL",
                format!(
                    "Could not parse subdomain application URL {}: it is neither of the form \
                     app--workspace--user nor of the form port--agent--workspace--user.",
                    quote(label)
                ),
            ),
            Self::Me => not_found(
                "me",
                NOT_FOUND,
                "Applications must be accessed with the full username, not @me.",
            ),
            Self::PathAppsDisabled => Problem::new(
                StatusCode::FORBIDDEN,
                "path_apps_disabled",
                "Forbidden",
                "Path-based applications are disabled on this deployment by its administrator.",
            ),
            Self::ReservedPort => denied(Reason::ReservedPort),
            Self::SealOnDashboard => bad_request(
                "seal_on_dashboard",
                "This address carries a session for an app's own host, and this is not one.",
            ),
            Self::BadSeal => bad_request(
                "bad_seal",
                "The session in this address cannot be read or is no longer good. Open the app \
                 again.",
            ),
            Self::LostSignIn => Problem::new(
                StatusCode::BAD_REQUEST,
                "lost_sign_in",
                "Sign-in Does Not Hold",
                "Your browser came back from signing in without the cookies that it was given. It \
                 may block the app's cookies, or follow a link that was made for another browser.",
            )
            .retry(),
            Self::SeveralUsers => several_users(),
            Self::SealKeys(error) => {
                try_again("keys_unavailable", CANNOT_ANSWER).cause(chain(error))
            }
            Self::Preflight(_) => Problem::new(StatusCode::NO_CONTENT, "preflight", "", ""),
            Self::ForeignPage => Problem::new(
                StatusCode::FORBIDDEN,
                "foreign_page",
                "Forbidden",
                "The request comes from a page of another site, or of an app of another owner.",
            ),
            Self::NotProxied => unavailable(
                "no_carrier",
                "You may open this app, but no proxy carries this address to it. An administrator \
                 has to put one in front.",
            ),
            Self::Unreachable => unavailable(
                "unreachable",
                "You may open this app, but it does not answer. It may still be starting, or \
                 have stopped.",
            )
            .retry(),
            Self::TimedOut => Problem::new(
                StatusCode::GATEWAY_TIMEOUT,
                "timed_out",
                "Application Too Slow",
                "You may open this app, but its answer took too long. It may be busy.",
            )
            .retry(),
        }
    }

    /// The status of the reply; only a person who navigates is redirected to sign in
    pub(crate) fn status(&self, purpose: Purpose) -> StatusCode {
        match self {
            Self::SignIn(_) if purpose == Purpose::Navigation => StatusCode::SEE_OTHER,
            other => other.problem().status,
        }
    }

    /// Writes one line to the log
    pub(crate) fn log(&self, facts: &RequestFacts) {
        let problem = self.problem();
        let (reason, detail) = (problem.class, problem.only_logged());
        if self.is_of_outsiders() {
            log_request!(warn, facts, reason, detail, "visit failed");
        } else if problem.status.is_server_error() {
            log_request!(error, facts, reason, detail, "visit failed");
        } else {
            log_request!(debug, facts, reason, detail, "visit refused");
        }
    }

    /// Whether visitors, or the authors of templates and proxies, cause it, and authd itself works
    const fn is_of_outsiders(&self) -> bool {
        matches!(self, Self::InvalidRequest(_) | Self::NotOpenable(_) | Self::Overloaded)
    }

    /// The reply to the visitor: a page, a redirect or JSON
    ///
    /// A person who navigates gets a page. The control plane's clients that say nothing else than
    /// that they accept everything expect some of these replies as JSON.
    pub(crate) fn into_reply(self, purpose: Purpose) -> Reply {
        let warnings = match &self {
            Self::Preflight(preflight) => return Reply::preflight(preflight.clone()),
            Self::SignIn(address) if purpose == Purpose::Navigation => {
                return Reply::redirect(StatusCode::SEE_OTHER, address.to_string());
            }
            Self::Denied(denial) => denial.warnings().iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        };
        let is_page = match self {
            Self::SignIn(_) => purpose == Purpose::Submission,
            Self::Inactive(_) | Self::TerminalSignIn | Self::ReservedPort => purpose.navigates(),
            _ => purpose.is_shown_pages(),
        };
        match is_page {
            true => Reply::page(self.problem()).with_warnings(warnings),
            false => Reply::json(&self.problem()),
        }
    }
}

impl From<Denial> for Rejection {
    fn from(denial: Denial) -> Self {
        match denial.reason() {
            Reason::ReservedPort => Self::ReservedPort,
            _ => Self::Denied(denial),
        }
    }
}

/// The answer to a visitor who may not open an app
pub(super) fn denied(reason: Reason) -> Problem<'static> {
    match reason {
        Reason::NotSignedIn => Problem::new(
            StatusCode::UNAUTHORIZED,
            reason.as_str(),
            SIGNED_OUT,
            "The app did not receive the request. Send it again with a session.",
        )
        .retry(),
        Reason::ReservedPort => Problem::new(
            StatusCode::BAD_REQUEST,
            reason.as_str(),
            "Port is invalid. Coder reserves ports less than 9.",
            "Choose another port for the app.",
        ),
        _ => not_found(reason.as_str(), NOT_FOUND, NOT_FOUND_TEXT),
    }
}

/// The answer to a visitor whose account is not active
pub(super) fn inactive(user: UserStatus) -> Problem<'static> {
    let class = match user {
        UserStatus::Dormant => "user_dormant",
        _ => "user_suspended",
    };
    let message = inactive_message(user.as_str());
    Problem::new(StatusCode::UNAUTHORIZED, class, message, "The session itself is good.")
        .words(inactive_words(user))
}

/// The answer to a visitor who may open an app, while its agent is not connected
pub(super) fn agent_not_connected(status: AgentStatus) -> Problem<'static> {
    let text = format!("Agent state is \"{status}\", not \"connected\".");
    unavailable("agent_not_connected", text)
        .cause(status.to_string())
        .words(agent_words(status))
        .retry()
}

const fn class_of(error: ResolveError) -> &'static str {
    match error {
        ResolveError::NoWorkspace => "no_workspace",
        ResolveError::NotOwner => "not_owner",
        ResolveError::Stopped => "workspace_stopped",
        ResolveError::NoAgent => "no_agent",
        ResolveError::PortByPath => "port_by_path",
        ResolveError::AgentNeeded => "agent_needed",
        ResolveError::NoApp => "no_app",
        ResolveError::InvalidUrl => "invalid_app_url",
        _ => "no_app_url",
    }
}

/// The answer to a visitor whose address leads to a workspace, and there to no app that is served
///
/// Never an internal error: what a visitor writes does not break the server.
pub(super) fn not_openable(error: ResolveError) -> Problem<'static> {
    let class = class_of(error);
    match error {
        ResolveError::PortByPath => bad_request(
            class,
            "Ports are opened on hosts of their own, and not below a path: their name is of the \
             form port--agent--workspace--user.",
        ),
        ResolveError::AgentNeeded => bad_request(
            class,
            "The address of a port has to name its agent, as the workspace has several: \
             port--agent--workspace--user.",
        ),
        ResolveError::InvalidUrl => unavailable(
            class,
            "The app's URL in its template is not valid, so the app cannot be opened.",
        ),
        ResolveError::NoUrl => unavailable(
            class,
            "The app is a command, which is run in a terminal and cannot be opened in a browser.",
        ),
        error => unresolved(error),
    }
}

fn unresolved(error: ResolveError) -> Problem<'static> {
    let class = class_of(error);
    if error == ResolveError::Stopped {
        return Problem::new(
            StatusCode::BAD_REQUEST,
            class,
            "Workspace Offline",
            "Last workspace transition was to the state \"stop\", not \"start\". Start the \
             workspace to open its apps.",
        )
        .words(("This workspace is stopped", "Its apps open when it runs again."));
    }
    if error.is_not_found() {
        not_found(class, NOT_FOUND, NOT_FOUND_TEXT)
    } else {
        internal_page(class)
    }
}

/// Title and text of the page about an agent that is not connected
const fn agent_words(status: AgentStatus) -> (&'static str, &'static str) {
    match status {
        AgentStatus::Connecting => (
            "The workspace is starting",
            "Its machine has not connected yet. Try again in a minute.",
        ),
        AgentStatus::Timeout => (
            "The workspace did not start",
            "Its machine has not connected in time. Restart the workspace; if that does not help, \
             ask its administrator.",
        ),
        _ => (
            "The workspace does not respond",
            "Its machine was connected and no longer is. It may be off, asleep or without a \
             network. If it does not come back, restart the workspace.",
        ),
    }
}

/// The answer to a visitor whose browser has sessions of several users
pub(super) fn several_users() -> Problem<'static> {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "several_users",
        "Sessions of Several Users",
        "Your browser sends the sessions of different users, and it is not known which of them you \
         are. An app may have set one of them. Delete the cookies of this site and of its parent \
         domains in your browser, and sign in again.",
    )
    .retry()
}

fn not_found(class: &'static str, title: &'static str, text: &'static str) -> Problem<'static> {
    Problem::new(StatusCode::NOT_FOUND, class, title, text)
}

fn bad_request(class: &'static str, text: &'static str) -> Problem<'static> {
    Problem::new(StatusCode::BAD_REQUEST, class, "Bad Request", text)
}

fn unavailable<'a>(class: &'static str, text: impl Into<std::borrow::Cow<'a, str>>) -> Problem<'a> {
    Problem::new(StatusCode::BAD_GATEWAY, class, "Application Unavailable", text)
}

fn try_again(class: &'static str, text: &'static str) -> Problem<'static> {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, class, "Try Again", text).retry()
}

fn internal_page(class: &'static str) -> Problem<'static> {
    Problem::internal(class, "Internal Server Error")
}

const CANNOT_ASK: &str =
    "Your identity provider cannot be asked at the moment whether you are still signed in.";
const CANNOT_ANSWER: &str = "The server cannot answer at the moment.";
const NOT_FOUND: &str = "Application Not Found";
const NOT_FOUND_TEXT: &str = "The application or workspace you are trying to access does not exist or you do not have \
     permission to access it.";
