use std::{fmt, pin::Pin, sync::Arc, time::SystemTime};

use super::chain;
use crate::x509::Certificate;

/// Fetches the certificate of an issuer that is neither built in nor sent along
///
/// The caller is not authenticated: the URL comes from a certificate that anyone can
/// have made, although its host is one of Microsoft's or DigiCert's. Therefore an
/// implementation must
///
/// - connect only to addresses that are public, as resolved for this connection;
/// - follow no redirect, and use no proxy that would;
/// - give up after some five seconds, and after [`IssuerUrl::MAX_ANSWER`] bytes;
/// - remember answers, failures for some minutes as well, fetch a URL once at a
///   time, and bound how many fetches it makes in a minute;
/// - not leave the fetch to its caller. The future may be dropped at any time, as when a client
///   hangs up. A URL whose fetch ended with its caller must not count as failed or as under way,
///   or one client can keep the machines below an issuer from signing in. A task of its own that
///   fetches avoids that, and the next proof finds the answer.
///
/// `IssuerFetcher` of the crate `identity-fetch` is such an implementation.
///
/// An implementation need not check what it returns: a certificate that is not an
/// authority, or did not issue the one it was fetched for, is dropped, and a certificate
/// that does not lead to a trusted root is not trusted.
pub trait FetchIssuer: Sync {
    /// The DER certificate at `url`, or `None` if it cannot be had
    fn fetch(
        &self,
        url: &IssuerUrl,
        now: SystemTime,
    ) -> impl Future<Output = Option<Vec<u8>>> + Send;
}

impl<T: FetchIssuer + ?Sized> FetchIssuer for &T {
    fn fetch(
        &self,
        url: &IssuerUrl,
        now: SystemTime,
    ) -> impl Future<Output = Option<Vec<u8>>> + Send {
        (**self).fetch(url, now)
    }
}

impl<T: FetchIssuer + Send + ?Sized> FetchIssuer for Arc<T> {
    fn fetch(
        &self,
        url: &IssuerUrl,
        now: SystemTime,
    ) -> impl Future<Output = Option<Vec<u8>>> + Send {
        (**self).fetch(url, now)
    }
}

/// A [`FetchIssuer`] of a type that is known only when the program runs, as
/// `Arc<dyn DynFetchIssuer>`
///
/// Every type that implements [`FetchIssuer`] implements this, and `dyn DynFetchIssuer` implements
/// [`FetchIssuer`].
pub trait DynFetchIssuer: Send + Sync {
    /// As [`FetchIssuer::fetch`]
    fn fetch_boxed<'a>(
        &'a self,
        url: &'a IssuerUrl,
        now: SystemTime,
    ) -> Pin<Box<dyn Future<Output = Option<Vec<u8>>> + Send + 'a>>;
}

impl<T: FetchIssuer + Send> DynFetchIssuer for T {
    fn fetch_boxed<'a>(
        &'a self,
        url: &'a IssuerUrl,
        now: SystemTime,
    ) -> Pin<Box<dyn Future<Output = Option<Vec<u8>>> + Send + 'a>> {
        Box::pin(self.fetch(url, now))
    }
}

impl FetchIssuer for dyn DynFetchIssuer + '_ {
    async fn fetch(&self, url: &IssuerUrl, now: SystemTime) -> Option<Vec<u8>> {
        self.fetch_boxed(url, now).await
    }
}

/// A URL at which Microsoft or DigiCert publish a certificate
///
/// `http` at port 80 or `https` at port 443, one of four hosts, and a plain path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssuerUrl(String);

impl IssuerUrl {
    /// The hosts that are asked, from the certificates of Azure's hierarchies
    pub const HOSTS: [&str; 4] = [
        "www.microsoft.com",
        "caissuers.microsoft.com",
        "cacerts.digicert.com",
        "cacerts.digicert.cn",
    ];

    /// The most bytes that an answer may have
    pub const MAX_ANSWER: usize = 64 << 10;

