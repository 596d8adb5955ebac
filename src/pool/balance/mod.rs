//! Which endpoint gets the next attempt: pure functions of candidates and dice.
//!
//! An algorithm sees its pool only through [`Candidates`] and chance only through [`Dice`], so each is tested with a
//! table of loads and expected picks. All algorithms skip candidates that are not eligible. None of them allocates.
//!
//! To add an algorithm, add a file here, its lines in [`Balance`] and an entry in `config::algorithm`.

pub(crate) mod least_connections;
mod p2c;
pub(crate) mod peak_ewma;
mod random;
pub(crate) mod round_robin;

use crate::config::model::Algorithm;
use least_connections::Shares;
use peak_ewma::Evenness;
use round_robin::Rotation;

/// The endpoints of a pool at one moment, by index.
pub trait Candidates {
    /// The number of candidates, eligible or not.
    fn count(&self) -> usize;
    /// Whether this one may be picked.
    fn eligible(&self, index: usize) -> bool;
    /// Its share of the traffic, at least 1.
    fn weight(&self, index: usize) -> u32;
    /// Its requests in flight, over all workers.
    fn in_flight(&self, index: usize) -> u32;
    /// The number of requests in flight that its recent failures count as.
    fn failure_load(&self, index: usize) -> u32;
    /// Recent time to the response head in nanoseconds; 0 while it is unknown.
    fn latency_ns(&self, index: usize) -> u64;
}

/// The source of chance and of turns.
pub trait Dice {
    /// A number below `bound`, drawn uniformly. `bound` is at least 1.
    fn below(&mut self, bound: u64) -> u64;
    /// The next turn in the round of the pool: 0, 1, 2, ... over all workers.
    fn turn(&mut self) -> u64;
}

/// The algorithm of a pool, with what it has prepared from the weights.
#[derive(Debug)]
pub enum Balance {
    /// See [`round_robin`].
    RoundRobin(Rotation),
    /// See [`least_connections`].
    LeastConnections(Shares),
    /// See [`p2c`].
    P2c,
    /// See [`peak_ewma`].
    PeakEwma(Evenness),
    /// See [`random`].
    Random,
}

impl Balance {
    /// Prepares `algorithm` for endpoints of these weights.
    pub fn new(algorithm: Algorithm, weights: &[u32]) -> Self {
        match algorithm {
            Algorithm::RoundRobin => Self::RoundRobin(Rotation::new(weights)),
            Algorithm::LeastConnections => Self::LeastConnections(Shares::new(weights)),
            Algorithm::P2c => Self::P2c,
            Algorithm::PeakEwma => Self::PeakEwma(Evenness::of(weights)),
            Algorithm::Random => Self::Random,
        }
    }

    /// Whether the algorithm picks by load. It would then send all traffic to a new endpoint, which is idle.
    pub fn goes_by_load(&self) -> bool {
        match self {
            Self::LeastConnections(_) | Self::P2c | Self::PeakEwma(_) => true,
            Self::RoundRobin(_) | Self::Random => false,
        }
    }

    /// An eligible candidate, or `None` if there is none.
    pub fn pick(&self, candidates: &impl Candidates, dice: &mut impl Dice) -> Option<Pick> {
        let index = match self {
            Self::LeastConnections(shares) => return least_connections::pick(shares, candidates, dice),
            Self::RoundRobin(rotation) => rotation.pick(candidates, dice),
            Self::P2c => p2c::pick(candidates, dice),
            Self::PeakEwma(evenness) => peak_ewma::pick(*evenness, candidates, dice),
            Self::Random => random::pick(candidates, dice),
        };
        index.map(|index| Pick { index, if_load: None })
    }
}

/// The choice of an algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// Index of the candidate.
    pub index: usize,
    /// The pick is valid only while the candidate has exactly this many requests in flight. `None` means that it is
    /// valid in any case.
    pub if_load: Option<u32>,
}

/// Whether `a` has a smaller load per weight than `b`: `a.load / a.weight < b.load / b.weight`, without division.
fn less_loaded(candidates: &impl Candidates, a: usize, b: usize) -> bool {
    let load = |index| u64::from(candidates.in_flight(index)) + u64::from(candidates.failure_load(index));
    let (load_a, load_b) = (load(a), load(b));
    load_a * u64::from(candidates.weight(b)) < load_b * u64::from(candidates.weight(a))
}

/// Draws two eligible candidates by weight, each of all of them: a light one is rarely among the two, however good it
/// looks.
fn draw_two_of_all(candidates: &impl Candidates, dice: &mut impl Dice) -> Option<(usize, usize)> {
    let first = random::pick(candidates, dice)?;
    Some((first, random::pick(candidates, dice).unwrap_or(first)))
}

/// Draws two different eligible candidates by weight. If there is only one, it is both of them.
fn draw_two(candidates: &impl Candidates, dice: &mut impl Dice) -> Option<(usize, usize)> {
    let first = random::pick(candidates, dice)?;
    let second = random::pick_except(candidates, dice, Some(first)).unwrap_or(first);
    Some((first, second))
}

#[cfg(test)]
pub(crate) mod testing {
    //! Candidates and dice with values from a test.

    use super::*;

    /// One row: (eligible, weight, in flight, latency in ns).
    pub(crate) struct Table(pub(crate) Vec<(bool, u32, u32, u64)>);

    impl Candidates for Table {
        fn count(&self) -> usize {
            self.0.len()
        }
        fn eligible(&self, index: usize) -> bool {
            self.0[index].0
        }
        fn weight(&self, index: usize) -> u32 {
            self.0[index].1
        }
        fn in_flight(&self, index: usize) -> u32 {
            self.0[index].2
        }
        fn failure_load(&self, _: usize) -> u32 {
            0
        }
        fn latency_ns(&self, index: usize) -> u64 {
            self.0[index].3
        }
    }

