//! Owns which IP addresses may be connected to: global unicast less what is special in it. Whatever
//! is not known to be public is refused. Pure: no resolution, no settings.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

type Range<Address> = (Address, u32, &'static str);

/// From the IANA registry of special-purpose IPv4 addresses, in order.
const REFUSED_V4: [Range<Ipv4Addr>; 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "this network"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private network"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared by carriers"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private network"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "protocol assignments"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "6to4 relay"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private network"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "benchmarking"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::BROADCAST, 32, "broadcast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

/// What is refused inside `2000::/3`; the first row that matches gives the reason.
const REFUSED_V6: [Range<Ipv6Addr>; 5] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, "Teredo"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "protocol assignments"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "documentation"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "6to4"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "documentation"),
];

/// What is refused outside `2000::/3`. The names are for the log: the last row refuses it all.
const REFUSED_V6_ELSEWHERE: [Range<Ipv6Addr>; 10] = [
    (Ipv6Addr::UNSPECIFIED, 128, "unspecified"),
    (Ipv6Addr::LOCALHOST, 128, "loopback"),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, "IPv4-mapped"),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 0), 96, "IPv4-compatible"),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, "NAT64 of a private network"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "private network"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "link-local"),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, "site-local"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast"),
    (Ipv6Addr::UNSPECIFIED, 0, "not global unicast"),
];

const GLOBAL_UNICAST: Ipv6Addr = Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0);
const NAT64: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

/// Why `ip` may not be connected to; `None` means it is a public address.
pub fn refused(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => refused_v4(ip),
        IpAddr::V6(ip) => refused_v6(ip),
    }
}

fn refused_v4(ip: Ipv4Addr) -> Option<&'static str> {
    let within = |&&(network, length, _): &&Range<Ipv4Addr>| {
        (u32::from(ip) ^ u32::from(network)).leading_zeros() >= length
    };
    REFUSED_V4.iter().find(within).map(|&(_, _, reason)| reason)
}

fn refused_v6(ip: Ipv6Addr) -> Option<&'static str> {
    // A network with DNS64 gives every IPv4 host such an address: judged by where it leads.
    if within_v6(ip, NAT64, 96) {
        let [.., a, b, c, d] = ip.octets();
        return refused_v4(Ipv4Addr::new(a, b, c, d)).map(|_| "NAT64 of a refused address");
    }
    let global = within_v6(ip, GLOBAL_UNICAST, 3);
    let rows: &[Range<Ipv6Addr>] = if global { &REFUSED_V6 } else { &REFUSED_V6_ELSEWHERE };
    rows.iter()
        .find(|&&(network, length, _)| within_v6(ip, network, length))
        .map(|&(_, _, reason)| reason)
        .or_else(|| is_isatap(ip).then_some("ISATAP"))
}

fn within_v6(ip: Ipv6Addr, network: Ipv6Addr, length: u32) -> bool {
    (u128::from(ip) ^ u128::from(network)).leading_zeros() >= length
}

