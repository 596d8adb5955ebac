//! What theory says of clients that keep to one replica. `docs/proof.md` has the sources.

use crate::prove::level::Chance;
use crate::prove::theory::{Prediction, percent};
use crate::trial::judge::Fact;

/// The share of users that a hash modulo the number of replicas sends elsewhere, when one replica comes or goes. The
/// two remainders are independent, since neighbours have no common divisor: of `few * many` pairs, `few` are a stay.
pub(super) fn moved_by_hash(before: usize, after: usize) -> f64 {
    debug_assert_eq!(before.abs_diff(after), 1);
    1.0 - 1.0 / before.max(after) as f64
}

/// The probability that two users have the same of `replicas` replicas, if each is drawn for itself.
pub(super) fn same_by_lot(replicas: usize) -> f64 {
    1.0 / replicas as f64
}

/// The same on a ring on which each replica has `points` points: the arcs of a replica together have a share of it that
/// is distributed as Beta(points, (replicas - 1) * points), and the sum of the squares of these shares is that
/// probability.
pub(super) fn same_on_ring(replicas: usize, points: usize) -> f64 {
    (points + 1) as f64 / (replicas * points + 1) as f64
}

/// The square of the coefficient of variation of requests per replica, on average, where user i sends `requests[i]`,
/// all to one replica, and two users have the same one with the probability `same`.
pub(super) fn variation_squared(requests: &[u64], replicas: usize, same: f64) -> f64 {
    let own = concentration(requests);
    (replicas as f64 * (own + (1.0 - own) * same) - 1.0).max(0.0)
}

/// As how many equal users these are (Kish 1965): the reciprocal of the probability that two requests are of one user.
pub(super) fn effective_users(requests: &[u64]) -> f64 {
    1.0 / concentration(requests)
}

fn concentration(requests: &[u64]) -> f64 {
    let (sum, squares) = requests.iter().fold((0.0, 0.0), |(sum, squares), count| {
        let count = *count as f64;
        (sum + count, squares + count * count)
    });
    squares / f64::max(sum * sum, 1.0)
}

/// The square of the coefficient of variation of these counts.
pub(super) fn measured_squared(counts: &[u64]) -> f64 {
    let mean = counts.iter().sum::<u64>() as f64 / counts.len().max(1) as f64;
    let squares: f64 = counts.iter().map(|count| (*count as f64 - mean).powi(2)).sum();
    squares / counts.len().max(1) as f64 / f64::max(mean * mean, f64::MIN_POSITIVE)
}

/// How many requests each of so many users sends, the most active one `most`, as Zipf's law has it: in proportion to
/// the reciprocal of the rank, and one at least.
pub(super) fn zipf(users: u32, most: u64) -> Vec<u64> {
    (1..=u64::from(users)).map(|rank| most.div_ceil(rank)).collect()
}

/// A share that has the distribution of the arcs of one replica on a ring where it has `own` points and all others
/// together `others`: the number of hits is beta-binomial.
pub(super) fn share_of_ring(what: &str, (hits, trials): (u64, u64), (own, others): (usize, usize)) -> Prediction {
    let predicted = own as f64 / (own + others) as f64;
    let tails = |hits| beta_binomial_tails(hits, trials, own as f64, others as f64);
    let chance = Chance::of_tails(tails(hits), f64::max(tails(0).0, tails(trials).1));
    Prediction::by_chance(what, (hits, trials), predicted, chance)
}

/// The probability of at most, and of at least so many hits in so many trials, whose common probability is itself drawn
/// from Beta(a, b).
fn beta_binomial_tails(hits: u64, trials: u64, a: f64, b: f64) -> (f64, f64) {
    let mut log: f64 = (0..trials).map(|n| ((b + n as f64) / (a + b + n as f64)).ln()).sum();
    let (mut low, mut high) = (0.0, 0.0);
    for k in 0..=trials {
        let probability = log.exp();
        low += if k <= hits { probability } else { 0.0 };
        high += if k >= hits { probability } else { 0.0 };
        let (done, left) = (k as f64, (trials - k) as f64);
        log += ((a + done) * left / ((done + 1.0) * (b + left - 1.0))).ln();
    }
    (low, high)
}

/// How far a measured variation, over all rounds, may be from what theory says, as a factor.
pub(super) const FACTOR_MAX: f64 = 2.0;

