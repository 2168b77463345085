//! Cross-origin requests that authd answers for: between apps of the same owner
//!
//! A browser sends its preflight request without cookies, so the visitor is anonymous when the
//! answer is needed. The answer lets nothing through: the request that follows is a visit like any
//! other. (Fetch standard, sections 3.2 and 4.8: <https://fetch.spec.whatwg.org/>)

use app_authz::address::{HostMeaning, HttpUrl};
use app_authz::app::AccessMethod;
use http::header::{HeaderMap, ORIGIN};

use super::Visit;
use crate::reply::single;

/// The origin of the page that makes the request, if it is an app of the same owner in the same
/// deployment
///
/// The names of the owners must be equal, except for case.
pub(crate) fn sibling(visit: &Visit<'_>, owner: &str, headers: &HeaderMap) -> Option<String> {
    if visit.method != AccessMethod::Subdomain {
        return None;
    }
    let text = single(headers, &ORIGIN)?;
    let origin: HttpUrl = text.parse().ok()?;
    let (own, pattern) = (&visit.deployment.url, visit.deployment.app_hosts.as_ref()?);
    if origin.scheme() != own.scheme() || !pattern.has_port(origin.effective_port(), own) {
        return None;
    }
    // As browsers write it. A path, a final dot or upper case would be another origin.
    let written = text == origin.origin() && !text.bytes().any(|b| b.is_ascii_uppercase());
    let HostMeaning::App(name) = HostMeaning::of(origin.host(), Some(pattern), []) else {
        return None;
    };
    let same_owner = name.user.eq_ignore_ascii_case(owner);
    (same_owner && written && !origin.host().ends_with('.')).then(|| text.to_owned())
}
