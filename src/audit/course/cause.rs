//! Why a step depends, from the runs that tell it: other keys, another disk, more time, a replica that was started
//! again. Names say nothing here; see `hint`.

use std::time::Duration;

use super::bench::Bench;
use super::cross::Found;
use super::gate::difference;
use super::hint::hint;
use super::replay::Replay;
use super::shrink::Small;
use super::{P_MAX, SHOWN_MAX, Stopped};
use crate::journey::{Act, Request};
use crate::play::Move;
use crate::replicas::{Disk, Fleet, Key, Keys};
use crate::report::{Cause, Dependence, Side, Witness};
use crate::statistics::holm;

/// Runs that must all come out right before they are believed, and how many if it comes out right by chance now and
/// then.
const RUNS: u32 = 2;
const RUNS_MAX: u32 = 20;
/// How often chance alone may give so many.
const CHANCE: f64 = 0.05;

/// How long is waited for a copy to become the present one.
const PAUSES: [Duration; 3] = [Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(5)];

/// What is in the memory of one process only.
const LOST: &str = "it is lost when its replica is started again";

/// A cause, and the runs that tell it, in a sentence.
type Told = (Cause, String);

/// See the module. The dependences in the order of the journey.
pub(super) async fn explain(bench: &mut Bench<'_>, mut found: Vec<Found>) -> Result<Vec<Dependence>, Stopped> {
    found.sort_by_key(|found| (found.at, found.needs));
    let corrected = holm(&found.iter().map(|found| found.p).collect::<Vec<f64>>(), bench.plan.len());
    let mut shown: Vec<Dependence> = Vec::new();
    for (found, p) in found.into_iter().zip(corrected).filter(|(_, p)| *p <= P_MAX) {
        // Steps that need the same one mostly need it for the same reason.
        let known = shown.iter().find(|known| known.needs == Some(found.needs) && !known.witness.after_crash);
        let (cause, because) = match known.filter(|_| !found.after_crash) {
            Some(known) if shown.len() >= SHOWN_MAX || is_like(bench, &found, known) => {
                (known.cause, known.because.clone())
            }
            _ => told(bench, &found).await?,
        };
        if found.is_fresh {
            bench.begin_fresh();
        }
        let dependence = dependence(bench, &found, p, (cause, because));
        if found.is_fresh {
            bench.end_fresh();
        }
        bench.replays.push(Replay {
            steps: found.small.steps,
            needs: found.needs,
            replicas: found.small.replicas,
            after_crash: found.after_crash,
            is_fresh: found.is_fresh,
            cause,
            because: dependence.because.clone(),
            hint: dependence.hint.clone(),
        });
        shown.push(dependence);
    }
    Ok(shown)
}

/// Whether what comes looks like what is known already.
fn is_like(bench: &Bench<'_>, found: &Found, known: &Dependence) -> bool {
    let step = |at: usize| bench.plan.0[at].step;
    known.difference.at == found.wrong.differs.at
        && known.difference.wrong == found.wrong.differs.wrong
        && !is_counted(bench, found)
        && step(known.step) != step(found.at)
}

fn dependence(bench: &Bench<'_>, found: &Found, p: f64, (cause, because): Told) -> Dependence {
    let (steps, times, sides) = folded(bench, &found.small);
    let is_steady = [1, 3].iter().all(|cell| found.cells[*cell].right == 0)
        && [0, 2].iter().all(|cell| found.cells[*cell].right == found.cells[*cell].runs);
    let cells = found.cells.clone();
    let witness =
        Witness { steps, times, sides, cells, p: found.p, p_corrected: p, is_steady, after_crash: found.after_crash };
    Dependence {
        step: found.at,
        needs: Some(found.needs),
        witness,
        cause,
        because,
        hint: hint(bench, found, cause),
        difference: difference(bench, &found.wrong),
    }
}

/// The steps of a witness, how often each is done, and where; those that do the same several times in a row on one
/// replica are one.
fn folded(bench: &Bench<'_>, small: &Small) -> (Vec<usize>, Vec<u32>, Vec<Side>) {
    let (mut steps, mut times, mut sides): (Vec<usize>, Vec<u32>, Vec<Side>) = Default::default();
    for (at, side) in &small.steps {
        match (steps.last(), times.last_mut()) {
            (Some(last), Some(count)) if sides.last() == Some(side) && is_same(bench, *last, *at) => *count += 1,
            _ => {
                steps.push(*at);
                times.push(1);
                sides.push(*side);
            }
        }
    }
    (steps, times, sides)
}

