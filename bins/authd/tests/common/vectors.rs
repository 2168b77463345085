//! Proofs of real clouds and of our own, and forgeries of them
//!
//! `crates/identity-verify/tests/vectors/README.md` describes their origin.

#![allow(clippy::print_stderr, reason = "a test must report what it skipped")]

use std::path::{Path, PathBuf};

use serde_json::Value;

/// One listed proof
pub struct Vector {
    folder: PathBuf,
    entry: Value,
}

/// The proofs of the repository, or if `AUTHD_VECTORS` is set those of that folder, which has
/// the same ones and those captured from real clouds
pub fn read() -> Vec<Vector> {
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates/identity-verify/tests/vectors");
    let folder = std::env::var_os("AUTHD_VECTORS").unwrap_or_else(|| {
        eprintln!("!! RAN WITHOUT CAPTURED PROOFS: `AUTHD_VECTORS` is not set");
        kept.into()
    });
    let folder = Path::new(&folder).join("identity");
    let manifest = std::fs::read(folder.join("manifest.json")).unwrap();
    let mut manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let Value::Array(entries) = manifest["vectors"].take() else { panic!("no list") };
    let vectors: Vec<_> =
        entries.into_iter().map(|entry| Vector { folder: folder.clone(), entry }).collect();
    assert!(vectors.len() >= 71, "only {}", vectors.len());
    vectors
}

impl Vector {
    pub fn id(&self) -> &str {
        self.entry["id"].as_str().unwrap()
    }

    /// `aws`, `azure` or `gcp`
    pub fn cloud(&self) -> &str {
        self.entry["cloud"].as_str().unwrap()
    }

    /// The file with the bytes of one field
    pub fn path(&self, field: &str) -> Option<PathBuf> {
        Some(self.folder.join(self.entry["files"][field].as_str()?))
    }

    /// The bytes of one field
    pub fn file(&self, field: &str) -> Option<Vec<u8>> {
        Some(std::fs::read(self.path(field)?).unwrap())
    }

    pub fn verify_at(&self) -> &str {
        self.entry["verify_at"].as_str().unwrap()
    }

    /// The policy as a JSON object; empty if the vector does not have one
    pub fn policy(&self) -> Value {
        match &self.entry["policy"] {
            Value::Null => Value::Object(serde_json::Map::new()),
            policy => policy.clone(),
        }
    }

    /// Writes a trust folder with everything that verifying the vector needs
    pub fn write_trust(&self, folder: &Path) {
        let copy = |from: PathBuf, to: &str| {
            let to = folder.join(to);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(from, to).unwrap();
        };
        std::fs::create_dir_all(folder).unwrap();
        match self.entry["trust"].as_str().unwrap() {
            "production" => {}
            "azure-minted" => {
                let minted = self.folder.join("azure-minted");
                copy(minted.join("root.pem"), "azure/roots/root.pem");
                copy(minted.join("intermediate.pem"), "azure/intermediates/intermediate.pem");
            }
            jwks => copy(self.folder.join(jwks), "google/jwks.json"),
        }
    }

    pub fn is_accepted(&self) -> bool {
        self.entry["expect"]["outcome"] == "accept"
    }

    /// The facts that an accepted proof must prove
    pub fn expected(&self) -> &Value {
        &self.entry["expect"]
    }

    /// Whether another outcome than the listed one is allowed
    pub fn is_optional(&self) -> bool {
        self.entry["optional"] == true
    }
}