    /// A table with the failures that each row counts as load.
    pub(crate) struct Failing(pub(crate) Table, pub(crate) Vec<u32>);

    impl Candidates for Failing {
        fn count(&self) -> usize {
            self.0.count()
        }
        fn eligible(&self, index: usize) -> bool {
            self.0.eligible(index)
        }
        fn weight(&self, index: usize) -> u32 {
            self.0.weight(index)
        }
        fn in_flight(&self, index: usize) -> u32 {
            self.0.in_flight(index)
        }
        fn failure_load(&self, index: usize) -> u32 {
            self.1[index]
        }
        fn latency_ns(&self, index: usize) -> u64 {
            self.0.latency_ns(index)
        }
    }

    /// Dice that show the numbers given by the test, then 0; turns count up.
    #[derive(Default)]
    pub(crate) struct Loaded {
        pub(crate) rolls: std::collections::VecDeque<u64>,
        pub(crate) turns: u64,
    }

    impl Loaded {
        pub(crate) fn rolls(rolls: &[u64]) -> Self {
            Self { rolls: rolls.iter().copied().collect(), turns: 0 }
        }
    }

    impl Dice for Loaded {
        fn below(&mut self, bound: u64) -> u64 {
            assert!(bound > 0);
            self.rolls.pop_front().unwrap_or(0) % bound
        }
        fn turn(&mut self) -> u64 {
            self.turns += 1;
            self.turns - 1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{Failing, Loaded, Table};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_load_is_per_weight_and_has_failures_in_it() {
        for (a, b, failures, expected) in [
            ((true, 1, 1, 0), (true, 1, 2, 0), [0, 0], true),
            ((true, 1, 2, 0), (true, 1, 2, 0), [0, 0], false),
            ((true, 1, 3, 0), (true, 1, 2, 0), [0, 0], false),
            // 3 over weight 4 is less than 1 over weight 1, 4 is as much, 5 is more.
            ((true, 4, 3, 0), (true, 1, 1, 0), [0, 0], true),
            ((true, 4, 4, 0), (true, 1, 1, 0), [0, 0], false),
            ((true, 4, 5, 0), (true, 1, 1, 0), [0, 0], false),
            ((true, 1, 1, 0), (true, 4, 4, 0), [0, 0], false),
            ((true, 1, 1, 0), (true, 4, 5, 0), [0, 0], true),
            ((true, 1, 1, 0), (true, 1, 1, 0), [0, 1], true),
            ((true, 1, 1, 0), (true, 1, 2, 0), [2, 0], false),
            ((true, 1, 0, 0), (true, 1, 0, 0), [0, 1], true),
        ] {
            let candidates = Failing(Table(vec![a, b]), failures.to_vec());
            assert_eq!(less_loaded(&candidates, 0, 1), expected, "{a:?} {b:?} {failures:?}");
        }
    }

    #[test]
    fn two_are_drawn_by_weight() {
        let table = Table(vec![(true, 2, 0, 0), (false, 9, 0, 0), (true, 3, 0, 0)]);
        for (rolls, of_all, different) in [([0, 0], (0, 0), (0, 2)), ([2, 0], (2, 0), (2, 0)), ([4, 4], (2, 2), (2, 0))]
        {
            assert_eq!(draw_two_of_all(&table, &mut Loaded::rolls(&rolls)), Some(of_all), "{rolls:?}");
            assert_eq!(draw_two(&table, &mut Loaded::rolls(&rolls)), Some(different), "{rolls:?}");
        }
        let one = Table(vec![(false, 1, 0, 0), (true, 1, 0, 0)]);
        assert_eq!(draw_two(&one, &mut Loaded::default()), Some((1, 1)));
        assert_eq!(draw_two(&Table(vec![]), &mut Loaded::default()), None);
        assert_eq!(draw_two_of_all(&Table(vec![]), &mut Loaded::default()), None);
    }

    #[test]
    fn what_picks_by_load_would_send_all_traffic_to_a_new_endpoint() {
        for algorithm in Algorithm::ALL {
            let expected = match algorithm {
                Algorithm::LeastConnections | Algorithm::P2c | Algorithm::PeakEwma => true,
                Algorithm::RoundRobin | Algorithm::Random => false,
            };
            assert_eq!(Balance::new(*algorithm, &[1, 1]).goes_by_load(), expected, "{algorithm}");
        }
    }

    proptest! {
        /// For all loads and dice, a pick is eligible, and there is a pick if any candidate is eligible.
        #[test]
        fn a_pick_is_always_eligible(
            rows in prop::collection::vec((any::<bool>(), 1u32..=256, 0u32..1000, 0u64..10_000_000_000), 0..12),
            rolls in prop::collection::vec(any::<u64>(), 0..8),
            turns in any::<u32>(),
        ) {
            let weights: Vec<u32> = rows.iter().map(|row| row.1).collect();
            let any_eligible = rows.iter().any(|row| row.0);
            let table = Table(rows);
            for algorithm in Algorithm::ALL {
                let balance = Balance::new(*algorithm, &weights);
                let mut dice = Loaded { turns: u64::from(turns), ..Loaded::rolls(&rolls) };
                let pick = balance.pick(&table, &mut dice);
                prop_assert_eq!(pick.is_some(), any_eligible, "{}", algorithm);
                prop_assert!(pick.is_none_or(|pick| table.eligible(pick.index)), "{}", algorithm);
            }
        }
    }
}
