//! Through which door a request came to the admin port.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::net::network_of;

/// Where the peer of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// At the Unix socket, which only its owner may open.
    Unix,
    /// On this machine, by TCP. Anybody here may be this, also a browser.
    Loopback(IpAddr),
    /// Anywhere else.
    Remote(IpAddr),
}

impl Door {
    /// The door of a peer that came by TCP.
    pub(super) fn of(peer: SocketAddr) -> Self {
        let address = peer.ip().to_canonical();
        if address.is_loopback() { Self::Loopback(address) } else { Self::Remote(address) }
    }

    /// The network of the peer; `None` at the Unix socket.
    pub(super) fn network(self) -> Option<IpAddr> {
        match self {
            Self::Unix => None,
            Self::Loopback(address) | Self::Remote(address) => Some(network_of(address)),
        }
    }
}

/// Who it was, for the log.
impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix => f.write_str("unix"),
            Self::Loopback(address) | Self::Remote(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_what_the_kernel_says_it_is() {
        for (peer, is_loopback, shown) in [
            ("127.0.0.1:1", true, "127.0.0.1"),
            ("127.8.0.1:1", true, "127.8.0.1"),
            ("[::1]:1", true, "::1"),
            ("[::ffff:127.0.0.1]:1", true, "127.0.0.1"),
            ("[::ffff:10.0.0.1]:1", false, "10.0.0.1"),
            ("192.168.1.7:1", false, "192.168.1.7"),
            ("[fe80::1]:1", false, "fe80::1"),
        ] {
            let door = Door::of(peer.parse().unwrap());
            assert_eq!(matches!(door, Door::Loopback(_)), is_loopback, "{peer}");
            assert_eq!(door.to_string(), shown, "{peer}");
        }
        assert_eq!(Door::Unix.to_string(), "unix");
    }
}
