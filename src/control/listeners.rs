//! The table of what is bound: which listener, on which address, with which settings.
//!
//! A listener whose settings change keeps its sockets, since closing a `SO_REUSEPORT` socket resets the connections
//! that the kernel has queued on it.

mod fresh;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use self::fresh::{Fresh, change_mode};
use super::changes::listener;
use super::inherited::{Entry, Inherited};
use super::reading::ListenerTls;
use crate::config;
use crate::config::address::Address;
use crate::listen::listener::Settings;
use crate::listen::socket::{self, FileId, StdListener};
use crate::listen::tls::ServerTls;
use crate::worker::{Command, Worker};

/// A listener that is bound, by the number the workers know it by.
#[derive(Debug)]
struct Bound {
    id: u64,
    settings: Settings,
    address: Address,
    /// The file of a Unix socket, if it goes with it.
    file: Option<FileId>,
    /// Its sockets, for a process that takes over. The workers have copies.
    sockets: Vec<StdListener>,
    /// Whether another process accepts from them now.
    is_left: bool,
}

/// What a listener needs besides its socket. `tls` has what its files contain.
fn settings(config: &config::Listener, tls: &Tls) -> Settings {
    Settings { config: Arc::new(config.clone()), tls: tls.get(&config.name).map(Arc::clone) }
}

/// The TLS settings of listeners, by name.
type Tls = HashMap<String, Arc<ServerTls>>;

impl Bound {
    /// Whether this is the socket that `config` asks for. Port 0 is a different one for each listener.
    fn serves(&self, config: &config::Listener) -> bool {
        let own = &self.settings.config;
        let is_any = config.address.tcp().is_some_and(|tcp| tcp.port() == 0);
        own.address == config.address && (!is_any || own.name == config.name)
    }

    /// Whether this is a Unix socket whose file somebody has deleted. One that somebody has replaced is not lost:
    /// another process has taken over.
    fn is_lost(&self) -> bool {
        self.file.is_some() && socket::file_id(&self.address).is_none()
    }
}

/// A change of the table that cannot fail any more.
pub(super) struct Edit {
    updates: Vec<(u64, Settings)>,
    fresh: Vec<Fresh>,
    /// Those that are bound anew in place of a socket that no client can find.
    lost: Vec<u64>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Listeners {
    bound: Vec<Bound>,
    workers: usize,
    next_id: u64,
}

impl Listeners {
    /// An empty table; each listener will have a socket for every worker.
    pub(crate) fn new(workers: usize) -> Self {
        Self { bound: Vec::new(), workers, next_id: 0 }
    }

    /// Names and real addresses of what is bound.
    pub(crate) fn addresses(&self) -> Vec<(String, Address)> {
        self.bound.iter().map(|bound| (bound.settings.config.name.clone(), bound.address.clone())).collect()
    }

    /// Names of the listeners, and how many sockets each has.
    pub(super) fn sockets(&self) -> impl Iterator<Item = (&str, usize)> {
        self.bound.iter().map(|bound| (bound.settings.config.name.as_str(), bound.sockets.len()))
    }

    /// Names of the listeners and their URLs.
    pub(crate) fn urls(&self) -> impl Iterator<Item = (&str, String)> {
        self.bound.iter().map(|Bound { settings, address, .. }| {
            let scheme = if settings.tls.is_some() { "https" } else { "http" };
            let url = match address {
                Address::Tcp(address) => format!("{scheme}://{address}"),
                Address::Unix(_) => address.to_string(),
            };
            (settings.config.name.as_str(), url)
        })
    }

    /// Binds the listeners of `wanted` that are new and not among the `inherited`. Clients can connect to them, but no
    /// worker accepts yet.
    ///
    /// # Errors
    /// The address that cannot be bound; everything is as before.
    pub(super) fn prepare(
        &self,
        wanted: &[config::Listener],
        tls: &Tls,
        inherited: &mut Inherited,
    ) -> Result<Edit, String> {
        // Before anything is bound: afterwards the files are there.
        let lost: Vec<_> = self.bound.iter().filter(|bound| bound.is_lost()).map(|bound| bound.id).collect();
        Ok(Edit { updates: self.updates(wanted, tls), fresh: self.bind_fresh(wanted, tls, &lost, inherited)?, lost })
    }

