//! Free ports on 127.0.0.1.
//!
//! A port is free when it can be bound. Nothing keeps others from taking it before the replica does, or while the
//! replica is down; so ports are drawn from below the range out of which the kernel serves everybody who asks for any.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use rustix::io::Result;
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with};

/// The lowest port that is drawn.
const LOWEST: u16 = 20_000;
/// A range with fewer ports is not drawn from.
const RANGE_MIN: u16 = 1_000;
/// So many ports are drawn before the kernel is asked for one.
const DRAWS_MAX: usize = 50;

/// The ports of one fleet, none of which is given out twice.
#[derive(Debug, Default)]
pub(super) struct Ports(Mutex<Vec<u16>>);

impl Ports {
    /// A port that is free and was not given out before.
    pub(super) fn draw(&self) -> Option<u16> {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let range = quiet_range().unwrap_or(0..0);
        let draws = (0..DRAWS_MAX).filter(|_| !range.is_empty()).map(|_| fastrand::u16(range.clone()));
        let any = (0..DRAWS_MAX).filter_map(|_| any_port());
        let port = draws.filter(|port| is_free(*port)).chain(any).find(|port| !given.contains(port))?;
        given.push(port);
        Some(port)
    }
}

/// Whether nobody listens on this port.
pub(super) fn is_free(port: u16) -> bool {
    bound(port).is_ok()
}

fn any_port() -> Option<u16> {
    let address = getsockname(bound(0).ok()?).ok()?;
    Some(SocketAddrV4::try_from(address).ok()?.port())
}

/// A socket that has this port and does not listen. Nobody can connect to it. A process that is started at the same
/// moment inherits it until it executes its program, and so keeps nobody from the port either.
fn bound(port: u16) -> Result<OwnedFd> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    Ok(socket)
}

/// The ports from [`LOWEST`] up to where the kernel begins to give them out.
fn quiet_range() -> Option<Range<u16>> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let end: u16 = range.split_whitespace().next()?.parse().ok()?;
    (end.checked_sub(LOWEST)? >= RANGE_MIN).then_some(LOWEST..end)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::tests::until;
    use super::*;

    #[test]
    fn ports_are_free_and_differ() {
        let ports = Ports::default();
        let mut drawn: Vec<u16> = std::iter::repeat_with(|| ports.draw().expect("a port")).take(100).collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 100);
    }

    #[test]
    fn to_ask_for_a_port_takes_it_from_nobody() {
        let port = any_port().expect("a port");
        let _asks = bound(port).unwrap();
        assert!(is_free(port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    }

    #[tokio::test]
    async fn a_port_with_a_listener_is_not_free() {
        for address in ["127.0.0.1:0", "0.0.0.0:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let port = listener.local_addr().unwrap().port();
            assert!(!is_free(port), "{address}");
            drop(listener);
            // A process that another test starts may have inherited the listener for a moment.
            until("the port is free", || is_free(port)).await;
        }
    }
}
