//! Config to next snapshot to swap; any problem keeps the old one serving.
//!
//! Start and reload run the same code. The order of a reload is: read, check, compare with what cannot change live, bind new
//! listeners; only then swap the snapshot, tell the workers, and let old listeners drain. Up to the swap nothing has happened
//! that must be undone.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::address::Address;
use crate::config::{self, Algorithm, BackendAddress, Config, Loaded, Problems};
use crate::listen::Settings;
use crate::listen::socket::{self, StdListener};
use crate::listen::tls::ServerTls;
use crate::net::pem::Stamps;
use crate::pool::MemberState;
use crate::snapshot::build::{Resolved, Wires, build, wires};
use crate::snapshot::{Shared, Snapshot};
use crate::worker::{Command, Worker};

/// Where the config comes from, and what the command line has to say about it.
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

    /// Puts what the command line says over what the file says.
    pub fn apply_flags(&self, config: &mut Config) {
        if let Some(balance) = self.balance {
            config.pools.values_mut().for_each(|pool| pool.balance = balance);
        }
    }
}

/// A listener that is bound, by the number the workers know it by.
#[derive(Debug)]
struct Bound {
    id: u64,
    settings: Settings,
    address: Address,
}

/// What a listener needs besides its socket.
///
/// # Errors
/// The file that does not serve.
fn settings(config: &config::Listener) -> Result<Settings, String> {
    let load = |tls| ServerTls::load(tls, config.protocols).map(Arc::new);
    let tls = config.tls.as_ref().map(load).transpose();
    let tls = tls.map_err(|why| format!("listener {}: {why}", config.name))?;
    Ok(Settings { config: Arc::new(config.clone()), tls })
}

/// Whether the files that a config names are there and serve.
///
/// # Errors
/// Each that does not, and why.
pub(crate) fn check_files(config: &Config) -> Result<(), Vec<String>> {
    let mut problems: Vec<String> = config.listeners.iter().filter_map(|listener| settings(listener).err()).collect();
    problems.extend(wires(config, &Wires::new()).err());
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

impl Bound {
    /// Whether this is the socket that `config` asks for. Port 0 is a different one for each listener.
    fn serves(&self, config: &config::Listener) -> bool {
        let own = &self.settings.config;
        let is_any = config.address.tcp().is_some_and(|tcp| tcp.port() == 0);
        own.address == config.address && (!is_any || own.name == config.name)
    }
}

/// A listener that is about to be.
pub(crate) struct Fresh {
    bound: Bound,
    sockets: Vec<StdListener>,
}

/// The parts that a reload changes.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) config: Config,
    pub(crate) resolved: Resolved,
    wires: Wires,
    pub(crate) shared: Arc<Shared>,
    workers: usize,
    listeners: Vec<Bound>,
    next_id: u64,
}

impl Live {
    /// The first snapshot, nothing bound yet.
    ///
    /// # Errors
    /// A file that the pools need and that does not serve.
    pub(crate) fn new(config: Config, workers: usize) -> Result<Self, String> {
        let (resolved, wires) = (Resolved::new(), wires(&config, &Wires::new())?);
        let shared = Arc::new(Shared::new(Arc::new(build(&config, &resolved, &wires, None, workers))));
        Ok(Self { config, resolved, wires, shared, workers, listeners: Vec::new(), next_id: 0 })
    }

    /// Names and real addresses of what is bound.
    pub(crate) fn addresses(&self) -> Vec<(String, Address)> {
        self.listeners.iter().map(|bound| (bound.settings.config.name.clone(), bound.address.clone())).collect()
    }

    /// Names of the listeners and where to ask them.
    pub(crate) fn urls(&self) -> impl Iterator<Item = (&str, String)> {
        self.listeners.iter().map(|Bound { settings, address, .. }| {
            let scheme = if settings.tls.is_some() { "https" } else { "http" };
            let url = match address {
                Address::Tcp(address) => format!("{scheme}://{address}"),
                Address::Unix(_) => address.to_string(),
            };
            (settings.config.name.as_str(), url)
        })
    }

