//! The signals that end the demo.

use std::io::Write as _;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Why the demo ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// By a signal that the proxy sees too.
    Asked,
    /// By the end of its terminal; the proxy takes that signal for a wish to reload.
    TerminalLost,
}

/// The signals that end the demo.
pub(super) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
    hangup: Signal,
}

impl StopSignals {
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Cancel safe.
    pub(super) async fn recv(&mut self) -> Stop {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return Stop::Asked,
                _ = self.terminate.recv() => return Stop::Asked,
                _ = self.quit.recv() => return Stop::Asked,
                // To the proxy this means reload. But a terminal that was closed sends it too, and can then no longer
                // be written to. That must end the demo, or it would go on unseen.
                _ = self.hangup.recv() => if writeln!(std::io::stdout(), "SIGHUP: the file is read again").is_err() {
                    return Stop::TerminalLost;
                },
            }
        }
    }
}
