use http::Method;
use http::header::{
    ACCEPT, ACCEPT_LANGUAGE, COOKIE, HeaderMap, HeaderName, ORIGIN, REFERER, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE, UPGRADE_INSECURE_REQUESTS, USER_AGENT,
};

/// What a request is for, and so what its client can do with an answer that is not the app's
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A browser in which a person navigates: it follows a redirect, and shows a page
    Navigation,
    /// A browser that navigates with another method than GET and HEAD: it shows a page, but a
    /// redirect would lose what it sends
    Submission,
    /// It does not say what it does, and accepts pages: a command such as `curl`, or a library
    Unstated,
    /// A script, an image, a worker or a WebSocket of a page, or a program that accepts no page
    Program,
}

impl Purpose {
    /// `method` is that of the client, also if a proxy asks
    ///
    /// Browsers say what a request is for (Fetch Metadata, sections 2.1 and 2.2:
    /// <https://www.w3.org/TR/fetch-metadata/>). One that does not, because it is old or its
    /// connection is not secure, navigates if it asks for `text/html`: no script, image or worker
    /// asks for that by default.
    pub(crate) fn of(method: &str, headers: &HeaderMap) -> Self {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let is_script =
            text(REQUESTED_WITH).is_some_and(|by| by.eq_ignore_ascii_case("XMLHttpRequest"));
        let stated = match (text(SEC_FETCH_MODE), text(SEC_FETCH_DEST)) {
            (Some(mode), _) => Some(mode == "navigate"),
            (None, Some(dest)) => Some(DOCUMENTS.contains(&dest)),
            (None, None) => None,
        };
        let reads = method == Method::GET || method == Method::HEAD;
        match (stated, accepts(headers)) {
            _ if is_upgrade(headers) || is_script => Self::Program,
            (Some(false), _) | (None, Accepts::NoPages) => Self::Program,
            (Some(true), _) if reads => Self::Navigation,
            (Some(true), _) => Self::Submission,
            (None, Accepts::Html) if reads => Self::Navigation,
            (None, Accepts::Html | Accepts::Anything) => Self::Unstated,
        }
    }

    /// Whether a person navigates
    pub(crate) const fn navigates(self) -> bool {
        matches!(self, Self::Navigation | Self::Submission)
    }

    /// Whether the client is shown pages; any other gets JSON
    pub(crate) const fn is_shown_pages(self) -> bool {
        !matches!(self, Self::Program)
    }
}

/// Whether a person sees the answer to a request that fails
///
/// A browser that navigates shows what it gets, and so does one that submits a form over a
/// connection that is not secure, of which it says nothing but what it accepts. A client that
/// prefers JSON gets JSON.
pub(crate) fn prefers_pages(method: &str, headers: &HeaderMap) -> bool {
    let html = weight(headers, b"text/html");
    match Purpose::of(method, headers) {
        Purpose::Program => false,
        Purpose::Submission => true,
        Purpose::Navigation if headers.contains_key(SEC_FETCH_MODE) => true,
        Purpose::Navigation if headers.contains_key(SEC_FETCH_DEST) => true,
        Purpose::Navigation | Purpose::Unstated => {
            html > 0 && html >= weight(headers, b"application/json")
        }
    }
}

/// The largest weight that the client gives a type by name, in thousandths; 0 if it does not name
/// it (RFC 9110, section 12.4.2)
fn weight(headers: &HeaderMap, media: &[u8]) -> u16 {
    let named = ranges(headers).filter(|(name, _)| name.eq_ignore_ascii_case(media));
    let weights = named
        .map(|(_, mut parameters)| parameters.find_map(stated_weight).map_or(1000, thousandths));
    weights.max().unwrap_or_default()
}

/// The media types that the client accepts, each with its parameters
fn ranges(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], impl Iterator<Item = &[u8]>)> {
    let lines = headers.get_all(ACCEPT).into_iter();
    let ranges = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    ranges.map(|range| {
        let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        (parts.next().unwrap_or_default(), parts)
    })
}

/// The value of a parameter that is a weight
fn stated_weight(parameter: &[u8]) -> Option<&[u8]> {
    parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))
}

