//! One resolved address of a backend, as all workers and the control thread see it.
//!
//! A reload that keeps the pair of pool and address keeps the same value, so the requests in flight, health, latency
//! and counters carry over. A request touches only atomics. Locks are taken by the control thread and by the worker
//! that ejects an endpoint.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use tokio::time::Instant;

use super::clock::since_epoch_ns;
use super::health::passive::Passive;
use super::health::{Health, Machine};
use super::idle::IdleLimit;
use crate::config::address::Address;
use crate::metrics::{COARSE_BUCKETS, CoarseHistogram, Counter, HistogramSum};
use crate::sync::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Mutex};

/// One address that requests are sent to.
#[derive(Debug)]
pub struct Endpoint {
    /// Name of its pool. The identity of an endpoint is the pair of pool and address.
    pub pool: Arc<str>,
    /// The address it listens on.
    pub address: Address,
    live: CachePadded<Live>,
    health: AtomicU8,
    /// Whether it is draining: set to `drain` or `down`, or no longer part of its pool.
    is_draining: AtomicBool,
    idle_limit: IdleLimit,
    passive: Passive,
    cells: Box<[CachePadded<EndpointCell>]>,
    /// Streaks and the reason of the last verdict. Probes and readers of `/status` lock it, requests never do.
    machine: Mutex<Machine>,
}

/// What every attempt writes, whichever worker it is on. It is apart from what attempts only read.
#[derive(Debug, Default)]
struct Live {
    /// Requests in flight over all workers.
    in_flight: AtomicU32,
    latency: Latency,
}

/// What one worker has counted for one endpoint.
#[derive(Debug, Default)]
pub struct EndpointCell {
    /// Attempts started.
    pub attempts: Counter,
    /// Attempts that ended without a whole response through the fault of the endpoint.
    pub failures: Counter,
    /// Responses with a status of 500 or more.
    pub errors: Counter,
    /// Connections opened.
    pub connects: Counter,
    /// Times from the end of a request to the response head.
    pub first_byte: CoarseHistogram,
}

const _: () = assert!(size_of::<CachePadded<EndpointCell>>() <= 128, "there is one for each endpoint and worker");
const _: () = assert!(size_of::<Live>() <= 64, "it has one cache line, which is all that workers take from each other");

impl Endpoint {
    /// A new endpoint that has not been probed. `health` is its state until the first verdict.
    pub fn new(pool: Arc<str>, address: Address, health: Health, workers: usize) -> Self {
        Self {
            pool,
            address,
            live: CachePadded::default(),
            health: AtomicU8::new(health as u8),
            is_draining: AtomicBool::new(false),
            idle_limit: IdleLimit::default(),
            passive: Passive::default(),
            cells: (0..workers).map(|_| CachePadded::default()).collect(),
            machine: Mutex::new(Machine::new(health)),
        }
    }

    /// Its health according to the probes.
    pub fn health(&self) -> Health {
        Health::from_u8(self.health.load(Relaxed))
    }

    /// Whether it is draining: set to `drain` or `down`, or no longer part of its pool.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Relaxed)
    }

    /// Sets whether it is draining. All workers set the same value from the same snapshot.
    pub fn set_draining(&self, is_draining: bool) {
        self.is_draining.store(is_draining, Relaxed);
    }

    /// Runs `step` on the health machine and publishes the resulting state. It takes a lock, so requests do not call
    /// it.
    pub fn update_health<T>(&self, step: impl FnOnce(&mut Machine) -> T) -> T {
        let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        let result = step(&mut machine);
        self.health.store(machine.health() as u8, Relaxed);
        result
    }

    /// Requests in flight over all workers.
    pub fn in_flight(&self) -> u32 {
        self.live.in_flight.load(Relaxed)
    }

    /// Whether it has fewer than `most` requests in flight. This is ordered after entering a queue, see `super::queue`.
    pub fn has_room(&self, most: u32) -> bool {
        self.live.in_flight.load(SeqCst) < most
    }

    /// Counts one more request, provided that the number in flight still is `seen`. Returns whether it was counted.
    ///
    /// This makes least-connections exact: a pick is void if the load it was based on has changed.
    pub fn begin_if(&self, seen: u32) -> bool {
        self.live.in_flight.compare_exchange(seen, seen.saturating_add(1), Relaxed, Relaxed).is_ok()
    }

    /// Counts one more request.
    pub fn begin(&self) {
        self.live.in_flight.fetch_add(1, Relaxed);
    }

    /// Counts one more request if fewer than `most` are in flight. Returns whether it was counted.
    pub fn begin_below(&self, most: Option<u32>) -> bool {
        let Some(most) = most else {
            self.begin();
            return true;
        };
        self.live.in_flight.fetch_update(SeqCst, SeqCst, |now| (now < most).then_some(now + 1)).is_ok()
    }

    /// Counts one request less. Every `begin` has exactly one `end`; [`crate::link::InFlight`] sees to it.
    pub fn end(&self) {
        // This is ordered before the look at the queue, see `super::queue`.
        let before = self.live.in_flight.fetch_sub(1, SeqCst);
        debug_assert!(before > 0, "a request ended at {} that had not begun", self.address);
    }

    /// Recent time from the end of a request to the response head.
    pub fn latency(&self) -> &Latency {
        &self.live.latency
    }

    /// Its health according to live traffic.
    pub fn passive(&self) -> &Passive {
        &self.passive
    }

    /// How long its unused connections can be relied on.
    pub fn idle_limit(&self) -> &IdleLimit {
        &self.idle_limit
    }

    /// The counters of worker number `worker`.
    ///
    /// # Panics
    /// If there is no such worker.
    pub fn cell(&self, worker: usize) -> &EndpointCell {
        &self.cells[worker]
    }

    /// Times from the end of a request to the response head, over all workers.
    pub fn first_bytes(&self) -> HistogramSum<COARSE_BUCKETS> {
        HistogramSum::of(self.cells.iter().map(|cell| &cell.first_byte))
    }

    /// The sum of one counter over all workers.
    pub fn total(&self, counter: impl Fn(&EndpointCell) -> &Counter) -> u64 {
        self.cells.iter().map(|cell| counter(cell).value()).sum()
    }
}

