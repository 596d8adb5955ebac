//! Listeners that are bound, or taken over, but not in the table yet.

use std::io;

use super::Bound;
use crate::config;
use crate::config::address::Address;
use crate::control::inherited::Entry;
use crate::listen::listener::Settings;
use crate::listen::socket::{self, FileId, StdListener};
use crate::listen::sockets::{deal, fill_up};
use crate::worker::{Command, Worker};

/// A listener that no worker accepts from yet. Dropping it takes everything back.
pub(super) struct Fresh {
    pub(super) bound: Bound,
    file: NewFile,
    /// What each worker will accept from.
    hands: Vec<Vec<StdListener>>,
    is_inherited: bool,
}

/// The file of a Unix socket that was made just now. Dropping it removes the file.
struct NewFile(Option<(Address, FileId)>);

impl Drop for NewFile {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(|(address, file)| socket::remove(&address, Some(file)));
    }
}

impl Fresh {
    /// Binds the listener.
    ///
    /// # Errors
    /// The error of the kernel.
    pub(super) fn bind(config: &config::Listener, settings: Settings, id: u64, workers: usize) -> io::Result<Self> {
        let (address, sockets) = socket::bind(&config.address, config.unix_mode, workers)?;
        let file = socket::file_id(&address);
        let new_file = NewFile(file.map(|file| (address.clone(), file)));
        let hands = deal(&sockets, workers)?;
        let bound = Bound { id, settings, address, file, sockets, is_left: false };
        Ok(Self { bound, file: new_file, hands, is_inherited: false })
    }

    /// Takes over what another process has bound. Its file stays with that process until the workers accept.
    ///
    /// # Errors
    /// There are no more file descriptors.
    pub(super) fn adopt(entry: Entry, settings: Settings, id: u64, workers: usize) -> io::Result<Self> {
        let Entry { name: _, wanted: _, address, file, sockets } = entry;
        let hands = deal(&sockets, workers)?;
        let bound = Bound { id, settings, address, file, sockets, is_left: false };
        Ok(Self { bound, file: NewFile(None), hands, is_inherited: true })
    }

    /// Lets the workers accept.
    pub(super) async fn listen(self, workers: &[Worker]) -> Bound {
        let Self { mut bound, mut file, mut hands, is_inherited } = self;
        // It stays.
        file.0 = None;
        if is_inherited {
            hands = complete(&mut bound, hands, workers.len());
        }
        // All of them, before any may accept and hand a connection over.
        for worker in workers {
            worker.tell(Command::Update { id: bound.id, settings: bound.settings.clone() }).await;
        }
        for (worker, hand) in workers.iter().zip(hands) {
            for socket in hand {
                worker.tell(Command::Listen { id: bound.id, socket }).await;
            }
        }
        bound
    }
}

/// Gives what was taken over the mode of its file, and as many sockets as there are workers. Not earlier: the kernel
/// sends connections to them at once.
fn complete(bound: &mut Bound, hands: Vec<Vec<StdListener>>, workers: usize) -> Vec<Vec<StdListener>> {
    if let Some(mode) = bound.file.and(bound.settings.config.unix_mode) {
        change_mode(&bound.address, mode);
    }
    fill_up(&mut bound.sockets, &bound.address, workers);
    deal(&bound.sockets, workers).unwrap_or(hands)
}

/// Gives the file of a Unix socket this mode.
pub(super) fn change_mode(address: &Address, mode: u32) {
    if let Address::Unix(file) = address {
        let is_set = socket::set_mode(file, mode);
        is_set.inspect_err(|error| tracing::error!("{address}: {error}")).ok();
    }
}
