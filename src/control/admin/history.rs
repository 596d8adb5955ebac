//! The last ten minutes of every pool and of its endpoints, one sample a second: somebody who opens the page at night
//! sees what was before.
//!
//! It is kept on the control thread, from counters that the workers write anyway, whether somebody looks or not. A pool
//! takes 8.2 KB (600 samples of 12 bytes, and 5 of the totals that they are made of), and [`POOLS_MAX`] pools 525 KB.
//! An endpoint takes 5.4 KB, and [`ENDPOINTS_MAX`] of them 695 KB.

mod endpoint;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

pub(super) use self::endpoint::EndpointTotals;
use self::endpoint::{EndpointHistory, EndpointLatest};
use crate::config::address::Address;
use crate::metrics::{BUCKETS, Histogram, HistogramSum, OUTCOMES, PoolCell};
use crate::pool::Pool;

/// How many samples are kept: ten minutes.
const SAMPLES_MAX: usize = 600;
/// How many pools have a history: the first ones.
const POOLS_MAX: usize = 64;
/// How many endpoints of all pools together have one: the first ones.
const ENDPOINTS_MAX: usize = 128;
/// How many seconds a percentile looks back.
const WINDOW_SECONDS: usize = 5;

/// What a pool has counted since it exists.
#[derive(Debug, Clone, Copy)]
pub(super) struct Totals {
    requests: u64,
    /// Requests that went wrong for their client: a status of 500 or more, or a response that broke off.
    failed: u64,
    buckets: [u64; BUCKETS],
}

impl Totals {
    /// The present totals of `pool`.
    pub(super) fn of(pool: &Pool) -> Self {
        let cells = &pool.shared.cells;
        let failed = |cell: &PoolCell| -> u64 {
            let is_failure = |index: &usize| matches!(OUTCOMES[*index], "5xx" | "cut");
            (0..OUTCOMES.len()).filter(is_failure).map(|index| cell.requests(index).value()).sum()
        };
        Self {
            requests: cells.iter().map(|cell| cell.finished_count()).sum(),
            failed: cells.iter().map(|cell| failed(cell)).sum(),
            buckets: HistogramSum::of(cells.iter().map(|cell| &cell.duration)).buckets,
        }
    }
}

/// The samples of all pools. Those of a pool that is younger begin later; all end together.
#[derive(Debug, Default, Serialize)]
pub(super) struct History {
    /// When each sample was taken, in milliseconds since 1970.
    at: VecDeque<u64>,
    pools: BTreeMap<Arc<str>, PoolHistory>,
}

#[derive(Debug, Default, Serialize)]
struct PoolHistory {
    /// Requests per second.
    requests: VecDeque<f32>,
    /// Those of them that went wrong, per second.
    failed: VecDeque<f32>,
    /// The 99th percentile of durations over the last [`WINDOW_SECONDS`]; `null` without requests.
    p99_ms: VecDeque<f32>,
    #[serde(skip)]
    p50_ms: f32,
    /// The totals of the last [`WINDOW_SECONDS`] samples.
    #[serde(skip)]
    seen: VecDeque<(Instant, Totals)>,
    endpoints: BTreeMap<Address, EndpointHistory>,
}

/// The last sample of a pool, and those of its endpoints that have one.
#[derive(Debug, Serialize)]
pub(super) struct Latest<'a> {
    requests: f32,
    failed: f32,
    p50_ms: f32,
    p99_ms: f32,
    endpoints: BTreeMap<&'a Address, EndpointLatest>,
}

impl History {
    /// Adds a sample of `pools` with their endpoints, taken at `now`, which is `at_ms` after 1970. Those that are not
    /// there any more are forgotten.
    pub(super) fn observe<E>(&mut self, at_ms: u64, now: Instant, pools: impl Iterator<Item = (Arc<str>, Totals, E)>)
    where
        E: Iterator<Item = (Address, EndpointTotals)>,
    {
        push(&mut self.at, at_ms, SAMPLES_MAX);
        let mut before = std::mem::take(&mut self.pools);
        let mut room = ENDPOINTS_MAX;
        for (name, totals, endpoints) in pools.take(POOLS_MAX) {
            let mut pool = before.remove(&name).unwrap_or_default();
            pool.observe(now, totals);
            pool.observe_endpoints(now, endpoints.take(room));
            room = room.saturating_sub(pool.endpoints.len());
            self.pools.insert(name, pool);
        }
    }

    /// When the last sample was taken.
    pub(super) fn sampled_at(&self) -> Option<u64> {
        self.at.back().copied()
    }

    /// The last sample of each pool that has one.
    pub(super) fn latest(&self) -> BTreeMap<&str, Latest<'_>> {
        self.pools.iter().filter_map(|(name, pool)| Some((&**name, pool.latest()?))).collect()
    }
}

