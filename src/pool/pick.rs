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
        // Not `then_some`: what is made and not used ends a count that has not begun.
        (is_wanted && member.endpoint.begin_below(self.config.max_requests)).then(|| Acquired { pool: self, index })
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::health::Health::{self, Healthy, Unhealthy};
    use super::super::tests::pool;
    use super::super::{Member, MemberState};
    use super::*;
    use crate::config::model::Algorithm::{self, LeastConnections, RoundRobin};
    use crate::config::model::Eject;

    const EJECT: Eject =
        Eject { failures: 1, duration: Duration::from_secs(10), max_duration: Duration::from_secs(300), share: 100 };

    fn ready(algorithm: Algorithm, healths: &[Health]) -> Pool {
        pool(algorithm, &healths.iter().map(|health| (*health, MemberState::Ready)).collect::<Vec<_>>())
    }

    fn limited(algorithm: Algorithm, count: usize, most: u32) -> Pool {
        let mut pool = ready(algorithm, &vec![Healthy; count]);
        pool.config.max_requests = Some(most);
        pool
    }

    fn tried(indices: &[usize]) -> Tried {
        let mut tried = Tried::default();
        indices.iter().for_each(|index| tried.add(*index));
        tried
    }

    fn eject(pool: &Pool, index: usize) {
        pool.members[index].endpoint.passive().eject(Instant::now(), &EJECT);
    }

    fn view<'a>(pool: &'a Pool, tried: &'a Tried, among: Among, salt: u64) -> PoolCandidates<'a> {
        PoolCandidates { pool, mode: pool.mode(), tried, among, salt }
    }

    /// The members that some of 100 requests are counted on.
    fn picked(pool: &Pool, tried: &Tried) -> Vec<usize> {
        let mut picks: Vec<_> = (0..100).filter_map(|_| pool.acquire(tried)).map(|acquired| acquired.index()).collect();
        picks.sort_unstable();
        picks.dedup();
        picks
    }

    #[test]
    fn what_was_tried_is_remembered_and_forgotten() {
        let mut tried = Tried::default();
        assert!(tried.is_empty() && !tried.contains(0));
        tried.add(7);
        assert!(!tried.is_empty() && tried.contains(7) && !tried.contains(0));
        tried.add(0);
        assert!(tried.contains(7) && tried.contains(0));
        tried.forget_last();
        assert!(tried.contains(7) && !tried.contains(0));
        tried.forget_last();
        tried.forget_last();
        assert!(tried.is_empty());
        (0..ATTEMPTS_MAX + 2).for_each(|index| tried.add(index));
        assert_eq!(tried.len, ATTEMPTS_MAX);
        assert!(tried.contains(ATTEMPTS_MAX - 1) && !tried.contains(ATTEMPTS_MAX));
    }

    #[test]
    fn what_was_tried_is_found_in_the_pool_that_has_taken_the_place() {
        let (old, mut next) = (ready(RoundRobin, &[Healthy; 3]), ready(RoundRobin, &[Healthy; 3]));
        let same = |member: &Member| Member {
            endpoint: Arc::clone(&member.endpoint),
            backend: Arc::clone(&member.backend),
            weight: member.weight,
            state: member.state,
        };
        next.members[0] = same(&old.members[2]);
        next.members[2] = same(&old.members[0]);
        let moved = tried(&[2, 1]).moved(&old, &next);
        assert!(moved.contains(0) && !moved.contains(1) && !moved.contains(2), "{moved:?}");
        assert_eq!(moved.len, 1);
        assert!(tried(&[1]).moved(&old, &next).is_empty());
    }

    #[test]
    fn a_count_ends_with_its_guard() {
        let pool = limited(RoundRobin, 2, 1);
        let first = pool.acquire(&Tried::default()).unwrap();
        let second = pool.acquire(&Tried::default()).unwrap();
        assert_eq!((first.index(), second.index()), (0, 1));
        assert!(pool.acquire(&Tried::default()).is_none());
        drop(second);
        assert_eq!(pool.acquire(&Tried::default()).map(Acquired::hand_over), Some(1));
        let loads: Vec<_> = pool.members.iter().map(|member| member.endpoint.in_flight()).collect();
        assert_eq!(loads, [1, 1], "what was handed over is still counted");
        drop(first);
    }

    /// Also while there is room: they have waited for it.
    #[test]
    fn requests_in_the_queue_come_first() {
        let (with_limit, without) = (limited(RoundRobin, 1, 2), ready(RoundRobin, &[Healthy]));
        let _place = with_limit.shared.queue.enter(8).unwrap();
        assert!(with_limit.acquire(&Tried::default()).is_none());
        assert!(with_limit.acquire_in_turn(&Tried::default()).is_some());
        let _other = without.shared.queue.enter(8).unwrap();
        assert!(without.acquire(&Tried::default()).is_some(), "nobody waits for room that has no limit");
    }

    #[test]
    fn a_member_is_acquired_only_while_it_takes_requests() {
        let mut pool = ready(RoundRobin, &[Healthy, Unhealthy, Healthy, Healthy]);
        pool.config.max_requests = Some(1);
        eject(&pool, 2);
        let held = pool.acquire_at(0).unwrap();
        assert_eq!(held.index(), 0);
        assert_eq!(pool.members[0].endpoint.in_flight(), 1);
        for (index, is_acquired) in [(0, false), (1, false), (2, false), (3, true), (4, false)] {
            assert_eq!(pool.acquire_at(index).is_some(), is_acquired, "{index}");
            let loads: Vec<_> = pool.members.iter().map(|member| member.endpoint.in_flight()).collect();
            assert_eq!(loads, [1, 0, 0, 0], "{index}");
        }
    }

    #[test]
    fn there_may_be_an_endpoint_that_was_not_tried() {
        let pool = ready(RoundRobin, &[Healthy, Healthy, Unhealthy]);
        eject(&pool, 1);
        for (indices, expected) in [(&[][..], true), (&[0], true), (&[1], true), (&[1, 0], false), (&[0, 1, 2], false)]
        {
            assert_eq!(pool.has_untried(&tried(indices)), expected, "{indices:?}");
        }
        let most = vec![0; ATTEMPTS_MAX];
        assert!(pool.has_untried(&tried(&most[1..])));
        assert!(!pool.has_untried(&tried(&most)), "no more can be remembered");
    }

    #[test]
    fn a_pool_is_full_only_if_it_has_a_limit_and_members() {
        let mut without_members = ready(RoundRobin, &[]);
        without_members.config.max_requests = Some(1);
        for (pool, expected) in
            [(limited(RoundRobin, 1, 1), true), (ready(RoundRobin, &[Healthy]), false), (without_members, false)]
        {
            assert_eq!(pool.is_full(), expected);
        }
    }

    #[test]
    fn ejected_endpoints_are_the_second_choice_and_tried_ones_the_last() {
        for most in [None, Some(200)] {
            let mut pool = ready(RoundRobin, &[Healthy; 4]);
            pool.config.max_requests = most;
            eject(&pool, 1);
            eject(&pool, 2);
            for (indices, expected) in [
                (&[][..], &[0, 3][..]),
                (&[0], &[3]),
                (&[0, 3], &[1, 2]),
                (&[0, 1, 3], &[2]),
                (&[0, 1, 2, 3], &[0, 1, 2, 3]),
            ] {
                assert_eq!(picked(&pool, &tried(indices)), expected, "{most:?} {indices:?}");
            }
        }
    }

    /// Waiting for one that is only full is better than one that is ejected or has failed this request.
    #[test]
    fn a_full_endpoint_is_worth_waiting_for() {
        let pool = limited(RoundRobin, 3, 1);
        eject(&pool, 1);
        let _full = pool.acquire_at(0).unwrap();
        assert!(pool.acquire(&tried(&[2])).is_none());
        assert!(pool.acquire(&tried(&[0, 2])).is_some(), "the ejected one: all others were tried");
    }

    /// Otherwise each failure would use up the turn of a healthy endpoint.
    #[test]
    fn a_repeated_attempt_takes_no_turn() {
        let pool = ready(RoundRobin, &[Healthy; 3]);
        let next = || pool.acquire(&Tried::default()).map(|acquired| acquired.index());
        assert_eq!([next(), next()], [Some(0), Some(1)]);
        assert_eq!(picked(&pool, &tried(&[1])), [0, 2]);
        assert_eq!([next(), next()], [Some(2), Some(0)]);
    }

    #[test]
    fn a_limit_holds_for_every_algorithm() {
        for algorithm in Algorithm::ALL {
            let pool = limited(*algorithm, 3, 2);
            let acquired: Vec<_> = (0..7).filter_map(|_| pool.acquire(&Tried::default())).collect();
            assert_eq!(acquired.len(), 6, "{algorithm}");
        }
    }

    #[test]
    fn returning_endpoints_are_admitted_by_their_share_and_independently() {
        let mut pool = ready(RoundRobin, &[Healthy; 2]);
        pool.config.slow_start = Duration::from_secs(2_000);
        let now = Instant::now();
        pool.members[0].endpoint.passive().begin_slowly(now - Duration::from_secs(1_000));
        pool.members[1].endpoint.passive().begin_slowly(now - Duration::from_secs(500));
        let none = Tried::default();
        let mut salts = fastrand::Rng::with_seed(7);
        let draws: Vec<_> = (0..1000)
            .map(|_| view(&pool, &none, Among::Admitted, salts.u64(..)))
            .map(|view| (view.is_wanted(0), view.is_wanted(1)))
            .collect();
        for (what, expected, count) in [
            ("the first", 500, draws.iter().filter(|draw| draw.0).count()),
            ("the second", 250, draws.iter().filter(|draw| draw.1).count()),
            ("both alike", 500, draws.iter().filter(|draw| draw.0 == draw.1).count()),
        ] {
            assert!(count.abs_diff(expected) < 80, "{what}: {count} of 1000, not {expected}");
        }
        assert!((0..100).all(|salt| view(&pool, &none, Among::Others, salt).is_wanted(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn algorithms_see_what_is_known_of_a_member() {
        let mut pool = ready(LeastConnections, &[Healthy, Healthy]);
        pool.config.max_requests = Some(3);
        pool.members[1].weight = 7;
        let endpoint = &pool.members[1].endpoint;
        (0..2).for_each(|_| endpoint.begin());
        (0..5).for_each(|_| _ = endpoint.passive().failed(1, Instant::now()));
        endpoint.latency().record(Duration::from_millis(20), Instant::now());
        let (none, both) = (Tried::default(), tried(&[0, 1]));
        let others = view(&pool, &none, Among::Others, 0);
        assert_eq!((others.count(), others.weight(0), others.weight(1)), (2, 1, 7));
        assert_eq!((others.in_flight(0), others.in_flight(1)), (0, 2));
        assert_eq!((others.failure_load(0), others.failure_load(1)), (0, 5));
        assert_eq!((others.latency_ns(0), others.latency_ns(1)), (0, 20_000_000));
        assert!(others.eligible(0) && others.eligible(1) && others.somebody_is_wanted());
        let others = view(&pool, &both, Among::Others, 0);
        assert!(!others.eligible(0) && !others.eligible(1) && !others.somebody_is_wanted());
        endpoint.begin();
        let all = view(&pool, &both, Among::All, 0);
        assert!(all.eligible(0) && !all.eligible(1) && all.is_wanted(1), "full");
    }

    #[test]
    fn dice_show_every_side_and_turns_count_up() {
        let turns = AtomicU64::new(5);
        let mut dice = WorkerDice { turns: Some(&turns), own: 0 };
        assert_eq!([dice.turn(), dice.turn(), dice.turn()], [5, 6, 7]);
        let mut dice = WorkerDice { turns: None, own: 5 };
        assert_eq!([dice.turn(), dice.turn(), dice.turn()], [6, 7, 8]);
        let mut sides = [0; 3];
        (0..300).for_each(|_| sides[dice.below(3) as usize] += 1);
        assert!(sides.iter().all(|count| *count > 0), "{sides:?}");
    }
}
