//! The end of an instance: readiness fails, accepting goes on for a while, then everything drains.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::Control;
use super::ask::Refused;
use super::outcome::Ended;
use super::signals::{Order, Signals, Stop};
use super::upgrade::Heir;
use crate::access_log::AccessLog;
use crate::config::model::Timeouts;
use crate::listen::listener::Idle;
use crate::worker::{Command, Worker};

/// How often a stopping process checks whether its workers have ended.
const STOP_POLL: Duration = Duration::from_millis(10);
/// How long the workers may take to end when nothing runs any more. With `drain = "0s"` what does run is cut off after
/// this time.
const ENDING_MAX: Duration = Duration::from_millis(250);
/// What a stop may take beyond `timeouts.shutdown_delay` and `timeouts.drain`.
const AFTER_DRAIN: Duration = Duration::from_secs(5);
/// How long the access log may take to be written out.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// What follows from an order to stop.
pub(super) enum Next {
    /// Everything goes on until `shutdown_delay` is over.
    Wait,
    Drain(Idle),
    /// What runs is cut off.
    Cut,
    /// A successor serves already.
    Leave(Heir),
}

/// Why a process drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Stop,
    Upgrade,
}

impl Control {
    /// Readiness fails at once. Accepting goes on for `shutdown_delay`, because balancers in front send on until they
    /// notice; who stops the process by hand does not wait for them.
    pub(super) async fn stop(&mut self, order: Stop) -> Next {
        let ended = self.upgrades.give_up("this process stops").await;
        if let Some(heir) = ended.and_then(|result| self.upgraded(result)) {
            return Next::Leave(heir);
        }
        self.status.is_ready.store(false, Relaxed);
        let Timeouts { shutdown_delay: delay, drain, .. } = self.instance.config.timeouts;
        self.supervisor.stopping(delay + drain + AFTER_DRAIN);
        match (self.drains_at, order) {
            (None, Stop::Announced) if !delay.is_zero() => {
                tracing::info!("stopping: not ready any more, accepting goes on for {delay:?}");
                self.drains_at = Some(Instant::now() + delay);
                Next::Wait
            }
            (Some(_), Stop::Announced) => Next::Cut,
            (None, Stop::Announced) => Next::Drain(Idle::MayAsk),
            (_, Stop::Prompt) => Next::Drain(Idle::IsClosed),
        }
    }

    /// Gives up the admin port, accepts no new connections, and waits until open requests are finished. At the end,
    /// what still runs is closed.
    pub(super) async fn drain(self, idle: Idle, orders: mpsc::Receiver<Order>) -> Ended {
        self.drain_for(Reason::Stop, idle, orders).await
    }

    /// Drains without an order to stop: a successor has everything.
    pub(super) async fn drain_after_upgrade(self, orders: mpsc::Receiver<Order>) -> Ended {
        self.drain_for(Reason::Upgrade, Idle::MayAsk, orders).await
    }

    async fn drain_for(mut self, reason: Reason, idle: Idle, mut orders: mpsc::Receiver<Order>) -> Ended {
        // Whoever takes over may want the address of the admin port.
        if let Some(admin) = self.admin.take() {
            admin.close().await;
        }
        let drain = self.instance.config.timeouts.drain;
        let open = self.status.loads.total();
        tracing::info!(connections = open, "stopping: running requests are finished within {drain:?}");
        // This comes first. A client that no longer finds the file goes elsewhere; one that has found it is still
        // accepted.
        self.instance.listeners.remove_sockets();
        self.instance.listeners.close_copies();
        let left = self.instance.listeners.left();
        for worker in &self.workers {
            worker.tell(Command::Drain { idle, left: Arc::clone(&left) }).await;
        }
        let drained = async {
            while !self.workers.iter().all(Worker::has_ended) {
                sleep(STOP_POLL).await;
            }
        };
        let ended = tokio::select! {
            () = drained => Ended::Drained,
            () = sleep(drain.max(ENDING_MAX)) => {
                tracing::warn!(connections = self.status.loads.total(), "the time to drain is over, closing the rest");
                Ended::Cut
            }
            () = second_stop(self.signals.as_mut(), &mut orders, self.access_log.as_ref(), reason) => {
                tracing::warn!(connections = self.status.loads.total(), "a second signal, stopping at once");
                Ended::Cut
            }
        };
        self.end(ended).await
    }

    /// Ends at once, without draining.
    pub(super) async fn cut(self) -> Ended {
        tracing::warn!(connections = self.status.loads.total(), "a second signal, stopping at once");
        self.instance.listeners.remove_sockets();
        self.end(Ended::Cut).await
    }

    /// Ends the workers and writes out what waits.
    pub(super) async fn end(self, ended: Ended) -> Ended {
        for worker in &self.workers {
            worker.tell(Command::Stop).await;
        }
        self.exporter.flush().await;
        if let Some(log) = &self.access_log {
            log.flush(FLUSH_MAX);
        }
        tracing::info!("stopped");
        ended
    }
}

/// Waits until it is time to drain; for ever if nobody has ordered a stop.
pub(super) async fn drain_is_due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Waits for another order to stop. The access log is opened again on demand meanwhile: a drain may take longer than
/// it takes until the next file is due. There is nothing to reload any more. A process that left everything to its
/// successor drains without an order; a supervisor that stops both means no haste by that.
async fn second_stop(
    mut signals: Option<&mut Signals>,
    orders: &mut mpsc::Receiver<Order>,
    access_log: Option<&AccessLog>,
    reason: Reason,
) {
    let mut is_first = reason == Reason::Upgrade;
    loop {
        let order = tokio::select! {
            order = Signals::next(signals.as_deref_mut()) => order,
            Some(order) = orders.recv() => order,
        };
        match order {
            Order::Stop(Stop::Announced) if std::mem::take(&mut is_first) => {
                tracing::info!("draining already: this signal changes nothing, another one stops at once");
            }
            Order::Stop(_) => return,
            Order::ReopenLogs => super::reopen(access_log),
            Order::Ask(ask) => _ = ask.answer.send(Err(Refused::Busy("this process is stopping".to_owned()))),
            Order::Reload | Order::Upgrade => {}
        }
    }
}
