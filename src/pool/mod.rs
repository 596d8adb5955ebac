//! Pools of interchangeable endpoints: the part that all threads share. It decides which endpoints may be picked and
//! which one is.
//!
//! This module knows nothing of routes, header fields or clients. [`Pool`] and [`endpoint::Endpoint`] are immutable
//! values with atomics in them. The connections to an endpoint belong to one worker each; they are in `link`.

pub mod balance;
mod budget;
pub(crate) mod clock;
pub mod endpoint;
mod fair;
pub mod health;
pub mod idle;
pub mod pick;
pub mod protocol;
pub mod queue;
mod shared;

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::model;
use crate::sync::AtomicU8;
use balance::Balance;
use endpoint::Endpoint;
use health::Health;
pub use pick::Tried;
use protocol::{ConnectSettings, PoolProtocol};
pub use shared::PoolShared;

/// A pool in one snapshot. A reload that changes it makes a new value; what must survive is in [`PoolShared`].
#[derive(Debug)]
pub struct Pool {
    /// Its name in the config.
    pub name: Arc<str>,
    /// What the file says of it.
    pub config: model::Pool,
    /// How endpoints are spoken to.
    pub protocol: PoolProtocol,
    /// Its endpoints, in the order of the config.
    pub members: Box<[Member]>,
    /// The state that outlives a reload.
    pub shared: Arc<PoolShared>,
    balance: Balance,
    mode: AtomicU8,
}

/// An endpoint as a member of a pool, with what the config says about it.
#[derive(Debug)]
pub struct Member {
    /// The endpoint itself.
    pub endpoint: Arc<Endpoint>,
    /// Its backend as written in the config.
    pub backend: Arc<str>,
    /// Its share of the traffic, relative to the weights of the others. At least 1.
    pub weight: u32,
    /// Whether it may take new requests.
    pub state: MemberState,
}

impl Member {
    /// Whether the config and the probes let it take requests. Live traffic may still have ejected it.
    pub(crate) fn is_up(&self, mode: Mode) -> bool {
        let healthy_enough = match (mode, self.endpoint.health()) {
            (_, Health::Healthy) | (Mode::Unknown, _) | (Mode::FailOpen, Health::Unhealthy) => true,
            (Mode::Healthy, _) | (Mode::FailOpen, Health::Unchecked) => false,
        };
        healthy_enough && self.state.takes_requests()
    }
}

/// What the config wants a member to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// It takes requests while it is healthy.
    Ready,
    /// It is draining: it finishes its requests and takes no new ones. It is still probed.
    Drain,
    /// It is draining and is not probed.
    Down,
    /// An edit that replaced every endpoint has removed it, but it takes requests until a new one has passed its check.
    Held,
}

impl MemberState {
    /// The word used in logs, metrics and `/status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Down => "down",
            Self::Held => "held",
        }
    }

    /// Whether it gets new requests.
    pub fn takes_requests(self) -> bool {
        matches!(self, Self::Ready | Self::Held)
    }
}

impl From<model::BackendState> for MemberState {
    fn from(state: model::BackendState) -> Self {
        match state {
            model::BackendState::Ready => Self::Ready,
            model::BackendState::Drain => Self::Drain,
            model::BackendState::Down => Self::Down,
        }
    }
}

/// Which members of a pool get traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Healthy endpoints only.
    Healthy = 0,
    /// Too few are healthy. Every endpoint that has been probed gets traffic, so that the few are not overloaded.
    FailOpen = 1,
    /// No endpoint has been probed yet, so all of them get traffic.
    Unknown = 2,
}

impl Mode {
    /// The word used in logs, metrics and `/status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::FailOpen => "fail-open",
            Self::Unknown => "unknown",
        }
    }

    /// The mode for `healthy` endpoints out of `checked` ones. The threshold `fail_open_below` is in percent of
    /// `checked`; 0 means that the pool never fails open.
    fn decide(healthy: usize, checked: usize, fail_open_below: u8) -> Self {
        if checked == 0 && fail_open_below > 0 {
            Self::Unknown
        } else if healthy * 100 < checked * usize::from(fail_open_below) {
            Self::FailOpen
        } else {
            Self::Healthy
        }
    }
}

impl Pool {
    /// Builds a pool. Its mode follows from the present health of its endpoints.
    pub fn new(
        name: Arc<str>,
        config: &model::Pool,
        protocol: PoolProtocol,
        members: Vec<Member>,
        shared: Arc<PoolShared>,
    ) -> Self {
        let weights: Vec<u32> = members.iter().map(|member| member.weight).collect();
        let pool = Self {
            name,
            config: config.clone(),
            protocol,
            balance: Balance::new(config.balance, &weights),
            members: members.into(),
            shared,
            mode: AtomicU8::new(Mode::Healthy as u8),
        };
        pool.refresh_mode();
        pool
    }

