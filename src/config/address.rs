//! Where something listens: an IP address with a port, or the file of a Unix socket.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// How the address of a Unix socket begins.
pub const UNIX: &str = "unix:";

/// What a backend, as written, is called in a `Host` field: a file is no host, and the final dot of an absolute name is
/// for name servers only.
pub fn host_field(backend: &str) -> Cow<'_, str> {
    match backend.rsplit_once(".:") {
        _ if backend.starts_with(UNIX) => "localhost".into(),
        Some((host, port)) => format!("{host}:{port}").into(),
        None => backend.into(),
    }
}

/// Where something listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// An IP address and a TCP port.
    Tcp(SocketAddr),
    /// The file of a Unix socket.
    Unix(Arc<Path>),
}

impl Address {
    /// The IP address and port, if it has them.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl Address {
    /// Whether some connection could go to a socket at either address. Port 0 is a different port each time.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(other)) => {
                one.port() == other.port()
                    && one.port() != 0
                    && (takes(one.ip(), other.ip()) || takes(other.ip(), one.ip()))
            }
            (one, other) => one == other,
        }
    }
}

/// Whether a socket at `address` takes connections to `wanted`. One at `[::]` takes those of both families.
fn takes(address: IpAddr, wanted: IpAddr) -> bool {
    address == wanted || (address.is_unspecified() && (address.is_ipv6() || wanted.is_ipv4()))
}

impl<T: Into<SocketAddr>> From<T> for Address {
    fn from(address: T) -> Self {
        Self::Tcp(address.into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(file) => write!(f, "{UNIX}{}", file.display()),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_overlap_where_a_connection_could_go_to_either() {
        for (one, other, expected) in [
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("[::]:80", "0.0.0.0:80", true),
            ("[::]:80", "[::1]:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("0.0.0.0:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            let [one, other] = [one, other].map(|text| Address::Tcp(text.parse().unwrap()));
            assert_eq!((one.overlaps(&other), other.overlaps(&one)), (expected, expected), "{one} {other}");
        }
        let [a, b] = ["/a", "/b"].map(|file| Address::Unix(Path::new(file).into()));
        assert!(a.overlaps(&a) && !a.overlaps(&b));
    }

    #[test]
    fn the_final_dot_of_a_name_is_for_name_servers() {
        for (backend, host) in [("app:80", "app:80"), ("app.:80", "app:80"), ("unix:/a.:b", "localhost")] {
            assert_eq!(host_field(backend), host);
        }
    }
}
