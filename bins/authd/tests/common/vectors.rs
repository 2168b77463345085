//! Proofs captured from real clouds, and forgeries of them
//!
//! They are not part of the repository. The tests read them from the folder `AUTHD_VECTORS`
//! if that is set, and otherwise say that they were not read.

#![allow(clippy::print_stderr, reason = "who runs the tests shall know what they did not run")]

use std::path::{Path, PathBuf};

use serde_json::Value;

/// The listed proofs and where their files are
pub struct Vectors {
    folder: PathBuf,
    manifest: Value,
}

/// One listed proof
pub struct Vector<'a> {
    folder: &'a Path,
    entry: &'a Value,
}

impl Vectors {
    pub fn read() -> Option<Self> {
        let Some(vectors) = std::env::var_os("AUTHD_VECTORS") else {
            eprintln!("!! RAN WITHOUT CAPTURED PROOFS: `AUTHD_VECTORS` is not set");
            return None;
        };
        let folder = Path::new(&vectors).join("identity");
        let manifest = std::fs::read(folder.join("manifest.json")).unwrap();
        Some(Self { folder, manifest: serde_json::from_slice(&manifest).unwrap() })
    }

    pub fn iter(&self) -> impl Iterator<Item = Vector<'_>> {
        let entries = self.manifest["vectors"].as_array().unwrap().iter();
        entries.map(|entry| Vector { folder: &self.folder, entry })
    }
}

impl Vector<'_> {
    pub fn id(&self) -> &str {
        self.entry["id"].as_str().unwrap()
    }

    /// `aws`, `azure` or `gcp`
    pub fn cloud(&self) -> &str {
        self.entry["cloud"].as_str().unwrap()
    }

    /// Where the bytes of one field are
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

    /// The policy as a JSON object, empty where the vector has none
    pub fn policy(&self) -> Value {
        match &self.entry["policy"] {
            Value::Null => Value::Object(serde_json::Map::new()),
            policy => policy.clone(),
        }
    }

    /// Lays out what it wants trusted, in the shape of a trust folder
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

    /// What must be said of an accepted proof
    pub fn expected(&self) -> &Value {
        &self.entry["expect"]
    }

    /// Whether another outcome than the listed one would do
    pub fn is_optional(&self) -> bool {
        self.entry["optional"] == true
    }
}
