//! `[timeouts]` and `[limits]` of the file.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::key::{Key, keys};
use super::kinds::{Number, Size, Time};
use super::model::{Limits, Timeouts};

/// No wait lasts longer than a day.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);
pub(super) const SOME_TIME: RangeInclusive<Duration> = Duration::from_millis(1)..=DURATION_MAX;
pub(super) const ANY_TIME: RangeInclusive<Duration> = Duration::ZERO..=DURATION_MAX;

/// The most bytes of a request body that are kept.
pub(super) const REPLAY_MAX: u64 = 16 << 20;

/// Every key of `[timeouts]`.
pub(super) const TIMEOUTS: &[Key<Timeouts>] = keys!(Timeouts {
    tls_handshake: Time(SOME_TIME),
    request_head: Time(SOME_TIME),
    request_body: Time(SOME_TIME),
    half_closed: Time(ANY_TIME),
    connect: Time(SOME_TIME),
    response_head: Time(SOME_TIME),
    response_body: Time(SOME_TIME),
    client_write: Time(SOME_TIME),
    client_idle: Time(SOME_TIME),
    h2_ping: Time(SOME_TIME),
    upstream_h2_ping: Time(ANY_TIME),
    upstream_idle: Time(SOME_TIME),
    tunnel_idle: Time(SOME_TIME),
    tunnel: Time(ANY_TIME),
    request: Time(ANY_TIME),
    shutdown_delay: Time(ANY_TIME),
    drain: Time(ANY_TIME),
    drain_idle: Time(ANY_TIME),
    upgrade: Time(SOME_TIME),
});

/// Every key of `[limits]`.
pub(super) const LIMITS: &[Key<Limits>] = keys!(Limits {
    connections: Number(0..=10_000_000),
    connections_per_address: Number(0..=10_000_000),
    request_head: Size(8 << 10..=1 << 20),
    h2_streams: Number(0..=10_000),
    h2_window: Size(16 << 10..=16 << 20),
    request_fields: Number(1..=10_000),
    request_body: Size(0..=u64::MAX),
    replay: Size(0..=REPLAY_MAX),
    idle_per_endpoint: Number(0..=100_000),
});
