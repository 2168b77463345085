use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which addresses a request may go to
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All addresses, for URLs that the operator wrote
    Anywhere,
    /// Addresses on the public Internet, for URLs from other sources
    ///
    /// Refuses every block of IANA's special-purpose registries for
    /// [IPv4](https://www.iana.org/assignments/iana-ipv4-special-registry) and
    /// [IPv6](https://www.iana.org/assignments/iana-ipv6-special-registry) (RFC 6890, as of November
    /// 2026), multicast (RFC 5771, RFC 4291), what IANA has not assigned for unicast, and
    /// `168.63.129.16`, at which Azure serves virtual machines. An IPv4 address inside an
    /// IPv4-mapped address (RFC 4291) or a NAT64 address (RFC 6052) is checked as an IPv4 address.
    /// Addresses of Teredo (RFC 4380) and 6to4 (RFC 3056) are refused, whatever they embed.
    Public,
}

impl Reach {
    /// Whether a request may go to `address`
    ///
    /// Ask about the address that is connected to, and not about one that the name had before.
    #[must_use]
    pub fn allows(self, address: IpAddr) -> bool {
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
        // 6to4, which holds another; AS112; another documentation range.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..] => false,
        [0x2620, 0x4f, 0x8000, ..] | [0x3fff, 0..=0xfff, ..] => false,
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
            "2620:4f:7fff::1",
            "2620:4f:8001::1",
            "3fff:1000::1",
            "2606:4700:4700::1111",
            "2a02:26f0::1",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
        ] {
            assert!(Reach::Public.allows(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn every_block_of_the_registries_is_refused() {
        for (block, _source) in REGISTERED {
            let (first, last) = ends(block);
            for address in [first, last] {
                // What these two embed decides; the next test has them.
                if !matches!(block, "::ffff:0:0/96" | "64:ff9b::/96") {
                    assert!(!Reach::Public.allows(address), "{address} of {block}");
                }
                assert!(Reach::Anywhere.allows(address), "{address} of {block}");
                if let IpAddr::V4(v4) = address {
                    let mapped = v4.to_ipv6_mapped();
                    assert!(!Reach::Public.allows(mapped.into()), "{mapped} of {block}");
                    let translated: Ipv6Addr = format!("64:ff9b::{v4}").parse().unwrap();
                    assert!(!Reach::Public.allows(translated.into()), "{translated} of {block}");
                }
            }
        }
    }

    /// The blocks of both registries with their sources, and multicast
    const REGISTERED: [(&str, &str); 46] = [
        ("0.0.0.0/8", "RFC 791"),
        ("10.0.0.0/8", "RFC 1918"),
        ("100.64.0.0/10", "RFC 6598"),
        ("127.0.0.0/8", "RFC 1122"),
        ("169.254.0.0/16", "RFC 3927"),
        ("172.16.0.0/12", "RFC 1918"),
        ("192.0.0.0/24", "RFC 6890"),
        ("192.0.0.0/29", "RFC 7335"),
        ("192.0.0.8/32", "RFC 7600"),
        ("192.0.0.9/32", "RFC 7723"),
        ("192.0.0.10/32", "RFC 8155"),
        ("192.0.0.170/31", "RFC 7050, RFC 8880"),
        ("192.0.2.0/24", "RFC 5737"),
        ("192.31.196.0/24", "RFC 7535"),
        ("192.52.193.0/24", "RFC 7450"),
        ("192.88.99.0/24", "RFC 7526"),
        ("192.168.0.0/16", "RFC 1918"),
        ("192.175.48.0/24", "RFC 7534"),
        ("198.18.0.0/15", "RFC 2544"),
        ("198.51.100.0/24", "RFC 5737"),
        ("203.0.113.0/24", "RFC 5737"),
        ("224.0.0.0/4", "RFC 5771"),
        ("240.0.0.0/4", "RFC 1112"),
        ("255.255.255.255/32", "RFC 8190"),
        ("::/128", "RFC 4291"),
        ("::1/128", "RFC 4291"),
        ("::ffff:0:0/96", "RFC 4291"),
        ("64:ff9b::/96", "RFC 6052"),
        ("64:ff9b:1::/48", "RFC 8215"),
        ("100::/64", "RFC 6666"),
        ("100:0:0:1::/64", "RFC 9780"),
        ("2001::/23", "RFC 2928"),
        ("2001::/32", "RFC 4380"),
        ("2001:2::/48", "RFC 5180"),
        ("2001:3::/32", "RFC 7450"),
        ("2001:4:112::/48", "RFC 7535"),
        ("2001:20::/28", "RFC 7343"),
        ("2001:30::/28", "RFC 9374"),
        ("2001:db8::/32", "RFC 3849"),
        ("2002::/16", "RFC 3056"),
        ("2620:4f:8000::/48", "RFC 7534"),
        ("3fff::/20", "RFC 9637"),
        ("5f00::/16", "RFC 9602"),
        ("fc00::/7", "RFC 4193"),
        ("fe80::/10", "RFC 4291"),
        ("ff00::/8", "RFC 4291"),
    ];

    /// The first and the last address of a block
    fn ends(block: &str) -> (IpAddr, IpAddr) {
        let (address, length) = block.split_once('/').unwrap();
        let length: u32 = length.parse().unwrap();
        match address.parse().unwrap() {
            IpAddr::V4(first) => {
                let host = u32::MAX.checked_shr(length).unwrap_or_default();
                (first.into(), Ipv4Addr::from_bits(first.to_bits() | host).into())
            }
            IpAddr::V6(first) => {
                let host = u128::MAX.checked_shr(length).unwrap_or_default();
                (first.into(), Ipv6Addr::from_bits(first.to_bits() | host).into())
            }
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
