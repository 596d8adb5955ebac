//! The demo's replicas: started, and started again whenever one ends.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::cookie::Key;
use super::introduction::say;
use super::replica;
use unstick_proof::replica::launch::{Launched, launch};

/// How long a replica that was killed stays away, so that its absence can be seen.
pub(super) const RESTART_PAUSE: Duration = Duration::from_secs(10);

/// A replica that runs. Dropping it kills it.
pub(super) struct Replica {
    pub(super) name: String,
    pub(super) process: Launched,
}

/// How to start a replica.
struct Launcher {
    key: Key,
}

impl Launcher {
    fn new() -> anyhow::Result<Self> {
        let mut key = [0; Key::LENGTH];
        let random = std::fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut key));
        random.context("cannot read random bytes for the cookies' key")?;
        Ok(Self { key: Key::new(key) })
    }

    async fn launch(&self, name: &str, port: u16) -> anyhow::Result<Replica> {
        let arguments = ["demo-replica", "--name", name, "--port", &port.to_string()];
        let process = launch(&arguments, &[(replica::KEY_VARIABLE, &self.key.to_hex())]).await;
        let process = process.with_context(|| format!("cannot start replica {name}"))?;
        Ok(Replica { name: name.to_owned(), process })
    }
}

/// All replicas, just started.
pub(super) struct Replicas {
    launcher: Launcher,
    pub(super) first: Vec<Replica>,
}

impl Replicas {
    pub(super) async fn start(count: usize) -> anyhow::Result<Self> {
        let launcher = Launcher::new()?;
        let mut first = Vec::with_capacity(count);
        for letter in ('a'..='z').take(count) {
            first.push(launcher.launch(&letter.to_string(), 0).await?);
        }
        Ok(Self { launcher, first })
    }

    pub(super) fn backends(&self) -> Vec<(String, SocketAddr)> {
        let address =
            |replica: &Replica| (replica.name.clone(), SocketAddr::from((Ipv4Addr::LOCALHOST, replica.process.port)));
        self.first.iter().map(address).collect()
    }

    /// From now on a replica that ends is started again.
    pub(super) fn keep(self) -> Kept {
        let seats = self.first.iter().map(|replica| Seat { name: replica.name.clone(), up: AtomicBool::new(true) });
        let table = Arc::new(Table { launcher: self.launcher, seats: seats.collect() });
        let stop = watch::Sender::new(());
        let mut keepers = JoinSet::new();
        for (seat, replica) in self.first.into_iter().enumerate() {
            keepers.spawn(keep_one(table.clone(), seat, replica, stop.subscribe()));
        }
        Kept { keepers, stop }
    }
}

/// All replicas, each with a task that keeps it up.
pub(super) struct Kept {
    keepers: JoinSet<()>,
    /// Dropped to end them all.
    stop: watch::Sender<()>,
}

impl Kept {
    /// Kills and reaps all replicas.
    pub(super) async fn end(mut self) {
        drop(self.stop);
        while self.keepers.join_next().await.is_some() {}
    }
}

/// What the keepers share.
struct Table {
    launcher: Launcher,
    seats: Vec<Seat>,
}

/// The place of a replica, whether it runs or not.
struct Seat {
    name: String,
    up: AtomicBool,
}

impl Table {
    fn set_up(&self, seat: usize, up: bool) {
        self.seats[seat].up.store(up, Ordering::Relaxed);
    }

    /// Where the requests of a replica that just ended go.
    fn consequence(&self) -> String {
        let up: Vec<&str> =
            self.seats.iter().filter(|seat| seat.up.load(Ordering::Relaxed)).map(|seat| seat.name.as_str()).collect();
        match up.split_last() {
            None => "no other is left: requests fail until one is back".to_owned(),
            Some((only, [])) => format!("its traffic moved to {only}"),
            Some((last, others)) => format!("its traffic moved to {} and {last}", others.join(", ")),
        }
    }
}

/// Starts one replica again, on its port, whenever it ends; until `stop` is dropped, then kills it.
async fn keep_one(table: Arc<Table>, seat: usize, mut replica: Replica, mut stop: watch::Receiver<()>) {
    loop {
        tokio::select! {
            _ = replica.process.child.wait() => {}
            _ = stop.changed() => {
                // This fails only if the process has ended already.
                let _ = replica.process.child.kill().await;
                return;
            }
        }
        table.set_up(seat, false);
        say(&format!(
            "replica {} (pid {}) is gone; {}. Just wait: it starts again in {} s on the same port.",
            replica.name,
            replica.process.pid,
            table.consequence(),
            RESTART_PAUSE.as_secs()
        ));
        replica = tokio::select! {
            again = launch_again(&table.launcher, &replica.name, replica.process.port) => again,
            _ = stop.changed() => return,
        };
        table.set_up(seat, true);
        say(&format!("replica {} is back (pid {}).", replica.name, replica.process.pid));
    }
}

async fn launch_again(launcher: &Launcher, name: &str, port: u16) -> Replica {
    loop {
        sleep(RESTART_PAUSE).await;
        match launcher.launch(name, port).await {
            Ok(replica) => return replica,
            Err(error) => say(&format!("{error:#}; trying again in {} s.", RESTART_PAUSE.as_secs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_told_by_who_is_left() {
        let table = [
            ("", "no other is left: requests fail until one is back"),
            ("a", "its traffic moved to a"),
            ("ac", "its traffic moved to a and c"),
            ("abc", "its traffic moved to a, b and c"),
        ];
        for (up, expected) in table {
            let seat = |name: char| Seat { name: name.into(), up: AtomicBool::new(up.contains(name)) };
            let launcher = Launcher { key: Key::new([0; Key::LENGTH]) };
            assert_eq!(Table { launcher, seats: "abc".chars().map(seat).collect() }.consequence(), expected);
        }
    }
}
