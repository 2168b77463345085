use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Where requests come from: the addresses that one client usually controls
///
/// That is one address of IPv4, and a /64 network of IPv6 (RFC 6177, section 2). An IPv4 address
/// that is mapped to IPv6 is the IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source(Option<IpAddr>);

impl Source {
    /// All clients whose addresses are unknown: they share what one source may have
    pub const UNKNOWN: Self = Self(None);

    /// The source that an address belongs to
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(Some(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            address @ IpAddr::V4(_) => address,
        }))
    }
}

impl From<Option<IpAddr>> for Source {
    fn from(address: Option<IpAddr>) -> Self {
        address.map_or(Self::UNKNOWN, Self::of)
    }
}

/// The address, the network as `ADDRESS/64`, or `unknown`
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("unknown"),
            Some(address @ IpAddr::V4(_)) => address.fmt(f),
            Some(network @ IpAddr::V6(_)) => write!(f, "{network}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_client_are_one_source() {
        for (one, other, same, shown) in [
            ("192.0.2.1", "192.0.2.1", true, "192.0.2.1"),
            ("192.0.2.1", "192.0.2.2", false, "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1", true, "192.0.2.1"),
            ("2001:db8::1", "2001:db8::ffff:0:0:1", true, "2001:db8::/64"),
            ("2001:db8::1", "2001:db8:0:1::1", false, "2001:db8::/64"),
        ] {
            let [one, other] = [one, other].map(|address| Source::of(address.parse().unwrap()));
            assert_eq!(one == other, same, "{one} {other}");
            assert_eq!(one.to_string(), shown);
        }
        assert_eq!(Source::from(None).to_string(), "unknown");
    }
}
