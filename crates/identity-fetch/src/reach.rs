use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which addresses a request may go to
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All addresses, for URLs that the operator wrote
    Anywhere,
    /// Addresses on the public Internet, for URLs from other sources
    ///
    /// Refuses all addresses in IANA's special-purpose registries (RFC 6890), also if they are
    /// embedded in another address.
    Public,
}

impl Reach {
    pub(crate) fn allows(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::Anywhere, _) => true,
            (Self::Public, IpAddr::V4(address)) => is_public(address),
            (Self::Public, IpAddr::V6(address)) => is_public_v6(address),
        }
    }
}

/// Source: <https://www.iana.org/assignments/iana-ipv4-special-registry>
///
/// Entries that are globally reachable are refused too if they do not lead to web servers.
fn is_public(address: Ipv4Addr) -> bool {
    let special = match address.octets() {
        // "This network", private, loopback, link-local (cloud metadata services),
        // private, and the addresses of protocols (192.0.0.192 is Oracle's metadata).
        [0 | 10 | 127, ..] | [169, 254, ..] | [172, 16..=31, ..] | [192, 0, 0, _] => true,
        // Carrier-grade NAT (100.100.100.200 is Alibaba's metadata).
        [100, 64..=127, ..] => true,
        // Documentation.
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => true,
        // AS112, AMT, relays of 6to4, private, AS112.
        [192, 31, 196, _] | [192, 52, 193, _] | [192, 88, 99, _] => true,
        [192, 168, ..] | [192, 175, 48, _] => true,
        // Benchmarks, multicast, reserved, broadcast.
        [198, 18 | 19, ..] | [224..=255, ..] => true,
        // Not in a registry: the address of the host for every virtual machine in Azure.
        [168, 63, 129, 16] => true,
        _ => false,
    };
    !special
}

/// Source: <https://www.iana.org/assignments/iana-ipv6-special-registry>
///
/// Only global unicast addresses (`2000::/3`) can be public. If a host or a gateway would extract
/// an embedded IPv4 address, that address is checked instead: IPv4-mapped addresses, and those of
/// NAT64 (RFC 6052), which hosts without IPv4 need.
fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public(mapped);
    }
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
            is_public(Ipv4Addr::new(a, b, c, d))
        }
        // Protocols, among them Teredo, which holds an IPv4 address; documentation;
        // 6to4, which holds another; another documentation range.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..] => false,
        [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => matches!(first, 0x2000..=0x3fff),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses_are_reached() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "168.63.129.15",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2606:4700:4700::1111",
            "2a02:26f0::1",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
        ] {
            assert!(Reach::Public.allows(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn special_addresses_are_refused_in_every_form() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            // Compatible with IPv4, mapped, translated, NAT64 for a site, 6to4, Teredo
            "::127.0.0.1",
            "::1.1.1.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1.1.1.1",
            "2002:7f00:1::",
            "2002:101:101::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            // Discard, benchmarks, ORCHID, documentation, segment routing
            "100::1",
            "2001:2::1",
            "2001:20::1",
            "2001:db8::1",
            "3fff::1",
            "5f00::1",
            // Unique local (fd00:ec2::254 is Amazon's metadata), link-local, site-local,
            // multicast, unassigned
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "ff0e::1",
            "4000::1",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert!(!Reach::Public.allows(address), "{address}");
            assert!(Reach::Anywhere.allows(address), "{address}");
        }
    }
}
