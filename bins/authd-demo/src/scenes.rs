use std::path::Path;
use std::time::Instant;

use hyper::StatusCode;
use serde_json::Value;
use testkit::net::Client;
use uuid::Uuid;

use crate::cloud::{Proof, TestClouds};
use crate::error::DemoError;
use crate::fleet::{
    AZURE_VM, GOOGLE_VM, ONE_AGENT, RECYCLED, REPLACED, SampleFleet, TEN_BUILDS, TWO_AGENTS,
    UNKNOWN,
};
use crate::output::{milliseconds, say};

/// A sign-in and the expected answer
pub(crate) struct Scene {
    pub(crate) title: &'static str,
    /// The name of its file
    name: &'static str,
    proof: Proof,
    status: StatusCode,
    expected: Expected,
}

enum Expected {
    Token(Uuid),
    Message(String),
}

impl Scene {
    pub(crate) fn all(fleet: &SampleFleet, clouds: &TestClouds) -> Vec<Self> {
        vec![
            Self::token(
                "success",
                "success: the one agent of an instance",
                clouds.aws(ONE_AGENT),
                fleet.one_agent,
            ),
            Self::refused(
                "ambiguous",
                "ambiguous: two agents on one instance, and no name given",
                clouds.aws(TWO_AGENTS),
                StatusCode::CONFLICT,
                format!(
                    "Multiple agents found with instance ID \"{TWO_AGENTS}\". \
                     Set CODER_AGENT_NAME to one of: alpha, beta"
                ),
            ),
            Self::token(
                "named",
                "named: the same instance asks as `alpha`",
                clouds.aws(TWO_AGENTS).named("alpha"),
                fleet.alpha,
            ),
            Self::refused(
                "stale",
                "stale: the instance that the newest build replaced",
                clouds.aws(REPLACED),
                StatusCode::BAD_REQUEST,
                format!(
                    "Resource found for id \"{REPLACED}\", but isn't registered on the latest \
                     history."
                ),
            ),
            Self::refused(
                "unknown",
                "unknown: an instance of no workspace",
                clouds.aws(UNKNOWN),
                StatusCode::NOT_FOUND,
                format!("Instance with id \"{UNKNOWN}\" not found."),
            ),
            Self::refused(
                "forged",
                "forged: a signed document, altered to name another instance",
                clouds.aws(UNKNOWN).forged_for(ONE_AGENT),
                StatusCode::UNAUTHORIZED,
                "Invalid AWS identity.".to_owned(),
            ),
            Self::token(
                "rebuilt",
                "rebuilt: an instance that lived through ten builds",
                clouds.aws(TEN_BUILDS),
                fleet.tenth_build,
            ),
            Self::refused(
                "recycled",
                "recycled: an id that two owners' workspaces claim",
                clouds.aws(RECYCLED),
                StatusCode::CONFLICT,
                format!("Instance with id \"{RECYCLED}\" is claimed by more than one workspace."),
            ),
            Self::token(
                "azure",
                "azure: attested data of a virtual machine",
                clouds.azure(AZURE_VM),
                fleet.azure,
            ),
            Self::token(
                "google",
                "google: an identity token for authd",
                clouds.google(GOOGLE_VM, "coder"),
                fleet.google,
            ),
            Self::refused(
                "replayed",
                "replayed: a genuine token that was meant for another service",
                clouds.google(GOOGLE_VM, "https://elsewhere.example"),
                StatusCode::UNAUTHORIZED,
                "Invalid GCP identity.".to_owned(),
            ),
        ]
    }

    fn token(name: &'static str, title: &'static str, proof: Proof, token: Uuid) -> Self {
        Self { title, name, proof, status: StatusCode::OK, expected: Expected::Token(token) }
    }

    fn refused(
        name: &'static str,
        title: &'static str,
        proof: Proof,
        status: StatusCode,
        message: String,
    ) -> Self {
        Self { title, name, proof, status, expected: Expected::Message(message) }
    }

    /// Sends the request, prints the answer, and returns whether it was as expected
    pub(crate) async fn play(
        &self,
        number: usize,
        base: &str,
        client: &Client,
    ) -> Result<bool, DemoError> {
        let path = self.proof.path();
        let body = self.proof.body.to_string();
        let started = Instant::now();
        let answer = client.post_json(&format!("{base}{path}"), body).await?;
        let took = started.elapsed();

        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let as_expected = answer.status == self.status
            && match &self.expected {
                Expected::Token(token) => body["session_token"] == token.to_string(),
                Expected::Message(message) => body["message"] == message.as_str(),
            };
        say(&format!("\n{number} {}", self.title));
        say(&format!("  POST {path}"));
        say(&format!("       {}", self.proof.in_short()));
        say(&format!("  {}  {}", answer.status, String::from_utf8_lossy(&answer.body)));
        let verdict = if as_expected { "as expected" } else { "NOT AS EXPECTED" };
        say(&format!("  {}, {verdict}", milliseconds(took)));
        Ok(as_expected)
    }

    /// Writes the body of the request to a file, and returns the command that sends it
    pub(crate) fn curl(&self, base: &str, folder: &Path) -> std::io::Result<String> {
        let file = folder.join(format!("{}.json", self.name));
        std::fs::write(&file, self.proof.body.to_string())?;
        Ok(format!(
            "curl -sS -H 'Content-Type: application/json' -d @{} {base}{}",
            file.display(),
            self.proof.path()
        ))
    }
}
