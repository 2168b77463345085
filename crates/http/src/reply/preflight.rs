use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
    HeaderMap, HeaderName, HeaderValue, VARY,
};
use serde::{Deserialize, Serialize};

/// A browser's question, on behalf of a page, whether it may ask
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Preflight {
    origin: String,
    method: String,
    /// The names as they were sent; empty if there are none
    headers: String,
}

impl Preflight {
    /// What a page of `origin` wants to ask; nothing if that is not said, or is more than
    /// any page asks
    pub(crate) fn of(origin: &str, headers: &HeaderMap) -> Option<Self> {
        let method = single(headers, &ACCESS_CONTROL_REQUEST_METHOD)?;
        let names = match headers.contains_key(ACCESS_CONTROL_REQUEST_HEADERS) {
            true => single(headers, &ACCESS_CONTROL_REQUEST_HEADERS)?,
            false => "",
        };
        let sound = is_token(method)
            && method.len() <= MAX_METHOD
            && names.len() <= MAX_NAMES
            && (names.is_empty() || names.split(',').all(|name| is_token(name.trim())));
        sound.then(|| Self {
            origin: origin.to_owned(),
            method: method.to_owned(),
            headers: names.to_owned(),
        })
    }

    /// Answers that the page may ask just that
    pub(crate) fn allow(&self, headers: &mut HeaderMap) {
        for (name, value) in [
            (ACCESS_CONTROL_ALLOW_ORIGIN, &*self.origin),
            (ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"),
            (ACCESS_CONTROL_ALLOW_METHODS, &self.method),
            (ACCESS_CONTROL_ALLOW_HEADERS, &self.headers),
            (VARY, "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        ] {
            match HeaderValue::from_str(value) {
                Ok(value) if !value.is_empty() => drop(headers.insert(name, value)),
                _ => {}
            }
        }
    }
}

/// The value of a header that is there once
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    value.to_str().ok()
}

/// Whether it is a token (RFC 9110, section 5.6.2), as methods and names of headers are
fn is_token(text: &str) -> bool {
    let is_sign = |byte: &u8| b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_sign(&byte))
}

/// Longer than any method in use
const MAX_METHOD: usize = 32;

/// Some dozens of names
const MAX_NAMES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, names: &str) -> Option<Preflight> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_str(method).unwrap());
        if !names.is_empty() {
            headers.insert(ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_str(names).unwrap());
        }
        Preflight::of("https://a.example", &headers)
    }

    #[test]
    fn what_is_asked_is_allowed_and_no_more() {
        let mut headers = HeaderMap::new();
        asked("PUT", "x-a, content-type").unwrap().allow(&mut headers);
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_METHODS], "PUT");
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_HEADERS], "x-a, content-type");
        let mut headers = HeaderMap::new();
        asked("GET", "").unwrap().allow(&mut headers);
        assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_HEADERS));
    }

    #[test]
    fn what_no_browser_asks_is_no_preflight() {
        let long = "x".repeat(MAX_NAMES + 1);
        for (method, names) in [
            ("", ""),
            ("GET, PUT", ""),
            ("*/*", ""),
            (&"M".repeat(MAX_METHOD + 1), ""),
            ("GET", "x-a,,x-b"),
            ("GET", "x a"),
            ("GET", "x\ta:"),
            ("GET", &long),
        ] {
            assert_eq!(asked(method, names), None, "{method} {names}");
        }
        assert_eq!(Preflight::of("https://a.example", &HeaderMap::new()), None);
    }
}
