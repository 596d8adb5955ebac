//! The control thread does everything that is not a request.
//!
//! One loop waits for all events: a signal or an order, a change of the config file, new addresses of a name, a new
//! endpoint that has passed its first check. Probes and the admin port run beside it on the same thread.

mod access;
pub(crate) mod activation;
mod admin;
pub(crate) mod ask;
mod build;
pub(crate) mod capacity;
mod certificates;
mod changes;
pub(crate) mod detached;
mod discover;
pub(crate) mod explain;
mod files;
mod folders;
pub(crate) mod inherited;
mod listeners;
mod names;
pub(crate) mod outcome;
mod overrides;
mod plans;
mod probes;
mod publish;
mod rationed;
mod reading;
mod refused;
pub(crate) mod reload;
mod reloads;
mod requests;
mod resolved;
mod resolver;
pub(crate) mod signals;
mod start;
mod status;
mod stop;
pub(crate) mod supervisor;
pub(crate) mod traces;
pub(crate) mod upgrade;
mod watch;
mod watchdog;

pub(crate) use start::Begun;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::access_log::AccessLog;
use crate::config::Config;
use crate::config::address::Address;
use crate::listen::listener::Idle;
use crate::pool::{Member, MemberState};
use crate::telemetry::Telemetry;
use crate::worker::Worker;
use admin::Admin;
use ask::{Refused, Waiting};
use certificates::{PoolFiles, look_after_listeners, look_after_pools};
use detached::Detached;
use discover::Discovery;
use names::Resolution;
use outcome::Ended;
use probes::Probers;
use reading::{Contents, Read, Reader, Trigger};
use reload::{Instance, Source};
use resolved::next_resolution;
use signals::{Order, Signals};
use status::Status;
use stop::Next;
use supervisor::Supervisor;
use upgrade::Upgrades;
use watch::{Look, Watch};

/// The state of the control thread.
pub(crate) struct Control {
    instance: Instance,
    source: Source,
    reader: Reader,
    /// `None` without a config file.
    watch: Option<Watch>,
    workers: Vec<Worker>,
    workers_flag: Option<NonZeroUsize>,
    status: Arc<Status>,
    /// `None` without an admin port, and when it was given up.
    admin: Option<Admin>,
    /// When `shutdown_delay` ends; `None` if no stop was ordered.
    drains_at: Option<Instant>,
    probers: Probers,
    discovery: Option<(Discovery, mpsc::Receiver<Resolution>)>,
    /// Notified when held endpoints can be released.
    release: Rc<Notify>,
    verdicts: Rc<Notify>,
    signals: Option<Signals>,
    telemetry: Option<Telemetry>,
    pool_files: PoolFiles,
    access_log: Option<AccessLog>,
    detached: Detached,
    upgrades: Upgrades,
    /// Those who wait for the result of a reload.
    waiting: Waiting,
    supervisor: Rc<Supervisor>,
    exporter: Rc<traces::Exporter>,
}

impl Control {
    /// The names and real addresses of the listeners.
    pub(crate) fn addresses(&self) -> Vec<(String, Address)> {
        self.instance.listeners.addresses()
    }

