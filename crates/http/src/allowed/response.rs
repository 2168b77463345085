use app_authz::app::CorsBehavior;
use app_authz::credential::{CookieNames, Withheld};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, HeaderMap, HeaderName,
    HeaderValue, LOCATION, SET_COOKIE, VARY,
};
use http::{Response, StatusCode};

use super::request::remove_of_connection;
use super::{Allowed, header};
use crate::request_facts::X_REQUEST_ID;

impl Allowed {
    /// Makes the app's answer the one that the visitor is to see
    ///
    /// - Removes cookies under names that authd uses, and the domain of all others, so that an app
    ///   sets cookies for its own host alone. Removes `Clear-Site-Data`, which would sign the visitor
    ///   out of all hosts of the domain.
    /// - Below a path, removes what holds for the whole origin, which is that of the dashboard:
    ///   `Strict-Transport-Security`, `NEL` and `Secure-Session-Registration`. Keeps a service worker to
    ///   the app's own folder (`Service-Worker-Allowed`).
    /// - Under [`CorsBehavior::Simple`] replaces the app's `Access-Control-…` headers.
    /// - Makes a redirect to the app's own address one to the visitor's address of the app.
    /// - Adds the cookie with the app token if one was issued, and the id of the request unless the
    ///   app has one of its own.
    /// - Removes the headers of the app's connection, unless the status is 101: then they are the
    ///   answer to the upgrade.
    ///
    /// Status and body stay.
    pub fn finish<B>(&self, answer: &mut Response<B>) {
        let admitted = &self.0.admitted;
        let is_upgrade = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        if !is_upgrade {
            remove_of_connection(headers);
        }
        restrict_cookies(headers, &admitted.deployment.cookie_names);
        // An app would sign its visitor out of all hosts of the domain.
        headers.remove(header::CLEAR_SITE_DATA);
        if !self.folder().is_empty() {
            for name in &header::OF_ORIGIN {
                headers.remove(name);
            }
            let folder = HeaderValue::try_from(format!("{}/", self.folder()));
            if let (Some(scope), Ok(folder)) =
                (headers.get_mut(header::SERVICE_WORKER_ALLOWED), folder)
            {
                *scope = folder;
            }
        }
        if let Some(cookie) = &admitted.cookie {
            headers.append(SET_COOKIE, cookie.clone());
        }
        if self.cors() == CorsBehavior::Simple {
            self.replace_cors(headers);
        }
        let location = headers.get(LOCATION).and_then(|to| std::str::from_utf8(to.as_bytes()).ok());
        let location = location.and_then(|to| self.for_visitor(to));
        if let Some(location) = location.and_then(|to| HeaderValue::try_from(to).ok()) {
            headers.insert(LOCATION, location);
        }
        if let Ok(id) = HeaderValue::try_from(self.request_id()) {
            headers.entry(X_REQUEST_ID).or_insert(id);
        }
    }

    fn replace_cors(&self, headers: &mut HeaderMap) {
        let is_cors = |name: &&HeaderName| name.as_str().starts_with("access-control-");
        for name in headers.keys().filter(is_cors).cloned().collect::<Vec<_>>() {
            headers.remove(name);
        }
        headers.append(VARY, HeaderValue::from_static("Origin"));
        let origin = self.cors_origin().map(HeaderValue::from_str);
        if let Some(Ok(origin)) = origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }

    /// The visitor's address for an address of the app; `None` for any other address
    fn for_visitor(&self, location: &str) -> Option<String> {
        let below = below(self.app_url()?, location)?;
        let rest = below.strip_prefix('/').unwrap_or(below);
        Some(format!("{}{}/{rest}", self.0.at.origin(), self.folder()))
    }
}

