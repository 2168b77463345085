use std::path::Path;
use std::time::Instant;

use hyper::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::cloud::{Proof, TestCloud};
use super::fleet::{ONE_AGENT, RECYCLED, REPLACED, SampleFleet, TEN_BUILDS, TWO_AGENTS, UNKNOWN};
use super::{CommandError, milliseconds, say};
use crate::client::Client;

/// A request and the answer it must get
pub(super) struct Scene {
    pub(super) title: &'static str,
    /// A word for file names
    name: &'static str,
    proof: Proof,
    agent_name: Option<&'static str>,
    status: StatusCode,
    expected: Expected,
}

enum Expected {
    Token(Uuid),
    Message(String),
}

const PATH: &str = "/api/v2/workspaceagents/aws-instance-identity";

impl Scene {
    pub(super) fn all(fleet: &SampleFleet, cloud: &TestCloud) -> Vec<Self> {
        let token = |name, title, instance, agent_name, token| Self {
            title,
            name,
            proof: cloud.prove(instance),
            agent_name,
            status: StatusCode::OK,
            expected: Expected::Token(token),
        };
        let refused = |name, title, proof, status, message: String| Self {
            title,
            name,
            proof,
            agent_name: None,
            status,
            expected: Expected::Message(message),
        };
        let mut forged = cloud.prove(UNKNOWN);
        forged.document = forged.document.replace(UNKNOWN, ONE_AGENT);
        vec![
            token(
                "success",
                "success: the one agent of an instance",
                ONE_AGENT,
                None,
                fleet.one_agent,
            ),
            refused(
                "ambiguous",
                "ambiguous: two agents on one instance, and no name given",
                cloud.prove(TWO_AGENTS),
                StatusCode::CONFLICT,
                format!(
                    "Multiple agents found with instance ID \"{TWO_AGENTS}\". \
                     Set CODER_AGENT_NAME to one of: alpha, beta"
                ),
            ),
            token(
                "named",
                "named: the same instance asks as `alpha`",
                TWO_AGENTS,
                Some("alpha"),
                fleet.alpha,
            ),
            refused(
                "stale",
                "stale: the instance that the newest build replaced",
                cloud.prove(REPLACED),
                StatusCode::BAD_REQUEST,
                format!(
                    "Resource found for id \"{REPLACED}\", but isn't registered on the latest history."
                ),
            ),
            refused(
                "unknown",
                "unknown: an instance of no workspace",
                cloud.prove(UNKNOWN),
                StatusCode::NOT_FOUND,
                format!("Instance with id \"{UNKNOWN}\" not found."),
            ),
            refused(
                "forged",
                "forged: a signed document, altered to name another instance",
                forged,
                StatusCode::UNAUTHORIZED,
                "Invalid AWS identity.".to_owned(),
            ),
            token(
                "rebuilt",
                "rebuilt: an instance that lived through ten builds",
                TEN_BUILDS,
                None,
                fleet.tenth_build,
            ),
            refused(
                "recycled",
                "recycled: an id that two owners' workspaces claim",
                cloud.prove(RECYCLED),
                StatusCode::CONFLICT,
                format!("Instance with id \"{RECYCLED}\" is claimed by more than one workspace."),
            ),
        ]
    }

    /// Sends the request and prints what came back; whether it was as expected
    pub(super) async fn play(
        &self,
        number: usize,
        base: &str,
        client: &Client,
    ) -> Result<bool, CommandError> {
        let started = Instant::now();
        let answer = client.post_json(&format!("{base}{PATH}"), self.body().to_string()).await?;
        let took = started.elapsed();

        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let as_expected = answer.status == self.status
            && match &self.expected {
                Expected::Token(token) => body["session_token"] == token.to_string(),
                Expected::Message(message) => body["message"] == message.as_str(),
            };
        say(&format!("\n{number} {}", self.title));
        say(&format!("  POST {PATH}"));
        say(&format!("       {}", self.body_in_short()));
        say(&format!("  {}  {}", answer.status, String::from_utf8_lossy(&answer.body)));
        let verdict = if as_expected { "as expected" } else { "NOT AS EXPECTED" };
        say(&format!("  {}, {verdict}", milliseconds(took)));
        Ok(as_expected)
    }

    /// Writes the request's body to a file, and the command that sends it
    pub(super) fn curl(&self, base: &str, folder: &Path) -> std::io::Result<String> {
        let file = folder.join(format!("{}.json", self.name));
        std::fs::write(&file, self.body().to_string())?;
        Ok(format!(
            "curl -sS -H 'Content-Type: application/json' -d @{} {base}{PATH}",
            file.display()
        ))
    }

    fn body(&self) -> Value {
        let mut body = json!({
            "document": self.proof.document,
            "signature": self.proof.signature,
        });
        if let Some(name) = self.agent_name {
            body["agent_name"] = name.into();
        }
        body
    }

    /// The body as one line, of the document only what differs between scenes
    fn body_in_short(&self) -> String {
        let document: Value = serde_json::from_str(&self.proof.document).unwrap_or_default();
        let instance_id = document["instanceId"].as_str().unwrap_or_default();
        let name = self.agent_name.map(|name| format!(", \"agent_name\": \"{name}\""));
        format!(
            "{{\"document\": <{} bytes, of {instance_id}>, \"signature\": <{} bytes>{}}}",
            self.proof.document.len(),
            self.proof.signature.len(),
            name.unwrap_or_default()
        )
    }
}
