//! How many connections a client may hold.
//!
//! The lock is taken when a connection is accepted and when it ends, never by a request, and only if
//! `connections_per_address` is set.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, PoisonError};

use crate::net::network_of;
use crate::sync::{Mutex, MutexGuard};

/// Connections per client network, counted over all workers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peers(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl Peers {
    /// Counts one more connection from `peer` until the permit is dropped, unless it has `most` already.
    pub(crate) fn admit(&self, peer: IpAddr, most: NonZeroUsize) -> Option<Permit> {
        let network = network_of(peer);
        let mut counts = self.counts();
        let count = counts.entry(network).or_default();
        if *count >= most.get() {
            return None;
        }
        *count += 1;
        Some(Permit { peers: self.clone(), network })
    }

    /// Whether nobody is counted.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.counts().is_empty()
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps one connection counted until it is dropped; see [`Peers::admit`].
#[derive(Debug)]
pub(crate) struct Permit {
    peers: Peers,
    network: IpAddr,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.peers.counts();
        if let Some(count) = counts.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_as_many_as_it_may() {
        let (peers, two) = (Peers::default(), NonZeroUsize::new(2).unwrap());
        let admit = |peer: &str| peers.admit(peer.parse().unwrap(), two);
        let (first, second) = (admit("192.0.2.1"), admit("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some() && admit("192.0.2.1").is_none());
        assert!(admit("192.0.2.2").is_some());
        drop(first);
        assert!(admit("192.0.2.1").is_some());
        drop(second);
        assert!(peers.is_empty());

        let (a, b) = (admit("2001:db8::1"), admit("2001:db8::ffff:0:0:2"));
        assert!(a.is_some() && b.is_some() && admit("2001:db8::3").is_none(), "the same /64");
        assert!(admit("2001:db8:0:1::3").is_some());
    }
}