/// Time from the end of a request to the response head: a moving average that rises at once and falls exponentially,
/// with time alone too. An endpoint that gets no requests because it was slow could not show otherwise that it is well.
///
/// This is the peak-sensitive average of "peak EWMA" in Finagle (`com.twitter.finagle.loadbalancer.PeakEwma`) and in
/// Linkerd. A replica that stalls must look expensive after its first slow response, and for long enough that it can
/// recover. Two workers may overwrite each other's sample, which does not matter for an average.
#[derive(Debug, Default)]
pub struct Latency {
    average_ns: AtomicU64,
    /// When the last sample was recorded, in the unit of [`since_epoch_ns`]; 0 before the first.
    sampled_ns: AtomicU64,
}

/// The time after which an old sample has a weight of 1/e.
const LATENCY_DECAY: Duration = Duration::from_secs(10);

impl Latency {
    /// Records one sample that was taken at `now`.
    pub fn record(&self, sample: Duration, now: Instant) {
        let sample_ns = u64::try_from(sample.as_nanos()).unwrap_or(u64::MAX);
        let now_ns = since_epoch_ns(now);
        let average_ns = self.average_ns.load(Relaxed);
        let next = if sample_ns >= average_ns {
            sample_ns
        } else {
            sample_ns + ((average_ns - sample_ns) as f64 * self.kept(now_ns)) as u64
        };
        self.average_ns.store(next, Relaxed);
        self.sampled_ns.store(now_ns, Relaxed);
    }

    /// The average at `now`. It is zero before the first sample, and falls to zero when there are no more.
    pub fn average(&self, now: Instant) -> Duration {
        let average_ns = self.average_ns.load(Relaxed);
        Duration::from_nanos((average_ns as f64 * self.kept(since_epoch_ns(now))) as u64)
    }

    /// The average when the last sample was recorded, for people to read.
    pub fn recorded(&self) -> Duration {
        Duration::from_nanos(self.average_ns.load(Relaxed))
    }

    /// The weight that the last sample still has.
    fn kept(&self, now_ns: u64) -> f64 {
        const DECAY_NS: f64 = LATENCY_DECAY.as_nanos() as f64;
        let age = now_ns.saturating_sub(self.sampled_ns.load(Relaxed)) as f64 / DECAY_NS;
        // Requests that follow each other closely need no exponential function: this is less than 2 in 10 million off.
        if age < 0.01 { 1.0 - age + age * age / 2.0 } else { (-age).exp() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_jumps_up_and_decays_with_time() {
        let latency = Latency::default();
        let start = Instant::now();
        latency.record(Duration::from_millis(10), start);
        assert_eq!(latency.average(start), Duration::from_millis(10));
        latency.record(Duration::from_millis(500), start);
        assert_eq!(latency.average(start), Duration::from_millis(500), "a slow answer counts at once");
        latency.record(Duration::from_millis(10), start);
        assert!(latency.average(start) > Duration::from_millis(490), "one fast answer does not clear its name");
        for age in [90, 110].map(Duration::from_millis) {
            let exact = latency.average(start).mul_f64((-age.as_secs_f64() / LATENCY_DECAY.as_secs_f64()).exp());
            let off = latency.average(start + age).abs_diff(exact);
            assert!(off < Duration::from_micros(1), "{off:?} off after {age:?}");
        }
        let later = start + 5 * LATENCY_DECAY;
        assert!(latency.average(later) < Duration::from_millis(5), "time does: {:?}", latency.average(later));
        latency.record(Duration::from_millis(10), later);
        assert!(latency.average(later) < Duration::from_millis(20), "{:?}", latency.average(later));
    }

    #[test]
    fn begin_if_refuses_a_stale_load() {
        let endpoint = Endpoint::new("app".into(), ([127, 0, 0, 1], 1).into(), Health::Healthy, 1);
        assert!(endpoint.begin_if(0));
        assert!(!endpoint.begin_if(0));
        assert!(endpoint.begin_if(1));
        endpoint.end();
        assert_eq!(endpoint.in_flight(), 1);
    }
}
