use crate::address::HttpUrl;

/// Whether the `audience` of a key names the server whose own name is `ours`
///
/// Both are usually URLs, which can be written in several ways: the case of scheme and host,
/// an explicit default port and a trailing slash are ignored (RFC 3986, sections 6.2.2.1 and
/// 6.2.3). Other texts must be equal.
pub(super) fn is_for(audience: &str, ours: &str) -> bool {
    if audience == ours {
        return true;
    }
    let (Ok(audience), Ok(ours)) = (audience.parse::<HttpUrl>(), ours.parse::<HttpUrl>()) else {
        return false;
    };
    let parts = |url: &HttpUrl| {
        let path = url.path();
        let path = path.strip_suffix('/').unwrap_or(path).to_owned();
        (url.host().to_owned(), url.effective_port(), path, url.query().map(str::to_owned))
    };
    audience.scheme() == ours.scheme() && parts(&audience) == parts(&ours)
}
