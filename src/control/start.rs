//! Starts a process from a config: what is bound and started, and in which order.

use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

use super::Control;
use super::admin::{Admin, Opened, Sockets};
use super::ask::Waiting;
use super::capacity;
use super::certificates::PoolFiles;
use super::detached::Detached;
use super::files::Files;
use super::inherited::Inherited;
use super::names::Wait;
use super::outcome::{Ended, Options, StartError};
use super::probes::{OnVerdict, Probers, first_verdicts_within};
use super::reading::{Contents, Reader};
use super::reload::{Instance, names};
use super::requests::Requests;
use super::resolved::next_resolution;
use super::signals::{Order, Signals};
use super::status::Status;
use super::traces::Exporter;
use super::upgrade::{Heirship, Predecessor, Upgrades};
use super::watch::Watch;
use crate::access_log::AccessLog;
use crate::config::Config;
use crate::listen::Loads;
use crate::listen::permits::Peers;
use crate::listen::tls::ServerTls;
use crate::metrics;
use crate::pool::endpoint::Endpoint;
use crate::pool::health::Health;
use crate::pool::{MemberState, Mode};
use crate::proxy::story;
use crate::resources::Resources;
use crate::worker::{self, Shares};

/// The longest time that the first requests wait for names to be resolved.
const RESOLVE_MAX: Duration = Duration::from_secs(5);

/// What another process leaves to this one.
struct Takeover {
    inherited: Inherited,
    predecessor: Option<Predecessor>,
    /// The sockets of the admin port.
    admin: Vec<Opened>,
}

impl Takeover {
    /// Waits until the process before this one, if there is one, lets this one accept.
    async fn until_left(&mut self) -> Result<Option<Heirship>, StartError> {
        let Some(predecessor) = self.predecessor.take() else { return Ok(None) };
        let left = predecessor.until_left(self.inherited.taken()).await;
        left.map(Some).map_err(|error| StartError(format!("cannot take over from the process before: {error}")))
    }
}

/// How a start has ended.
pub(crate) enum Begun {
    Serving(Box<Control>),
    /// A signal to stop came before anything was served.
    Stopped,
}

impl Control {
    /// Binds and starts everything. When it returns, clients can connect, unless a signal to stop came first.
    pub(crate) async fn start(
        config: Config,
        mut options: Options,
        orders: mpsc::Sender<Order>,
    ) -> Result<Begun, StartError> {
        let mut signals = options.signals.take();
        // It writes out what waits when it is dropped, so it must outlive the last line.
        let telemetry = options.telemetry.take();
        let (mut inherited, predecessor) = (std::mem::take(&mut options.inherited), options.predecessor.take());
        let assembled = tokio::select! {
            biased;
            _ = Signals::stop(signals.as_mut()) => return Ok(stopped()),
            assembled = Self::assemble(config, options, &mut inherited, orders) => assembled?,
        };
        let (mut control, tls, admin) = assembled;
        let takeover = Takeover { inherited, predecessor, admin };
        let begun = tokio::select! {
            biased;
            _ = Signals::stop(signals.as_mut()) => Ok(None),
            begun = control.begin(tls, takeover) => begun.map(Some),
        };
        control.signals = signals;
        match begun {
            Ok(Some(())) => {
                control.telemetry = telemetry;
                Ok(Begun::Serving(Box::new(control)))
            }
            Ok(None) => {
                control.end(Ended::Drained).await;
                Ok(stopped())
            }
            Err(error) => {
                control.end(Ended::Cut).await;
                Err(error)
            }
        }
    }

