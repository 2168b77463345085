//! Proofs of instances, signed by test clouds

use identity_fetch::Identity;
use identity_verify::test_util::{aws, azure, google};
use identity_verify::{Policy, aws as real_aws, azure as real_azure, google as real_google};
use serde_json::json;

use crate::common::{REGION, proof};
use crate::deployment::now;

/// One test cloud of each kind
#[derive(Clone)]
pub struct Clouds {
    aws: aws::Cloud,
    azure: azure::Cloud,
    google: google::Cloud,
}

impl Clouds {
    pub fn generate() -> Self {
        Self {
            aws: aws::Cloud::generate(REGION),
            azure: azure::Cloud::generate(),
            google: google::Cloud::generate(),
        }
    }

    /// Verifiers that trust these three clouds
    pub fn identity(&self) -> Identity {
        let policy = Policy::default;
        Identity::builtin()
            .aws(real_aws::Verifier::new(self.aws.keys(), policy()))
            .azure(real_azure::Verifier::new(self.azure.trust(), policy()))
            .google(real_google::Verifier::default())
            .google_keys(self.google.jwks())
    }

    /// The route at which an instance signs in, and the body of its request
    ///
    /// The form of the id decides the cloud.
    pub fn sign_in(&self, instance: &str, agent_name: Option<&str>) -> (String, String) {
        let (cloud, mut body) = if instance.parse::<uuid::Uuid>().is_ok() {
            let subscription = "8d10da13-8125-4ba9-a717-bf7490507b3d";
            let [from, to] = ["11/20/26 23:00:00 -0000", "11/21/26 05:00:00 -0000"];
            let document = azure::Document::new(instance, subscription, from, to).to_json();
            let signature = self.azure.sign(document.as_bytes());
            ("azure", json!({ "signature": signature, "encoding": "pkcs7" }))
        } else if instance.parse::<u64>().is_ok() {
            let claims = google::Claims::new(instance, "project", "coder", now());
            ("google", json!({ "json_web_token": self.google.sign(&claims.to_json()) }))
        } else {
            ("aws", proof(&self.aws, instance, None))
        };
        if let Some(name) = agent_name {
            body["agent_name"] = name.into();
        }
        (format!("/api/v2/workspaceagents/{cloud}-instance-identity"), body.to_string())
    }
}
