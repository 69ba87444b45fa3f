//! Which addresses notifications may be sent to: public unicast, and nothing that leads to ourselves, our
//! neighbours, or another address in disguise. IANA's special-purpose registries, by hand.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 blocks that are not public: first address and prefix length.
const REFUSED_V4: [(Ipv4Addr, u32); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // The metadata service and Lambda's own addresses among them.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// Blocks inside 2000::/3 that are not public or carry an IPv4 address inside.
const REFUSED_V6: [(Ipv6Addr, u32); 6] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// The only IPv6 block that is given out as global unicast.
const GLOBAL_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Whether a notification may be sent to `address`.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !REFUSED_V4.iter().any(|block| holds_v4(*block, address)),
        IpAddr::V6(address) => {
            holds_v6(GLOBAL_V6, address)
                && !REFUSED_V6.iter().any(|block| holds_v6(*block, address))
                && !is_isatap(address)
        }
    }
}

fn holds_v4((start, length): (Ipv4Addr, u32), address: Ipv4Addr) -> bool {
    let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
    u32::from(address) & mask == u32::from(start) & mask
}

fn holds_v6((start, length): (Ipv6Addr, u32), address: Ipv6Addr) -> bool {
    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    u128::from(address) & mask == u128::from(start) & mask
}

/// An interface identifier that stands for an IPv4 address.
fn is_isatap(address: Ipv6Addr) -> bool {
    let [_, _, _, _, marker, inside, ..] = address.segments();
    inside == 0x5efe && marker & !0x0200 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, wanted: bool) {
        assert_eq!(is_public(text.parse().unwrap()), wanted, "{text}");
    }

    #[test]
    fn each_block_is_refused_from_its_first_to_its_last_address() {
        for (start, length) in REFUSED_V4 {
            let first = u32::from(start);
            let last = first | !u32::MAX.checked_shl(32 - length).unwrap_or(0);
            for address in [first, last, first + (last - first) / 2] {
                check(&Ipv4Addr::from(address).to_string(), false);
            }
        }
        for (start, length) in REFUSED_V6 {
            let first = u128::from(start);
            let last = first | !u128::MAX.checked_shl(128 - length).unwrap_or(0);
            for address in [first, last] {
                check(&Ipv6Addr::from(address).to_string(), false);
            }
        }
    }

    #[test]
    fn what_lies_just_outside_is_public() {
        for public in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "198.51.101.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "93.184.215.14",
            "2001:200::1",
            "2001:db7:ffff::1",
            "2001:db9::1",
            "2003::1",
            "2606:2800:21f:cb07:6820:80da:af6b:8b2c",
            "3ffd::1",
            "3fff:1000::1",
        ] {
            check(public, true);
        }
    }

    #[test]
    fn addresses_in_disguise_are_refused() {
        for hidden in [
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:93.184.215.14",
            "::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::5db8:d70e",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2002:7f00:1::",
            "2a00:1450::5efe:a9fe:a9fe",
            "2a00:1450::200:5efe:7f00:1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "1fff:ffff::",
            "4000::",
        ] {
            check(hidden, false);
        }
        for special in ["255.255.255.255", "240.0.0.1", "169.254.169.254", "169.254.100.1"] {
            check(special, false);
        }
    }
}
