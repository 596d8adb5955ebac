//! Config to next snapshot to swap; any problem keeps the old one serving.
//!
//! Start and reload run the same code. The order of a reload is: read, check, compare with what cannot change live,
//! bind new listeners; only then swap the snapshot, tell the workers, and let old listeners drain. Up to the swap
//! nothing needs to be undone.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Control;
use super::build::{Material, build};
use super::capacity;
use super::changes::{differences, settings as settings_changes};
use super::inherited::Inherited;
use super::listeners::Listeners;
use super::names::{Names, News, Resolution};
use super::overrides::Overrides;
use super::reading::{Contents, Present, Trigger};
use crate::config::{self, Algorithm, BackendAddress, Change, Config, Loaded, Origin, Problems};
use crate::net::pem::Stamps;
use crate::pool::Member;
use crate::pool::health::Health;
use crate::pool::protocol::PoolProtocol;
use crate::resources::Resources;
use crate::snapshot::SharedSnapshot;
use crate::worker::Worker;

/// The keys that only a restart can change.
const CANNOT_CHANGE: [&str; 6] =
    ["workers", "admin.address", "admin.socket", "log.format", "log.access", "log.access_queue"];

/// Where the config comes from, and what the command line puts over it.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// The file; without one nothing is reloaded.
    pub file: Option<PathBuf>,
    /// `--balance`: wins over every pool of every version of the file.
    pub balance: Option<Algorithm>,
}

impl Source {
    /// Reads the file again.
    ///
    /// # Errors
    /// All problems of the file.
    pub fn load(&self) -> Option<Result<Loaded, Problems>> {
        let file = self.file.as_deref()?;
        Some(config::load(file).map(|mut loaded| {
            self.apply_flags(&mut loaded.config);
            loaded
        }))
    }

    /// As [`Self::load`]; says what was read of the file and those that it includes in any case.
    pub(super) fn read(&self, file: &Path) -> (Option<Origin>, Result<Config, Problems>) {
        let (origin, config) = config::read(file);
        let apply = |mut config| {
            self.apply_flags(&mut config);
            config
        };
        (origin, config.map(apply))
    }

    /// Puts what the command line says over what the file says.
    pub fn apply_flags(&self, config: &mut Config) {
        if let Some(balance) = self.balance {
            config.pools.values_mut().for_each(|pool| pool.balance = balance);
        }
    }
}

/// Whether the files that a config names exist and are usable.
///
/// # Errors
/// Each that is not, and why.
pub(crate) fn check_files(config: &Config) -> Result<(), Vec<String>> {
    let read = Contents::read(config, None);
    let mask = |problems: Vec<String>| problems.iter().map(|problem| config.secrets.mask(problem)).collect();
    read.map(|_| ()).map_err(mask)
}

impl Control {
    /// Reads everything again, or does so when the upgrade that is under way has failed.
    pub(super) fn reload(&mut self, trigger: Trigger) {
        self.supervisor.reloading();
        if self.upgrades.is_running() {
            return self.upgrades.reload_later();
        }
        if let Some((discovery, _)) = &self.discovery {
            discovery.renew();
        }
        if self.source.file.is_some() {
            self.read(trigger);
        } else {
            tracing::warn!("nothing to reload: unstick was started without a config file");
            self.supervisor.reloaded();
        }
    }
}

/// The parts that a reload changes.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) config: Config,
    pub(crate) names: Names,
    pub(super) material: Material,
    pub(crate) shared: Arc<SharedSnapshot>,
    workers: usize,
    resources: Resources,
    pub(crate) listeners: Listeners,
}

#[cfg(feature = "sim")]
impl Instance {
    /// The first snapshot of a simulated worker.
    pub(crate) fn simulated(config: Config) -> Result<Self, String> {
        let protocols = super::build::protocols(&config, &Default::default())?;
        Ok(Self::new(config, Material { protocols, ..Material::default() }, 1, Resources::BOUNDLESS))
    }

    /// The addresses of the only name.
    pub(crate) fn resolve(&mut self, host: &str, addresses: &[std::net::IpAddr]) {
        self.names = Names::of(host, addresses);
    }
}

impl Instance {
    /// The first snapshot, nothing bound yet.
    pub(crate) fn new(config: Config, material: Material, workers: usize, resources: Resources) -> Self {
        let names = Names::default();
        let first = build(&config, &names, &material, None, workers, &resources);
        let shared = Arc::new(SharedSnapshot::new(Arc::new(first)));
        Self { config, names, material, shared, workers, resources, listeners: Listeners::new(workers) }
    }

