//! What can be said of a history.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::trial::history::{SessionId, Step, Value};

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

/// A broken guarantee and the steps that show it: two to four of one session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The guarantee.
    pub guarantee: Guarantee,
    /// The fewest steps that show it, in order.
    pub counterexample: Vec<Step>,
}

/// A session that a replica did not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// The session.
    pub session: SessionId,
    /// The last step at which it was known, and the first at which it was not.
    pub counterexample: Vec<Step>,
    /// When that was noticed.
    pub at: Duration,
}

/// A write that took effect more than once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Doubled {
    /// What was written.
    pub value: Value,
    /// The write and the read that shows it twice.
    pub counterexample: Vec<Step>,
}

/// How often something was found, and the first few of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tally<T> {
    /// How often it was found.
    pub count: u64,
    /// At most [`EXAMPLES_MAX`].
    pub examples: Vec<T>,
}

/// What a [`Tally`] keeps.
pub const EXAMPLES_MAX: usize = 5;

impl<T> Default for Tally<T> {
    fn default() -> Self {
        Self { count: 0, examples: Vec::new() }
    }
}

impl<T> Tally<T> {
    pub(super) fn add(&mut self, found: T) {
        self.count += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(found);
        }
    }
}

/// What can be said of a history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Sessions that were begun.
    pub sessions: u64,
    /// Sessions that a replica no longer knew, once each.
    pub lost: Tally<Lost>,
    /// Requests in all.
    pub requests: u64,
    /// Requests that failed for the client.
    pub failed: Tally<Step>,
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Writes that took effect more than once.
    pub doubled: Tally<Doubled>,
    /// Broken guarantees, each at most once a session.
    pub violations: BTreeMap<Guarantee, Tally<Violation>>,
    /// Responses of the wrong kind, or with values that the session never wrote.
    pub wrong: Tally<Step>,
    /// Sessions that were ended by their user.
    pub logouts: u64,
    /// Uses of a session after its logout that succeeded.
    pub reused: Tally<Step>,
    /// Requests that were sent again: on a new connection, or over another front.
    pub moved: u64,
}