    /// Binds the listeners of the config, for the start: clients can connect, but nobody accepts before [`Self::listen`].
    ///
    /// # Errors
    /// The address that cannot be bound, and why.
    pub(crate) fn bind_all(&self) -> Result<Vec<Fresh>, String> {
        self.bind_fresh(&self.config.listeners)
    }

    /// Makes `next` the config.
    ///
    /// # Errors
    /// Why it was refused; everything is as before.
    pub(crate) async fn apply(&mut self, next: Config, workers: &[Worker]) -> Result<String, String> {
        let began = Instant::now();
        self.refuse_what_cannot_change(&next)?;
        let wires = wires(&next, &self.wires)?;
        let updates = self.updates(&next.listeners)?;
        let fresh = self.bind_fresh(&next.listeners)?;
        let gone = self.take_gone(&next.listeners);
        self.change_modes(&next.listeners);
        let updated = self.take_updates(updates);
        let added: Vec<String> = fresh.iter().map(|fresh| fresh.bound.address.to_string()).collect();
        let removed: Vec<String> = gone.iter().map(|bound| bound.address.to_string()).collect();
        let is_same = self.config == next;
        (self.config, self.wires) = (next, wires);
        let mut changes = self.rebuild();
        changes.extend((!added.is_empty()).then(|| format!("now listening on {}", added.join(", "))));
        changes.extend((!removed.is_empty()).then(|| format!("no longer listening on {}", removed.join(", "))));
        let renewed: Vec<&str> = updated.iter().map(|(_, settings)| settings.config.name.as_str()).collect();
        changes.extend((!renewed.is_empty()).then(|| format!("listener {} changed", renewed.join(", "))));
        self.listen(fresh, workers).await;
        // First: who finds no file goes elsewhere, who found it is still accepted.
        gone.iter().for_each(|bound| socket::remove(&bound.address));
        for worker in workers {
            for (id, settings) in &updated {
                worker.tell(Command::Update { id: *id, settings: settings.clone() }).await;
            }
            for bound in &gone {
                worker.tell(Command::Unlisten { id: bound.id }).await;
            }
        }
        let what = match (changes.is_empty(), is_same) {
            (true, true) => "nothing changed".to_owned(),
            (true, false) => "settings changed".to_owned(),
            (false, _) => changes.join("; "),
        };
        Ok(format!("{what} (in {})", milliseconds(began.elapsed())))
    }

    /// Builds and swaps the snapshot for the present config; says what is different.
    pub(crate) fn rebuild(&mut self) -> Vec<String> {
        let before = self.shared.load();
        let next = Arc::new(build(&self.config, &self.resolved, &self.wires, Some(&before), self.workers));
        let changes = differences(&before, &next);
        self.shared.swap(next);
        changes
    }

    fn refuse_what_cannot_change(&self, next: &Config) -> Result<(), String> {
        let now = &self.config;
        for (key, is_same) in [
            ("workers", now.workers == next.workers),
            ("admin.address", now.admin == next.admin),
            ("log.format", now.log.format == next.log.format),
            ("log.access, log.access_format and log.access_queue", now.log.access == next.log.access),
        ] {
            if !is_same {
                return Err(format!("{key} cannot change while unstick runs: restart it, or undo the change"));
            }
        }
        Ok(())
    }

    /// Binds the listeners that are new; if one cannot be, none of them stays.
    fn bind_fresh(&self, wanted: &[config::Listener]) -> Result<Vec<Fresh>, String> {
        let is_bound = |config: &&config::Listener| self.listeners.iter().any(|bound| bound.serves(config));
        let mut fresh = Vec::new();
        for (nth, config) in wanted.iter().filter(|config| !is_bound(config)).enumerate() {
            match self.bind(config, self.next_id + nth as u64) {
                Ok(bound) => fresh.push(bound),
                Err(why) => {
                    fresh.iter().for_each(|fresh: &Fresh| socket::remove(&fresh.bound.address));
                    return Err(why);
                }
            }
        }
        Ok(fresh)
    }

