//! Counterexamples in words, a line for each fact.

use crate::trial::history::{Action, Mark, Seen, Stage, State, Step, StepOutcome};
use crate::trial::judge::Fact;

/// One fact in one line.
pub(super) fn line(fact: &Fact) -> String {
    match fact {
        Fact::Step(step) => of_step(step),
        Fact::Seen(seen) => of_seen(seen),
        Fact::Mark(mark) => of_mark(mark),
        Fact::Note(note) => note.clone(),
    }
}

fn of_step(step: &Step) -> String {
    let action = match step.action {
        Action::Write { kind, value, is_keyed: true } => format!("{kind} {value:x}"),
        Action::Write { kind, value, is_keyed: false } => format!("{kind} {value:x} without a key"),
        Action::Again { kind, value } => format!("{kind} {value:x} again, with the same key"),
        Action::Login => "logs in".to_owned(),
        Action::Read => "reads".to_owned(),
        Action::Look { object } => format!("looks at book {object:x}"),
        Action::Post { object, value } => format!("writes {value:x} into book {object:x}"),
        Action::Logout => "logs out".to_owned(),
        Action::Reuse => "reads with the old cookie".to_owned(),
    };
    let outcome = match &step.outcome {
        StepOutcome::Done => "done".to_owned(),
        StepOutcome::Forgotten => "the session is not known".to_owned(),
        StepOutcome::Failed(why) => format!("failed: {why}"),
        StepOutcome::Values(values) => {
            format!("gets [{}]", values.iter().map(|value| format!("{value:x}")).collect::<Vec<_>>().join(" "))
        }
    };
    let replica = step.replica.as_deref().unwrap_or("nobody");
    let took = (step.ended - step.sent).as_secs_f64() * 1000.0;
    let mut tries = if step.tries > 1 { format!(", sent {} times", step.tries) } else { String::new() };
    tries.push_str(if step.is_altered { ", not what the replica has sent" } else { "" });
    tries.push_str(if step.is_reconnected { ", on a new connection" } else { "" });
    format!(
        "{:8.3} s  session {} step {} {action}: {replica} responds, {outcome} (after {took:.0} ms{tries})",
        step.sent.as_secs_f64(),
        step.session,
        step.number
    )
}

fn of_seen(seen: &Seen) -> String {
    let Seen { at, replica, stage, step: (session, number), has_key, is_altered } = seen;
    let stage = match stage {
        Stage::Arrived => "arrives at",
        Stage::Executed => "is executed by",
    };
    let key = if *has_key { "with" } else { "without" };
    let how = if *is_altered { ", not as it was sent" } else { "" };
    format!("{:8.3} s  session {session} step {number} {stage} {replica}, {key} a key{how}", at.as_secs_f64())
}

fn of_mark(mark: &Mark) -> String {
    let whose = if mark.whose.is_empty() { "the file" } else { &mark.whose };
    let state = match mark.state {
        State::Edited => "is edited",
        State::InForce => "is in force",
        State::Draining => "drains",
        State::Out => "is out of the file",
        State::Ending => "is about to end",
        State::Lingering => "takes its time",
        State::Killed => "is dead",
        State::Sick => "says that it is not well",
        State::Well => "says that it is well",
        State::Stopped => "stands still",
        State::Continued => "goes on",
        State::Mute => "does not respond any more",
        State::Erring => "responds 500 to everything",
        State::CutOff => "cannot reach its store",
        State::CaughtUp => "has what its primary has",
        State::HeldBack => "falls behind",
        State::Failing => "gets SIGKILL",
        State::Promoted => "takes over",
        State::Rekeying => "is about to be sealed with",
        State::Rekeyed => "is what every replica seals with",
    };
    format!("{:8.3} s  {whose} {state}", mark.at.as_secs_f64())
}
