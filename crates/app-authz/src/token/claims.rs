use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{AppToken, TokenError};
use crate::app::{AppRequest, CorsBehavior, UncheckedRequest, Visitor};

/// The claims of an app token, as they are signed
#[derive(Serialize)]
pub(super) struct AppClaims<'a> {
    pub(super) exp: u64,
    pub(super) request: &'a AppRequest,
    /// The owner of the workspace, whoever the visitor is
    pub(super) user_id: Uuid,
    pub(super) workspace_id: Uuid,
    pub(super) agent_id: Uuid,
    /// What the agent is called, where a host may name it and the request does not: a claim
    /// of our own
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) agent_name: Option<&'a str>,
    pub(super) app_url: &'a str,
    pub(super) cors_behavior: CorsBehavior,
    /// Who may open it, the nil id for nobody in particular: a claim of our own, which
    /// the control plane's proxies pass over
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) visitor: Option<Uuid>,
}

impl<'a> AppClaims<'a> {
    /// The claims that are read back as `token`
    pub(super) fn of(token: &'a AppToken) -> Self {
        let grant = &token.grant;
        Self {
            exp: token.times.exp,
            request: &token.request,
            user_id: grant.owner.0,
            workspace_id: grant.workspace.0,
            agent_id: grant.agent.0,
            agent_name: token.agent_name.as_deref(),
            app_url: &grant.url,
            cors_behavior: grant.cors,
            visitor: match grant.visitor {
                Visitor::User(user) => Some(user.0),
                Visitor::Anonymous => Some(Uuid::nil()),
                Visitor::Unspecified => None,
            },
        }
    }
}

/// The claims of an app token, as they are read
///
/// Claims that are not listed are passed over, as newer control planes add some; a
/// listed one that occurs twice makes the token unreadable.
#[derive(Deserialize)]
pub(super) struct UncheckedClaims {
    pub(super) exp: u64,
    #[serde(default)]
    pub(super) nbf: Option<u64>,
    #[serde(default)]
    pub(super) iat: Option<u64>,
    pub(super) request: UncheckedRequest,
    pub(super) user_id: Uuid,
    pub(super) workspace_id: Uuid,
    pub(super) agent_id: Uuid,
    #[serde(default)]
    pub(super) agent_name: Option<String>,
    pub(super) app_url: String,
    #[serde(default)]
    pub(super) cors_behavior: CorsBehavior,
    #[serde(default)]
    pub(super) visitor: Option<Uuid>,
}

/// The claims of a sealed session token, all of them required
#[derive(Serialize, Deserialize)]
pub(super) struct SealedClaims {
    pub(super) iss: String,
    pub(super) aud: Audience,
    pub(super) exp: u64,
    pub(super) nbf: u64,
    #[serde(default, skip_serializing)]
    pub(super) iat: Option<u64>,
    pub(super) api_key: String,
}

/// Whom a token is for: one, or any of several (RFC 7519, section 4.1.3)
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    pub(super) fn includes(&self, name: &str) -> bool {
        match self {
            Self::One(only) => only == name,
            Self::Several(several) => several.iter().any(|one| one == name),
        }
    }
}

/// The numeric dates of a token (RFC 7519, section 4.1)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) exp: u64,
    pub(super) nbf: Option<u64>,
    pub(super) iat: Option<u64>,
}

impl Times {
    /// Whether a token of these times is good at `now`, give or take `leeway`
    ///
    /// The last second of `exp` still counts, and so does the first of `nbf`.
    pub(super) fn check(self, now: SystemTime, leeway: Duration) -> Result<(), TokenError> {
        // A time beyond what the clock can show is as good as never.
        let later = |seconds| instant(seconds).is_none_or(|time| time > now + leeway);
        if instant(self.exp).is_some_and(|end| end + leeway < now) {
            return Err(TokenError::Expired);
        }
        if self.nbf.is_some_and(later) {
            return Err(TokenError::NotYetValid);
        }
        if self.iat.is_some_and(later) {
            return Err(TokenError::IssuedInFuture);
        }
        Ok(())
    }
}

/// The instant a numeric date stands for, if the clock can show it
pub(super) fn instant(seconds: u64) -> Option<SystemTime> {
    // Half of what the clock can show leaves room for any leeway.
    let limit = u64::try_from(i64::MAX / 2).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds.min(limit)))
}

/// The numeric date of an instant: its seconds since 1970
pub(super) fn numeric_date(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// How far the clocks of replicas may differ
///
/// Short, as it prolongs what a token opens after it has been revoked.
pub const LEEWAY: Duration = Duration::from_secs(5);
