//! Every default in one place. `config/reference.toml` shows them with their reasons, and a test keeps it honest.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::model::{Eject, Level, Limits, Log, LogFormat, Queue, Retry, Timeouts};

/// Share of healthy endpoints below which a pool fails open, in percent.
pub(super) const FAIL_OPEN_BELOW: u8 = 50;
/// Time over which a new endpoint gets its full share.
pub(super) const SLOW_START: Duration = Duration::from_secs(10);
/// Weight of a backend.
pub(super) const WEIGHT: u16 = 1;
/// Address of the admin port.
pub(super) const ADMIN: &str = "127.0.0.1:9900";
/// Lines of the access log that may wait.
pub(super) const ACCESS_QUEUE: usize = 8192;
/// Health check: path, accepted statuses, interval, timeout, rise, fall.
pub(super) const HEALTH_PATH: &str = "/";
pub(super) const HEALTH_STATUS: (u16, u16) = (200, 399);
pub(super) const HEALTH_INTERVAL: Duration = Duration::from_secs(2);
pub(super) const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);
pub(super) const HEALTH_RISE: u32 = 2;
pub(super) const HEALTH_FALL: u32 = 3;

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tls_handshake: Duration::from_secs(10),
            request_head: Duration::from_secs(10),
            request_body: Duration::from_secs(30),
            connect: Duration::from_secs(2),
            response_head: Duration::from_secs(60),
            response_body: Duration::from_secs(60),
            client_write: Duration::from_secs(60),
            client_idle: Duration::from_secs(75),
            h2_ping: Duration::from_secs(20),
            upstream_idle: Duration::from_secs(4),
            tunnel_idle: Duration::from_secs(3600),
            tunnel: None,
            request: None,
            drain: Duration::from_secs(30),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 50_000,
            connections_per_address: None,
            request_head: 64 * 1024,
            request_fields: 100,
            h2_streams: 128,
            h2_window: 64 * 1024,
            request_body: None,
            replay: 64 * 1024,
            idle_per_endpoint: 256,
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: NonZeroUsize::new(3).expect("three is not zero"),
            attempt_timeout: None,
            on_status: Vec::new(),
            budget: 20,
            budget_per_second: 10,
        }
    }
}

impl Default for Eject {
    fn default() -> Self {
        Self { failures: 5, duration: Duration::from_secs(10), max_duration: Duration::from_secs(300), share: 50 }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self { size: 100, timeout: Duration::from_secs(1) }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: Level::Info, format: LogFormat::Auto, access: None }
    }
}
