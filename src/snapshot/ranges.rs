//! Sets of addresses.

use std::net::IpAddr;

use ipnet::IpNet;

/// A set of addresses, as disjoint ranges in ascending order. IPv4 addresses are mapped to IPv6. A look-up is
/// logarithmic in their number.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ranges(Box<[(u128, u128)]>);

impl Ranges {
    /// The addresses of all these networks.
    pub fn new(networks: &[IpNet]) -> Self {
        let mut ranges: Vec<(u128, u128)> =
            networks.iter().map(|network| (number(network.network()), number(network.broadcast()))).collect();
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

    /// Whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = number(address);
        let after = self.0.partition_point(|(first, _)| *first <= address);
        after.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|(_, last)| address <= *last)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
    .to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_in_or_out() {
        let networks = ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.7/32", "192.0.2.8/32", "2001:db8::/32", "::1/128"];
        let ranges = Ranges::new(&networks.map(|network| network.parse().unwrap()));
        assert_eq!(ranges.0.len(), 4);
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
        let all = Ranges::new(&["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]);
        assert!(all.0.len() == 1 && all.contains("255.255.255.255".parse().unwrap()));
    }
}