impl PoolHistory {
    fn observe(&mut self, now: Instant, totals: Totals) {
        if let (Some((before, last)), Some((_, oldest))) = (self.seen.back(), self.seen.front()) {
            let seconds = now.saturating_duration_since(*before);
            let recent = grown(&totals.buckets, &oldest.buckets);
            push(&mut self.requests, per_second(totals.requests, last.requests, seconds), SAMPLES_MAX);
            push(&mut self.failed, per_second(totals.failed, last.failed, seconds), SAMPLES_MAX);
            push(&mut self.p99_ms, ms(Histogram::quantile(&recent, 0.99)), SAMPLES_MAX);
            self.p50_ms = ms(Histogram::quantile(&recent, 0.5));
        }
        push(&mut self.seen, (now, totals), WINDOW_SECONDS);
    }

    fn observe_endpoints(&mut self, now: Instant, endpoints: impl Iterator<Item = (Address, EndpointTotals)>) {
        let mut before = std::mem::take(&mut self.endpoints);
        for (address, totals) in endpoints {
            let mut endpoint = before.remove(&address).unwrap_or_default();
            endpoint.observe(now, totals);
            self.endpoints.insert(address, endpoint);
        }
    }

    fn latest(&self) -> Option<Latest<'_>> {
        let [requests, failed, p99_ms] = [&self.requests, &self.failed, &self.p99_ms].map(|values| values.back());
        let endpoints = self.endpoints.iter().filter_map(|(address, endpoint)| Some((address, endpoint.latest()?)));
        Some(Latest {
            requests: *requests?,
            failed: *failed?,
            p50_ms: self.p50_ms,
            p99_ms: *p99_ms?,
            endpoints: endpoints.collect(),
        })
    }
}

/// How fast a counter has grown.
fn per_second(now: u64, before: u64, time: Duration) -> f32 {
    tenths(now.saturating_sub(before) as f64 / time.as_secs_f64().max(1e-3))
}

/// What has come into each bucket.
fn grown<const N: usize>(now: &[u64; N], before: &[u64; N]) -> [u64; N] {
    std::array::from_fn(|at| now[at].saturating_sub(before[at]))
}

/// Milliseconds; not a number, which is `null` in JSON, if there are no seconds.
fn ms(seconds: Option<f64>) -> f32 {
    seconds.map_or(f32::NAN, |seconds| tenths(seconds * 1e3))
}

/// Adds to a queue that has at most `most` values.
fn push<T>(values: &mut VecDeque<T>, value: T, most: usize) {
    if values.len() >= most {
        values.pop_front();
    }
    // It grows to just this, not to the next power of two.
    values.reserve_exact(most - values.len());
    values.push_back(value);
}

/// Rounded, so that it is short as text.
fn tenths(value: f64) -> f32 {
    ((value * 10.0).round() / 10.0) as f32
}

#[cfg(test)]
mod tests {
    use std::iter::empty;

    use super::*;
    use crate::metrics::COARSE_BUCKETS;

    const NOTHING: Totals = Totals { requests: 0, failed: 0, buckets: [0; BUCKETS] };

    /// Totals of so many requests, all as long as the bucket says, none of which failed.
    fn totals(requests: u64, bucket: usize) -> Totals {
        let mut totals = Totals { requests, ..NOTHING };
        totals.buckets[bucket] = requests;
        totals
    }

    fn observe(history: &mut History, start: Instant, second: u64, pools: &[(&str, Totals)]) {
        let pools = pools.iter().map(|(name, totals)| (Arc::from(*name), *totals, empty()));
        history.observe(second * 1000, start + Duration::from_secs(second), pools);
    }

    #[test]
    fn a_sample_is_what_came_since_the_last_one() {
        let (mut history, start) = (History::default(), Instant::now());
        observe(&mut history, start, 0, &[("app", Totals { requests: 100, failed: 5, ..NOTHING })]);
        assert!(history.latest().is_empty(), "one look says nothing about a second");
        observe(&mut history, start, 1, &[("app", Totals { requests: 110, failed: 6, ..NOTHING })]);
        // A look that is late counts the seconds that it took.
        observe(&mut history, start, 3, &[("app", Totals { requests: 120, failed: 6, ..NOTHING })]);
        let pool = &history.pools["app"];
        assert_eq!((Vec::from(pool.requests.clone()), Vec::from(pool.failed.clone())), (vec![10., 5.], vec![1., 0.]));
        // A pool that was taken out and put in again may count from 0.
        observe(&mut history, start, 4, &[("app", NOTHING)]);
        assert_eq!(history.latest()["app"].requests, 0.0);
    }

