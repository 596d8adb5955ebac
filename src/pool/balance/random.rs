//! Random by weight. It needs no shared state and is even only in the long run.

use super::{Candidates, Dice};

/// An eligible candidate, drawn with a probability proportional to its weight.
pub(super) fn pick(candidates: &impl Candidates, dice: &mut impl Dice) -> Option<usize> {
    pick_except(candidates, dice, None)
}

/// As [`pick`], but never the candidate `except`.
pub(super) fn pick_except(candidates: &impl Candidates, dice: &mut impl Dice, except: Option<usize>) -> Option<usize> {
    let allowed = |index: &usize| Some(*index) != except && candidates.eligible(*index);
    let total: u64 = (0..candidates.count()).filter(allowed).map(|index| u64::from(candidates.weight(index))).sum();
    if total == 0 {
        return None;
    }
    let mut left = dice.below(total);
    let mut last = None;
    for index in (0..candidates.count()).filter(allowed) {
        let weight = u64::from(candidates.weight(index));
        if left < weight {
            return Some(index);
        }
        left -= weight;
        last = Some(index);
    }
    // Health may change between the two passes. The last candidate seen is then as good as any.
    last
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Loaded, Table};
    use super::*;

    #[test]
    fn the_dice_decide_by_weight() {
        let table = Table(vec![(true, 2, 0, 0), (false, 9, 0, 0), (true, 3, 0, 0)]);
        let picks: Vec<_> = (0..5).map(|roll| pick(&table, &mut Loaded::rolls(&[roll]))).collect();
        assert_eq!(picks, [Some(0), Some(0), Some(2), Some(2), Some(2)]);
        assert_eq!(pick_except(&table, &mut Loaded::rolls(&[0]), Some(0)), Some(2));
        assert_eq!(pick(&Table(vec![]), &mut Loaded::default()), None);
    }
}
