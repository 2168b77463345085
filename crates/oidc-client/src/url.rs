use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

/// The URL that names a provider, exactly as its tokens have it in `iss`
///
/// An `https` URL without query and fragment (OpenID Connect Discovery 1.0, section 3), or an
/// `http` URL of this machine's loopback. A slash at the end counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    url: String,
    /// Whether endpoints may be `http` URLs of this machine
    is_local: bool,
}

impl Issuer {
    /// The URL
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// The URL of the discovery document (OpenID Connect Discovery 1.0, section 4)
    #[must_use]
    pub fn discovery_url(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.url.trim_end_matches('/'))
    }

    /// Checks the URL of an endpoint: `https`, or `http` on this machine if the issuer is too
    pub(crate) fn check_endpoint(&self, url: &str) -> Result<(), UrlError> {
        match check(url)? {
            true if !self.is_local => Err(UrlError::NotHttps),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl FromStr for Issuer {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        let is_local = check(url)?;
        if url.contains('?') {
            return Err(UrlError::Query);
        }
        Ok(Self { url: url.to_owned(), is_local })
    }
}

/// The URL of a token endpoint: `https`, or `http` of this machine's loopback
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointUrl(String);

impl EndpointUrl {
    /// Where GitHub is, unless an organization runs a server of its own
    pub const GITHUB: &str = "https://github.com";

    /// The token endpoint of the GitHub at `url`
    ///
    /// It is at the root of the host, so the path of the URL does not count: it may be that of the
    /// server's API
    /// (<https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/refreshing-user-access-tokens>).
    ///
    /// # Errors
    ///
    /// Fails if the URL is not `https`, nor `http` of this machine's loopback.
    pub fn of_github(url: &str) -> Result<Self, UrlError> {
        check(url)?;
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::NotAUrl)?;
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        Ok(Self(format!("{scheme}://{authority}/login/oauth/access_token")))
    }

    /// The URL
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EndpointUrl {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        check(url)?;
        Ok(Self(url.to_owned()))
    }
}

/// Checks an absolute URL, and returns whether it is an `http` URL of this machine
pub(crate) fn check(url: &str) -> Result<bool, UrlError> {
    let is_sound =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\');
    if url.len() > MAX_URL || !url.bytes().all(is_sound) {
        return Err(UrlError::NotAUrl);
    }
    if url.contains('#') {
        return Err(UrlError::Fragment);
    }
    let (scheme, rest) = url.split_once("://").ok_or(UrlError::NotAUrl)?;
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(UrlError::User);
    }
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => authority.split(':').next().unwrap_or_default(),
    };
    if host.is_empty() {
        return Err(UrlError::NotAUrl);
    }
    let is_local =
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match scheme {
        "https" => Ok(false),
        "http" if is_local => Ok(true),
        _ => Err(UrlError::NotHttps),
    }
}

/// Why a URL of a provider is refused
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlError {
    /// The URL has a fragment
    #[error("a URL of a provider has no fragment")]
    Fragment,
    /// The text is not a URL with a host, or has more than 2,048 bytes
    #[error("not a URL with a host")]
    NotAUrl,
    /// The scheme is not `https`, nor `http` on this machine
    #[error("a provider is reached over https only, or over http on this machine")]
    NotHttps,
    /// The URL of an issuer has a query
    #[error("the URL of an issuer has no query")]
    Query,
    /// The URL contains a user or password, which would end up in logs
    #[error("a URL of a provider has no user or password")]
    User,
}

const MAX_URL: usize = 2_048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_https_or_on_this_machine() {
        for url in [
            "https://id.example",
            "https://id.example:8443/realms/main/",
            "http://localhost:3000",
            "http://127.0.0.1:1",
            "http://[::1]:1/x",
        ] {
            assert_eq!(url.parse::<Issuer>().unwrap().as_str(), url);
        }
        for (url, error) in [
            ("", UrlError::NotAUrl),
            ("id.example", UrlError::NotAUrl),
            ("https://", UrlError::NotAUrl),
            ("https://:443", UrlError::NotAUrl),
            ("https://id.example/a b", UrlError::NotAUrl),
            ("http://id.example", UrlError::NotHttps),
            ("http://localhost.example", UrlError::NotHttps),
            ("http://127.0.0.1@id.example", UrlError::User),
            ("ftp://localhost", UrlError::NotHttps),
            ("https://id.example#x", UrlError::Fragment),
            ("https://id.example?x", UrlError::Query),
        ] {
            assert_eq!(url.parse::<Issuer>(), Err(error), "{url}");
        }
    }

    #[test]
    fn the_endpoint_of_github_is_at_the_root_of_its_host() {
        for (url, host) in [
            (EndpointUrl::GITHUB, "https://github.com"),
            ("https://github.example.com/", "https://github.example.com"),
            ("https://github.example.com:8443/api/v3/?x=1", "https://github.example.com:8443"),
            ("https://github.example.com?x=/", "https://github.example.com"),
            ("http://[::1]:3000", "http://[::1]:3000"),
        ] {
            let endpoint = EndpointUrl::of_github(url).unwrap();
            assert_eq!(endpoint.as_str(), format!("{host}/login/oauth/access_token"), "{url}");
        }
        for (url, error) in [
            ("http://github.example.com", UrlError::NotHttps),
            ("github.example.com", UrlError::NotAUrl),
            ("https://user@github.example.com", UrlError::User),
            ("https://github.example.com#x", UrlError::Fragment),
        ] {
            assert_eq!(EndpointUrl::of_github(url), Err(error), "{url}");
        }
    }

    #[test]
    fn endpoints_of_a_provider_elsewhere_are_https() {
        let remote: Issuer = "https://id.example/".parse().unwrap();
        assert_eq!(remote.discovery_url(), "https://id.example/.well-known/openid-configuration");
        assert_eq!(remote.check_endpoint("http://localhost/token"), Err(UrlError::NotHttps));
        remote.check_endpoint("https://other.example/token?x=1").unwrap();
        let local: Issuer = "http://localhost:1".parse().unwrap();
        local.check_endpoint("http://127.0.0.1:2/token").unwrap();
        assert_eq!(local.check_endpoint("http://id.example/"), Err(UrlError::NotHttps));
    }
}
