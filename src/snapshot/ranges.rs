//! Sets of addresses.

use std::net::IpAddr;

use ipnet::IpNet;

/// A set of addresses. A network of IPv6 has no address of IPv4 in it, not even `::/0`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    v4: Sorted,
    v6: Sorted,
}

/// Disjoint ranges in ascending order. A look-up is logarithmic in their number.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sorted(Box<[(u128, u128)]>);

impl Ranges {
    /// The addresses of all these networks.
    pub fn new(networks: &[IpNet]) -> Self {
        let of = |is_v4: bool| {
            let networks = networks.iter().filter(|network| network.addr().is_ipv4() == is_v4);
            Sorted::new(networks.map(|network| (number(network.network()), number(network.broadcast()))).collect())
        };
        Self { v4: of(true), v6: of(false) }
    }

    /// Whether the address is in it. An IPv4-mapped one is one of IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if address.is_ipv4() { self.v4.contains(number(address)) } else { self.v6.contains(number(address)) }
    }
}

impl Sorted {
    fn new(mut ranges: Vec<(u128, u128)>) -> Self {
        ranges.sort_unstable();
        let mut joined: Vec<(u128, u128)> = Vec::new();
        for (first, last) in ranges {
            match joined.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = (*end).max(last),
                _ => joined.push((first, last)),
            }
        }
        Self(joined.into())
    }

    fn contains(&self, address: u128) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= address);
        after.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|(_, last)| address <= *last)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_in_or_out() {
        let networks = ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.7/32", "192.0.2.8/32", "2001:db8::/32", "::1/128"];
        let ranges = Ranges::new(&networks.map(|network| network.parse().unwrap()));
        assert_eq!((ranges.v4.0.len(), ranges.v6.0.len()), (2, 2));
        for (address, expected) in [
            ("10.0.0.0", true),
            ("10.255.255.255", true),
            ("::ffff:10.1.2.3", true),
            ("9.255.255.255", false),
            ("11.0.0.0", false),
            ("192.0.2.6", false),
            ("192.0.2.7", true),
            ("192.0.2.8", true),
            ("192.0.2.9", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("::1", true),
            ("::", false),
            ("::10.0.0.1", false),
        ] {
            assert_eq!(ranges.contains(address.parse().unwrap()), expected, "{address}");
        }
        assert!(!Ranges::default().contains("::1".parse().unwrap()));
        let all_v6 = Ranges::new(&["::/0".parse().unwrap()]);
        assert!(all_v6.contains("2001:db8::1".parse().unwrap()) && !all_v6.contains("10.0.0.1".parse().unwrap()));
        assert!(!all_v6.contains("::ffff:10.0.0.1".parse().unwrap()));
    }
}
