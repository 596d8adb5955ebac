//! Exports the spans of traced requests to a collector, by OTLP over HTTP.
//!
//! Workers send what became of a traced request through a bounded queue at which nobody sleeps. A task of the control
//! thread empties it several times a second, makes batches, and sends them, one at a time. What finds no room, and what
//! the collector does not take in time, is dropped and counted: no request waits for a collector.

mod attributes;
mod batch;
mod collector;
mod protobuf;
mod spans;

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, timeout};

use super::status::Status;
use crate::config::model::Traces;
use crate::proxy::story::Story;
use batch::{Batch, REQUESTS_MAX, Waiting};
use collector::{Collector, Reply};

/// How often the queue is emptied.
const TICK: Duration = Duration::from_millis(100);
/// How often it is looked whether there are any traces, while they are off.
const TICK_OFF: Duration = Duration::from_millis(500);
/// How many are taken out of the queue at one time.
const GATHERED_MAX: usize = 2048;
/// How long a request waits for others that go with it.
const DELAY: Duration = Duration::from_secs(1);
/// How often a batch is sent before it is dropped.
const SENT_MAX: u32 = 5;
/// The pause before a batch is sent again, which doubles each time.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a stop waits until the collector has what is left.
const FLUSH_MAX: Duration = Duration::from_secs(2);
/// The most characters that are said of a failure, with what a collector says of it.
const WHY_MAX: usize = 600;

/// What was exported, and what was not, in requests.
#[derive(Debug, Default)]
pub(crate) struct Exported {
    /// The collector has taken them.
    pub(crate) taken: AtomicU64,
    /// Too many were waiting for the collector.
    pub(crate) full: AtomicU64,
    /// The collector has refused them.
    pub(crate) refused: AtomicU64,
    /// The collector could not be reached, or had no time, again and again.
    pub(crate) unreachable: AtomicU64,
}

/// The exporter; see the module.
#[derive(Debug)]
pub(super) struct Exporter {
    status: Arc<Status>,
    arriving: Receiver<Arc<Story>>,
    waiting: RefCell<Waiting>,
    task: RefCell<Option<JoinHandle<()>>>,
    is_flushing: Cell<bool>,
    /// Notified when there will be no more requests.
    over: Notify,
    is_failing: Cell<bool>,
}

impl Exporter {
    /// An exporter of what comes out of `arriving`.
    pub(super) fn new(status: Arc<Status>, arriving: Receiver<Arc<Story>>) -> Rc<Self> {
        Rc::new(Self {
            status,
            arriving,
            waiting: RefCell::default(),
            task: RefCell::default(),
            is_flushing: Cell::default(),
            over: Notify::new(),
            is_failing: Cell::default(),
        })
    }

    /// Exports from now on.
    pub(super) fn start(self: &Rc<Self>) {
        *self.task.borrow_mut() = Some(spawn_local(Rc::clone(self).run()));
    }

    /// Exports what is left, for a short time. There will be no more requests.
    pub(super) async fn flush(&self) {
        let Some(mut task) = self.task.take() else { return };
        self.is_flushing.set(true);
        self.over.notify_one();
        if timeout(FLUSH_MAX, &mut task).await.is_err() {
            task.abort();
            tracing::warn!("traces of the last requests are lost: the collector did not take them in {FLUSH_MAX:?}");
        }
    }

    async fn run(self: Rc<Self>) {
        let mut collector = Collector::default();
        loop {
            self.gather();
            if self.is_due() {
                self.deliver(&mut collector).await;
            } else if self.is_flushing.get() {
                return;
            } else {
                self.pause(if self.settings().is_some() { TICK } else { TICK_OFF }).await;
            }
        }
    }

    /// The settings in use; `None` if nothing is traced.
    fn settings(&self) -> Option<Arc<Traces>> {
        self.status.shared.load().traces.clone()
    }

