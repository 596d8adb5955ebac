//! Which endpoint gets an attempt: the algorithm of the pool chooses among the endpoints that may have it now.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::time::Instant;

use super::balance::{Candidates, Dice};
use super::health::passive::Admission;
use super::{Mode, Pool};
use crate::config::model::ATTEMPTS_MAX;
use crate::sync::AtomicU64;

/// The endpoints that a request has been tried on. A fixed array, so that a request allocates nothing for it.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tried {
    indices: [u32; ATTEMPTS_MAX],
    len: usize,
}

impl Tried {
    /// Adds one. Beyond [`ATTEMPTS_MAX`] it does nothing.
    pub fn add(&mut self, index: usize) {
        if let Some(slot) = self.indices.get_mut(self.len) {
            *slot = index as u32;
            self.len += 1;
        }
    }

    /// Forgets the one that was added last.
    pub fn forget_last(&mut self) {
        self.len = self.len.saturating_sub(1);
    }

    /// The same endpoints by their indices in `next`, which has taken the place of `pool`. Those that have left are
    /// forgotten.
    pub fn moved(&self, pool: &Pool, next: &Pool) -> Self {
        let mut moved = Self::default();
        let tried = self.indices[..self.len].iter().filter_map(|&index| pool.members.get(index as usize));
        tried
            .filter_map(|old| next.members.iter().position(|new| Arc::ptr_eq(&old.endpoint, &new.endpoint)))
            .for_each(|index| moved.add(index));
        moved
    }

    /// Whether none was tried yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether `index` was tried.
    pub fn contains(&self, index: usize) -> bool {
        self.indices[..self.len].contains(&(index as u32))
    }
}

/// How often a pick is repeated because another worker changed the load it was based on. After that, the pick is taken
/// without the comparison.
const PICKS_MAX: usize = 16;

/// A request that is counted on a member of a pool. Dropping it ends the count, unless [`Self::hand_over`] has passed
/// that duty on.
#[derive(Debug)]
#[must_use = "dropping it ends the count"]
pub struct Acquired<'a> {
    pool: &'a Pool,
    index: usize,
}

impl Acquired<'_> {
    /// The member's index in its pool.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Keeps the count. The caller must end it with [`super::endpoint::Endpoint::end`].
    pub fn hand_over(self) -> usize {
        let index = self.index;
        std::mem::forget(self);
        index
    }
}

impl Drop for Acquired<'_> {
    fn drop(&mut self) {
        self.pool.members[self.index].endpoint.end();
        self.pool.shared.queue.freed();
    }
}

impl Pool {
    /// Picks an endpoint and counts the request on it.
    ///
    /// First choice are untried endpoints that are not ejected, then other untried endpoints. A tried endpoint is
    /// picked only if there is no other.
    ///
    /// `None` if no endpoint can take the request now; see [`Self::is_full`].
    pub fn acquire(&self, tried: &Tried) -> Option<Acquired<'_>> {
        if self.config.max_requests.is_some() && self.shared.queue.waiting() > 0 {
            // Requests that wait in the queue come first.
            return None;
        }
        self.acquire_in_turn(tried)
    }

    /// Counts a request on this member, if it may take one now. It is for a client that must come back to where it was,
    /// so it does not wait in the queue.
    pub fn acquire_at(&self, index: usize) -> Option<Acquired<'_>> {
        let member = self.members.get(index)?;
        let is_wanted = member.is_up(self.mode()) && !member.endpoint.passive().is_ejected(Instant::now());
        (is_wanted && member.endpoint.begin_below(self.config.max_requests)).then_some(Acquired { pool: self, index })
    }

    /// Whether there is an endpoint that the request has not been tried on.
    pub fn has_untried(&self, tried: &Tried) -> bool {
        let view = PoolCandidates { pool: self, mode: self.mode(), tried, among: Among::Others, salt: 0 };
        tried.len < ATTEMPTS_MAX && view.somebody_is_wanted()
    }

    /// Whether `max_requests` is the only reason why no endpoint takes a request.
    pub fn is_full(&self) -> bool {
        let mode = self.mode();
        self.config.max_requests.is_some() && self.members.iter().any(|member| member.is_up(mode))
    }

    /// As [`Self::acquire`], but for a request that has reached the head of the queue.
    pub fn acquire_in_turn(&self, tried: &Tried) -> Option<Acquired<'_>> {
        for among in [Among::Admitted, Among::Others, Among::All] {
            if among == Among::All && tried.len == 0 {
                break;
            }
            if let Some(index) = self.acquire_among(tried, among) {
                return Some(Acquired { pool: self, index });
            }
            // An endpoint that is only full is worth waiting for. One that is ejected, or has failed this request, is
            // no better.
            let salt = 0;
            let view = PoolCandidates { pool: self, mode: self.mode(), tried, among, salt };
            if self.config.max_requests.is_some() && view.somebody_is_wanted() {
                break;
            }
        }
        None
    }

    fn acquire_among(&self, tried: &Tried, among: Among) -> Option<usize> {
        let view = PoolCandidates { pool: self, mode: self.mode(), tried, among, salt: fastrand::u64(..) };
        // A repeated attempt does not advance the round. Otherwise each failure would use up the turn of a healthy
        // endpoint, and a failing endpoint would be the first choice of every request.
        let turns = (tried.len == 0).then_some(&*self.shared.turn);
        let mut dice = WorkerDice { turns, own: if tried.len == 0 { 0 } else { fastrand::u32(..).into() } };
        for _ in 0..PICKS_MAX {
            let pick = self.balance.pick(&view, &mut dice)?;
            let endpoint = &self.members[pick.index].endpoint;
            match pick.if_load {
                Some(load) if self.config.max_requests.is_some_and(|most| load >= most) || !endpoint.begin_if(load) => {
                    continue;
                }
                Some(_) => {}
                None if !endpoint.begin_below(self.config.max_requests) => continue,
                None => {}
            }
            return Some(pick.index);
        }
        let pick = self.balance.pick(&view, &mut dice)?;
        self.members[pick.index].endpoint.begin_below(self.config.max_requests).then_some(pick.index)
    }
}

