//! Requests to the admin port that were refused, by why: for the metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

/// Why a request to the admin port was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// It is for a host that is not the admin port's.
    Host,
    /// The path does not take the method.
    Method,
    /// This door changes nothing.
    ReadOnly,
    /// A page of another site sent it.
    OtherSite,
    /// It has no token.
    NoToken,
    /// It has another token.
    WrongToken,
    /// It does not say that its body is JSON.
    ContentType,
    /// Its body is too large, too slow, or not what the path takes.
    Body,
    /// There is no such pool or endpoint.
    Unknown,
    /// An upgrade or a stop is under way.
    Busy,
    /// The change itself is refused: a config that is not valid, say.
    Invalid,
    /// The control thread did not get to it in time.
    Late,
}

/// All reasons with their names.
const ALL: [(Why, &str); 12] = [
    (Why::Host, "host"),
    (Why::Method, "method"),
    (Why::ReadOnly, "read_only"),
    (Why::OtherSite, "other_site"),
    (Why::NoToken, "no_token"),
    (Why::WrongToken, "wrong_token"),
    (Why::ContentType, "content_type"),
    (Why::Body, "body"),
    (Why::Unknown, "unknown"),
    (Why::Busy, "busy"),
    (Why::Invalid, "invalid"),
    (Why::Late, "late"),
];

/// How many were refused for each reason.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    counts: [AtomicU64; ALL.len()],
    /// The second since 1970 in which the log was last told.
    told: AtomicU64,
}

impl Refusals {
    /// Counts one.
    pub(crate) fn count(&self, why: Why) {
        if let Some(counter) = self.counts.get(why as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Whether the log is to be told: once a second, as anybody could fill it.
    pub(crate) fn is_news(&self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        self.told.swap(now, Relaxed) != now
    }

    /// The name of each reason, and how many there were.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ALL.iter().zip(&self.counts).map(|((_, name), counter)| (*name, counter.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_as_itself() {
        assert!(ALL.iter().enumerate().all(|(place, (why, _))| *why as usize == place));
        let refusals = Refusals::default();
        (0..3).for_each(|_| refusals.count(Why::Late));
        refusals.count(Why::Host);
        let counted: Vec<_> = refusals.all().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("host", 1), ("late", 3)]);
    }
}
