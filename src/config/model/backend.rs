//! One replica of a pool, or one name of several.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use crate::address::Address;

/// One entry of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Where it listens.
    pub address: BackendAddress,
    /// Share of the traffic relative to the other backends, 1-256.
    pub weight: u16,
    /// The state that the operator wants.
    pub state: BackendState,
}

impl Backend {
    /// The default weight.
    pub(crate) const WEIGHT: u16 = 1;

    /// A backend with the default of every key.
    pub(crate) fn new(address: BackendAddress) -> Self {
        Self { address, weight: Self::WEIGHT, state: BackendState::default() }
    }
}

/// Host and port of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BackendAddress {
    /// An IP address: one endpoint.
    Socket(SocketAddr),
    /// A Unix socket: one endpoint.
    Unix(Arc<Path>),
    /// A name: one endpoint per A/AAAA record.
    Name {
        /// DNS name, lower case. With a final dot it is absolute: nothing is searched for behind it.
        host: String,
        /// TCP port.
        port: u16,
    },
}

impl fmt::Display for BackendAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Unix(file) => Address::Unix(Arc::clone(file)).fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// The state that the operator wants a backend to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BackendState {
    /// It gets requests when healthy.
    #[default]
    Ready,
    /// It finishes its requests, gets no new ones, and is still probed.
    Drain,
    /// It gets no requests and is not probed.
    Down,
}