/// Whether two steps send the same, as it is written.
pub(super) fn is_same(bench: &Bench<'_>, one: usize, other: usize) -> bool {
    let step = |at: usize| &bench.journey.steps[bench.plan.0[at].step];
    let (one, other) = (step(one), step(other));
    match (&one.act, &other.act) {
        (Act::Request(a), Act::Request(b)) => one.actor == other.actor && text(a) == text(b),
        _ => false,
    }
}

fn text(request: &Request) -> String {
    format!("{} {} {:?} {:?}", request.method, request.target, request.fields, request.content)
}

/// The cause, as far as there is time to look for it.
async fn told(bench: &mut Bench<'_>, found: &Found) -> Result<Told, Stopped> {
    if found.is_fresh {
        bench.begin_fresh();
    }
    let result = tell(bench, found).await;
    if found.is_fresh {
        bench.end_fresh();
    }
    match result {
        Err(Stopped::Late) => Ok((Cause::Unknown, "the time was over before its cause was looked for".into())),
        result => result,
    }
}

/// The first cause that its runs tell.
async fn tell(bench: &mut Bench<'_>, found: &Found) -> Result<Told, Stopped> {
    if found.after_crash {
        let because = "without a kill another replica has what it needs; it is lost with the process".into();
        return Ok((Cause::Memory, because));
    }
    if is_counted(bench, found) {
        let because = "the same request was to be counted over all replicas; each counts for itself".into();
        return Ok((Cause::LocalCounter, because));
    }
    bench.listener.begin("looking for the cause", 0);
    if bench.has_own_keys()
        && let Some(fleet) = bench.other(|spawn| spawn.keys = Keys::Shared).await?
        && is_right_on(bench, fleet, found).await?
    {
        let because = "with one key for all replicas it comes out right";
        return Ok((Cause::KeyPerProcess, because.into()));
    }
    if bench.has_own_disks()
        && let Some(fleet) = bench.other(|spawn| spawn.disk = Disk::Shared).await?
        && is_right_on(bench, fleet, found).await?
    {
        let because = "with one disk for all replicas it comes out right";
        return Ok((Cause::LocalDisk, because.into()));
    }
    for pause in PAUSES {
        if is_right_with(bench, found, &[Move::Pause(pause)]).await? {
            let because = format!("it comes out right after a pause of {} s", pause.as_secs_f64());
            return Ok((Cause::StaleCopy, because));
        }
    }
    restarted(bench, found).await
}

/// What restarts tell.
async fn restarted(bench: &mut Bench<'_>, found: &Found) -> Result<Told, Stopped> {
    if !bench.fleet.can_break() {
        let because = "no longer pause mends it, and the replicas could not be started again to tell more".into();
        return Ok((if is_protocol(bench, found) { Cause::ProtocolSession } else { Cause::Unknown }, because));
    }
    let (one, other) = found.small.replicas;
    if is_right_with(bench, found, &[Move::Kill(other), Move::Start(other, Key::Same)]).await? {
        let because = "a replica that is started afterwards has it; one that ran before keeps an old copy".into();
        return Ok((Cause::StaleCopy, because));
    }
    let again = found.small.moves(one, &[Move::Kill(one), Move::Start(one, Key::Same)], one);
    let (mut is_kept, mut is_kept_by_key) = (true, false);
    for _ in 0..RUNS {
        is_kept &= right(bench, &again, found).await?;
    }
    if is_kept && bench.has_own_keys() {
        let other_key = found.small.moves(one, &[Move::Kill(one), Move::Start(one, Key::Other)], one);
        is_kept_by_key = !right(bench, &other_key, found).await?;
        // What it had before is right again.
        if !found.is_fresh {
            bench.fleet.kill(one).await?;
            bench.fleet.start(one, Key::Same).await?;
        }
    }
    if is_kept && !is_kept_by_key {
        is_kept = is_kept_before(bench, found).await?;
    }
    Ok(told_by_restart(is_kept, is_kept_by_key, is_protocol(bench, found)))
}

/// Whether it comes out right on one replica that is started again before the step that is needed. What that step
/// itself needs of the ones before it may be all that lies in memory: which requests came already, who listens.
async fn is_kept_before(bench: &mut Bench<'_>, found: &Found) -> Result<bool, Stopped> {
    let (one, _) = found.small.replicas;
    let mut moves = found.small.moves(one, &[], one);
    let at = moves.iter().position(|step| *step == Move::Step(found.needs, one)).unwrap_or(0);
    moves.splice(at..at, [Move::Kill(one), Move::Start(one, Key::Same)]);
    Ok(at == 0 || right(bench, &moves, found).await?)
}