    fn bind(&self, config: &config::Listener, id: u64) -> Result<Fresh, String> {
        let settings = settings(config)?;
        let exclusive = !self.listeners.iter().any(|bound| overlap(&bound.address, &config.address));
        let (address, sockets) = socket::bind(&config.address, config.unix_mode, self.workers, exclusive)
            .map_err(|error| format!("cannot listen on {} (listener {}): {error}", config.address, config.name))?;
        Ok(Fresh { bound: Bound { id, settings, address }, sockets })
    }

    /// Takes out the listeners that are no longer wanted.
    fn take_gone(&mut self, wanted: &[config::Listener]) -> Vec<Bound> {
        let is_wanted = |bound: &Bound| wanted.iter().any(|config| bound.serves(config));
        let (kept, gone) = std::mem::take(&mut self.listeners).into_iter().partition(is_wanted);
        self.listeners = kept;
        gone
    }

    /// New settings for the listeners whose ones differ.
    fn updates(&self, wanted: &[config::Listener]) -> Result<Vec<(u64, Settings)>, String> {
        let mut updates = Vec::new();
        for bound in &self.listeners {
            let Some(config) = wanted.iter().find(|config| bound.serves(config)) else { continue };
            // The mode of a file is no reason to end connections, see `change_modes`.
            let same_mode = config::Listener { unix_mode: bound.settings.config.unix_mode, ..config.clone() };
            if *bound.settings.config == same_mode {
                continue;
            }
            let kept = bound.settings.tls.as_ref().zip(config.tls.as_ref());
            let kept = kept.filter(|(tls, wanted)| tls.serves(wanted, config.protocols));
            // Certificates that stay keep their tickets.
            let settings = match kept {
                Some((tls, _)) => Settings { config: Arc::new(config.clone()), tls: Some(Arc::clone(tls)) },
                None => settings(config)?,
            };
            updates.push((bound.id, settings));
        }
        Ok(updates)
    }

    /// Gives the files of Unix sockets their new permissions.
    fn change_modes(&mut self, wanted: &[config::Listener]) {
        for bound in &mut self.listeners {
            let Some(config) = wanted.iter().find(|config| bound.serves(config)) else { continue };
            if let (Address::Unix(file), mode) = (&bound.address, config.unix_mode)
                && mode != bound.settings.config.unix_mode
            {
                socket::set_mode(file, mode).inspect_err(|error| tracing::error!("{}: {error}", bound.address)).ok();
                let config = config::Listener { unix_mode: mode, ..(*bound.settings.config).clone() };
                bound.settings.config = Arc::new(config);
            }
        }
    }

    /// Gives listeners their new settings; the sockets stay, so that no connection is lost.
    fn take_updates(&mut self, updates: Vec<(u64, Settings)>) -> Vec<(u64, Settings)> {
        for (id, settings) in &updates {
            let bound = self.listeners.iter_mut().find(|bound| bound.id == *id);
            bound.into_iter().for_each(|bound| bound.settings = settings.clone());
        }
        updates
    }

    /// Every listener that speaks TLS, by name.
    pub(crate) fn tls(&self) -> impl Iterator<Item = (&str, &Arc<ServerTls>)> {
        self.listeners.iter().filter_map(|bound| Some((&*bound.settings.config.name, bound.settings.tls.as_ref()?)))
    }

    /// What the files are now that the pools need to speak TLS, and what they were when they were read.
    pub(crate) fn wire_stamps(&self) -> (Stamps, Stamps) {
        let (now, then): (Vec<_>, Vec<_>) = self.wires.values().map(|wire| wire.stamps()).unzip();
        (now.concat(), then.concat())
    }

    /// Nobody shall find the Unix sockets any more.
    pub(crate) fn remove_sockets(&self) {
        self.listeners.iter().for_each(|bound| socket::remove(&bound.address));
    }

