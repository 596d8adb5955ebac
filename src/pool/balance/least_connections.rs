//! Least connections: picks the endpoint with the fewest requests in flight per weight, counted over all workers.
//!
//! The search starts at an index that is drawn by weight, and keeps the first of equals. So ties are spread by weight:
//! when all are idle, a light endpoint gets its share and no more. Recent failures count as requests in flight.

use super::{Candidates, Dice, Pick};

/// The weights of all candidates, added up.
#[derive(Debug)]
pub struct Shares(Box<[u64]>);

impl Shares {
    pub(super) fn new(weights: &[u32]) -> Self {
        let add_up = |sum: &mut u64, weight: &u32| {
            *sum += u64::from(*weight);
            Some(*sum)
        };
        Self(weights.iter().scan(0, add_up).collect())
    }

    /// An index, drawn by weight.
    fn draw(&self, dice: &mut impl Dice) -> usize {
        let all = self.0.last().copied().unwrap_or_default().max(1);
        let drawn = dice.below(all);
        self.0.partition_point(|sum| *sum <= drawn)
    }
}

/// The least loaded eligible candidate. The pick contains the load it was based on; it is void if the load has changed.
pub(super) fn pick(shares: &Shares, candidates: &impl Candidates, dice: &mut impl Dice) -> Option<Pick> {
    let len = candidates.count();
    if len == 0 {
        return None;
    }
    let start = shares.draw(dice).min(len);
    let mut best: Option<(usize, u64, u32)> = None;
    for index in (start..len).chain(0..start).filter(|&index| candidates.eligible(index)) {
        let in_flight = candidates.in_flight(index);
        let load = u64::from(in_flight) + u64::from(candidates.failure_load(index));
        let less = |(other, other_load, _): (usize, u64, u32)| {
            load * u64::from(candidates.weight(other)) < other_load * u64::from(candidates.weight(index))
        };
        if best.is_none_or(less) {
            best = Some((index, load, in_flight));
        }
    }
    best.map(|(index, _, in_flight)| Pick { index, if_load: Some(in_flight) })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Failing, Loaded, Table};
    use super::*;

    /// Without the load, another worker's request in between would go unnoticed.
    #[test]
    fn a_pick_says_the_load_that_it_is_based_on() {
        let table = Table(vec![(true, 1, 9, 0), (true, 1, 4, 0)]);
        let picked = pick(&Shares::new(&[1, 1]), &table, &mut Loaded::rolls(&[0])).unwrap();
        assert_eq!((picked.index, picked.if_load), (1, Some(4)));
    }

    #[test]
    fn the_least_loaded_wins_and_ties_rotate() {
        for (rows, roll, expected) in [
            (vec![(true, 1, 3, 0), (true, 1, 1, 0), (true, 1, 2, 0)], 0, Some(1)),
            (vec![(true, 1, 3, 0), (false, 1, 1, 0), (true, 1, 2, 0)], 0, Some(2)),
            (vec![(true, 1, 0, 0), (true, 1, 0, 0), (true, 1, 0, 0)], 0, Some(0)),
            (vec![(true, 1, 0, 0), (true, 1, 0, 0), (true, 1, 0, 0)], 1, Some(1)),
            (vec![(true, 1, 0, 0), (true, 1, 0, 0), (true, 1, 0, 0)], 2, Some(2)),
            // 4 over weight 4 is less than 2 over weight 1, and equal to 1 over weight 1.
            (vec![(true, 1, 2, 0), (true, 4, 4, 0)], 0, Some(1)),
            (vec![(true, 1, 1, 0), (true, 4, 4, 0)], 0, Some(0)),
            (vec![(true, 4, 4, 0), (true, 1, 1, 0)], 0, Some(0)),
            (vec![(false, 1, 0, 0)], 0, None),
            (vec![], 0, None),
        ] {
            let shares = Shares::new(&rows.iter().map(|row| row.1).collect::<Vec<_>>());
            let table = Table(rows);
            let picked = pick(&shares, &table, &mut Loaded::rolls(&[roll])).map(|pick| pick.index);
            assert_eq!(picked, expected, "{:?} roll {roll}", table.0);
        }
    }

    #[test]
    fn failures_count_as_load_but_not_as_requests_in_flight() {
        for (failures, expected) in [([0, 0], (0, 2)), ([1, 0], (0, 2)), ([2, 0], (1, 3)), ([3, 1], (1, 3))] {
            let candidates = Failing(Table(vec![(true, 1, 2, 0), (true, 1, 3, 0)]), failures.to_vec());
            let picked = pick(&Shares::new(&[1, 1]), &candidates, &mut Loaded::rolls(&[0])).unwrap();
            assert_eq!((picked.index, picked.if_load), (expected.0, Some(expected.1)), "{failures:?}");
        }
    }

    /// A canary of weight 1 in 100 gets one of 100 requests when nothing else is under way, not half of them.
    #[test]
    fn idle_candidates_have_shares_by_weight() {
        let (table, shares) = (Table(vec![(true, 1, 0, 0), (true, 99, 0, 0)]), Shares::new(&[1, 99]));
        let picks = (0..100).map(|roll| pick(&shares, &table, &mut Loaded::rolls(&[roll])).unwrap().index);
        assert_eq!(picks.filter(|index| *index == 0).count(), 1);
    }
}
