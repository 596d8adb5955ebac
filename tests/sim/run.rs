//! Runs many seeds, on all cores, and adds up what they reached.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::time::{Duration, Instant};

use super::world::{Outcome, Violation};
use super::{generate, world};

/// The hashes of so many seeds are kept, to be compared with another process.
pub(crate) const HASHED: u64 = 1_000;

/// Situations that a few thousand seeds reach.
pub(crate) const EXPECTED: [&str; 41] = [
    "HTTP/2: a replica broke a connection",
    "HTTP/2: a replica was asked whether it wants a body",
    "HTTP/2: a replica ended an unused connection",
    "HTTP/2: a replica refused a stream",
    "HTTP/2: a stream was cancelled",
    "HTTP/2: a window is opened no more",
    "HTTP/2: an early hint",
    "HTTP/2: several streams",
    "HTTP/2: told to continue",
    "HTTP/2: trailers of a request",
    "SIGINT during a request",
    "SIGTERM during a request",
    "a client does not read",
    "a connection was never answered",
    "a connection was refused",
    "a listener was edited",
    "a listener was edited during a request",
    "a replica closed an unused connection",
    "a replica does not read",
    "a replica was asked whether it wants a body",
    "a replica was killed",
    "a replica was removed",
    "a response to HEAD",
    "a reply before the end of its request",
    "a request was repeated",
    "a task without budget",
    "a tunnel",
    "a tunnel: a half is closed first",
    "a tunnel: a half is closed last",
    "an early hint",
    "an error of a call",
    "bytes arrived at a closed socket",
    "closed with unread bytes",
    "not now for no reason",
    "outcome: a response",
    "outcome: a response that broke off",
    "outcome: an error of the proxy",
    "pipelined requests",
    "told to continue",
    "trailers of a request",
    "trailers of a response",
];

/// What came out of many runs.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) seeds: u64,
    pub(crate) failed: Vec<(u64, Violation)>,
    pub(crate) coverage: BTreeMap<&'static str, u64>,
    /// The hashes of the traces of the first seeds, see [`HASHED`].
    pub(crate) hashes: BTreeMap<u64, u64>,
    pub(crate) took: Duration,
}

/// When a run of many seeds ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    AllAreRun,
    OneFails,
}

/// Runs the seeds from `first` on. Violations of these kinds are not looked at.
pub(crate) fn seeds(first: u64, count: u64, ignored: &[&str], until: Until) -> Summary {
    let (next, summary, began) = (AtomicU64::new(first), Mutex::new(Summary::default()), Instant::now());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= first + count {
                        break;
                    }
                    let outcome = one(seed);
                    let mut summary = summary.lock().expect("no thread panics");
                    summary.add(seed, outcome, ignored);
                    if until == Until::OneFails && !summary.failed.is_empty() {
                        break;
                    }
                }
            });
        }
    });
    let mut summary = summary.into_inner().expect("no thread panics");
    summary.failed.sort_by_key(|(seed, _)| *seed);
    summary.took = began.elapsed();
    summary
}

/// Runs one seed.
pub(crate) fn one(seed: u64) -> Outcome {
    let scenario = generate::scenario(seed);
    world::run(&scenario, false)
}

impl Summary {
    fn add(&mut self, seed: u64, outcome: Outcome, ignored: &[&str]) {
        self.seeds += 1;
        if seed < HASHED {
            self.hashes.insert(seed, outcome.hash);
        }
        for (kind, count) in outcome.coverage {
            *self.coverage.entry(kind).or_default() += count;
        }
        let violation = outcome.violations.into_iter().find(|violation| !ignored.contains(&violation.kind));
        self.failed.extend(violation.map(|violation| (seed, violation)));
    }

    /// The kinds of situations, and how often each was reached.
    pub(crate) fn coverage(&self) -> String {
        self.coverage.iter().map(|(kind, count)| format!("{count:>10}  {kind}\n")).collect()
    }
}