    /// Whether an endpoint that takes requests is healthy, and not ejected.
    pub fn has_healthy(&self) -> bool {
        let now = Instant::now();
        let is_well = |endpoint: &Endpoint| endpoint.health() == Health::Healthy && !endpoint.passive().is_ejected(now);
        self.members.iter().any(|member| member.state.takes_requests() && is_well(&member.endpoint))
    }

    /// All that is needed to speak to `member`.
    pub fn settings(&self, member: &Member) -> ConnectSettings {
        let (protocol, backend) = (self.protocol.clone(), Arc::clone(&member.backend));
        ConnectSettings { protocol, proxy_protocol: self.config.proxy_protocol, backend }
    }

    /// Counts a failure of `endpoint`, worth `points`. If that ejects the endpoint, it returns for how long.
    ///
    /// It does not eject when more than `eject.share` percent of the members would then be out.
    pub fn failed(&self, endpoint: &Endpoint, points: u32, now: Instant) -> Option<Duration> {
        let points = endpoint.passive().failed(points, now);
        if self.config.eject.failures == 0 || points < self.config.eject.failures {
            return None;
        }
        let _one_at_a_time = self.shared.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        let taking = self.members.iter().filter(|member| member.state.takes_requests());
        let (mut all, mut out) = (0, 0);
        for member in taking {
            all += 1;
            out += usize::from(member.endpoint.passive().is_ejected(now));
        }
        if endpoint.passive().is_ejected(now) || (out + 1) * 100 > all * usize::from(self.config.eject.share) {
            return None;
        }
        self.shared.ejections.fetch_add(1, Relaxed);
        Some(endpoint.passive().eject(now, &self.config.eject))
    }

    /// A probe has found `endpoint` healthy, for the first time or again. Its share starts small only if the pool
    /// balances by load and has traffic.
    pub fn recovered(&self, endpoint: &Endpoint, now: Instant) {
        // Without traffic there is no load that a new endpoint must be protected from.
        let has_traffic = self.shared.cells.iter().any(|cell| cell.finished_count() > 0);
        if self.balance.goes_by_load() && has_traffic {
            endpoint.passive().begin_slowly(now);
        } else {
            endpoint.passive().pardon();
        }
    }

    /// Takes one repetition out of the retry budget. Returns `false` when the budget is used up.
    ///
    /// This takes a lock, but only after an attempt that was sent has failed.
    pub fn may_repeat(&self, now: Instant) -> bool {
        let requests = self.shared.cells.iter().map(|cell| cell.finished_count()).sum();
        let mut budget = self.shared.budget.lock().unwrap_or_else(PoisonError::into_inner);
        budget.spend(now, requests, &self.config.retry)
    }

    /// Which members get traffic now.
    pub fn mode(&self) -> Mode {
        match self.mode.load(Relaxed) {
            0 => Mode::Healthy,
            1 => Mode::FailOpen,
            _ => Mode::Unknown,
        }
    }

    /// Computes the mode again after a change of health. Returns the old and the new mode if they differ.
    pub fn refresh_mode(&self) -> Option<(Mode, Mode)> {
        let verdicts = self.members.iter().filter(|m| m.state.takes_requests()).map(|m| m.endpoint.health());
        let (mut healthy, mut checked) = (0, 0);
        for health in verdicts {
            healthy += usize::from(health == Health::Healthy);
            checked += usize::from(health != Health::Unchecked);
        }
        let (old, new) = (self.mode(), Mode::decide(healthy, checked, self.config.fail_open_below));
        self.mode.store(new as u8, Relaxed);
        (old != new).then_some((old, new))
    }

    /// Whether removed endpoints are still held although a new endpoint is healthy.
    pub fn can_release_held(&self) -> bool {
        let has = |test: &dyn Fn(&Member) -> bool| self.members.iter().any(test);
        has(&|m| m.state == MemberState::Held)
            && has(&|m| m.state == MemberState::Ready && m.endpoint.health() == Health::Healthy)
    }
}

