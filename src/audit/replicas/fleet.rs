//! All replicas of a run, by their numbers from 0.

use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};

use super::backends::Backends;
use super::origin::Origin;
use super::spawned::Spawned;
use super::tail::Tail;
use super::trouble::Trouble;
use super::{Key, REPLICAS_MAX, Spawn};

/// Replicas to which the steps of a journey go. Dropping it kills those that it has started, and removes their disks;
/// see the text of this module.
///
/// What is done to one replica must not be done at the same time by two callers.
#[derive(Debug)]
pub struct Fleet {
    names: Vec<String>,
    origins: Vec<Origin>,
    kind: Kind,
    notes: Vec<String>,
}

#[derive(Debug)]
enum Kind {
    Spawned(Spawned),
    Backends(Backends),
}

/// A replica that ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Died {
    /// Its number.
    pub replica: usize,
    /// How its command ended.
    pub status: ExitStatus,
    /// Its last lines.
    pub said: Vec<String>,
}

impl Fleet {
    /// Starts replicas on fresh disks, and waits until they are ready.
    ///
    /// # Errors
    /// One did not start, or what they need is not there. Nothing is left running.
    pub async fn spawn(spawn: Spawn) -> Result<Self, Trouble> {
        check(&spawn)?;
        let names = names(spawn.replicas)?;
        let (spawned, notes) = Spawned::start_all(spawn, &names).await?;
        Ok(Self { names, origins: spawned.origins(), kind: Kind::Spawned(spawned), notes })
    }

    /// Takes replicas that run already, and waits until they respond.
    ///
    /// The command restarts one, after `{n}` (1, 2, ...) and `{address}` are filled in. It is done when it ends with
    /// status 0: the old process must be gone by then. If it starts the new one in the background, it must send its
    /// output to a file, as over ssh.
    ///
    /// # Errors
    /// There are none or too many, or one does not respond.
    pub async fn backends(
        origins: Vec<Origin>,
        restart: Option<String>,
        ready: Option<String>,
    ) -> Result<Self, Trouble> {
        check_ready(ready.as_deref())?;
        let names = names(origins.len())?;
        let mut notes = Vec::new();
        if ready.is_some() && origins.iter().any(|origin| origin.scheme == super::Scheme::Https) {
            notes.push("Whether a replica behind TLS is ready is told by its port alone.".into());
        }
        let tail = Mutex::new(Tail::default());
        let backends = Backends { names: names.clone(), origins: origins.clone(), restart, ready, tail };
        backends.wait().await?;
        Ok(Self { names, origins, kind: Kind::Backends(backends), notes })
    }

    /// Their names: A, B, C.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Where one is. It stays there over restarts.
    ///
    /// # Panics
    /// There is no such replica; so do the others that take a number.
    pub fn origin(&self, n: usize) -> &Origin {
        &self.origins[n]
    }

    /// Whether replicas can be killed and started again.
    pub fn can_break(&self) -> bool {
        match &self.kind {
            Kind::Spawned(_) => true,
            Kind::Backends(backends) => backends.restart.is_some(),
        }
    }

    /// Whether [`Key::Other`] means anything: replicas get a key from the audit.
    pub fn has_keys(&self) -> bool {
        match &self.kind {
            Kind::Spawned(spawned) => spawned.has_keys(),
            Kind::Backends(_) => false,
        }
    }

    /// Kills all processes of a replica and waits until its port refuses. One that runs already, and has only a command
    /// that restarts it, is restarted: it forgets the same.
    ///
    /// # Errors
    /// It cannot be killed.
    pub async fn kill(&self, n: usize) -> Result<(), Trouble> {
        match &self.kind {
            Kind::Spawned(spawned) => spawned.kill(n).await,
            Kind::Backends(backends) => backends.restart(n, Key::Same).await,
        }
    }

    /// Starts a replica again, at the same port and on the same disk, and waits until it is ready. One that still runs
    /// is killed before; one that ran already is restarted, so it is as young as the others would be.
    ///
    /// # Errors
    /// It did not start, or its port was taken.
    pub async fn start(&self, n: usize, key: Key) -> Result<(), Trouble> {
        match &self.kind {
            Kind::Spawned(spawned) => spawned.start(n, key).await,
            Kind::Backends(backends) => backends.restart(n, key).await,
        }
    }

    /// Kills a replica and starts it again.
    ///
    /// # Errors
    /// See [`Self::start`].
    pub async fn restart(&self, n: usize, key: Key) -> Result<(), Trouble> {
        self.start(n, key).await
    }

    /// The last lines that a replica wrote since it was started; of one that ran already, those of the last restart of
    /// any.
    pub fn said(&self, n: usize) -> Vec<String> {
        match &self.kind {
            Kind::Spawned(spawned) => spawned.said(n),
            Kind::Backends(backends) => backends.tail.lock().unwrap_or_else(PoisonError::into_inner).lines(),
        }
    }

    /// Whether the end of a replica would be heard of.
    pub fn can_die(&self) -> bool {
        matches!(self.kind, Kind::Spawned(_))
    }

    /// A replica that should run and has ended by itself.
    pub fn died(&self) -> Option<Died> {
        let Kind::Spawned(spawned) = &self.kind else { return None };
        let (replica, status) = spawned.died()?;
        Some(Died { replica, status, said: spawned.said(replica) })
    }

    /// What is to be known of the replicas, in sentences.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Kills those that were started, waits until they have ended, and removes their disks.
    pub async fn end(self) {
        if let Kind::Spawned(spawned) = self.kind {
            spawned.end().await;
        }
    }

    /// The processes that were started.
    #[cfg(test)]
    pub(super) fn spawned(&self) -> &Spawned {
        match &self.kind {
            Kind::Spawned(spawned) => spawned,
            Kind::Backends(_) => panic!("these ran already"),
        }
    }
}

/// The names of so many replicas.
fn names(count: usize) -> Result<Vec<String>, Trouble> {
    if !(1..=REPLICAS_MAX).contains(&count) {
        let how = if count == 0 { "few" } else { "many" };
        return Err(Trouble::Usage(format!("{count} replicas are too {how}: 1 to {REPLICAS_MAX} can be audited")));
    }
    Ok(('A'..='Z').take(count).map(String::from).collect())
}

fn check(spawn: &Spawn) -> Result<(), Trouble> {
    if spawn.command.trim().is_empty() {
        return Err(Trouble::Usage("the command that starts a replica is empty".into()));
    }
    if let Some(name) = spawn.env_per_replica.iter().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
        return Err(Trouble::Usage(format!("{name:?} cannot be the name of a variable")));
    }
    check_ready(spawn.ready.as_deref())
}

fn check_ready(target: Option<&str>) -> Result<(), Trouble> {
    match target {
        Some(target) if !target.starts_with('/') || target.parse::<http::uri::PathAndQuery>().is_err() => {
            Err(Trouble::Usage(format!("{target:?} cannot be asked for: a path that says ready begins with `/`")))
        }
        _ => Ok(()),
    }
}
