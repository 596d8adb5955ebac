//! Places the steps on different replicas: every two of them at least once, then in every way. A step that was found to
//! need the replica of another one stays with it from then on, so that what lies behind is looked at as well.

use super::bench::{Bench, Wrong};
use super::cause::{is_counted, is_same};
use super::gate::settle;
use super::locate::locate;
use super::shrink::{Small, shrink};
use super::{DEPENDENCES_MAX, P_MAX, RUNS_OF_CELL, Stopped, UNSTEADY};
use crate::outcome::mask::Differs;
use crate::placing::{Places, first_pass, second_pass};
use crate::report::Cell;
use crate::statistics::fisher;

/// Runs that came out wrong and then right again, after which nothing can be said.
const FLAKY_MAX: usize = 5;

/// Runs on one replica, and as many across, that tell what fails now and then across replicas from chance.
const RUNS_OF_DOUBT: u32 = 24;
/// If none of so many fails it was chance.
const RUNS_OF_CHANCE: u32 = 12;

/// A dependence that was found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// The step that depends.
    pub(super) at: usize,
    /// The step whose replica it needs.
    pub(super) needs: usize,
    /// The smallest journey that shows it.
    pub(super) small: Small,
    /// What came of its four placements.
    pub(super) cells: [Cell; 4],
    /// p before any correction.
    pub(super) p: f64,
    /// What came on the wrong replica.
    pub(super) wrong: Wrong,
    /// Whether it comes out wrong only if the replica is killed.
    pub(super) after_crash: bool,
    /// Whether it was found on replicas that had just been started, and is seen on such only.
    pub(super) is_fresh: bool,
}

/// Steps that stay together.
pub(super) struct Groups(Vec<usize>);

impl Groups {
    /// What talks on something that another step has opened stays with that.
    fn new(bench: &Bench<'_>) -> Self {
        let mut groups = Self((0..bench.plan.len()).collect());
        for (at, opener) in bench.plan.bound(bench.journey).into_iter().enumerate() {
            opener.into_iter().for_each(|opener| groups.join(opener, at));
        }
        groups
    }

    fn join(&mut self, one: usize, other: usize) {
        let (keep, gone) = (self.0[one].min(self.0[other]), self.0[one].max(self.0[other]));
        self.0.iter_mut().filter(|group| **group == gone).for_each(|group| *group = keep);
    }

    /// The group of a step, named by its first step.
    pub(super) fn of(&self, at: usize) -> usize {
        self.0[at]
    }

    /// The first steps of all groups.
    pub(super) fn firsts(&self) -> Vec<usize> {
        (0..self.0.len()).filter(|at| self.0[*at] == *at).collect()
    }

    /// A placement of groups as one of steps.
    pub(super) fn spread(&self, row: &[usize]) -> Places {
        let firsts = self.firsts();
        let place = |group: &usize| firsts.iter().position(|first| first == group).map_or(0, |nth| row[nth]);
        self.0.iter().map(place).collect()
    }

    /// A placement of steps as one of groups, if it keeps them together.
    fn gathered(&self, places: &[usize]) -> Option<Places> {
        let is_together = self.0.iter().enumerate().all(|(at, group)| places[at] == places[*group]);
        is_together.then(|| self.firsts().into_iter().map(|first| places[first]).collect())
    }
}

/// See the module. It returns which steps stay together in the end.
pub(super) async fn cross(bench: &mut Bench<'_>, found: &mut Vec<Found>) -> Result<Groups, Stopped> {
    let (mut groups, mut right, mut flaky) = (Groups::new(bench), Vec::new(), 0);
    while found.len() < DEPENDENCES_MAX {
        let rows = rows(bench, &groups, &right);
        bench.listener.begin("across replicas", rows.len());
        let Some((places, wrong)) = first_wrong(bench, rows, &mut right).await? else { break };
        let (replica, at, place) = (places[wrong.at], wrong.at, wrong.differs.clone());
        match confirm(bench, &groups, &places, wrong).await? {
            Some(dependence) => {
                join(bench, &mut groups, &dependence);
                found.push(dependence);
            }
            None => {
                flaky += 1;
                if flaky > FLAKY_MAX {
                    let doubt = bench.doubt.take().map(|why| Stopped::Inconclusive(why, UNSTEADY.into()));
                    return Err(doubt.unwrap_or_else(|| flickers(bench, at, &place)));
                }
                // It may be noise that the first runs did not show.
                settle(bench, replica, at).await?;
                if bench.doubt.is_none() {
                    bench.doubt = doubt(bench, &places, at).await?;
                }
            }
        }
    }
    bench.is_crossed = true;
    Ok(groups)
}

