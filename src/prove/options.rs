//! What `unstick prove` takes from the command line.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::arm::Arm;
use super::event::Event;

/// Ways to make the experiment fail. They show that it notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Replicas forget one session in a thousand.
    Forget,
    /// Replicas read from a cache that is up to 200 ms old.
    Stale,
    /// Replicas execute every write twice, key or not.
    Double,
    /// The proxy's file sends all requests for carts to one replica, even when it is dead.
    DeadReplica,
    /// The replicas of the memory arm share their sessions after all.
    SharedMemory,
}

impl Sabotage {
    /// All of them.
    const ALL: [Self; 5] = [Self::Forget, Self::Stale, Self::Double, Self::DeadReplica, Self::SharedMemory];

    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forget => "forget",
            Self::Stale => "stale",
            Self::Double => "double",
            Self::DeadReplica => "dead-replica",
            Self::SharedMemory => "shared-memory",
        }
    }
}

impl FromStr for Sabotage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        by_name("ways of sabotage", &Self::ALL, text)
    }
}

impl fmt::Display for Sabotage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One of `all` by its name; the error says which ones there are.
pub(super) fn by_name<T: Copy + fmt::Display>(what: &str, all: &[T], text: &str) -> Result<T, String> {
    all.iter().copied().find(|one| one.to_string() == text).ok_or_else(|| format!("the {what} are {}", names(all)))
}

/// All names, separated by commas.
pub fn names<T: fmt::Display>(all: &[T]) -> String {
    all.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// What `unstick prove` takes from the command line.
#[derive(Debug, Clone)]
pub struct Options {
    /// Everything random is drawn from this.
    pub seed: u64,
    /// Users at one time, in each arm.
    pub users: u32,
    /// Replicas at the beginning of most events.
    pub replicas: usize,
    /// How long all events take together, roughly.
    pub duration: Duration,
    /// Mean pause of a user between two steps.
    pub pause: Duration,
    /// Which arms. An arm whose store is missing is left out.
    pub arms: Vec<Arm>,
    /// Which events.
    pub events: Vec<Event>,
    /// A Redis to use instead of a private one.
    pub redis: Option<String>,
    /// Where everything is written as JSON.
    pub json: Option<PathBuf>,
    /// Where the report with charts is written.
    pub html: Option<PathBuf>,
    /// Whether the JSON contains every step.
    pub history: bool,
    /// Whether logs, config files and stores are kept.
    pub keep: bool,
    /// For tests of the experiment itself.
    pub sabotage: Option<Sabotage>,
}
