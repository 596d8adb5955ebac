//! Where the steps of a journey go: replicas that the audit starts itself, or that run already.
//!
//! | file | what it is |
//! |---|---|
//! | [`fleet`](Fleet) | all replicas of a run, by their numbers |
//! | `spawned`, `backends` | the two kinds of fleets: processes, and addresses |
//! | `process` | one replica as a process group; `living` finds its processes, `tail` keeps its last lines |
//! | `strays` | processes that have left all that, and come back as orphans; `processes` reads `/proc` |
//! | `lifeline` | ends the processes when the audit itself is killed |
//! | `place`, `disk`, `environment`, `command`, `port` | what a process is started with |
//! | `ready` | when a replica counts as started |
//! | [`origin`](Origin) | the address of a replica |
//!
//! # How replicas end
//! Each replica is a process group of its own, so Ctrl-C in a terminal reaches the audit alone. Whoever waits for
//! signals has only to drop the [`Fleet`], which sends SIGKILL to every group; a panic does the same. A second process,
//! the lifeline, does it when the audit is killed without a chance to drop anything. A replica that ignores SIGTERM or
//! has children changes nothing. A process that leaves its group is found by a variable in its environment
//! (`UNSTICK_AUDIT_REPLICA`, on Linux). One that leaves the group and its session and overwrites its environment comes
//! back to the audit as an orphan (`strays`, on Linux). What runs elsewhere is not found, such as a container that the
//! command has only asked for.

use std::path::PathBuf;
use std::time::Duration;

mod backends;
mod command;
mod disk;
mod environment;
mod fleet;
mod lifeline;
mod living;
mod origin;
mod place;
mod port;
mod process;
mod processes;
mod ready;
mod spawned;
mod strays;
mod tail;
#[cfg(test)]
mod tests;
mod trouble;

pub use fleet::{Died, Fleet};
pub use origin::{Origin, Scheme, is_public};
pub use trouble::{Said, Trouble};

/// The most replicas of a fleet.
pub const REPLICAS_MAX: usize = 9;

/// How long a replica may take to start, if nothing else is said.
pub const START_DEADLINE: Duration = Duration::from_secs(30);

/// Replicas that are to be started.
#[derive(Debug, Clone)]
pub struct Spawn {
    /// What `sh -c` runs for each of them, after `{port}`, `{n}` (1, 2, ...), `{dir}` (a private folder) and `{key}` (a
    /// random key) are filled in. Any other word in braces stays as it is, because JSON in commands is common. The port
    /// is also in the variable `PORT`.
    pub command: String,
    /// How many there are, from 1 to [`REPLICAS_MAX`].
    pub replicas: usize,
    /// The folder that the command is run in a copy of; usually the current one.
    pub folder: PathBuf,
    /// Whether each has a disk of its own.
    pub disk: Disk,
    /// A target that must respond below 500 before a replica counts as started.
    pub ready: Option<String>,
    /// Names of variables that hold a random value.
    pub env_per_replica: Vec<String>,
    /// Whether each has keys of its own.
    pub keys: Keys,
    /// A folder of the audit, which may already hold other fleets.
    pub root: PathBuf,
    /// How long a replica may take to start; see [`START_DEADLINE`].
    pub start_deadline: Duration,
}

/// Whose the disk is: `{dir}`, the copy of the folder, and `HOME`, `TMPDIR` and `XDG_*`, which lie below `{dir}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// Each replica has one.
    Own,
    /// All have the same. It is still a copy: nothing is written to the folder of the user.
    Shared,
}

/// Whose `{key}` and the values of [`Spawn::env_per_replica`] are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// Each replica has its own, kept over its restarts.
    PerReplica,
    /// All have the same.
    Shared,
}

/// The key with which a replica is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// The one that it had.
    Same,
    /// A new one, which it then keeps. The other replicas keep theirs, even if it was the same.
    Other,
}
