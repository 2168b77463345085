use std::time::Duration;

use hyper::StatusCode;
use serde_json::Value;

use crate::cloud::Cloud;
use crate::failure::Failure;
use crate::http_error::is_transient;
use crate::request::{Response, unexpected_status};

/// A nonce that the control plane demands in proofs of some clouds
pub(crate) struct Challenge {
    nonce: String,
    clouds: Vec<String>,
    /// How long the nonce is good
    pub(crate) lifetime: Duration,
}

impl Challenge {
    /// The nonce for a proof of `cloud`; `None` if none is demanded there
    pub(crate) fn nonce(&self, cloud: Cloud) -> Option<&str> {
        let cloud = cloud.to_string();
        self.clouds.contains(&cloud).then_some(&self.nonce)
    }

    /// The challenge in the answer of `url`
    ///
    /// # Errors
    ///
    /// The failure that it is if the control plane demands a nonce. Control planes that demand none
    /// do not have the route, and something else may answer there.
    pub(crate) fn read(
        response: &Response,
        url: &str,
        now: std::time::SystemTime,
    ) -> Result<Self, Failure> {
        if response.status != StatusCode::OK {
            let transient = is_transient(response.status);
            let failure = unexpected_status(response, url, transient, now);
            return Err(failure.with("; a nonce is demanded, and issued there"));
        }
        let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        parse(&body)
            .ok_or_else(|| Failure::permanent(format!("`{url}` answered 200 OK without a nonce")))
    }
}

fn parse(body: &Value) -> Option<Challenge> {
    let nonce = body["nonce"].as_str()?;
    let clouds = body["clouds"].as_array()?.iter().filter_map(Value::as_str);
    let is_plain = nonce.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (matches!(nonce.len(), 1..=32) && is_plain).then(|| Challenge {
        nonce: nonce.to_owned(),
        clouds: clouds.map(str::to_owned).collect(),
        lifetime: Duration::from_secs(body["lifetime_seconds"].as_u64().unwrap_or(60)),
    })
}