    /// Takes `text` if it is such a URL
    ///
    /// No user, port, query, fragment or escape of a dot or slash is accepted, so
    /// that no two readers can differ about the host or the path.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
        let (host, path) = rest.split_once('/')?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._/%".contains(&b);
        let lower = path.to_ascii_lowercase();
        let accepted = text.len() <= 256
            && Self::HOSTS.contains(&host)
            && path.bytes().all(plain)
            && !path.starts_with('/')
            && !["..", "//", "%2e", "%2f", "%5c", "%00"].iter().any(|trick| lower.contains(trick));
        accepted.then(|| Self(text.to_owned()))
    }

    /// The whole URL
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its host, one of [`HOSTS`](Self::HOSTS)
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.split('/').nth(2).unwrap_or_default()
    }
}

impl fmt::Display for IssuerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Fetches what issued the last of `fetched`, or else `leaf`
///
/// URLs of other hosts are skipped. At most [`MAX_STEPS`] certificates are fetched
/// for one proof, and nothing for a leaf that is not valid now.
pub(super) async fn next(
    source: &(impl FetchIssuer + ?Sized),
    leaf: &[u8],
    fetched: &[Vec<u8>],
    now: SystemTime,
) -> Option<Vec<u8>> {
    let (not_before, not_after) = Certificate::parse(leaf).ok()?.validity().ok()?;
    if fetched.len() >= MAX_STEPS || now < not_before || now > not_after {
        return None;
    }
    let child = Certificate::parse(fetched.last().map_or(leaf, Vec::as_slice)).ok()?;
    let urls = child.issuer_urls().ok()?;
    for url in urls.into_iter().filter_map(IssuerUrl::parse).take(MAX_URLS) {
        let Some(der) = source.fetch(&url, now).await else { continue };
        let issued = der.len() <= IssuerUrl::MAX_ANSWER
            && Certificate::parse(&der).is_ok_and(|issuer| {
                issuer.subject == child.issuer
                    && issuer.is_authority() == Ok(true)
                    && issuer.may_certify() == Ok(true)
            })
            && chain::is_issued(leaf, fetched, &der, now);
        if issued {
            return Some(der);
        }
    }
    None
}

const MAX_STEPS: usize = 3;
const MAX_URLS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_urls_of_the_listed_hosts_are_asked() {
        for url in [
            "http://www.microsoft.com/pkiops/certs/Microsoft%20Azure%20RSA%20TLS%20Issuing%20CA%2007%20-%20xsign.crt",
            "http://www.microsoft.com/pki/mscorp/Microsoft%20RSA%20TLS%20CA%2001.crt",
            "https://caissuers.microsoft.com/pkiops/certs/x.crt",
            "http://cacerts.digicert.com/DigiCertGlobalRootG2.crt",
        ] {
            assert_eq!(IssuerUrl::parse(url).unwrap().as_str(), url);
        }
        assert_eq!(
            IssuerUrl::parse("https://cacerts.digicert.cn/a").unwrap().host(),
            "cacerts.digicert.cn"
        );
        for url in [
            "",
            "http://",
            "http://www.microsoft.com",
            "ldap://www.microsoft.com/x",
            "HTTP://www.microsoft.com/x",
            "http://WWW.microsoft.com/x",
            "http://www.microsoft.com./x",
            "http://www.microsoft.com:80/x",
            "http://www.microsoft.com:22/x",
            "http://user@www.microsoft.com/x",
            "http://www.microsoft.com@169.254.169.254/x",
            "http://169.254.169.254/latest",
            "http://localhost/x",
            "http://www.microsoft.com.example.org/x",
            "http://xwww.microsoft.com/x",
            "http://www.microsoft.com/x?u=http://10.0.0.1",
            "http://www.microsoft.com/x#y",
            "http://www.microsoft.com/../x",
            "http://www.microsoft.com/%2e%2E/x",
            "http://www.microsoft.com//evil.example/x",
            "http://www.microsoft.com/x\r\nHost: y",
            "http://www.microsoft.com/x y",
            "http://www.microsoft.com\\@evil/x",
        ] {
            assert_eq!(IssuerUrl::parse(url), None, "{url:?}");
        }
        assert_eq!(
            IssuerUrl::parse(&format!("http://www.microsoft.com/{}", "x".repeat(300))),
            None
        );
    }
}
