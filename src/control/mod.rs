//! The control thread does everything that is not a request.
//!
//! One loop waits for all events: a signal or an order, a change of the config file, new addresses of a name, a new
//! endpoint that has passed its first check. Probes and the admin port run beside it on the same thread.

mod admin;
mod build;
mod changes;
mod discover;
mod files;
mod listeners;
mod names;
pub(crate) mod outcome;
mod probes;
pub(crate) mod reload;
mod resolver;
pub(crate) mod signals;
mod start;
mod status;
mod stop;
mod watch;

pub(crate) use start::Begun;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::spawn_local;
use tokio::time::{Instant, interval, sleep};

use crate::access_log::AccessLog;
use crate::config::address::Address;
use crate::config::{Config, Loaded};
use crate::net::pem::Watched;
use crate::pool::MemberState;
use crate::telemetry::Telemetry;
use crate::worker::Worker;
use admin::Admin;
use discover::Discovery;
use files::Files;
use names::{News, Resolution};
use outcome::Ended;
use probes::Probers;
use reload::{Instance, Source, names};
use signals::{Order, Signals};
use status::Status;
use stop::Next;
use watch::Watch;

/// How often the certificate files are checked for changes.
const CERTIFICATES_LOOK: Duration = Duration::from_millis(500);
/// How often the log warns of certificates that expire soon.
const EXPIRY_LOOK: Duration = Duration::from_secs(24 * 3600);
/// How long a broken file may take to become complete before it is reported.
const HALF_WRITTEN: Duration = Duration::from_millis(150);

/// The state of the control thread.
pub(crate) struct Control {
    instance: Instance,
    source: Source,
    text_hash: u64,
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
    /// The TLS files of the pools.
    tls_files: Watched,
    access_log: Option<AccessLog>,
    _orders: mpsc::Sender<Order>,
}

impl Control {
    /// The names and real addresses of the listeners.
    pub(crate) fn addresses(&self) -> Vec<(String, Address)> {
        self.instance.listeners.addresses()
    }

    /// The real address of the admin port, if there is one.
    pub(crate) fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// Runs until the instance has stopped.
    pub(crate) async fn run(mut self, mut orders: mpsc::Receiver<Order>) -> Ended {
        let mut watch = self.source.file.as_deref().map(Watch::new);
        spawn_local(look_after_certificates(Arc::clone(&self.status)));
        let mut files_are_due = interval(CERTIFICATES_LOOK);
        loop {
            let order = tokio::select! {
                order = Signals::next(self.signals.as_mut()) => order,
                Some(order) = orders.recv() => order,
                () = due(watch.as_mut()) => {
                    self.look_at_file().await;
                    continue;
                }
                _ = files_are_due.tick() => {
                    self.look_at_tls_files().await;
                    continue;
                }
                answer = next_resolution(self.discovery.as_mut()) => {
                    self.resolved(answer);
                    continue;
                }
                () = stop::drain_is_due(self.drains_at) => return self.drain(orders).await,
                () = self.release.notified() => {
                    self.let_go();
                    continue;
                }
            };
            match order {
                Order::Reload => {
                    if let Some((discovery, _)) = &self.discovery {
                        discovery.renew();
                    }
                    self.reload("signal").await;
                }
                Order::ReopenLogs => self.reopen_logs(),
                Order::Stop(order) => match self.stop(order) {
                    Next::Wait => {}
                    Next::Drain => return self.drain(orders).await,
                    Next::Cut => return self.cut().await,
                },
            }
        }
    }

    /// Reloads if the contents of the file differ from those that were last read.
    async fn look_at_file(&mut self) {
        let Some(file) = &self.source.file else { return };
        // A file that is missing for a moment is being replaced. SIGHUP would report a missing file.
        let Ok(text) = std::fs::read(file) else { return };
        let hash = crate::config::hash(&text);
        if hash == self.text_hash || (self.is_broken() && !self.is_settled(hash).await) {
            return;
        }
        self.text_hash = hash;
        self.reload("file change").await;
    }

    /// Reloads if a TLS file of a pool was replaced.
    async fn look_at_tls_files(&mut self) {
        let (now, _) = self.instance.tls_stamps();
        if self.tls_files.look(now).is_some() {
            // The present config is applied again. The file is not read, because an unfinished edit in it must not
            // interfere.
            let config = self.instance.config.clone();
            let result = self.apply(config).await;
            self.report("certificate change", result);
        }
    }

    fn is_broken(&self) -> bool {
        self.source.load().is_some_and(|loaded| loaded.is_err())
    }

    /// Whether the contents stay the same for [`HALF_WRITTEN`]. An editor that writes in place truncates the file
    /// first, so a file may be broken because it is only half there. Then it is checked again, not reported.
    async fn is_settled(&self, hash: u64) -> bool {
        sleep(HALF_WRITTEN).await;
        let text = self.source.file.as_deref().and_then(|file| std::fs::read(file).ok());
        text.is_some_and(|text| crate::config::hash(&text) == hash)
    }

    async fn reload(&mut self, trigger: &'static str) {
        let Some(loaded) = self.source.load() else {
            tracing::warn!("nothing to reload: unstick was started without a config file");
            return;
        };
        let result = match loaded {
            Ok(Loaded { mut config, text_hash }) => {
                self.text_hash = text_hash;
                config.workers =
                    if self.workers_flag.is_some() { self.instance.config.workers } else { config.workers };
                self.apply(config).await
            }
            Err(problems) => Err(problems.one_line()),
        };
        self.report(trigger, result);
    }