/// The variation that was measured in some rounds, each with other draws, beside that of theory.
pub(super) fn of_variation(what: &str, measured: &[f64], predicted: f64, requests: u64) -> Prediction {
    let mean = (measured.iter().sum::<f64>() / measured.len().max(1) as f64).sqrt();
    let expected = predicted.sqrt();
    let factor = (mean / expected).max(expected / mean.max(f64::MIN_POSITIVE));
    let prediction = Prediction::at_most(what, factor, FACTOR_MAX, (requests, 1000));
    let note = format!("variation {} in {} rounds, {} by theory", percent(mean), measured.len(), percent(expected));
    Prediction { measured: format!("{} ({note})", prediction.measured), ..prediction }.shown_by([Fact::Note(note)])
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::prove::theory::Verdict;

    /// Requests per replica, if each user draws one.
    fn by_lot(requests: &[u64], replicas: usize, rng: &mut Rng) -> Vec<u64> {
        let mut counts = vec![0; replicas];
        for count in requests {
            counts[rng.usize(..replicas)] += count;
        }
        counts
    }

    /// The same, if each draws a point on a circle with random points of replicas.
    fn on_circle(requests: &[u64], replicas: usize, points: usize, rng: &mut Rng) -> Vec<u64> {
        let mut circle: Vec<(f64, usize)> = (0..replicas * points).map(|n| (rng.f64(), n % replicas)).collect();
        circle.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut counts = vec![0; replicas];
        for count in requests {
            let at = rng.f64();
            let next = circle.iter().find(|(point, _)| *point >= at).unwrap_or(&circle[0]);
            counts[next.1] += count;
        }
        counts
    }

    fn mean_of(runs: u32, mut draw: impl FnMut() -> Vec<u64>) -> f64 {
        (0..runs).map(|_| measured_squared(&draw())).sum::<f64>() / f64::from(runs)
    }

    #[test]
    fn the_spread_of_sticky_users_is_that_of_a_simulation() {
        let mut rng = Rng::with_seed(1);
        for (users, most, replicas) in [(50, 1, 3), (200, 40, 4), (240, 30, 4), (20, 100, 10)] {
            let requests = zipf(users, most);
            let simulated = mean_of(20_000, || by_lot(&requests, replicas, &mut rng));
            let predicted = variation_squared(&requests, replicas, same_by_lot(replicas));
            assert!((simulated / predicted - 1.0).abs() < 0.05, "{users} {replicas}: {simulated} {predicted}");
            // The shorter form for draws: k - 1 over the number of effective users.
            let short = (replicas as f64 - 1.0) / effective_users(&requests);
            assert!((predicted / short - 1.0).abs() < 1e-9);
        }
        for (users, most, replicas, points) in [(60, 1, 3, 5), (100, 20, 4, 20)] {
            let requests = zipf(users, most);
            let simulated = mean_of(4000, || on_circle(&requests, replicas, points, &mut rng));
            let predicted = variation_squared(&requests, replicas, same_on_ring(replicas, points));
            assert!((simulated / predicted - 1.0).abs() < 0.1, "{users} {replicas}: {simulated} {predicted}");
        }
    }

    #[test]
    fn equal_users_count_as_many_as_they_are() {
        assert!((effective_users(&[3; 50]) - 50.0).abs() < 1e-9);
        assert_eq!(zipf(4, 12), [12, 6, 4, 3]);
        assert_eq!(measured_squared(&[2, 2, 2]), 0.0);
        assert!((measured_squared(&[0, 2]) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_newcomer_on_a_ring_gets_what_beta_binomial_says() {
        // Beta(1, 1): every number of hits is as likely as any other.
        let (low, high) = beta_binomial_tails(3, 9, 1.0, 1.0);
        assert!((low - 0.4).abs() < 1e-9 && (high - 0.7).abs() < 1e-9, "{low} {high}");
        // By simulation: how often at most 5 of 30 users move to the newcomer, of 4 that have 8 points each.
        let mut rng = Rng::with_seed(2);
        let runs = 20_000;
        let few = (0..runs).filter(|_| on_circle(&[1; 30], 4, 8, &mut rng)[3] <= 5).count();
        let share = few as f64 / f64::from(runs);
        let expected = beta_binomial_tails(5, 30, 8.0, 24.0).0;
        assert!((share - expected).abs() < 0.015, "{share} {expected}");
    }

    #[test]
    fn shares_of_a_ring_hold_or_break() {
        for (hits, verdict) in [
            (48, Verdict::Held),
            (70, Verdict::Held),
            (90, Verdict::Broken),
            (192, Verdict::Broken),
            (0, Verdict::Broken),
        ] {
            assert_eq!(share_of_ring("x", (hits, 240), (100, 400)).verdict, verdict, "{hits}");
        }
        assert_eq!(share_of_ring("x", (1, 5), (100, 400)).verdict, Verdict::TooFew);
    }

    #[test]
    fn honest_rounds_do_not_leave_the_limit_and_half_of_the_replicas_do() {
        let (mut rng, requests, replicas) = (Rng::with_seed(3), zipf(240, 30), 4);
        let predicted = variation_squared(&requests, replicas, same_by_lot(replicas));
        let verdict = |of: usize, rng: &mut Rng| {
            let counts = |rng: &mut Rng| {
                let mut counts = by_lot(&requests, of, rng);
                counts.resize(replicas, 0);
                measured_squared(&counts)
            };
            let rounds: Vec<f64> = (0..super::super::ROUNDS).map(|_| counts(rng)).collect();
            of_variation("x", &rounds, predicted, 10_000).verdict
        };
        let alarms = (0..4000).filter(|_| verdict(replicas, &mut rng) != Verdict::Held).count();
        assert_eq!(alarms, 0, "of 4000 honest runs");
        assert!((0..200).all(|_| verdict(2, &mut rng) == Verdict::Broken));
    }
}
