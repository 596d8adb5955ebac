//! What theory says of rooms in the memory of replicas. Pure.

/// The share of deliveries to other members that do not arrive, if the `members` of a room are spread over `replicas`
/// as evenly as can be, as round-robin does: two different members are at the same replica with probability
/// sum n(n-1) / (m(m-1)), n being how many are at each.
pub(super) fn unheard(replicas: u64, members: u64) -> f64 {
    if members < 2 {
        return 0.0;
    }
    let (each, more) = (members / replicas, members % replicas);
    let pairs = |count: u64| (count * count.saturating_sub(1)) as f64;
    let together = more as f64 * pairs(each + 1) + (replicas - more) as f64 * pairs(each);
    1.0 - together / pairs(members)
}

/// The share of what was said that is gone when one of `replicas` is killed, if each has the same number of members who
/// say the same number of messages.
pub(super) fn gone(replicas: u64) -> f64 {
    1.0 / replicas as f64
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    /// Draws a message and one of its hearers, with members placed by round-robin from a random replica on, who come
    /// in random order; or each by lot.
    fn drawn(replicas: usize, members: usize, is_even: bool, rng: &mut Rng) -> bool {
        let first = rng.usize(..replicas);
        let mut places: Vec<usize> =
            (0..members).map(|n| if is_even { (first + n) % replicas } else { rng.usize(..replicas) }).collect();
        rng.shuffle(&mut places);
        let speaker = rng.usize(..members);
        let hearer = (speaker + 1 + rng.usize(..members - 1)) % members;
        places[speaker] != places[hearer]
    }

    #[test]
    fn the_share_that_is_not_heard_is_that_of_a_simulation() {
        let mut rng = Rng::with_seed(18);
        let rounds = 40_000;
        for (replicas, members) in [(1, 5), (2, 2), (3, 6), (3, 7), (4, 6), (5, 3), (10, 40)] {
            for is_even in [true, false] {
                let missed = (0..rounds).filter(|_| drawn(replicas, members, is_even, &mut rng)).count();
                let share = missed as f64 / f64::from(rounds);
                let (k, m) = (replicas as u64, members as u64);
                // By lot it is (k-1)/k, however many members there are.
                let expected = if is_even { unheard(k, m) } else { (k - 1) as f64 / k as f64 };
                // Four standard errors.
                assert!((share - expected).abs() < 0.01, "{replicas} {members} {is_even}: {share} {expected}");
            }
        }
    }

    #[test]
    fn an_even_spread_is_worse_than_a_lot() {
        assert_eq!(unheard(3, 6), 0.8);
        assert_eq!((unheard(1, 6), unheard(3, 3), unheard(3, 1)), (0.0, 1.0, 0.0));
        assert!((unheard(3, 300_000) - 2.0 / 3.0).abs() < 1e-5, "of many members it is (k-1)/k");
    }

    #[test]
    fn what_is_gone_is_the_share_of_one_replica() {
        let mut rng = Rng::with_seed(19);
        let messages: Vec<usize> = (0..30_000).map(|n| (n / 10) % 3).collect();
        let killed = rng.usize(..3);
        let lost = messages.iter().filter(|place| **place == killed).count();
        assert_eq!(lost as f64 / messages.len() as f64, gone(3));
    }
}
