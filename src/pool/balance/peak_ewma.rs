//! Peak EWMA: draws two endpoints by weight and picks the cheaper one. The cost is recent latency times requests in
//! flight.
//!
//! The latency is the peak-sensitive moving average of [`crate::pool::endpoint::Latency`]. An endpoint without a sample
//! costs nothing while it is idle, so that it gets a request, and much while its first request is in flight. Source:
//! the `p2c` balancer of Finagle with its "peak EWMA" load metric (`com.twitter.finagle.loadbalancer.PeakEwma`).

use super::{Candidates, Dice, draw_two, draw_two_of_all};

/// The latency assumed for an endpoint that has a request in flight but no sample yet: one second.
const LATENCY_UNKNOWN_NS: u64 = 1_000_000_000;

/// Whether all candidates have the same weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evenness {
    /// Two different ones are drawn.
    Even,
    /// Both are drawn from all. Otherwise the lighter one of two candidates would be compared each time, and its weight
    /// would mean nothing.
    Uneven,
}

impl Evenness {
    pub(super) fn of(weights: &[u32]) -> Self {
        if weights.windows(2).all(|pair| pair[0] == pair[1]) { Self::Even } else { Self::Uneven }
    }
}

/// The cheaper one of two drawn candidates.
pub(super) fn pick(evenness: Evenness, candidates: &impl Candidates, dice: &mut impl Dice) -> Option<usize> {
    let (first, second) = match evenness {
        Evenness::Even => draw_two(candidates, dice)?,
        Evenness::Uneven => draw_two_of_all(candidates, dice)?,
    };
    Some(if cost(candidates, second) < cost(candidates, first) { second } else { first })
}

fn cost(candidates: &impl Candidates, index: usize) -> u128 {
    let in_flight = candidates.in_flight(index).saturating_add(candidates.failure_load(index));
    let latency_ns = match (candidates.latency_ns(index), in_flight) {
        (0, 0) => return 0,
        (0, _) => LATENCY_UNKNOWN_NS,
        (known, _) => known,
    };
    u128::from(latency_ns) * (u128::from(in_flight) + 1)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Failing, Loaded, Table};
    use super::*;

    #[test]
    fn the_cheaper_of_the_drawn_wins() {
        const MS: u64 = 1_000_000;
        for (a, b, expected) in [
            ((true, 1, 0, 10 * MS), (true, 1, 0, 20 * MS), 0),
            ((true, 1, 3, 10 * MS), (true, 1, 0, 20 * MS), 1),
            ((true, 1, 0, 10 * MS), (true, 1, 0, 0), 1),
            ((true, 1, 0, 900 * MS), (true, 1, 1, 0), 0),
        ] {
            for rolls in [[0, 0], [1, 0]] {
                let found = pick(Evenness::Even, &Table(vec![a, b]), &mut Loaded::rolls(&rolls));
                assert_eq!(found, Some(expected), "{a:?} {b:?}");
            }
        }
    }

    /// However fast a canary of weight 1 in 10 is, it gets no more than what is drawn: 1 - (9/10)² of all requests.
    #[test]
    fn a_light_candidate_gets_little_even_if_it_is_the_best() {
        let table = Table(vec![(true, 1, 0, 1), (true, 9, 0, 1000)]);
        assert_eq!(Evenness::of(&[1, 9]), Evenness::Uneven);
        assert_eq!(Evenness::of(&[3, 3, 3]), Evenness::Even);
        let rolls = (0..10).flat_map(|first| (0..10).map(move |second| [first, second]));
        let picks = rolls.map(|rolls| pick(Evenness::Uneven, &table, &mut Loaded::rolls(&rolls)));
        assert_eq!(picks.filter(|picked| *picked == Some(0)).count(), 19);
    }

    #[test]
    fn of_equals_the_first_drawn_wins() {
        let table = Table(vec![(true, 1, 1, 5), (true, 1, 1, 5)]);
        for roll in [0, 1] {
            assert_eq!(pick(Evenness::Even, &table, &mut Loaded::rolls(&[roll])), Some(roll as usize));
        }
    }

    #[test]
    fn the_cost_is_latency_times_requests_with_the_next_one() {
        for (in_flight, latency_ns, failures, expected) in [
            (0, 0, 0, 0),
            (0, 7, 0, 7),
            (3, 7, 0, 28),
            (3, 7, 2, 42),
            (0, 7, 2, 21),
            (2, 0, 0, 3 * u128::from(LATENCY_UNKNOWN_NS)),
            (0, 0, 1, 2 * u128::from(LATENCY_UNKNOWN_NS)),
        ] {
            let candidates = Failing(Table(vec![(true, 1, in_flight, latency_ns)]), vec![failures]);
            assert_eq!(cost(&candidates, 0), expected, "{in_flight} in flight, {latency_ns} ns, {failures} failed");
        }
    }
}
