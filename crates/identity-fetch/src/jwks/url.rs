use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hyper::Uri;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The URL of Google's key set, or of a mirror
///
/// An `https` URL, or an `http` URL of this machine's loopback: an attacker who can replace the
/// keys can sign in as any machine.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyUrl(Uri);

impl KeyUrl {
    /// The URL at which Google publishes the key set
    /// (<https://developers.google.com/identity/openid-connect/openid-connect>)
    pub const GOOGLE: &str = "https://www.googleapis.com/oauth2/v3/certs";

    pub(super) const fn as_uri(&self) -> &Uri {
        &self.0
    }
}

impl Default for KeyUrl {
    fn default() -> Self {
        Self(Uri::from_static(Self::GOOGLE))
    }
}

impl fmt::Display for KeyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<KeyUrl> for String {
    fn from(url: KeyUrl) -> Self {
        url.to_string()
    }
}

impl FromStr for KeyUrl {
    type Err = KeyUrlError;

    fn from_str(text: &str) -> Result<Self, KeyUrlError> {
        let uri: Uri = text.parse().map_err(|_| KeyUrlError::NotAUrl)?;
        let authority = uri.authority().ok_or(KeyUrlError::NotAUrl)?;
        if authority.as_str().contains('@') {
            return Err(KeyUrlError::User);
        }
        let host = authority.host();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let is_local = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
        match uri.scheme_str() {
            Some("https") => Ok(Self(uri)),
            Some("http") if is_local => Ok(Self(uri)),
            _ => Err(KeyUrlError::NotHttps),
        }
    }
}

impl TryFrom<String> for KeyUrl {
    type Error = KeyUrlError;

    fn try_from(text: String) -> Result<Self, KeyUrlError> {
        text.parse()
    }
}

/// Why a text is not a URL to fetch keys from
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyUrlError {
    /// The text is not a URL with a host
    #[error("not a URL with a host")]
    NotAUrl,
    /// The scheme is `http`, and an attacker on the network could answer
    #[error("keys are fetched over https only, or over http from this machine")]
    NotHttps,
    /// The URL contains a user or password, which would end up in logs
    #[error("a URL of keys has no user or password")]
    User,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_or_loopback_urls_are_accepted() {
        for text in [
            KeyUrl::GOOGLE,
            "https://mirror.example:8443/google/certs?v=3",
            "http://127.0.0.1:9/certs",
            "http://[::1]:9/certs",
            "http://localhost/certs",
        ] {
            assert_eq!(text.parse::<KeyUrl>().unwrap().to_string(), text);
        }
        assert_eq!(KeyUrl::default().to_string(), KeyUrl::GOOGLE);
        for (text, error) in [
            ("", KeyUrlError::NotAUrl),
            ("/certs", KeyUrlError::NotAUrl),
            ("https://", KeyUrlError::NotAUrl),
            ("www.googleapis.com", KeyUrlError::NotHttps),
            ("file://localhost/etc/passwd", KeyUrlError::NotHttps),
            ("http://www.googleapis.com/oauth2/v3/certs", KeyUrlError::NotHttps),
            ("http://localhost.example/certs", KeyUrlError::NotHttps),
            ("http://10.0.0.1/certs", KeyUrlError::NotHttps),
            ("https://user:secret@mirror.example/certs", KeyUrlError::User),
        ] {
            assert_eq!(text.parse::<KeyUrl>(), Err(error), "{text}");
        }
    }
}