    /// Makes `wanted` the table, of which `edit` was prepared, and tells the workers; says what has changed.
    pub(super) async fn commit(&mut self, edit: Edit, wanted: &[config::Listener], workers: &[Worker]) -> Vec<String> {
        let Edit { updates, fresh, lost } = edit;
        let renewed = self.changes(wanted);
        let mut gone = self.take_gone(wanted, &lost);
        self.change_modes(wanted);
        self.take_updates(&updates);
        let changes = moved(&fresh, &gone).into_iter().chain(renewed).collect();
        self.listen(fresh, workers).await;
        // Before the workers hear of it: a client that finds no file goes elsewhere, and the others are still accepted.
        gone.iter().for_each(|bound| socket::remove(&bound.address, bound.file));
        // A worker empties the queue of its socket and closes it. It would not be closed while there is another copy.
        gone.iter_mut().for_each(|bound| bound.sockets.clear());
        for worker in workers {
            for (id, settings) in &updates {
                worker.tell(Command::Update { id: *id, settings: settings.clone() }).await;
            }
            for bound in &gone {
                worker.tell(Command::Unlisten { id: bound.id }).await;
            }
        }
        changes
    }

    /// What is different about the listeners that stay, in words.
    fn changes(&self, wanted: &[config::Listener]) -> Vec<String> {
        let mut changes = Vec::new();
        for bound in &self.bound {
            let Some(next) = wanted.iter().find(|config| bound.serves(config)) else { continue };
            changes.extend(listener(&bound.settings.config, next));
        }
        changes
    }

    /// Binds the listeners that are new; if one cannot be, none of them stays.
    fn bind_fresh(
        &self,
        wanted: &[config::Listener],
        tls: &Tls,
        lost: &[u64],
        inherited: &mut Inherited,
    ) -> Result<Vec<Fresh>, String> {
        let present = || self.bound.iter().filter(|bound| !lost.contains(&bound.id));
        let is_bound = |config: &&config::Listener| present().any(|bound| bound.serves(config));
        let missing: Vec<_> = wanted.iter().filter(|config| !is_bound(config)).collect();
        let found: Vec<_> = missing.into_iter().map(|config| (config, inherited.take(config))).collect();
        let ours: Vec<&Address> = present_addresses(&self.bound, &found).collect();
        // All before the first is bound: one of ours must not be taken for another process.
        for (config, _) in found.iter().filter(|(_, entry)| entry.is_none()) {
            if !ours.iter().any(|address| address.overlaps(&config.address)) {
                socket::probe(&config.address).map_err(|error| cannot_listen(config, &error))?;
            }
        }
        let mut fresh = Vec::new();
        for (nth, (config, entry)) in found.into_iter().enumerate() {
            let (id, settings) = (self.next_id + nth as u64, settings(config, tls));
            let bound = match entry {
                Some(entry) => Fresh::adopt(entry, settings, id, self.workers),
                None => Fresh::bind(config, settings, id, self.workers),
            };
            fresh.push(bound.map_err(|error| cannot_listen(config, &error))?);
        }
        Ok(fresh)
    }

    /// Takes out the listeners that are no longer wanted, or lost.
    fn take_gone(&mut self, wanted: &[config::Listener], lost: &[u64]) -> Vec<Bound> {
        let is_kept = |bound: &Bound| !lost.contains(&bound.id) && wanted.iter().any(|config| bound.serves(config));
        let (kept, gone) = std::mem::take(&mut self.bound).into_iter().partition(is_kept);
        self.bound = kept;
        gone
    }

    /// New settings for the listeners whose settings differ.
    fn updates(&self, wanted: &[config::Listener], tls: &Tls) -> Vec<(u64, Settings)> {
        let mut updates = Vec::new();
        for bound in &self.bound {
            let Some(config) = wanted.iter().find(|config| bound.serves(config)) else { continue };
            // The mode of a file is no reason to end connections, see `change_modes`.
            let same_mode = config::Listener { unix_mode: bound.settings.config.unix_mode, ..config.clone() };
            if *bound.settings.config == same_mode {
                continue;
            }
            updates.push((bound.id, settings(config, tls)));
        }
        updates
    }

    /// Gives the files of Unix sockets their new permissions.
    fn change_modes(&mut self, wanted: &[config::Listener]) {
        for bound in &mut self.bound {
            let Some(config) = wanted.iter().find(|config| bound.serves(config)) else { continue };
            if config.unix_mode != bound.settings.config.unix_mode {
                change_mode(&bound.address, config.unix_mode.unwrap_or_else(socket::default_mode));
                let config = config::Listener { unix_mode: config.unix_mode, ..(*bound.settings.config).clone() };
                bound.settings.config = Arc::new(config);
            }
        }
    }

