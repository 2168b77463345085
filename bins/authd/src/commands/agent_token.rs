//! The machine's side: fetch the proof from the metadata service, send it, print the
//! token

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::HeaderName;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::CommandError;
use crate::cli::{AgentTokenArgs, MetadataCloud};
use crate::client::{Answer, Client};

/// Prints the session token of this machine's agent, and nothing else
pub(crate) async fn run(args: AgentTokenArgs) -> Result<(), CommandError> {
    let client = match args.url.get(..6) {
        Some(scheme) if scheme.eq_ignore_ascii_case("https:") => Client::with_system_roots()?,
        _ => Client::new(),
    };
    let metadata = Metadata { client: &client, url: args.metadata_url.as_deref() };
    let (route, mut proof) = match args.cloud {
        MetadataCloud::Aws => metadata.aws().await?,
        MetadataCloud::Azure => metadata.azure().await?,
        MetadataCloud::Google => metadata.google(&args.audience).await?,
        MetadataCloud::Auto => metadata.any(&args.audience).await?,
    };
    if let Some(name) = args.agent_name {
        proof["agent_name"] = name.into();
    }
    let base = args.url.trim_end_matches('/');
    let url = format!("{base}/api/v2/workspaceagents/{route}-instance-identity");
    let answer = patiently(client.post_json(&url, proof.to_string())).await?;
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match body["session_token"].as_str() {
        Some(token) if answer.status == StatusCode::OK => {
            writeln!(std::io::stdout(), "{token}").map_err(CommandError::Output)
        }
        _ => Err(CommandError::Refused {
            status: answer.status.as_u16(),
            message: body["message"].as_str().unwrap_or("no message").to_owned(),
            detail: body["detail"].as_str().unwrap_or_default().to_owned(),
        }),
    }
}

/// A cloud's metadata service, as a machine of that cloud sees it
struct Metadata<'a> {
    client: &'a Client,
    /// Instead of the cloud's own
    url: Option<&'a str>,
}

/// The route's name for the cloud, and the body to post there
type Proof = (&'static str, Value);

impl Metadata<'_> {
    /// Session-oriented, which is the only kind of request that a careful site allows
    /// (*EC2 User Guide*, "Use IMDSv2")
    async fn aws(&self) -> Result<Proof, CommandError> {
        const TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
        const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
        let base = self.url.unwrap_or(LINK_LOCAL);
        let token = self.fetch(Method::PUT, base, "/latest/api/token", &[(TTL, "21600")]).await?;
        let headers = [(TOKEN, token.as_str())];
        let path = |name| format!("/latest/dynamic/instance-identity/{name}");
        let signature = self.fetch(Method::GET, base, &path("signature"), &headers).await?;
        let document = self.fetch(Method::GET, base, &path("document"), &headers).await?;
        Ok(("aws", json!({ "signature": signature, "document": document })))
    }

    /// "Azure Instance Metadata Service", section "Attested data"
    async fn azure(&self) -> Result<Proof, CommandError> {
        const METADATA: HeaderName = HeaderName::from_static("metadata");
        let path = "/metadata/attested/document?api-version=2020-09-01";
        let base = self.url.unwrap_or(LINK_LOCAL);
        let attested = self.fetch(Method::GET, base, path, &[(METADATA, "true")]).await?;
        let attested: Value = serde_json::from_str(&attested)
            .map_err(|_| CommandError::Metadata("attested data that is not JSON".to_owned()))?;
        let body = json!({ "signature": attested["signature"], "encoding": attested["encoding"] });
        Ok(("azure", body))
    }

    /// "Verify the identity of VM instances"
    async fn google(&self, audience: &str) -> Result<Proof, CommandError> {
        const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");
        let base = self.url.unwrap_or("http://metadata.google.internal");
        let path = format!(
            "/computeMetadata/v1/instance/service-accounts/default/identity\
             ?audience={}&format=full",
            escape(audience)
        );
        let token = self.fetch(Method::GET, base, &path, &[(FLAVOR, "Google")]).await?;
        Ok(("google", json!({ "json_web_token": token })))
    }

    /// Asks the way each cloud wants to be asked, all at once
    ///
    /// Elsewhere than in its own cloud a request is refused, or nobody is there.
    async fn any(&self, audience: &str) -> Result<Proof, CommandError> {
        let (aws, azure, google) = tokio::join!(self.aws(), self.azure(), self.google(audience));
        aws.or(azure).or(google).map_err(|_| {
            CommandError::Metadata("no metadata service of any cloud answers here".to_owned())
        })
    }

    async fn fetch(
        &self,
        method: Method,
        base: &str,
        path: &str,
        headers: &[(HeaderName, &str)],
    ) -> Result<String, CommandError> {
        let url = format!("{}{path}", base.trim_end_matches('/'));
        let answer = patiently(self.client.send(method, &url, headers, Bytes::new())).await?;
        if answer.status != StatusCode::OK {
            return Err(CommandError::Metadata(format!("`{url}` answered {}", answer.status)));
        }
        String::from_utf8(answer.body.to_vec())
            .map_err(|_| CommandError::Metadata(format!("`{url}` did not answer with text")))
    }
}

/// Waits for an answer, but not for ever
async fn patiently(
    answer: impl Future<Output = Result<Answer, crate::client::ClientError>>,
) -> Result<Answer, CommandError> {
    match timeout(PATIENCE, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(CommandError::NoAnswer(PATIENCE)),
    }
}

/// Percent-encodes all but the unreserved characters (RFC 3986, 2.3)
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// The address at which AWS and Azure serve metadata
const LINK_LOCAL: &str = "http://169.254.169.254";

const PATIENCE: Duration = Duration::from_secs(10);
