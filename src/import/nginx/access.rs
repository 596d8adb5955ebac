//! `allow` and `deny`: the first that fits decides in nginx, so their order matters. Here the networks are worked out
//! that get in, whatever the order was.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::grammar::Directive;

/// Who gets in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Everybody.
    Open,
    /// Nobody.
    Closed,
    /// These only.
    Only(Vec<IpNet>),
    /// Everybody but these.
    AllBut(Vec<IpNet>),
}

/// Works out who gets in.
///
/// # Errors
/// The directive that is not understood.
pub(super) fn access<'t>(rules: &[&'t Directive]) -> Result<Access, &'t Directive> {
    let everything = || vec![IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
    let mut rules: Vec<(bool, Vec<IpNet>, &'t Directive)> = rules
        .iter()
        .map(|rule| {
            let networks =
                if rule.arg(0) == "all" { Some(everything()) } else { network(rule.arg(0)).map(|net| vec![net]) };
            networks.map(|networks| (rule.name == "allow", networks, *rule)).ok_or(*rule)
        })
        .collect::<Result<_, _>>()?;
    // What comes after `all` is never looked at.
    if let Some(last) = rules.iter().position(|(_, _, rule)| rule.arg(0) == "all") {
        rules.truncate(last + 1);
    }
    let is_open = rules.last().is_none_or(|(allows, _, rule)| *allows || rule.arg(0) != "all");
    let mut marked: Vec<IpNet> = Vec::new();
    for (allows, networks, rule) in rules.iter().rev() {
        if rule.arg(0) == "all" {
            continue;
        }
        for network in networks {
            marked = marked.iter().flat_map(|known| without(*known, *network)).collect();
            // Marked are those that are let in where the rest is not, or kept out where the rest is let in.
            if *allows != is_open {
                marked.push(*network);
            }
        }
    }
    let mut marked = IpNet::aggregate(&marked);
    marked.sort();
    Ok(match (is_open, marked.is_empty()) {
        (true, true) => Access::Open,
        (false, true) => Access::Closed,
        (true, false) => Access::AllBut(marked),
        (false, false) => Access::Only(marked),
    })
}

/// An address or a network.
pub(super) fn network(text: &str) -> Option<IpNet> {
    let address = text.parse().map(IpNet::from as fn(std::net::IpAddr) -> IpNet);
    address.or_else(|_| text.parse()).ok().map(|network| network.trunc())
}

/// The parts of a network that are not in `hole`.
fn without(network: IpNet, hole: IpNet) -> Vec<IpNet> {
    if hole.contains(&network) {
        return Vec::new();
    }
    if !network.contains(&hole) {
        return vec![network];
    }
    let Ok(halves) = network.subnets(network.prefix_len() + 1) else { return Vec::new() };
    halves.flat_map(|half| without(half, hole)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::grammar;
    use super::*;

    #[test]
    fn the_first_rule_that_fits_decides() {
        for (text, expected) in [
            ("", "Open"),
            ("deny all;", "Closed"),
            ("allow all;", "Open"),
            ("allow 10.0.0.0/8; deny all;", "Only [10.0.0.0/8]"),
            ("allow 10.0.0.1; allow ::1; deny all;", "Only [10.0.0.1/32, ::1/128]"),
            ("deny 10.0.0.1;", "AllBut [10.0.0.1/32]"),
            ("deny 10.0.0.1; allow all; deny 10.0.0.2;", "AllBut [10.0.0.1/32]"),
            ("deny 10.0.0.0/30; allow 10.0.0.0/29; deny all;", "Only [10.0.0.4/30]"),
            ("allow 10.0.0.0/30; deny 10.0.0.0/29;", "AllBut [10.0.0.4/30]"),
            ("allow 10.0.0.0/29; deny 10.0.0.0/30; deny all;", "Only [10.0.0.0/29]"),
            ("deny 10.0.0.1; deny all;", "Closed"),
            ("allow unix:; deny all;", "? allow unix:"),
        ] {
            let tree = grammar::parse("x", text).unwrap();
            let shown = match access(&tree.iter().collect::<Vec<_>>()) {
                Ok(Access::Only(nets)) => format!("Only {nets:?}"),
                Ok(Access::AllBut(nets)) => format!("AllBut {nets:?}"),
                Ok(access) => format!("{access:?}"),
                Err(rule) => format!("? {}", rule.written()),
            };
            assert_eq!(shown, expected, "{text}");
        }
    }
}
