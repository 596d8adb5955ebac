//! Free ports on 127.0.0.1.
//!
//! A port is free when it can be bound. Nothing keeps others from taking it before the replica does, or while the
//! replica is down; so ports are drawn from below the range out of which the kernel serves everybody who asks for any.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

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
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn any_port() -> Option<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    Some(listener.local_addr().ok()?.port())
}

/// The ports from [`LOWEST`] up to where the kernel begins to give them out.
fn quiet_range() -> Option<Range<u16>> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let end: u16 = range.split_whitespace().next()?.parse().ok()?;
    (end.checked_sub(LOWEST)? >= RANGE_MIN).then_some(LOWEST..end)
}

#[cfg(test)]
mod tests {
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
    fn a_port_with_a_listener_is_not_free() {
        for address in ["127.0.0.1:0", "0.0.0.0:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let port = listener.local_addr().unwrap().port();
            assert!(!is_free(port), "{address}");
            drop(listener);
            assert!(is_free(port), "{address}");
        }
    }
}