    /// Gives listeners their new settings; their sockets stay, so no connection is lost.
    fn take_updates(&mut self, updates: &[(u64, Settings)]) {
        for (id, settings) in updates {
            let bound = self.bound.iter_mut().find(|bound| bound.id == *id);
            bound.into_iter().for_each(|bound| bound.settings = settings.clone());
        }
    }

    /// What the TLS files of the listeners contain.
    pub(super) fn tls_in_use(&self) -> ListenerTls {
        let in_use = self.bound.iter().filter_map(|Bound { settings, .. }| {
            let tls = Arc::clone(settings.tls.as_ref()?);
            Some((settings.config.name.clone(), ((*settings.config).clone(), tls)))
        });
        in_use.collect()
    }

    /// Every listener that speaks TLS, by name.
    pub(crate) fn tls(&self) -> impl Iterator<Item = (&str, &Arc<ServerTls>)> {
        self.bound.iter().filter_map(|bound| Some((&*bound.settings.config.name, bound.settings.tls.as_ref()?)))
    }

    /// Removes the files of the Unix sockets, so that no new client finds them.
    pub(crate) fn remove_sockets(&self) {
        self.bound.iter().for_each(|bound| socket::remove(&bound.address, bound.file));
    }

    /// What a process that takes over gets: the listeners, each with its sockets.
    pub(super) fn offer(&self) -> io::Result<Vec<Entry>> {
        let entry = |bound: &Bound| {
            let sockets = bound.sockets.iter().map(StdListener::try_clone).collect::<io::Result<_>>()?;
            let (name, wanted) = (bound.settings.config.name.clone(), bound.settings.config.address.clone());
            Ok(Entry { name, wanted, address: bound.address.clone(), file: bound.file, sockets })
        };
        self.bound.iter().map(entry).collect()
    }

    /// Another process accepts from the sockets of these listeners now, by their place in the offer: their queues and
    /// files are its own.
    pub(super) fn leave(&mut self, taken: &[usize]) {
        for place in taken {
            let bound = self.bound.get_mut(*place);
            bound.into_iter().for_each(|bound| (bound.file, bound.is_left) = (None, true));
        }
    }

    /// The listeners from whose sockets another process accepts, by number.
    pub(super) fn left(&self) -> Arc<[u64]> {
        self.bound.iter().filter(|bound| bound.is_left).map(|bound| bound.id).collect()
    }

    /// Closes the copies of the sockets: what the workers close is closed then.
    pub(super) fn close_copies(&mut self) {
        self.bound.iter_mut().for_each(|bound| bound.sockets.clear());
    }

    /// Lets the workers accept.
    async fn listen(&mut self, fresh: Vec<Fresh>, workers: &[Worker]) {
        for fresh in fresh {
            let bound = fresh.listen(workers).await;
            self.next_id = self.next_id.max(bound.id + 1);
            self.bound.push(bound);
        }
    }
}

/// The addresses at which this process has a socket already.
fn present_addresses<'a>(
    bound: &'a [Bound],
    found: &'a [(&config::Listener, Option<Entry>)],
) -> impl Iterator<Item = &'a Address> {
    let inherited = found.iter().filter_map(|(_, entry)| entry.as_ref().map(|entry| &entry.address));
    bound.iter().map(|bound| &bound.address).chain(inherited)
}

/// Which sockets are new, bound again, and gone, in words.
fn moved(fresh: &[Fresh], gone: &[Bound]) -> Vec<String> {
    let is_again = |fresh: &Fresh| gone.iter().any(|old| old.serves(&fresh.bound.settings.config));
    let is_left = |old: &&Bound| !fresh.iter().any(|fresh| old.serves(&fresh.bound.settings.config));
    let of = |again: bool| fresh.iter().filter(move |fresh| is_again(fresh) == again).map(|fresh| &fresh.bound.address);
    let join = |addresses: &mut dyn Iterator<Item = &Address>| {
        addresses.map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let moved = [
        ("now listening on", join(&mut of(false))),
        ("the socket file was gone, listening again on", join(&mut of(true))),
        ("no longer listening on", join(&mut gone.iter().filter(is_left).map(|bound| &bound.address))),
    ];
    let moved = moved.into_iter().filter(|(_, addresses)| !addresses.is_empty());
    moved.map(|(what, addresses)| format!("{what} {addresses}")).collect()
}

fn cannot_listen(config: &config::Listener, error: &io::Error) -> String {
    format!("cannot listen on {} (listener {}): {error}", config.address, config.name)
}
