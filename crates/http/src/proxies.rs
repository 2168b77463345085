use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use app_audit::parse_ip;
use http::Uri;
use http::header::{HOST, HeaderMap, HeaderName};
use memchr::memchr;
use thiserror::Error;

/// The proxies that are believed about the client's address and the requested host
///
/// None by default: a request then comes from the other end of its connection, and is for the
/// host in its `Host`.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    /// The networks of the proxies
    pub origins: Vec<Network>,
    /// Whether the peers of Unix sockets are such proxies
    pub unix_sockets: bool,
    /// The headers in which they send the client's address, in order of preference
    pub headers: Vec<HeaderName>,
}

impl TrustedProxies {
    /// No proxy
    pub const NONE: Self = Self { origins: Vec::new(), unix_sockets: false, headers: Vec::new() };

    /// Whether the peer is a trusted proxy
    pub(crate) fn trust(&self, peer: Peer) -> bool {
        match peer {
            Peer::Address(peer) => self.origins.iter().any(|network| network.contains(peer)),
            Peer::UnixSocket => self.unix_sockets,
            Peer::Unknown => false,
        }
    }

    /// The address of a trusted proxy's client: the first element of the first of these headers
    /// that is an address
    ///
    /// `None` if no header has one. The proxy's own address is not the client's.
    pub(crate) fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        self.headers.iter().find_map(|name| parse_ip(first(headers, name)?))
    }
}

/// The other end of a request's connection
///
/// Trusted proxies are recognized by it, and it is the client of every other request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// The address of a TCP connection's other end
    Address(IpAddr),
    /// A process of this machine that may open the socket; it has no address
    UnixSocket,
    /// Not known: never a trusted proxy
    Unknown,
}

impl Peer {
    /// The address, if it has one
    pub(crate) fn address(self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(address.to_canonical()),
            Self::UnixSocket | Self::Unknown => None,
        }
    }
}

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address.ip())
    }
}

/// A network: an address, and the number of its leading bits that count
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether the address is in the network; IPv4-mapped IPv6 addresses are unmapped
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let different = u32::from(own) ^ u32::from(other);
                different.checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let different = u128::from(own) ^ u128::from(other);
                different.checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    /// Whether every address of its family is in the network
    #[must_use]
    pub const fn is_everything(self) -> bool {
        self.bits == 0
    }

    /// Whether processes of this machine may be in the network
    #[must_use]
    pub const fn has_loopback(self) -> bool {
        self.is_everything() || self.address.is_loopback()
    }
}

impl FromStr for Network {
    type Err = ParseNetworkError;

    /// Parses `ADDRESS/BITS`, or a single address
    fn from_str(text: &str) -> Result<Self, ParseNetworkError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| ParseNetworkError)?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(all), str::parse).map_err(|_| ParseNetworkError)?;
        if bits > all { Err(ParseNetworkError) } else { Ok(Self { address, bits }) }
    }
}

/// The text is not a network
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not a network such as `10.0.0.0/8` or `fd00::/8`")]
pub struct ParseNetworkError;

/// The host that a request names itself; `None` if it names several
pub(crate) fn own_host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    if let Some(authority) = uri.authority() {
        return Some(authority.as_str());
    }
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().filter(|_| hosts.next().is_none())?;
    host.to_str().ok()
}

/// The first element of a header's list, if it is text
pub(crate) fn first<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let list = headers.get(name)?.to_str().ok()?;
    let end = memchr(b',', list.as_bytes()).unwrap_or(list.len());
    list.get(..end).map(str::trim).filter(|element| !element.is_empty())
}

pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use uuid::Uuid;

    use super::*;
    use crate::context::Context;

    /// Host and client of a request with these headers
    fn host_and_client(peer: &str, headers: &[(&str, &str)]) -> (String, Option<IpAddr>) {
        host_and_client_with(&proxies(), peer, headers)
    }

    fn host_and_client_with(
        proxies: &TrustedProxies,
        peer: &str,
        headers: &[(&str, &str)],
    ) -> (String, Option<IpAddr>) {
        let mut request = http::Request::builder().uri("/").header("host", "own.example");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let peer = match peer {
            "unix" => Peer::UnixSocket,
            "" => Peer::Unknown,
            peer => Peer::Address(peer.parse().unwrap()),
        };
        let cx = Context::new(&head, peer, proxies, SystemTime::UNIX_EPOCH, Uuid::nil());
        (cx.host.to_owned(), cx.client)
    }

    fn proxies() -> TrustedProxies {
        TrustedProxies {
            origins: vec!["10.0.0.0/8".parse().unwrap(), "fd00::1".parse().unwrap()],
            unix_sockets: false,
            headers: vec![
                HeaderName::from_static("x-real-ip"),
                HeaderName::from_static("x-forwarded-for"),
            ],
        }
    }

    #[test]
    fn only_trusted_peers_are_believed_about_others() {
        let sent =
            [("x-forwarded-host", "app.example, b"), ("x-forwarded-for", "1.2.3.4, 5.6.7.8")];
        for (peer, host, client) in [
            ("10.1.2.3", "app.example", "1.2.3.4"),
            ("::ffff:10.1.2.3", "app.example", "1.2.3.4"),
            ("fd00::1", "app.example", "1.2.3.4"),
            ("fd00::2", "own.example", "fd00::2"),
            ("11.0.0.1", "own.example", "11.0.0.1"),
        ] {
            let expected = (host.to_owned(), Some(client.parse().unwrap()));
            assert_eq!(host_and_client(peer, &sent), expected, "{peer}");
        }
    }

    #[test]
    fn peers_of_unix_sockets_are_believed_if_that_is_set() {
        let sent = [("x-forwarded-host", "app.example"), ("x-forwarded-for", "1.2.3.4")];
        let own = ("own.example".to_owned(), None);
        assert_eq!(host_and_client("unix", &sent), own);
        let trusting = TrustedProxies { unix_sockets: true, ..proxies() };
        let forwarded = ("app.example".to_owned(), Some("1.2.3.4".parse().unwrap()));
        assert_eq!(host_and_client_with(&trusting, "unix", &sent), forwarded);
        // A peer that is not known is not one of them, nor are peers with addresses.
        assert_eq!(host_and_client_with(&trusting, "", &sent), own);
        let other = ("own.example".to_owned(), Some("11.0.0.1".parse().unwrap()));
        assert_eq!(host_and_client_with(&trusting, "11.0.0.1", &sent), other);
    }

    #[test]
    fn only_trusted_peers_name_a_request_and_its_trace() {
        let id = "0190a8c3-52d0-7c1e-8a46-0b6dd5f6a1b2";
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let request = http::Request::builder().uri("/").header("x-request-id", id);
        let request = request.header("traceparent", parent).body(()).unwrap();
        let (head, ()) = request.into_parts();
        for (peer, is_believed) in
            [(Some("10.1.2.3"), true), (Some("11.0.0.1"), false), (None, false)]
        {
            let peer =
                peer.map_or(Peer::Unknown, |peer: &str| Peer::Address(peer.parse().unwrap()));
            let now = SystemTime::UNIX_EPOCH;
            let facts = Context::new(&head, peer, &proxies(), now, Uuid::max()).facts;
            let expected = if is_believed { id.to_owned() } else { Uuid::max().to_string() };
            assert_eq!(facts.id.to_string(), expected, "{peer:?}");
            assert_eq!(facts.parent.is_some(), is_believed, "{peer:?}");
        }
    }

    #[test]
    fn the_first_listed_header_that_is_an_address_counts() {
        for (headers, client) in [
            (&[("x-real-ip", "no"), ("x-forwarded-for", "2001:DB8::1")][..], Some("2001:db8::1")),
            (&[("x-real-ip", "::ffff:9.8.7.6"), ("x-forwarded-for", "1.2.3.4")], Some("9.8.7.6")),
            (&[("x-real-ip", "fe80::1%eth0")], Some("fe80::1")),
            (&[("x-forwarded-for", "1.2.3.4:4711, 10.2.2.2:80")], Some("1.2.3.4")),
            (&[("x-forwarded-for", "[2001:db8::1]:4711")], Some("2001:db8::1")),
            // Not known, which is not the proxy's own address.
            (&[("x-forwarded-for", "unknown, 1.2.3.4")], None),
            (&[("x-forwarded-for", "_hidden, 1.2.3.4")], None),
            (&[("x-forwarded-for", "localhost")], None),
            (&[("x-forwarded-for", "1.2.3.4.5")], None),
            (&[("x-forwarded-for", "")], None),
            (&[("x-forwarded-for", ", 1.2.3.4")], None),
            (&[("forwarded", "for=1.2.3.4")], None),
            (&[], None),
        ] {
            let (_, client_seen) = host_and_client("10.0.0.1", headers);
            let expected = client.map(|client: &str| client.parse().unwrap());
            assert_eq!(client_seen, expected, "{headers:?}");
        }
    }

    #[test]
    fn a_request_that_names_two_hosts_has_none() {
        assert_eq!(host_and_client("11.0.0.1", &[("host", "other.example")]).0, "");
    }

    #[test]
    fn networks() {
        for (network, inside, outside) in [
            ("0.0.0.0/0", "1.2.3.4", "::1"),
            ("192.168.4.0/22", "192.168.7.255", "192.168.8.0"),
            ("192.168.4.1/32", "192.168.4.1", "192.168.4.2"),
            ("192.168.4.1", "192.168.4.1", "192.168.4.2"),
            ("::/0", "fe80::1", "1.2.3.4"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{network:?}");
            assert!(!network.contains(outside.parse().unwrap()), "{network:?}");
        }
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10/8", "example.com"]
        {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
