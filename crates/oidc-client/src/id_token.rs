use std::time::{Duration, SystemTime};

use crate::claims::{Checks, Identity};
use crate::client::Client;
use crate::error::TokenError;
use crate::flow::{Flow, same};
use crate::json;
use crate::jwks::KeySet;
use crate::jws::Jws;
use crate::token::Tokens;

/// Verifies the ID token of a flow (OpenID Connect Core 1.0, section 3.1.3.7)
///
/// Proves that the provider signed it with one of `keys`, for this client alone, in answer to
/// `flow`, within the last ten minutes, and with this access token if it names one.
pub(crate) fn verify(
    client: &Client,
    keys: &KeySet,
    flow: &Flow,
    tokens: &Tokens,
    now: SystemTime,
) -> Result<Identity, TokenError> {
    let jws = Jws::parse(&tokens.id_token, &["JWT"])?;
    keys.verify(&jws)?;
    let claims = json::object(&jws.payload).ok_or(TokenError::Malformed(
        "the payload of the token is not a JSON object, or has a name twice",
    ))?;
    let checks = Checks { client, now, claims: &claims };
    checks.parties()?;
    checks.times(LONGEST_AGE)?;
    checks.subject()?.ok_or(TokenError::Missing { claim: "sub" })?;
    if !same(checks.text("nonce")?, flow.nonce()) {
        return Err(TokenError::Nonce);
    }
    match claims.get("at_hash") {
        None => {}
        Some(hash) => {
            let own = tokens.access_token.as_deref().map(|token| jws.algorithm.half_hash(token));
            if hash.as_str() != own.as_deref() {
                return Err(TokenError::AccessToken);
            }
        }
    }
    Ok(Identity { issuer: client.issuer.as_str().to_owned(), claims })
}

/// A token comes straight from the provider, a moment after it was made
const LONGEST_AGE: Duration = Duration::from_secs(600);
