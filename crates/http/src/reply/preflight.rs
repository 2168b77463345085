use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
    HeaderMap, HeaderName, HeaderValue, VARY,
};
use serde::{Deserialize, Serialize};

/// A browser's preflight request: may a page make this request?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Preflight {
    origin: String,
    method: String,
    /// The names of headers as they were sent; empty if none were
    headers: String,
}

impl Preflight {
    /// Reads the preflight request of a page of `origin`
    ///
    /// Returns `None` if the headers do not form one, or exceed the limits.
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

    /// Adds headers that allow exactly this request
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

/// The value of a header that occurs exactly once
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    value.to_str().ok()
}

/// Whether the text is a token (RFC 9110, section 5.6.2), as methods and header names are
fn is_token(text: &str) -> bool {
    let is_sign = |byte: &u8| b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_sign(&byte))
}

/// In bytes; longer than any method in use
const MAX_METHOD: usize = 32;

/// In bytes, which is enough for dozens of names
const MAX_NAMES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn preflight(method: &str, names: &str) -> Option<Preflight> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_str(method).unwrap());
        if !names.is_empty() {
            headers.insert(ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_str(names).unwrap());
        }
        Preflight::of("https://a.example", &headers)
    }

    #[test]
    fn exactly_what_is_requested_is_allowed() {
        let mut headers = HeaderMap::new();
        preflight("PUT", "x-a, content-type").unwrap().allow(&mut headers);
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_METHODS], "PUT");
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_HEADERS], "x-a, content-type");
        let mut headers = HeaderMap::new();
        preflight("GET", "").unwrap().allow(&mut headers);
        assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_HEADERS));
    }

    #[test]
    fn headers_that_no_browser_sends_are_not_a_preflight() {
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
            assert_eq!(preflight(method, names), None, "{method} {names}");
        }
        assert_eq!(Preflight::of("https://a.example", &HeaderMap::new()), None);
    }
}
