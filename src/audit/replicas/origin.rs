//! The address of a replica.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::trouble::Trouble;

/// How long a name server may take.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(5);

/// Where a replica is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// A name or an address; that of IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// How a replica is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// In plain text.
    Http,
    /// Over TLS.
    Https,
}

impl Origin {
    /// A replica of this machine.
    pub(super) fn local(port: u16) -> Self {
        Self { scheme: Scheme::Http, host: Ipv4Addr::LOCALHOST.to_string(), port }
    }

    /// Host and port, as they are written.
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.scheme == Scheme::Https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

/// `host:port`, or a URL without a path. Without a scheme it is `http`; the port may be left out if there is a scheme.
impl FromStr for Origin {
    type Err = Trouble;

    fn from_str(text: &str) -> Result<Self, Trouble> {
        let wrong = |why: &str| {
            Trouble::Usage(format!(
                "{text:?} is no address of a replica: {why}\n  Write 10.0.0.1:3000 or https://host."
            ))
        };
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
            Some(_) => return Err(wrong("only http and https are spoken")),
            None => (Scheme::Http, text),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(wrong("it has a path, which belongs into the journey"));
        }
        if rest.contains('@') {
            return Err(wrong("it has a user, who belongs into the journey, in an Authorization field"));
        }
        let (host, port) = split(rest).ok_or_else(|| wrong("brackets go around the host of IPv6 only"))?;
        let port = match (port, scheme) {
            (Some(port), _) => port.parse().ok().filter(|port| *port > 0).ok_or_else(|| wrong("its port is none"))?,
            (None, _) if !text.contains("://") => return Err(wrong("it has no port")),
            (None, Scheme::Http) => 80,
            (None, Scheme::Https) => 443,
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(wrong("it has no host"));
        }
        Ok(Self { scheme, host: host.to_owned(), port })
    }
}

/// Host and port.
fn split(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        return if port.is_empty() { Some((host, None)) } else { Some((host, Some(port.strip_prefix(':')?))) };
    }
    match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
        None => Some((authority, None)),
    }
}

/// Whether strangers may be behind it: any of its addresses is public. Whoever audits such a replica is asked first.
///
/// # Errors
/// Its host has no address.
pub fn is_public(origin: &Origin) -> LocalBoxFuture<'_, Result<bool, Trouble>> {
    Box::pin(async {
        let unresolved = |source| Trouble::Unresolved { origin: origin.to_string(), source };
        let lookup = timeout(LOOKUP_DEADLINE, lookup_host((origin.host.as_str(), origin.port))).await;
        let addresses = lookup.map_err(|_| unresolved(std::io::ErrorKind::TimedOut.into()))?.map_err(unresolved)?;
        Ok(addresses.into_iter().any(|address| is_public_address(address.ip())))
    })
}

fn is_public_address(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            // Shared by the customers of a provider (RFC 6598).
            let is_shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            !(v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_unspecified() || is_shared)
        }
        IpAddr::V6(v6) => match v6.segments() {
            // An address of IPv4 behind a translator (RFC 6052).
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                is_public_address(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into())
            }
            _ => !(v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        let table = [
            ("10.0.0.1:3000", "http://10.0.0.1:3000", "10.0.0.1:3000"),
            ("localhost:80", "http://localhost:80", "localhost:80"),
            ("[::1]:3000", "http://[::1]:3000", "[::1]:3000"),
            ("https://app.example", "https://app.example:443", "app.example:443"),
            ("HTTP://app.example/", "http://app.example:80", "app.example:80"),
            ("https://[fd00::1]", "https://[fd00::1]:443", "[fd00::1]:443"),
        ];
        for (text, whole, authority) in table {
            let origin: Origin = text.parse().unwrap();
            assert_eq!((origin.to_string().as_str(), origin.authority().as_str()), (whole, authority));
            assert_eq!(whole.parse::<Origin>().unwrap(), origin);
        }
    }

    #[test]
    fn what_is_no_address_says_why() {
        let table = [
            ("10.0.0.1", "no port"),
            ("ftp://h:1", "only http"),
            ("h:1/path", "a path"),
            ("http://u@h:1", "a user"),
            ("h:0", "its port"),
            ("h:70000", "its port"),
            ("h:", "its port"),
            (":80", "no host"),
            ("::1:80", "brackets"),
            ("[::1", "brackets"),
            ("[h]:80", "brackets"),
            ("", "no port"),
        ];
        for (text, why) in table {
            let error = text.parse::<Origin>().expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn public_is_what_belongs_to_others() {
        let table = [
            ("127.0.0.1", false),
            ("127.9.9.9", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("172.31.255.255", false),
            ("172.32.0.1", true),
            ("192.168.1.1", false),
            ("169.254.1.1", false),
            ("100.63.255.255", true),
            ("100.64.0.1", false),
            ("100.127.255.255", false),
            ("100.128.0.1", true),
            ("0.0.0.0", false),
            ("1.1.1.1", true),
            ("::1", false),
            ("::", false),
            ("fd00::1", false),
            ("fe80::1", false),
            ("febf::1", false),
            ("2606:4700::1", true),
            ("::ffff:10.0.0.1", false),
            ("::ffff:1.1.1.1", true),
            ("64:ff9b::10.0.0.1", false),
            ("64:ff9b::1.1.1.1", true),
        ];
        for (address, is_public) in table {
            assert_eq!(is_public_address(address.parse().unwrap()), is_public, "{address}");
        }
    }

    #[tokio::test]
    async fn names_are_resolved() {
        assert!(!is_public(&"localhost:80".parse().unwrap()).await.unwrap());
        assert!(is_public(&"1.1.1.1:80".parse().unwrap()).await.unwrap());
        let nowhere = is_public(&"no-such-host.invalid:80".parse().unwrap()).await.expect_err("nowhere");
        assert!(nowhere.to_string().contains("no-such-host.invalid:80"), "{nowhere}");
    }
}