/// What follows the app's URL in an address of the app
///
/// Apps on the loopback address call it by its name, too.
fn below<'a>(app_url: &str, location: &'a str) -> Option<&'a str> {
    let end = app_url.find(['?', '#']).unwrap_or(app_url.len());
    let base = app_url.get(..end)?;
    let base = base.strip_suffix('/').unwrap_or(base);
    if !base.starts_with("http") {
        return None;
    }
    let is_end = |rest: &&str| rest.is_empty() || rest.starts_with(['/', '?', '#']);
    let direct = location.strip_prefix(base).filter(is_end);
    direct.or_else(|| {
        let port_and_path = base.strip_prefix("http://127.0.0.1")?;
        let rest = location.strip_prefix("http://localhost")?;
        rest.strip_prefix(port_and_path).filter(is_end)
    })
}

/// Removes cookies that an app must not set, and the domains of the others
fn restrict_cookies(headers: &mut HeaderMap, names: &CookieNames) {
    if !headers.contains_key(SET_COOKIE) {
        return;
    }
    let withheld = Withheld::new(names);
    let set: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().cloned().collect();
    headers.remove(SET_COOKIE);
    for cookie in set {
        let kept = withheld.set_cookie(cookie.as_bytes());
        if let Some(Ok(kept)) = kept.map(|kept| HeaderValue::from_bytes(&kept)) {
            headers.append(SET_COOKIE, kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_to_the_apps_own_address_is_recognized() {
        let (port, base) = ("http://10.1.2.3:8888", "http://10.1.2.3:8888/base/?a=1");
        for (url, location, expected) in [
            (port, "http://10.1.2.3:8888", Some("")),
            (port, "http://10.1.2.3:8888/", Some("/")),
            (port, "http://10.1.2.3:8888/x?a#b", Some("/x?a#b")),
            (port, "http://10.1.2.3:8888?a", Some("?a")),
            (port, "http://10.1.2.3:88889/x", None),
            (port, "http://10.1.2.3/x", None),
            (port, "https://10.1.2.3:8888/x", None),
            (port, "/x", None),
            (base, "http://10.1.2.3:8888/base/x", Some("/x")),
            (base, "http://10.1.2.3:8888/base", Some("")),
            (base, "http://10.1.2.3:8888/basement", None),
            (base, "http://10.1.2.3:8888/x", None),
            ("http://127.0.0.1:8080/", "http://localhost:8080/x", Some("/x")),
            ("http://127.0.0.1:8080", "http://localhost:8081/x", None),
            ("http://127.0.0.10:80", "http://localhost0:80/x", Some("/x")),
            ("http://localhost:8080", "http://127.0.0.1:8080/x", None),
            ("/", "/x", None),
        ] {
            assert_eq!(below(url, location), expected, "{url} {location}");
        }
    }

    #[test]
    fn an_app_sets_cookies_for_its_own_host_under_its_own_names() {
        let names = CookieNames::new("corp_", None);
        let withheld = Withheld::new(&names);
        for (set, expected) in [
            ("a=1", Some("a=1")),
            ("a=1; Path=/; HttpOnly", Some("a=1; Path=/; HttpOnly")),
            ("a=1; Domain=example.com; Path=/", Some("a=1; Path=/")),
            ("a=1;domain = .example.com", Some("a=1")),
            ("a=1; Domain", Some("a=1")),
            ("domain=1; Domain=example.com", Some("domain=1")),
            ("a=\"; Domain=x; b\"; Secure", Some("a=\"; b\"; Secure")),
            ("xcoder_session_token=1", Some("xcoder_session_token=1")),
            ("__Host-own=1; Path=/; Secure", Some("__Host-own=1; Path=/; Secure")),
            ("coder_session_token=1", None),
            ("CODER_session_token=1", None),
            ("__Host-coder_session_token=1; Path=/; Secure", None),
            ("__secure-coder_signed_app_token=1", None),
            ("corp_coder_session_token=1", None),
            ("coder_subdomain_app_session_token_00ff=1", None),
            ("authd_sign_in=1", None),
            ("oauth_state=1", None),
            ("oauth_redirect=1; Path=/", None),
            (" \t= coder_session_token=1", None),
            ("=coder_session_token=1", None),
            ("coder_session_token", None),
        ] {
            let kept = withheld.set_cookie(set.as_bytes());
            assert_eq!(kept.as_deref(), expected.map(str::as_bytes), "{set}");
        }
    }
}