/// What is to be said of a step that fails across replicas only, but too seldom for finding what it needs.
async fn doubt(bench: &mut Bench<'_>, places: &[usize], at: usize) -> Result<Option<String>, Stopped> {
    bench.listener.begin("whether it fails across replicas only", 2 * RUNS_OF_DOUBT as usize);
    let across: Vec<(usize, usize)> = places[..=at].iter().copied().enumerate().collect();
    let alone: Vec<(usize, usize)> = across.iter().map(|(step, _)| (*step, places[at])).collect();
    let mut right = [0, 0];
    for run in 1..=RUNS_OF_DOUBT {
        for (steps, right) in [&alone, &across].into_iter().zip(&mut right) {
            *right += u32::from(bench.judge_places(steps).await?.is_none());
        }
        if run == RUNS_OF_CHANCE && right[1] == run {
            return Ok(None);
        }
    }
    let [alone, across] = right.map(|right| RUNS_OF_DOUBT - right);
    Ok(is_doubtful(right).then(|| {
        format!(
            "step `{}`, or one before it, came out wrong in {across} of {RUNS_OF_DOUBT} runs across replicas, and in \
             {alone} of {RUNS_OF_DOUBT} on one; that is too seldom for finding what it needs",
            bench.name(at)
        )
    }))
}

/// Whether runs on one replica came out right more often than runs across, beyond chance.
fn is_doubtful([alone, across]: [u32; 2]) -> bool {
    fisher(alone, RUNS_OF_DOUBT, across, RUNS_OF_DOUBT) <= P_MAX
}

/// Something comes out wrong and then right again, wherever it is played.
fn flickers(bench: &Bench<'_>, at: usize, place: &Differs) -> Stopped {
    let Differs { at: place, right, wrong } = place;
    let why = format!(
        "step `{}` comes out in two ways wherever it is played: {place} is {right}, or {wrong}",
        bench.name(at)
    );
    let advice = "make the journey repeatable: {{unique}} for what must be new, `ignore` for what differs for nothing";
    Stopped::Inconclusive(why, advice.into())
}

/// A step stays with the one that it needs from now on.
pub(super) fn join(bench: &mut Bench<'_>, groups: &mut Groups, dependence: &Found) {
    groups.join(dependence.needs, dependence.at);
    if is_counted(bench, dependence) {
        // All of them are counted together.
        let alike = |step: &usize| is_same(bench, *step, dependence.at);
        (0..bench.plan.len()).filter(alike).for_each(|step| groups.join(step, dependence.at));
    }
    let pair = (dependence.needs, dependence.at);
    let of_pair = bench.coverage.matrix.iter_mut().filter(|known| (known.one, known.other) == pair);
    of_pair.for_each(|known| (known.is_dependent, known.crossed) = (true, known.crossed.max(1)));
}

/// The placements that are still to be played.
fn rows(bench: &Bench<'_>, groups: &Groups, right: &[Places]) -> Vec<Places> {
    let (count, replicas) = (groups.firsts().len(), bench.replicas());
    let known: Vec<Places> = right.iter().filter_map(|places| groups.gathered(places)).collect();
    let is_new = |row: &Places| {
        let pairs = || (0..count).flat_map(|one| (one + 1..count).map(move |other| (one, other)));
        pairs().any(|(one, other)| row[one] != row[other] && !known.iter().any(|known| known[one] != known[other]))
    };
    let first: Vec<Places> = first_pass(count, replicas).into_iter().filter(is_new).collect();
    let all: Vec<Places> = [&known[..], &first].concat();
    let second = second_pass(count, replicas, &all, &mut bench.dice.borrow_mut());
    first.into_iter().chain(second).map(|row| groups.spread(&row)).collect()
}

/// Plays placements until one comes out wrong.
async fn first_wrong(
    bench: &mut Bench<'_>,
    rows: Vec<Places>,
    right: &mut Vec<Places>,
) -> Result<Option<(Places, Wrong)>, Stopped> {
    for places in rows {
        let steps: Vec<(usize, usize)> = places.iter().copied().enumerate().collect();
        match bench.judge_places(&steps).await? {
            None => {
                bench.crossed(&places, places.len(), true);
                right.push(places);
            }
            Some(wrong) => {
                bench.crossed(&places, wrong.at + 1, false);
                return Ok(Some((places, wrong)));
            }
        }
    }
    Ok(None)
}

