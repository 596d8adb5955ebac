//! The gate: the journey on one replica, several times, then on each of the others. What fails or flickers there says
//! nothing of the placement, so nothing is said.

use http::StatusCode;

use super::bench::{Bench, Wrong};
use super::{RUNS_ALONE, RUNS_OF_CELL, Stopped};
use crate::outcome::Outcome;
use crate::play::Move;
use crate::report::{Cause, Cell, Dependence, Difference, Side, Witness};
use crate::statistics::fisher;

/// Learns what is right and what differs for nothing. It returns the skew, if a replica differs from the others
/// whatever came before.
pub(super) async fn gate(bench: &mut Bench<'_>) -> Result<Option<Dependence>, Stopped> {
    let others = bench.replicas() - 1;
    bench.listener.begin("on one replica", RUNS_ALONE + 2 * others);
    let first = alone(bench, 0).await?;
    check(bench, &first)?;
    bench.baseline = first;
    for _ in 1..RUNS_ALONE {
        let again = alone(bench, 0).await?;
        learn(bench, &again)?;
    }
    for replica in 1..bench.replicas() {
        // What is settled may hide something behind it.
        for _ in 0..=bench.plan.len() {
            match skew(bench, replica).await? {
                Look::Same => break,
                Look::Settled => {}
                Look::Skew(skew) => return Ok(Some(*skew)),
            }
        }
    }
    Ok(None)
}

/// Learns what is right from some of the steps on one replica. The others count as not played.
pub(super) async fn learned(bench: &mut Bench<'_>, moves: &[Move]) -> Result<(), Stopped> {
    bench.listener.begin("on one replica", RUNS_ALONE);
    for nth in 0..RUNS_ALONE {
        let mut outcomes = vec![Outcome::Skipped; bench.plan.len()];
        let took = bench.play(moves, &|_, _| false).await?;
        took.into_iter().for_each(|(at, outcome)| outcomes[at] = outcome);
        if nth == 0 {
            check(bench, &outcomes)?;
            bench.baseline = outcomes;
        } else {
            learn(bench, &outcomes)?;
        }
    }
    Ok(())
}

/// The journey on one replica, up to the first step that has no response.
async fn alone(bench: &mut Bench<'_>, replica: usize) -> Result<Vec<Outcome>, Stopped> {
    let moves = on(bench, replica);
    let took = bench.play(&moves, &|_, outcome| outcome.has_no_end()).await?;
    Ok(took.into_iter().map(|(_, outcome)| outcome).collect())
}

fn on(bench: &Bench<'_>, replica: usize) -> Vec<Move> {
    (0..bench.plan.len()).map(|at| Move::Step(at, replica)).collect()
}

/// Whether the journey makes sense: every step has a response, the status that it should have, and what it should
/// contain.
fn check(bench: &Bench<'_>, outcomes: &[Outcome]) -> Result<(), Stopped> {
    for (at, outcome) in outcomes.iter().enumerate() {
        let planned = bench.plan.0[at];
        let step = &bench.journey.steps[planned.step];
        let wanted = match outcome {
            Outcome::Skipped => continue,
            Outcome::Response(seen) => {
                let status = StatusCode::from_u16(seen.status).unwrap_or_default();
                if is_expected(step.status, step.until, status) && seen.broken_off.is_none() && seen.lacks.is_empty() {
                    continue;
                }
                match step.status {
                    Some(expected) if status != expected => format!("{} was expected", expected.as_u16()),
                    _ if !seen.lacks.is_empty() => "a text that must be there is not".into(),
                    _ => "no error was expected".into(),
                }
            }
            Outcome::Failed(_) | Outcome::Lacking(_) => "a response was expected".into(),
        };
        let came = outcome.in_short();
        let why = format!(
            "the journey does not work on one replica: step `{}` ({}) came out as {came}, {wanted}",
            bench.name(at),
            bench.plan.action(at, bench.journey)
        );
        let advice = "try the step by hand; mend its request, or say what is right with `expect = { status = ... }`";
        return Err(Stopped::Inconclusive(format!("{why}{}", excerpt(outcome)), advice.into()));
    }
    let (step, last) = (bench.journey.steps.last(), outcomes.last());
    if let (Some(step), Some(Outcome::Response(seen))) = (step, last)
        && let Some(until) = step.until.filter(|until| until.as_u16() != seen.status)
    {
        let why =
            format!("step `{}` was done {} times and never came out as {}", step.name, step.repeat, until.as_u16());
        return Err(Stopped::Inconclusive(why, "repeat it more often, or correct `until`".into()));
    }
    Ok(())
}

