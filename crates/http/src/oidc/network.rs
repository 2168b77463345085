use http::Uri;
use http::header::{HeaderName, HeaderValue};
use identity_fetch::Fetcher;
use oidc_client::{Cause, Fetch, Request};

/// The network on the way to a provider
#[derive(Clone, Debug)]
pub(crate) struct Network(pub(crate) Fetcher);

impl Fetch for Network {
    async fn fetch(&self, request: Request) -> Result<Vec<u8>, Cause> {
        let url: Uri = request.url.parse()?;
        let mut headers = Vec::new();
        for (name, value) in &request.headers {
            let mut value = HeaderValue::from_str(value)?;
            value.set_sensitive(true);
            headers.push((HeaderName::from_static(name), value));
        }
        let (takes_refusals, limit) = (request.takes_refusals, request.limit);
        let fetched = match request.form {
            Some(form) if takes_refusals => {
                self.0.post_to_oauth(&url, &headers, form.into(), limit).await?
            }
            Some(form) => self.0.post(&url, &headers, form.into(), limit).await?,
            None => self.0.get_with(&url, &headers, limit).await?,
        };
        Ok(fetched.body.into())
    }
}
