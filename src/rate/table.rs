//! The clients of a rule: a table that begins small and grows to a fixed bound, without a lock.
//!
//! It is a row of generations, each eight times as large as the one before. New clients go into the current one. When a
//! set of it is full of clients whose TAT is still to come, the next generation becomes the current one. Nothing is
//! copied then: the sets of the old generations are closed one by one, when a client comes for the first time into the
//! set that takes over from them, and a client that is found in one takes its TAT along. A closed set never changes, so
//! whoever reads it, however late, reads the same. A thread that still has the old generation in mind finds the set
//! closed and looks again.
//!
//! A generation is made in segments, when they are needed, so that no request pays for more than 256 KiB of zeros.
//! Memory is given back with the whole table, when its rule leaves the config.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

use super::memory::Memory;
use super::rule::{Moment, Rule};
use super::set::{Answer, Arrival, Decided, Growth, Set, WORDS};
use super::word::{Tag, Word};
use crate::sync::{AtomicU64, AtomicUsize};

const GENERATIONS: usize = 6;
const SETS_FIRST: usize = 8;
/// Each generation has 2 to the power of this many times the sets of the one before.
const GROWTH_BITS: usize = 3;
const SEGMENT_SETS: usize = 4096;

/// The places of the largest generation.
pub const PLACES_MAX: usize = sets_of(GENERATIONS - 1) * WORDS;
/// What the table of one rule takes at most: 64 bytes for each set of all generations, and 4 KiB. This is 19.2 bytes
/// for each of a million clients.
pub const BYTES_MAX: usize = {
    let (mut generation, mut bytes) = (0, 4096);
    while generation < GENERATIONS {
        bytes += bytes_of(generation);
        generation += 1;
    }
    bytes
};

type Segment = Box<[Set]>;
type Segments = Box<[OnceLock<Segment>]>;

/// The TAT of each client, by a hash that no client can foresee.
#[derive(Default)]
pub(super) struct Table {
    generations: [OnceLock<Segments>; GENERATIONS],
    current: AtomicUsize,
    /// The tick from which on no TAT in an old generation is still to come.
    former_until: AtomicU64,
    /// Arrival before the table grows.
    memory: Memory,
}

const fn sets_of(generation: usize) -> usize {
    SETS_FIRST << (GROWTH_BITS * generation)
}

/// What the sets of a generation take when all of them have been made.
const fn bytes_of(generation: usize) -> usize {
    sets_of(generation) * size_of::<Set>()
}

impl Table {
    /// An empty table, which grows as long as `memory` is left.
    pub(super) fn new(memory: &Memory) -> Self {
        Self {
            generations: Default::default(),
            current: AtomicUsize::default(),
            former_until: AtomicU64::default(),
            memory: memory.clone(),
        }
    }

    /// Decides about a request of the client with this hash. The lower bits of the hash choose the set, the upper ones
    /// tell clients apart.
    pub(super) fn decide(&self, hash: u64, rule: &Rule, now: Moment) -> Decided {
        let arrival = Arrival { tag: Tag::of(hash), rule, now, horizon: rule.horizon() };
        let mut is_at_bound = false;
        loop {
            let current = self.current.load(Acquire);
            is_at_bound |= current + 1 >= GENERATIONS;
            let growth = if is_at_bound { Growth::Over } else { Growth::Possible };
            let former = |is_unused| self.former(current, hash, &arrival, is_unused);
            match self.set(current, hash).decide(&arrival, growth, former) {
                Answer::Decided(decided) => return decided,
                // Whoever has closed the set knew of a later generation, so this thread will see it too.
                Answer::Closed => {}
                Answer::Full => is_at_bound = !self.grow(current, &arrival),
            }
        }
    }

