//! What clients ordered, and what they were told of it.

use std::time::Duration;

use serde::Serialize;

use super::desk::State;

/// One order of a client, however often it was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Job {
    pub(super) key: String,
    pub(super) number: u64,
    /// Each response that accepted it.
    pub(super) accepted: Vec<Accepted>,
    /// Why nobody accepted it in time.
    pub(super) refused: Option<String>,
    /// Each response to a question for its report.
    pub(super) asked: Vec<Asked>,
}

/// An order was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Accepted {
    pub(super) at: Duration,
    pub(super) replica: String,
    pub(super) id: String,
}

/// What a replica said of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Asked {
    pub(super) at: Duration,
    pub(super) replica: String,
    pub(super) state: State,
}

/// What happened to a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Kill {
    pub(super) at: Duration,
    pub(super) replica: String,
    /// What it held: the keys of orders that had just come, and the ids of those that its workers had.
    pub(super) requests: Vec<String>,
    pub(super) orders: Vec<String>,
}

impl Job {
    /// Its id, as the first response said it.
    pub(super) fn id(&self) -> Option<&str> {
        self.accepted.first().map(|accepted| accepted.id.as_str())
    }

    /// Whether somebody has said that the report is ready.
    pub(super) fn is_done(&self) -> bool {
        self.asked.iter().any(|asked| matches!(asked.state, State::Ready(_)))
    }
}