    /// Reads files, opens the admin port and starts the workers. Nothing is bound yet for clients. It returns the TLS
    /// settings of the listeners too, and the sockets of the admin port that another process serves still.
    async fn assemble(
        config: Config,
        options: Options,
        inherited: &mut Inherited,
        orders: mpsc::Sender<Order>,
    ) -> Result<(Self, HashMap<String, Arc<ServerTls>>, Vec<Opened>), StartError> {
        // What is written from now on is noticed, although nobody reads the files again until clients are served.
        let watch = options.source.file.as_ref().map(|_| Watch::new(&options.origin));
        let (resources, wanted) = (Resources::look(), options.workers.or(config.workers));
        let count = capacity::workers(wanted, &resources).value;
        let files = Files::default();
        let named = config.clone();
        let read = move || Contents::read(&named, None);
        let mask = |problems: Vec<String>| config.secrets.mask(&problems.join("; "));
        let contents = files.read(read).await.and_then(|read| read.map_err(mask));
        let Contents { mut material, tls } = contents.map_err(StartError)?;
        let (overrides, ended) = inherited.take_overrides(&config);
        ended.iter().for_each(|what| tracing::info!("{what}"));
        material.overrides = Arc::new(overrides);
        let access_log = open_access_log(&config, &files).await?;
        let instance = Instance::new(config, material, count, resources);
        let (stories, arriving) = story::channel();
        let shares = Shares {
            shared: Arc::clone(&instance.shared),
            loads: Loads::new(count),
            cells: metrics::cells(count).into(),
            access_log: access_log.clone(),
            stories,
            peers: Peers::default(),
            accepting: Arc::default(),
        };
        tracing::info!("{}", capacity::line(wanted, &instance.config, &resources));
        instance.warn_of_what_does_not_fit(None);
        let lost = access_log.as_ref().map(AccessLog::lost).unwrap_or_default();
        let (shared, loads) = (Arc::clone(&instance.shared), shares.loads.clone());
        let requests = Requests::new(arriving.told);
        let status = Arc::new(Status::new(shared, loads, Arc::clone(&shares.cells), lost, requests, orders));
        let exporter = Exporter::new(Arc::clone(&status), arriving.traced);
        let sockets = Sockets::open(&instance.config.admin, inherited).map_err(StartError)?;
        let mut admin = sockets.are_any().then(|| Admin::new(Arc::clone(&status)));
        serve_admin(&mut admin, sockets.fresh)?;
        let workers =
            worker::spawn_all(count, &shares).map_err(|error| StartError(format!("cannot start a worker: {error}")))?;
        let (release, verdicts) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
        let probers = Probers::new(on_verdict(&instance, &status, &release, &verdicts));
        let reader = Reader::new(files, options.source.clone(), options.origin);
        let mut control = Self {
            instance,
            source: options.source,
            reader,
            watch,
            workers,
            workers_flag: options.workers,
            status,
            admin,
            drains_at: None,
            probers,
            discovery: None,
            release,
            verdicts,
            signals: None,
            telemetry: None,
            pool_files: PoolFiles::default(),
            access_log,
            detached: Detached::default(),
            upgrades: Upgrades::new(options.launch),
            waiting: Waiting::default(),
            supervisor: Rc::new(options.supervisor),
            exporter,
        };
        control.publish_tls_files();
        control.publish_listeners();
        control.publish_overrides();
        control.publish_files();
        Ok((control, tls, sockets.taken))
    }

    /// Resolves names, binds sockets, and waits for the first verdicts. Only then may the workers accept. The first
    /// requests wait in the queue of the kernel meanwhile.
    async fn begin(&mut self, tls: HashMap<String, Arc<ServerTls>>, mut takeover: Takeover) -> Result<(), StartError> {
        if takeover.predecessor.is_none() {
            serve_admin(&mut self.admin, std::mem::take(&mut takeover.admin))?;
        }
        self.follow_names();
        self.first_names().await;
        self.probers.sync(self.instance.shared.load().pools.iter());
        let wanted = &self.instance.config.listeners;
        let bound = self.instance.listeners.prepare(wanted, &tls, &mut takeover.inherited).map_err(StartError)?;
        self.first_verdicts().await;
        let heirship = takeover.until_left().await?;
        serve_admin(&mut self.admin, takeover.admin)?;
        self.instance.listeners.commit(bound, &self.instance.config.listeners, &self.workers).await;
        if let Some(heirship) = heirship {
            heirship.serving().await;
        }
        self.publish_listeners();
        self.exporter.start();
        self.status.is_ready.store(true, Relaxed);
        let listeners: Vec<String> =
            self.instance.listeners.urls().map(|(name, url)| format!("{name} on {url}")).collect();
        tracing::info!(
            workers = self.workers.len(),
            pools = self.instance.config.pools.len(),
            balance = self.source.balance.map(|balance| format!("{balance} (--balance)")),
            "serving {}",
            listeners.join(", ")
        );
        self.supervisor.ready(&format!("serving {}", listeners.join(", ")));
        if let Some(admin) = self.admin_address() {
            let remark = self.status.state().access.remark();
            tracing::info!("admin on http://{admin}{}", remark.map(|how| format!(" ({how})")).unwrap_or_default());
        }
        if let Some(file) = self.admin.as_ref().and_then(Admin::file) {
            tracing::info!("admin on unix:{}", file.display());
        }
        Ok(())
    }