    /// Does what follows after a config was applied or refused.
    fn report(&mut self, trigger: &'static str, result: Result<String, String>) {
        match &result {
            Ok(what) => {
                self.tls_files = Watched::new(self.instance.tls_stamps().1);
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
        self.status.reloaded(trigger, result);
    }

    /// Applies `next`, or leaves everything as it was. Returns a list of the changes, or the reason of the refusal.
    async fn apply(&mut self, next: Config) -> Result<String, String> {
        let applied = self.instance.apply(next, &self.workers).await;
        self.follow_names();
        applied
    }

    /// Warns that the reload guard holds removed endpoints.
    fn report_held(&self) {
        for pool in &self.instance.shared.load().pools {
            let held: Vec<String> = pool
                .members
                .iter()
                .filter(|member| member.state == MemberState::Held)
                .map(|member| member.endpoint.address.to_string())
                .collect();
            if !held.is_empty() {
                tracing::warn!(pool = %pool.name, "every endpoint was replaced and no new one has passed its check \
                    yet: \
                    {} stay in use until one does", held.join(", "));
            }
        }
    }

    /// Starts and ends the resolution of names as the config needs it.
    fn follow_names(&mut self) {
        let (names, dns) = (names(&self.instance.config), &self.instance.config.dns);
        if names.is_empty() {
            self.discovery = None;
            return;
        }
        let (discovery, _) = self.discovery.get_or_insert_with(|| Discovery::new(Files::default()));
        discovery.sync(&names, dns);
    }

    /// Takes in findings, all that are there.
    fn resolved(&mut self, first: Resolution) {
        let host = first.host.clone();
        let mut is_changed = self.learn(first);
        while let Some(Ok(next)) = self.discovery.as_mut().map(|(_, answers)| answers.try_recv()) {
            is_changed |= self.learn(next);
        }
        if !is_changed {
            return;
        }
        let changes = self.instance.rebuild();
        self.probers.sync(self.instance.shared.load().pools.iter());
        if !changes.is_empty() {
            tracing::info!(trigger = "name resolution", %host, "reloaded: {}", changes.join("; "));
            self.status.reloaded("name resolution", Ok(changes.join("; ")));
            self.report_held();
        }
    }

    /// Takes in a finding. Returns whether the addresses in use have changed.
    fn learn(&mut self, resolution: Resolution) -> bool {
        let (host, give_up) = (resolution.host.clone(), self.instance.config.dns.give_up);
        let news = self.instance.learn(resolution);
        match &news {
            News::None | News::Changed => {}
            News::Unknown { why, kept } => {
                tracing::warn!(%host, "cannot resolve a backend; its last {kept} addresses stay in use: {why}");
            }
            News::Denied { kept: 0 } if self.instance.is_nowhere(&host) => {
                tracing::warn!(%host, "the name of a backend does not exist, or has no addresses");
            }
            News::Denied { kept: 0 } => {}
            News::Denied { kept } => tracing::warn!(%host, "the name of a backend has no addresses any more; the last \
                {kept} stay in use for {give_up:?}, but for those that fail their check"),
            News::GivenUp(addresses) => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                tracing::warn!(%host, "addresses are given up, their name denies them: {}", addresses.join(", "));
            }
        }
        matches!(news, News::Changed | News::GivenUp(_))
    }

    fn let_go(&mut self) {
        let changes = self.instance.rebuild();
        self.probers.sync(self.instance.shared.load().pools.iter());
        if !changes.is_empty() {
            tracing::info!(
                "a new endpoint has passed its check, those that it replaces are released: {}",
                changes.join("; ")
            );
        }
    }

    /// Publishes the listeners to the admin port.
    fn publish_listeners(&self) {
        let tls = self.instance.listeners.tls().map(|(name, tls)| (name.to_owned(), Arc::clone(tls))).collect();
        let mut state = self.status.state();
        state.admin_hosts.clone_from(&self.instance.config.admin.hosts);
        (state.listeners, state.tls) = (self.instance.listeners.addresses(), tls);
    }

    fn reopen_logs(&self) {
        if let Some(log) = &self.access_log {
            log.reopen();
            tracing::info!("access log opened again");
        }
    }
}

async fn due(watch: Option<&mut Watch>) {
    match watch {
        Some(watch) => watch.due().await,
        None => std::future::pending().await,
    }
}

async fn next_resolution(discovery: Option<&mut (Discovery, mpsc::Receiver<Resolution>)>) -> Resolution {
    match discovery {
        Some((_, answers)) => match answers.recv().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// Puts new certificates to use, and warns of those that expire soon.
async fn look_after_certificates(status: Arc<Status>) {
    let mut warned = Instant::now();
    loop {
        sleep(CERTIFICATES_LOOK).await;
        let listeners = status.state().tls.clone();
        listeners.iter().for_each(|(listener, tls)| tls.look(listener));
        if warned.elapsed() >= EXPIRY_LOOK {
            warned = Instant::now();
            listeners.iter().for_each(|(_, tls)| tls.warn_of_expiry());
        }
    }
}
