//! Addresses that are held until the proxy takes them.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::Context as _;

/// Where the admin port is if nobody else is there.
pub(super) const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9900);

/// An address held until the proxy takes it, so that no other program does while the replicas start.
pub(super) struct Reserved {
    pub(super) address: SocketAddr,
    _listener: TcpListener,
}

impl Reserved {
    fn new(address: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        Ok(Self { address: listener.local_addr()?, _listener: listener })
    }

    /// The address for clients. It fails before anything is started, and says what to do.
    pub(super) fn listen(address: SocketAddr) -> anyhow::Result<Self> {
        Self::new(address).map_err(|error| {
            if error.kind() != ErrorKind::AddrInUse {
                return anyhow::Error::new(error).context(format!("cannot listen on {address}"));
            }
            let other = SocketAddr::new(address.ip(), address.port().checked_add(1).unwrap_or(8080));
            anyhow::anyhow!("{address} is taken by another program; choose another port: unstick demo --listen {other}")
        })
    }

    /// The usual admin port, or any free one: no client has to know it before it is printed.
    pub(super) fn admin() -> anyhow::Result<Self> {
        let reserved = Self::new(ADMIN).or_else(|_| Self::new(SocketAddr::new(ADMIN.ip(), 0)));
        reserved.context("no free port for the admin interface")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_the_way_out() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = Reserved::listen(address).err().unwrap().to_string();
        assert!(error.starts_with(&format!("{address} is taken")) && error.contains("--listen 127.0.0.1:"), "{error}");
        assert_ne!(Reserved::listen("127.0.0.1:0".parse().unwrap()).unwrap().address.port(), 0);
    }
}
