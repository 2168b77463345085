use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::HeaderName;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Fetched, Form, LINK_LOCAL, Metadata, Timeouts};
use crate::machine::trouble::Trouble;

impl Metadata<'_> {
    /// The identity token ("Verify the identity of VM instances")
    ///
    /// The address comes before the name: it needs no resolver. An instance without IPv4
    /// has the name alone.
    pub(super) async fn google(&self, form: Form, timeouts: Timeouts) -> Result<Value, Trouble> {
        let path = format!(
            "/computeMetadata/v1/instance/service-accounts/default/identity?audience={}&format=full",
            escape(self.audience)
        );
        let mut troubles: Option<Trouble> = None;
        for base in self.addresses(&[LINK_LOCAL, "http://metadata.google.internal"])? {
            let asked = (&Method::GET, &base, path.as_str());
            let trouble = match self.fetch(asked, &[(FLAVOR, "Google")], timeouts).await {
                Ok(fetched) if is_token(&fetched, form) => {
                    return Ok(json!({ "json_web_token": fetched.text.trim() }));
                }
                Ok(fetched) => fetched.is_not("an identity token"),
                Err(miss) => {
                    let hint = match miss.status {
                        Some(StatusCode::NOT_FOUND) => {
                            "; an instance without a service account has no identity token"
                        }
                        _ => "",
                    };
                    miss.trouble.with(hint)
                }
            };
            troubles = Some(match troubles {
                Some(first) => first.and(&trouble),
                None => trouble,
            });
        }
        Err(troubles.unwrap_or_else(|| Trouble::lasting("an address to ask is missing")))
    }
}

/// Whether it is a JSON Web Token, of a service that says that it is Google's
fn is_token(fetched: &Fetched, form: Form) -> bool {
    let says_so = fetched.answer.headers.get(FLAVOR).is_some_and(|flavor| flavor == "Google");
    let segments: Vec<_> = fetched.text.trim().split('.').collect();
    let is_segment = |text: &&str| !text.is_empty() && URL_SAFE_NO_PAD.decode(text).is_ok();
    (says_so || form == Form::Lenient) && segments.len() == 3 && segments.iter().all(is_segment)
}

/// Percent-encodes all but the unreserved characters (RFC 3986, 2.3)
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
