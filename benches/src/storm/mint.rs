use std::io;
use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use identity_verify::test_util::{Key, aws, azure, google};
use serde_json::{Value, json};

use super::options::CloudName;

/// Three clouds with keys of their own, which authd trusts through a trust folder
pub(super) struct Clouds {
    aws: aws::Cloud,
    azure: azure::Cloud,
    google: google::Cloud,
    /// Keys that authd does not trust, for forgeries
    others: Others,
    now: SystemTime,
}

struct Others {
    aws: aws::Cloud,
    azure: Key,
    google: google::Cloud,
}

impl Clouds {
    /// Generates the keys, which takes a second
    pub(super) fn generate(now: SystemTime) -> Self {
        Self {
            aws: aws::Cloud::generate(REGION),
            azure: azure::Cloud::generate(),
            google: google::Cloud::generate(),
            others: Others {
                aws: aws::Cloud::generate(REGION),
                azure: Key::generate(2048),
                google: google::Cloud::generate(),
            },
            now,
        }
    }

    /// Writes the keys and certificates to a trust folder
    pub(super) fn publish(&self, trust: &Path) -> io::Result<()> {
        for (file, content) in [
            (format!("aws/{REGION}.pem"), self.aws.public_key_pem()),
            ("azure/roots/storm.pem".to_owned(), self.azure.root.pem()),
            ("azure/intermediates/storm.pem".to_owned(), self.azure.intermediate.pem()),
            ("google/jwks.json".to_owned(), self.google.jwks_json()),
        ] {
            let path = trust.join(file);
            std::fs::create_dir_all(path.parent().unwrap_or(trust))?;
            std::fs::write(path, content)?;
        }
        Ok(())
    }

    /// The request of machine `number`, as the reference's agent sends it
    pub(super) fn request(&self, cloud: CloudName, number: usize) -> Bytes {
        self.write(cloud, number, false)
    }

    /// The same request with a signature by a key of the same kind that is not trusted
    ///
    /// Names and certificates are the genuine ones, so authd has to verify the signature.
    pub(super) fn forgery(&self, cloud: CloudName, number: usize) -> Bytes {
        self.write(cloud, number, true)
    }

    fn write(&self, cloud: CloudName, number: usize, forged: bool) -> Bytes {
        let instance = instance(cloud, number);
        let (name, body) = match cloud {
            CloudName::Aws => ("aws", self.aws(&instance, forged)),
            CloudName::Azure => ("azure", self.azure(&instance, forged)),
            CloudName::Google => ("google", self.google(&instance, forged)),
        };
        post(&sign_in(name), body.to_string().as_bytes())
    }

    fn aws(&self, instance: &str, forged: bool) -> Value {
        let account = "123456789012";
        let document = aws::Document::new(instance, REGION, account, "2026-01-01T00:00:00Z");
        let document = document.to_json();
        let signer = if forged { &self.others.aws } else { &self.aws };
        json!({ "signature": signer.sign(document.as_bytes()), "document": document })
    }

    /// Attested data, valid for six hours
    fn azure(&self, instance: &str, forged: bool) -> Value {
        let now = DateTime::<Utc>::from(self.now);
        let date = |hours| {
            let moment = now + TimeDelta::hours(hours);
            moment.format("%m/%d/%y %H:%M:%S -0000").to_string()
        };
        let subscription = "8d10da13-8125-4ba9-a717-bf7490507b3d";
        let document = azure::Document::new(instance, subscription, &date(0), &date(6)).to_json();
        let leaf = &self.azure.leaf;
        let key = if forged { &self.others.azure } else { leaf.key() };
        let signature = azure::encode(&leaf.message(document.as_bytes()).sign(key));
        json!({ "signature": signature, "encoding": "pkcs7" })
    }

    /// An identity token, valid for an hour
    fn google(&self, instance: &str, forged: bool) -> Value {
        let claims = google::Claims::new(instance, "storm-project", "coder", self.now);
        let signer = if forged { &self.others.google } else { &self.google };
        json!({ "json_web_token": signer.sign(&claims.to_json()) })
    }
}

/// The id of an instance, which `fleet.sql` writes in the same way
fn instance(cloud: CloudName, number: usize) -> String {
    match cloud {
        CloudName::Aws => format!("i-{number:017x}"),
        CloudName::Azure => format!("00000000-0000-4000-8000-{number:012x}"),
        CloudName::Google => format!("1{number:018}"),
    }
}

/// The path at which machines of a cloud sign in
pub(super) fn sign_in(cloud: &str) -> String {
    format!("/api/v2/workspaceagents/{cloud}-instance-identity")
}

/// A whole request
fn post(path: &str, body: &[u8]) -> Bytes {
    let mut request = post_head(path, body.len()).into_bytes();
    request.extend_from_slice(body);
    request.into()
}

/// The head of a request with a body of `length` bytes
pub(super) fn post_head(path: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: storm\r\nAccept: */*\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// The name by which all clients call authd
pub(super) const HOST: &str = "authd.test";

const REGION: &str = "storm-local-1";
