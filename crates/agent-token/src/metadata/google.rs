use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::HeaderName;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Fetched, Form, LINK_LOCAL, Metadata, Timeouts, no_address};
use crate::failure::Failure;

impl Metadata<'_> {
    /// Fetches the identity token ("Verify the identity of VM instances")
    ///
    /// The address is tried before the name, because it does not need a resolver. An instance
    /// without IPv4 only has the name.
    pub(super) async fn google(&self, form: Form, timeouts: Timeouts) -> Result<Value, Failure> {
        let path = format!(
            "/computeMetadata/v1/instance/service-accounts/default/identity?audience={}&format=full",
            escape(self.audience)
        );
        let mut failures: Option<Failure> = None;
        for base in self.addresses(&[LINK_LOCAL, "http://metadata.google.internal"])? {
            let asked = (&Method::GET, &base, path.as_str());
            let failure = match self.fetch(asked, &[(FLAVOR, "Google")], timeouts).await {
                Ok(fetched) if is_token(&fetched, form) => {
                    return Ok(json!({ "json_web_token": fetched.text.trim() }));
                }
                Ok(fetched) => fetched.is_not("an identity token"),
                Err(error) => {
                    let hint = match error.status {
                        Some(StatusCode::NOT_FOUND) => {
                            "; an instance without a service account has no identity token"
                        }
                        _ => "",
                    };
                    error.failure.with(hint)
                }
            };
            failures = Some(match failures {
                Some(first) => first.and(&failure),
                None => failure,
            });
        }
        Err(failures.unwrap_or_else(no_address))
    }
}

/// Whether the answer is a JSON Web Token, from a service that names itself Google's
fn is_token(fetched: &Fetched, form: Form) -> bool {
    let is_named = fetched.response.headers.get(FLAVOR).is_some_and(|flavor| flavor == "Google");
    let segments: Vec<_> = fetched.text.trim().split('.').collect();
    let is_segment = |text: &&str| !text.is_empty() && URL_SAFE_NO_PAD.decode(text).is_ok();
    (is_named || form == Form::Lenient) && segments.len() == 3 && segments.iter().all(is_segment)
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

const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");
