//! Turns the signals to the process into orders.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What an operator can order a running instance to do.
#[derive(Debug)]
pub(crate) enum Order {
    Reload,
    ReopenLogs,
    Stop,
}

/// Receives SIGHUP, SIGUSR1, SIGTERM, SIGINT and SIGQUIT.
pub(crate) struct Signals {
    hangup: Signal,
    user1: Signal,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    /// Handles these signals from now on, so that they no longer end the process by themselves.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Waits for the next order by a signal; for ever without `signals`.
    pub(crate) async fn next(signals: Option<&mut Self>) -> Order {
        let Some(signals) = signals else { return std::future::pending().await };
        tokio::select! {
            _ = signals.hangup.recv() => Order::Reload,
            _ = signals.user1.recv() => Order::ReopenLogs,
            _ = signals.terminate.recv() => Order::Stop,
            _ = signals.interrupt.recv() => Order::Stop,
            _ = signals.quit.recv() => Order::Stop,
        }
    }
}
