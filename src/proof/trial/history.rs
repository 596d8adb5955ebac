//! What happened, in the order in which it became known. What it means is judged in [`super::judge`].

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::pairs::Played;

/// What a write puts down: different for every write of a run.
pub type Value = u64;

/// Kind of a write, as a verb for people: "checks out". The application decides which kinds there are.
pub type Kind = &'static str;

/// Number of a session: of one user from one login on.
pub type SessionId = u32;

/// A kind that was written down: those of an old run live as long as the process.
fn kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
    String::deserialize(deserializer).map(|text| &*text.leak())
}

/// What a user did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Begins a session.
    Login,
    /// Asks for everything written so far.
    Read,
    /// Adds a value to what the session has written.
    Write {
        /// The kind of write.
        #[serde(deserialize_with = "kind")]
        kind: Kind,
        /// The value.
        value: Value,
        /// Whether it bears a key, so that it may be sent again.
        is_keyed: bool,
    },
    /// Sends a keyed write that was acknowledged once more, as it was.
    Again {
        /// The kind of write.
        #[serde(deserialize_with = "kind")]
        kind: Kind,
        /// The value.
        value: Value,
    },
    /// Asks for everything in an object that all users share.
    Look {
        /// Its number.
        object: u32,
    },
    /// Adds a value to it, without a key.
    Post {
        /// Its number.
        object: u32,
        /// The value.
        value: Value,
    },
    /// Ends the session.
    Logout,
    /// Reads with what the client kept of the session before the logout, as a thief would.
    Reuse,
}

impl Action {
    /// The value it adds to what the session has written.
    pub fn value(self) -> Option<Value> {
        match self {
            Self::Write { value, .. } => Some(value),
            Self::Login | Self::Read | Self::Again { .. } | Self::Logout | Self::Reuse => None,
            Self::Look { .. } | Self::Post { .. } => None,
        }
    }

    /// Whether it must not be sent again once it may have arrived.
    pub fn is_bare(self) -> bool {
        matches!(self, Self::Write { is_keyed: false, .. } | Self::Post { .. })
    }

    /// Whether its request bears a key.
    pub fn bears_key(self) -> bool {
        !matches!(self, Self::Read | Self::Reuse | Self::Look { .. }) && !self.is_bare()
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// The replica did it.
    Done,
    /// The replica returned these values, in its order.
    Values(Arc<[Value]>),
    /// The replica does not know the session.
    Forgotten,
    /// No response, or one that says the step failed: why.
    Failed(String),
}

/// One step of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The session it belongs to.
    pub session: SessionId,
    /// Which step of the session it is; replicas are told.
    pub number: u32,
    /// The user who did it.
    pub user: u32,
    /// What was done.
    pub action: Action,
    /// When, since the beginning.
    pub sent: Duration,
    /// When the response ended, or the step failed.
    pub ended: Duration,
    /// The replica that responded.
    pub replica: Option<Arc<str>>,
    /// What came of it.
    pub outcome: StepOutcome,
    /// How often it was sent: more than once if a connection was closed, or a front broke off.
    pub tries: u32,
    /// Bytes of session state that travelled with the request.
    pub state_bytes: u32,
    /// Round trips that the replica made to a store for it.
    pub store_trips: u32,
    /// Whether the response is not what the replica has sent.
    #[serde(default)]
    pub is_altered: bool,
    /// Whether the connection that its client had kept was gone, so that another one was opened.
    #[serde(default)]
    pub is_reconnected: bool,
}

impl Step {
    /// Whether it was over before the other one was begun.
    pub fn precedes(&self, other: &Self) -> bool {
        self.ended <= other.sent
    }

    /// Whether it was under way at any moment of a time.
    pub fn meets(&self, (from, to): (Duration, Duration)) -> bool {
        self.sent <= to && self.ended >= from
    }
}

/// How far a request got at a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It arrived whole.
    Arrived,
    /// What it asks for was done.
    Executed,
}