/// Interface `[02]00:5efe:a.b.c.d`, under any prefix (RFC 5214).
const fn is_isatap(ip: Ipv6Addr) -> bool {
    let [_, _, _, _, flags, marker, _, _] = ip.segments();
    marker == 0x5efe && flags & !0x0200 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ip: &str, reason: Option<&str>) {
        assert_eq!(refused(ip.parse().unwrap()), reason, "{ip}");
    }

    /// The addresses of a row: just before, first, last, just after. The outer ones are public
    /// unless they are left out, because a neighbour is refused too.
    #[track_caller]
    fn check_range(reason: &str, [before, first, last, after]: [&str; 4]) {
        for outside in [before, after].into_iter().filter(|outside| !outside.is_empty()) {
            check(outside, None);
        }
        check(first, Some(reason));
        check(last, Some(reason));
    }

    #[test]
    fn every_special_range_of_ipv4_is_refused_to_its_edges() {
        for (reason, row) in [
            ("this network", ["", "0.0.0.0", "0.255.255.255", "1.0.0.0"]),
            ("private network", ["9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"]),
            (
                "shared by carriers",
                ["100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"],
            ),
            ("loopback", ["126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"]),
            ("link-local", ["169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"]),
            ("private network", ["172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"]),
            ("protocol assignments", ["191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"]),
            ("documentation", ["192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"]),
            ("6to4 relay", ["192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0"]),
            (
                "private network",
                ["192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"],
            ),
            ("benchmarking", ["198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"]),
            ("documentation", ["198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0"]),
            ("documentation", ["203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0"]),
            ("multicast", ["223.255.255.255", "224.0.0.0", "239.255.255.255", ""]),
            ("reserved", ["", "240.0.0.0", "255.255.255.254", ""]),
            ("broadcast", ["", "255.255.255.255", "255.255.255.255", ""]),
        ] {
            check_range(reason, row);
        }
        check("169.254.169.254", Some("link-local"));
    }

    #[test]
    fn only_global_unicast_of_ipv6_is_public_and_its_special_ranges_are_not() {
        const ONES: &str = "ffff:ffff:ffff:ffff:ffff:ffff";
        let until = |head: &str| format!("{head}:{ONES}");
        for (reason, [before, first, last, after]) in [
            ("Teredo", [&*until("2000:ffff"), "2001::", &*until("2001:0"), ""]),
            ("protocol assignments", ["", "2001:1::", &*until("2001:1ff"), "2001:200::"]),
            (
                "documentation",
                [&*until("2001:db7"), "2001:db8::", &*until("2001:db8"), "2001:db9::"],
            ),
            ("6to4", [&*until("2001:ffff"), "2002::", &*until("2002:ffff"), "2003::"]),
            ("documentation", [&*until("3ffe:ffff"), "3fff::", &*until("3fff:fff"), "3fff:1000::"]),
        ] {
            check_range(reason, [before, first, last, after]);
        }
        check(&until("1fff:ffff"), Some("not global unicast"));
        check("2000::", None);
        check(&until("3fff:ffff"), None);
        check("4000::", Some("not global unicast"));
        check("2606:4700:4700::1111", None);
    }

    #[test]
    fn what_is_no_global_unicast_is_refused_by_its_name() {
        for (ip, reason) in [
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::2", "IPv4-compatible"),
            ("::ffff:ffff", "IPv4-compatible"),
            ("::1:0:0", "not global unicast"),
            ("100::1", "not global unicast"),
            ("5f00::1", "not global unicast"),
            ("fbff:ffff::", "not global unicast"),
            ("fc00::", "private network"),
            ("fd00:ec2::254", "private network"),
            ("fe00::", "not global unicast"),
            ("fe80::1", "link-local"),
            ("febf:ffff::", "link-local"),
            ("fec0::", "site-local"),
            ("ff02::1", "multicast"),
        ] {
            check(ip, Some(reason));
        }
    }

    #[test]
    fn no_address_hides_a_refused_one() {
        for (ip, reason) in [
            ("::ffff:127.0.0.1", "IPv4-mapped"),
            ("::ffff:8.8.8.8", "IPv4-mapped"),
            ("::127.0.0.1", "IPv4-compatible"),
            ("64:ff9b::169.254.169.254", "NAT64 of a refused address"),
            ("64:ff9b::127.0.0.1", "NAT64 of a refused address"),
            ("64:ff9b::1:808:808", "not global unicast"),
            ("64:ff9b:1::", "NAT64 of a private network"),
            ("64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "NAT64 of a private network"),
            ("64:ff9b:2::", "not global unicast"),
            ("2002:7f00:1::", "6to4"),
            ("2002:808:808::1", "6to4"),
            ("2001:0:7f00:1::", "Teredo"),
            ("2a00:1::5efe:10.0.0.1", "ISATAP"),
            ("2a00:1::200:5efe:8.8.8.8", "ISATAP"),
            ("fe80::5efe:10.0.0.1", "link-local"),
        ] {
            check(ip, Some(reason));
        }
        check("64:ff9b::8.8.8.8", None);
        check("2a00:1::1:5efe:10.0.0.1", None);
    }
}
