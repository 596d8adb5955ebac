//! Which endpoint gets an attempt: the pool's algorithm over those that may have it now.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::balance::{Candidates, Dice};
use super::health::passive::Admission;
use super::{Mode, Pool};
use crate::config::model::ATTEMPTS_MAX;

/// Endpoints a request has been tried on.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tried {
    indices: [u32; ATTEMPTS_MAX],
    len: usize,
}

impl Tried {
    /// Notes one more; past [`ATTEMPTS_MAX`] it is not noted.
    pub fn add(&mut self, index: usize) {
        if let Some(slot) = self.indices.get_mut(self.len) {
            *slot = index as u32;
            self.len += 1;
        }
    }

    /// Whether `index` was tried.
    pub fn contains(&self, index: usize) -> bool {
        self.indices[..self.len].contains(&(index as u32))
    }
}

/// How often an exact pick is repeated because another worker changed the loads meanwhile.
const PICKS_MAX: usize = 16;

/// A request that is counted on a member of a pool. Dropping it ends the count, unless [`Self::hand_over`] gave that duty to
/// somebody else.
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

    /// The count goes on; whoever takes the index ends it.
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
    /// Prefers endpoints not tried yet that are not ejected, then others not tried yet; it takes a tried one only if there is
    /// no other.
    ///
    /// `None` when nobody may have it now; see [`Self::is_full`].
    pub fn acquire(&self, tried: &Tried) -> Option<Acquired<'_>> {
        if self.max_requests.is_some() && self.shared.queue.waiting() > 0 {
            // Others were here before.
            return None;
        }
        self.acquire_in_turn(tried)
    }

    /// Whether there is somebody whom a request has not been tried on.
    pub fn has_untried(&self, tried: &Tried) -> bool {
        let view = PoolCandidates { pool: self, mode: self.mode(), tried, among: Among::Others, salt: 0 };
        tried.len < ATTEMPTS_MAX && view.somebody_is_wanted()
    }

    /// Whether it is only for `max_requests` that nobody may have a request.
    pub fn is_full(&self) -> bool {
        let mode = self.mode();
        self.max_requests.is_some() && self.members.iter().any(|member| member.is_up(mode))
    }

    /// As [`Self::acquire`], for a request whose turn it is.
    pub fn acquire_in_turn(&self, tried: &Tried) -> Option<Acquired<'_>> {
        for among in [Among::Admitted, Among::Others, Among::All] {
            if among == Among::All && tried.len == 0 {
                break;
            }
            if let Some(index) = self.acquire_among(tried, among) {
                return Some(Acquired { pool: self, index });
            }
            // Those who are only full are worth waiting for: an endpoint that was ejected, or has failed this request, is not better.
            let salt = 0;
            let view = PoolCandidates { pool: self, mode: self.mode(), tried, among, salt };
            if self.max_requests.is_some() && view.somebody_is_wanted() {
                break;
            }
        }
        None
    }

    fn acquire_among(&self, tried: &Tried, among: Among) -> Option<usize> {
        let view = PoolCandidates { pool: self, mode: self.mode(), tried, among, salt: fastrand::u64(..) };
        // A repeated attempt takes nobody's turn: else an endpoint that fails would be the first choice of every request.
        let turns = (tried.len == 0).then_some(&*self.shared.turn);
        let mut dice = WorkerDice { turns, own: if tried.len == 0 { 0 } else { fastrand::u32(..).into() } };
        for _ in 0..PICKS_MAX {
            let pick = self.balance.pick(&view, &mut dice)?;
            let endpoint = &self.members[pick.index].endpoint;
            match pick.if_load {
                Some(load) if self.max_requests.is_some_and(|most| load >= most) || !endpoint.begin_if(load) => {
                    continue;
                }
                Some(_) => {}
                None if !endpoint.begin_below(self.max_requests) => continue,
                None => {}
            }
            return Some(pick.index);
        }
        let pick = self.balance.pick(&view, &mut dice)?;
        self.members[pick.index].endpoint.begin_below(self.max_requests).then_some(pick.index)
    }
}

/// Who of the healthy ones is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Among {
    /// Those not tried yet whom live traffic admits.
    Admitted,
    /// Those not tried yet.
    Others,
    /// Everybody.
    All,
}

struct PoolCandidates<'a> {
    pool: &'a Pool,
    mode: Mode,
    tried: &'a Tried,
    among: Among,
    /// Makes the draw of a returning endpoint the same all through one pick.
    salt: u64,
}

impl PoolCandidates<'_> {
    /// Whether it would be picked if it had room.
    fn is_wanted(&self, index: usize) -> bool {
        self.pool.members[index].is_up(self.mode)
            && (self.among == Among::All || !self.tried.contains(index))
            && (self.among != Among::Admitted || self.admits(index))
    }

    fn somebody_is_wanted(&self) -> bool {
        (0..self.count()).any(|index| self.is_wanted(index))
    }

    fn admits(&self, index: usize) -> bool {
        match self.pool.members[index].endpoint.passive().admission(self.pool.slow_start) {
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
        self.pool.max_requests.is_none_or(|most| self.pool.members[index].endpoint.has_room(most))
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
        u64::try_from(self.pool.members[index].endpoint.latency().average().as_nanos()).unwrap_or(u64::MAX)
    }
}

struct WorkerDice<'a> {
    /// The pool's turns, shared by all workers; without them they are counted from `own`.
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
