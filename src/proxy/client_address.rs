//! The address of the client, as far as it can be known.
//!
//! It is the peer. A peer that is one of the listener's `trusted_proxies` speaks for somebody else, and writes down for
//! whom: each proxy appends to `X-Forwarded-For` or `Forwarded` (RFC 7239) the address from which the request came to
//! it. So the lists are read from the right, and the first address that is not trusted itself is the client: whatever
//! is left of it may have been made up by the client. If all are trusted, it is the leftmost.
//!
//! A list ends early at a node without an address (`unknown`, `_hidden`, nonsense): nobody says where the request came
//! to that proxy from. The last address before it counts, which is the peer if there is none.
//!
//! **Both lists may be there**, and disagree. Most proxies write one of them and pass on the other as the client sent
//! it, and nothing tells which is which. So the more cautious address counts:
//! 1. One that is not trusted before one that is: only the proxies themselves are at a trusted address.
//! 2. A public one before a private one: what is allowed to some only is mostly allowed to private addresses.
//! 3. That of `X-Forwarded-For`, which nearly all proxies write.
//!
//! A client can so choose between its own address and a more public one, never come by a private or trusted one. Who is
//! let in must be let in by both, see [`ClientAddresses::other`]. What counts by address can still be dodged by a
//! client at a private one. The trusted proxy should remove the list that it does not write.

use std::net::IpAddr;

use http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::fields::X_FORWARDED_FOR;

/// The most proxies in a row that are looked at. Each is compared with every trusted network.
const HOPS_MAX: usize = 64;

/// The most digits of a port.
const PORT_DIGITS_MAX: usize = 5;

/// Who the client may be. IPv4-mapped addresses are given as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClientAddresses {
    /// The one that counts.
    pub(super) address: IpAddr,
    /// The one that the other list says, if that is another.
    pub(super) other: Option<IpAddr>,
}

impl From<IpAddr> for ClientAddresses {
    fn from(address: IpAddr) -> Self {
        Self { address, other: None }
    }
}

/// The address of the client that sent these fields by way of `peer`; see the module. The `trusted` networks are as the
/// config makes them, so none is IPv4-mapped.
pub(super) fn client_addresses(headers: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> ClientAddresses {
    let peer = peer.to_canonical();
    let trusts = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    if !trusts(peer) {
        return peer.into();
    }
    let by_list = farthest(elements(headers, &X_FORWARDED_FOR, split_at_comma).map(node), trusts);
    let by_forwarded = farthest(elements(headers, &FORWARDED, split_outside_quotes).map(forwarded_for), trusts);
    // A list that is there and names nobody says that it is the peer, as far as anybody knows.
    let or_peer = |found: Option<IpAddr>, name| found.or_else(|| headers.contains_key(name).then_some(peer));
    let (Some(by_list), Some(by_forwarded)) = (or_peer(by_list, &X_FORWARDED_FOR), or_peer(by_forwarded, &FORWARDED))
    else {
        return by_list.or(by_forwarded).unwrap_or(peer).into();
    };
    let caution = |address: IpAddr| (!trusts(address), !is_private(address));
    let is_forwarded = caution(by_forwarded) > caution(by_list);
    let (address, other) = if is_forwarded { (by_forwarded, by_list) } else { (by_list, by_forwarded) };
    ClientAddresses { address, other: (other != address).then_some(other) }
}

/// Walks towards the client until an address is not trusted, or unknown. Returns the last one that is known.
fn farthest(nodes: impl Iterator<Item = Option<IpAddr>>, trusts: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let mut farthest = None;
    for node in nodes.take(HOPS_MAX) {
        let Some(address) = node else { break };
        farthest = Some(address);
        if !trusts(address) {
            break;
        }
    }
    farthest
}

/// Splits off the last element of a list: what is before it, if anything is, and the element.
type SplitLast = fn(&[u8]) -> (Option<&[u8]>, &[u8]);

/// The elements of a list field, of all its lines, the last one first. Empty ones are left out (RFC 9110 section
/// 5.6.1.2).
fn elements<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    split: SplitLast,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    headers.get_all(name).iter().rev().flat_map(move |line: &HeaderValue| {
        let mut rest = Some(line.as_bytes());
        std::iter::from_fn(move || {
            let (before, element) = split(rest?);
            rest = before;
            Some(element.trim_ascii())
        })
        .filter(|element| !element.is_empty())
    })
}

fn split_at_comma(list: &[u8]) -> (Option<&[u8]>, &[u8]) {
    split_at(list, list.iter().rposition(|&byte| byte == b','))
}

