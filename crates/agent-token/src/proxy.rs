use std::fmt;

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use thiserror::Error;

use crate::url::BaseUrl;

/// The proxy through which a URL is reached
///
/// `Debug` and `Display` do not print the user and the password.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    intercept: Intercept,
    kind: Kind,
    /// The environment variable that names it
    variable: &'static str,
}

/// The protocol of a proxy
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// HTTP: a tunnel for `https`, the absolute form for `http`
    Http {
        /// Whether the connection to the proxy itself uses TLS
        tls: bool,
    },
    Socks5,
}

impl Proxy {
    /// Returns the proxy that the environment names for `url`, if any
    ///
    /// This is `HTTPS_PROXY` or `HTTP_PROXY` by the URL's scheme, or else `ALL_PROXY`, unless
    /// `NO_PROXY` lists the host. The names in lower case are read where the ones in upper case
    /// are not set.
    ///
    /// # Errors
    ///
    /// [`ProxyError`] if the variable does not name a usable proxy.
    pub(crate) fn from_env(
        url: &BaseUrl,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, ProxyError> {
        let set = |name: &'static str| {
            let value = env(name)?.trim().to_owned();
            (!value.is_empty()).then_some((name, value))
        };
        let of_scheme = if url.is_tls() {
            set("HTTPS_PROXY").or_else(|| set("https_proxy"))
        } else {
            set("HTTP_PROXY").or_else(|| set("http_proxy"))
        };
        let found = of_scheme.or_else(|| set("ALL_PROXY")).or_else(|| set("all_proxy"));
        let Some((variable, value)) = found else { return Ok(None) };
        let unusable = || ProxyError { variable };
        let value = if value.contains("://") { value } else { format!("http://{value}") };
        // A dot at the end of a name makes it absolute, and changes nothing here.
        let host = url.host().trim_end_matches('.');
        let target = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let target: Uri = format!("http://{target}/").parse().map_err(|_| unusable())?;
        let matcher = Matcher::builder().all(&value);
        let intercept = matcher.build().intercept(&target).ok_or_else(unusable)?;
        let kind = match intercept.uri().scheme_str() {
            Some("http") => Kind::Http { tls: false },
            Some("https") => Kind::Http { tls: true },
            Some("socks5" | "socks5h") => Kind::Socks5,
            _ => return Err(unusable()),
        };
        let exceptions = set("NO_PROXY").or_else(|| set("no_proxy")).unwrap_or_default().1;
        let exceptions = exceptions_for(url, &exceptions);
        // The matcher compares addresses with addresses alone.
        let excepted = exceptions.split(',').any(|entry| entry == "*")
            || Matcher::builder().all(&value).no(exceptions).build().intercept(&target).is_none();
        Ok((!excepted).then_some(Self { intercept, kind, variable }))
    }

    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the address of the proxy; the port is always present
    pub(crate) fn address(&self) -> Result<BaseUrl, ProxyError> {
        let uri = self.intercept.uri();
        let unusable = ProxyError { variable: self.variable };
        let authority = uri.authority().ok_or_else(|| unusable.clone())?;
        let (scheme, usual_port) = match self.kind {
            Kind::Http { tls: false } => ("http", 80),
            Kind::Http { tls: true } => ("https", 443),
            // Any scheme will do here: the proxy is not sent any HTTP.
            Kind::Socks5 => ("http", 1080),
        };
        let port = authority.port_u16().unwrap_or(usual_port);
        let text = format!("{scheme}://{}:{port}", authority.host());
        BaseUrl::parse(&text).map_err(|_| unusable)
    }

    /// Returns the value of `Proxy-Authorization`, if the proxy's URL has a user
    pub(crate) fn authorization(&self) -> Option<&HeaderValue> {
        self.intercept.basic_auth()
    }

    /// Returns the user and the password for SOCKS
    pub(crate) fn user_and_password(&self) -> Option<(&str, &str)> {
        self.intercept.raw_auth()
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uri = self.intercept.uri().to_string();
        write!(f, "the proxy `{}` of {}", uri.trim_end_matches('/'), self.variable)
    }
}

/// An environment variable that does not name a usable proxy
///
/// The value is not shown, because it may hold a password.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{variable}` is not the URL of a proxy such as http://proxy.example.com:3128")]
pub struct ProxyError {
    variable: &'static str,
}

/// Rewrites the entries of `NO_PROXY` that apply to `url` into the form that [`Matcher`] reads
///
/// Other programs also accept an entry with a port, which applies to that port alone, a
/// leading `*.`, IPv6 addresses in brackets, and spaces instead of commas.
fn exceptions_for(url: &BaseUrl, list: &str) -> String {
    let entries = list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty());
    let applying = entries.filter_map(|entry| {
        let (host, port) = split_port(entry);
        let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
        let host = host.strip_suffix('.').unwrap_or(host);
        port.is_none_or(|port| port == url.port()).then_some(host)
    });
    applying.collect::<Vec<_>>().join(",")
}

