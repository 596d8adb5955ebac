//! The smallest journey that shows a dependence: the step that is needed, the step that needs it, and whatever else
//! these two cannot do without.

use std::collections::BTreeSet;

use super::Stopped;
use super::bench::Bench;
use super::cross::Groups;
use super::locate::Located;
use crate::play::Move;
use crate::report::Side;

/// Smaller journeys that are tried.
const TRIES_MAX: usize = 120;

/// A part of a journey in two parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Small {
    /// Its steps, in order, and which part each belongs to; the last one is the one that depends.
    pub(super) steps: Vec<(usize, Side)>,
    /// The replica of the first part, and that of the other.
    pub(super) replicas: (usize, usize),
}

impl Small {
    /// A whole journey up to a step, in two parts behind another step.
    pub(super) fn cut(last: usize, behind: usize, replicas: (usize, usize)) -> Self {
        let side = |step: usize| if step <= behind { Side::One } else { Side::Other };
        Self { steps: (0..=last).map(|step| (step, side(step))).collect(), replicas }
    }

    /// The replicas of its two parts, in the order AA, AB, BB, BA.
    pub(super) fn placements(&self) -> [(usize, usize); 4] {
        let (a, b) = self.replicas;
        [(a, a), (a, b), (b, b), (b, a)]
    }

    /// Its steps with the first part on one replica and the second on another.
    pub(super) fn placed(&self, one: usize, other: usize) -> Vec<(usize, usize)> {
        let place = |(step, side): &(usize, Side)| (*step, if *side == Side::One { one } else { other });
        self.steps.iter().map(place).collect()
    }

    /// The same as moves, with something behind the last step of the first part.
    pub(super) fn moves(&self, one: usize, between: &[Move], other: usize) -> Vec<Move> {
        let step = |(at, replica): (usize, usize)| Move::Step(at, replica);
        let mut moves: Vec<Move> = self.placed(one, other).into_iter().map(step).collect();
        let last = self.steps.iter().rposition(|(_, side)| *side == Side::One).map_or(0, |last| last + 1);
        let behind = moves.split_off(last);
        moves.extend_from_slice(between);
        moves.extend(behind);
        moves
    }
}

/// How a journey is parted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parting {
    /// Behind the step that is needed: what led to it is on its replica.
    Behind,
    /// As it came out wrong. What comes before the step that is needed is on the other replica then, as is what a
    /// replica has read, and keeps, before another one changes it.
    AsPlaced,
}

/// See the module. `None`: not even the whole beginning of the journey shows it.
pub(super) async fn shrink(
    bench: &mut Bench<'_>,
    groups: &Groups,
    located: &Located,
) -> Result<Option<Small>, Stopped> {
    bench.listener.begin("making it small", 0);
    for parting in [Parting::Behind, Parting::AsPlaced] {
        if let Some(small) = parted(bench, groups, located, parting).await? {
            return Ok(Some(small));
        }
    }
    Ok(None)
}

async fn parted(
    bench: &mut Bench<'_>,
    groups: &Groups,
    located: &Located,
    parting: Parting,
) -> Result<Option<Small>, Stopped> {
    let (at, needs) = (located.wrong.at, located.needs);
    let parts = Parts::new(groups, located, parting);
    let mut tries = 0;
    for chosen in smallest(needs, at).take(TRIES_MAX / 2) {
        if let Some(small) = shows(bench, &parts, &chosen, &mut tries).await? {
            return Ok(Some(small));
        }
    }
    let mut kept: Vec<usize> = (0..=at).collect();
    let Some(mut small) = shows(bench, &parts, &kept, &mut tries).await? else { return Ok(None) };
    let mut size = kept.len() / 2;
    while size > 0 && tries < TRIES_MAX && !bench.is_late() {
        let mut from = 0;
        while from < kept.len() && tries < TRIES_MAX {
            let smaller = match without(&kept, from, size, &[needs, at]) {
                Some(less) => shows(bench, &parts, &less, &mut tries).await?.map(|small| (small, less)),
                None => None,
            };
            match smaller {
                Some(smaller) => (small, kept) = smaller,
                None => from += size,
            }
        }
        size /= 2;
    }
    Ok(Some(small))
}