/// A comma within a quoted string is part of it. The quotes are counted from the right: what a client has written, with
/// a quote that does not end, must not swallow what a proxy appended.
fn split_outside_quotes(list: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let mut is_quoted = false;
    let comma = list.iter().enumerate().rposition(|(at, &byte)| {
        // An escaped quote has an odd number of backslashes before it.
        let escapes = || list[..at].iter().rev().take_while(|&&before| before == b'\\').count();
        is_quoted ^= byte == b'"' && escapes() % 2 == 0;
        byte == b',' && !is_quoted
    });
    split_at(list, comma)
}

fn split_at(list: &[u8], comma: Option<usize>) -> (Option<&[u8]>, &[u8]) {
    comma.map_or((None, list), |comma| (Some(&list[..comma]), &list[comma + 1..]))
}

/// The address of `for` in an element of `Forwarded` (RFC 7239 section 4); `None` if it has none, or several.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let (mut found, mut rest) = (None, element);
    while !rest.is_empty() {
        if let [b';' | b' ' | b'\t', more @ ..] = rest {
            rest = more;
            continue;
        }
        let equals = rest.iter().position(|&byte| byte == b'=')?;
        let (value, behind) = value_of(&rest[equals + 1..])?;
        if rest[..equals].eq_ignore_ascii_case(b"for") && found.replace(node(value)).is_some() {
            return None;
        }
        rest = behind.trim_ascii_start();
        if !matches!(rest, [] | [b';', ..]) {
            return None;
        }
    }
    found.flatten()
}

/// A token, or a quoted string without its quotes, and what is behind it. Escapes stay: no address needs any.
fn value_of(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|byte| b"; \t".contains(byte)).unwrap_or(text.len());
        return Some(text.split_at(end));
    };
    let mut is_escaped = false;
    let end = quoted.iter().position(|&byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })?;
    Some((&quoted[..end], &quoted[end + 1..]))
}

/// The address of a node (RFC 7239 section 6): an address, IPv6 in brackets or not, with a port or without.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let address = if let Some(bracketed) = text.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']')?;
        is_port(port).then(|| address.parse().ok().map(IpAddr::V6))?
    } else if let Ok(address) = text.parse() {
        Some(address)
    } else {
        let (address, _) = text.split_once(':').filter(|(address, _)| is_port(&text[address.len()..]))?;
        address.parse().ok().map(IpAddr::V4)
    };
    address.map(|address| address.to_canonical())
}

/// Whether this is nothing, or a port behind its colon. A port may be hidden (`:_x`), as an address may.
fn is_port(text: &str) -> bool {
    let Some(port) = text.strip_prefix(':') else { return text.is_empty() };
    let is_number = (1..=PORT_DIGITS_MAX).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_hidden = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    is_number || port.strip_prefix('_').is_some_and(is_hidden)
}

