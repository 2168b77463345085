use std::path::Path;

use identity_verify::test_util::aws::{Cloud, Document};

/// A region of a cloud that exists only here
pub(super) struct TestCloud(Cloud);

/// What an instance's metadata service hands out
pub(super) struct Proof {
    pub(super) document: String,
    pub(super) signature: String,
}

const REGION: &str = "demo-local-1";

impl TestCloud {
    pub(super) fn new() -> Self {
        Self(Cloud::generate(REGION))
    }

    /// Puts the public key where an operator would
    pub(super) fn publish_key(&self, folder: &Path) -> std::io::Result<()> {
        let trust = folder.join("trust/aws");
        std::fs::create_dir_all(&trust)?;
        std::fs::write(trust.join(format!("{REGION}.pem")), self.0.public_key_pem())
    }

    pub(super) fn summary(&self, folder: &Path) -> String {
        let trust = folder.join("trust");
        format!("AWS's 39 regions, and `{REGION}` from {}", trust.display())
    }

    /// Signs the document of an instance
    pub(super) fn prove(&self, instance_id: &str) -> Proof {
        let document =
            Document::new(instance_id, REGION, "123456789012", "2026-01-01T00:00:00Z").to_json();
        let signature = self.0.sign(document.as_bytes());
        Proof { document, signature }
    }
}