/// A weight such as `0.8`; one that is not well-formed counts as 0
fn thousandths(weight: &[u8]) -> u16 {
    let (whole, part) = match weight {
        [whole @ (b'0' | b'1')] => (whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', part @ ..] if part.len() <= 3 => (whole, part),
        _ => return 0,
    };
    let digits = part.iter().chain([b'0'; 3].iter()).take(3);
    let part = digits.fold(0, |sum, digit| sum * 10 + u16::from(digit.wrapping_sub(b'0').min(9)));
    (u16::from(whole - b'0') * 1000 + part).min(1000)
}

/// Whether the client asks to continue with another protocol, such as WebSocket
///
/// A proxy may leave `Upgrade` out of a check, but not the other headers of a WebSocket's handshake
/// (RFC 6455, section 4.1).
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    let names = [UPGRADE, FORWARDED_UPGRADE, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION];
    let is_socket = headers.get(SEC_FETCH_MODE).is_some_and(|mode| mode == "websocket");
    is_socket || names.iter().any(|name| headers.contains_key(name))
}

/// Whether the client may be a browser, in which a link could be followed
///
/// Every browser sends at least one of these headers, also over a connection that is not secure. No
/// page and no link can leave out all of them.
pub(crate) fn is_browser(headers: &HeaderMap) -> bool {
    keeps_cookies_of_others(headers) || headers.contains_key(COOKIE)
}

/// Whether the client may be a browser, in which pages of other hosts set cookies
///
/// The same as [`is_browser`], but for programs that send a cookie which they were given.
pub(crate) fn keeps_cookies_of_others(headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT).map(|value| value.as_bytes()).unwrap_or_default();
    agent.starts_with(b"Mozilla/") || OF_BROWSERS.iter().any(|name| headers.contains_key(name))
}

/// What a client accepts, as far as it matters here
#[derive(Clone, Copy)]
enum Accepts {
    /// `text/html` by name
    Html,
    /// Any type, or any text; also a client that does not say what it accepts, which the control
    /// plane takes for a browser
    Anything,
    NoPages,
}

/// Of weights only `q=0` counts (RFC 9110, section 12.4.2)
fn accepts(headers: &HeaderMap) -> Accepts {
    let (mut is_given, mut any) = (false, false);
    for (media, mut parameters) in ranges(headers) {
        is_given |= !media.is_empty();
        if parameters.any(is_zero_weight) {
            continue;
        }
        if media.eq_ignore_ascii_case(b"text/html") {
            return Accepts::Html;
        }
        any |= media == b"*/*" || media.eq_ignore_ascii_case(b"text/*");
    }
    if any || !is_given { Accepts::Anything } else { Accepts::NoPages }
}

/// Whether a parameter is `q=0`, with any number of zeros behind the point
fn is_zero_weight(parameter: &[u8]) -> bool {
    let weight = stated_weight(parameter);
    weight.is_some_and(|w| w.starts_with(b"0") && w.iter().all(|b| matches!(b, b'0' | b'.')))
}

/// The destinations of navigations
const DOCUMENTS: [&str; 6] = ["document", "embed", "fencedframe", "frame", "iframe", "object"];

/// Headers that browsers send, and programs only if they are told to
const OF_BROWSERS: [HeaderName; 8] = [
    ACCEPT_LANGUAGE,
    ORIGIN,
    REFERER,
    UPGRADE_INSECURE_REQUESTS,
    SEC_FETCH_DEST,
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static("sec-fetch-user"),
    HeaderName::from_static("sec-ch-ua"),
];

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Set by older libraries for scripts, some of which ask for `text/html`
const REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

