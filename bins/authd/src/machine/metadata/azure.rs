use hyper::header::HeaderName;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::{LINK_LOCAL, Metadata, Timeouts, is_message};
use crate::machine::trouble::Trouble;

impl Metadata<'_> {
    /// The attested data ("Azure Instance Metadata Service", section "Attested data")
    pub(super) async fn azure(&self, timeouts: Timeouts) -> Result<Value, Trouble> {
        let path = "/metadata/attested/document?api-version=2020-09-01";
        let mut trouble = Trouble::lasting("an address to ask is missing");
        for base in self.addresses(&[LINK_LOCAL])? {
            let asked = (&Method::GET, &base, path);
            match self.fetch(asked, &[(METADATA, "true")], timeouts).await {
                Ok(fetched) => {
                    return parse(&fetched.text).ok_or_else(|| fetched.is_not("attested data"));
                }
                Err(miss) => {
                    let hint = match miss.status {
                        Some(StatusCode::NOT_FOUND) => {
                            "; container groups and app services have no attested data"
                        }
                        _ => "",
                    };
                    trouble = miss.trouble.with(hint);
                }
            }
        }
        Err(trouble)
    }
}

/// The body of a sign-in, if `text` is attested data
fn parse(text: &str) -> Option<Value> {
    let attested: Value = serde_json::from_str(text).ok()?;
    let encoding = attested["encoding"].as_str()?;
    let signature = attested["signature"].as_str()?;
    (encoding.eq_ignore_ascii_case("pkcs7") && is_message(signature))
        .then(|| json!({ "signature": signature, "encoding": encoding }))
}

const METADATA: HeaderName = HeaderName::from_static("metadata");
