//! The admin port.

use std::net::{Ipv4Addr, SocketAddr};

/// Where the admin port is, and by which names it may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Its address; `None` when switched off. Cannot change live.
    pub address: Option<SocketAddr>,
    /// Names in `Host` that are answered, lower case. IP addresses and `localhost` always are.
    pub hosts: Vec<String>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9900))), hosts: Vec::new() }
    }
}