/// `Upgrade`, from proxies that cannot send it with a check
const FORWARDED_UPGRADE: HeaderName = HeaderName::from_static("x-forwarded-upgrade");

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;

    use super::*;

    #[test]
    fn a_person_sees_what_navigates_or_prefers_pages() {
        let page = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for (method, headers, expected) in [
            ("GET", vec![("accept", page)], true),
            ("HEAD", vec![("accept", page)], true),
            // A form that is submitted over a connection that is not secure.
            ("POST", vec![("accept", page)], true),
            ("POST", vec![("sec-fetch-mode", "navigate"), ("accept", "*/*")], true),
            ("GET", vec![("sec-fetch-mode", "navigate")], true),
            ("GET", vec![("sec-fetch-dest", "iframe"), ("accept", "*/*")], true),
            ("GET", vec![("sec-fetch-mode", "cors"), ("accept", page)], false),
            ("GET", vec![("accept", page), ("upgrade", "websocket")], false),
            ("GET", vec![("accept", page), ("x-requested-with", "XMLHttpRequest")], false),
            ("GET", vec![("accept", "text/html, application/json")], true),
            ("GET", vec![("accept", "application/json, text/html;q=0.9")], false),
            ("GET", vec![("accept", "application/json;q=0.5, text/html;q=0.501")], true),
            ("GET", vec![("accept", "application/json; q=0.5 , TEXT/HTML; Q=0.5")], true),
            ("GET", vec![("accept", "text/html;q=0")], false),
            ("GET", vec![("accept", "text/html;q=0.000")], false),
            ("GET", vec![("accept", "text/html;q=no")], false),
            ("GET", vec![("accept", "application/json")], false),
            ("GET", vec![("accept", "*/*")], false),
            ("GET", vec![("accept", "text/*")], false),
            ("GET", vec![], false),
            ("POST", vec![("content-type", "application/json")], false),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in &headers {
                map.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(prefers_pages(method, &map), expected, "{method} {headers:?}");
        }
    }

    #[test]
    fn only_what_a_person_navigates_to_is_redirected() {
        use Purpose::{Navigation, Program, Submission, Unstated};
        let page = "text/html,application/xhtml+xml,*/*;q=0.8";
        let metadata = |mode, dest, accept| {
            vec![("sec-fetch-mode", mode), ("sec-fetch-dest", dest), ("accept", accept)]
        };
        for (method, headers, expected) in [
            ("GET", metadata("navigate", "document", page), Navigation),
            ("HEAD", metadata("navigate", "iframe", page), Navigation),
            ("GET", vec![("sec-fetch-mode", "navigate")], Navigation),
            ("GET", vec![("sec-fetch-dest", "frame"), ("accept", "*/*")], Navigation),
            ("POST", metadata("navigate", "document", page), Submission),
            ("GET", metadata("cors", "empty", "*/*"), Program),
            ("GET", metadata("cors", "empty", page), Program),
            ("GET", metadata("same-origin", "serviceworker", "*/*"), Program),
            ("GET", metadata("no-cors", "image", "image/avif,*/*;q=0.8"), Program),
            ("GET", metadata("websocket", "empty", "*/*"), Program),
            ("GET", vec![("sec-fetch-dest", "script")], Program),
            ("GET", vec![("sec-fetch-dest", "")], Program),
            ("GET", vec![("accept", page)], Navigation),
            ("GET", vec![("accept", "TEXT/HTML;q=0.1")], Navigation),
            ("POST", vec![("accept", page)], Unstated),
            ("PROPFIND", vec![("accept", "*/*")], Unstated),
            ("GET", vec![("accept", "*/*")], Unstated),
            ("GET", vec![("accept", "text/*, text/html;q=0.0")], Unstated),
            ("GET", vec![("accept", "")], Unstated),
            ("GET", vec![], Unstated),
            ("GET", vec![("accept", "application/json")], Program),
            ("GET", vec![("accept", "text/html;q=0")], Program),
            ("GET", vec![("accept", "text/event-stream")], Program),
            ("GET", vec![("accept", page), ("x-requested-with", "XMLHttpRequest")], Program),
            ("GET", vec![("accept", page), ("x-requested-with", "org.example.view")], Navigation),
            ("GET", vec![("accept", page), ("upgrade", "websocket")], Program),
            ("GET", vec![("x-forwarded-upgrade", "websocket")], Program),
            ("GET", vec![("sec-fetch-mode", "navigate"), ("upgrade", "h2c")], Program),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in &headers {
                map.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(Purpose::of(method, &map), expected, "{method} {headers:?}");
        }
    }
}
