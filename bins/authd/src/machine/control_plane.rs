use std::fmt;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName};
use hyper::{Method, StatusCode};
use serde_json::Value;

use super::connect::Connector;
use super::http::{Question, Timeouts, cut, is_passing, unwanted};
use super::metadata::Proof;
use super::trouble::Trouble;
use super::url::BaseUrl;
use crate::client::Answer;
use identity_fetch::Clock;

/// Where proofs are sent, and how it is reached
pub(super) struct ControlPlane<'a> {
    pub(super) url: &'a BaseUrl,
    pub(super) connector: &'a Connector,
    pub(super) agent_name: Option<&'a str>,
    pub(super) clock: &'a Clock,
}

/// The session token of an agent
///
/// `Debug` prints nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken(String);

impl SessionToken {
    /// The token itself, to be handed to the agent
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// A token is one word, so that it is one line of a file
    fn parse(text: &str) -> Option<Self> {
        let plain = matches!(text.len(), 1..=4096) && text.bytes().all(|b| b.is_ascii_graphic());
        plain.then(|| Self(text.to_owned()))
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(..)")
    }
}

impl ControlPlane<'_> {
    /// Sends a proof, and answers the token it gets for it
    pub(super) async fn sign_in(
        &self,
        proof: &Proof,
        timeouts: Timeouts,
    ) -> Result<SessionToken, Trouble> {
        let path = format!("/api/v2/workspaceagents/{}-instance-identity", proof.cloud);
        let mut body = proof.body.clone();
        if let Some(name) = self.agent_name {
            body["agent_name"] = name.into();
        }
        let body = Bytes::from(body.to_string());
        let headers = [(CONTENT_TYPE, "application/json")];
        let question = Question {
            method: &Method::POST,
            base: self.url,
            path: &path,
            headers: &headers,
            body: &body,
        };
        let url = question.url();
        let now = || (self.clock)();
        let answer = question.ask(self.connector, timeouts).await;
        let answer = answer.map_err(|error| error.into_trouble(&url, now()))?;
        if answer.status == StatusCode::OK {
            return token(&answer, &url);
        }
        let trouble = unwanted(&answer, &url, is_passing(answer.status), now());
        Err(trouble.with(&explanation(&answer)))
    }
}

/// The token in an answer with status 200
///
/// Nothing of the answer is shown: it may hold a token in another form.
fn token(answer: &Answer, url: &str) -> Result<SessionToken, Trouble> {
    let body: Value = match serde_json::from_slice(&answer.body) {
        Ok(body) => body,
        // Half an answer of a server that does not say how long the whole is.
        Err(error) if error.is_eof() && !answer.body.trim_ascii().is_empty() => {
            return Err(Trouble::passing(format!("the answer of `{url}` broke off")));
        }
        Err(_) => Value::Null,
    };
    body["session_token"].as_str().and_then(SessionToken::parse).ok_or_else(|| {
        Trouble::lasting(format!(
            "`{url}` answered 200 OK with {} that has no session token; what is served there is \
             not a control plane",
            kind(answer)
        ))
    })
}

/// What an answer with another status says about it, as control planes write it
fn explanation(answer: &Answer) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let Some(message) = body["message"].as_str() else {
        return match answer.status.is_redirection() {
            true => String::new(),
            false => format!(" with {}, not as a control plane does", kind(answer)),
        };
    };
    let mut said = format!(": {}", cut(message));
    if let Some(detail) = body["detail"].as_str().filter(|detail| !detail.is_empty()) {
        said.push_str(&format!(" ({})", cut(detail)));
    }
    // What its operators look for in its log.
    let id = answer.headers.get(&REQUEST_ID).and_then(|id| id.to_str().ok());
    if let Some(id) = id {
        said.push_str(&format!(" [request {}]", cut(id)));
    }
    said
}

fn kind(answer: &Answer) -> &'static str {
    let media_type = answer.headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    let body = answer.body.trim_ascii();
    let page = media_type.is_some_and(|value| value.to_ascii_lowercase().starts_with(b"text/html"));
    match body {
        b"" => "an empty body",
        _ if page || body.starts_with(b"<") => "a page of HTML",
        [b'{', ..] => "a body of JSON",
        _ => "a body that is not JSON",
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
