//! How the names among the backends become addresses.

use std::net::SocketAddr;
use std::time::Duration;

/// How backend names are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dns {
    /// Name servers; empty means those of the system, with its search list.
    pub servers: Vec<SocketAddr>,
    /// Which addresses are asked for.
    pub families: Families,
    /// How long a name server must go on saying that there are no addresses until it is believed.
    pub give_up: Duration,
}

impl Default for Dns {
    fn default() -> Self {
        Self { servers: Vec::new(), families: Families::Both, give_up: Duration::from_secs(30) }
    }
}

/// Families of IP addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// A and AAAA records.
    Both,
    /// A records only.
    Ipv4,
    /// AAAA records only.
    Ipv6,
}
