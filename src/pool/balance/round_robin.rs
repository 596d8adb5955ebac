//! Round robin, weighted and smooth: each endpoint in turn, heavier ones more often but not in a row.
//!
//! The order of one whole round is worked out when the pool is built, by the smooth weighted round robin of nginx: at each
//! step everybody earns its weight, the richest is next and pays the sum of all weights. Weights 5, 1, 1 give `a a b a c a
//! a`, not `a a a a a b c`. At run time a pick takes the next turn of the one counter all workers share; that makes it exact
//! over any number of workers.
//!
//! An endpoint that is not eligible uses up its turn, so its share falls to all others in proportion, not to its neighbour.

use super::{Candidates, Dice};

/// The order of one round.
#[derive(Debug)]
pub struct Rotation {
    /// Index of the candidate whose turn it is.
    order: Box<[u32]>,
}

impl Rotation {
    /// Works out the round for these weights; its length is their sum over their greatest common divisor.
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

    /// The candidate whose turn it is, skipping turns of those that are not eligible.
    pub fn pick(&self, candidates: &impl Candidates, dice: &mut impl Dice) -> Option<usize> {
        let round = self.order.len() as u64;
        for _ in 0..round {
            let index = self.order[(dice.turn() % round) as usize] as usize;
            if candidates.eligible(index) {
                return Some(index);
            }
        }
        // Other workers may have taken the very turns that would have been ours.
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
            (&[1, 1, 1], &[1], "acacac"),
            (&[1, 1, 1], &[0, 2], "bbb"),
            (&[1, 1], &[0, 1], "--"),
            (&[], &[], "-"),
        ] {
            assert_eq!(picks(weights, dead, expected.len()), expected, "weights {weights:?} without {dead:?}");
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
