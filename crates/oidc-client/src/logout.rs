use std::time::{Duration, SystemTime};

use form_urlencoded::Serializer;
use serde_json::Value;

use crate::claims::Checks;
use crate::client::Client;
use crate::error::TokenError;
use crate::flow::with_query;
use crate::json;
use crate::jwks::KeySet;
use crate::jws::Jws;
use crate::metadata::Metadata;

/// A provider's word that a user, or one session of a user, has signed out
///
/// Only [`Provider::logout_token`](crate::Provider::logout_token) makes one (OpenID Connect
/// Back-Channel Logout 1.0, section 2.6): it is signed by the provider for this client alone, is a
/// logout token and not an ID token, and was issued within the last quarter of an hour. Whether a
/// token with the same [`id`](Self::id) was received before is not checked: the caller remembers
/// ids until [`forget_at`](Self::forget_at).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogoutToken {
    /// The id of the token (`jti`)
    pub id: String,
    /// The user, at this issuer; `None` if the token names a session alone
    pub subject: Option<String>,
    /// The session at the provider; `None` if all sessions of the user have ended
    pub session: Option<String>,
    /// When the provider issued it
    pub issued_at: SystemTime,
    /// When a token with the same id is refused for its age
    pub forget_at: SystemTime,
}

/// Verifies a logout token
pub(crate) fn verify(
    client: &Client,
    keys: &KeySet,
    token: &str,
    now: SystemTime,
) -> Result<LogoutToken, TokenError> {
    let jws = Jws::parse(token, &["logout+jwt", "JWT"])?;
    keys.verify(&jws)?;
    let claims = json::object(&jws.payload).ok_or(TokenError::Malformed(
        "the payload of the token is not a JSON object, or has a name twice",
    ))?;
    let checks = Checks { client, now, claims: &claims };
    checks.parties()?;
    let issued_at = checks.times(LONGEST_AGE)?;
    let (subject, session) = (checks.subject()?, checks.id("sid")?);
    if subject.or(session).is_none() {
        return Err(TokenError::Missing { claim: "sub" });
    }
    let is_logout = claims.get("events").and_then(|events| events.get(EVENT));
    // An ID token has a nonce, and must not end a session.
    if !is_logout.is_some_and(Value::is_object) || claims.contains_key("nonce") {
        return Err(TokenError::NotLogout);
    }
    let id = checks.id("jti")?.ok_or(TokenError::Missing { claim: "jti" })?;
    let forget = LONGEST_AGE + client.leeway * 2;
    Ok(LogoutToken {
        id: id.to_owned(),
        subject: subject.map(str::to_owned),
        session: session.map(str::to_owned),
        issued_at,
        forget_at: issued_at.checked_add(forget).unwrap_or(issued_at),
    })
}

/// Where a browser signs out of the provider too, and is then sent to `back`
///
/// `None` if the provider has no such page (OpenID Connect RP-Initiated Logout 1.0, section 2).
/// The provider sends browsers only to a URL that is registered there.
pub(crate) fn url(client: &Client, metadata: &Metadata, back: &str) -> Option<String> {
    let query = Serializer::new(String::new())
        .append_pair("client_id", &client.id)
        .append_pair("post_logout_redirect_uri", back)
        .finish();
    metadata.end_session_endpoint.as_deref().map(|page| with_query(page, &query))
}

/// The name of the event (OpenID Connect Back-Channel Logout 1.0, section 2.4)
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Providers that cannot reach a client try again for some minutes
const LONGEST_AGE: Duration = Duration::from_secs(900);
