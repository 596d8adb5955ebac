//! Smooth weighted round robin: each endpoint in turn, heavier ones more often but not in a row.
//!
//! The order of one whole round is computed when the pool is built. At each step every endpoint earns its weight, then
//! the one with the most credit comes next and pays the sum of all weights. Weights 5, 1, 1 give `a a b a c a a`, not
//! `a a a a a b c`. At run time a pick takes the next turn of one counter that all workers share, so the round is exact
//! for any number of workers.
//!
//! Source: the upstream module of nginx (`ngx_http_upstream_round_robin.c`).
//!
//! An endpoint that is not eligible uses up its turn. So its share falls to all others in proportion, not to the next
//! one.

use super::{Candidates, Dice};

/// The order of one round.
#[derive(Debug)]
pub struct Rotation {
    /// The index of the candidate for each turn.
    order: Box<[u32]>,
}

impl Rotation {
    /// Computes the round for these weights. Its length is the sum of the weights over their greatest common divisor.
    pub fn new(weights: &[u32]) -> Self {
        let divisor = weights.iter().copied().reduce(greatest_common_divisor).unwrap_or(1).max(1);
        let weights: Vec<i64> = weights.iter().map(|weight| i64::from(weight / divisor)).collect();
        let round: i64 = weights.iter().sum();
        if weights.iter().all(|&weight| weight == 1) {
            return Self { order: (0..weights.len() as u32).collect() };
        }
        let mut credit = vec![0i64; weights.len()];
        let order = (0..round).map(|_| smooth_step(&weights, &mut credit, round)).collect();
        Self { order }
    }

    /// The candidate whose turn it is. Turns of candidates that are not eligible are skipped.
    pub fn pick(&self, candidates: &impl Candidates, dice: &mut impl Dice) -> Option<usize> {
        let round = self.order.len() as u64;
        for _ in 0..round {
            let index = self.order[(dice.turn() % round) as usize] as usize;
            if candidates.eligible(index) {
                return Some(index);
            }
        }
        // Other workers may have taken all the turns of the eligible candidates meanwhile.
        (0..candidates.count()).find(|&index| candidates.eligible(index))
    }
}

/// One step of smooth weighted round robin.
fn smooth_step(weights: &[i64], credit: &mut [i64], round: i64) -> u32 {
    let mut richest = 0;
    for index in 0..weights.len() {
        credit[index] += weights[index];
        if credit[index] > credit[richest] {
            richest = index;
        }
    }
    credit[richest] -= round;
    richest as u32
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Loaded, Table};
    use super::*;

    fn picks(weights: &[u32], dead: &[usize], count: usize) -> String {
        let rows = weights.iter().enumerate().map(|(index, &weight)| (!dead.contains(&index), weight, 0, 0));
        let (table, rotation, mut dice) = (Table(rows.collect()), Rotation::new(weights), Loaded::default());
        (0..count)
            .map(|_| rotation.pick(&table, &mut dice).map_or('-', |index| char::from(b'a' + index as u8)))
            .collect()
    }

    #[test]
    fn turns_follow_the_weights() {
        for (weights, dead, expected) in [
            (&[1, 1, 1][..], &[][..], "abcabcabc"),
            (&[5, 1, 1], &[], "aabacaaaabacaa"),
            (&[2, 2, 2], &[], "abcabc"),
            (&[10, 5], &[], "abaaba"),
            (&[3, 2], &[], "ababaababa"),
            (&[1, 1, 1], &[1], "acacac"),
            (&[1, 1, 1], &[0, 2], "bbb"),
            (&[1, 1], &[0, 1], "--"),
            (&[], &[], "-"),
        ] {
            assert_eq!(picks(weights, dead, expected.len()), expected, "weights {weights:?} without {dead:?}");
        }
    }

    #[test]
    fn a_round_is_as_short_as_the_weights_permit() {
        for (weights, expected) in [(&[][..], 0), (&[10, 5], 3), (&[4, 6], 5), (&[256, 256], 2), (&[3, 7], 10)] {
            assert_eq!(Rotation::new(weights).order.len(), expected, "weights {weights:?}");
        }
    }

    #[test]
    fn a_round_gives_each_its_weight() {
        let weights = [3, 7, 256, 1];
        let order = Rotation::new(&weights).order;
        for (index, &weight) in weights.iter().enumerate() {
            assert_eq!(order.iter().filter(|&&turn| turn as usize == index).count(), weight as usize);
        }
    }
}
