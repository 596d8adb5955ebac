//! Where the users of an arm send their requests: anywhere, or to the replica they keep to.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

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
}

/// Users who keep to one replica each as long as it responds: the control group. This is all the affinity there is.
pub(super) struct Keepers {
    /// Of the proxies.
    pub(super) addresses: Vec<SocketAddr>,
    /// The replicas to choose from.
    pub(super) entries: Rc<RefCell<Vec<Entry>>>,
}

impl Front for Keepers {
    fn target(&self, user: u32, left: Option<&Target>) -> Option<Target> {
        let entries = self.entries.borrow();
        let before = left.and_then(|left| entries.iter().position(|entry| *entry.name == *left.host));
        let place = before.map_or(user as usize, |place| place + 1);
        let entry = entries.get(place % entries.len().max(1))?;
        let proxies = self.addresses.len();
        let address = match left {
            // With two proxies, one may be what broke off.
            Some(left) => self.addresses.iter().find(|address| **address != left.address || proxies == 1),
            None => self.addresses.get(user as usize / entries.len().max(1) % proxies),
        };
        let same = left.filter(|left| proxies > 1 && entries.iter().any(|entry| *entry.name == *left.host));
        let host = same.map_or_else(|| entry.name.as_str().into(), |left| Rc::clone(&left.host));
        Some(Target { address: *address?, host })
    }

    fn is_left_for(&self, status: StatusCode) -> bool {
        matches!(status.as_u16(), 404 | 502..=504)
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

    #[test]
    fn users_of_one_replica_leave_it_only_when_it_is_gone() {
        let entries = Rc::new(RefCell::new(vec![entry("r0", 10), entry("r1", 11), entry("r2", 12)]));
        let keepers = |ports: &[u16]| Keepers {
            addresses: ports.iter().map(|port| address(*port)).collect(),
            entries: Rc::clone(&entries),
        };
        let (one, two) = (keepers(&[1]), keepers(&[1, 2]));
        let target = one.target(4, None).unwrap();
        assert_eq!((target.address, &*target.host), (address(1), "r1"), "the user's number chooses");
        assert_eq!(&*one.target(4, Some(&target)).unwrap().host, "r2", "with one proxy it is the replica that is gone");
        let other = two.target(4, Some(&target)).unwrap();
        assert_eq!((other.address, &*other.host), (address(2), "r1"), "with two it may be the proxy");
        entries.borrow_mut().remove(1);
        assert_eq!(&*two.target(4, Some(&target)).unwrap().host, "r0", "nobody responds for it");
        assert!(one.is_left_for(StatusCode::NOT_FOUND) && !one.is_left_for(StatusCode::UNAUTHORIZED));
    }
}
