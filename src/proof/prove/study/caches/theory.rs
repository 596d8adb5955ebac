//! What renewal theory says of a cache with a time to live. Pure.
//!
//! Readers come to an entry of one replica as a Poisson process of rate λ. It is filled by the first that finds it
//! empty, lives for T, and is empty until the next one comes: cycles of T + 1/λ. So at a random moment it is filled
//! with probability h = λT / (1 + λT), which is the share of hits too, since Poisson arrivals see time averages (Jung,
//! Berger, Balakrishnan: "Modeling TTL-based Internet Caches", INFOCOM 2003). If it is filled, the rest of its life is
//! uniform in (0, T) (Cox, "Renewal Theory", 1962).

/// The share of reads that find the entry filled.
pub(super) fn hit_share(per_ttl: f64) -> f64 {
    per_ttl / (1.0 + per_ttl)
}

/// The probability that the entry of a replica that did not take the write still shows the old value, so many lifetimes
/// behind the write.
fn survives(per_ttl: f64, age: f64) -> f64 {
    hit_share(per_ttl) * (1.0 - age).max(0.0)
}

/// The probability that a read at any of `k` replicas does not show a write that one of them took.
pub(super) fn stale(k: f64, per_ttl: f64, age: f64) -> f64 {
    (k - 1.0) / k * survives(per_ttl, age)
}

/// The probability that of two reads the first shows the write and the second does not. The second is at a replica
/// whose entry has survived; the first was at the one that took the write, or at another whose entry had not survived.
pub(super) fn goes_back(k: f64, per_ttl: f64, ages: (f64, f64)) -> f64 {
    let first_is_fresh = 1.0 / k + (k - 2.0) / k * (1.0 - survives(per_ttl, ages.0));
    stale(k, per_ttl, ages.1) * first_is_fresh
}

#[cfg(test)]
pub(super) mod tests {
    use fastrand::Rng;

    use super::*;

    /// Readers that come to k entries one by one. It knows nothing of the formulas.
    struct Simulated {
        rng: Rng,
        /// Until when each entry shows what it shows, and whether that is the old value.
        entries: Vec<(f64, bool)>,
        now: f64,
        is_written: bool,
    }

    impl Simulated {
        fn new(seed: u64, k: usize) -> Self {
            let entries = vec![(0.0, true); k];
            Self { rng: Rng::with_seed(seed), entries, now: 0.0, is_written: false }
        }

        /// Whether the read shows the old value, and whether it is a hit.
        fn read(&mut self) -> (bool, bool) {
            let at = self.rng.usize(..self.entries.len());
            let is_hit = self.now < self.entries[at].0;
            if !is_hit {
                self.entries[at] = (self.now + 1.0, !self.is_written);
            }
            (self.entries[at].1, is_hit)
        }

        /// Reads at random moments until a time. Of those behind `from`, how many, and how many hits.
        fn warm(&mut self, per_ttl: f64, from: f64, until: f64) -> (u32, u32) {
            let (mut reads, mut hits) = (0, 0);
            loop {
                self.now += -(1.0 - self.rng.f64()).ln() / (per_ttl * self.entries.len() as f64);
                if self.now >= until {
                    self.now = until;
                    return (reads, hits);
                }
                let (_, is_hit) = self.read();
                (reads, hits) = if self.now > from { (reads + 1, hits + u32::from(is_hit)) } else { (reads, hits) };
            }
        }

        fn write(&mut self) {
            self.is_written = true;
            let at = self.rng.usize(..self.entries.len());
            self.entries[at] = (self.now + 1.0, false);
        }
    }

    #[test]
    fn formulas_agree_with_a_simulation() {
        const TRIALS: u32 = 100_000;
        for (k, per_ttl) in [(3, 1.0), (2, 2.0), (5, 0.5)] {
            let (mut stales, mut backs, mut seed) = (0, 0, 0);
            for _ in 0..TRIALS {
                seed += 1;
                let mut one = Simulated::new(seed, k);
                // As long as in the study: from there on it makes no difference when it began.
                let until = 2.0 + 1.5 * one.rng.f64();
                one.warm(per_ttl, 0.0, until);
                one.write();
                one.now += 0.25;
                let (is_first_old, _) = one.read();
                one.now += 0.25;
                let (is_second_old, _) = one.read();
                stales += u32::from(is_first_old);
                backs += u32::from(!is_first_old && is_second_old);
            }
            let n = k as f64;
            for (measured, expected) in [(stales, stale(n, per_ttl, 0.25)), (backs, goes_back(n, per_ttl, (0.25, 0.5)))]
            {
                let share = f64::from(measured) / f64::from(TRIALS);
                assert!((share - expected).abs() < 0.008, "{k} {per_ttl}: {share} {expected}");
            }
            let (reads, hits) = Simulated::new(7, k).warm(per_ttl, 3.0, 30_000.0);
            let share = f64::from(hits) / f64::from(reads);
            assert!((share - hit_share(per_ttl)).abs() < 0.01, "{k} {per_ttl}: {share}");
        }
    }
}