/// What it tells whether a replica that is started again still has it, and not with another key.
fn told_by_restart(is_kept: bool, is_kept_by_key: bool, is_protocol: bool) -> Told {
    match (is_kept, is_kept_by_key) {
        (true, true) => (Cause::KeyPerProcess, "a replica that is started again with another key has lost it".into()),
        (true, false) => {
            let longest = longest_pause();
            let why = "its own replica still has it after a restart, and no other one has it within";
            (Cause::Unknown, format!("{why} {longest} s"))
        }
        (false, _) if is_protocol => (Cause::ProtocolSession, LOST.into()),
        (false, _) => (Cause::Memory, lost_or_late()),
    }
}

/// A replica that tells the others late has lost it as well, if it is started again before it has told them.
fn lost_or_late() -> String {
    format!("{LOST}; a lag of more than {} s cannot be told from that", longest_pause())
}

fn longest_pause() -> u64 {
    PAUSES.last().map_or(0, Duration::as_secs)
}

/// Whether a request was to come out differently than one of its kind before it, on one replica, and came out as that
/// one with the other one elsewhere.
pub(super) fn is_counted(bench: &Bench<'_>, found: &Found) -> bool {
    let (right, came, mask) = (&bench.baseline[found.at], &found.wrong.outcome, &bench.masks[found.at]);
    let mut before = found.small.steps[..found.small.steps.len() - 1].iter();
    before.any(|(at, side)| {
        let earlier = &bench.baseline[*at];
        *side == Side::One
            && is_same(bench, *at, found.at)
            && mask.difference(right, earlier).is_some()
            && bench.masks[*at].difference(earlier, came).is_none()
    })
}

/// Whether the step that is needed opens a session of its protocol.
fn is_protocol(bench: &Bench<'_>, found: &Found) -> bool {
    let step = &bench.journey.steps[bench.plan.0[found.needs].step];
    let request = match &step.act {
        Act::WebSocket(..) | Act::EventStream(..) | Act::Talk(..) => return true,
        Act::Request(request) => request,
    };
    let is_session = |source: &crate::journey::Source| match source {
        crate::journey::Source::Header(name) => name.as_str().ends_with("session-id"),
        _ => false,
    };
    let is_polling = ["EIO=", "transport=polling"].iter().any(|word| request.target.contains(word));
    is_polling || step.captures.iter().any(|capture| is_session(&capture.source))
}

/// How many runs must be right for a cause to be told: so many that chance gives them in one of twenty cases.
fn runs(found: &Found) -> u32 {
    let [_, ab, _, ba] = &found.cells;
    let right = f64::from(ab.right + ba.right) / f64::from(ab.runs + ba.runs).max(1.0);
    (RUNS..RUNS_MAX).find(|runs| right.powi(runs.cast_signed()) <= CHANCE).unwrap_or(RUNS_MAX)
}

/// Whether it comes out right across the replicas of another fleet, which ends then.
async fn is_right_on(bench: &mut Bench<'_>, fleet: Fleet, found: &Found) -> Result<bool, Stopped> {
    let (one, other) = found.small.replicas;
    let moves = found.small.moves(one, &[], other);
    let mut is_right = true;
    for _ in 0..runs(found) {
        is_right = is_right && bench.judge_on(&fleet, &moves).await?.is_none();
    }
    fleet.end().await;
    Ok(is_right)
}

/// Whether it comes out right across replicas if this happens in between.
async fn is_right_with(bench: &mut Bench<'_>, found: &Found, between: &[Move]) -> Result<bool, Stopped> {
    let (one, other) = found.small.replicas;
    let moves = found.small.moves(one, between, other);
    for _ in 0..runs(found) {
        if !right(bench, &moves, found).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn right(bench: &mut Bench<'_>, moves: &[Move], found: &Found) -> Result<bool, Stopped> {
    let wrong = bench.judge(moves).await?;
    // A run that ends early has not started what it killed; all moves of a run stand before its second part.
    Ok(wrong.is_none_or(|wrong| wrong.at > found.at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_tell_a_cause() {
        for (is_kept, is_kept_by_key, is_protocol, expected) in [
            (true, true, false, Cause::KeyPerProcess),
            (true, true, true, Cause::KeyPerProcess),
            (true, false, false, Cause::Unknown),
            (true, false, true, Cause::Unknown),
            (false, false, false, Cause::Memory),
            (false, false, true, Cause::ProtocolSession),
        ] {
            let (cause, because) = told_by_restart(is_kept, is_kept_by_key, is_protocol);
            assert_eq!(cause, expected, "{is_kept} {is_kept_by_key} {is_protocol}: {because}");
            assert_eq!(because.starts_with(LOST), !is_kept, "{because}");
            assert_eq!(because.contains("more than 5 s"), expected == Cause::Memory, "{because}");
        }
    }
}
