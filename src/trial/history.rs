//! What happened, in the order in which it became known. What it means is judged in [`super::judge`].

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

/// What a write puts down: different for every write of a run.
pub type Value = u64;

/// Kind of a write, as a verb for people: "checks out". The application decides which kinds there are.
pub type Kind = &'static str;

/// Number of a session: of one user from one login on.
pub type SessionId = u32;

/// What a user did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Begins a session.
    Login,
    /// Asks for everything written so far.
    Read,
    /// Adds a value to what the session has written.
    Write {
        /// The kind of write.
        kind: Kind,
        /// The value.
        value: Value,
    },
    /// Ends the session.
    Logout,
    /// Reads with what the client kept of the session before the logout, as a thief would.
    Reuse,
}

impl Action {
    /// The value it writes.
    pub fn value(self) -> Option<Value> {
        match self {
            Self::Write { value, .. } => Some(value),
            Self::Login | Self::Read | Self::Logout | Self::Reuse => None,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The session it belongs to.
    pub session: SessionId,
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
}

/// Something that happened to the replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Incident {
    /// When it began, since the beginning.
    pub at: Duration,
    /// When it was complete.
    pub done: Duration,
    /// What it was, for people.
    pub what: String,
}

/// Everything that happened in one experiment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct History {
    /// What users did, by the end of the response.
    pub steps: Vec<Step>,
    /// What happened to the replicas.
    pub incidents: Vec<Incident>,
}

/// A history that is being written, and its clock.
#[derive(Debug, Clone)]
pub struct Recorder {
    began: Instant,
    history: Rc<RefCell<History>>,
}

impl Recorder {
    /// An empty history that begins now.
    pub fn begin() -> Self {
        Self { began: Instant::now(), history: Rc::default() }
    }

    /// Time since the beginning.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// The moment that is `since` after the beginning.
    pub fn at(&self, since: Duration) -> Instant {
        self.began + since
    }

    /// Writes a step down.
    pub fn step(&self, step: Step) {
        self.history.borrow_mut().steps.push(step);
    }

    /// Writes an incident down.
    pub fn incident(&self, incident: Incident) {
        self.history.borrow_mut().incidents.push(incident);
    }

    /// How many steps were written down.
    pub fn len(&self) -> usize {
        self.history.borrow().steps.len()
    }

    /// Whether nothing was written down.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was written down.
    pub fn into_history(self) -> History {
        self.history.take()
    }
}