    #[test]
    fn percentiles_are_those_of_the_last_seconds() {
        let (mut history, start) = (History::default(), Instant::now());
        for second in 0..=20 {
            // Slow requests until second 10, one each second; none at all afterwards.
            observe(&mut history, start, second, &[("app", totals(second.min(10), 13))]);
            let p99 = history.latest().get("app").map(|latest| latest.p99_ms);
            let expected = if second == 0 { None } else { Some(second < 10 + WINDOW_SECONDS as u64) };
            assert_eq!(p99.map(|ms| ms > 500.0), expected, "after second {second}: {p99:?}");
        }
        let json = serde_json::to_value(&history).unwrap();
        assert_eq!(json["pools"]["app"]["p99_ms"].as_array().unwrap().last(), Some(&serde_json::Value::Null));
    }

    /// An endpoint, by the last part of its address, and how many requests it has had, all as long as the bucket says.
    fn endpoint(number: u16, requests: u64, bucket: usize) -> (Address, EndpointTotals) {
        let mut buckets = [0; COARSE_BUCKETS];
        buckets[bucket] = requests;
        (([127, 0, 0, 1], number).into(), EndpointTotals { requests, buckets })
    }

    #[test]
    fn the_history_of_an_endpoint_shows_its_traffic_move() {
        let (mut history, start) = (History::default(), Instant::now());
        let mut observe = |second: u64, endpoints: Vec<(Address, EndpointTotals)>| {
            let pool = (Arc::from("app"), NOTHING, endpoints.into_iter());
            history.observe(second * 1000, start + Duration::from_secs(second), std::iter::once(pool));
            serde_json::to_value(&history).unwrap()["pools"]["app"]["endpoints"].clone()
        };
        observe(0, vec![endpoint(1, 50, 2), endpoint(2, 50, 2)]);
        observe(1, vec![endpoint(1, 60, 2), endpoint(2, 60, 2)]);
        let shown = observe(2, vec![endpoint(1, 60, 2), endpoint(2, 80, 2), endpoint(3, 5, 7)]);
        assert_eq!(shown["127.0.0.1:1"]["requests"], serde_json::json!([10.0, 0.0]));
        assert_eq!(shown["127.0.0.1:2"]["requests"], serde_json::json!([10.0, 20.0]));
        assert_eq!(shown["127.0.0.1:3"]["requests"], serde_json::json!([]), "it has just come");
        let p99 = shown["127.0.0.1:2"]["p99_ms"][1].as_f64().unwrap();
        assert!((1.0..=4.2).contains(&p99), "{p99} ms lies within the bucket");
        let shown = observe(3, vec![endpoint(2, 80, 2)]);
        assert_eq!(shown.as_object().unwrap().len(), 1, "endpoints that are gone take nothing");
    }

    #[test]
    fn as_many_endpoints_as_there_may_be_have_a_history_and_its_memory_is_bounded() {
        let (mut history, start) = (History::default(), Instant::now());
        for second in 0..SAMPLES_MAX as u64 + 10 {
            let endpoints = || (0..100).map(|number| endpoint(number, second, 1));
            let pools = ["a", "b", "c"].map(|name| (Arc::from(name), NOTHING, endpoints()));
            history.observe(second * 1000, start + Duration::from_secs(second), pools.into_iter());
        }
        let counts: Vec<_> = history.pools.values().map(|pool| pool.endpoints.len()).collect();
        assert_eq!(counts, [100, ENDPOINTS_MAX - 100, 0]);
        let all = history.pools.values().flat_map(|pool| pool.endpoints.values());
        let bytes: usize = all.map(EndpointHistory::size).sum();
        assert!(bytes <= 695_000, "{bytes} bytes");
        assert_eq!(history.latest()["a"].endpoints.len(), 100);
    }

    #[test]
    fn its_memory_is_bounded() {
        let (mut history, start) = (History::default(), Instant::now());
        let names: Vec<String> = (0..POOLS_MAX + 10).map(|number| format!("pool-{number:03}")).collect();
        let pools: Vec<_> = names.iter().map(|name| (&**name, NOTHING)).collect();
        for second in 0..SAMPLES_MAX as u64 + 100 {
            observe(&mut history, start, second, &pools);
        }
        assert_eq!((history.at.len(), history.pools.len()), (SAMPLES_MAX, POOLS_MAX));
        let floats = |values: &VecDeque<f32>| values.capacity() * size_of::<f32>();
        let of_pool = |pool: &PoolHistory| {
            let samples = floats(&pool.requests) + floats(&pool.failed) + floats(&pool.p99_ms);
            assert_eq!(pool.requests.len(), SAMPLES_MAX);
            samples + pool.seen.capacity() * size_of::<(Instant, Totals)>()
        };
        let bytes: usize = history.pools.values().map(of_pool).sum();
        assert!(bytes <= 525_000, "{bytes} bytes");
        observe(&mut history, start, 1000, &pools[..1]);
        assert_eq!(history.pools.len(), 1, "pools that are gone take nothing");
    }
}