    /// The real address of the admin port, if there is one.
    pub(crate) fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(Admin::address)
    }

    /// Runs until the instance has stopped.
    pub(crate) async fn run(mut self, mut orders: mpsc::Receiver<Order>) -> Ended {
        let mut watch = self.watch.take();
        let replaced = Rc::new(Notify::new());
        spawn_local(look_after_listeners(Arc::clone(&self.status)));
        self.watch_workers();
        spawn_local(requests::keep_gathering(Arc::clone(&self.status)));
        spawn_local(look_after_pools(self.pool_files.clone(), Rc::clone(&replaced)));
        loop {
            self.begin_upgrade();
            let is_upgrading = self.upgrades.is_running();
            tokio::select! {
                order = Signals::next(self.signals.as_mut()) => match self.obey(order).await {
                    Next::Wait => {}
                    Next::Drain(idle) => return self.drain(idle, orders).await,
                    Next::Cut => return self.cut().await,
                    Next::Leave(heir) => return self.leave_to(heir, orders).await,
                },
                Some(order) = orders.recv() => match self.obey(order).await {
                    Next::Wait => {}
                    Next::Drain(idle) => return self.drain(idle, orders).await,
                    Next::Cut => return self.cut().await,
                    Next::Leave(heir) => return self.leave_to(heir, orders).await,
                },
                () = stop::drain_is_due(self.drains_at) => return self.drain(Idle::MayAsk, orders).await,
                look = due(watch.as_mut()), if !is_upgrading => self.read(Trigger::File(look)),
                () = replaced.notified(), if !is_upgrading => self.read(Trigger::Certificates),
                read = self.reader.next() => {
                    self.has_read(read).await;
                    watch.iter_mut().for_each(|watch| watch.follow(self.reader.origin()));
                    self.publish_files();
                }
                answer = next_resolution(self.discovery.as_mut()) => self.resolved(answer),
                () = self.release.notified() => self.let_go(),
                result = self.upgrades.over() => if let Some(heir) = self.upgraded(result) {
                    return self.leave_to(heir, orders).await;
                },
            }
        }
    }

    async fn obey(&mut self, order: Order) -> Next {
        match order {
            Order::Reload => {
                self.reload(Trigger::Signal);
                Next::Wait
            }
            Order::Ask(ask) => {
                self.grant(ask);
                Next::Wait
            }
            Order::Upgrade => {
                self.upgrade(None);
                Next::Wait
            }
            Order::ReopenLogs => {
                reopen(self.access_log.as_ref());
                Next::Wait
            }
            Order::Stop(order) => self.stop(order).await,
        }
    }

    fn read(&mut self, trigger: Trigger) {
        if trigger == Trigger::Admin && !self.reader.is_reading() {
            self.waiting.begin();
        }
        let instance = &self.instance;
        self.reader.begin(trigger, || instance.present());
    }

    async fn has_read(&mut self, read: Option<Read>) {
        let mut answer = Ok("nothing changed".to_owned());
        if let Some(Read { trigger, result }) = read {
            let result = match result {
                Ok((mut config, contents)) => {
                    if self.workers_flag.is_some() {
                        config.workers = self.instance.config.workers;
                    }
                    self.apply(config, contents).await
                }
                Err(why) => Err(why),
            };
            answer = result.clone().map_err(Refused::Invalid);
            self.report(trigger.name(), result);
            self.status.reload_took(self.reader.began().elapsed());
        }
        self.waiting.tell(&answer);
        match self.reader.take_waiting() {
            Some(trigger) => self.read(trigger),
            None => self.supervisor.reloaded(),
        }
    }

    /// Does what follows after a config was applied or refused.
    fn report(&mut self, trigger: &'static str, result: Result<String, String>) {
        let said =
            result.as_ref().map_or_else(|why| format!("reload refused: {why}"), |what| format!("reloaded: {what}"));
        self.supervisor.status(&said);
        match &result {
            Ok(what) => {
                self.publish_tls_files();
                self.probers.sync(self.instance.shared.load().pools.iter());
                if let Some(telemetry) = &self.telemetry {
                    telemetry.set_level(self.instance.config.log.level);
                }
                let flag = self.source.balance.map(|balance| format!("; balance is {balance} by --balance"));
                tracing::info!(trigger, "reloaded: {what}{}", flag.unwrap_or_default());
                self.report_held();
            }
            Err(why) => tracing::error!(trigger, "reload refused, the old configuration stays in use: {why}"),
        }
        self.publish_listeners();
        self.publish_overrides();
        self.status.reloaded(trigger, result);
    }

    /// Applies `next`, or leaves everything as it was. Returns a list of the changes, or the reason of the refusal.
    async fn apply(&mut self, next: Config, contents: Contents) -> Result<String, String> {
        {
            // What is shown from now on may be of either config.
            let mut state = self.status.state();
            state.secrets = state.secrets.with(&next.secrets);
        }
        let applied = self.instance.apply(next, contents, &self.workers).await;
        self.follow_names();
        applied
    }

    /// Warns that the reload guard holds removed endpoints, and of pools whose last endpoint an operator has stopped.
    fn report_held(&self) {
        let overrides = self.instance.overrides();
        for pool in &self.instance.shared.load().pools {
            let in_words = |wanted: &dyn Fn(&&Member) -> bool, words: &dyn Fn(&Member) -> String| {
                pool.members.iter().filter(wanted).map(words).collect::<Vec<_>>().join(", ")
            };
            let held = in_words(&|member| member.state == MemberState::Held, &|held| held.endpoint.address.to_string());
            let stopped = in_words(&|_| true, &|member| {
                let address = &member.endpoint.address;
                let set = overrides.of(&pool.name, address).filter(|set| set.state.is_some());
                let by = set.map_or_else(|| "by the file".to_owned(), |set| format!("set by {}", set.by));
                format!("{address} is {} ({by})", member.state.name())
            });
            if !held.is_empty() {
                tracing::warn!(pool = %pool.name, "no endpoint that the file names takes requests and has passed its \
                    check: {held} stay in use until one does");
            } else if !pool.members.iter().any(|member| member.state.takes_requests()) && stopped.contains("(set by") {
                tracing::warn!(pool = %pool.name, "no endpoint takes requests: {stopped}");
            }
        }
    }
}

/// Opens the file of the access log again.
fn reopen(log: Option<&AccessLog>) {
    if let Some(log) = log {
        log.reopen();
        tracing::info!("access log opened again");
    }
}

async fn due(watch: Option<&mut Watch>) -> Look {
    match watch {
        Some(watch) => watch.due().await,
        None => std::future::pending().await,
    }
}
