//! How far an audit is: a line that changes on a terminal, a line for each part elsewhere.

use std::cell::{Cell, RefCell};
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use tokio::time::Instant;
use unstick_audit::course::Listener;

/// A terminal is written to no more often than this.
const PAUSE: Duration = Duration::from_millis(50);

/// See the module.
pub(super) struct Progress {
    is_terminal: bool,
    began: Instant,
    what: RefCell<String>,
    done: Cell<usize>,
    of: Cell<usize>,
    shown_at: Cell<Option<Instant>>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            is_terminal: io::stderr().is_terminal(),
            began: Instant::now(),
            what: RefCell::default(),
            done: Cell::new(0),
            of: Cell::new(0),
            shown_at: Cell::new(None),
        }
    }

    /// Nothing is left of it on a terminal.
    pub(super) fn end(&self) {
        if self.is_terminal {
            write!(io::stderr(), "\r\x1b[K").ok();
        }
    }

    fn show(&self) {
        let is_early = self.shown_at.get().is_some_and(|at| at.elapsed() < PAUSE);
        if !self.is_terminal || is_early {
            return;
        }
        self.shown_at.set(Some(Instant::now()));
        let count = match self.of.get() {
            0 => format!("{} runs", self.done.get()),
            of => format!("{} of {of}", self.done.get().min(of)),
        };
        // If nobody reads it, that is no reason to stop.
        write!(io::stderr(), "\r\x1b[K{:>4} s  {}: {count}", self.began.elapsed().as_secs(), self.what.borrow()).ok();
        io::stderr().flush().ok();
    }
}

impl Listener for Progress {
    fn begin(&self, what: &str, runs: usize) {
        let is_new = *self.what.borrow() != what;
        self.what.replace(what.to_owned());
        self.done.set(0);
        self.of.set(runs);
        self.shown_at.set(None);
        if !self.is_terminal && is_new {
            writeln!(io::stderr(), "{:>4} s  {what}", self.began.elapsed().as_secs()).ok();
        }
        self.show();
    }

    fn step(&self) {
        self.done.set(self.done.get() + 1);
        self.show();
    }
}
