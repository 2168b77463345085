use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::claims::{Times, UncheckedClaims, instant, is_session_id};
use super::{KeyRing, TokenError, VerifyingKey, compact};
use crate::Error;
use crate::app::{AccessMethod, AppRequest, Connection, Grant, Port, Visitor};
use crate::id::{AgentId, UserId, WorkspaceId, parse_uuid};

impl<K: VerifyingKey> KeyRing<K> {
    /// Verifies an app token: first the signature, then its times, then the request in it
    ///
    /// Proves that the token was signed with a key of the ring and has not expired. Whether it
    /// is for the request at hand is not checked: [`AppToken::matches`] does that. Whether the
    /// visitor's session is still good is not checked either.
    ///
    /// # Errors
    ///
    /// The [`TokenError`] that is found first.
    pub fn verify(
        &self,
        token: &str,
        now: SystemTime,
        leeway: Duration,
    ) -> Result<AppToken, TokenError> {
        let [header, payload, signature] = compact::parts(token)?;
        // A header that is equal to that of a key need not be parsed.
        let sequence = match self.with_header(header) {
            Some(sequence) => sequence,
            None => sequence(header, K::ALGORITHM)?,
        };
        let key = self.verifying(sequence, now)?;
        let signed = &token[..header.len() + 1 + payload.len()];
        let signature = compact::decode(signature)?;
        if !key.verifies(signed.as_bytes(), &signature) {
            return Err(TokenError::Forged);
        }

        let payload = compact::decode(payload)?;
        // One look at all of it is cheaper than serde_json's at each string.
        let payload = std::str::from_utf8(&payload).map_err(|_| TokenError::Claims)?;
        let claims: UncheckedClaims =
            serde_json::from_str(payload).map_err(|_| TokenError::Claims)?;
        let times = Times { exp: claims.exp, nbf: claims.nbf, iat: claims.iat };
        times.check(now, leeway)?;
        if claims.sid.as_deref().is_some_and(|id| !is_session_id(id)) {
            return Err(TokenError::Claims);
        }
        let request = claims.request.check().map_err(|error| match error {
            Error::InvalidRequest(fault) => TokenError::Request(fault),
            _ => TokenError::Claims,
        })?;
        Ok(AppToken {
            request,
            grant: Grant {
                visitor: match claims.visitor {
                    Some(visitor) if visitor.is_nil() => Visitor::Anonymous,
                    Some(visitor) => Visitor::User(UserId(visitor)),
                    None => Visitor::Unspecified,
                },
                owner: UserId(claims.user_id),
                workspace: WorkspaceId(claims.workspace_id),
                agent: AgentId(claims.agent_id),
                url: claims.app_url,
                cors: claims.cors_behavior,
            },
            agent_name: claims.agent_name,
            session: claims.sid.map(Into::into),
            times,
            key: sequence,
        })
    }

    /// Checks that a token that this ring has verified before is still good at `now`
    ///
    /// It is still authentic, but the token or its key may have expired.
    pub(super) fn check(
        &self,
        token: &AppToken,
        now: SystemTime,
        leeway: Duration,
    ) -> Result<(), TokenError> {
        self.verifying(token.key, now)?;
        token.times.check(now, leeway)
    }

    /// Finds the first token that is good and for `request`, among those that it presents
    ///
    /// The signatures of at most [`MAX_PRESENTED_TOKENS`] are verified, that of the one in the
    /// query first and then those of the cookies in order, so that a request with very many
    /// cookies costs no more. A text that does not name a key of the ring costs no signature. A
    /// token in the query is for terminals only: if another request has one, none of its tokens
    /// count.
    #[must_use]
    pub fn find(
        &self,
        presented: &PresentedTokens<'_>,
        request: &AppRequest,
        now: SystemTime,
        leeway: Duration,
    ) -> Found {
        presented.find(self, request, |token| self.verify(token, now, leeway).map(Arc::new))
    }
}

/// An authentic app token: its bearer may open the app that it names
///
/// Only signing a permit and verifying a token build one:
///
/// ```compile_fail
/// use app_authz::AppRequest;
/// use app_authz::token::AppToken;
///
/// fn forge(found: AppToken, request: AppRequest) -> AppToken {
///     AppToken { request, ..found }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppToken {
    pub(super) request: AppRequest,
    pub(super) grant: Grant,
    /// The name of the agent, if the token has that claim
    pub(super) agent_name: Option<String>,
    /// The id of the key of the visitor's session, if the token has that claim
    pub(super) session: Option<Box<str>>,
    pub(super) times: Times,
    /// The sequence of the key that signed the token
    pub(super) key: i32,
}

