//! How a client that keeps to one replica finds it. Pure; the proxy knows none of this.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use fastrand::Rng;

use crate::prove::sabotage::{Planted, Sabotage};

/// Points that each replica has on the ring.
pub(super) const POINTS: usize = 100;

/// A rule by which a user's replica is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// The first response names a replica, and the client keeps to it. If it is gone, another one is drawn.
    Cookie,
    /// A hash of the client's address, modulo the number of replicas that are there.
    AddressHash,
    /// The first point of a replica behind the user's point on a ring (Karger et al. 1997).
    Ring,
}

/// The replicas that are there, as a rule sees them.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    rule: Rule,
    names: Vec<String>,
    /// Points on the ring in order, each with the place of its replica.
    points: Vec<(u64, usize)>,
    salt: u64,
    planted: Planted,
}

impl Layout {
    /// With these replicas. Another salt is another hash function, and other draws.
    pub(super) fn new(rule: Rule, names: &[String], salt: u64, planted: Planted) -> Self {
        let is_plain = rule == Rule::Ring && planted.is(Sabotage::RingIsMod);
        let rule = if is_plain { Rule::AddressHash } else { rule };
        let points = |(place, name): (usize, &String)| {
            (0..POINTS).map(move |number| (hash(salt, (name, number)), place)).collect::<Vec<_>>()
        };
        let mut points: Vec<(u64, usize)> =
            if rule == Rule::Ring { names.iter().enumerate().flat_map(points).collect() } else { Vec::new() };
        points.sort_unstable();
        Self { rule, names: names.to_vec(), points, salt, planted }
    }

    /// The replica of a user, who may know one from before.
    pub(super) fn replica(&self, user: u32, known: Option<&str>) -> &str {
        let place = match self.rule {
            Rule::Cookie => {
                let is_forgotten = self.planted.is(Sabotage::CookieForgotten);
                let lot = if is_forgotten { fastrand::u64(..) } else { hash(self.salt, (user, self.names.len())) };
                let draw = || Rng::with_seed(lot).usize(..self.names.len());
                let known = known.filter(|_| !is_forgotten);
                self.names.iter().position(|name| Some(name.as_str()) == known).unwrap_or_else(draw)
            }
            Rule::AddressHash => (self.of_address(user) % self.names.len() as u64) as usize,
            Rule::Ring => {
                let behind = self.points.partition_point(|(point, _)| *point < self.of_address(user));
                self.points[behind % self.points.len()].1
            }
        };
        &self.names[place]
    }

    fn of_address(&self, user: u32) -> u64 {
        let hash = hash(self.salt, address(user));
        if self.planted.is(Sabotage::PoorHash) { hash & !1 } else { hash }
    }
}

/// The address of a user: four numbers in 10.0.0.0/8.
fn address(user: u32) -> [u8; 4] {
    let [_, high, middle, low] = user.to_be_bytes();
    [10, high, middle, low]
}

fn hash(salt: u64, value: impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    (salt, value).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::super::theory;
    use super::*;

    const USERS: u32 = 100_000;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("r{number}")).collect()
    }

    fn layout(rule: Rule, names: &[String]) -> Layout {
        Layout::new(rule, names, 7, Planted::NOTHING)
    }

    /// The share of users that another layout sends elsewhere, and of those how many not to a new replica.
    fn moved(rule: Rule, before: &[String], after: &[String]) -> (f64, u32) {
        let (old, new) = (layout(rule, before), layout(rule, after));
        let (mut moved, mut elsewhere) = (0, 0);
        for user in 0..USERS {
            let known = old.replica(user, None);
            let next = new.replica(user, Some(known));
            if next != known {
                moved += 1;
                elsewhere +=
                    u32::from(before.iter().any(|name| name == next) && after.iter().any(|name| name == known));
            }
        }
        (f64::from(moved) / f64::from(USERS), elsewhere)
    }

    #[test]
    fn shares_that_move_are_those_of_theory() {
        for k in [2, 3, 4, 9] {
            let (few, many) = (names(k), names(k + 1));
            assert_eq!(moved(Rule::Cookie, &few, &many).0, 0.0, "who has a cookie stays");
            let (of_hash, _) = moved(Rule::AddressHash, &few, &many);
            assert!((of_hash - theory::moved_by_hash(k, k + 1)).abs() < 0.01, "{k}: {of_hash}");
            let (of_ring, elsewhere) = moved(Rule::Ring, &few, &many);
            // The arcs of one ring differ from the mean by this, as a standard error.
            let p = 1.0 / (k as f64 + 1.0);
            let error = (p * (1.0 - p) / ((k as f64 + 1.0) * POINTS as f64 + 1.0)).sqrt();
            assert!((of_ring - p).abs() < 4.5 * error + 0.01, "{k}: {of_ring}");
            assert_eq!(elsewhere, 0, "between replicas that were there before nobody moves");
        }
    }

    #[test]
    fn a_replica_that_is_gone_takes_its_share_along_and_a_hash_that_of_the_others_too() {
        let all = names(4);
        for gone in 0..4 {
            let left: Vec<String> =
                all.iter().enumerate().filter(|(place, _)| *place != gone).map(|(_, name)| name.clone()).collect();
            let (of_cookie, elsewhere) = moved(Rule::Cookie, &all, &left);
            assert!((of_cookie - 0.25).abs() < 0.01 && elsewhere == 0, "{of_cookie}");
            let (of_ring, elsewhere) = moved(Rule::Ring, &all, &left);
            assert!((of_ring - 0.25).abs() < 0.1 && elsewhere == 0, "{of_ring}");
            let (of_hash, _) = moved(Rule::AddressHash, &all, &left);
            assert!((of_hash - theory::moved_by_hash(4, 3)).abs() < 0.01, "{gone}: {of_hash}");
        }
    }

    #[test]
    fn every_user_has_a_replica_and_keeps_it() {
        for rule in [Rule::Cookie, Rule::AddressHash, Rule::Ring] {
            let layout = layout(rule, &names(5));
            for user in 0..500 {
                let first = layout.replica(user, None).to_owned();
                assert_eq!(layout.replica(user, Some(&first)), first, "{rule:?}");
            }
            let alone = Layout::new(rule, &names(1), 3, Planted::NOTHING);
            assert!((0..50).all(|user| alone.replica(user, Some("r9")) == "r0"));
        }
    }
}
