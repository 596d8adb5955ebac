//! What happened besides what every review asks: rows of events that were played.

use super::losses::Losses;
use super::questions::lost_in;
use super::{Answer, Grade, Played, Question, Source, worst};
use crate::prove::arm::Arm;
use crate::prove::event::Event;
use crate::prove::repeats;
use crate::prove::report::{Report, pairs};
use crate::prove::theory::{Prediction, Verdict, short};

/// Which event answers it.
type Line = (&'static str, &'static str, Event, fn(&Played<'_>) -> Answer);

const ROWS: [Line; 9] = [
    ("placement", "of the same journey", Event::Pairs, placement),
    ("crash of most", "all but one killed", Event::CrashAllButOne, |it| lost_in(it, Event::CrashAllButOne)),
    ("drain", "one replica taken out", Event::Drain, |it| lost_in(it, Event::Drain)),
    ("repeats", "writes, through five kills", Event::Repeats, repeated),
    ("two tabs", "two writes at once", Event::Steady, tabs),
    ("store restarted", "ends, starts again", Event::StoreRestart, store),
    ("store failed over", "to one that copies it", Event::Failover, failover),
    ("no room left", "where sessions are", Event::Full, full),
    ("another key", "for tokens", Event::KeyRotation, |it| lost_in(it, Event::KeyRotation)),
];

/// The rows whose event was played, with one answer for each of `arms`.
pub(super) fn rows(report: &Report, arms: &[Arm]) -> Vec<Question> {
    let is_played = |event| report.cells.iter().any(|cell| cell.event == event);
    let answer = |event, arm: Arm, answer: fn(&Played<'_>) -> Answer| {
        let played = Played { report, arm };
        if played.cells(event).is_empty() { played.not_measured(&played.missing(event)) } else { answer(&played) }
    };
    let row = |(question, asks, event, say): &Line| Question {
        question,
        asks,
        answers: arms.iter().map(|arm| answer(*event, *arm, *say)).collect(),
    };
    ROWS.iter().filter(|(_, _, event, _)| is_played(*event)).map(row).collect()
}

fn placement(played: &Played<'_>) -> Answer {
    let cells = played.cells(Event::Pairs);
    let found = |cell: &crate::prove::cell::CellReport| cell.pairs.as_ref().map_or(0, |pairs| pairs.runs.hits.count);
    let Some(shown) = worst(&cells, found) else { return played.not_measured("") };
    let grade = if found(shown.cell) == 0 { Grade::Good } else { Grade::Bad };
    let evidence = shown.prediction(|what| what.starts_with("responses that depend") || what.starts_with("runs on"));
    let of_runs = shown.figure("pairs/runs/hits/count");
    played.answer(grade, pairs::row(shown.cell), evidence.into_iter().chain([of_runs]))
}

fn repeated(played: &Played<'_>) -> Answer {
    let cells = played.cells(Event::Repeats);
    let lines: Vec<String> = cells.iter().map(|source| repeats::shown(&source.cell.history)).collect();
    let all = || cells.iter().flat_map(|source| &source.cell.predictions);
    let evidence = cells.iter().flat_map(|source| {
        let predictions = source.cell.predictions.iter();
        predictions.filter_map(|one| source.prediction(|what| what == one.what))
    });
    // What is done twice without a key is what theory says, and why there are keys.
    let grade = if all().any(|one| one.verdict == Verdict::Broken) { Grade::Bad } else { Grade::Figure };
    played.answer(grade, lines.join("\n"), evidence)
}

fn tabs(played: &Played<'_>) -> Answer {
    let Some(shown) = worst(&played.cells(Event::Steady), |cell| cell.findings.pairs.hits.count) else {
        return played.not_measured("");
    };
    let pairs = &shown.cell.findings.pairs;
    let grade = match pairs.hits.count {
        _ if pairs.trials == 0 => return played.not_measured("no pair of writes was acknowledged"),
        0 => Grade::Good,
        _ => Grade::Bad,
    };
    let text = format!("{} of {} pairs of writes lost one", pairs.hits.count, pairs.trials);
    played.answer(grade, text, [shown.told("pairs of writes at once that lose one", "findings/pairs/hits/count")])
}

fn store(played: &Played<'_>) -> Answer {
    let cells = played.cells(Event::StoreRestart);
    with_waits(lost_in(played, Event::StoreRestart), &cells)
}

fn failover(played: &Played<'_>) -> Answer {
    let cells = played.cells(Event::Failover);
    let answer = with_waits(lost_in(played, Event::Failover), &cells);
    told(answer, &cells, |_, what| what.starts_with("acknowledged writes lost"))
}

fn full(played: &Played<'_>) -> Answer {
    let cells = played.cells(Event::Full);
    let answer = Losses::of(played, &cells).map_or_else(
        || played.answer(Grade::Figure, played.missing(Event::Full), []),
        |losses| played.answer(losses.grade(), losses.text(), losses.evidence),
    );
    told(answer, &cells, |source, what| source.cell.history.count(what).is_some())
}

fn with_waits(mut answer: Answer, cells: &[Source<'_>]) -> Answer {
    let most = |figure: fn(&Source<'_>) -> f64| cells.iter().map(figure).fold(0.0, f64::max);
    let (failing, longest) = (most(|one| one.cell.failing_seconds), most(|one| one.cell.longest_seconds));
    answer.text.push_str(&format!("\nwithin {} s\nlongest wait {} s", short(failing, 1), short(longest, 1)));
    answer.evidence.extend(worst(cells, |cell| cell.failing_seconds).map(|one| one.figure("failing_seconds")));
    answer
}

/// The same, below some predictions beside what was measured.
fn told(mut answer: Answer, cells: &[Source<'_>], is_one: impl Fn(&Source<'_>, &str) -> bool) -> Answer {
    let mut lines = String::new();
    for source in cells {
        for Prediction { what, measured, expected, verdict, .. } in
            source.cell.predictions.iter().filter(|one| is_one(source, &one.what))
        {
            lines.push_str(&format!("{what}: {measured}, predicted {expected}\n"));
            answer.evidence.extend(source.prediction(|one| one == what));
            if *verdict == Verdict::Broken {
                answer.grade = Grade::Bad;
            }
        }
    }
    Answer { text: lines + &answer.text, ..answer }
}
