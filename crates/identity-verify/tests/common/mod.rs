//! Listed proofs; `vectors/README.md` says where they come from

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![allow(dead_code, unreachable_pub, reason = "each test uses some of it")]

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use identity_verify::{Error, Policy, VerifiedInstance, aws, azure, google, test_util::at};
use serde_json::Value;

/// The folder `identity` in the folder that `AUTHD_VECTORS` names
///
/// It has what the repository has, proofs captured from real clouds, and the vendors'
/// certificates. Without the variable returns `None`, after a line on standard error.
pub fn captured() -> Option<PathBuf> {
    let folder =
        std::env::var_os("AUTHD_VECTORS").map(|folder| Path::new(&folder).join("identity"));
    if folder.is_none() {
        // Not a print macro, which is silent in a test that passes.
        let warning = b"WARNING: `AUTHD_VECTORS` is not set: NO CAPTURED PROOF WAS TESTED\n";
        std::io::stderr().write_all(warning).unwrap();
    }
    folder
}

pub fn json(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The proofs of the repository, then the captured ones if they are there
pub fn vectors() -> Vec<Vector> {
    let kept = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/identity"));
    let mut vectors = read(kept);
    if let Some(captured) = captured() {
        let known: BTreeSet<String> = vectors.iter().map(|vector| vector.id.clone()).collect();
        vectors.extend(read(&captured).into_iter().filter(|vector| !known.contains(&vector.id)));
    }
    vectors
}

fn read(folder: &Path) -> Vec<Vector> {
    let manifest = json(&folder.join("manifest.json"));
    let read = |entry: &Value| Vector::read(folder, entry);
    manifest["vectors"].as_array().unwrap().iter().map(read).collect()
}

/// One proof and what is to become of it
pub struct Vector {
    pub id: String,
    pub expect: Value,
    /// Whether the other outcome is correct too
    pub optional: bool,
    pub now: SystemTime,
    pub proof: Proof,
    policy: Policy,
    trust: Trust,
}

/// What a client would send
#[derive(Clone)]
pub enum Proof {
    AwsSignature { document: Vec<u8>, signature: Vec<u8> },
    AwsPkcs7 { pkcs7: Vec<u8>, document: Option<Vec<u8>> },
    Azure { signature: Vec<u8> },
    Google { token: Vec<u8> },
}

enum Trust {
    Aws,
    Azure(azure::Trust),
    Google(google::Jwks),
}

impl Vector {
    fn read(folder: &Path, entry: &Value) -> Self {
        let file = |name: &str| {
            let path = entry["files"].get(name)?;
            Some(fs::read(folder.join(text(path))).unwrap())
        };
        let (proof, trust) = match text(&entry["kind"]) {
            "signature" => {
                let (document, signature) = (file("document").unwrap(), file("signature").unwrap());
                (Proof::AwsSignature { document, signature }, Trust::Aws)
            }
            "pkcs7-rsa2048" | "pkcs7-dsa-sha1" => {
                let pkcs7 = file("pkcs7").unwrap();
                (Proof::AwsPkcs7 { pkcs7, document: file("document") }, Trust::Aws)
            }
            "attested-data" => {
                let trust = Trust::Azure(azure_trust(folder, text(&entry["trust"])));
                (Proof::Azure { signature: file("signature").unwrap() }, trust)
            }
            "identity-jwt" => {
                let jwks = fs::read(folder.join(text(&entry["trust"]))).unwrap();
                let trust = Trust::Google(google::Jwks::parse(&jwks).unwrap());
                (Proof::Google { token: file("jwt").unwrap() }, trust)
            }
            kind => panic!("unknown kind of proof: {kind}"),
        };
        Self {
            id: text(&entry["id"]).to_owned(),
            expect: entry["expect"].clone(),
            optional: entry["optional"] == true,
            now: at(text(&entry["verify_at"])),
            proof,
            policy: match &entry["policy"] {
                Value::Null => Policy::default(),
                policy => serde_json::from_value(policy.clone()).unwrap(),
            },
            trust,
        }
    }

    pub fn accepted(&self) -> bool {
        text(&self.expect["outcome"]) == "accept"
    }

    pub fn verifier(
        &self,
    ) -> impl Fn(&Proof, SystemTime) -> Result<VerifiedInstance, Error> + use<> {
        let aws = aws::Verifier::new(aws::Keys::builtin(), self.policy.clone());
        let google = google::Verifier::new(self.policy.clone());
        let (azure, jwks) = match &self.trust {
            Trust::Aws => (azure::Trust::none(), google::Jwks::none()),
            Trust::Azure(trust) => (trust.clone(), google::Jwks::none()),
            Trust::Google(jwks) => (azure::Trust::none(), jwks.clone()),
        };
        let azure = azure::Verifier::new(azure, self.policy.clone());
        move |proof, now| match proof {
            Proof::AwsSignature { document, signature } => {
                aws.verify(&aws::SignedDocument { document, signature }, now)
            }
            Proof::AwsPkcs7 { pkcs7, document } => {
                aws.verify_pkcs7(&aws::Pkcs7 { pkcs7, document: document.as_deref() }, now)
            }
            Proof::Azure { signature } => azure.verify(&azure::AttestedData { signature }, now),
            Proof::Google { token } => google.verify(&google::IdentityToken { token }, now, &jwks),
        }
    }
}

fn azure_trust(folder: &Path, name: &str) -> azure::Trust {
    if name == "production" {
        return azure::Trust::builtin();
    }
    let mut trust = azure::Trust::none();
    let file = |file| fs::read(folder.join(name).join(file)).unwrap();
    trust.add_root_pem(&file("root.pem")).unwrap();
    trust.add_intermediate_pem(&file("intermediate.pem")).unwrap();
    trust
}
