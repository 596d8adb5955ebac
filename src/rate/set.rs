//! The clients of one set: eight words, which are one cache line, without a lock.
//!
//! What is known already is changed by a compare-and-swap on its word. The difficulty is that two threads must not give
//! one client two words, in which it would be counted twice over. So new clients come in one by one: at the *hand*,
//! which goes around the set. Each word says in which lap it was last passed. The words before the hand are one lap
//! further than the others:
//!
//! ```text
//!   lap     2   2   2   1   1   1   1   1
//!                       ^ the hand: the next client goes here, and the word is then of lap 2
//! ```
//!
//! A thread reads all eight words. If their laps are in this order, these are the clients of the set as it was before
//! the word at the hand was passed. If the compare-and-swap at the hand succeeds, that has not happened meanwhile, so
//! nobody has come in, and the client is in no other word. If it fails, another thread has got on.
//!
//! A word whose TAT is still to come is kept: the hand passes it, which changes nothing but its lap. If all eight are
//! to come, the table grows. The largest set gives away the word that would be free first: the client of it gets back
//! the little that it had used.
//!
//! Two bits tell four laps apart. A thread that sleeps for four whole laps while the word at the hand is passed and not
//! used could be deceived. Then one client has two words until one of them is free.

use std::sync::atomic::Ordering::{AcqRel, Acquire};

use super::rule::{Moment, RetryAfter, Rule, Verdict};
use super::word::{Tag, Word};
use crate::sync::AtomicU64;

/// The clients of a set. Eight words of eight bytes are one cache line.
pub(super) const WORDS: usize = 8;

/// Eight clients at most.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Set([AtomicU64; WORDS]);

/// A request: whose it is, when it came, and what holds for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub tag: Tag,
    pub rule: &'a Rule,
    pub now: Moment,
    pub horizon: u64,
}

/// What was decided, and at whose cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decided {
    pub result: Result<(), RetryAfter>,
    /// Another client was forgotten, although its TAT was still to come.
    pub has_evicted: bool,
}

/// What came of asking a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Decided(Decided),
    /// The set is closed: the table has grown, and the client belongs into the next generation.
    Closed,
    /// All clients of the set have a TAT to come, and the table can grow.
    Full,
}

/// Whether the table can still grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    Possible,
    Over,
}

/// What there is at the hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AtHand {
    /// A word that was never used, or whose TAT has passed.
    Free,
    /// A word that is kept, because another one is free or will be free earlier.
    Kept,
    /// The word that will be free first, of a set that has no free one.
    First,
    /// The set has no free word, and the table can grow.
    Full,
}

type Words = [Word; WORDS];

impl Set {
    /// Decides about a request. `former` is asked for the TAT of a client that has no word here; it hears whether no
    /// client ever had one.
    pub(super) fn decide(&self, arrival: &Arrival<'_>, growth: Growth, former: impl Fn(bool) -> Option<u64>) -> Answer {
        let mut passed = 0;
        loop {
            let words = self.words();
            if words.iter().any(|word| word.is_closed()) {
                return Answer::Closed;
            }
            let answer = match find(&words, arrival.tag) {
                Some((at, word)) => self.change(at, word, arrival),
                None => hand(&words).and_then(|(at, word)| {
                    let tat = former(words.iter().all(|word| word.tag().is_none()));
                    let room = at_hand(&words, word, arrival, growth, &mut passed);
                    self.admit(at, word, tat, room, arrival)
                }),
            };
            // Otherwise another thread has got on since we have read.
            if let Some(answer) = answer {
                return answer;
            }
        }
    }

    /// Closes the set: nothing changes in it any more.
    pub(super) fn close(&self) {
        for word in &self.0 {
            let closed = |word| Some(Word(word)).filter(|word| !word.is_closed()).map(|word| word.closed().0);
            // One that is closed already is left as it is.
            _ = word.fetch_update(AcqRel, Acquire, closed);
        }
    }

    /// The TAT of a client in a set that is closed, if it is still to come.
    pub(super) fn tat(&self, arrival: &Arrival<'_>) -> Option<u64> {
        find(&self.words(), arrival.tag).and_then(|(_, word)| arrival.tat(word))
    }

