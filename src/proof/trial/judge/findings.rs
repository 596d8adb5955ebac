//! What can be said of a history.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::trial::history::{Mark, Seen, State, Step};

/// A session guarantee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Guarantee {
    /// A read shows every write of the session that was acknowledged before.
    ReadYourWrites,
    /// A read shows whatever an earlier read of the session showed.
    MonotonicReads,
    /// A read that shows a write shows the session's earlier ones too, and before it.
    MonotonicWrites,
    /// A read that shows a write shows what its author had read before, and before it.
    WritesFollowReads,
}

impl Guarantee {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadYourWrites => "read your writes broken",
            Self::MonotonicReads => "monotonic reads broken",
            Self::MonotonicWrites => "monotonic writes broken",
            Self::WritesFollowReads => "writes follow reads broken",
        }
    }
}

/// All four, in the usual order.
pub const GUARANTEES: [Guarantee; 4] =
    [Guarantee::ReadYourWrites, Guarantee::MonotonicReads, Guarantee::MonotonicWrites, Guarantee::WritesFollowReads];

/// One line of a counterexample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Fact {
    /// What a user did.
    Step(Step),
    /// What a replica saw.
    Seen(Seen),
    /// What became of a replica, a proxy or the file.
    Mark(Mark),
    /// A figure in words.
    Note(String),
}

/// Facts in a counterexample at most.
pub const FACTS_MAX: usize = 4;

impl From<&Step> for Fact {
    fn from(step: &Step) -> Self {
        Self::Step(step.clone())
    }
}

impl From<&Seen> for Fact {
    fn from(seen: &Seen) -> Self {
        Self::Seen(seen.clone())
    }
}

impl From<&Mark> for Fact {
    fn from(mark: &Mark) -> Self {
        Self::Mark(mark.clone())
    }
}

/// How often something was found, and the facts that show the first few: at most [`FACTS_MAX`] each, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// How often it was found.
    pub count: u64,
    /// At most [`EXAMPLES_MAX`].
    pub examples: Vec<Vec<Fact>>,
}

/// What a [`Tally`] keeps.
pub const EXAMPLES_MAX: usize = 5;

impl Tally {
    pub(crate) fn add(&mut self, facts: impl IntoIterator<Item = Fact>) {
        self.count += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(facts.into_iter().take(FACTS_MAX).collect());
        }
    }

    /// The first example.
    pub fn example(&self) -> Option<&[Fact]> {
        self.examples.first().map(Vec::as_slice)
    }
}

/// How often something happened that must not, and how often it could have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Ratio {
    /// How often it could have happened.
    pub trials: u64,
    /// How often it did.
    pub hits: Tally,
}

/// What can be said of a history.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Findings {
    /// Sessions that were begun.
    pub sessions: u64,
    /// Sessions that a replica no longer knew, once each: the last step at which it was known, and the first at which
    /// it was not.
    pub lost: Tally,
    /// Incidents, and those within or after which a session was lost, until the next.
    pub incidents: (u64, u64),
    /// Requests in all.
    pub requests: u64,
    /// Requests that failed for the client.
    pub failed: Tally,
    /// Bare writes that failed while the replica or proxy that may have had them ended: whether they took effect nobody
    /// knows, so nobody may send them again. And whatever failed until a replica that responds 500 was found out.
    pub excused: Tally,
    /// Requests that failed after the clients' deadline, while the machine itself stood still for so long.
    pub late: Tally,
    /// Requests that replicas or proxies had under way when they were killed.
    pub in_flight: u64,
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Writes that took effect more than once: the write, and the read that shows it twice.
    pub doubled: Tally,
    /// Keyed writes that were sent again when they had been done, and those of them that met another replica.
    pub sent_again: (u64, u64),
    /// Requests without a key that must not be executed twice, and those that were.
    pub bare: Ratio,
    /// Requests with a key, and those that were executed more than once. That may happen where a replica dies.
    pub keyed: Ratio,
    /// Requests that arrived at a replica, and those that came with a key they had not, or without the one they had.
    pub changed: Ratio,
    /// Requests beside which no replica died, and those that arrived more often than their client had sent them.
    pub repeated: Ratio,
    /// Responses, and those that are not what a replica has sent.
    pub altered: Ratio,
    /// Responses in the name of a replica, and those of which that replica had no request.
    pub unheard: Ratio,
    /// Steps, and those that somebody has not written down.
    pub unwritten: Ratio,
    /// Requests that replicas had when they were taken out of the file, and those that failed.
    pub left: Ratio,
    /// Steps for which a connection was opened because the one that its client had kept was gone.
    pub reconnected: Tally,
    /// Requests sent while a replica was in a state in which it must get none, and those of them that it got.
    pub unwanted: BTreeMap<State, Ratio>,
    /// Seconds from an edit of the file until it was in force.
    pub edits_in_force: Vec<f64>,
    /// Broken guarantees, each at most once a session, in sessions that did one thing after the other.
    pub violations: BTreeMap<Guarantee, Tally>,
    /// Broken guarantees where sessions read and write what all share, each at most once a session.
    pub shared: BTreeMap<Guarantee, Tally>,
    /// Reads of what all share that show a write of another session, whose author had read somebody else's before; and
    /// those that lack what it had read, or show it later.
    pub follows: Ratio,
    /// Sessions that did one thing after the other.
    pub serial_sessions: u64,
    /// Broken guarantees in sessions that did two things at once.
    pub violations_at_once: BTreeMap<Guarantee, Tally>,
    /// Pairs of acknowledged writes of one session at the same time, and those of which the next read lacks one.
    pub pairs: Ratio,
    /// Responses of the wrong kind, or with values that the session never wrote.
    pub wrong: Tally,
    /// Sessions that were ended by their user.
    pub logouts: u64,
    /// Uses of a session after its logout that succeeded.
    pub reused: Tally,
    /// Requests that were sent again: on a new connection, or over another front.
    pub moved: Tally,
}
