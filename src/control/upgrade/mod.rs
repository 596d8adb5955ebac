//! The process is replaced by another one, of a new version or the same, without a connection lost.
//!
//! It starts its successor as it was started itself, sends it the listening sockets, and drains when the successor
//! accepts from them. Until then it goes on as before, so a successor that fails costs nothing. Reloads wait meanwhile:
//! what is offered must not change.

mod attempt;
mod launch;
mod predecessor;
mod steered;
mod told;
mod wire;

use std::io;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_local, yield_now};

pub(super) use self::attempt::Heir;
use self::attempt::attempt;
pub use self::launch::Launch;
pub(super) use self::predecessor::Heirship;
pub use self::predecessor::{Predecessor, Refusal};
pub(super) use self::told::Told;
pub use self::told::started_ticks;
use self::told::{ordered, refused};
use self::wire::{Offer, OfferedListener};
use super::Control;
use super::ask::{Answer, Refused};
use super::files::Files;
use super::outcome::Ended;
use super::reading::Trigger;
use super::signals::Order;
use crate::listen::socket::StdListener;

/// What is known of upgrades.
#[derive(Default)]
pub(super) struct Upgrades {
    /// How this process was started; `None` if it is part of another program.
    launch: Option<Launch>,
    /// One was ordered, and waits for a reload to end.
    is_due: bool,
    running: Option<JoinHandle<Result<Heir, String>>>,
    /// A reload was ordered meanwhile.
    is_reload_due: bool,
    /// Who waits for the end of the present one, if it was asked for over the admin port.
    waiting: Option<oneshot::Sender<Answer>>,
    files: Files,
}

impl Upgrades {
    pub(super) fn new(launch: Option<Launch>) -> Self {
        Self { launch, ..Self::default() }
    }

    /// Whether one is under way.
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether one is under way, or about to begin.
    pub(super) fn is_under_way(&self) -> bool {
        self.is_due || self.is_running()
    }

    /// Notes that a reload was ordered while an upgrade is under way.
    pub(super) fn reload_later(&mut self) {
        self.is_reload_due = true;
    }

    /// Waits for the end of the upgrade that is under way; for ever if there is none.
    pub(super) async fn over(&mut self) -> Result<Heir, String> {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let result = running.await.unwrap_or_else(|error| Err(format!("a bug in unstick: {error}")));
        self.running = None;
        result
    }

    /// Ends the successor, if one is being started. One that serves already is returned.
    pub(super) async fn give_up(&mut self, why: &str) -> Option<Result<Heir, String>> {
        self.is_due = false;
        if self.running.as_ref().is_some_and(JoinHandle::is_finished) {
            return Some(self.over().await);
        }
        self.waiting = None;
        if let Some(running) = self.running.take() {
            running.abort();
            tracing::warn!("upgrade given up: {why}");
        }
        None
    }
}

impl Control {
    /// An upgrade was ordered. It begins as soon as no reload is under way.
    pub(super) fn upgrade(&mut self, waiting: Option<oneshot::Sender<Answer>>) {
        if self.upgrades.is_under_way() {
            tracing::warn!("an upgrade is under way already");
            return;
        }
        ordered(&self.status);
        self.upgrades.waiting = waiting;
        match self.cannot_upgrade() {
            Some(why) => self.refuse_upgrade(&why),
            None => self.upgrades.is_due = true,
        }
    }

    fn refuse_upgrade(&mut self, why: &str) {
        refused(&self.status, why);
        if let Some(waiting) = self.upgrades.waiting.take() {
            let why = format!("upgrade refused, this process serves on: {why}");
            waiting.send(Err(Refused::Invalid(why))).ok();
        }
    }

