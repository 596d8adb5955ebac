//! A history while it is written.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::history::{Count, History, Incident, Mark, Seen, State, Step};
use super::pairs::Played;

/// A history that is being written, and its clock.
#[derive(Debug, Clone)]
pub struct Recorder {
    began: Instant,
    /// The same moment as other processes know it.
    began_at: SystemTime,
    history: Rc<RefCell<History>>,
}

impl Recorder {
    /// An empty history that begins now.
    pub fn begin() -> Self {
        Self { began: Instant::now(), began_at: SystemTime::now(), history: Rc::default() }
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

    /// Writes down what something has become, now.
    pub fn mark(&self, whose: &str, state: State, in_flight: u32) {
        let mark = Mark { at: self.now(), whose: whose.into(), state, in_flight };
        self.history.borrow_mut().marks.push(mark);
    }

    /// Writes down what replicas saw. Their times are those of the system's clock.
    pub fn seen(&self, seen: impl IntoIterator<Item = (SystemTime, Seen)>) {
        let mut history = self.history.borrow_mut();
        for (at, seen) in seen {
            let at = at.duration_since(self.began_at).unwrap_or_default();
            history.seen.push(Seen { at, ..seen });
        }
        history.seen.sort_by_key(|seen| seen.at);
    }

    /// Writes down when a replica was probed, by the system's clock; what was before the beginning is left out.
    pub fn probes(&self, replica: &Arc<str>, times: impl IntoIterator<Item = SystemTime>) {
        let since = times.into_iter().filter_map(|at| at.duration_since(self.began_at).ok());
        self.history.borrow_mut().probes.extend(since.map(|at| (at, Arc::clone(replica))));
    }

    /// Writes down how long a request took that met neither a proxy nor load.
    pub fn beat(&self, sent: Duration) {
        self.history.borrow_mut().beats.push((sent, self.now() - sent));
    }

    /// Writes down a journey that was played in several placements.
    pub fn played(&self, played: Played) {
        self.history.borrow_mut().pairs.push(played);
    }

    /// Writes down what was counted beside what users did.
    pub fn count(&self, what: &str, hits: u64, trials: u64) {
        self.history.borrow_mut().counts.push(Count { what: what.to_owned(), hits, trials });
    }

    /// Writes down the replicas that are there at the beginning.
    pub fn replicas(&self, names: Vec<Arc<str>>) {
        self.history.borrow_mut().replicas = names;
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
