//! What the service manager is told, by the protocol of sd_notify(3).
//!
//! Written here, because it is one datagram: the crate `sd-notify` (0.5) knows no abstract addresses, and blocks while
//! nobody reads.

use std::cell::Cell;
use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The most bytes of a status.
const STATUS_MAX: usize = 256;

/// The service manager of this process.
#[derive(Debug, Default)]
pub struct Supervisor {
    channel: Option<Channel>,
    /// How long it may hear nothing until it takes this process for hung.
    patience: Option<Duration>,
    /// Whether it waits for the end of a reload.
    is_reloading: Cell<bool>,
    /// Whether the service is another process now, which speaks for itself.
    is_left: Cell<bool>,
}

#[derive(Debug)]
struct Channel {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Supervisor {
    /// The service manager that the environment names.
    pub fn of_environment() -> Self {
        let channel = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()).and_then(|name| {
            let warn = |error: &io::Error| tracing::warn!("NOTIFY_SOCKET={} is not usable: {error}", name.display());
            Channel::to(&name).inspect_err(warn).ok()
        });
        let own = std::process::id();
        let patience =
            watchdog(env::var("WATCHDOG_USEC").ok().as_deref(), env::var("WATCHDOG_PID").ok().as_deref(), own);
        Self { patience: patience.filter(|_| channel.is_some()), channel, ..Self::default() }
    }

    /// How long it may hear nothing, if that matters to it.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.patience
    }

    /// Everything is in use from now on.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&[("READY", "1"), ("STATUS", &line(status))]);
    }

    /// A reload has begun that it has asked for, or somebody else.
    pub(super) fn reloading(&self) {
        if self.channel.is_some() {
            self.is_reloading.set(true);
            self.tell(&[("RELOADING", "1"), ("MONOTONIC_USEC", &monotonic_us().to_string())]);
        }
    }

    /// No reload is under way any more.
    pub(super) fn reloaded(&self) {
        if self.is_reloading.replace(false) {
            self.tell(&[("READY", "1")]);
        }
    }

    /// Says what goes on.
    pub(super) fn status(&self, status: &str) {
        self.tell(&[("STATUS", &line(status))]);
    }

    /// This process stops, which may take so long.
    pub(super) fn stopping(&self, within: Duration) {
        let status = format!("stopping: running requests are finished within {within:?}");
        self.tell(&[("STOPPING", "1"), ("EXTEND_TIMEOUT_USEC", &within.as_micros().to_string()), ("STATUS", &status)]);
    }

    /// All is well.
    pub(super) fn is_well(&self) {
        self.tell(&[("WATCHDOG", "1")]);
    }

    /// The service is another process from now on. Nothing is said for it here any more.
    pub(super) fn leave_to(&self, process: u32) {
        let status = format!("upgraded: process {process} serves");
        self.tell(&[("MAINPID", &process.to_string()), ("READY", "1"), ("STATUS", &status)]);
        self.is_left.set(true);
    }

    fn tell(&self, what: &[(&str, &str)]) {
        let Some(channel) = self.channel.as_ref().filter(|_| !self.is_left.get()) else { return };
        let text: String = what.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        if let Err(error) = channel.socket.send_to_addr(text.as_bytes(), &channel.address) {
            tracing::debug!("the service manager was not told {:?}: {error}", what.first());
        }
    }
}

impl Channel {
    /// A channel to this address: a path, or a name behind `@`.
    fn to(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_encoded_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        // Whoever does not read must not hold us up.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address })
    }
}

/// How long process `own` may say nothing, by sd_watchdog_enabled(3).
fn watchdog(us: Option<&str>, process: Option<&str>, own: u32) -> Option<Duration> {
    let is_ours = process.is_none_or(|process| process.parse() == Ok(own));
    us.filter(|_| is_ours)?.parse().ok().filter(|us| *us > 0).map(Duration::from_micros)
}

/// One line of bounded length.
fn line(status: &str) -> String {
    let line: String = status.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let end = line.char_indices().map(|(at, _)| at).find(|at| *at >= STATUS_MAX).unwrap_or(line.len());
    line.get(..end).unwrap_or_default().to_owned()
}

/// The clock by which a service manager knows whether a reload began after it has asked for it.
fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1_000_000).saturating_add(u64::try_from(now.tv_nsec / 1000).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_for_the_process_that_it_names() {
        let second = Some(Duration::from_secs(1));
        for (us, process, expected) in [
            (Some("1000000"), None, second),
            (Some("1000000"), Some("7"), second),
            (Some("1000000"), Some("8"), None),
            (Some("1000000"), Some("x"), None),
            (Some("0"), None, None),
            (Some("-1"), None, None),
            (None, Some("7"), None),
        ] {
            assert_eq!(watchdog(us, process, 7), expected, "{us:?} {process:?}");
        }
    }

    #[test]
    fn a_status_is_one_short_line() {
        assert_eq!(line("two\nlines"), "two lines");
        assert_eq!(line(&"é".repeat(STATUS_MAX)).len(), STATUS_MAX);
    }

    #[test]
    fn nobody_who_does_not_read_holds_us_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _reader = UnixDatagram::bind(&path).unwrap();
        let supervisor = Supervisor { channel: Channel::to(path.as_os_str()).ok(), ..Supervisor::default() };
        assert!(supervisor.channel.is_some());
        (0..10_000).for_each(|_| supervisor.is_well());
    }
}