impl AppToken {
    /// Whether the token was issued for `request`
    ///
    /// The fields are compared as texts: the name and the id of the same workspace differ, and
    /// a request without an agent differs from one that names the only agent. Host, scheme and
    /// query are not part of a request.
    ///
    /// The host of an app may name an agent that is not part of the request. Then the token
    /// must be for an app of that agent, if it says so: control planes before v2.27 sign the
    /// name in the request, newer ones do not sign it, and [`KeyRing::sign`] signs it beside
    /// the request.
    ///
    /// No token is for a [reserved](Port::is_reserved) port, though control planes sign tokens for
    /// them.
    #[must_use]
    pub fn matches(&self, request: &AppRequest) -> bool {
        self.request.matches_beside_agent(request)
            && self.is_for_agent_of(request)
            && !request.port().is_some_and(Port::is_reserved)
    }

    fn is_for_agent_of(&self, request: &AppRequest) -> bool {
        let signed = self.request.signed_agent();
        let Some(asked) = request.agent_in_host() else {
            return signed == request.signed_agent();
        };
        match &self.agent_name {
            _ if !signed.is_empty() => signed == asked,
            Some(name) => {
                name.eq_ignore_ascii_case(asked) || parse_uuid(asked) == Some(self.grant.agent.0)
            }
            None => true,
        }
    }

    /// The request that the token was issued for
    #[must_use]
    pub const fn request(&self) -> &AppRequest {
        &self.request
    }

    /// What the token proves: who may open what, and where it is served
    #[must_use]
    pub const fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The id of the key of the visitor's session; `None` if the token does not say, or the
    /// visitor was not signed in
    ///
    /// Whether the session is still good is not checked.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// When the token expires, not counting the leeway
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        instant(self.times.exp).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

impl From<&AppToken> for Connection {
    /// The connection that a token admits
    fn from(token: &AppToken) -> Self {
        let Grant { visitor, workspace, agent, .. } = token.grant;
        let connection = Self::of(visitor).workspace(workspace).agent(agent);
        let connection = match token.request.slug_or_port() {
            "" => connection,
            app => connection.app(app),
        };
        match token.session() {
            Some(session) => connection.session(session),
            None => connection,
        }
    }
}

/// The parts of a request that may carry an app token
#[derive(Clone, Debug, Default)]
pub struct PresentedTokens<'a> {
    /// The query parameter [`SIGNED_TOKEN_PARAMETER`], if the request has it, even if empty
    pub query: Option<&'a str>,
    /// All cookies with the name for app tokens, in the order of the request
    pub cookies: Vec<&'a str>,
}

impl PresentedTokens<'_> {
    /// The first token that `verify` accepts and that is for the request
    pub(super) fn find<K>(
        &self,
        ring: &KeyRing<K>,
        request: &AppRequest,
        verify: impl Fn(&str) -> Result<Arc<AppToken>, TokenError>,
    ) -> Found {
        let mut missing = None;
        if self.query.is_some() && request.method() != AccessMethod::Terminal {
            return Found::Nothing { missing };
        }
        let mut verified = 0;
        for token in self.query.iter().chain(&self.cookies) {
            match verify(token) {
                Ok(token) if token.matches(request) => return Found::Token(token),
                Err(TokenError::UnknownKey(sequence)) => {
                    missing = missing.or_else(|| Some(sequence).filter(|key| !ring.knows(*key)));
                }
                Err(TokenError::Oversize | TokenError::Malformed | TokenError::Algorithm) => {}
                Ok(_) | Err(_) => verified += 1,
            }
            if verified == MAX_PRESENTED_TOKENS {
                break;
            }
        }
        Found::Nothing { missing }
    }
}

/// What was found among the tokens of a request
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A good token for the request
    Token(Arc<AppToken>),
    /// No good token for the request
    Nothing {
        /// The sequence of a key that a token names and the ring does not have; it may be new,
        /// or invented
        missing: Option<i32>,
    },
}

/// The sequence of the key that a header names, if the header names `algorithm`
fn sequence(header: &str, algorithm: &str) -> Result<i32, TokenError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Header<'a> {
        alg: &'a str,
        kid: &'a str,
        #[serde(default)]
        typ: Option<&'a str>,
    }

    let bytes = compact::decode(header)?;
    let Header { alg, kid, typ } = compact::header(&bytes)?;
    if alg != algorithm {
        return Err(TokenError::Algorithm);
    }
    if typ.is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT")) {
        return Err(TokenError::Malformed);
    }
    compact::key_id(kid)
}

/// The maximum number of app tokens of one request whose signatures are verified
pub const MAX_PRESENTED_TOKENS: usize = 16;

/// The query parameter that carries the app token of a terminal
pub const SIGNED_TOKEN_PARAMETER: &str = "coder_signed_app_token_23db1dde";
