//! Histograms of durations: fixed buckets, the upper bound of each a power of two.
//!
//! There are two scales. The fine one is for whole requests, of which percentiles are shown. The coarse one is for what
//! each endpoint has: with it the counters of an endpoint fit into the cache lines that they had without it.

use std::time::Duration;

use super::Counter;

/// The number of buckets of [`Histogram`].
pub const BUCKETS: usize = 21;

/// Upper bounds that are powers of two from 2^17 ns (131 µs) to 2^36 ns (69 s), then infinity.
pub type Histogram = Buckets<BUCKETS, 17, 1>;

/// The number of buckets of [`CoarseHistogram`].
pub const COARSE_BUCKETS: usize = 10;

/// Upper bounds that are powers of four from 2^18 ns (262 µs) to 2^34 ns (17 s), then infinity.
pub type CoarseHistogram = Buckets<COARSE_BUCKETS, 18, 2>;

/// A histogram of durations with `N` fixed buckets. It has one writer and any number of readers.
///
/// The upper bound of the first bucket is 2^`FIRST` ns; each further one is 2^`STEP` times as large, and the last
/// infinity.
#[derive(Debug)]
pub struct Buckets<const N: usize, const FIRST: u32, const STEP: u32> {
    counts: [Counter; N],
    sum_ns: Counter,
}

impl<const N: usize, const FIRST: u32, const STEP: u32> Buckets<N, FIRST, STEP> {
    /// Counts one duration.
    pub fn record(&self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[Self::index(ns)].add(1);
        self.sum_ns.add(ns);
    }

    fn index(ns: u64) -> usize {
        let bits = u64::BITS - ns.saturating_sub(1).leading_zeros();
        (bits.saturating_sub(FIRST).div_ceil(STEP) as usize).min(N - 1)
    }

    /// The upper bound of bucket `index` in seconds; infinity for the last bucket.
    pub fn bound(index: usize) -> f64 {
        if index + 1 >= N { f64::INFINITY } else { 2f64.powi((FIRST + STEP * index as u32) as i32) / 1e9 }
    }

    /// The upper bound of each bucket of `sum` in seconds, and how many durations it has.
    pub fn bounded(sum: &HistogramSum<N>) -> [(f64, u64); N] {
        std::array::from_fn(|index| (Self::bound(index), sum.buckets[index]))
    }

    /// The duration in seconds below which this share of the durations in `buckets` lies, or `None` if there are none.
    ///
    /// Within a bucket the durations are taken to be spread evenly, as `histogram_quantile` of Prometheus does. So it
    /// can be wrong by the width of a bucket, and is never longer than the lower bound of the last one.
    pub fn quantile(buckets: &[u64; N], share: f64) -> Option<f64> {
        let count: u64 = buckets.iter().sum();
        let rank = share * count as f64;
        let mut below = 0;
        for (index, &within) in buckets.iter().enumerate().filter(|(_, within)| **within > 0) {
            if (below + within) as f64 >= rank {
                let lower = if index == 0 { 0.0 } else { Self::bound(index - 1) };
                let upper = if index + 1 == N { lower } else { Self::bound(index) };
                return Some(lower + (upper - lower) * (rank - below as f64) / within as f64);
            }
            below += within;
        }
        None
    }
}

impl<const N: usize, const FIRST: u32, const STEP: u32> Default for Buckets<N, FIRST, STEP> {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| Counter::default()), sum_ns: Counter::default() }
    }
}

/// The sum of several histograms of the same scale.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramSum<const N: usize = BUCKETS> {
    /// The number of durations in each bucket, not cumulative.
    pub buckets: [u64; N],
    /// The sum of all durations in seconds.
    pub sum_seconds: f64,
}

impl<const N: usize> HistogramSum<N> {
    /// Adds up the histograms of several workers.
    pub fn of<'a, const FIRST: u32, const STEP: u32>(parts: impl Iterator<Item = &'a Buckets<N, FIRST, STEP>>) -> Self {
        parts.fold(Self { buckets: [0; N], sum_seconds: 0.0 }, |mut sum, part| {
            for (total, count) in sum.buckets.iter_mut().zip(&part.counts) {
                *total += count.value();
            }
            sum.sum_seconds += part.sum_ns.value() as f64 / 1e9;
            sum
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        for (ns, bucket) in [(0, 0), (1, 0), (131_072, 0), (131_073, 1), (262_144, 1), (1_000_000, 3), (u64::MAX, 20)] {
            assert_eq!(Histogram::index(ns), bucket, "{ns} ns");
            assert!(ns as f64 / 1e9 <= Histogram::bound(bucket), "{ns} ns");
        }
        for (ns, bucket) in [(0, 0), (262_144, 0), (262_145, 1), (1 << 20, 1), ((1 << 20) + 1, 2), (u64::MAX, 9)] {
            assert_eq!(CoarseHistogram::index(ns), bucket, "{ns} ns");
            assert!(ns as f64 / 1e9 <= CoarseHistogram::bound(bucket), "{ns} ns");
        }
    }

    #[test]
    fn sums_run_over_all_workers() {
        let (a, b) = (Histogram::default(), Histogram::default());
        a.record(Duration::from_millis(1));
        b.record(Duration::from_millis(1));
        b.record(Duration::from_secs(100));
        let sum = HistogramSum::of([&a, &b].into_iter());
        assert_eq!((sum.buckets[3], sum.buckets[BUCKETS - 1]), (2, 1));
        assert!((sum.sum_seconds - 100.002).abs() < 1e-9);
        let bounded = Histogram::bounded(&sum);
        assert_eq!(bounded[3], (1_048_576.0 / 1e9, 2));
        assert_eq!(bounded[BUCKETS - 1], (f64::INFINITY, 1));
    }

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let bound = |index: usize| Histogram::bound(index);
        for (counts, share, expected) in [
            (&[][..], 0.5, None),
            (&[(0, 1)], 1.0, Some(bound(0))),
            (&[(0, 2)], 0.5, Some(bound(0) / 2.0)),
            (&[(3, 10)], 0.5, Some((bound(2) + bound(3)) / 2.0)),
            (&[(3, 99), (10, 1)], 0.99, Some(bound(3))),
            (&[(3, 98), (10, 2)], 0.99, Some((bound(9) + bound(10)) / 2.0)),
            (&[(BUCKETS - 1, 5)], 0.99, Some(bound(BUCKETS - 2))),
        ] {
            let mut buckets = [0; BUCKETS];
            counts.iter().for_each(|&(index, count)| buckets[index] = count);
            let found = Histogram::quantile(&buckets, share);
            let is_close = match (found, expected) {
                (Some(found), Some(expected)) => (found - expected).abs() < 1e-9,
                (found, expected) => found == expected,
            };
            assert!(is_close, "{counts:?} at {share}: {found:?}, not {expected:?}");
        }
        let coarse = CoarseHistogram::quantile(&[0, 0, 2, 0, 0, 0, 0, 0, 0, 0], 0.5);
        assert_eq!(coarse, Some((CoarseHistogram::bound(1) + CoarseHistogram::bound(2)) / 2.0));
    }
}