    /// Waits until every name that may exist is resolved, at most for [`RESOLVE_MAX`].
    async fn first_names(&mut self) {
        let deadline = Instant::now() + RESOLVE_MAX;
        let (names, families) = (names(&self.instance.config), self.instance.config.dns.families);
        loop {
            let waits = names.iter().filter_map(|name| self.instance.names.awaited_until(name, families));
            let until = waits.map(|wait| match wait {
                Wait::Open => deadline,
                Wait::Until(until) => until.min(deadline),
            });
            let Some(until) = until.max() else { break };
            match timeout_at(until, next_resolution(self.discovery.as_mut())).await {
                Ok(answer) => _ = self.learn(answer),
                Err(_) => break,
            }
        }
        self.instance.rebuild();
    }

    /// Waits until every endpoint has been probed once, at most for [`first_verdicts_within`].
    async fn first_verdicts(&self) {
        let snapshot = self.instance.shared.load();
        let checked = || snapshot.pools.iter().filter(|pool| pool.config.health.is_some());
        let endpoints = checked().map(|pool| pool.members.len()).sum();
        let checks = checked().filter_map(|pool| pool.config.health.as_ref());
        let Some(bound) = checks.map(|check| first_verdicts_within(check, endpoints)).max() else { return };
        let any_unchecked = || {
            let mut ready =
                checked().flat_map(|pool| &pool.members).filter(|member| member.state == MemberState::Ready);
            ready.any(|member| member.endpoint.health() == Health::Unchecked)
        };
        let all_checked = async {
            while any_unchecked() {
                self.verdicts.notified().await;
            }
        };
        timeout(bound, all_checked).await.ok();
    }
}

fn serve_admin(admin: &mut Option<Admin>, sockets: Vec<Opened>) -> Result<(), StartError> {
    let Some(admin) = admin else { return Ok(()) };
    let failed = |error: io::Error| StartError(format!("cannot serve the admin port: {error}"));
    sockets.into_iter().try_for_each(|socket| admin.serve(socket).map_err(failed))
}

async fn open_access_log(config: &Config, files: &Files) -> Result<Option<AccessLog>, StartError> {
    let Some(log) = config.log.access.clone() else { return Ok(None) };
    let opened = files.read(move || AccessLog::open(&log).map_err(|error| error.to_string())).await;
    let opened = opened.and_then(|opened| opened);
    opened.map(Some).map_err(|error| StartError(format!("cannot open the access log: {error}")))
}

fn stopped() -> Begun {
    tracing::info!("a signal to stop, nothing was served yet");
    Begun::Stopped
}

/// What follows from a verdict: a log line, the mode of the pool, the release of held endpoints.
fn on_verdict(instance: &Instance, status: &Arc<Status>, release: &Rc<Notify>, verdicts: &Rc<Notify>) -> OnVerdict {
    let (shared, release, verdicts) = (Arc::clone(&instance.shared), Rc::clone(release), Rc::clone(verdicts));
    let status = Arc::clone(status);
    Rc::new(move |endpoint: &Endpoint, changed: Option<Health>| {
        verdicts.notify_one();
        let Some(health) = changed else { return };
        let (pool, address) = (&endpoint.pool, &endpoint.address);
        let reason = endpoint.update_health(|machine| machine.reason().to_owned());
        match health {
            Health::Healthy => tracing::info!(%pool, endpoint = %address, "endpoint is healthy"),
            _ => {
                tracing::warn!(%pool, endpoint = %address, "endpoint is unhealthy, it gets no more requests: {reason}")
            }
        }
        let snapshot = shared.load();
        let Some(pool) = snapshot.pool(pool) else { return };
        if health == Health::Healthy {
            pool.recovered(endpoint, Instant::now());
        }
        match pool.refresh_mode() {
            Some((_, Mode::FailOpen)) => tracing::error!(pool = %pool.name,
                "too few endpoints are healthy: all that were probed get requests again"),
            Some((Mode::FailOpen, _)) => tracing::info!(pool = %pool.name, "only healthy endpoints get requests again"),
            _ => {}
        }
        status.news.notify_one();
        if pool.can_release_held() {
            release.notify_one();
        }
    })
}
