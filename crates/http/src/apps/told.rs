use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{HeaderValue, LOCATION, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Preflight, encoded};
use crate::error::CHALLENGE;
use crate::pages::Page;

/// What a visitor is told who does not get through, or not yet
///
/// It can travel in a header: nginx asks first and fetches what to tell afterwards.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Told {
    status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    cookies: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    page: Option<Page>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    json: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    preflight: Option<Preflight>,
}

impl Told {
    pub(crate) fn page(page: Page) -> Self {
        Self { status: page.status, page: Some(page), ..Self::status(StatusCode::OK) }
    }

    pub(crate) fn of_json(status: StatusCode, body: Value) -> Self {
        Self { json: Some(body), ..Self::status(status) }
    }

    pub(crate) fn redirect(status: StatusCode, location: String) -> Self {
        Self { location: Some(location), ..Self::status(status) }
    }

    /// A browser may ask what it asks ahead for
    pub(crate) fn preflight(status: StatusCode, preflight: Preflight) -> Self {
        Self { preflight: Some(preflight), ..Self::status(status) }
    }

    fn status(status: StatusCode) -> Self {
        Self {
            status: status.as_u16(),
            location: None,
            cookies: Vec::new(),
            page: None,
            json: None,
            preflight: None,
        }
    }

    /// The same, and a cookie with it
    pub(crate) fn with_cookie(mut self, cookie: Option<HeaderValue>) -> Self {
        let text = cookie.and_then(|cookie| cookie.to_str().ok().map(str::to_owned));
        self.cookies.extend(text);
        self
    }

    /// The answer itself, with a link to `dashboard` where it is a page
    pub(crate) fn into_response(self, dashboard: &str) -> Response<Full<Bytes>> {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let mut response = match (self.page, self.json) {
            (Some(page), _) => page.into_response(Some(dashboard)),
            (None, Some(json)) => crate::routes::json(status, &json),
            (None, None) => Response::default(),
        };
        *response.status_mut() = status;
        let headers = response.headers_mut();
        // It may hold what a visitor wrote, and not all of that can stand in a header.
        let location = self.location.as_deref().map(|at| HeaderValue::from_str(&encoded(at)));
        if let Some(Ok(location)) = location {
            headers.insert(LOCATION, location);
        }
        if let Some(preflight) = &self.preflight {
            preflight.allow(headers);
        }
        for cookie in &self.cookies {
            if let Ok(cookie) = HeaderValue::from_str(cookie) {
                headers.append(SET_COOKIE, cookie);
            }
        }
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }

    /// The value of a header that [`from_header`](Self::from_header) reads
    pub(crate) fn to_header(&self) -> HeaderValue {
        let text = URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default());
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
    }

    /// Reads what [`to_header`](Self::to_header) wrote
    ///
    /// Nothing for a status that turns no visitor away: one such as 101 would be taken by
    /// the proxy for more than an answer.
    pub(crate) fn from_header(header: &HeaderValue) -> Option<Self> {
        let text = URL_SAFE_NO_PAD.decode(header.as_bytes()).ok()?;
        let told: Self = serde_json::from_slice(&text).ok()?;
        let is_preflight = told.status == 204 && told.preflight.is_some();
        (is_preflight || matches!(told.status, 303 | 307 | 400..=599)).then_some(told)
    }
}
