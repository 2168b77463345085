//! A provider in memory, whose keys sign what a test wants

#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "helpers of tests")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oidc_client::{Cause, Client, ClientSecret, Fetch, Flow, Provider, Request};
use openssl::bn::BigNumContext;
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Signer};
use serde_json::{Value, json};

pub const ISSUER: &str = "https://id.example/realms/main";
pub const CLIENT: &str = "authd";
pub const ACCESS_TOKEN: &str = "access";

/// A key of the provider
#[derive(Clone)]
pub struct Key {
    pub kid: &'static str,
    pub algorithm: &'static str,
    key: PKey<Private>,
}

impl Key {
    pub fn new(kid: &'static str, algorithm: &'static str) -> Self {
        let key = match algorithm {
            "RS256" | "PS256" => PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap(),
            "ES256" => {
                let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
                PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
            }
            _ => PKey::generate_ed25519().unwrap(),
        };
        Self { kid, algorithm, key }
    }

    /// The public key as a set has it
    pub fn jwk(&self) -> Value {
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match self.key.id() {
            Id::RSA => {
                let rsa = self.key.rsa().unwrap();
                let (n, e) = (rsa.n().to_vec(), rsa.e().to_vec());
                json!({ "kty": "RSA", "n": encoded(&n), "e": encoded(&e) })
            }
            Id::EC => {
                let key = self.key.ec_key().unwrap();
                let mut context = BigNumContext::new().unwrap();
                let form = openssl::ec::PointConversionForm::UNCOMPRESSED;
                let point = key.public_key().to_bytes(key.group(), form, &mut context).unwrap();
                json!({
                    "kty": "EC", "crv": "P-256",
                    "x": encoded(&point[1..33]), "y": encoded(&point[33..]),
                })
            }
            _ => {
                let x = self.key.raw_public_key().unwrap();
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encoded(&x) })
            }
        };
        jwk["kid"] = self.kid.into();
        jwk["alg"] = self.algorithm.into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// A token with this payload
    pub fn sign(&self, payload: &str) -> String {
        self.sign_with(&json!({ "alg": self.algorithm, "kid": self.kid, "typ": "JWT" }), payload)
    }

    /// A token with any header, signed as the key does
    pub fn sign_with(&self, header: &Value, payload: &str) -> String {
        let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let signed = format!("{}.{}", encoded(&header.to_string()), encoded(payload));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.signature(signed.as_bytes())))
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        if self.key.id() == Id::ED25519 {
            return Signer::new_without_digest(&self.key)
                .unwrap()
                .sign_oneshot_to_vec(message)
                .unwrap();
        }
        let mut signer = Signer::new(MessageDigest::sha256(), &self.key).unwrap();
        if self.algorithm == "PS256" {
            signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
            signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).unwrap();
        }
        let signature = signer.sign_oneshot_to_vec(message).unwrap();
        if self.key.id() != Id::EC {
            return signature;
        }
        let signature = EcdsaSig::from_der(&signature).unwrap();
        let half = |number: &openssl::bn::BigNumRef| number.to_vec_padded(32).unwrap();
        [half(signature.r()), half(signature.s())].concat()
    }
}

/// A token that an attacker signs with the public key as the secret of an HMAC
pub fn hmac_with_public_key(key: &Key, payload: &str) -> String {
    let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let header = json!({ "alg": "HS256", "kid": key.kid }).to_string();
    let signed = format!("{}.{}", encoded(&header), encoded(payload));
    let secret = PKey::hmac(&key.key.public_key_to_pem().unwrap()).unwrap();
    let mut signer = Signer::new(MessageDigest::sha256(), &secret).unwrap();
    let signature = signer.sign_oneshot_to_vec(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// What the provider answers, and what it was asked
#[derive(Default)]
pub struct State {
    pub discovery: Value,
    pub keys: Value,
    /// The body of the token endpoint; without one it fails
    pub tokens: Option<String>,
    pub userinfo: Option<String>,
    pub asked: Vec<Request>,
    pub is_down: bool,
}

#[derive(Clone, Default)]
pub struct Fake(pub Arc<Mutex<State>>);

impl Fake {
    pub fn new(keys: &[&Key]) -> Self {
        let fake = Self::default();
        fake.set(|state| {
            state.discovery = discovery();
            state.keys = set(keys);
        });
        fake
    }

    pub fn set<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    /// The paths that were fetched
    pub fn fetched(&self) -> Vec<String> {
        let path = |request: &Request| request.url.rsplit('/').next().unwrap().to_owned();
        self.set(|state| state.asked.iter().map(path).collect())
    }

    pub fn provider(&self) -> Provider<Self> {
        Provider::new(client(), self.clone())
    }
}

impl Fetch for Fake {
    async fn fetch(&self, request: Request) -> Result<Vec<u8>, Cause> {
        self.set(|state| {
            let path = request.url.rsplit('/').next().unwrap().to_owned();
            state.asked.push(request);
            if state.is_down {
                return Err("down".into());
            }
            let answer = match &*path {
                "openid-configuration" => Some(state.discovery.to_string()),
                "keys" => Some(state.keys.to_string()),
                "token" => state.tokens.clone(),
                _ => state.userinfo.clone(),
            };
            answer.map(String::into_bytes).ok_or_else(|| "status 400".into())
        })
    }
}

pub fn client() -> Client {
    Client::new(ISSUER.parse().unwrap(), CLIENT, "https://authd.example/callback")
        .secret(ClientSecret::new("se cret:&"))
}

pub fn discovery() -> Value {
    json!({
        "issuer": ISSUER,
        "authorization_endpoint": "https://id.example/auth?x=1",
        "token_endpoint": "https://id.example/token",
        "jwks_uri": "https://id.example/keys",
        "end_session_endpoint": "https://id.example/end",
    })
}

pub fn set(keys: &[&Key]) -> Value {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() })
}

/// The answer of a token endpoint
pub fn tokens(id_token: &str) -> String {
    json!({ "access_token": ACCESS_TOKEN, "token_type": "Bearer", "id_token": id_token })
        .to_string()
}

pub fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

pub fn flow() -> Flow {
    let mut n = 0;
    Flow::generate(&mut |bytes| {
        n += 1;
        bytes.fill(n);
    })
}

/// The claims of a good ID token
pub fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": CLIENT, "sub": "u-1", "sid": "s-1", "iat": NOW, "exp": NOW + 300,
        "nonce": part(1),
    })
}

/// The claims of a good logout token
pub fn logout_claims() -> Value {
    json!({
        "iss": ISSUER, "aud": [CLIENT], "sub": "u-1", "sid": "s-1", "iat": NOW, "exp": NOW + 120,
        "jti": "j-1", "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
    })
}

/// State, nonce or verifier of the flow
pub fn part(n: usize) -> String {
    flow().reveal().split('.').nth(n).unwrap().to_owned()
}

pub const NOW: u64 = 1_800_000_000;
