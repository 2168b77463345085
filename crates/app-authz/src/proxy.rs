//! Registered workspace proxies, and the tokens that they authenticate with

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::credential::random_letters;
use crate::digest::{equal_in_constant_time, sha256};
use crate::id::parse_uuid;
use crate::port::port;

/// Looks up the registered proxies
pub trait Proxies: Sync {
    /// Why the query failed
    type Error: Error + Send + Sync + 'static;

    /// Returns all proxies that are not deleted; none unless this is implemented
    ///
    /// There are only a few, so callers may keep them in memory for a while.
    fn proxies(&self) -> impl Future<Output = Result<Vec<Proxy>, Self::Error>> + Send {
        std::future::ready(Ok(Vec::new()))
    }
}

port! {
    DynProxies of Proxies
    fn proxies as dyn_proxies([]) -> Vec<Proxy>;
}

/// A registered proxy: a server elsewhere that serves apps and asks here who may open them
///
/// `Debug` does not print the digest.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proxy {
    /// The proxy's id
    pub id: Uuid,
    /// The proxy's name
    pub name: String,
    /// The URL of the proxy; empty until it has registered itself
    pub url: String,
    /// The pattern of the proxy's app hosts; empty if it has none
    pub wildcard_hostname: String,
    /// The SHA-256 digest of the secret part of the proxy's token
    pub secret_digest: Vec<u8>,
}

impl Proxy {
    /// A proxy that has not registered its URL, with the SHA-256 digest of its token's secret
    #[must_use]
    pub fn new(id: Uuid, name: impl Into<String>, secret_digest: impl Into<Vec<u8>>) -> Self {
        Self {
            id,
            name: name.into(),
            url: String::new(),
            wildcard_hostname: String::new(),
            secret_digest: secret_digest.into(),
        }
    }

    /// The same proxy, registered with this URL and this pattern of app hosts; empty for none
    #[must_use]
    pub fn with_addresses(
        mut self,
        url: impl Into<String>,
        wildcard_hostname: impl Into<String>,
    ) -> Self {
        (self.url, self.wildcard_hostname) = (url.into(), wildcard_hostname.into());
        self
    }

    /// Whether `token` is this proxy's
    ///
    /// Compares the digests in constant time.
    #[must_use]
    pub fn bears(&self, token: &ProxyToken) -> bool {
        self.id == token.id && equal_in_constant_time(&self.secret_digest, &token.secret_digest())
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("url", &self.url)
            .field("wildcard_hostname", &self.wildcard_hostname)
            .finish_non_exhaustive()
    }
}

/// The token with which a proxy authenticates, in the header [`PROXY_TOKEN_HEADER`]
///
/// A bearer secret: `Debug` prints the id only.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyToken {
    id: Uuid,
    secret: Box<str>,
}

impl ProxyToken {
    /// Creates a token for the proxy `id` of random bytes, which `fill` writes; they must be
    /// unpredictable
    pub fn generate(id: Uuid, fill: impl FnMut(&mut [u8])) -> Self {
        Self { id, secret: random_letters(SECRET_LENGTH, fill).into() }
    }

    /// The id of the proxy that the token claims to be from
    #[must_use]
    pub const fn id(&self) -> Uuid {
        self.id
    }

    /// The SHA-256 digest of the secret part, which is what the database stores
    #[must_use]
    pub fn secret_digest(&self) -> [u8; 32] {
        sha256(self.secret.as_bytes())
    }

    /// The secret token, only to give it to the proxy
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{}:{}", self.id, self.secret)
    }
}

impl FromStr for ProxyToken {
    type Err = crate::Error;

    /// Parses `ID:SECRET`: the proxy's id, and 64 ASCII letters or digits
    fn from_str(text: &str) -> Result<Self, crate::Error> {
        let parts = text.split_once(':').and_then(|(id, secret)| Some((parse_uuid(id)?, secret)));
        match parts {
            Some((id, secret))
                if secret.len() == SECRET_LENGTH
                    && secret.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
            {
                Ok(Self { id, secret: secret.into() })
            }
            _ => Err(crate::Error::InvalidProxyToken),
        }
    }
}

impl fmt::Debug for ProxyToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProxyToken({}:..)", self.id)
    }
}

/// The request header that carries the token of a proxy
pub const PROXY_TOKEN_HEADER: &str = "Coder-External-Proxy-Token";

const SECRET_LENGTH: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_bears_its_own_token_and_no_other() {
        let secret = "s".repeat(64);
        let proxy = |secret: &str| Proxy {
            id: Uuid::from_u128(7),
            name: "sydney".to_owned(),
            url: String::new(),
            wildcard_hostname: String::new(),
            secret_digest: sha256(secret.as_bytes()).to_vec(),
        };
        let token: ProxyToken = format!("{}:{secret}", Uuid::from_u128(7)).parse().unwrap();
        assert_eq!(token.reveal().parse::<ProxyToken>().unwrap(), token);
        assert!(proxy(&secret).bears(&token));
        assert!(!proxy("other").bears(&token));
        assert!(!Proxy { id: Uuid::from_u128(8), ..proxy(&secret) }.bears(&token));
        assert!(!Proxy { secret_digest: Vec::new(), ..proxy(&secret) }.bears(&token));
        assert!(!format!("{token:?} {:?}", proxy(&secret)).contains(&secret));
        for bad in ["", ":", "x:y", &format!("{}:", Uuid::nil()), &format!("{}:s", Uuid::nil())] {
            assert!(bad.parse::<ProxyToken>().is_err(), "{bad}");
        }
    }
}
