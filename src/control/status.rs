//! The state of the control thread that the admin port shows.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crossbeam_utils::CachePadded;
use tokio::sync::{Notify, mpsc};

use super::access::Access;
use super::overrides::Overrides;
use super::refused::Refusals;
use super::reloads::{Reload, Reloads};
use super::requests::Requests;
use super::signals::Order;
use super::traces::Exported;
use super::upgrade::Told;
use crate::config::Secrets;
use crate::config::address::Address;
use crate::config::model::Dns;
use crate::listen::Loads;
use crate::listen::tls::ServerTls;
use crate::metrics::{CoarseHistogram, WorkerCell};
use crate::snapshot::SharedSnapshot;

/// The control thread writes it, the admin port reads it.
#[derive(Debug)]
pub(crate) struct Status {
    /// When the process started.
    pub started: SystemTime,
    /// The current snapshot.
    pub shared: Arc<SharedSnapshot>,
    /// Client connections per worker.
    pub loads: Loads,
    /// Counters per worker.
    pub cells: Arc<[CachePadded<WorkerCell>]>,
    /// Access-log lines that could not be written.
    pub access_log_lost: Arc<AtomicU64>,
    /// What became of recent requests.
    pub requests: Requests,
    /// How many traced requests were exported.
    pub traces: Exported,
    /// False before the first verdicts, and from the first stop signal on.
    pub is_ready: AtomicBool,
    /// Reloads that were applied.
    pub reloads_applied: AtomicU64,
    /// Reloads that were refused.
    pub reloads_refused: AtomicU64,
    /// How long reloads took that have read something, whether they were applied or not.
    pub reload_durations: CoarseHistogram,
    /// How long the last of them took, in nanoseconds; 0 before the first.
    reload_last_ns: AtomicU64,
    /// Requests to the admin port that were refused.
    pub refused: Refusals,
    /// The way to the control loop.
    pub orders: mpsc::Sender<Order>,
    /// Notified when there is news that somebody who looks should see at once: a verdict, a reload.
    pub news: Notify,
    state: Mutex<State>,
}

/// The part that a number cannot hold. No request locks it.
#[derive(Debug, Default, Clone)]
pub(crate) struct State {
    /// The name and the real address of every listener.
    pub listeners: Vec<(String, Address)>,
    /// The name of every listener, and how many listening sockets it has.
    pub listener_sockets: Vec<(String, usize)>,
    /// The name and the certificates of every listener with TLS.
    pub tls: Vec<(String, Arc<ServerTls>)>,
    /// What must not be shown.
    pub secrets: Secrets,
    /// Which name servers are asked.
    pub dns: Dns,
    /// The names to which the admin port answers.
    pub admin_hosts: Vec<String>,
    /// Who may change something over the admin port.
    pub access: Access,
    /// What operators have set of endpoints.
    pub overrides: Arc<Overrides>,
    /// This process, and the last upgrade.
    pub process: Told,
    /// The last reloads.
    pub reloads: Reloads,
    /// When the config in use was applied by a reload; `None` if it is that of the start.
    pub config_applied: Option<SystemTime>,
    /// The files of the config, as they were last read.
    pub config_files: Vec<PathBuf>,
    /// The files, secrets among them, whose edits cannot be seen, because each is mounted alone and was replaced.
    pub detached: Vec<PathBuf>,
}

impl Status {
    /// The status of an instance that has just started.
    pub(crate) fn new(
        shared: Arc<SharedSnapshot>,
        loads: Loads,
        cells: Arc<[CachePadded<WorkerCell>]>,
        access_log_lost: Arc<AtomicU64>,
        requests: Requests,
        orders: mpsc::Sender<Order>,
    ) -> Self {
        Self {
            started: SystemTime::now(),
            shared,
            loads,
            cells,
            access_log_lost,
            requests,
            traces: Exported::default(),
            is_ready: AtomicBool::new(false),
            reloads_applied: AtomicU64::new(0),
            reloads_refused: AtomicU64::new(0),
            reload_durations: CoarseHistogram::default(),
            reload_last_ns: AtomicU64::new(0),
            refused: Refusals::default(),
            orders,
            news: Notify::new(),
            state: Mutex::default(),
        }
    }

    /// The part that a number cannot hold. No request locks it.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the result of a reload.
    pub(crate) fn reloaded(&self, trigger: &'static str, result: Result<String, String>) {
        let counter = if result.is_ok() { &self.reloads_applied } else { &self.reloads_refused };
        counter.fetch_add(1, Relaxed);
        let reload = Reload { at: SystemTime::now(), trigger, result };
        let mut state = self.state();
        if reload.reads_config() && reload.result.is_ok() {
            state.config_applied = Some(reload.at);
        }
        state.reloads.add(reload);
        drop(state);
        self.news.notify_one();
    }

    /// Records how long a reload took that has read something.
    pub(crate) fn reload_took(&self, duration: Duration) {
        self.reload_durations.record(duration);
        self.reload_last_ns.store(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// How long the last reload took that has read something.
    pub(crate) fn reload_last_took(&self) -> Duration {
        Duration::from_nanos(self.reload_last_ns.load(Relaxed))
    }

    /// Client connections that are parked, over all workers.
    pub(crate) fn parked(&self) -> u64 {
        self.cells.iter().map(|cell| cell.parked.value()).sum()
    }

    /// The sum of one counter over all workers.
    pub(crate) fn total(&self, counter: impl Fn(&WorkerCell) -> &crate::metrics::Counter) -> u64 {
        self.cells.iter().map(|cell| counter(cell).value()).sum()
    }
}
