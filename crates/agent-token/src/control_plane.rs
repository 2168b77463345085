use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName};
use hyper::{Method, StatusCode};
use serde_json::Value;

use crate::Clock;
use crate::challenge::Challenge;
use crate::connect::Connector;
use crate::failure::Failure;
use crate::http_error::{hint, is_transient};
use crate::metadata::Proof;
use crate::request::{Request, Response, Timeouts, excerpt, unexpected_status};
use crate::token::SessionToken;
use crate::url::BaseUrl;

/// The service that exchanges a proof for a session token
pub(crate) struct ControlPlane<'a> {
    pub(crate) url: &'a BaseUrl,
    pub(crate) connector: &'a Connector,
    pub(crate) agent_name: Option<&'a str>,
    pub(crate) clock: &'a Clock,
}

impl ControlPlane<'_> {
    /// Asks for a nonce, which a control plane may demand in proofs
    ///
    /// # Errors
    ///
    /// The outer failure if the control plane cannot be reached, and the inner one if it answers with
    /// something else.
    pub(crate) async fn challenge(
        &self,
        timeouts: Timeouts,
    ) -> Result<Result<Challenge, Failure>, Failure> {
        let path = "/api/v2/authd/instance-identity/challenge";
        let request = Request {
            method: &Method::POST,
            base: self.url,
            path,
            headers: &[],
            body: &Bytes::new(),
        };
        let url = request.url();
        let response = request.send(self.connector, timeouts).await;
        let response = response.map_err(|error| error.into_failure(&url, (self.clock)()))?;
        Ok(Challenge::read(&response, &url, (self.clock)()))
    }

    /// Sends a proof and returns the session token
    pub(crate) async fn sign_in(
        &self,
        proof: &Proof,
        timeouts: Timeouts,
    ) -> Result<SessionToken, Refusal> {
        let path = format!("/api/v2/workspaceagents/{}-instance-identity", proof.cloud);
        let mut body = proof.body.clone();
        if let Some(name) = self.agent_name {
            body["agent_name"] = name.into();
        }
        let body = Bytes::from(body.to_string());
        let headers = [(CONTENT_TYPE, "application/json")];
        let request = Request {
            method: &Method::POST,
            base: self.url,
            path: &path,
            headers: &headers,
            body: &body,
        };
        let url = request.url();
        let now = || (self.clock)();
        let response = request.send(self.connector, timeouts).await;
        let response = response.map_err(|error| error.into_failure(&url, now()))?;
        if response.status == StatusCode::OK {
            let token = token(&response, &url);
            return Ok(token.map_err(|failure| failure.with(&self.via()))?);
        }
        if let Some(remedy) = remedy(&response) {
            // The same proof would be refused again, and another one may not.
            let failure = unexpected_status(&response, &url, true, now());
            let failure = failure.with(&explanation(&response).unwrap_or_default());
            return Err(Refusal { failure, remedy: Some(remedy) });
        }
        let failure = unexpected_status(&response, &url, is_transient(response.status), now());
        match explanation(&response) {
            Some(explanation) => Err(failure.with(&explanation).into()),
            None if response.status.is_redirection() => Err(failure.with(&self.via()).into()),
            None => {
                let kind = kind(&response);
                let failure = failure.with(&format!(" with {kind}, not as a control plane does"));
                Err(failure.with(&self.via()).with(hint(response.status)).into())
            }
        }
    }

    /// The proxy that may have answered in the control plane's place
    fn via(&self) -> String {
        match self.connector.relay(self.url) {
            Some(proxy) => format!("; the request went through {proxy}"),
            None => String::new(),
        }
    }
}

/// Why the control plane gave no token
pub(crate) struct Refusal {
    pub(crate) failure: Failure,
    /// What may help, besides another attempt with the same proof
    pub(crate) remedy: Option<Remedy>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// A proof that answers a new nonce
    Nonce,
    /// A newer proof: another agent of this machine has presented a newer one than this
    NewerProof,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self { failure, remedy: None }
    }
}

/// What helps against the reason for which a proof was refused
fn remedy(response: &Response) -> Option<Remedy> {
    if response.status != StatusCode::UNAUTHORIZED {
        return None;
    }
    let body: Value = serde_json::from_slice(&response.body).ok()?;
    match body["detail"].as_str()? {
        "nonce_missing" | "nonce_mismatch" | "nonce_expired" => Some(Remedy::Nonce),
        "replayed" => Some(Remedy::NewerProof),
        _ => None,
    }
}

/// The token in an answer with status 200
///
/// The failure quotes nothing of the answer, which may hold a token in another form.
fn token(response: &Response, url: &str) -> Result<SessionToken, Failure> {
    let body: Value = match serde_json::from_slice(&response.body) {
        Ok(body) => body,
        // Half an answer, of a server that does not say how long the whole answer is.
        Err(error) if error.is_eof() && !response.body.trim_ascii().is_empty() => {
            return Err(Failure::transient(format!("the answer of `{url}` broke off")));
        }
        Err(_) => Value::Null,
    };
    body["session_token"].as_str().and_then(SessionToken::parse).ok_or_else(|| {
        Failure::permanent(format!(
            "`{url}` answered 200 OK with {} that has no session token; what is served there is \
             not a control plane",
            kind(response)
        ))
    })
}

/// The reason in an answer with another status, if it has the form of a control plane's
fn explanation(response: &Response) -> Option<String> {
    let body: Value = serde_json::from_slice(&response.body).ok()?;
    let mut text = format!(": {}", excerpt(body["message"].as_str()?));
    if let Some(detail) = body["detail"].as_str().filter(|detail| !detail.is_empty()) {
        text.push_str(&format!(" ({})", excerpt(detail)));
    }
    // The operators of the control plane search its log for this id.
    let id = response.headers.get(&REQUEST_ID).and_then(|id| id.to_str().ok());
    if let Some(id) = id {
        text.push_str(&format!(" [request {}]", excerpt(id)));
    }
    Some(text)
}

fn kind(response: &Response) -> &'static str {
    let media_type = response.headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    let body = response.body.trim_ascii();
    let page = media_type.is_some_and(|value| value.to_ascii_lowercase().starts_with(b"text/html"));
    match body {
        b"" => "an empty body",
        _ if page || body.starts_with(b"<") => "an HTML page",
        [b'{', ..] => "a JSON body",
        _ => "a body that is not JSON",
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
