//! What is kept of one client: eight bytes, so that one compare-and-swap replaces all of it.

/// The TAT, in ticks of the rule, without its upper bits.
const TAT_BITS: u32 = 33;
/// What tells the clients of a set apart: a part of a keyed hash. 0 is nobody's.
const TAG_BITS: u32 = 28;
/// How often the hand of the set has passed this word; see `set`.
const LAP_BITS: u32 = 2;

const TAG_AT: u32 = TAT_BITS;
const LAP_AT: u32 = TAG_AT + TAG_BITS;
const CLOSED: u64 = 1 << (LAP_AT + LAP_BITS);

const TAT_MASK: u64 = (1 << TAT_BITS) - 1;
const TAG_MASK: u64 = ((1 << TAG_BITS) - 1) << TAG_AT;
const LAP_MASK: u64 = ((1 << LAP_BITS) - 1) << LAP_AT;

/// The place of a client in a set, or an empty one.
///
/// A TAT is kept without its upper bits. It is read as one that lies between the present and the horizon of the rule,
/// or as passed. So one that passed 2^33 ticks ago (37 hours if a client may send 1,000 requests per second, two years
/// if it may send 100 per minute) is taken for one to come, until the horizon is behind it. A client that comes
/// back just then is told to wait, at most for a second and the interval of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Word(pub(super) u64);

/// The part of a hash that is kept, where it stands in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag(u64);

impl Tag {
    /// The uppermost bits of `hash`: the lower ones have chosen the set.
    pub(super) fn of(hash: u64) -> Self {
        Self((hash >> (u64::BITS - TAG_BITS)).max(1) << TAG_AT)
    }
}

impl Word {
    /// An open word, at the begin of the first lap.
    pub(super) fn new(tag: Tag, tat: u64) -> Self {
        Self(tag.0 | (tat & TAT_MASK))
    }

    pub(super) fn is_of(self, tag: Tag) -> bool {
        self.0 & TAG_MASK == tag.0
    }

    /// Whose word it is; nobody's if it was never used.
    pub(super) fn tag(self) -> Option<Tag> {
        let tag = self.0 & TAG_MASK;
        (tag != 0).then_some(Tag(tag))
    }

    /// The TAT if it is still to come.
    pub(super) fn tat(self, now: u64, horizon: u64) -> Option<u64> {
        let ahead = self.0.wrapping_sub(now) & TAT_MASK;
        (1..=horizon).contains(&ahead).then(|| now.saturating_add(ahead))
    }

    pub(super) fn with_tat(self, tat: u64) -> Self {
        Self((self.0 & !TAT_MASK) | (tat & TAT_MASK))
    }

    pub(super) fn lap(self) -> u64 {
        (self.0 & LAP_MASK) >> LAP_AT
    }

    /// The lap that this word has when the hand has passed it once more.
    pub(super) fn lap_after(self) -> u64 {
        (self.lap() + 1) & (LAP_MASK >> LAP_AT)
    }

    pub(super) fn with_lap(self, lap: u64) -> Self {
        Self((self.0 & !LAP_MASK) | ((lap << LAP_AT) & LAP_MASK))
    }

    /// Whether nothing may change it any more.
    pub(super) fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    pub(super) fn closed(self) -> Self {
        Self(self.0 | CLOSED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_kept_apart() {
        for hash in [0, 1, u64::MAX, 1 << 38, 0x0123_4567_89ab_cdef] {
            for tat in [0, 1, TAT_MASK, u64::MAX] {
                for lap in 0..4 {
                    let (tag, other) = (Tag::of(hash), Tag::of(!hash));
                    let word = Word::new(tag, tat).with_lap(lap);
                    assert_eq!((word.is_of(tag), word.tag(), word.lap()), (true, Some(tag), lap), "{hash:x}");
                    assert!(!word.is_of(other) && !word.is_closed());
                    let closed = word.closed();
                    assert_eq!((closed.is_of(tag), closed.is_closed(), closed.lap()), (true, true, lap));
                    assert_eq!(word.with_lap(word.lap_after()).lap(), (lap + 1) % 4);
                    assert_eq!(word.with_tat(tat ^ 5).with_tat(tat), word);
                }
            }
        }
        assert_eq!(Word::default().tag(), None);
        assert!(!Word::default().is_of(Tag::of(0)), "a hash whose upper bits are 0 has a tag all the same");
    }

    #[test]
    fn a_tat_is_to_come_up_to_the_horizon() {
        let horizon = 1000;
        for now in [0, 5_000, TAT_MASK - 10, TAT_MASK, TAT_MASK + 1, 3 << TAT_BITS, u64::MAX - 2000] {
            let word = |tat: u64| Word::new(Tag::of(7), tat);
            for ahead in [1, 999, 1000] {
                assert_eq!(word(now + ahead).tat(now, horizon), Some(now + ahead), "{now}");
            }
            for tat in [now, now.wrapping_sub(1), now.wrapping_sub(1 << 32), now + 1001] {
                assert_eq!(word(tat).tat(now, horizon), None, "{tat} at {now}");
            }
        }
    }
}
