use app_authz::address::HostPattern;
use app_authz::credential::{CookieAttributes, CookieNames, Expiry, SetCookie, Withheld};
use http::header::{COOKIE, HeaderMap, HeaderValue};
use memchr::memchr_iter;

use super::config::CookieConfig;

/// Makes cookies with the attributes that the deployment demands
#[derive(Clone, Debug)]
pub(crate) struct Cookies {
    config: CookieConfig,
}

impl Cookies {
    pub(crate) const fn new(config: CookieConfig) -> Self {
        Self { config }
    }

    /// The names of the cookies of a deployment with these app hosts
    pub(crate) fn names(&self, app_hosts: Option<&HostPattern>) -> CookieNames {
        CookieNames::new(&self.config.prefix, app_hosts).secure(self.config.secure)
    }

    /// A cookie that no script may read
    ///
    /// Without a domain the browser sends it only to the host that set it. `None` as for
    /// [`SetCookie::to_text`].
    pub(crate) fn set(
        &self,
        name: &str,
        value: &str,
        path: &str,
        domain: Option<&str>,
        expiry: Expiry,
    ) -> Option<HeaderValue> {
        let attributes = CookieAttributes::new()
            .secure(self.config.secure)
            .same_site(self.config.same_site)
            .partitioned(self.config.partitioned);
        let cookie = SetCookie::new(name, value).path(path).domain(domain).expiry(expiry);
        HeaderValue::from_str(&cookie.attributes(attributes).to_text()?).ok()
    }
}

/// All cookies of a request, in order
///
/// At most [`MAX_COOKIES`]; what is not `name=value` in UTF-8 is skipped. Quotes around a value
/// are not part of it (RFC 6265, section 4.1.1).
pub(crate) fn cookies(headers: &HeaderMap) -> Vec<(&str, &str)> {
    let texts = pairs(headers).filter_map(|pair| std::str::from_utf8(pair).ok());
    let named = texts.filter_map(|pair| pair.split_once('=')).take(MAX_COOKIES);
    named.map(|(name, value)| (name, unquoted(value))).collect()
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

/// The cookies an app may see, as one header
pub(crate) fn for_app(headers: &HeaderMap, names: &CookieNames) -> HeaderValue {
    let open: Vec<&[u8]> = visible(headers, names).collect();
    // Each part was in a header before.
    HeaderValue::from_bytes(&open.join(&b"; "[..])).unwrap_or(HeaderValue::from_static(""))
}

/// The cookies that are not withheld, as they were sent
pub(super) fn visible<'a>(
    headers: &'a HeaderMap,
    names: &'a CookieNames,
) -> impl Iterator<Item = &'a [u8]> {
    let withheld = Withheld::new(names);
    pairs(headers).filter(move |pair| !withheld.cookie(pair))
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    lines.flat_map(split).map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty())
}

/// The parts between semicolons; searched with SIMD, since a token is long
fn split(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = memchr_iter(b';', line).chain([line.len()]);
    ends.scan(0, |start, end| {
        let pair = line.get(*start..end);
        *start = end + 1;
        pair
    })
}

/// More cookies than browsers send to one host
const MAX_COOKIES: usize = 256;

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use app_authz::credential::SameSite;

    use super::*;

    #[test]
    fn every_cookie_has_the_attributes_of_the_deployment() {
        let plain = Cookies::new(CookieConfig::default());
        let strict = Cookies::new(CookieConfig {
            secure: true,
            same_site: SameSite::None,
            partitioned: true,
            prefix: "__Secure-".to_owned(),
        });
        let until = Expiry::At(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
        for (cookies, expiry, domain, expected) in [
            (&plain, Expiry::Session, None, "a=b; Path=/x/; HttpOnly; SameSite=Lax"),
            (
                &plain,
                until,
                None,
                "a=b; Path=/x/; Expires=Sun, 09 Sep 2001 01:46:40 GMT; HttpOnly; SameSite=Lax",
            ),
            (
                &strict,
                Expiry::Delete,
                Some("example.com"),
                "a=b; Path=/x/; Domain=example.com; Max-Age=0; HttpOnly; Secure; SameSite=None; \
                 Partitioned",
            ),
        ] {
            assert_eq!(cookies.set("a", "b", "/x/", domain, expiry).unwrap(), expected);
        }
    }

    #[test]
    fn an_app_sees_only_its_own_cookies() {
        let names = CookieNames::new("", Some(&"*.apps.example.com".parse().unwrap()));
        let mut headers = HeaderMap::new();
        let line = format!(
            "own=1; coder_session_token=s; {}=t;coder_subdomain_app_session_token_ff=u; \
             coder_signed_app_token=v; bare; coder_path_app_session_token=w; oauth_state=x",
            names.app_session(app_authz::app::AccessMethod::Subdomain)
        );
        headers.append(COOKIE, HeaderValue::from_str(&line).unwrap());
        let opaque = b"two=2=3; coder_session_token; name=\xff;coder_session_token=\xff";
        headers.append(COOKIE, HeaderValue::from_bytes(opaque).unwrap());
        assert_eq!(for_app(&headers, &names).as_bytes(), b"own=1; bare; two=2=3; name=\xff");
        assert_eq!(cookies(&headers).first(), Some(&("own", "1")));
        assert!(cookies(&headers).contains(&("two", "2=3")));
        headers.insert(COOKIE, HeaderValue::from_static("a=\"b\"; c=\"; d=\"\"; e=\"f"));
        assert_eq!(cookies(&headers), [("a", "b"), ("c", "\""), ("d", ""), ("e", "\"f")]);
    }
}
