//! The shares of several pools in the requests of a route.
//!
//! Like round-robin, a split is exact over time, for any number of workers, and knows no client: who was sent to one
//! pool may be sent to the other with the next request. A client that must stay with a version is told apart by a
//! condition of the route, such as a header field that the application sets.

use std::sync::atomic::Ordering::Relaxed;

use crossbeam_utils::CachePadded;

use crate::pool::balance::round_robin::Rotation;
use crate::pool::balance::{Candidates, Dice};
use crate::sync::AtomicU64;

/// Pools, and the order in which they get requests.
#[derive(Debug)]
pub struct Split {
    /// The indices of the pools. Those without a share are left out.
    pools: Box<[usize]>,
    rotation: Rotation,
    /// The next turn, of all workers.
    turn: CachePadded<AtomicU64>,
}

impl Split {
    /// A split of these pools, each with its weight.
    pub fn new(shares: impl Iterator<Item = (usize, u32)>) -> Self {
        let (pools, weights): (Vec<usize>, Vec<u32>) = shares.filter(|(_, weight)| *weight > 0).unzip();
        Self { pools: pools.into(), rotation: Rotation::new(&weights), turn: CachePadded::default() }
    }

    /// The pool whose turn it is, among those that are `usable`. If none is, it is any of them.
    pub fn pick(&self, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let shares = Shares { split: self, usable };
        let index = self.rotation.pick(&shares, &mut Turns(&self.turn)).unwrap_or(0);
        self.pools.get(index).copied()
    }
}

struct Shares<'a, U> {
    split: &'a Split,
    usable: U,
}

impl<U: Fn(usize) -> bool> Candidates for Shares<'_, U> {
    fn count(&self) -> usize {
        self.split.pools.len()
    }

    fn eligible(&self, index: usize) -> bool {
        self.split.pools.get(index).is_some_and(|pool| (self.usable)(*pool))
    }

    // The rotation has the weights, and goes by nothing else.
    fn weight(&self, _: usize) -> u32 {
        1
    }

    fn in_flight(&self, _: usize) -> u32 {
        0
    }

    fn failure_load(&self, _: usize) -> u32 {
        0
    }

    fn latency_ns(&self, _: usize) -> u64 {
        0
    }
}

struct Turns<'a>(&'a AtomicU64);

impl Dice for Turns<'_> {
    fn below(&mut self, bound: u64) -> u64 {
        fastrand::u64(..bound)
    }

    fn turn(&mut self) -> u64 {
        self.0.fetch_add(1, Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(split: &Split, usable: impl Fn(usize) -> bool + Copy, requests: usize) -> [usize; 3] {
        let mut counts = [0; 3];
        (0..requests).for_each(|_| counts[split.pick(usable).unwrap()] += 1);
        counts
    }

    #[test]
    fn shares_are_exact_and_those_of_pools_that_are_down_fall_to_the_others() {
        let split = Split::new([(0, 90), (1, 8), (2, 2)].into_iter());
        assert_eq!(counts(&split, |_| true, 1000), [900, 80, 20]);
        let split = Split::new([(0, 3), (1, 0), (2, 1)].into_iter());
        assert_eq!(counts(&split, |_| true, 400), [300, 0, 100]);
        assert_eq!(counts(&split, |pool| pool != 0, 40), [0, 0, 40]);
        assert_eq!(counts(&split, |_| false, 4).iter().sum::<usize>(), 4, "somebody must say that nobody is there");
        // Not all requests of one pool come first.
        let split = Split::new([(0, 2), (1, 1)].into_iter());
        assert_eq!((0..6).map(|_| split.pick(|_| true).unwrap()).collect::<Vec<_>>(), [0, 1, 0, 0, 1, 0]);
    }
}
