//! What theory says of orders in the memory of replicas. Pure.

/// The share of questions that meet a replica which does not know the order: one of `replicas` does.
pub(super) fn unknown(replicas: u64) -> f64 {
    (replicas - 1) as f64 / replicas as f64
}

/// The share of orders that are gone when one of `replicas` is killed, with its memory, whether or not it had done
/// them: each has as many.
pub(super) fn gone(replicas: u64) -> f64 {
    1.0 / replicas as f64
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    /// Orders by round-robin, then questions in random order, also by round-robin: how many are not known, and how
    /// many orders are gone with one replica.
    fn played(replicas: usize, orders: usize, questions: usize, rng: &mut Rng) -> (f64, f64) {
        let mut turn = rng.usize(..replicas);
        let mut next = || {
            turn = (turn + 1) % replicas;
            turn
        };
        let homes: Vec<usize> = (0..orders).map(|_| next()).collect();
        let mut asked: Vec<usize> = (0..orders * questions).map(|n| n % orders).collect();
        rng.shuffle(&mut asked);
        let unknown = asked.iter().filter(|order| homes[**order] != next()).count();
        let killed = rng.usize(..replicas);
        let gone = homes.iter().filter(|home| **home == killed).count();
        (unknown as f64 / asked.len() as f64, gone as f64 / orders as f64)
    }

    #[test]
    fn shares_are_those_of_a_simulation() {
        let mut rng = Rng::with_seed(20);
        for replicas in [1, 2, 3, 4, 10] {
            let (unknown_share, gone_share) = played(replicas, replicas * 1000, 10, &mut rng);
            let k = replicas as u64;
            assert!((unknown_share - unknown(k)).abs() < 0.015, "{replicas}: {unknown_share}");
            assert_eq!(gone_share, gone(k), "{replicas}: round-robin is exact");
        }
    }
}
