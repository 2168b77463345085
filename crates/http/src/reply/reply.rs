use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue, LOCATION,
    RETRY_AFTER, SET_COOKIE, VARY, WWW_AUTHENTICATE,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::page::{Page, PageLink};
use super::{CHALLENGE, Preflight, Problem, RETRY_AFTER_SECONDS, Response, json};
use crate::request_facts::{RequestId, X_REQUEST_ID};

/// The answer to a visitor in place of the app
///
/// It can travel in a header: nginx receives it with its check and fetches the answer afterwards.
/// Another replica may answer, so fields that only a later release has are ignored, and empty ones
/// are left out. A field that an earlier release must not ignore requires another header.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Reply {
    status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    cookies: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    page: Option<Page>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    json: Option<Value>,
    /// Permits something, so one with an unknown field is not read
    #[serde(default, skip_serializing_if = "Option::is_none")]
    preflight: Option<Preflight>,
    /// The origin of the page that may read the answer
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    /// When the request may be repeated, in seconds
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    /// The id of the request that was decided, where the answer is fetched with another one
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<String>,
}

impl Reply {
    /// The problem as a page
    pub(crate) fn page(problem: Problem<'_>) -> Self {
        let (status, retry_after) = (problem.status, problem.retry_after());
        Self { page: Some(Page::of(problem)), retry_after, ..Self::status(status) }
    }

    /// The problem as JSON
    pub(crate) fn json(problem: &Problem<'_>) -> Self {
        let (json, retry_after) = (Some(problem.to_json()), problem.retry_after());
        Self { json, retry_after, ..Self::status(problem.status) }
    }

    pub(crate) fn redirect(status: StatusCode, location: String) -> Self {
        Self { location: Some(location), ..Self::status(status) }
    }

    /// Answers a browser's preflight request: the page may make the request
    pub(crate) fn preflight(preflight: Preflight) -> Self {
        Self { preflight: Some(preflight), ..Self::status(StatusCode::NO_CONTENT) }
    }

    fn status(status: StatusCode) -> Self {
        Self {
            status: status.as_u16(),
            location: None,
            cookies: Vec::new(),
            page: None,
            json: None,
            preflight: None,
            origin: None,
            retry_after: None,
            request: None,
        }
    }

    /// The same; a page has these hints for the operator
    pub(crate) fn with_warnings(mut self, warnings: Vec<String>) -> Self {
        if let Some(page) = &mut self.page {
            page.warnings = warnings;
        }
        self
    }

    /// The same; a page says as whom its visitor is signed in
    pub(crate) fn for_user(mut self, username: Option<String>) -> Self {
        if let Some(page) = &mut self.page {
            page.username = username;
        }
        self
    }

    /// The same; a page has these links
    pub(crate) fn with_links(mut self, links: impl IntoIterator<Item = PageLink>) -> Self {
        if let Some(page) = &mut self.page {
            page.links.extend(links);
        }
        self
    }

    /// The same, for pages of that origin to read
    pub(crate) fn readable_by(self, origin: Option<String>) -> Self {
        Self { origin, ..self }
    }

    /// The same, as the answer to the request with that id, whichever request fetches it
    pub(crate) fn for_request(self, id: RequestId) -> Self {
        Self { request: Some(id.to_string()), ..self }
    }

    /// The same, and a cookie with it
    pub(crate) fn with_cookie(mut self, cookie: Option<HeaderValue>) -> Self {
        let text = cookie.and_then(|cookie| cookie.to_str().ok().map(str::to_owned));
        self.cookies.extend(text);
        self
    }

    /// The HTTP answer
    pub(crate) fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let mut response = match (self.page, self.json) {
            (Some(page), _) => page.into_response(),
            (None, Some(value)) => json(status, &value),
            (None, None) => Response::default(),
        };
        *response.status_mut() = status;
        let headers = response.headers_mut();
        // A location may contain what a visitor sent, and a header does not allow every byte.
        let location = self.location.as_deref().map(|at| HeaderValue::from_str(&encoded(at)));
        if let Some(Ok(location)) = location {
            headers.insert(LOCATION, location);
        }
        if let Some(preflight) = &self.preflight {
            preflight.allow(headers);
        }
        let origin = self.origin.as_deref().filter(|_| self.preflight.is_none());
        if let Some(Ok(origin)) = origin.map(HeaderValue::from_str) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            headers.insert(VARY, HeaderValue::from_static("Origin"));
        }
        let request = self.request.as_deref().and_then(RequestId::parse);
        let request = request.map(|id| HeaderValue::from_str(&id.to_string()));
        if let Some(Ok(id)) = request {
            headers.insert(X_REQUEST_ID, id);
        }
        for cookie in &self.cookies {
            if let Ok(cookie) = HeaderValue::from_str(cookie) {
                headers.append(SET_COOKIE, cookie);
            }
        }
        match status {
            StatusCode::UNAUTHORIZED => drop(headers.insert(WWW_AUTHENTICATE, CHALLENGE)),
            StatusCode::SERVICE_UNAVAILABLE => {
                let known = self.retry_after.map(HeaderValue::from);
                headers.insert(RETRY_AFTER, known.unwrap_or(RETRY_AFTER_SECONDS));
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

    /// Reads what [`to_header`](Self::to_header) wrote, in this release or in another
    ///
    /// The text is not signed, so only a trusted proxy may send it. Returns `None` for a status that
    /// does not turn a visitor away: the proxy would take one such as 101 for more than an answer.
    pub(crate) fn from_header(header: &HeaderValue) -> Option<Self> {
        let text = URL_SAFE_NO_PAD.decode(header.as_bytes()).ok()?;
        let reply: Self = serde_json::from_slice(&text).ok()?;
        let is_preflight = reply.status == 204 && reply.preflight.is_some();
        (is_preflight || matches!(reply.status, 303 | 307 | 400..=599)).then_some(reply)
    }
}

/// The text with every byte encoded that a URL must not contain
///
/// Browsers send a backslash in a query as it is, and scripts send anything.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#' | b'"' | b'<' | b'>') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_url_must_not_contain_is_encoded() {
        assert_eq!(encoded("a=\\&b=\"<é>\"&c=%2F#"), "a=%5C&b=%22%3C%C3%A9%3E%22&c=%2F%23");
    }

    #[test]
    fn releases_read_the_replies_of_each_other() {
        let problem = Problem::new(StatusCode::NOT_FOUND, "other", "Message", "Detail");
        let text = URL_SAFE_NO_PAD.decode(Reply::page(problem).to_header().as_bytes()).unwrap();
        let common = r#"{"status":404,"page":{"status":404,"title":"Message","text":"Detail"}}"#;
        assert_eq!(String::from_utf8(text).unwrap(), common);
        let later = r#"{"status":404,"later":{},"page":{"status":404,"title":"Message",
            "text":"Detail","later":[],"links":[{"text":"A","url":"/","later":1}]}}"#;
        let header = HeaderValue::from_str(&URL_SAFE_NO_PAD.encode(later)).unwrap();
        let page = Reply::from_header(&header).unwrap().page.unwrap();
        assert_eq!((&*page.title, page.links.len()), ("Message", 1));
    }
}