/// Finds what a wrong step needs, makes the journey small, and plays its four placements often enough.
pub(super) async fn confirm(
    bench: &mut Bench<'_>,
    groups: &Groups,
    places: &[usize],
    wrong: Wrong,
) -> Result<Option<Found>, Stopped> {
    let Some(located) = locate(bench, groups, places, wrong).await? else { return Ok(None) };
    let (at, needs) = (located.wrong.at, located.needs);
    let Some(small) = shrink(bench, groups, &located).await? else { return Ok(None) };
    let mut cells = cells(bench, &small, at);
    let mut wrong = located.wrong;
    bench.listener.begin("its four placements", 4 * RUNS_OF_CELL as usize);
    for _ in 0..3 {
        for _ in 0..RUNS_OF_CELL {
            for (cell, (one, other)) in cells.iter_mut().zip(small.placements()) {
                let result = bench.judge_places(&small.placed(one, other)).await?;
                cell.runs += 1;
                match result {
                    None => cell.right += 1,
                    Some(found) => {
                        cell.seen = found.outcome.in_short();
                        if one != other && found.at == at {
                            wrong = found;
                        }
                    }
                }
            }
        }
        let p = p(&cells);
        let same_fails = cells[0].right < cells[0].runs || cells[2].right < cells[2].runs;
        let cross_fails = cells[1].right < cells[1].runs || cells[3].right < cells[3].runs;
        if p * bench.plan.len() as f64 <= P_MAX {
            return Ok(Some(Found { at, needs, small, cells, p, wrong, after_crash: false, is_fresh: false }));
        }
        if same_fails || !cross_fails {
            return Ok(None);
        }
    }
    Ok(None)
}

fn cells(bench: &Bench<'_>, small: &Small, at: usize) -> [Cell; 4] {
    let names = bench.names();
    let seen = bench.baseline[at].in_short();
    small.placements().map(|(one, other)| Cell {
        one: names[one].clone(),
        other: names[other].clone(),
        runs: 0,
        right: 0,
        seen: seen.clone(),
    })
}

/// p of the two placements on one replica against the two across.
fn p(cells: &[Cell; 4]) -> f64 {
    let [aa, ab, bb, ba] = cells;
    fisher(aa.right + bb.right, aa.runs + bb.runs, ab.right + ba.right, ab.runs + ba.runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_were_joined_are_placed_together() {
        let mut groups = Groups((0..6).collect());
        groups.join(4, 1);
        groups.join(5, 4);
        groups.join(1, 1);
        assert_eq!((groups.firsts(), groups.of(5)), (vec![0, 1, 2, 3], 1));
        let places = groups.spread(&[0, 1, 0, 2]);
        assert_eq!(places, [0, 1, 0, 2, 1, 1]);
        assert_eq!(groups.gathered(&places), Some(vec![0, 1, 0, 2]));
        assert_eq!(groups.gathered(&[0, 1, 0, 2, 1, 0]), None, "it takes a group apart");
        groups.join(0, 5);
        assert_eq!((groups.firsts(), groups.of(4)), (vec![0, 2, 3], 0));
    }

    #[test]
    fn failures_across_are_doubtful_only_beyond_chance() {
        for (right, expected) in [
            ([24, 24], false),
            ([24, 23], false),
            ([24, 19], false),
            ([24, 16], true),
            ([24, 0], true),
            ([17, 16], false),
            // It fails on one replica only: then it is not for being across.
            ([16, 24], false),
        ] {
            assert_eq!(is_doubtful(right), expected, "{right:?}");
        }
    }

    #[test]
    fn only_what_is_right_on_one_replica_and_wrong_across_is_unlikely() {
        let cell = |right: u32| Cell { one: "A".into(), other: "B".into(), runs: 5, right, seen: String::new() };
        for (right, is_found) in [
            ([5, 0, 5, 0], true),
            ([5, 1, 5, 0], true),
            ([5, 5, 5, 5], false),
            // Skew: one replica fails, whatever came before.
            ([5, 0, 0, 5], false),
            ([0, 5, 0, 5], false),
            ([3, 2, 2, 3], false),
            ([5, 4, 5, 3], false),
        ] {
            assert_eq!(p(&right.map(cell)) <= P_MAX, is_found, "{right:?}");
        }
    }
}
