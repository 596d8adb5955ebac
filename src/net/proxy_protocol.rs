//! The PROXY protocol, versions 1 and 2: a header before everything else tells which client a connection belongs to.
//!
//! Source: "The PROXY protocol, versions 1 & 2" of HAProxy (proxy-protocol.txt).

use std::net::SocketAddr;

use ppp::{HeaderResult, PartialResult as _, v1, v2};

use crate::config::model::ProxyVersion;

/// The longest header that is read, in bytes. Version 2 may carry more after the addresses, but nobody sends that much.
pub(crate) const HEADER_BYTES_MAX: usize = 4096;

/// The longest header of version 1 in bytes (proxy-protocol.txt, section 2.1).
const LINE_BYTES_MAX: usize = 107;

/// The first bytes of every header: version 1, version 2.
const SIGNATURES: [&[u8]; 2] = [b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"];

/// The result of [`parse`].
#[derive(Debug, PartialEq)]
pub(crate) enum Parsed {
    /// More bytes are needed to decide.
    Incomplete,
    /// No header.
    Other,
    /// A broken header.
    Invalid,
    /// A header of this many bytes, and the address of the client. The address is `None` for a connection of the proxy
    /// itself or of an unknown client.
    Header(usize, Option<SocketAddr>),
}

/// Tells whether the first bytes of a connection are a header, and reads it.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let begins = |signature: &&[u8]| bytes.iter().zip(*signature).all(|(byte, expected)| byte == expected);
    let Some(signature) = SIGNATURES.iter().find(|signature| begins(signature)) else { return Parsed::Other };
    if bytes.len() < signature.len() {
        return Parsed::Incomplete;
    }
    // Version 1 is one line. Only a whole line can be parsed.
    let line = bytes.iter().take(LINE_BYTES_MAX).position(|&byte| byte == b'\n');
    let bytes = match (*signature == SIGNATURES[0], line) {
        (true, Some(end)) => &bytes[..=end],
        (true, None) if bytes.len() < LINE_BYTES_MAX => return Parsed::Incomplete,
        (true, None) => return Parsed::Invalid,
        (false, _) => bytes,
    };
    let is_whole = bytes.ends_with(b"\n") && *signature == SIGNATURES[0];
    let parsed = HeaderResult::parse(bytes);
    match &parsed {
        HeaderResult::V1(Ok(header)) => {
            let source = match header.addresses {
                v1::Addresses::Tcp4(tcp) => Some((tcp.source_address, tcp.source_port).into()),
                v1::Addresses::Tcp6(tcp) => Some((tcp.source_address, tcp.source_port).into()),
                v1::Addresses::Unknown => None,
            };
            Parsed::Header(header.header.len(), source)
        }
        HeaderResult::V2(Ok(header)) => {
            let source = match (header.command, header.addresses) {
                (v2::Command::Proxy, v2::Addresses::IPv4(ip)) => Some((ip.source_address, ip.source_port).into()),
                (v2::Command::Proxy, v2::Addresses::IPv6(ip)) => Some((ip.source_address, ip.source_port).into()),
                _ => None,
            };
            Parsed::Header(header.len(), source)
        }
        _ if parsed.is_incomplete() && !is_whole && bytes.len() < HEADER_BYTES_MAX => Parsed::Incomplete,
        _ => Parsed::Invalid,
    }
}

/// A header for the connection of a client, from its source and destination. With `None` the header says that the
/// connection is from the proxy itself.
pub(crate) fn header(version: ProxyVersion, client: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let addresses = client.map(|(source, destination)| same_family(source, destination));
    match version {
        ProxyVersion::V1 => addresses.map_or(v1::Addresses::Unknown, v1::Addresses::from).to_string().into_bytes(),
        ProxyVersion::V2 => {
            let builder = match addresses {
                Some(addresses) => {
                    v2::Builder::with_addresses(v2::Version::Two | v2::Command::Proxy, v2::Protocol::Stream, addresses)
                }
                None => v2::Builder::new(v2::Version::Two | v2::Command::Local, 0),
            };
            // Two addresses are never too long for a header.
            builder.build().unwrap_or_default()
        }
    }
}

/// A header has one address family. If only one address is IPv6, the other is written as an IPv4-mapped IPv6 address.
fn same_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let (source, destination) = (canonical(source), canonical(destination));
    let widen = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        v6 @ SocketAddr::V6(_) => v6,
    };
    if source.is_ipv4() == destination.is_ipv4() { (source, destination) } else { (widen(source), widen(destination)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        for (source, destination) in [
            ("192.0.2.7:1234", "198.51.100.1:443"),
            ("[2001:db8::7]:1234", "[2001:db8::1]:443"),
            ("[2001:db8::7]:1234", "198.51.100.1:443"),
        ] {
            for version in [ProxyVersion::V1, ProxyVersion::V2] {
                let client = Some((address(source), address(destination)));
                let bytes = [&header(version, client)[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
                let length = bytes.len() - 18;
                for cut in 0..length {
                    assert_eq!(parse(&bytes[..cut]), Parsed::Incomplete, "{version:?} {source} {cut}");
                }
                assert_eq!(parse(&bytes), Parsed::Header(length, Some(address(source))), "{version:?} {source}");
            }
        }
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            let bytes = header(version, None);
            assert_eq!(parse(&bytes), Parsed::Header(bytes.len(), None));
        }
    }

    /// A LOCAL connection is the proxy's own, whatever addresses its header carries.
    #[test]
    fn the_address_of_a_local_header_is_not_believed() {
        let client = Some((address("192.0.2.7:1234"), address("198.51.100.1:443")));
        let mut bytes = header(ProxyVersion::V2, client);
        assert_eq!(bytes[12], 0x21, "version 2, PROXY");
        bytes[12] = 0x20;
        assert_eq!(parse(&bytes), Parsed::Header(bytes.len(), None));
    }

    #[test]
    fn what_is_no_header_and_what_is_a_broken_one() {
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], Parsed::Other),
            (b"PRI * HTTP/2.0\r\n", Parsed::Other),
            (b"\x16\x03\x01", Parsed::Other),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 99999\r\n", Parsed::Invalid),
            (b"PROXY TCP4 1.2.3.4\r\n", Parsed::Invalid),
            (b"PROXY TCP9 1.2.3.4 5.6.7.8 1 2\r\n", Parsed::Invalid),
            (b"PROXY TCP4 ::1 ::2 1 2\r\n", Parsed::Invalid),
            (b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\0\0\0\0\0\0\0\0\0\0\0\0", Parsed::Invalid),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x01\0", Parsed::Invalid),
        ] {
            assert_eq!(parse(bytes), expected, "{bytes:?}");
        }
        assert_eq!(parse(&[b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat()), Parsed::Invalid);
    }

    proptest! {
        /// Any client can send these bytes, before any check.
        #[test]
        fn no_bytes_make_it_panic(signature in 0usize..3, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let start = SIGNATURES.get(signature).copied().unwrap_or_default();
            let all = [start, &bytes].concat();
            if let Parsed::Header(length, _) = parse(&all) {
                prop_assert!(length <= all.len());
            }
        }
    }
}