/// What a replica wrote down of a request. It is on disk before the replica goes on, so a kill loses none of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// When, since the beginning.
    pub at: Duration,
    /// Which replica.
    pub replica: Arc<str>,
    /// How far the request got.
    pub stage: Stage,
    /// The session and the number of the step, as the request says.
    pub step: (SessionId, u32),
    /// Whether it bore a key.
    pub has_key: bool,
    /// Whether it is not what the client has sent.
    #[serde(default)]
    pub is_altered: bool,
}

/// What a replica, a proxy or the file between has become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The file says something new.
    Edited,
    /// The proxies say that the latest edit is in force.
    InForce,
    /// It gets no new request, as the proxies say.
    Draining,
    /// It is not in the file any more, as the proxies say.
    Out,
    /// Its end begins: it holds responses back, or is about to be killed.
    Ending,
    /// It takes its time, so that it has requests when it leaves.
    Lingering,
    /// It is dead.
    Killed,
    /// It says that it wants no requests.
    Sick,
    /// It wants requests again.
    Well,
    /// Its process stands still.
    Stopped,
    /// Its process goes on.
    Continued,
    /// It accepts requests and does not respond.
    Mute,
    /// It responds to everything that it cannot.
    Erring,
    /// It cannot reach its store, and says so.
    CutOff,
    /// Replicas learn one by one that they are to seal with another key.
    Rekeying,
    /// All of them do.
    Rekeyed,
    /// It has everything that its primary had at that time.
    CaughtUp,
    /// It learns nothing more of its primary.
    HeldBack,
    /// It is about to be killed.
    Failing,
    /// It takes the place of its primary.
    Promoted,
}

/// A change of state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// When it was complete, since the beginning.
    pub at: Duration,
    /// The replica or proxy; empty: the file.
    pub whose: Arc<str>,
    /// What it has become.
    pub state: State,
    /// Requests that it had under way, where that was counted.
    pub in_flight: u32,
}

/// Something that happened to the replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// When it began, since the beginning.
    pub at: Duration,
    /// When it was complete.
    pub done: Duration,
    /// What it was, for people.
    pub what: String,
}

/// Something that was counted beside what users did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// What it is, in words.
    pub what: String,
    /// How often it was so.
    pub hits: u64,
    /// How often it could have been.
    pub trials: u64,
}

/// Everything that happened in one experiment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// What users did, by the end of the response.
    pub steps: Vec<Step>,
    /// What happened to the replicas.
    pub incidents: Vec<Incident>,
    /// What became of replicas, proxies and the file.
    pub marks: Vec<Mark>,
    /// What replicas saw, by time.
    pub seen: Vec<Seen>,
    /// The replicas that were there at the beginning.
    pub replicas: Vec<Arc<str>>,
    /// How long a request took that met neither a proxy nor load, and when it was sent: what the machine itself costs.
    pub beats: Vec<(Duration, Duration)>,
    /// When each replica was probed.
    #[serde(default)]
    pub probes: Vec<(Duration, Arc<str>)>,
    /// Journeys that were played in several placements.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pairs: Vec<Played>,
    /// What was counted beside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<Count>,
}

impl History {
    /// When a replica got into a state for the first time.
    pub fn first(&self, whose: &str, state: State) -> Option<Duration> {
        self.of(state).find(|mark| *mark.whose == *whose).map(|mark| mark.at)
    }

    /// What was counted under these words, and of how many.
    pub fn count(&self, what: &str) -> Option<(u64, u64)> {
        self.counts.iter().find(|count| count.what == what).map(|count| (count.hits, count.trials))
    }

    /// The longest time that the machine itself took for a request within a time.
    pub fn longest_beat(&self, (from, to): (Duration, Duration)) -> Duration {
        // They are in order, and follow one another.
        let first = self.beats.partition_point(|(sent, took)| *sent + *took < from);
        let within = self.beats[first..].iter().take_while(|(sent, _)| *sent <= to);
        within.map(|(_, took)| *took).max().unwrap_or_default()
    }

    /// All changes to a state.
    pub fn of(&self, state: State) -> impl Iterator<Item = &Mark> {
        self.marks.iter().filter(move |mark| mark.state == state)
    }
}