/// Whether the address means something within a network only.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            // 100.64.0.0/10 is that of carriers (RFC 6598).
            let is_shared = matches!(v4.octets(), [100, 64..=127, ..]);
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || is_shared
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "10.0.0.1";

    /// The client of a request with these lines, each `x: ...` for `X-Forwarded-For` or `f: ...` for `Forwarded`.
    fn client(peer: &str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| (line.trim_end_matches(':'), ""));
            let name = if name == "x" { X_FORWARDED_FOR } else { FORWARDED };
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let trusted = ["10.0.0.0/8", "2001:db8:1::/48"].map(|network| network.parse().unwrap());
        let found = client_addresses(&headers, peer.parse().unwrap(), &trusted);
        found.other.map_or(found.address.to_string(), |other| format!("{} or {other}", found.address))
    }

    #[test]
    fn a_stranger_speaks_for_nobody() {
        for (peer, expected) in [("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("::1", "::1")] {
            assert_eq!(client(peer, &["x: 1.1.1.1", "f: for=1.1.1.1"]), expected);
        }
    }

    #[test]
    fn the_rightmost_address_that_is_not_trusted_is_the_client() {
        for (lines, expected) in [
            (&[][..], PROXY),
            (&["x: 1.1.1.1"], "1.1.1.1"),
            (&["x: 6.6.6.6, 1.1.1.1"], "1.1.1.1"),
            (&["x: 6.6.6.6, 1.1.1.1, 10.0.0.3,10.0.0.2"], "1.1.1.1"),
            (&["x: 6.6.6.6", "x: 1.1.1.1", "x: 10.0.0.2"], "1.1.1.1"),
            (&["x: 6.6.6.6, 1.1.1.1", "x:"], "1.1.1.1"),
            (&["x: , ,1.1.1.1 ,\t, "], "1.1.1.1"),
            (&["x: ,"], PROXY),
            // All are trusted: it began there.
            (&["x: 10.9.9.9, 10.0.0.2"], "10.9.9.9"),
            (&["x: ::ffff:10.9.9.9, 2001:db8:1::5"], "10.9.9.9"),
            (&["x: 10.0.0.3, 1.1.1.1, 10.0.0.2"], "1.1.1.1"),
        ] {
            assert_eq!(client(PROXY, lines), expected, "{lines:?}");
        }
        assert_eq!(client("::ffff:10.0.0.1", &["x: 1.1.1.1"]), "1.1.1.1");
        assert_eq!(client("2001:db8:1::1", &["f: for=1.1.1.1"]), "1.1.1.1");
    }

    #[test]
    fn an_address_is_written_in_many_ways() {
        for (text, expected) in [
            ("1.1.1.1:8080", "1.1.1.1"),
            ("1.1.1.1:_x", "1.1.1.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:DB8:0::1]:443", "2001:db8::1"),
            ("[::ffff:1.1.1.1]:443", "1.1.1.1"),
            // No address, so the proxy has not said for whom it speaks.
            ("unknown", PROXY),
            ("_x", PROXY),
            ("unknown:80", PROXY),
            ("localhost", PROXY),
            ("1.1.1.1:", PROXY),
            ("1.1.1.1:123456", PROXY),
            ("1.1.1.1:+80", PROXY),
            ("1.1.1.1:80:80", PROXY),
            ("1.1.1", PROXY),
            ("01.1.1.1", PROXY),
            ("1.1.1.1/32", PROXY),
            ("1.1.1.1 2.2.2.2", PROXY),
            ("[1.1.1.1]", PROXY),
            ("[2001:db8::1", PROXY),
            ("[2001:db8::1]443", PROXY),
            ("[fe80::1%eth0]", PROXY),
            ("\u{e9}", PROXY),
            ("-", PROXY),
        ] {
            assert_eq!(client(PROXY, &[&format!("x: {text}")]), expected, "{text}");
            assert_eq!(client(PROXY, &[&format!("f: for=\"{text}\"")]), expected, "{text}");
        }
        assert_eq!(client(PROXY, &["x: \"1.1.1.1\""]), PROXY);
    }

    /// Nobody says what is behind it. A client can write what it likes there.
    #[test]
    fn a_list_ends_at_what_is_not_known() {
        for (lines, expected) in [
            (&["x: 1.1.1.1, unknown"][..], PROXY),
            (&["x: 6.6.6.6, unknown, 10.0.0.2"], "10.0.0.2"),
            (&["x: 6.6.6.6", "x: _x, 10.0.0.2"], "10.0.0.2"),
            (&["x: unknown, 1.1.1.1, 10.0.0.2"], "1.1.1.1"),
            (&["f: for=6.6.6.6, for=unknown, for=10.0.0.2"], "10.0.0.2"),
            (&["f: for=6.6.6.6, proto=https, for=10.0.0.2"], "10.0.0.2"),
        ] {
            assert_eq!(client(PROXY, lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn forwarded_is_read_with_its_quotes_and_parameters() {
        for (lines, expected) in [
            (&["f: for=1.1.1.1"][..], "1.1.1.1"),
            (&["f: For=1.1.1.1;proto=https;host=a"], "1.1.1.1"),
            (&["f: by=10.0.0.1 ; for=1.1.1.1 ; proto=https"], "1.1.1.1"),
            (&["f: ;;for=1.1.1.1;"], "1.1.1.1"),
            (&["f: for=\"[2001:db8::1]:4711\""], "2001:db8::1"),
            (&["f: for=6.6.6.6, for=1.1.1.1", "f: for=10.0.0.2;host=\"a,b;for=6.6.6.6\""], "1.1.1.1"),
            (&["f: for=1.1.1.1;host=\"a\\\", for=10.0.0.9\""], "1.1.1.1"),
            (&["f: for=1.1.1.1;host=\"a\\\\\", for=10.0.0.9"], "1.1.1.1"),
            (&["f: for=1.1.1.1;host=\"a, for=10.0.0.9\\\"\""], "1.1.1.1"),
            (&["f: for=1.1.1.1;host=\"a, for=10.0.0.9\\\\\""], "1.1.1.1"),
            // What a client has begun must not swallow what the proxy appended.
            (&["f: for=10.9.9.9;host=\", for=1.1.1.1"], "1.1.1.1"),
            (&["f: for=10.9.9.9;host=\", for=1.1.1.1;host=\"a\""], "1.1.1.1"),
            (&["f: for=10.9.9.9;host=\\, for=\"1.1.1.1\""], "1.1.1.1"),
            // Malformed: not known.
            (&["f: for=1.1.1.1;for=6.6.6.6"], PROXY),
            (&["f: for=\"1.1.1.1"], PROXY),
            (&["f: for=\"1.1.1.1\"x"], PROXY),
            (&["f: for=1.1.1.1 x"], PROXY),
            (&["f: for"], PROXY),
            (&["f: for=[2001:db8::1]"], "2001:db8::1"),
            (&["f: for =1.1.1.1"], PROXY),
            (&["f: 1.1.1.1"], PROXY),
            (&["f: host=a"], PROXY),
        ] {
            assert_eq!(client(PROXY, lines), expected, "{lines:?}");
        }
    }

    /// A client writes one of the two lists, the proxy the other: whichever it is, the client gains nothing.
    #[test]
    fn of_two_lists_the_more_cautious_counts() {
        for (list, forwarded, expected) in [
            ("1.1.1.1", "1.1.1.1", "1.1.1.1"),
            ("1.1.1.1", "10.9.9.9", "1.1.1.1 or 10.9.9.9"),
            ("10.9.9.9", "1.1.1.1", "1.1.1.1 or 10.9.9.9"),
            ("1.1.1.1", "192.168.0.9", "1.1.1.1 or 192.168.0.9"),
            ("192.168.0.9", "1.1.1.1", "1.1.1.1 or 192.168.0.9"),
            ("192.168.0.9", "10.9.9.9", "192.168.0.9 or 10.9.9.9"),
            ("10.9.9.9", "192.168.0.9", "192.168.0.9 or 10.9.9.9"),
            ("1.1.1.1", "2.2.2.2", "1.1.1.1 or 2.2.2.2"),
            ("192.168.0.9", "192.168.0.8", "192.168.0.9 or 192.168.0.8"),
            ("10.0.0.9", "10.0.0.8", "10.0.0.9 or 10.0.0.8"),
            ("unknown", "1.1.1.1", "1.1.1.1 or 10.0.0.1"),
            ("unknown", "192.168.0.9", "192.168.0.9 or 10.0.0.1"),
            ("1.1.1.1", "unknown", "1.1.1.1 or 10.0.0.1"),
            ("unknown", "_x", PROXY),
        ] {
            let lines = [&*format!("x: {list}"), &*format!("f: for=\"{forwarded}\"")];
            assert_eq!(client(PROXY, &lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn long_lists_cost_little() {
        for (list, expected) in [
            ("1.1.1.1, ".repeat(10_000), "1.1.1.1"),
            ("10.0.0.2, ".repeat(10_000), "10.0.0.2"),
            (format!("1.1.1.1, {}", "10.0.0.2, ".repeat(HOPS_MAX - 1)), "1.1.1.1"),
            (format!("1.1.1.1, {}", "10.0.0.2, ".repeat(HOPS_MAX)), "10.0.0.2"),
            (format!("1.1.1.1{}", ", ".repeat(10_000)), "1.1.1.1"),
            ("\", ".repeat(10_000), PROXY),
            ("\\\"".repeat(10_000), PROXY),
        ] {
            let start = &list[..list.len().min(20)];
            assert_eq!(client(PROXY, &[&format!("x: {list}")]), expected, "{start}");
            let forwarded = list.replace("1.1.1.1", "for=1.1.1.1").replace("10.0.0.2", "for=10.0.0.2");
            assert_eq!(client(PROXY, &[&format!("f: {forwarded}")]), expected, "{start}");
        }
        let lines = vec!["x: 10.0.0.2"; 1000];
        assert_eq!(client(PROXY, &lines), "10.0.0.2");
    }

    #[test]
    fn private_addresses() {
        for (address, expected) in [
            ("10.0.0.1", true),
            ("172.31.0.1", true),
            ("172.32.0.1", false),
            ("192.168.1.1", true),
            ("127.0.0.1", true),
            ("169.254.169.254", true),
            ("100.63.0.1", false),
            ("100.64.0.1", true),
            ("100.127.0.1", true),
            ("100.128.0.1", false),
            ("0.0.0.0", true),
            ("8.8.8.8", false),
            ("::1", true),
            ("fd00::1", true),
            ("fe80::1", true),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_private(address.parse().unwrap()), expected, "{address}");
        }
    }
}
