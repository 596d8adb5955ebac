//! Turns the signals to the process into orders.

use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::ask::Ask;

/// What an operator can order a running instance to do.
#[derive(Debug)]
pub(crate) enum Order {
    Reload,
    /// What somebody asks for over the admin port.
    Ask(Ask),
    /// Start a successor, which takes over.
    Upgrade,
    ReopenLogs,
    Stop(Stop),
}

/// How a stop was ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// By SIGTERM or SIGQUIT: a supervisor stops the process. Balancers in front send on until they notice.
    Announced,
    /// By SIGINT: a person at a terminal waits for the end.
    Prompt,
}

/// Receives the signals to the process.
#[derive(Debug)]
pub struct Signals {
    hangup: Signal,
    user1: Signal,
    user2: Signal,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    /// The default of these is to end the process, and they mean nothing here. Some supervisors and scripts send them
    /// to every server that they know.
    ignored: [(&'static str, Signal); 2],
}

impl Signals {
    /// Handles all signals from now on, so that they no longer end the process by themselves. What arrives before an
    /// instance runs is kept for it, once per signal.
    ///
    /// # Errors
    /// The system refuses a handler.
    pub fn hear() -> std::io::Result<Self> {
        // Handlers belong to the process, and need a runtime only while they are made.
        let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
        let within = runtime.enter();
        let signals = Self::new();
        drop(within);
        runtime.shutdown_background();
        signals
    }

    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            ignored: [("SIGALRM", signal(SignalKind::alarm())?), ("SIGIO", signal(SignalKind::io())?)],
        })
    }

    /// Waits for the next order by a signal; for ever without `signals`.
    pub(crate) async fn next(signals: Option<&mut Self>) -> Order {
        let Some(signals) = signals else { return std::future::pending().await };
        loop {
            let [alarm, io] = &mut signals.ignored;
            let ignored = tokio::select! {
                _ = signals.hangup.recv() => return Order::Reload,
                _ = signals.user1.recv() => return Order::ReopenLogs,
                _ = signals.user2.recv() => return Order::Upgrade,
                _ = signals.terminate.recv() => return Order::Stop(Stop::Announced),
                _ = signals.interrupt.recv() => return Order::Stop(Stop::Prompt),
                _ = signals.quit.recv() => return Order::Stop(Stop::Announced),
                _ = alarm.1.recv() => alarm.0,
                _ = io.1.recv() => io.0,
            };
            tracing::info!("{ignored} has no meaning here and is ignored");
        }
    }

    /// Waits for a signal to stop; for ever without `signals`. Other signals are kept for [`Self::next`].
    pub(crate) async fn stop(signals: Option<&mut Self>) -> Stop {
        let Some(signals) = signals else { return std::future::pending().await };
        tokio::select! {
            _ = signals.terminate.recv() => Stop::Announced,
            _ = signals.interrupt.recv() => Stop::Prompt,
            _ = signals.quit.recv() => Stop::Announced,
        }
    }
}
