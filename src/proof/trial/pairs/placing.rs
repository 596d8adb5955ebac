//! Which step of a journey goes to which replica. Pure; the dice are an argument.

use std::fmt;

use fastrand::Rng;
use serde::{Deserialize, Serialize};

/// A way to place the steps of a journey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placing {
    /// All on one replica.
    Alone,
    /// On the same one again: what differs now does not depend on the placement.
    Again,
    /// One replica after the other.
    InTurn,
    /// Never twice in a row on the same, and half of the time at once back to the one before: what one replica has
    /// not heard of yet, or has kept from before, is asked for.
    Adversarial,
}

/// All of them, in the order in which they are played.
pub const PLACINGS: [Placing; 4] = [Placing::Alone, Placing::Again, Placing::InTurn, Placing::Adversarial];

impl Placing {
    /// Whether steps go to more than one replica.
    pub fn crosses(self) -> bool {
        matches!(self, Self::InTurn | Self::Adversarial)
    }

    /// The replica of each of so many steps, of so many replicas. `home` is where a journey goes that stays on one.
    pub fn places(self, steps: usize, replicas: usize, home: usize, dice: &mut Rng) -> Vec<usize> {
        let first = dice.usize(..replicas);
        match self {
            Self::Alone | Self::Again => vec![home; steps],
            Self::InTurn => (0..steps).map(|step| (first + step) % replicas).collect(),
            Self::Adversarial => adversarial(steps, replicas, first, dice),
        }
    }
}

fn adversarial(steps: usize, replicas: usize, first: usize, dice: &mut Rng) -> Vec<usize> {
    let mut places = vec![first];
    while places.len() < steps {
        let last = places[places.len() - 1];
        let before = places.iter().rev().nth(1).copied();
        let next = match before.filter(|_| dice.bool()) {
            Some(before) => before,
            None => (last + 1 + dice.usize(..replicas.saturating_sub(1).max(1))) % replicas,
        };
        places.push(next);
    }
    places.truncate(steps);
    places
}

impl fmt::Display for Placing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alone => "on one replica",
            Self::Again => "on one replica again",
            Self::InTurn => "on one replica after the other",
            Self::Adversarial => "never twice in a row on one replica",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(placing: Placing, replicas: usize, seed: u64) -> Vec<usize> {
        placing.places(20, replicas, 1, &mut Rng::with_seed(seed))
    }

    #[test]
    fn placements_are_what_they_are_called() {
        for (replicas, seed) in [(2, 1), (3, 2), (3, 3), (20, 4)] {
            assert_eq!(places(Placing::Alone, replicas, seed), vec![1; 20]);
            assert_eq!(places(Placing::Again, replicas, seed), vec![1; 20]);
            let in_turn = places(Placing::InTurn, replicas, seed);
            assert!(in_turn.windows(2).all(|pair| pair[1] == (pair[0] + 1) % replicas), "{in_turn:?}");
            let adversarial = places(Placing::Adversarial, replicas, seed);
            assert!(adversarial.windows(2).all(|pair| pair[0] != pair[1]), "{adversarial:?}");
            assert!(adversarial.windows(3).any(|three| three[0] == three[2]), "{adversarial:?}");
            for run in [in_turn, adversarial] {
                assert_eq!(run.len(), 20);
                assert!(run.iter().all(|place| *place < replicas), "{run:?}");
            }
        }
        let all: Vec<_> = (0..20).map(|seed| places(Placing::Adversarial, 3, seed)).collect();
        assert!(all.iter().any(|run| run.windows(3).any(|three| three[0] != three[2])), "not only back and forth");
        assert!(all.iter().any(|run| *run != all[0]), "every seed is another draw");
    }

    #[test]
    fn a_journey_without_steps_is_nowhere() {
        for placing in PLACINGS {
            assert!(placing.places(0, 3, 0, &mut Rng::with_seed(1)).is_empty());
        }
    }
}
