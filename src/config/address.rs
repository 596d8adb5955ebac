//! Where something listens: an IP address with a port, or the file of a Unix socket.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
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
