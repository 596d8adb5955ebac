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

/// See the module. `None`: not even the whole beginning of the journey shows it.
pub(super) async fn shrink(
    bench: &mut Bench<'_>,
    groups: &Groups,
    located: &Located,
) -> Result<Option<Small>, Stopped> {
    let (at, needs) = (located.wrong.at, located.needs);
    bench.listener.begin("making it small", 0);
    let mut tries = 0;
    let others: Vec<usize> = (0..at).rev().filter(|step| *step != needs).collect();
    let pair = std::iter::once(vec![needs, at]);
    let triples = others.iter().map(|other| vec![*other, needs, at]);
    for chosen in pair.chain(triples).take(TRIES_MAX / 2) {
        if let Some(small) = shows(bench, groups, located, &chosen, &mut tries).await? {
            return Ok(Some(small));
        }
    }
    let mut kept: Vec<usize> = (0..=at).collect();
    let Some(mut small) = shows(bench, groups, located, &kept, &mut tries).await? else { return Ok(None) };
    let mut size = kept.len() / 2;
    while size > 0 && tries < TRIES_MAX && !bench.is_late() {
        let mut from = 0;
        while from < kept.len() && tries < TRIES_MAX {
            let gone = from..(from + size).min(kept.len());
            let without: Vec<usize> =
                kept.iter().enumerate().filter(|(nth, _)| !gone.contains(nth)).map(|(_, step)| *step).collect();
            let is_possible = without.contains(&needs) && without.contains(&at) && without.len() < kept.len();
            match if is_possible { shows(bench, groups, located, &without, &mut tries).await? } else { None } {
                Some(smaller) => (small, kept) = (smaller, without),
                None => from += size,
            }
        }
        size /= 2;
    }
    Ok(Some(small))
}

/// Whether a part of the journey comes out right on one replica and wrong across.
async fn shows(
    bench: &mut Bench<'_>,
    groups: &Groups,
    located: &Located,
    chosen: &[usize],
    tries: &mut usize,
) -> Result<Option<Small>, Stopped> {
    *tries += 1;
    let bound = bench.plan.bound(bench.journey);
    let mut steps: BTreeSet<usize> = chosen.iter().copied().collect();
    steps.extend(chosen.iter().filter_map(|step| bound[*step]));
    // Steps that are known to need each other stay together.
    let side = |step: usize| {
        let group = groups.of(step);
        let is_first =
            group == groups.of(located.needs) || group != groups.of(located.wrong.at) && step <= located.needs;
        if is_first { Side::One } else { Side::Other }
    };
    let small = Small { steps: steps.into_iter().map(|step| (step, side(step))).collect(), replicas: located.replicas };
    let (a, b) = located.replicas;
    if bench.judge_places(&small.placed(b, b)).await?.is_some() {
        return Ok(None);
    }
    let is_wrong = bench.judge_places(&small.placed(a, b)).await?.is_some_and(|wrong| wrong.at == located.wrong.at);
    Ok(is_wrong.then_some(small))
}
