//! The counterexample again, and nothing else.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bench::{Bench, Wrong};
use super::gate::{difference, learned};
use super::shrink::Small;
use super::{P_MAX, RUNS_OF_CELL, Stopped, inconclusive, report};
use crate::play::Move;
use crate::replicas::Key;
use crate::report::{Cause, Cell, Dependence, Report, Side, Verdict, Witness};
use crate::statistics::fisher;

/// Rounds that are played if the first ones do not tell.
const ROUNDS_MAX: usize = 3;

/// A witness, as it is kept in a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    /// The steps, by their places in the plan of the journey, and where each is played; the last one depends.
    pub steps: Vec<(usize, Side)>,
    /// The step that is needed.
    pub needs: usize,
    /// The replica of those steps, and that of the others.
    pub replicas: (usize, usize),
    /// Whether the replica of the first steps is killed in between.
    pub after_crash: bool,
    /// Whether each run has replicas of its own.
    #[serde(default)]
    pub is_fresh: bool,
    /// The cause that was found.
    pub cause: Cause,
    /// The runs that told it.
    pub because: String,
    /// The hint that was given.
    pub hint: Option<String>,
}

/// What a report must keep so that its witnesses can be played again, in their order.
pub fn replays(bench: &Bench<'_>) -> Vec<Replay> {
    bench.replays.clone()
}

impl Replay {
    fn small(&self) -> Small {
        Small { steps: self.steps.clone(), replicas: self.replicas }
    }

    /// Whether it fits this journey and so many replicas.
    fn fits(&self, bench: &Bench<'_>) -> bool {
        let (one, other) = self.replicas;
        let is_in_order = self.steps.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let has_last = self.steps.last().is_some_and(|(last, _)| *last < bench.plan.len());
        is_in_order && has_last && one.max(other) < bench.replicas() && one != other
    }
}

/// Plays a witness again in its four placements.
pub async fn again(bench: &mut Bench<'_>, replay: &Replay) -> Report {
    let verdict = match played(bench, replay).await {
        Ok(Some(dependence)) => Verdict::Dependent { dependences: vec![dependence] },
        Ok(None) => Verdict::NoneFound,
        Err(stopped) => inconclusive(bench, stopped).await,
    };
    report(bench, verdict)
}

async fn played(bench: &mut Bench<'_>, replay: &Replay) -> Result<Option<Dependence>, Stopped> {
    if !replay.fits(bench) {
        let why = "the witness does not fit the journey or the number of replicas".into();
        return Err(Stopped::Inconclusive(why, "make a new one with `unstick audit`".into()));
    }
    if replay.is_fresh {
        bench.begin_fresh();
    }
    let small = replay.small();
    let (a, b) = replay.replicas;
    let alone: Vec<Move> = small.moves(a, &[], a);
    learned(bench, &alone).await?;
    bench.listener.begin("its four placements", 4 * RUNS_OF_CELL as usize);
    let names = bench.names();
    let at = small.steps.last().map_or(0, |(at, _)| *at);
    let seen = bench.baseline[at].in_short();
    let new = |(one, other): (usize, usize)| Cell {
        one: names[one].clone(),
        other: names[other].clone(),
        runs: 0,
        right: 0,
        seen: seen.clone(),
    };
    // A crash is played against the same placement without one.
    let placements = if replay.after_crash { [(a, b), (a, b), (a, b), (a, b)] } else { small.placements() };
    let mut cells = placements.map(new);
    let mut wrong = None;
    let mut p = 1.0;
    for _ in 0..ROUNDS_MAX {
        round(bench, replay, &small, placements, &mut cells, &mut wrong).await?;
        let [aa, ab, bb, ba] = &cells;
        p = fisher(aa.right + bb.right, aa.runs + bb.runs, ab.right + ba.right, ab.runs + ba.runs);
        let same_fails = aa.right < aa.runs || bb.right < bb.runs;
        if p <= P_MAX || same_fails || wrong.is_none() {
            break;
        }
    }
    let Some(wrong) = wrong else { return Ok(None) };
    if p > P_MAX {
        let why = "the witness came out wrong in some runs only, not clearly by its placement".into();
        return Err(Stopped::Inconclusive(why, "play it again, or make a new one with `unstick audit`".into()));
    }
    let [aa, ab, bb, ba] = &cells;
    let is_steady = ab.right + ba.right == 0 && aa.right == aa.runs && bb.right == bb.runs;
    Ok(Some(Dependence {
        step: at,
        needs: Some(replay.needs),
        witness: Witness {
            times: vec![1; small.steps.len()],
            steps: small.steps.iter().map(|(at, _)| *at).collect(),
            sides: small.steps.iter().map(|(_, side)| *side).collect(),
            cells,
            p,
            p_corrected: p,
            is_steady,
            after_crash: replay.after_crash,
        },
        cause: replay.cause,
        because: replay.because.clone(),
        hint: replay.hint.clone(),
        difference: difference(bench, &wrong),
    }))
}

/// Plays each placement some times.
async fn round(
    bench: &mut Bench<'_>,
    replay: &Replay,
    small: &Small,
    placements: [(usize, usize); 4],
    cells: &mut [Cell; 4],
    wrong: &mut Option<Wrong>,
) -> Result<(), Stopped> {
    // As much time as a kill takes, and more.
    let pause = if replay.after_crash { 2 * bench.time_of_kill(replay.replicas.0).await? } else { Duration::ZERO };
    for _ in 0..RUNS_OF_CELL {
        for (nth, (one, other)) in placements.into_iter().enumerate() {
            let kills = replay.after_crash && nth % 2 == 1;
            let between: &[Move] = match (replay.after_crash, kills) {
                (_, true) => &[Move::Kill(one)],
                (true, false) => &[Move::Pause(pause)],
                (false, false) => &[],
            };
            let result = bench.judge(&small.moves(one, between, other)).await?;
            if kills {
                bench.fleet.start(one, Key::Same).await?;
            }
            cells[nth].runs += 1;
            match result {
                None => cells[nth].right += 1,
                Some(found) => {
                    cells[nth].seen = found.outcome.in_short();
                    *wrong = Some(found);
                }
            }
        }
    }
    Ok(())
}
