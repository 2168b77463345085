use crate::address::HttpUrl;

/// Whether the `audience` of a key is the server that is called `ours`
///
/// Both are URLs as a rule, and may be written differently: the case of scheme and host, the
/// port that the scheme means anyway, and a slash at the end do not matter (RFC 3986,
/// sections 6.2.2.1 and 6.2.3). Anything else must be the same text.
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
