//! A test Google: a key set, and a metadata server that signs tokens

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::Key;
use crate::google::Jwks;

/// A signing key and its id
#[derive(Clone, Debug)]
pub struct Cloud {
    kid: String,
    key: Key,
}

impl Cloud {
    /// Makes a key of 2048 bits with the id `test-key-1`
    #[must_use]
    pub fn generate() -> Self {
        Self::generate_bits("test-key-1", 2048)
    }

    /// Makes a key of `bits` with the id `kid`
    #[must_use]
    pub fn generate_bits(kid: &str, bits: u32) -> Self {
        Self { kid: kid.to_owned(), key: Key::generate(bits) }
    }

    /// Its key
    #[must_use]
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// Its public key as a JSON Web Key
    #[must_use]
    pub fn jwk(&self) -> Value {
        let rsa = self.key.pkey().rsa().unwrap();
        json!({
            "kty": "RSA",
            "alg": "RS256",
            "use": "sig",
            "kid": self.kid,
            "n": URL_SAFE_NO_PAD.encode(rsa.n().to_vec()),
            "e": URL_SAFE_NO_PAD.encode(rsa.e().to_vec()),
        })
    }

    /// The key set as Google publishes it, for a file `google/jwks.json` of a trust
    /// folder
    #[must_use]
    pub fn jwks_json(&self) -> String {
        json!({ "keys": [self.jwk()] }).to_string()
    }

    /// The key set to verify with
    #[must_use]
    pub fn jwks(&self) -> Jwks {
        Jwks::parse(self.jwks_json().as_bytes()).unwrap()
    }

    /// Signs a payload, and writes the token as the metadata server does
    #[must_use]
    pub fn sign(&self, payload: &str) -> String {
        let header = json!({"alg": "RS256", "kid": self.kid, "typ": "JWT"});
        self.sign_with_header(&header.to_string(), payload)
    }

    /// Signs any header and payload with RS256, even if the header names another algorithm
    #[must_use]
    pub fn sign_with_header(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", encode(header.as_bytes()), encode(payload.as_bytes()));
        let signature = self.key.sign(signed.as_bytes());
        format!("{signed}.{}", encode(&signature))
    }
}

/// The claims of an identity token, to be changed at will before they are signed
#[derive(Clone, Debug)]
pub struct Claims(pub Value);

impl Claims {
    /// Claims as the metadata server makes them at `issued`, for an hour
    ///
    /// # Panics
    ///
    /// If `issued` is before 1970.
    #[must_use]
    pub fn new(instance_id: &str, project_id: &str, audience: &str, issued: SystemTime) -> Self {
        let iat = issued.duration_since(UNIX_EPOCH).unwrap().as_secs();
        Self(json!({
            "aud": audience,
            "azp": "112179062720391305885",
            "email": format!("vm@{project_id}.iam.gserviceaccount.com"),
            "email_verified": true,
            "exp": iat + 3_600,
            "google": {"compute_engine": {
                "instance_creation_timestamp": iat.saturating_sub(86_400),
                "instance_id": instance_id,
                "instance_name": "vm-1",
                "project_id": project_id,
                "project_number": 739_419_398_126_u64,
                "zone": "us-west1-a",
            }},
            "iat": iat,
            "iss": "https://accounts.google.com",
            "sub": "112179062720391305885",
        }))
    }

    /// The same claims with the one at `pointer` (RFC 6901) as given
    ///
    /// # Panics
    ///
    /// If the claims have no such place.
    #[must_use]
    pub fn with(mut self, pointer: &str, value: Value) -> Self {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        let parent = self.0.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
        parent.insert(name.to_owned(), value);
        self
    }

    /// The same claims without the one at `pointer`
    ///
    /// # Panics
    ///
    /// If the claims have no such place.
    #[must_use]
    pub fn without(mut self, pointer: &str) -> Self {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        let parent = self.0.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
        parent.remove(name).expect("a claim");
        self
    }

    /// The payload
    #[must_use]
    pub fn to_json(&self) -> String {
        self.0.to_string()
    }
}

/// One segment of a token
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