/// Whether a step may come out with this status: the one that is said, or no error; or the one that ends repetitions.
fn is_expected(said: Option<StatusCode>, until: Option<StatusCode>, status: StatusCode) -> bool {
    let is_error = || status.is_client_error() || status.is_server_error();
    until == Some(status) || said.map_or_else(|| !is_error(), |said| said == status)
}

/// The beginning of a body, which often says what is wrong.
fn excerpt(outcome: &Outcome) -> String {
    const SHOWN: usize = 300;
    let Outcome::Response(seen) = outcome else { return String::new() };
    let text: String = seen.body.trim().chars().take(SHOWN).collect();
    if text.is_empty() { String::new() } else { format!("; it said: {text}") }
}

/// Adds what differs in another run on the same replica to what is not compared.
fn learn(bench: &mut Bench<'_>, again: &[Outcome]) -> Result<(), Stopped> {
    for (at, outcome) in again.iter().enumerate() {
        if !bench.masks[at].learn(&bench.baseline[at], outcome) {
            return Err(flickers(bench, at, &bench.baseline[at], outcome));
        }
    }
    Ok(())
}

/// A step that does not even come out the same way twice on one replica.
fn flickers(bench: &Bench<'_>, at: usize, one: &Outcome, other: &Outcome) -> Stopped {
    let why = format!(
        "step `{}` comes out as {} and as {} on one and the same replica",
        bench.name(at),
        one.in_short(),
        other.in_short()
    );
    let advice = "make the journey repeatable: {{unique}} in whatever must be new in each run, `ignore` for the rest";
    Stopped::Inconclusive(why, advice.into())
}

/// What came of playing the journey on another replica.
enum Look {
    /// The same as on the first one.
    Same,
    /// Something differed that is not compared from now on.
    Settled,
    /// It differs, every time.
    Skew(Box<Dependence>),
}

/// Plays the journey on another replica twice. What differs there from the first replica every time is skew; what
/// differs once is noise that the first runs did not show.
async fn skew(bench: &mut Bench<'_>, replica: usize) -> Result<Look, Stopped> {
    let moves = on(bench, replica);
    let mut wrong = Vec::new();
    for _ in 0..2 {
        wrong.extend(bench.judge(&moves).await?);
    }
    let [one, other] = wrong.as_slice() else {
        let Some(once) = wrong.first() else { return Ok(Look::Same) };
        settle(bench, replica, once.at).await?;
        return Ok(Look::Settled);
    };
    if one.at != other.at {
        settle(bench, replica, one.at.min(other.at)).await?;
        return Ok(Look::Settled);
    }
    confirmed(bench, replica, one).await
}

/// Something differed between runs on whole replicas: it is noise, if it can be masked. Steps behind it are not looked
/// at on the other replica.
pub(super) async fn settle(bench: &mut Bench<'_>, replica: usize, at: usize) -> Result<(), Stopped> {
    for _ in 0..2 {
        let again = alone(bench, 0).await?;
        learn(bench, &again)?;
        let again = alone(bench, replica).await?;
        learn(bench, &again[..again.len().min(at + 1)])?;
    }
    Ok(())
}

