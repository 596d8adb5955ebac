//! Where the users of an arm send their requests: anywhere, or to the replica they keep to.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use fastrand::Rng;
use http::StatusCode;

use super::proxy::Entry;
use crate::trial::client::{Front, Target};

/// The name under which all replicas are reached.
const HOST: &str = "shop.test";

/// Users who may be served over any front.
pub(super) struct Anyone(Vec<Target>);

impl Anyone {
    /// Of proxies at these addresses.
    pub(super) fn new(addresses: Vec<SocketAddr>) -> Self {
        Self(addresses.into_iter().map(|address| Target { address, host: HOST.into() }).collect())
    }
}

impl Front for Anyone {
    fn target(&self, user: u32, left: Option<&Target>) -> Option<Target> {
        let place = match left {
            None => user as usize,
            Some(left) => self.0.iter().position(|target| target == left)? + 1,
        };
        self.0.get(place % self.0.len().max(1)).cloned()
    }

    fn is_left_for(&self, _: StatusCode) -> bool {
        false
    }

    fn is_unsent(&self, _: StatusCode) -> bool {
        false
    }
}

/// Users who keep to one replica each as long as it responds: the control group. This is all the affinity there is.
pub(super) struct Keepers {
    /// Of the proxies.
    pub(super) addresses: Vec<SocketAddr>,
    /// The replicas to choose from.
    pub(super) entries: Rc<RefCell<Vec<Entry>>>,
    /// Users draw their replica from this, each for itself.
    pub(super) seed: u64,
}

impl Front for Keepers {
    fn target(&self, user: u32, left: Option<&Target>) -> Option<Target> {
        let entries = self.entries.borrow();
        // Nobody begins on a replica that drains; sessions that are there stay.
        let open: Vec<&Entry> = entries.iter().filter(|entry| !entry.is_draining).collect();
        // Seeds that differ by little make first numbers that are related.
        let salt = Rng::with_seed(self.seed).u64(..);
        let mut lot = Rng::with_seed(Rng::with_seed(salt ^ u64::from(user)).u64(..));
        let proxies = self.addresses.len();
        let place = match left.and_then(|left| open.iter().position(|entry| *entry.name == *left.host)) {
            Some(place) => place + 1,
            None => lot.usize(..open.len().max(1)),
        };
        let entry = open.get(place % open.len().max(1))?;
        let address = match left {
            // With two proxies, one may be what broke off.
            Some(left) => self.addresses.iter().find(|address| **address != left.address || proxies == 1),
            None => self.addresses.get(lot.usize(..proxies.max(1))),
        };
        let same = left.filter(|left| proxies > 1 && entries.iter().any(|entry| *entry.name == *left.host));
        let host = same.map_or_else(|| entry.name.as_str().into(), |left| Rc::clone(&left.host));
        Some(Target { address: *address?, host })
    }

    fn is_left_for(&self, status: StatusCode) -> bool {
        matches!(status.as_u16(), 404 | 502..=504)
    }

    fn is_unsent(&self, status: StatusCode) -> bool {
        matches!(status.as_u16(), 404 | 503)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn entry(name: &str, port: u16) -> Entry {
        Entry { name: name.into(), address: address(port), is_draining: false }
    }

    #[test]
    fn users_of_any_replica_move_to_the_next_proxy() {
        let front = Anyone::new(vec![address(1), address(2)]);
        let first = front.target(3, None).unwrap();
        assert_eq!((first.address, &*first.host), (address(2), HOST));
        assert_eq!(front.target(3, Some(&first)).unwrap().address, address(1));
        assert!(!front.is_left_for(StatusCode::BAD_GATEWAY), "a failure is a failure");
        assert_eq!(Anyone::new(Vec::new()).target(3, None), None);
    }

    fn keepers(ports: &[u16], entries: &Rc<RefCell<Vec<Entry>>>, seed: u64) -> Keepers {
        Keepers { addresses: ports.iter().map(|port| address(*port)).collect(), entries: Rc::clone(entries), seed }
    }

    #[test]
    fn users_of_one_replica_leave_it_only_when_it_is_gone() {
        let entries = Rc::new(RefCell::new(vec![entry("r0", 10), entry("r1", 11), entry("r2", 12)]));
        let (one, two) = (keepers(&[1], &entries, 1), keepers(&[1, 2], &entries, 1));
        let target = one.target(4, None).unwrap();
        assert_eq!(one.target(4, None).unwrap(), target, "the lot of a user is always the same");
        let other = one.target(4, Some(&target)).unwrap();
        assert_ne!(other.host, target.host, "with one proxy it is the replica that is gone");
        let target = two.target(4, None).unwrap();
        let other = two.target(4, Some(&target)).unwrap();
        assert!(other.address != target.address && other.host == target.host, "with two it may be the proxy");
        entries.borrow_mut().retain(|entry| *entry.name != *target.host);
        assert_ne!(two.target(4, Some(&target)).unwrap().host, target.host, "nobody responds for it");
        assert!(one.is_left_for(StatusCode::NOT_FOUND) && !one.is_left_for(StatusCode::UNAUTHORIZED));
        assert!(one.is_unsent(StatusCode::NOT_FOUND) && !one.is_unsent(StatusCode::BAD_GATEWAY));
    }

    #[test]
    fn users_are_dealt_out_by_lot() {
        let entries = Rc::new(RefCell::new(vec![entry("r0", 10), entry("r1", 11), entry("r2", 12)]));
        let first = |seed| {
            let front = keepers(&[1], &entries, seed);
            (0..300).filter(|user| &*front.target(*user, None).unwrap().host == "r0").count()
        };
        let counts: Vec<usize> = (1..101).map(first).collect();
        // 30,000 draws: 10,000 are expected, with a standard error of 82; of 300 draws it is 8.
        assert!((9_700..10_300).contains(&counts.iter().sum::<usize>()), "{counts:?}");
        assert!(counts.iter().all(|count| (65..135).contains(count)), "{counts:?}");
        assert!(counts.iter().any(|count| *count != counts[0]), "every seed is another draw: {counts:?}");
    }

    #[test]
    fn sessions_stay_while_their_replica_drains() {
        let entries = Rc::new(RefCell::new(vec![entry("r0", 10), Entry { is_draining: true, ..entry("r1", 11) }]));
        let front = keepers(&[1], &entries, 1);
        assert!((0..50).all(|user| &*front.target(user, None).unwrap().host == "r0"), "nobody begins there");
    }
}