/// Splits an entry into its host, without brackets, and its port
fn split_port(entry: &str) -> (&str, Option<u16>) {
    if let Some((host, rest)) = entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match entry.split_once(':') {
        Some((host, port)) if !host.is_empty() && !port.contains(':') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (entry, None),
        },
        // No colon, or the several of an IPv6 address.
        _ => (entry, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(url: &str, env: &[(&str, &str)]) -> Result<Option<String>, ProxyError> {
        let url = BaseUrl::parse(url).unwrap();
        let value = |name: &str| {
            env.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned())
        };
        let proxy = Proxy::from_env(&url, value)?;
        Ok(proxy.map(|proxy| format!("{} {}", proxy.variable, proxy.address().unwrap())))
    }

    #[test]
    fn the_variable_of_the_scheme_precedes_the_one_for_all_schemes() {
        const SECURE: &str = "https://coder.example.com";
        const PLAIN: &str = "http://coder.example.com";
        for (url, env, expected) in [
            (SECURE, &[("HTTPS_PROXY", "http://p:3128")][..], Some("HTTPS_PROXY http://p:3128")),
            (SECURE, &[("https_proxy", "http://p:3128")], Some("https_proxy http://p:3128")),
            (SECURE, &[("HTTP_PROXY", "http://p:3128")], None),
            (PLAIN, &[("HTTP_PROXY", "http://p:3128")], Some("HTTP_PROXY http://p:3128")),
            (PLAIN, &[("http_proxy", "http://p:3128")], Some("http_proxy http://p:3128")),
            (PLAIN, &[("HTTPS_PROXY", "http://p:3128")], None),
            (PLAIN, &[("ALL_PROXY", "http://p:3128")], Some("ALL_PROXY http://p:3128")),
            (SECURE, &[("all_proxy", "http://p:3128")], Some("all_proxy http://p:3128")),
            (
                SECURE,
                &[("HTTPS_PROXY", "http://p:1"), ("ALL_PROXY", "http://p:2")],
                Some("HTTPS_PROXY http://p:1"),
            ),
            (
                SECURE,
                &[("HTTPS_PROXY", ""), ("https_proxy", "p:1")],
                Some("https_proxy http://p:1"),
            ),
            (SECURE, &[("HTTPS_PROXY", "proxy")], Some("HTTPS_PROXY http://proxy:80")),
            (SECURE, &[("HTTPS_PROXY", "proxy:3128/")], Some("HTTPS_PROXY http://proxy:3128")),
            (SECURE, &[("HTTPS_PROXY", "https://p")], Some("HTTPS_PROXY https://p:443")),
            (SECURE, &[("ALL_PROXY", "socks5h://p")], Some("ALL_PROXY http://p:1080")),
            (
                SECURE,
                &[("HTTPS_PROXY", "http://[::1]:3128/")],
                Some("HTTPS_PROXY http://[::1]:3128"),
            ),
            (SECURE, &[("HTTPS_PROXY", "http://u:pw@p:1")], Some("HTTPS_PROXY http://p:1")),
            (SECURE, &[], None),
        ] {
            assert_eq!(proxy(url, env).unwrap().as_deref(), expected, "{url} {env:?}");
        }
    }

    #[test]
    fn an_unusable_variable_is_named_without_its_value() {
        for value in ["ftp://p:1", "socks4://p:1", "http://u:hunter2@", "http://hunter2 p:1"] {
            let error = proxy("https://coder.example.com", &[("HTTPS_PROXY", value)]).unwrap_err();
            let said = error.to_string();
            assert!(said.contains("HTTPS_PROXY") && !said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn listed_hosts_are_reached_directly() {
        for (url, list, direct) in [
            ("https://coder.example.com", "coder.example.com", true),
            ("https://coder.example.com", "example.com", true),
            ("https://coder.example.com", ".example.com", true),
            ("https://coder.example.com", "*.example.com", true),
            ("https://coder.example.com", "CODER.Example.Com", true),
            ("https://coder.example.com", "*", true),
            ("https://coder.example.com", "a.test,*", true),
            ("https://coder.example.com", "*:443", true),
            ("https://coder.example.com", "*:8443", false),
            ("https://10.1.2.3", "*", true),
            ("https://[fd00::1]", "localhost, *", true),
            ("https://coder.example.com.", "coder.example.com", true),
            ("https://coder.example.com", "example.com.", true),
            ("https://coder.example.com", "*.example.com:443", true),
            ("https://coder.example.com", ".", false),
            ("https://coder.example.com", "a.test, example.com ,b.test", true),
            ("https://coder.example.com", "a.test example.com", true),
            ("https://coder.example.com", "example.com:443", true),
            ("https://coder.example.com", "example.com:8443", false),
            ("https://coder.example.com:8443", "coder.example.com:8443", true),
            ("https://coder.example.com", "ample.com", false),
            ("https://coder.example.com", "other.example.com", false),
            ("https://coder.example.com", "", false),
            ("https://coder.example.com", ",,", false),
            ("https://10.1.2.3", "10.0.0.0/8", true),
            ("https://10.1.2.3", "10.1.2.3", true),
            ("https://10.1.2.3:8443", "10.1.2.3:8443", true),
            ("https://10.1.2.3", "10.1.2.4", false),
            ("https://11.1.2.3", "10.0.0.0/8", false),
            ("https://[fd00::1]", "fd00::/8", true),
            ("https://[fd00::1]", "[fd00::1]", true),
            ("https://[fd00::1]:8443", "[fd00::1]:8443", true),
            ("https://[fd00::1]:8443", "[fd00::1]:443", false),
            ("https://[fd00::1]", "fd00::2", false),
            ("https://localhost:8443", "localhost,127.0.0.1,::1", true),
        ] {
            for name in ["NO_PROXY", "no_proxy"] {
                let env = [("ALL_PROXY", "http://p:3128"), (name, list)];
                let proxied = proxy(url, &env).unwrap().is_some();
                assert_eq!(proxied, !direct, "{url} {name}={list}");
            }
        }
    }
}
