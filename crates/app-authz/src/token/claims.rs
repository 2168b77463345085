use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{AppToken, TokenError};
use crate::app::{AppRequest, CorsBehavior, UncheckedRequest, Visitor};
use crate::credential::ID_LENGTH;

/// The claims of an app token as they are signed
#[derive(Serialize)]
pub(super) struct AppClaims<'a> {
    pub(super) exp: u64,
    pub(super) request: &'a AppRequest,
    /// The owner of the workspace, who need not be the visitor
    pub(super) user_id: Uuid,
    pub(super) workspace_id: Uuid,
    pub(super) agent_id: Uuid,
    /// The name of the agent, if a host may name it and the request does not
    ///
    /// This claim, `visitor` and `sid` are our own; the control plane's proxies ignore them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) agent_name: Option<&'a str>,
    pub(super) app_url: &'a str,
    pub(super) cors_behavior: CorsBehavior,
    /// The id of the visitor; the nil UUID for an anonymous one
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) visitor: Option<Uuid>,
    /// The id of the key of the visitor's session, under the name that JWT has for such an id
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sid: Option<&'a str>,
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
            sid: token.session.as_deref(),
        }
    }
}

/// The claims of an app token as they are parsed
///
/// Other claims are ignored, as newer control planes add some. A claim of these that occurs
/// twice makes the token invalid.
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
    #[serde(default)]
    pub(super) sid: Option<String>,
}

/// Whether a text has the form of the id of a session token
pub(super) fn is_session_id(text: &str) -> bool {
    text.len() == ID_LENGTH && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The numeric dates of a token (RFC 7519, section 4.1)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) exp: u64,
    pub(super) nbf: Option<u64>,
    pub(super) iat: Option<u64>,
}

impl Times {
    /// Checks that a token with these times is good at `now`, with `leeway` on both sides
    ///
    /// The token is good at `exp` itself, and at `nbf` itself.
    pub(super) fn check(self, now: SystemTime, leeway: Duration) -> Result<(), TokenError> {
        // A time that the clock cannot represent counts as never.
        let later = |seconds| instant(seconds).is_none_or(|time| time > now + leeway);
        if instant(self.exp).is_some_and(|end| end + leeway < now) {
            return Err(TokenError::Expired { exp: self.exp });
        }
        if let Some(nbf) = self.nbf.filter(|nbf| later(*nbf)) {
            return Err(TokenError::NotYetValid { nbf });
        }
        if let Some(iat) = self.iat.filter(|iat| later(*iat)) {
            return Err(TokenError::IssuedInFuture { iat });
        }
        Ok(())
    }
}

/// The time of a numeric date, if the clock can represent it
pub(super) fn instant(seconds: u64) -> Option<SystemTime> {
    // Half of the range leaves room to add a leeway.
    let limit = u64::try_from(i64::MAX / 2).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds.min(limit)))
}

/// The numeric date of a time: seconds since 1970
pub(super) fn numeric_date(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// How far the clocks of replicas may differ
///
/// Short, because a token is good for that much longer after its session was revoked.
pub const LEEWAY: Duration = Duration::from_secs(5);
