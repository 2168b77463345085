use std::path::Path;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use identity_verify::test_util::{aws, azure, google};
use serde_json::{Value, json};

/// Clouds with keys of their own, whose proofs no other server trusts
pub(crate) struct TestClouds {
    aws: aws::Cloud,
    azure: azure::Cloud,
    google: google::Cloud,
    now: SystemTime,
}

/// The request body of a machine, once its metadata service has signed it
#[derive(Clone)]
pub(crate) struct Proof {
    /// `aws`, `azure` or `google`
    pub(crate) cloud: &'static str,
    pub(crate) body: Value,
    instance_id: String,
}

const REGION: &str = "demo-local-1";

impl TestClouds {
    pub(crate) fn new(now: SystemTime) -> Self {
        Self {
            aws: aws::Cloud::generate(REGION),
            azure: azure::Cloud::generate(),
            google: google::Cloud::generate(),
            now,
        }
    }

    /// Writes keys and certificates to a trust folder, as an operator would
    pub(crate) fn publish(&self, trust: &Path) -> std::io::Result<()> {
        for (file, content) in [
            (format!("aws/{REGION}.pem"), self.aws.public_key_pem()),
            ("azure/roots/demo.pem".to_owned(), self.azure.root.pem()),
            ("azure/intermediates/demo.pem".to_owned(), self.azure.intermediate.pem()),
            ("google/jwks.json".to_owned(), self.google.jwks_json()),
        ] {
            let path = trust.join(file);
            std::fs::create_dir_all(path.parent().unwrap_or(trust))?;
            std::fs::write(path, content)?;
        }
        Ok(())
    }

    /// An instance identity document and its signature
    pub(crate) fn aws(&self, instance_id: &str) -> Proof {
        let account = "123456789012";
        let document = aws::Document::new(instance_id, REGION, account, "2026-01-01T00:00:00Z");
        let document = document.to_json();
        let signature = self.aws.sign(document.as_bytes());
        let body = json!({ "document": document, "signature": signature });
        Proof { cloud: "aws", body, instance_id: instance_id.to_owned() }
    }

    /// Attested data, valid for six hours
    pub(crate) fn azure(&self, vm_id: &str) -> Proof {
        let now = DateTime::<Utc>::from(self.now);
        let date = |hours| {
            let moment = now + chrono::TimeDelta::hours(hours);
            moment.format("%m/%d/%y %H:%M:%S -0000").to_string()
        };
        let subscription = "8d10da13-8125-4ba9-a717-bf7490507b3d";
        let document = azure::Document::new(vm_id, subscription, &date(0), &date(6)).to_json();
        let signature = self.azure.sign(document.as_bytes());
        let body = json!({ "signature": signature, "encoding": "pkcs7" });
        Proof { cloud: "azure", body, instance_id: vm_id.to_owned() }
    }

    /// An identity token for the given audience, valid for an hour
    pub(crate) fn google(&self, instance_id: &str, audience: &str) -> Proof {
        let claims = google::Claims::new(instance_id, "demo-project", audience, self.now);
        let body = json!({ "json_web_token": self.google.sign(&claims.to_json()) });
        Proof { cloud: "google", body, instance_id: instance_id.to_owned() }
    }
}

impl Proof {
    /// The same proof, altered after it was signed to name another instance
    pub(crate) fn forged_for(mut self, instance_id: &str) -> Self {
        if let Some(document) = self.body["document"].as_str() {
            self.body["document"] = document.replace(&self.instance_id, instance_id).into();
        }
        self.instance_id = instance_id.to_owned();
        self
    }

    /// The same proof, from a machine that names its agent
    pub(crate) fn named(mut self, name: &str) -> Self {
        self.body["agent_name"] = name.into();
        self
    }

    pub(crate) fn path(&self) -> String {
        format!("/api/v2/workspaceagents/{}-instance-identity", self.cloud)
    }

    /// The body in one line, with the length instead of a long value
    pub(crate) fn in_short(&self) -> String {
        let fields = self.body.as_object().into_iter().flatten().map(|(name, value)| {
            match value.as_str().filter(|text| text.len() > 40) {
                Some(long) => format!("\"{name}\": <{} bytes>", long.len()),
                None => format!("\"{name}\": {value}"),
            }
        });
        format!("{{{}}}  of {}", fields.collect::<Vec<_>>().join(", "), self.instance_id)
    }
}
