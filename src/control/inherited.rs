//! Listening sockets that this process did not bind: a process before it hands them over.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use super::admin::UnixSocket;
use super::overrides::Overrides;
use crate::config::{Config, Listener, address::Address};
use crate::listen::socket::{FileId, StdListener};

/// The sockets of one listener, from whoever has bound them.
#[derive(Debug)]
pub(super) struct Entry {
    /// The name of the listener there.
    pub(super) name: String,
    /// The address that was asked for there.
    pub(super) wanted: Address,
    /// Its real address.
    pub(super) address: Address,
    /// The file of a Unix socket, if it is ours to remove.
    pub(super) file: Option<FileId>,
    pub(super) sockets: Vec<StdListener>,
}

impl Entry {
    /// Whether these are the sockets that `config` asks for. Port 0 is a different one for each listener.
    fn fits(&self, config: &Listener) -> bool {
        let is_any = config.address.tcp().is_some_and(|tcp| tcp.port() == 0);
        self.wanted == config.address && (!is_any || self.name == config.name)
    }
}

/// All sockets that this process did not bind. What is not taken is closed with it.
#[derive(Debug, Default)]
pub struct Inherited {
    /// In the order of the offer; `None` for what was taken.
    entries: Vec<Option<Entry>>,
    admin: Option<TcpListener>,
    /// What operators have set of endpoints.
    overrides: Overrides,
    admin_socket: Option<UnixSocket>,
    taken: Taken,
}

/// Which sockets were taken.
#[derive(Debug, Default, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Taken {
    /// The listeners, by their place in the offer.
    #[serde(default)]
    pub(super) listeners: Vec<usize>,
    /// Whether that of the admin port was.
    #[serde(default)]
    pub(super) admin: bool,
    /// Whether its Unix socket was.
    #[serde(default)]
    pub(super) admin_socket: bool,
}

impl Inherited {
    pub(super) fn new(
        entries: Vec<Entry>,
        admin: Option<TcpListener>,
        admin_socket: Option<UnixSocket>,
        overrides: Overrides,
    ) -> Self {
        let entries = entries.into_iter().map(Some).collect();
        Self { entries, admin, admin_socket, overrides, taken: Taken::default() }
    }

    /// The sockets that `config` asks for, if they are among them.
    pub(super) fn take(&mut self, config: &Listener) -> Option<Entry> {
        let fits = |entry: &Option<Entry>| entry.as_ref().is_some_and(|entry| entry.fits(config));
        let place = self.entries.iter().position(fits)?;
        let entry = self.entries.get_mut(place)?.take()?;
        self.taken.listeners.push(place);
        Some(entry)
    }

    /// The socket of the admin port, if it is bound to this address.
    pub(super) fn take_admin(&mut self, wanted: SocketAddr) -> Option<TcpListener> {
        let is_there = |socket: &mut TcpListener| socket.local_addr().is_ok_and(|address| fits(wanted, address));
        let socket = self.admin.take_if(is_there)?;
        self.taken.admin = true;
        Some(socket)
    }

    /// What operators have set of endpoints whose entry is in `config` as it was, and in words what has ended.
    pub(super) fn take_overrides(&mut self, config: &Config) -> (Overrides, Vec<String>) {
        let mut overrides = std::mem::take(&mut self.overrides);
        let ended = overrides.keep(config);
        (overrides, ended)
    }

    /// The Unix socket of the admin port, if it has this file.
    pub(super) fn take_admin_socket(&mut self, wanted: &Path) -> Option<UnixSocket> {
        let socket = self.admin_socket.take_if(|socket| **socket.file() == *wanted)?;
        self.taken.admin_socket = true;
        Some(socket)
    }

    /// Which sockets were taken so far.
    pub(super) fn taken(&self) -> &Taken {
        &self.taken
    }
}

/// Whether a socket at `address` is what `wanted` asks for. Port 0 asks for any.
fn fits(wanted: SocketAddr, address: SocketAddr) -> bool {
    wanted == address || (wanted.port() == 0 && wanted.ip() == address.ip())
}
