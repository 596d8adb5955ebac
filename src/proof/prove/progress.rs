//! How far a run is: a bar on a terminal, a line per event elsewhere.

use std::io::Write as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// See the module.
pub(super) struct Progress {
    bar: ProgressBar,
    is_hidden: bool,
}

impl Progress {
    pub(super) fn new(steps: u64) -> Self {
        let bar = ProgressBar::new(steps);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        let is_hidden = bar.is_hidden();
        Self { bar, is_hidden }
    }

    pub(super) fn begin(&self, what: &str) {
        if !self.bar.message().is_empty() {
            self.bar.inc(1);
        }
        self.bar.set_message(what.to_owned());
        if self.is_hidden {
            let (place, all) = (self.bar.position() + 1, self.bar.length().unwrap_or_default());
            // If nobody reads it, that is no reason to stop.
            let _ = writeln!(std::io::stderr(), "{what} ({place}/{all})");
        }
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
