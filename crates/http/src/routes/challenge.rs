//! A nonce that a machine's proof of identity has to answer

use std::time::SystemTime;

use http::StatusCode;
use identity_verify::Cloud;
use serde::Serialize;

use crate::error::Error;
use crate::freshness::{AnyNonces, NONCE_LIFETIME};
use crate::reply::{Response, json};

/// `POST /api/v2/authd/instance-identity/challenge`
///
/// Nothing is stored, and as a rule nothing is asked: all requests in one second get the same nonce.
pub(crate) async fn issue(nonces: &dyn AnyNonces, now: SystemTime) -> Result<Response, Error> {
    let nonce = nonces.issue(now).await.ok_or(Error::NoNonces)?;
    let challenge = Challenge {
        nonce: &nonce,
        lifetime_seconds: NONCE_LIFETIME.as_secs(),
        clouds: nonces.clouds().iter().copied().map(Cloud::as_str).collect(),
    };
    Ok(json(StatusCode::OK, &challenge))
}

#[derive(Serialize)]
struct Challenge<'a> {
    nonce: &'a str,
    lifetime_seconds: u64,
    /// The clouds whose machines have to answer a nonce
    clouds: Vec<&'static str>,
}
