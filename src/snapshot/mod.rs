//! Routes and pools as one immutable value that is replaced as a whole.
//!
//! [`SharedSnapshot`] holds the current snapshot, so a reader never sees new routes with old pools. The control thread
//! builds the next snapshot from the config and the previous one (`control::build`) and swaps it in. A request keeps
//! the snapshot it started with until it ends.

pub mod asked;
pub mod plan;
pub mod ranges;
pub mod routes;
pub mod split;

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::access_log::Layout;
use crate::config::model::{Explain, Limits, Timeouts, Traces};
use crate::pool::Pool;
use crate::rate::Limiters;
use crate::sync::{ArcSwap, AtomicU64};
use plan::{Errors, Pages, Plan};
use routes::Routes;

/// Everything that a request needs to know about the configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// The routing table. Snapshots that have the same routes share it.
    pub routes: Arc<Routes>,
    /// What becomes of the requests of each route, at the same places.
    pub plans: Arc<[Plan]>,
    /// What error responses contain, unless the route says something else.
    pub errors: Errors,
    /// The rates of the routes that have one.
    pub limiters: Arc<Limiters>,
    /// The contents of the files of which `plans` were made.
    pub pages: Arc<Pages>,
    /// All pools, in the order of their names.
    pub pools: Box<[Arc<Pool>]>,
    /// All deadlines.
    pub timeouts: Timeouts,
    /// All bounds.
    pub limits: Limits,
    /// Those bounds that the config may leave open.
    pub capacity: Capacity,
    /// How the lines of the access log look; `None` if there is none.
    pub access_log: Option<Arc<Layout>>,
    /// Of which requests it is kept what became of them.
    pub explain: Explain,
    /// Which requests are traced, and where their spans go; `None` if none is.
    pub traces: Option<Arc<Traces>>,
}

/// The bounds that follow what the process has room for, unless the config says something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Client connections at one time, over all listeners and workers.
    pub connections: usize,
    /// Streams that an HTTP/2 client may have open.
    pub h2_streams: u32,
}

impl Snapshot {
    /// The pool with this name.
    pub fn pool(&self, name: &str) -> Option<&Arc<Pool>> {
        self.pools.iter().find(|pool| &*pool.name == name)
    }
}

/// The current snapshot, shared by all threads. Readers take no lock.
#[derive(Debug)]
pub struct SharedSnapshot {
    current: ArcSwap<Snapshot>,
    /// How often `current` has been replaced.
    swaps: AtomicU64,
    /// How often a worker had no descriptor left.
    lacks: AtomicU64,
}

impl SharedSnapshot {
    /// `snapshot` is the first current snapshot.
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        Self { current: ArcSwap::new(snapshot), swaps: AtomicU64::new(0), lacks: AtomicU64::new(0) }
    }

    /// The current snapshot. It counts a reference, so the caller may keep it.
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// How often the snapshot has been replaced: one plain load. Whoever has read this number before
    /// [`Self::load`] and finds the same one again has the current snapshot.
    #[inline]
    pub fn swaps(&self) -> u64 {
        self.swaps.load(Acquire)
    }

    /// A worker has no descriptor left. Those of the others are as good. Returns how often that has been.
    #[cold]
    pub fn lacks_descriptors(&self) -> u64 {
        self.lacks.fetch_add(1, Relaxed) + 1
    }

    /// How often a worker had no descriptor left.
    pub fn lacks(&self) -> u64 {
        self.lacks.load(Relaxed)
    }

    /// Makes `next` the current snapshot.
    pub fn swap(&self, next: Arc<Snapshot>) {
        self.current.store(next);
        self.swaps.fetch_add(1, Release);
    }
}