    /// The memory that is in use, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let segments = self.generations.iter().filter_map(OnceLock::get);
        let of_generation = |segments: &Segments| {
            let sets: usize = segments.iter().filter_map(OnceLock::get).map(|segment| size_of_val(&**segment)).sum();
            size_of_val(&**segments) + sets
        };
        size_of::<Self>() + segments.map(of_generation).sum::<usize>()
    }

    /// The same clients under another rule: what each has used of its burst stays used. Requests that are decided
    /// meanwhile may not be counted.
    pub(super) fn translated(&self, former: &Rule, rule: &Rule, now_ns: u64) -> Self {
        let (then, now) = (former.moment(now_ns).ticks, rule.moment(now_ns).ticks);
        let horizon = former.horizon();
        let tat = |word: Word| {
            let ahead = word.tat(then, horizon).map_or(0, |tat| rule.ahead_from(former, tat - then));
            now.saturating_add(ahead)
        };
        let segment = |segment: &OnceLock<Segment>| {
            let sets: Option<Segment> = segment.get().map(|sets| sets.iter().map(|set| set.translated(tat)).collect());
            sets.map_or_else(OnceLock::new, OnceLock::from)
        };
        // A generation that becomes the current one meanwhile is left out.
        let current = self.current.load(Acquire);
        let generations = std::array::from_fn(|generation| {
            let segments = self.generations.get(generation).and_then(OnceLock::get).filter(|_| generation <= current);
            let segments: Option<Segments> = segments.map(|segments| segments.iter().map(segment).collect());
            segments.map_or_else(OnceLock::new, OnceLock::from)
        });
        let former_until = AtomicU64::new(now.saturating_add(rule.horizon()));
        let memory = self.memory.clone();
        memory.take_anyway(taken_by(current));
        Self { generations, current: AtomicUsize::new(current), former_until, memory }
    }

    /// The TAT of a client in the generations before `current`. If no client has ever been in the current set
    /// (`is_unused`), those that it takes over from are closed first.
    fn former(&self, current: usize, hash: u64, arrival: &Arrival<'_>, is_unused: bool) -> Option<u64> {
        let former = || (0..current).rev().map(|generation| self.set(generation, hash));
        if is_unused {
            former().for_each(Set::close);
        }
        if current == 0 || arrival.now.ticks >= self.former_until.load(Acquire) {
            return None;
        }
        former().find_map(|set| set.tat(arrival))
    }

    /// Makes the generation after `full` the current one, unless another thread has done so. `false` if there is no
    /// memory left for it.
    fn grow(&self, full: usize, arrival: &Arrival<'_>) -> bool {
        if !self.memory.take(bytes_of(full + 1)) {
            return false;
        }
        let until = arrival.now.ticks.saturating_add(arrival.horizon);
        let later = |former_until| (former_until < until).then_some(until);
        // It fails if it is that late already.
        _ = self.former_until.fetch_update(AcqRel, Acquire, later);
        if self.current.compare_exchange(full, full + 1, AcqRel, Acquire).is_err() {
            self.memory.give_back(bytes_of(full + 1));
        }
        true
    }

    fn set(&self, generation: usize, hash: u64) -> &Set {
        let sets = sets_of(generation);
        let index = hash as usize & (sets - 1);
        let empty = || (0..sets.div_ceil(SEGMENT_SETS)).map(|_| OnceLock::new()).collect();
        let segments: &Segments = made(&self.generations[generation], empty);
        let zeros = || (0..sets.min(SEGMENT_SETS)).map(|_| Set::default()).collect();
        &made(&segments[index / SEGMENT_SETS], zeros)[index % SEGMENT_SETS]
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.memory.give_back(taken_by(self.current.load(Acquire)));
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("current", &self.current).field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

/// What a table whose current generation is this one has taken of the common memory.
fn taken_by(current: usize) -> usize {
    (1..=current).map(bytes_of).sum()
}

/// The value of `cell`, made if there is none. Two threads may make it at once, so that neither waits until the other
/// has made it, only while the other moves its pointer in. One of the two values is thrown away.
fn made<T>(cell: &OnceLock<T>, make: impl FnOnce() -> T) -> &T {
    if let Some(value) = cell.get() {
        return value;
    }
    _ = cell.set(make());
    cell.get().expect("it was set just now, by this thread or another one")
}
