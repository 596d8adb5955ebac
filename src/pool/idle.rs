//! How long an unused connection to an endpoint may be trusted.
//!
//! The commonest failure of all proxies: the replica closes an idle connection at the moment at which the next request is
//! sent over it. So connections are closed on our side first, before the replica does. When that is, the config says as a
//! guess, the replica may say (`Keep-Alive: timeout=`), and what is left shows: each close that is observed shortens the time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::clock::since_epoch_ns;
use tokio::time::Instant;

/// Closes before this age teach nothing: so young are connections that die with their replica.
const LEARNED_LEAST: Duration = Duration::from_millis(100);
/// How long an observed close is remembered.
const REMEMBERED: Duration = Duration::from_secs(600);
/// What is taken of an observed age, in percent: the next close may come a little earlier.
const TRUSTED_PERCENT: u32 = 80;
/// What is taken off an announced time at most: messages are under way for a while.
const MARGIN_MOST: Duration = Duration::from_secs(1);

/// What an endpoint has taught of its patience. Workers may overwrite each other's lessons; each is as good as the other.
#[derive(Debug)]
pub struct IdleLimit {
    /// Nanoseconds, `u64::MAX` when nothing was said.
    announced_ns: AtomicU64,
    /// The same, from observed closes.
    observed_ns: AtomicU64,
    /// When the last close was observed, as [`since_epoch_ns`] counts.
    observed_at_ns: AtomicU64,
}

impl Default for IdleLimit {
    fn default() -> Self {
        let never = || AtomicU64::new(u64::MAX);
        Self { announced_ns: never(), observed_ns: never(), observed_at_ns: AtomicU64::new(0) }
    }
}

impl IdleLimit {
    /// Takes in the `timeout` parameter of an answer's `Keep-Alive` field (RFC 2068 section 19.7.1.1).
    pub fn announced(&self, timeout: Duration) {
        let margin = (timeout / 5).min(MARGIN_MOST);
        self.announced_ns.store(as_ns(timeout - margin), Relaxed);
    }

    /// Takes in that the endpoint closed a connection that was unused for `age`, or somewhat less.
    pub fn observed(&self, age: Duration, now: Instant) {
        if age < LEARNED_LEAST {
            return;
        }
        let trusted = as_ns(age * TRUSTED_PERCENT / 100);
        self.observed_ns.store(trusted.min(self.remembered_ns(since_epoch_ns(now))), Relaxed);
        self.observed_at_ns.store(since_epoch_ns(now), Relaxed);
    }

    /// How long an unused connection may be kept, at most `configured`.
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

/// The `timeout` of a `Keep-Alive` field, if it has one that makes sense.
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
