//! Which step goes to which replica. Pure; the dice are an argument.

use fastrand::Rng;

/// The replica of each step, or group of steps, by its number.
pub type Places = Vec<usize>;

/// Rows that are thrown for each row that is taken.
const THROWS: usize = 12;

/// So few placements that every two of `steps` are on different replicas in at least one of them: the steps are
/// numbered, and each placement is one digit of the numbers. The least that there can be: log2 n rounded up for two
/// replicas.
pub fn first_pass(steps: usize, replicas: usize) -> Vec<Places> {
    let (mut rows, mut digit) = (Vec::new(), 1);
    while replicas > 1 && digit < steps {
        rows.push((0..steps).map(|step| step / digit % replicas).collect());
        digit *= replicas;
    }
    rows
}

/// More placements, so that for every two of `steps` and every two replicas the one is on the first and the other on
/// the second in at least one of `known` and them: a covering array of strength two, without what stays on one replica.
/// Made greedily, as in Cohen et al., "The AETG System" (1997).
pub fn second_pass(steps: usize, replicas: usize, known: &[Places], dice: &mut Rng) -> Vec<Places> {
    let mut open = Open::new(steps, replicas);
    known.iter().for_each(|row| open.close(row));
    let mut rows = Vec::new();
    while open.left > 0 {
        let throws = (0..THROWS).map(|_| open.throw(dice));
        let Some(best) = throws.max_by_key(|row| open.gain(row)) else { break };
        open.close(&best);
        rows.push(best);
    }
    rows
}

/// What is not covered yet.
struct Open {
    steps: usize,
    replicas: usize,
    /// For the earlier step, the later step, the replica of the one and of the other.
    is_open: Vec<bool>,
    left: usize,
}

impl Open {
    fn new(steps: usize, replicas: usize) -> Self {
        let mut open = Self { steps, replicas, is_open: vec![false; steps * steps * replicas * replicas], left: 0 };
        for one in 0..steps {
            for other in one + 1..steps {
                for a in 0..replicas {
                    for b in (0..replicas).filter(|b| *b != a) {
                        let at = open.at(one, other, a, b);
                        open.is_open[at] = true;
                        open.left += 1;
                    }
                }
            }
        }
        open
    }

    fn at(&self, one: usize, other: usize, a: usize, b: usize) -> usize {
        ((one * self.steps + other) * self.replicas + a) * self.replicas + b
    }

    fn close(&mut self, row: &[usize]) {
        for one in 0..self.steps {
            for other in one + 1..self.steps {
                let at = self.at(one, other, row[one], row[other]);
                self.left -= usize::from(std::mem::take(&mut self.is_open[at]));
            }
        }
    }

    fn gain(&self, row: &[usize]) -> usize {
        let pairs = (0..self.steps).flat_map(|one| (one + 1..self.steps).map(move |other| (one, other)));
        pairs.filter(|(one, other)| self.is_open[self.at(*one, *other, row[*one], row[*other])]).count()
    }

    /// A row whose steps are placed one after the other in any order, each where it covers most of what those before it
    /// leave open.
    fn throw(&self, dice: &mut Rng) -> Places {
        let mut order: Vec<usize> = (0..self.steps).collect();
        dice.shuffle(&mut order);
        let mut row = vec![usize::MAX; self.steps];
        for (nth, step) in order.iter().enumerate() {
            let gain = |replica: usize| {
                let covered = order[..nth].iter().filter(|placed| {
                    let (one, other) = (*step.min(placed), *step.max(placed));
                    let (a, b) = if one == *step { (replica, row[other]) } else { (row[one], replica) };
                    self.is_open[self.at(one, other, a, b)]
                });
                covered.count()
            };
            let gains: Vec<usize> = (0..self.replicas).map(gain).collect();
            let most = gains.iter().max().copied().unwrap_or(0);
            let best: Vec<usize> = (0..self.replicas).filter(|replica| gains[*replica] == most).collect();
            row[*step] = best[dice.usize(..best.len())];
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn is_crossed(rows: &[Places], one: usize, other: usize) -> bool {
        rows.iter().any(|row| row[one] != row[other])
    }

    proptest! {
        #[test]
        fn the_first_pass_crosses_every_pair(steps in 2_usize..=60, replicas in 2_usize..=3) {
            let rows = first_pass(steps, replicas);
            for one in 0..steps {
                for other in one + 1..steps {
                    prop_assert!(is_crossed(&rows, one, other), "{one} {other}");
                }
            }
            let log2 = steps.next_power_of_two().trailing_zeros() as usize;
            prop_assert!(rows.len() <= log2, "{} runs for {steps} steps", rows.len());
            if replicas == 2 {
                prop_assert_eq!(rows.len(), log2);
            }
        }

        #[test]
        fn the_second_pass_places_every_pair_in_every_way(steps in 2_usize..=60, replicas in 2_usize..=3, seed: u64) {
            let first = first_pass(steps, replicas);
            let second = second_pass(steps, replicas, &first, &mut Rng::with_seed(seed));
            let rows = [first, second].concat();
            for one in 0..steps {
                for other in one + 1..steps {
                    for (a, b) in [(0, 1), (1, 0), (replicas - 1, 0)].into_iter().filter(|(a, b)| a != b) {
                        let is_there = rows.iter().any(|row| row[one] == a && row[other] == b);
                        prop_assert!(is_there, "{one} on {a}, {other} on {b}");
                    }
                }
            }
            prop_assert!(rows.len() <= 16 * (replicas - 1), "{} runs for {steps} steps", rows.len());
        }
    }

    #[test]
    fn a_journey_that_cannot_be_crossed_has_no_placements() {
        for (steps, replicas) in [(0, 2), (1, 2), (5, 1)] {
            assert!(first_pass(steps, replicas).is_empty(), "{steps} {replicas}");
            assert!(second_pass(steps, replicas, &[], &mut Rng::with_seed(1)).is_empty(), "{steps} {replicas}");
        }
    }

    /// What a round robin over two replicas never crosses: a value that is written at step 1 and read at step 3.
    #[test]
    fn steps_that_a_round_robin_keeps_together_are_crossed() {
        let in_turn: Places = (0..13).map(|step| step % 2).collect();
        assert_eq!(in_turn[1], in_turn[3]);
        assert!(is_crossed(&first_pass(13, 2), 1, 3));
        assert_eq!(first_pass(13, 2).len(), 4);
        assert_eq!(first_pass(31, 2).len(), 5);
    }
}
