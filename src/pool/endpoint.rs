//! One resolved address of a backend, as all workers and the control plane see it.
//!
//! An endpoint lives as long as somebody holds it: a reload that keeps its (pool, address) keeps the very same value, so what
//! is in flight, its health, its latency and its counters carry over. Everything a request touches is an atomic; the one
//! mutex guards what only the control plane writes.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use tokio::time::Instant;

use super::clock::since_epoch_ns;
use super::health::passive::Passive;
use super::health::{Health, Machine};
use super::idle::IdleLimit;
use crate::config::address::Address;
use crate::metrics::Counter;

/// One address that takes attempts.
#[derive(Debug)]
pub struct Endpoint {
    /// Name of the pool it belongs to; identity is (pool, address).
    pub pool: Arc<str>,
    /// Where it listens.
    pub address: Address,
    /// Requests under way over all workers: written on every attempt, so alone on its cache line.
    in_flight: CachePadded<AtomicU32>,
    health: AtomicU8,
    /// Whether it is drained, down or no longer part of its pool.
    is_going: AtomicBool,
    latency: Latency,
    idle_limit: IdleLimit,
    passive: Passive,
    cells: Box<[CachePadded<EndpointCell>]>,
    /// Streaks and the reason of the last verdict; touched by probes and by whoever reads `/status`.
    machine: Mutex<Machine>,
}

/// What one worker counted of one endpoint.
#[derive(Debug, Default)]
pub struct EndpointCell {
    /// Attempts begun.
    pub attempts: Counter,
    /// Attempts that ended without a whole answer, by the endpoint's fault.
    pub failures: Counter,
    /// Connections opened.
    pub connects: Counter,
}

impl Endpoint {
    /// A new endpoint that has not been probed yet (`health` says whether it counts as healthy until then).
    pub fn new(pool: Arc<str>, address: Address, health: Health, workers: usize) -> Self {
        Self {
            pool,
            address,
            in_flight: CachePadded::default(),
            health: AtomicU8::new(health as u8),
            is_going: AtomicBool::new(false),
            latency: Latency::default(),
            idle_limit: IdleLimit::default(),
            passive: Passive::default(),
            cells: (0..workers).map(|_| CachePadded::default()).collect(),
            machine: Mutex::new(Machine::new(health)),
        }
    }

    /// What probes say of it.
    pub fn health(&self) -> Health {
        Health::from_u8(self.health.load(Relaxed))
    }

    /// Whether it is drained, down or no longer part of its pool.
    pub fn is_going(&self) -> bool {
        self.is_going.load(Relaxed)
    }

    /// Says whether it is. Every worker says the same of the same snapshot.
    pub fn set_going(&self, is_going: bool) {
        self.is_going.store(is_going, Relaxed);
    }

    /// Runs `step` on the health machine and publishes the state it leaves behind.
    pub fn update_health<T>(&self, step: impl FnOnce(&mut Machine) -> T) -> T {
        let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        let result = step(&mut machine);
        self.health.store(machine.health() as u8, Relaxed);
        result
    }

    /// Requests under way over all workers.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Whether it has fewer requests than `most`. Ordered after the entry into a queue, see `super::queue`.
    pub fn has_room(&self, most: u32) -> bool {
        self.in_flight.load(SeqCst) < most
    }

    /// Counts one more request if no other was counted since `seen` was read.
    ///
    /// This is what makes least-connections exact: a pick is void when the load it was based on has changed.
    pub fn begin_if(&self, seen: u32) -> bool {
        self.in_flight.compare_exchange(seen, seen.saturating_add(1), Relaxed, Relaxed).is_ok()
    }

    /// Counts one more request.
    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// Counts one more request if there are fewer than `most`.
    pub fn begin_below(&self, most: Option<u32>) -> bool {
        let Some(most) = most else {
            self.begin();
            return true;
        };
        self.in_flight.fetch_update(SeqCst, SeqCst, |now| (now < most).then_some(now + 1)).is_ok()
    }

    /// Counts one request less. Every `begin` has exactly one `end`; [`crate::link::InFlight`] sees to it.
    pub fn end(&self) {
        // Ordered before the look at who waits, see `super::queue`.
        self.in_flight.fetch_sub(1, SeqCst);
    }

    /// Recent time to the answer's head.
    pub fn latency(&self) -> &Latency {
        &self.latency
    }

    /// What live traffic shows of it.
    pub fn passive(&self) -> &Passive {
        &self.passive
    }

    /// How long its unused connections may be trusted.
    pub fn idle_limit(&self) -> &IdleLimit {
        &self.idle_limit
    }

    /// The counters of one worker.
    pub fn cell(&self, worker: usize) -> &EndpointCell {
        &self.cells[worker]
    }

    /// Sum of one counter over all workers.
    pub fn total(&self, counter: impl Fn(&EndpointCell) -> &Counter) -> u64 {
        self.cells.iter().map(|cell| counter(cell).value()).sum()
    }
}

/// Time to the answer's head: a moving average that jumps up at once and comes down with a half-life of some seconds.
///
/// The peak-sensitive average of Finagle's and Linkerd's "peak EWMA": a replica that stalls must look expensive after its
/// first slow answer, and must not be forgotten before it had time to recover. Two workers may overwrite each other's
/// sample; the average does not care.
#[derive(Debug, Default)]
pub struct Latency {
    average_ns: AtomicU64,
    /// When the last sample came, as [`since_epoch_ns`] counts; 0 before the first.
    sampled_ns: AtomicU64,
}

/// Time after which an old sample weighs 1/e.
const LATENCY_DECAY: Duration = Duration::from_secs(10);

impl Latency {
    /// Takes in one sample.
    pub fn record(&self, sample: Duration, now: Instant) {
        let sample_ns = u64::try_from(sample.as_nanos()).unwrap_or(u64::MAX);
        let now_ns = since_epoch_ns(now);
        let average_ns = self.average_ns.load(Relaxed);
        let next = if sample_ns >= average_ns {
            sample_ns
        } else {
            let age = Duration::from_nanos(now_ns.saturating_sub(self.sampled_ns.load(Relaxed)));
            let kept = (-age.as_secs_f64() / LATENCY_DECAY.as_secs_f64()).exp();
            sample_ns + ((average_ns - sample_ns) as f64 * kept) as u64
        };
        self.average_ns.store(next, Relaxed);
        self.sampled_ns.store(now_ns, Relaxed);
    }

    /// The average; zero before the first sample.
    pub fn average(&self) -> Duration {
        Duration::from_nanos(self.average_ns.load(Relaxed))
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
        assert_eq!(latency.average(), Duration::from_millis(10));
        latency.record(Duration::from_millis(500), start);
        assert_eq!(latency.average(), Duration::from_millis(500), "a slow answer counts at once");
        latency.record(Duration::from_millis(10), start);
        assert!(latency.average() > Duration::from_millis(490), "one fast answer does not clear its name");
        latency.record(Duration::from_millis(10), start + 5 * LATENCY_DECAY);
        assert!(latency.average() < Duration::from_millis(20), "time does: {:?}", latency.average());
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
