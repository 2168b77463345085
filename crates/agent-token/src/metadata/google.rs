use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::HeaderName;
use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::{FetchError, Fetched, Form, LINK_LOCAL, Metadata, Timeouts, no_address};
use crate::cloud::Cloud;
use crate::failure::Failure;

impl Metadata<'_> {
    /// Fetches the identity token ("Verify the identity of VM instances")
    ///
    /// The addresses are tried before the name, because they do not need a resolver. All belong to
    /// one service, so a status at one of them is its answer.
    pub(super) async fn google(&self, form: Form, timeouts: Timeouts) -> Result<Value, Failure> {
        let audience = match self.nonce(Cloud::Google) {
            // The form that the control plane expects.
            Some(nonce) => format!("{}?nonce={nonce}", self.audience),
            None => self.audience.to_owned(),
        };
        let path = format!(
            "/computeMetadata/v1/instance/service-accounts/default/identity?audience={}&format=full",
            escape(&audience)
        );
        let mut failures: Option<Failure> = None;
        for base in self.addresses(&ADDRESSES)? {
            let asked = (&Method::GET, &base, path.as_str());
            let failure = match self.fetch(asked, &[(FLAVOR, "Google")], timeouts).await {
                Ok(fetched) if is_token(&fetched, form) => {
                    return Ok(json!({ "json_web_token": fetched.text.trim() }));
                }
                Ok(fetched) => fetched.is_not("an identity token"),
                Err(FetchError { status: Some(status), failure, .. }) => {
                    return Err(match status {
                        StatusCode::NOT_FOUND => failure
                            .with("; an instance without a service account has no identity token"),
                        _ => failure,
                    });
                }
                Err(error) => error.failure,
            };
            failures = Some(match failures {
                Some(first) => first.and(&failure),
                None => failure,
            });
        }
        Err(failures.unwrap_or_else(no_address))
    }
}

/// Whether the answer is a complete JSON Web Token, from a service that names itself Google's
fn is_token(fetched: &Fetched, form: Form) -> bool {
    let is_named = fetched.response.headers.get(FLAVOR).is_some_and(|flavor| flavor == "Google");
    (is_named || form == Form::Lenient) && is_jws(fetched.text.trim())
}

/// Whether `text` consists of a header, claims and a signature (RFC 7515, 3.1)
fn is_jws(text: &str) -> bool {
    let is_object = |bytes: &[u8]| serde_json::from_slice::<Map<String, Value>>(bytes).is_ok();
    let segments = text.split('.').map(|segment| URL_SAFE_NO_PAD.decode(segment).ok());
    match segments.collect::<Option<Vec<_>>>().as_deref() {
        Some([header, claims, signature]) => {
            is_object(header) && is_object(claims) && signature.len() >= SHORTEST_SIGNATURE
        }
        _ => false,
    }
}

/// Percent-encodes all characters but the unreserved ones (RFC 3986, 2.3)
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

/// The second is for instances without IPv4 ("About VM metadata")
const ADDRESSES: [&str; 3] =
    [LINK_LOCAL, "http://[fd20:ce::254]", "http://metadata.google.internal"];

/// Of RS256, whose keys have at least 2048 bits (RFC 7518, 3.3)
const SHORTEST_SIGNATURE: usize = 256;

const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");