/// The first replica against the other one, in turn, until chance is no explanation.
async fn confirmed(bench: &mut Bench<'_>, replica: usize, wrong: &Wrong) -> Result<Look, Stopped> {
    let mut right = [0, 0];
    for _ in 0..RUNS_OF_CELL {
        for (side, replica) in [0, replica].into_iter().enumerate() {
            let moves = on(bench, replica);
            let found = bench.judge(&moves).await?;
            right[side] += u32::from(found.is_none_or(|found| found.at > wrong.at));
        }
    }
    let p = fisher(right[0], RUNS_OF_CELL, right[1], RUNS_OF_CELL);
    if p > super::P_MAX {
        settle(bench, replica, wrong.at).await?;
        return Ok(Look::Settled);
    }
    let names = bench.names();
    if wrong.differs.at.starts_with("body") {
        // A process number in a footer, or the version of a file: not what replicas are told apart by.
        bench.notes.push(format!(
            "Replica {} differs from {} in step `{}`, {}: {} and {}. It is not compared; must_contain would be.",
            names[replica],
            names[0],
            bench.name(wrong.at),
            wrong.differs.at,
            wrong.differs.wrong,
            wrong.differs.right
        ));
        settle(bench, replica, wrong.at).await?;
        return Ok(Look::Settled);
    }
    let cell = |one: usize, right: u32, seen: String| Cell {
        one: names[one].clone(),
        other: names[one].clone(),
        runs: RUNS_OF_CELL,
        right,
        seen,
    };
    let right_seen = bench.baseline[wrong.at].in_short();
    let (a, b) = (cell(0, right[0], right_seen), cell(replica, right[1], wrong.outcome.in_short()));
    Ok(Look::Skew(Box::new(Dependence {
        step: wrong.at,
        needs: None,
        witness: Witness {
            steps: (0..=wrong.at).collect(),
            times: vec![1; wrong.at + 1],
            sides: vec![Side::One; wrong.at + 1],
            cells: [a.clone(), b.clone(), b, a],
            p,
            p_corrected: p,
            is_steady: right[0] == RUNS_OF_CELL && right[1] == 0,
            after_crash: false,
        },
        cause: Cause::Skew,
        because: format!(
            "replica {} differs from {} although the whole journey was played on it alone",
            names[replica], names[0]
        ),
        hint: Some("replicas must be the same build with the same configuration and data".into()),
        difference: difference(bench, wrong),
    })))
}

/// What is to be seen of a wrong outcome beside the right one.
pub(super) fn difference(bench: &Bench<'_>, wrong: &Wrong) -> Difference {
    Difference {
        at: wrong.differs.at.clone(),
        right: wrong.differs.right.clone(),
        wrong: wrong.differs.wrong.clone(),
        right_whole: bench.baseline[wrong.at].in_full(),
        wrong_whole: wrong.outcome.in_full(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_may_come_out_as_it_is_said_or_without_an_error() {
        for (said, until, status, expected) in [
            (None, None, 200, true),
            (None, None, 302, true),
            (None, None, 404, false),
            (None, None, 503, false),
            (Some(404), None, 404, true),
            (Some(404), None, 200, false),
            (Some(302), None, 200, false),
            (None, Some(429), 200, true),
            (None, Some(429), 429, true),
            (None, Some(429), 403, false),
            (Some(201), Some(429), 429, true),
            (Some(201), Some(429), 200, false),
        ] {
            let code = |status: u16| StatusCode::from_u16(status).unwrap();
            let found = is_expected(said.map(code), until.map(code), code(status));
            assert_eq!(found, expected, "{said:?} {until:?} {status}");
        }
    }

    #[test]
    fn what_a_step_said_is_shown_from_its_beginning() {
        let seen = |body: &str| {
            let json = serde_json::json!({
                "status": 500, "location": null, "cookies": [], "content_type": null, "broken_off": null, "lacks": [],
                "body": body,
            });
            Outcome::Response(serde_json::from_value(json).unwrap())
        };
        for (outcome, expected) in [
            (seen("  no database\n"), "; it said: no database".to_owned()),
            (seen(&"é".repeat(1000)), format!("; it said: {}", "é".repeat(300))),
            (seen(" \n"), String::new()),
            (Outcome::Failed("closed".into()), String::new()),
        ] {
            assert_eq!(excerpt(&outcome), expected);
        }
    }
}