/// The parts that are tried first: the two steps alone, then with one more, the latest first.
fn smallest(needs: usize, at: usize) -> impl Iterator<Item = Vec<usize>> {
    let others = (0..at).rev().filter(move |step| *step != needs);
    std::iter::once(vec![needs, at]).chain(others.map(move |other| vec![other, needs, at]))
}

/// Some steps without some of them, if those that are needed are among what is left.
fn without(kept: &[usize], from: usize, count: usize, needed: &[usize]) -> Option<Vec<usize>> {
    let gone = from..(from + count).min(kept.len());
    let left = kept.iter().enumerate().filter(|(nth, _)| !gone.contains(nth)).map(|(_, step)| *step);
    let left: Vec<usize> = left.collect();
    (left.len() < kept.len() && needed.iter().all(|step| left.contains(step))).then_some(left)
}

/// Which part each step of a journey belongs to.
struct Parts<'a> {
    located: &'a Located,
    sides: Vec<Side>,
}

impl<'a> Parts<'a> {
    fn new(groups: &Groups, located: &'a Located, parting: Parting) -> Self {
        let (needs, at) = (groups.of(located.needs), groups.of(located.wrong.at));
        let is_first = |step: usize| match parting {
            // Steps that are known to need each other stay together.
            Parting::Behind => groups.of(step) == needs || groups.of(step) != at && step <= located.needs,
            Parting::AsPlaced => located.places[step] == located.replicas.0,
        };
        let sides = (0..located.places.len()).map(|step| if is_first(step) { Side::One } else { Side::Other });
        Self { located, sides: sides.collect() }
    }
}

/// Whether a part of the journey comes out right on one replica and wrong across.
async fn shows(
    bench: &mut Bench<'_>,
    Parts { located, sides }: &Parts<'_>,
    chosen: &[usize],
    tries: &mut usize,
) -> Result<Option<Small>, Stopped> {
    *tries += 1;
    let bound = bench.plan.bound(bench.journey);
    let mut steps: BTreeSet<usize> = chosen.iter().copied().collect();
    steps.extend(chosen.iter().filter_map(|step| bound[*step]));
    let steps = steps.into_iter().map(|step| (step, sides[step])).collect();
    let small = Small { steps, replicas: located.replicas };
    let (a, b) = located.replicas;
    if bench.judge_places(&small.placed(b, b)).await?.is_some() {
        return Ok(None);
    }
    let is_wrong = bench.judge_places(&small.placed(a, b)).await?.is_some_and(|wrong| wrong.at == located.wrong.at);
    Ok(is_wrong.then_some(small))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_two_steps_are_tried_alone_and_then_with_each_other_one() {
        let tried: Vec<_> = smallest(1, 4).collect();
        assert_eq!(tried, [vec![1, 4], vec![3, 1, 4], vec![2, 1, 4], vec![0, 1, 4]]);
        assert_eq!(smallest(0, 1).collect::<Vec<_>>(), [[0, 1]]);
    }

    #[test]
    fn what_is_needed_is_never_left_out() {
        let kept = [0, 2, 3, 5, 7];
        for (from, count, expected) in [
            (0, 2, Some(&[3, 5, 7][..])),
            (1, 1, Some(&[0, 3, 5, 7])),
            (0, 1, Some(&[2, 3, 5, 7])),
            (2, 1, None),
            (2, 2, None),
            (3, 1, Some(&[0, 2, 3, 7])),
            (3, 2, None),
            (4, 9, None),
            (5, 2, None),
        ] {
            assert_eq!(without(&kept, from, count, &[3, 7]).as_deref(), expected, "{count} from {from}");
        }
    }

    #[test]
    fn a_journey_in_two_parts_is_placed_in_four_ways() {
        let small = Small::cut(3, 1, (0, 2));
        assert_eq!(small.placements(), [(0, 0), (0, 2), (2, 2), (2, 0)]);
        assert_eq!(small.placed(0, 2), [(0, 0), (1, 0), (2, 2), (3, 2)]);
        // What happens in between stands behind the last step of the first part, whatever stands before it.
        let small = Small { steps: vec![(0, Side::Other), (2, Side::One), (5, Side::Other)], replicas: (0, 1) };
        let pause = Move::Pause(Duration::from_secs(1));
        let moves = small.moves(0, &[Move::Kill(0), pause], 1);
        assert_eq!(moves, [Move::Step(0, 1), Move::Step(2, 0), Move::Kill(0), pause, Move::Step(5, 1)]);
    }
}