    /// A set of the same clients, with the hand at the begin. `translate` makes the new TAT of each word.
    pub(super) fn translated(&self, translate: impl Fn(Word) -> u64) -> Self {
        let words = self.words();
        let word = |word: Word| word.tag().map_or_else(Word::default, |tag| Word::new(tag, translate(word)));
        Self(words.map(|old| AtomicU64::new(word(old).0)))
    }

    /// A request of a client that is known here.
    fn change(&self, at: usize, word: Word, arrival: &Arrival<'_>) -> Option<Answer> {
        match arrival.decide(arrival.tat(word)) {
            Err(wait) => Some(Decided::refused(wait)),
            Ok(tat) => self.swap(at, word, word.with_tat(tat)).then(|| Decided::allowed(false)),
        }
    }

    /// A request of a client that is not known here, and for which there is `room` at the hand.
    fn admit(&self, at: usize, word: Word, tat: Option<u64>, room: AtHand, arrival: &Arrival<'_>) -> Option<Answer> {
        let tat = match arrival.decide(tat) {
            Err(wait) => return Some(Decided::refused(wait)),
            Ok(tat) => tat,
        };
        let has_evicted = match room {
            AtHand::Free => false,
            AtHand::First => true,
            AtHand::Full => return Some(Answer::Full),
            AtHand::Kept => {
                // Whether this thread passes it or another one, it is passed.
                self.swap(at, word, word.with_lap(word.lap_after()));
                return None;
            }
        };
        let new = Word::new(arrival.tag, tat).with_lap(word.lap_after());
        self.swap(at, word, new).then(|| Decided::allowed(has_evicted))
    }

    fn words(&self) -> Words {
        self.0.each_ref().map(|word| Word(word.load(Acquire)))
    }

    fn swap(&self, at: usize, old: Word, new: Word) -> bool {
        self.0.get(at).is_some_and(|word| word.compare_exchange(old.0, new.0, AcqRel, Acquire).is_ok())
    }
}

impl Arrival<'_> {
    fn tat(&self, word: Word) -> Option<u64> {
        word.tat(self.now.ticks, self.horizon)
    }

    fn decide(&self, tat: Option<u64>) -> Result<u64, RetryAfter> {
        match self.rule.decide(tat.unwrap_or_default(), self.now) {
            Verdict::Allowed { tat } => Ok(tat),
            Verdict::Refused(wait) => Err(wait),
        }
    }
}

impl Decided {
    fn allowed(has_evicted: bool) -> Answer {
        Answer::Decided(Self { result: Ok(()), has_evicted })
    }

    fn refused(wait: RetryAfter) -> Answer {
        Answer::Decided(Self { result: Err(wait), has_evicted: false })
    }
}

fn find(words: &Words, tag: Tag) -> Option<(usize, Word)> {
    words.iter().copied().enumerate().find(|(_, word)| word.is_of(tag))
}

/// The word at the hand. `None` if these words never stood beside each other: they were changed while they were read.
fn hand(words: &Words) -> Option<(usize, Word)> {
    let [first, ..] = *words;
    let ahead = words.iter().take_while(|word| word.lap() == first.lap()).count();
    let behind = || words.iter().skip(ahead);
    let (at, word) = behind().next().map_or((0, first), |word| (ahead, *word));
    behind().all(|word| word.lap_after() == first.lap()).then_some((at, word))
}

/// Whether the word at the hand can be had. `passed` counts the words that were not.
fn at_hand(words: &Words, word: Word, arrival: &Arrival<'_>, growth: Growth, passed: &mut usize) -> AtHand {
    let Some(tat) = arrival.tat(word) else { return AtHand::Free };
    // A word that is free comes before every TAT.
    let soonest = words.iter().map(|word| arrival.tat(*word)).min().flatten();
    match soonest {
        Some(_) if growth == Growth::Possible => AtHand::Full,
        Some(soonest) if tat <= soonest => AtHand::First,
        // Other threads take what is free, again and again.
        _ if *passed >= WORDS => AtHand::First,
        _ => {
            *passed += 1;
            AtHand::Kept
        }
    }
}
