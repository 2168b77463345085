use hyper::header::HeaderName;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::{LINK_LOCAL, Metadata, Timeouts, is_pkcs7, no_address};
use crate::cloud::Cloud;
use crate::failure::Failure;

impl Metadata<'_> {
    /// Fetches the attested data ("Azure Instance Metadata Service", section "Attested data")
    pub(super) async fn azure(&self, timeouts: Timeouts) -> Result<Value, Failure> {
        let mut path = "/metadata/attested/document?api-version=2020-09-01".to_owned();
        if let Some(nonce) = self.nonce(Cloud::Azure) {
            path.push_str(&format!("&nonce={nonce}"));
        }
        let base = self.addresses(&[LINK_LOCAL])?.pop().ok_or_else(no_address)?;
        let fetched =
            self.fetch((&Method::GET, &base, &path), &[(METADATA, "true")], timeouts).await;
        let fetched = fetched.map_err(|error| {
            let hint = match error.status {
                Some(StatusCode::NOT_FOUND) => {
                    "; container groups and app services have no attested data"
                }
                _ => "",
            };
            error.failure.with(hint)
        })?;
        parse(&fetched.text).ok_or_else(|| fetched.is_not("attested data"))
    }
}

/// The body of a sign-in, if `text` is attested data
fn parse(text: &str) -> Option<Value> {
    let attested: Value = serde_json::from_str(text).ok()?;
    let encoding = attested["encoding"].as_str()?;
    let signature = attested["signature"].as_str()?;
    (encoding.eq_ignore_ascii_case("pkcs7") && is_pkcs7(signature))
        .then(|| json!({ "signature": signature, "encoding": encoding }))
}

const METADATA: HeaderName = HeaderName::from_static("metadata");