    /// Lets the workers accept.
    pub(crate) async fn listen(&mut self, fresh: Vec<Fresh>, workers: &[Worker]) {
        for Fresh { bound, sockets } in fresh {
            self.next_id = self.next_id.max(bound.id + 1);
            for worker in workers {
                worker.tell(Command::Update { id: bound.id, settings: bound.settings.clone() }).await;
            }
            for (worker, socket) in workers.iter().zip(sockets) {
                worker.tell(Command::Listen { id: bound.id, socket }).await;
            }
            self.listeners.push(bound);
        }
    }
}

/// The names among all backends.
pub(crate) fn names(config: &Config) -> BTreeSet<String> {
    let backends = config.pools.values().flat_map(|pool| &pool.backends);
    backends
        .filter_map(|backend| match &backend.address {
            BackendAddress::Name { host, .. } => Some(host.clone()),
            BackendAddress::Socket(_) | BackendAddress::Unix(_) => None,
        })
        .collect()
}

/// Whether one socket bound to each would be in the other's way.
fn overlap(a: &Address, b: &Address) -> bool {
    let (Address::Tcp(a), Address::Tcp(b)) = (a, b) else { return a == b };
    a.port() == b.port() && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

/// What an operator would want to hear of the way from one snapshot to the next.
fn differences(before: &Snapshot, next: &Snapshot) -> Vec<String> {
    let mut changes = Vec::new();
    for pool in &next.pools {
        let Some(old) = before.pool(&pool.name) else {
            changes.push(format!("pool {} is new with {} endpoints", pool.name, pool.members.len()));
            continue;
        };
        let describe = |pool: &crate::pool::Pool| -> Vec<(Address, MemberState, u32)> {
            pool.members.iter().map(|m| (m.endpoint.address.clone(), m.state, m.weight)).collect()
        };
        let (was, is) = (describe(old), describe(pool));
        let missing = |from: &[(Address, MemberState, u32)], to: &[(Address, MemberState, u32)]| -> Vec<String> {
            from.iter().filter(|(a, ..)| to.iter().all(|(b, ..)| a != b)).map(|(a, ..)| a.to_string()).collect()
        };
        let mut parts = Vec::new();
        let (added, removed) = (missing(&is, &was), missing(&was, &is));
        parts.extend((!added.is_empty()).then(|| format!("added {}", added.join(", "))));
        parts.extend((!removed.is_empty()).then(|| format!("removed {}", removed.join(", "))));
        for (address, state, weight) in &is {
            let Some((_, old_state, old_weight)) = was.iter().find(|(known, ..)| known == address) else { continue };
            parts.extend((old_state != state).then(|| format!("{address} is {} now", state.name())));
            parts.extend((old_weight != weight).then(|| format!("{address} has weight {weight} now")));
        }
        parts.extend((old.algorithm != pool.algorithm).then(|| format!("balance is {} now", pool.algorithm)));
        parts.extend((old.health != pool.health).then(|| "health check changed".to_owned()));
        let waits = |pool: &crate::pool::Pool| (pool.max_requests, pool.queue.clone());
        parts.extend((waits(old) != waits(pool)).then(|| "max_requests or queue changed".to_owned()));
        parts.extend((!old.wire.is_same(&pool.wire)).then(|| "protocol or tls changed".to_owned()));
        parts.extend((old.eject != pool.eject).then(|| "eject changed".to_owned()));
        parts.extend((old.retry != pool.retry).then(|| "retry changed".to_owned()));
        changes.extend((!parts.is_empty()).then(|| format!("pool {}: {}", pool.name, parts.join(", "))));
    }
    let gone = before.pools.iter().filter(|pool| next.pool(&pool.name).is_none());
    changes.extend(gone.map(|pool| format!("pool {} is gone", pool.name)));
    changes.extend((before.timeouts != next.timeouts).then(|| "timeouts changed".to_owned()));
    changes.extend((before.limits != next.limits).then(|| "limits changed".to_owned()));
    changes.extend((before.routes != next.routes).then(|| "routes changed".to_owned()));
    changes
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}