/// Which of the members that are up are candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Among {
    /// Untried members that are not ejected; a returning one with the probability of its share.
    Admitted,
    /// Untried members.
    Others,
    /// All members.
    All,
}

struct PoolCandidates<'a> {
    pool: &'a Pool,
    mode: Mode,
    tried: &'a Tried,
    among: Among,
    /// Seed for the draws of returning endpoints. It gives each endpoint the same draw throughout one pick.
    salt: u64,
}

impl PoolCandidates<'_> {
    /// Whether the member may be picked, apart from `max_requests`.
    fn is_wanted(&self, index: usize) -> bool {
        self.pool.members[index].is_up(self.mode)
            && (self.among == Among::All || !self.tried.contains(index))
            && (self.among != Among::Admitted || self.admits(index))
    }

    fn somebody_is_wanted(&self) -> bool {
        (0..self.count()).any(|index| self.is_wanted(index))
    }

    fn admits(&self, index: usize) -> bool {
        match self.pool.members[index].endpoint.passive().admission(self.pool.config.slow_start) {
            Admission::Full => true,
            Admission::Ejected(_) => false,
            Admission::Returning(share) => {
                let mut draw = fastrand::Rng::with_seed(self.salt ^ index as u64);
                draw.f64() < share
            }
        }
    }
}

impl Candidates for PoolCandidates<'_> {
    fn count(&self) -> usize {
        self.pool.members.len()
    }

    fn eligible(&self, index: usize) -> bool {
        self.pool.config.max_requests.is_none_or(|most| self.pool.members[index].endpoint.has_room(most))
            && self.is_wanted(index)
    }

    fn weight(&self, index: usize) -> u32 {
        self.pool.members[index].weight
    }

    fn in_flight(&self, index: usize) -> u32 {
        self.pool.members[index].endpoint.in_flight()
    }

    fn failure_load(&self, index: usize) -> u32 {
        self.pool.members[index].endpoint.passive().load()
    }

    fn latency_ns(&self, index: usize) -> u64 {
        let latency = self.pool.members[index].endpoint.latency().average(Instant::now());
        u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX)
    }
}

struct WorkerDice<'a> {
    /// The round of the pool, shared by all workers. Without it, turns are counted from `own`.
    turns: Option<&'a AtomicU64>,
    own: u64,
}

impl Dice for WorkerDice<'_> {
    fn below(&mut self, bound: u64) -> u64 {
        fastrand::u64(..bound)
    }

    fn turn(&mut self) -> u64 {
        self.own += 1;
        self.turns.map_or(self.own, |turns| turns.fetch_add(1, Relaxed))
    }
}