    /// Begins the upgrade that was ordered, if there is one and nothing speaks against it now.
    pub(super) fn begin_upgrade(&mut self) {
        if !self.upgrades.is_due || self.reader.is_busy() {
            return;
        }
        self.upgrades.is_due = false;
        let Some(launch) = self.upgrades.launch.clone() else { return };
        let (offer, sockets) = match self.offer() {
            Ok(offer) => offer,
            Err(error) => return self.refuse_upgrade(&format!("the sockets cannot be copied: {error}")),
        };
        let (files, within) = (self.upgrades.files.clone(), self.instance.config.timeouts.upgrade);
        tracing::info!("upgrade: starting {}", launch.program().display());
        self.upgrades.running = Some(spawn_local(attempt(launch, offer, sockets, files, within)));
    }

    fn cannot_upgrade(&self) -> Option<String> {
        if std::process::id() == 1 {
            return Some("this is process 1 of its container, which ends with it: start a new container".into());
        }
        if self.drains_at.is_some() {
            return Some("this process is stopping".into());
        }
        self.upgrades.launch.is_none().then(|| "it is not known how this process was started".into())
    }

    /// What a successor gets.
    fn offer(&self) -> io::Result<(Offer, Vec<StdListener>)> {
        let (mut listeners, mut sockets) = (Vec::new(), Vec::new());
        for entry in self.instance.listeners.offer()? {
            let wanted = (&entry.wanted).into();
            let count = entry.sockets.len();
            listeners.push(OfferedListener { name: entry.name, wanted, file: entry.file, sockets: count });
            sockets.extend(entry.sockets);
        }
        let steered = steered::offer(&self.instance.overrides());
        let from = env!("CARGO_PKG_VERSION").to_owned();
        let mut offer = Offer { from, listeners, steered, ..Offer::default() };
        if let Some(admin) = &self.admin {
            let (tcp, unix) = (admin.offer_tcp()?, admin.offer_unix()?);
            offer.admin = tcp.is_some();
            sockets.extend(tcp);
            if let Some((socket, file)) = unix {
                offer.admin_socket = Some(file.to_path_buf());
                sockets.push(socket);
            }
        }
        Ok((offer, sockets))
    }

    /// Takes in how an upgrade has ended. Returns the successor if there is one: then this process is to drain.
    pub(super) fn upgraded(&mut self, result: Result<Heir, String>) -> Option<Heir> {
        match result {
            Ok(heir) => Some(heir),
            Err(why) => {
                self.refuse_upgrade(&why);
                if std::mem::take(&mut self.upgrades.is_reload_due) {
                    self.reload(Trigger::Signal);
                }
                None
            }
        }
    }

    /// Leaves everything to the successor that accepts now, and drains.
    pub(super) async fn leave_to(mut self, heir: Heir, orders: mpsc::Receiver<Order>) -> Ended {
        tracing::info!("upgrade: process {} serves, this one finishes what it has", heir.process);
        self.supervisor.leave_to(heir.process);
        self.instance.listeners.leave(&heir.taken.listeners);
        if let (true, Some(admin)) = (heir.taken.admin_socket, &mut self.admin) {
            admin.leave_file();
        }
        if let Some(waiting) = self.upgrades.waiting.take() {
            waiting.send(Ok(format!("process {} serves, this one finishes what it has", heir.process))).ok();
            // The response is written before the admin port is given up.
            yield_now().await;
        }
        self.drain_after_upgrade(orders).await
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;

    #[tokio::test]
    async fn a_successor_that_serves_is_not_given_up() {
        LocalSet::new()
            .run_until(async {
                let heir = Heir { process: 7, taken: Default::default() };
                let running = Some(spawn_local(async { Ok(heir) }));
                let mut upgrades = Upgrades { running, ..Upgrades::default() };
                while !upgrades.running.as_ref().unwrap().is_finished() {
                    yield_now().await;
                }
                let result = upgrades.give_up("a stop").await;
                assert!(matches!(result, Some(Ok(Heir { process: 7, .. }))));
                upgrades.running = Some(spawn_local(std::future::pending()));
                assert!(upgrades.give_up("a stop").await.is_none() && !upgrades.is_under_way());
            })
            .await;
    }
}