#[cfg(test)]
mod models;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Algorithm;
    use pick::Acquired;

    pub(super) fn pool(algorithm: Algorithm, members: &[(Health, MemberState)]) -> Pool {
        let members = members.iter().enumerate().map(|(index, &(health, state))| Member {
            endpoint: Arc::new(Endpoint::new("app".into(), ([127, 0, 0, 1], index as u16 + 1).into(), health, 1)),
            backend: "backend".into(),
            weight: 1,
            state,
        });
        let config = model::Pool { balance: algorithm, ..model::Pool::default() };
        Pool::new("app".into(), &config, PoolProtocol::Http1, members.collect(), Arc::new(PoolShared::new(1)))
    }

    #[test]
    fn modes_follow_the_share_of_healthy_endpoints() {
        for (healthy, checked, below, mode) in [
            (0, 0, 50, Mode::Unknown),
            (0, 0, 0, Mode::Healthy),
            (1, 1, 50, Mode::Healthy),
            (1, 2, 50, Mode::Healthy),
            (1, 3, 50, Mode::FailOpen),
            (0, 3, 50, Mode::FailOpen),
            (0, 3, 0, Mode::Healthy),
            (2, 3, 100, Mode::FailOpen),
        ] {
            assert_eq!(Mode::decide(healthy, checked, below), mode, "{healthy}/{checked} below {below} %");
        }
    }

    #[test]
    fn who_may_be_picked() {
        use Health::{Healthy as H, Unchecked as N, Unhealthy as U};
        use MemberState::{Down, Drain, Held, Ready};
        for (members, expected) in [
            (&[(H, Ready), (H, Ready)][..], &[0, 1][..]),
            (&[(H, Ready), (U, Ready)], &[0]),
            (&[(H, Ready), (U, Ready), (U, Ready)], &[0, 1, 2]),
            (&[(H, Ready), (N, Ready), (N, Ready)], &[0]),
            (&[(N, Ready), (N, Ready)], &[0, 1]),
            (&[(U, Ready), (N, Ready)], &[0]),
            (&[(H, Drain), (H, Ready)], &[1]),
            (&[(H, Down), (U, Ready)], &[1]),
            (&[(H, Held), (N, Ready)], &[0]),
            (&[(H, Drain)], &[]),
        ] {
            let pool = pool(Algorithm::RoundRobin, members);
            let mut picks: Vec<_> =
                (0..8).filter_map(|_| pool.acquire(&Tried::default())).map(Acquired::hand_over).collect();
            picks.sort_unstable();
            picks.dedup();
            assert_eq!(picks, expected, "{members:?}");
        }
    }

    #[test]
    fn a_tried_endpoint_comes_last() {
        let pool = pool(Algorithm::RoundRobin, &[(Health::Healthy, MemberState::Ready); 3]);
        let mut tried = Tried::default();
        for _ in 0..3 {
            let index = pool.acquire(&tried).unwrap().hand_over();
            assert!(!tried.contains(index));
            tried.add(index);
        }
        assert!(pool.acquire(&tried).is_some(), "when all were tried, one of them again");
    }

    #[test]
    fn least_connections_is_exact_over_threads() {
        let pool = pool(Algorithm::LeastConnections, &[(Health::Healthy, MemberState::Ready); 3]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..750).for_each(|_| _ = pool.acquire(&Tried::default()).unwrap().hand_over()));
            }
        });
        let loads: Vec<u32> = pool.members.iter().map(|member| member.endpoint.in_flight()).collect();
        assert_eq!(loads, [1000, 1000, 1000]);
    }

    /// It gets no requests because it looks slow, and without requests it cannot show that it is not.
    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_was_slow_once_is_tried_again() {
        let pool = pool(Algorithm::PeakEwma, &[(Health::Healthy, MemberState::Ready); 2]);
        let latency = |index: usize| pool.members[index].endpoint.latency();
        latency(0).record(Duration::from_secs(1), Instant::now());
        let mut waited = 0;
        loop {
            latency(1).record(Duration::from_millis(10), Instant::now());
            if pool.acquire(&Tried::default()).is_some_and(|acquired| acquired.index() == 0) {
                break;
            }
            assert!(waited < 120, "never again");
            waited += 1;
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(waited > 20, "not at once either: after {waited} s");
    }

    #[test]
    fn round_robin_is_exact_over_threads() {
        let pool = pool(Algorithm::RoundRobin, &[(Health::Healthy, MemberState::Ready); 3]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..750).for_each(|_| _ = pool.acquire(&Tried::default()).unwrap().hand_over()));
            }
        });
        let loads: Vec<u32> = pool.members.iter().map(|member| member.endpoint.in_flight()).collect();
        assert_eq!(loads, [1000, 1000, 1000]);
    }
}
