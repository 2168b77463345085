use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::claims::{Times, UncheckedClaims, instant};
use super::{KeyRing, TokenError, VerifyingKey, compact};
use crate::Error;
use crate::app::{AccessMethod, AppRequest, Grant, Visitor};
use crate::id::{AgentId, UserId, WorkspaceId, parse_uuid};

impl<K: VerifyingKey> KeyRing<K> {
    /// Verifies one app token: signature first, then times, then the request in it
    ///
    /// Whether it is for the request at hand is [`AppToken::matches`].
    ///
    /// # Errors
    ///
    /// A [`TokenError`], the first that applies.
    pub fn verify(
        &self,
        token: &str,
        now: SystemTime,
        leeway: Duration,
    ) -> Result<AppToken, TokenError> {
        let [header, payload, signature] = compact::parts(token)?;
        // A header that a key of ours writes needs no reading to say which it is.
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
        let claims: UncheckedClaims =
            serde_json::from_slice(&payload).map_err(|_| TokenError::Claims)?;
        let times = Times { exp: claims.exp, nbf: claims.nbf, iat: claims.iat };
        times.check(now, leeway)?;
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
            times,
            key: sequence,
        })
    }

    /// Whether a token that was verified by this ring before is still good at `now`
    ///
    /// Authentic it stays. Its key may have ended since, and so may itself.
    pub(super) fn check(
        &self,
        token: &AppToken,
        now: SystemTime,
        leeway: Duration,
    ) -> Result<(), TokenError> {
        self.verifying(token.key, now)?;
        token.times.check(now, leeway)
    }

    /// Finds the first token among those a request carries that is good and for it
    ///
    /// At most [`MAX_PRESENTED_TOKENS`] are looked at, the query's first and then the cookies
    /// in order; the rest of a cookie bomb costs nothing. A request that carries a token
    /// in its query is a terminal's: no other is let in by it, or by a cookie beside it.
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

/// An app token that is authentic: the bearer may open what it names
///
/// Only signing a permit and verifying a token make one:
///
/// ```compile_fail
/// fn forge(request: app_authz::AppRequest) -> app_authz::token::AppToken {
///     app_authz::token::AppToken { request, ..todo!() }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppToken {
    pub(super) request: AppRequest,
    pub(super) grant: Grant,
    /// The name of the agent, if the claim is there
    pub(super) agent_name: Option<String>,
    pub(super) times: Times,
    /// The sequence of the key that signed the token
    pub(super) key: i32,
}

impl AppToken {
    /// Whether the token was issued for that request
    ///
    /// All fields are compared as texts: a name and the id of the same thing differ, and
    /// an agent left out is not the one agent there is. Host, scheme and query are not
    /// part of a request.
    ///
    /// The host of an app may name an agent that is not part of the request. Then the token
    /// has to be for an app of this agent, as far as it says: control planes before v2.27
    /// sign the name in the request, newer ones do not sign it at all, and [`KeyRing::sign`]
    /// signs it beside the request.
    #[must_use]
    pub fn matches(&self, request: &AppRequest) -> bool {
        self.request.matches_beside_agent(request) && self.is_for_agent_of(request)
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

    /// The request it was issued for
    #[must_use]
    pub const fn request(&self) -> &AppRequest {
        &self.request
    }

    /// Who may open what, as the token proves it
    #[must_use]
    pub const fn grant(&self) -> &Grant {
        &self.grant
    }

    /// When it ends, leeway aside
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        instant(self.times.exp).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// What a request carries that may be an app token
#[derive(Clone, Debug, Default)]
pub struct PresentedTokens<'a> {
    /// The query parameter [`SIGNED_TOKEN_PARAMETER`], if it is there at all
    pub query: Option<&'a str>,
    /// All cookies of the token's name, in the order of the request
    pub cookies: Vec<&'a str>,
}

impl PresentedTokens<'_> {
    /// The first that `verify` takes and that is for the request
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
        for token in self.query.iter().chain(&self.cookies).take(MAX_PRESENTED_TOKENS) {
            match verify(token) {
                Ok(token) if token.matches(request) => return Found::Token(token),
                Err(TokenError::UnknownKey(sequence)) if !ring.knows(sequence) => {
                    missing = missing.or(Some(sequence));
                }
                Ok(_) | Err(_) => {}
            }
        }
        Found::Nothing { missing }
    }
}

/// What was found among the presented tokens
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A good token for the request
    Token(Arc<AppToken>),
    /// None
    Nothing {
        /// The sequence of a key that a token names and nobody here has heard of: it
        /// may be new, or made up
        missing: Option<i32>,
    },
}

/// The sequence of the key that a header names, under the one algorithm there is
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

/// The most tokens of one request that are looked at
pub const MAX_PRESENTED_TOKENS: usize = 4;

/// The query parameter that carries a terminal's token
pub const SIGNED_TOKEN_PARAMETER: &str = "coder_signed_app_token_23db1dde";
