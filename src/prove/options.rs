//! What `unstick prove` takes from the command line.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::event::Event;

/// One way to keep sessions, with what stands in front of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// In the replica's memory; unstick in front.
    Memory,
    /// In the replica's memory; every user keeps to one replica, by the harness: unstick has no affinity to switch on.
    Sticky,
    /// In a signed token at the client.
    Jwt,
    /// In a SQLite file that the replicas share.
    Database,
    /// In a Redis that the replicas share.
    Redis,
}

/// All arms, in the order in which they are shown.
pub const ARMS: [Arm; 5] = [Arm::Memory, Arm::Sticky, Arm::Jwt, Arm::Database, Arm::Redis];

impl Arm {
    /// As it is written on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sticky => "memory+sticky",
            Self::Jwt => "jwt",
            Self::Database => "database",
            Self::Redis => "redis",
        }
    }

    /// Reads a name.
    ///
    /// # Errors
    /// Says which ones there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        ARMS.into_iter().find(|arm| arm.name() == text).ok_or_else(|| {
            let names: Vec<_> = ARMS.iter().map(|arm| arm.name()).collect();
            format!("the arms are {}", names.join(", "))
        })
    }

    /// Whether replicas keep nothing of a session.
    pub fn is_stateless(self) -> bool {
        matches!(self, Self::Jwt | Self::Database | Self::Redis)
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Ways to make the experiment fail, so that it can be seen to notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Replicas forget one session in a thousand.
    Forget,
    /// Replicas answer reads from a cache up to 200 ms old.
    Stale,
    /// Replicas execute every write twice, key or not.
    Double,
    /// The proxy's file sends all carts to one replica, also when it is dead.
    DeadReplica,
    /// The replicas of the memory arm share their sessions after all.
    SharedMemory,
}

/// All of them by name.
const SABOTAGES: [(&str, Sabotage); 5] = [
    ("forget", Sabotage::Forget),
    ("stale", Sabotage::Stale),
    ("double", Sabotage::Double),
    ("dead-replica", Sabotage::DeadReplica),
    ("shared-memory", Sabotage::SharedMemory),
];

impl Sabotage {
    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        SABOTAGES.iter().find(|(_, sabotage)| *sabotage == self).map_or("", |(name, _)| name)
    }

    /// Reads a name.
    ///
    /// # Errors
    /// Says which ones there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        let known = SABOTAGES.iter().find(|(name, _)| *name == text);
        known
            .map(|(_, sabotage)| *sabotage)
            .ok_or_else(|| format!("one of {}", SABOTAGES.map(|(name, _)| name).join(", ")))
    }
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
    /// Which arms; Redis is left out if there is none.
    pub arms: Vec<Arm>,
    /// Which events.
    pub events: Vec<Event>,
    /// A Redis to use instead of a private one.
    pub redis: Option<String>,
    /// Where everything is written as JSON.
    pub json: Option<PathBuf>,
    /// Where the report with charts is written.
    pub html: Option<PathBuf>,
    /// Whether every step stands in the JSON.
    pub history: bool,
    /// Whether logs, config files and stores stay for reading.
    pub keep: bool,
    /// For tests of the experiment itself.
    pub sabotage: Option<Sabotage>,
}
