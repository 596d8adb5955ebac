//! The rate limits of all routes, and what a reload keeps of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;

use crossbeam_utils::CachePadded;
use tokio::time::Instant;

use super::{Counts, Limiter, Memory, Per, Rule};
use crate::pool::clock::since_epoch_ns;
use crate::sync::AtomicU64;

/// The rate limit of a route, as the config wants it.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What the route is found again by after a reload. No other route has the same.
    pub route: String,
    /// What the rate is counted by.
    pub per: Per,
    /// How much is let through.
    pub rule: Rule,
}

/// The rate limits by the identity of their route.
#[derive(Debug, Default)]
pub struct Limiters {
    by_route: HashMap<String, Arc<Limiter>>,
    memory: Memory,
}

impl Limiters {
    /// The limiters of the next snapshot. A route that is limited by the same thing as before keeps its counts and
    /// counters, also if its rule is another one.
    pub fn carry_over(previous: &Self, wanted: impl IntoIterator<Item = Wanted>, workers: usize, now: Instant) -> Self {
        let (now_ns, memory) = (since_epoch_ns(now), previous.memory.clone());
        let limiter = |Wanted { route, per, rule }| {
            let limiter = match previous.by_route.get(&route).filter(|previous| previous.per == per) {
                Some(previous) if previous.rule == rule => Arc::clone(previous),
                Some(previous) => Arc::new(previous.with_rule(rule, now_ns)),
                None => Arc::new(Limiter::new(per, rule, workers, &memory)),
            };
            (route, limiter)
        };
        Self { by_route: wanted.into_iter().map(limiter).collect(), memory }
    }

    /// The limiter of this route.
    pub fn of(&self, route: &str) -> Option<&Arc<Limiter>> {
        self.by_route.get(route)
    }

    /// The bytes that are in use of [`super::BYTES_ALL_MAX`].
    pub fn bytes_in_use(&self) -> usize {
        self.memory.in_use()
    }

    /// Each route that has a limit, with its limiter; in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Limiter)> {
        self.by_route.iter().map(|(route, limiter)| (&**route, &**limiter))
    }
}

impl Limiter {
    /// The same clients under another rule.
    pub(super) fn with_rule(&self, rule: Rule, now_ns: u64) -> Self {
        let Self { per, rule: former, counts, key, cells } = self;
        let counts = match &**counts {
            // Both rules count in one table until the last request of the former snapshot has been decided.
            _ if rule.continues(former) => Arc::clone(counts),
            Counts::Route(tat) => {
                let (then, now) = (former.moment(now_ns).ticks, rule.moment(now_ns).ticks);
                let ahead = tat.load(Acquire).saturating_sub(then);
                let tat = now.saturating_add(rule.ahead_from(former, ahead));
                Arc::new(Counts::Route(CachePadded::new(AtomicU64::new(tat))))
            }
            Counts::Clients(table) => Arc::new(Counts::Clients(table.translated(former, &rule, now_ns))),
        };
        Self { per: per.clone(), rule, counts, key: key.clone(), cells: Arc::clone(cells) }
    }
}