    /// Takes what waits in the queue, and hides the secrets of the config in it.
    fn gather(&self) {
        let (mut waiting, is_on) = (self.waiting.borrow_mut(), self.settings().is_some());
        if !is_on {
            // Nobody is to get what was traced before an edit.
            waiting.clear();
        }
        let mut secrets = None;
        for mut story in self.arriving.try_iter().take(GATHERED_MAX).filter(|_| is_on) {
            let secrets = secrets.get_or_insert_with(|| self.status.state().secrets.clone());
            if !secrets.is_empty() {
                Arc::make_mut(&mut story).hide(secrets);
            }
            if !waiting.add(story, Instant::now()) {
                self.status.traces.full.fetch_add(1, Relaxed);
            }
        }
    }

    fn is_due(&self) -> bool {
        let waiting = self.waiting.borrow();
        let is_old = |since: Instant| self.is_flushing.get() || since.elapsed() >= DELAY;
        waiting.len() >= REQUESTS_MAX || waiting.since().is_some_and(is_old)
    }

    /// Sends a batch, again and again if need be. An edit holds for the next time.
    async fn deliver(&self, collector: &mut Collector) {
        let Some(traces) = self.settings() else { return };
        let Batch { message, requests } = self.waiting.borrow_mut().take(&traces.service, Instant::now());
        let counts = &self.status.traces;
        let (mut settings, mut pause) = (Some(traces), PAUSE);
        for sent in 1..=SENT_MAX {
            let Some(traces) = settings else { break };
            let dns = self.status.state().dns.clone();
            match self.meanwhile(collector.send(&traces, &dns, message.clone())).await {
                Reply::Taken(rejected) => return self.taken(&traces, requests, rejected),
                Reply::Never(why) => {
                    self.failed(&traces, &why);
                    counts.refused.fetch_add(requests, Relaxed);
                    return;
                }
                Reply::Later(why, after) => {
                    self.failed(&traces, &why);
                    if sent == SENT_MAX || self.is_flushing.get() {
                        break;
                    }
                    // Several instances that have lost the same collector do not come back at the same time.
                    let jitter = 0.75 + fastrand::f64() / 2.0;
                    self.meanwhile(self.pause(after.unwrap_or_else(|| pause.mul_f64(jitter)))).await;
                    pause *= 2;
                }
            }
            settings = self.settings();
        }
        counts.unreachable.fetch_add(requests, Relaxed);
    }

    /// Awaits `future`, and empties the queue meanwhile.
    async fn meanwhile<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        loop {
            tokio::select! {
                biased;
                result = &mut future => return result,
                () = sleep(TICK) => self.gather(),
            }
        }
    }

    /// Waits, but not when everything is over.
    async fn pause(&self, duration: Duration) {
        tokio::select! {
            () = sleep(duration) => {}
            () = self.over.notified() => {}
        }
    }

    fn taken(&self, traces: &Traces, requests: u64, rejected: Option<(u64, String)>) {
        let counts = &self.status.traces;
        let refused = rejected.as_ref().map_or(0, |(spans, _)| (*spans).min(requests));
        counts.taken.fetch_add(requests - refused, Relaxed);
        counts.refused.fetch_add(refused, Relaxed);
        if let Some((spans, why)) = rejected {
            self.failed(traces, &format!("{spans} spans are rejected: {why}"));
        } else if self.is_failing.replace(false) {
            tracing::info!("traces are exported again");
        }
    }

    /// Says once that something is wrong.
    fn failed(&self, traces: &Traces, why: &str) {
        if !self.is_failing.replace(true) {
            let collector = traces.endpoint.as_ref().map(ToString::to_string).unwrap_or_default();
            let text = format!("traces are not exported to {collector}: {why}");
            // First masked, then cut: otherwise most of a secret could be left at the end.
            let text: String = self.status.state().secrets.mask(&text).chars().take(WHY_MAX).collect();
            tracing::warn!("{text}");
        }
    }
}
