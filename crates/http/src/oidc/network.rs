use http::Uri;
use http::header::{HeaderName, HeaderValue};
use identity_fetch::Fetcher;
use oidc_client::{Cause, Fetch, Request};

/// The network on the way to a provider
#[derive(Debug)]
pub(super) struct Network(pub(super) Fetcher);

impl Fetch for Network {
    async fn fetch(&self, request: Request) -> Result<Vec<u8>, Cause> {
        let url: Uri = request.url.parse()?;
        let mut headers = Vec::new();
        for (name, value) in &request.headers {
            let mut value = HeaderValue::from_str(value)?;
            value.set_sensitive(true);
            headers.push((HeaderName::from_static(name), value));
        }
        let fetched = match request.form {
            Some(form) => self.0.post(&url, &headers, form.into(), request.limit).await?,
            None => self.0.get_with(&url, &headers, request.limit).await?,
        };
        Ok(fetched.body.into())
    }
}