    /// Makes `next` the config, whose files have these contents.
    ///
    /// # Errors
    /// Why it was refused; everything is as before.
    pub(super) async fn apply(
        &mut self,
        next: Config,
        contents: Contents,
        workers: &[Worker],
    ) -> Result<String, String> {
        let began = Instant::now();
        self.refuse_what_cannot_change(&next)?;
        let Contents { material, tls } = contents;
        let edit = self.listeners.prepare(&next.listeners, &tls, &mut Inherited::default())?;
        let before = std::mem::replace(&mut self.config, next);
        let mut overrides = std::mem::take(&mut self.material.overrides);
        let ended = Arc::make_mut(&mut overrides).keep(&self.config);
        self.material = Material { overrides, ..material };
        self.names.keep(&names(&self.config), self.config.dns.families);
        let mut changes = self.rebuild();
        changes.extend(ended);
        changes.extend(settings_changes(&before, &self.config));
        self.warn_of_what_does_not_fit(Some(&before));
        changes.extend(self.listeners.commit(edit, &self.config.listeners, workers).await);
        let what = match (changes.is_empty(), before == self.config) {
            (true, true) => "nothing changed".to_owned(),
            // Everything else has a name: a test goes through all keys.
            (true, false) => "only an order changed".to_owned(),
            (false, _) => self.config.secrets.mask(&before.secrets.mask(&changes.join("; "))),
        };
        Ok(format!("{what} (in {})", milliseconds(began.elapsed())))
    }

    /// Warns of numbers in the config for which there is no room, but for those that were there `before`.
    pub(super) fn warn_of_what_does_not_fit(&self, before: Option<&Config>) {
        let known = before.map(|before| capacity::warnings(before, &self.resources)).unwrap_or_default();
        let warnings = capacity::warnings(&self.config, &self.resources);
        warnings.iter().filter(|warning| !known.contains(warning)).for_each(|warning| tracing::warn!("{warning}"));
    }

    /// Builds and swaps the snapshot for the present config; says what is different.
    pub(crate) fn rebuild(&mut self) -> Vec<String> {
        let before = self.shared.load();
        let (previous, resources) = (Some(&*before), &self.resources);
        let next = Arc::new(build(&self.config, &self.names, &self.material, previous, self.workers, resources));
        let changes = differences(&before, &next);
        self.shared.swap(next);
        changes
    }

    /// What operators have set of endpoints.
    pub(super) fn overrides(&self) -> Arc<Overrides> {
        Arc::clone(&self.material.overrides)
    }

    /// Whether everybody who was asked for a name has said that it has no addresses.
    pub(crate) fn is_nowhere(&self, host: &str) -> bool {
        let wait = self.names.awaited_until(host, self.config.dns.families);
        wait.is_none() && self.names.addresses(host).next().is_none()
    }

    /// Takes in what asking for a name has brought.
    pub(crate) fn learn(&mut self, resolution: Resolution) -> News {
        let snapshot = self.shared.load();
        let is_failing = |host: &str, address: IpAddr| {
            let is_meant = |member: &&Member| {
                let name = member.backend.rsplit_once(':').map(|(name, _)| name);
                name == Some(host) && member.endpoint.address.tcp().is_some_and(|tcp| tcp.ip() == address)
            };
            let checked = snapshot.pools.iter().filter(|pool| pool.config.health.is_some());
            let mut verdicts = checked.flat_map(|pool| pool.members.iter().filter(is_meant)).peekable();
            verdicts.peek().is_some() && verdicts.all(|member| member.endpoint.health() == Health::Unhealthy)
        };
        self.names.learn(resolution, Instant::now(), self.config.dns.give_up, is_failing)
    }

    fn refuse_what_cannot_change(&self, next: &Config) -> Result<(), String> {
        let changes = self.config.changes(next);
        match changes.iter().find(|change| CANNOT_CHANGE.contains(&change.key.as_str())) {
            Some(Change { key, .. }) => {
                Err(format!("{key} cannot change while unstick runs: restart it, or undo the change"))
            }
            None => Ok(()),
        }
    }

    /// The TLS files of the pools, and their stamps when they were read.
    pub(crate) fn tls_files(&self) -> (Vec<PathBuf>, Stamps) {
        let (files, seen): (Vec<_>, Vec<_>) = self.material.protocols.values().map(PoolProtocol::files).unzip();
        (files.concat(), seen.concat())
    }

    /// What reading the files of another config can use.
    pub(super) fn present(&self) -> Present {
        let (config, protocols) = (self.config.clone(), self.material.protocols.clone());
        Present { config, protocols, in_use: self.listeners.tls_in_use() }
    }
}

/// The DNS names among all backends.
pub(crate) fn names(config: &Config) -> BTreeSet<String> {
    let backends = config.pools.values().flat_map(|pool| &pool.backends);
    backends
        .filter_map(|backend| match &backend.address {
            BackendAddress::Name { host, .. } => Some(host.clone()),
            BackendAddress::Socket(_) | BackendAddress::Unix(_) => None,
        })
        .collect()
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}
