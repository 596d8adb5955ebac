//! Kills the replica that served a step before the next one is played on another. What only comes out wrong then was
//! kept in its memory after its response.

use super::bench::{Bench, Wrong};
use super::cross::Found;
use super::shrink::Small;
use super::{P_MAX, Stopped};
use crate::play::Move;
use crate::replicas::Key;
use crate::report::Cell;
use crate::statistics::fisher;

/// Runs with a crash and without one, to confirm what came out wrong.
const RUNS: u32 = 10;

/// See the module.
pub(super) async fn crash(bench: &mut Bench<'_>, found: &mut Vec<Found>) -> Result<(), Stopped> {
    if !bench.fleet.can_break() {
        let why = "No replica was killed: the audit did not start them, and there is no --restart-cmd.";
        bench.coverage.untried.push(why.into());
        return Ok(());
    }
    let bound = bench.plan.bound(bench.journey);
    let is_open =
        |at: usize| bound.iter().enumerate().any(|(late, opener)| late > at && opener.is_some_and(|o| o <= at));
    let is_needed = |at: usize, found: &[Found]| found.iter().any(|known| known.needs <= at && at < known.at);
    let points: Vec<usize> = (0..bench.plan.len().saturating_sub(1)).filter(|at| !is_open(*at)).collect();
    bench.listener.begin("killing replicas", points.len());
    let mut left_out = 0;
    for at in points {
        if is_needed(at, found) {
            left_out += 1;
            continue;
        }
        bench.coverage.crash_points += 1;
        let (victim, heir) = (at % bench.replicas(), (at + 1) % bench.replicas());
        let whole = Small::cut(bench.plan.len() - 1, at, (victim, heir));
        if let Some(wrong) = with_crash(bench, &whole).await?
            && let Some(dependence) = confirm(bench, &whole, at, wrong).await?
        {
            found.push(dependence);
        }
    }
    if left_out > 0 {
        let (crashes, were) = if left_out == 1 { ("crash", "was") } else { ("crashes", "were") };
        bench.coverage.untried.push(format!(
            "{left_out} {crashes} within a dependence {were} not played: its state is lost with its replica."
        ));
    }
    Ok(())
}

/// Plays the first part, kills its replica, plays the second one elsewhere, and starts the replica again.
async fn with_crash(bench: &mut Bench<'_>, small: &Small) -> Result<Option<Wrong>, Stopped> {
    let (victim, heir) = small.replicas;
    let moves = small.moves(victim, &[Move::Kill(victim)], heir);
    let result = bench.judge(&moves).await;
    if matches!(result, Ok(_) | Err(Stopped::Late)) {
        bench.fleet.start(victim, Key::Same).await?;
    }
    result
}

async fn confirm(bench: &mut Bench<'_>, whole: &Small, needs: usize, wrong: Wrong) -> Result<Option<Found>, Stopped> {
    let small = Small::cut(wrong.at, needs, whole.replicas);
    let (victim, heir) = small.replicas;
    let (mut calm, mut crashed, mut seen) = (0, 0, wrong.clone());
    // A kill takes time, in which much may come to an end. The others get more of it.
    let pause = 2 * bench.time_of_kill(victim).await?;
    for _ in 0..RUNS {
        let quiet = small.moves(victim, &[Move::Pause(pause)], heir);
        calm += u32::from(bench.judge(&quiet).await?.is_none());
        match with_crash(bench, &small).await? {
            None => crashed += 1,
            Some(wrong) => seen = wrong,
        }
    }
    let p = fisher(calm, RUNS, crashed, RUNS);
    if p * bench.plan.len() as f64 > P_MAX {
        return Ok(None);
    }
    let names = bench.names();
    let cell = |one: usize, right: u32, seen: String| Cell {
        one: names[one].clone(),
        other: names[heir].clone(),
        runs: RUNS,
        right,
        seen,
    };
    let quiet = cell(victim, calm, bench.baseline[wrong.at].in_short());
    let loud = cell(victim, crashed, seen.outcome.in_short());
    let cells = [quiet.clone(), loud.clone(), quiet, loud];
    let at = seen.at;
    bench.coverage.failures += 1;
    let small = Small::cut(at, needs, small.replicas);
    Ok(Some(Found { at, needs, small, cells, p, wrong: seen, after_crash: true, is_fresh: false }))
}
