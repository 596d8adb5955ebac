//! Power of two choices: draws two endpoints by weight and picks the less loaded one.
//!
//! This is nearly as even as least-connections but looks at two endpoints only, and it does not send all workers to a
//! replica that has just come back empty. Source: M. Mitzenmacher, "The Power of Two Choices in Randomized Load
//! Balancing", IEEE Transactions on Parallel and Distributed Systems 12(10), 2001.

use super::{Candidates, Dice, draw_two, less_loaded};

/// The less loaded one of two drawn candidates.
pub(super) fn pick(candidates: &impl Candidates, dice: &mut impl Dice) -> Option<usize> {
    let (first, second) = draw_two(candidates, dice)?;
    Some(if less_loaded(candidates, second, first) { second } else { first })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Loaded, Table};
    use super::*;

    #[test]
    fn the_less_loaded_of_the_drawn_wins() {
        let table = Table(vec![(true, 1, 5, 0), (true, 1, 2, 0), (true, 1, 0, 0), (false, 1, 0, 0)]);
        for (rolls, expected) in [([0, 0], 1), ([0, 1], 2), ([1, 0], 1), ([1, 1], 2), ([2, 1], 2)] {
            assert_eq!(pick(&table, &mut Loaded::rolls(&rolls)), Some(expected), "rolls {rolls:?}");
        }
    }

    #[test]
    fn of_equals_the_first_drawn_wins() {
        let table = Table(vec![(true, 1, 1, 0), (true, 1, 1, 0)]);
        for roll in [0, 1] {
            assert_eq!(pick(&table, &mut Loaded::rolls(&[roll])), Some(roll as usize));
        }
    }

    #[test]
    fn one_candidate_needs_no_second() {
        assert_eq!(pick(&Table(vec![(false, 1, 0, 0), (true, 1, 9, 0)]), &mut Loaded::default()), Some(1));
    }
}
