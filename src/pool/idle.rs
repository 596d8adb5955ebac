//! How long an unused connection to an endpoint can be relied on.
//!
//! The commonest failure of a proxy: the replica closes an idle connection at the moment at which the next request is
//! sent over it. So this side must close first. It learns the time limit of the replica from three sources: the config
//! has a guess, the replica may announce it (`Keep-Alive: timeout=`), and every close that is observed shortens it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::clock::since_epoch_ns;
use tokio::time::Instant;

/// A close before this age teaches nothing. Connections that young close because their replica ended.
const LEARNED_LEAST: Duration = Duration::from_millis(100);
/// How long an observed close counts.
const REMEMBERED: Duration = Duration::from_secs(600);
/// The part of an observed age that is relied on, in percent. The next close may come a little earlier.
const TRUSTED_PERCENT: u32 = 80;
/// The most that is taken off an announced time, to allow for messages that are in transit.
const MARGIN_MOST: Duration = Duration::from_secs(1);

/// The idle limit of one endpoint, as learned so far. Workers may overwrite each other's values; none is better than
/// another.
#[derive(Debug)]
pub struct IdleLimit {
    /// Nanoseconds; `u64::MAX` if nothing was announced.
    announced_ns: AtomicU64,
    /// Nanoseconds, from observed closes; `u64::MAX` if none was observed.
    observed_ns: AtomicU64,
    /// When the last close was observed, in the unit of [`since_epoch_ns`].
    observed_at_ns: AtomicU64,
}

impl Default for IdleLimit {
    fn default() -> Self {
        let never = || AtomicU64::new(u64::MAX);
        Self { announced_ns: never(), observed_ns: never(), observed_at_ns: AtomicU64::new(0) }
    }
}

impl IdleLimit {
    /// Records the `timeout` parameter of the `Keep-Alive` field of a response (RFC 2068 section 19.7.1.1).
    pub fn announced(&self, timeout: Duration) {
        let margin = (timeout / 5).min(MARGIN_MOST);
        self.announced_ns.store(as_ns(timeout - margin), Relaxed);
    }

    /// Records that the endpoint closed a connection which had been unused for `age`, or somewhat less.
    pub fn observed(&self, age: Duration, now: Instant) {
        if age < LEARNED_LEAST {
            return;
        }
        let trusted = as_ns(age * TRUSTED_PERCENT / 100);
        self.observed_ns.store(trusted.min(self.remembered_ns(since_epoch_ns(now))), Relaxed);
        self.observed_at_ns.store(since_epoch_ns(now), Relaxed);
    }

    /// How long an unused connection may be kept. Never longer than `configured`.
    pub fn at_most(&self, configured: Duration, now: Instant) -> Duration {
        let observed = self.observed_ns.load(Relaxed);
        let observed = if observed == u64::MAX { observed } else { self.remembered_ns(since_epoch_ns(now)) };
        configured.min(Duration::from_nanos(observed.min(self.announced_ns.load(Relaxed))))
    }

    fn remembered_ns(&self, now_ns: u64) -> u64 {
        let age_ns = now_ns.saturating_sub(self.observed_at_ns.load(Relaxed));
        if age_ns < as_ns(REMEMBERED) { self.observed_ns.load(Relaxed) } else { u64::MAX }
    }
}

fn as_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The `timeout` parameter of a `Keep-Alive` field in whole seconds; `None` if it is missing or not a number.
pub fn keep_alive_timeout(field: &[u8]) -> Option<Duration> {
    let parameters = std::str::from_utf8(field).ok()?.split(',');
    let mut pairs = parameters.filter_map(|parameter| parameter.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))?;
    Some(Duration::from_secs(value.trim().parse::<u32>().ok()?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURED: Duration = Duration::from_secs(4);

    #[test]
    fn the_shortest_of_config_announcement_and_observation_counts() {
        let (limit, now) = (IdleLimit::default(), Instant::now());
        assert_eq!(limit.at_most(CONFIGURED, now), CONFIGURED);
        limit.announced(Duration::from_secs(60));
        assert_eq!(limit.at_most(CONFIGURED, now), CONFIGURED);
        limit.announced(Duration::from_secs(2));
        assert_eq!(limit.at_most(CONFIGURED, now), Duration::from_millis(1600));
        limit.observed(Duration::from_secs(1), now);
        assert_eq!(limit.at_most(CONFIGURED, now), Duration::from_millis(800));
        limit.observed(Duration::from_secs(3), now);
        assert_eq!(limit.at_most(CONFIGURED, now), Duration::from_millis(800), "the shortest is remembered");
        limit.observed(Duration::from_millis(20), now);
        assert_eq!(limit.at_most(CONFIGURED, now), Duration::from_millis(800), "a crash teaches nothing");
        let later = now + REMEMBERED;
        assert_eq!(limit.at_most(CONFIGURED, later), Duration::from_millis(1600), "but not for ever");
    }

    #[test]
    fn timeouts_are_read_from_the_field() {
        for (field, seconds) in [
            (&b"timeout=5"[..], Some(5)),
            (b"max=100, Timeout = 15", Some(15)),
            (b"timeout=0", Some(0)),
            (b"timeout=-1", None),
            (b"timeout=99999999999", None),
            (b"max=3", None),
            (b"\xff", None),
        ] {
            assert_eq!(keep_alive_timeout(field), seconds.map(Duration::from_secs), "{field:?}");
        }
    }
}
