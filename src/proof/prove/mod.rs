//! `unstick prove`: the claim that stateless replicas need no sticky sessions, measured.
//!
//! Real parts only: replicas are processes of their own ([`replica`]), the proxy is the shipped `unstick run` on a real
//! TOML file (`proxy`), and every change is an edit of that file. The application is one small shop; only
//! its session layer differs between the *arms* ([`arm`]). Each *event* ([`event::Event`]) is played for all arms at
//! the same time, so that they are measured under the same conditions. What theory predicts stands beside every
//! measurement ([`theory`]). `docs/proof.md` has it in words for sceptical readers.

mod account;
pub mod arm;
mod ask;
pub mod cell;
pub mod event;
mod fleet;
mod front;
mod interrupted;
mod lab;
mod ledger;
pub mod level;
mod lifeline;
pub mod measures;
mod mood;
pub mod options;
pub mod pace;
mod pairs;
mod ports;
mod process;
mod progress;
mod proxy;
mod repeats;
pub mod replay;
pub mod replica;
pub mod report;
pub mod sabotage;
mod secret;
mod shop;
mod store;
pub mod study;
mod sum;
pub mod theory;
mod tomb;
mod workspace;

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use tokio::time::Instant;

use arm::{Role, UNWRITTEN};
use cell::CellReport;
use event::{Event, FULL_ONLY};
use interrupted::interrupted;
use lab::Lab;
use options::Options;
use progress::Progress;
use report::Report;
use study::{Bench, STUDIES, Study, StudyReport};
use theory::{Prediction, Subject, Verdict};
use workspace::Workspace;

use crate::replica::runtime;
use crate::trial::history::State;

/// Why a run could not be made, and nothing can be concluded.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotPossible(pub String);

/// Runs the experiment and writes the files that were asked for. `None`: a signal interrupted it, and everything it
/// started has ended with the tasks that held it.
///
/// # Errors
/// A process could not be started or did not do what it was told; [`NotPossible`] if a store is not there, or the
/// machine cannot carry the users; something of an interrupted run is left.
pub fn run(options: &Options) -> anyhow::Result<Option<Report>> {
    let mut workspace = None;
    let played = runtime::run(async {
        let interrupted = interrupted()?;
        let workspace = workspace.insert(Workspace::create(options.keep)?);
        tokio::select! {
            report = play(options, workspace) => report.map(Some),
            () = interrupted => Ok(None),
        }
    });
    // The runtime and all its tasks are gone: what they have held has ended.
    match (&played, workspace.as_ref().map_or(Ok(()), Workspace::remove)) {
        (Ok(None), Err(error)) => Err(error.context("interrupted")),
        (_, Err(error)) => {
            // The report is worth more than this.
            writeln!(std::io::stderr(), "{error:#}").ok();
            played
        }
        (_, Ok(())) => played,
    }
}

async fn play(options: &Options, workspace: &Workspace) -> anyhow::Result<Report> {
    // Opened before anything is measured, so that nothing is measured in vain.
    let open = |path: &PathBuf| File::create(path).with_context(|| path.display().to_string());
    let json = options.json.as_ref().map(open).transpose()?;
    let html = options.html.as_ref().map(open).transpose()?;
    let mut report = run_in(options, workspace).await?;
    report.judge_shares(0);
    report.inconclusive = inconclusive(&report);
    if options.history {
        let cells = report.cells.iter_mut().chain(&mut report.slow_replica);
        report.histories = cells.map(|cell| std::mem::take(&mut cell.history)).collect();
    }
    if let Some(file) = json {
        report.write_json(file).context("cannot write the JSON")?;
    }
    if let Some(file) = html {
        report::html::write(&report, std::io::BufWriter::new(file)).context("cannot write the page")?;
    }
    Ok(report)
}

async fn run_in(options: &Options, workspace: &Workspace) -> anyhow::Result<Report> {
    let began = Instant::now();
    let steps = options.events.len() as u64 * u64::from(options.repeat) + 1 + options.studies.len() as u64;
    let progress = Progress::new(steps);
    let mut report = if options.events.is_empty() {
        Report { version: env!("CARGO_PKG_VERSION"), seed: options.seed, ..Report::default() }
    } else {
        run_events(options, workspace, &progress).await?
    };
    let is_missing = |study: &&Study| !options.studies.contains(study);
    report.not_studied = STUDIES.iter().filter(is_missing).map(|one| one.name()).collect();
    report.kept = options.keep.then(|| workspace.path.clone());
    let bench = Bench::new(options, workspace);
    for study in &options.studies {
        progress.begin(study.name());
        report.studies.push(match study.run(&bench).await {
            Err(error) if !(report.cells.is_empty() && report.studies.is_empty()) => study.impossible(&error),
            found => found.with_context(|| format!("study {study}"))?,
        });
    }
    progress.end();
    report.seconds = began.elapsed().as_secs_f64();
    Ok(report)
}

/// Plays every event for every arm.
async fn run_events(options: &Options, workspace: &Workspace, progress: &Progress) -> anyhow::Result<Report> {
    let lab = Lab::prepare(options, workspace).await?;
    let mut cells = Vec::new();
    let played = play_events(&lab, options, progress, &mut cells).await;
    let (impossible, (slow_replica, slow_predictions)) = match played {
        Ok(slow) => (None, slow),
        // What was measured before is still worth something.
        Err(error) if !cells.is_empty() => (Some(format!("{error:#}")), Default::default()),
        Err(error) => return Err(error),
    };
    Ok(Report {
        impossible,
        version: env!("CARGO_PKG_VERSION"),
        seed: options.seed,
        users: options.users,
        replicas: options.replicas,
        seconds: 0.0,
        sampled: 0,
        pace: lab.pace,
        skipped: lab.left_out,
        not_played: FULL_ONLY.into_iter().filter(|event| !options.events.contains(event)).collect(),
        not_studied: Vec::new(),
        studies: Vec::new(),
        kept: None,
        cells,
        slow_replica,
        slow_predictions,
        inconclusive: Vec::new(),
        histories: Vec::new(),
    })
}

/// One event after the other, which leave their `cells`, then the slow replica.
async fn play_events(
    lab: &Lab<'_>,
    options: &Options,
    progress: &Progress,
    cells: &mut Vec<CellReport>,
) -> anyhow::Result<(Vec<CellReport>, Vec<Prediction>)> {
    for round in 0..options.repeat {
        for event in &options.events {
            progress.begin(event.name());
            let played = lab.play(*event, round).await;
            cells.extend(played.with_context(|| format!("event {event}"))?);
        }
    }
    progress.begin("slow replica");
    lab.slow_replica().await
}

/// Why nothing can be concluded, if so. What is broken is broken nevertheless.
fn inconclusive(report: &Report) -> Vec<String> {
    let mut reasons = Vec::from_iter(report.impossible.clone());
    let of_apparatus = |cell: &'_ CellReport, is_bad: fn(&Verdict) -> bool| {
        let mut predictions = cell.predictions.iter();
        predictions.find(|one| one.subject == Subject::Apparatus && is_bad(&one.verdict)).cloned()
    };
    for cell in &report.cells {
        let (must, prediction) = match (cell.arm.role(), cell.event) {
            (Role::Stateful, Event::Steady) => ("must lose sessions", of_apparatus(cell, |one| *one != Verdict::Held)),
            (Role::Stateful, _) => ("must depend on the replica", of_apparatus(cell, |one| *one != Verdict::Held)),
            (_, Event::Pairs) => {
                ("must agree with itself on one replica", of_apparatus(cell, |one| *one == Verdict::Broken))
            }
            _ => continue,
        };
        if let Some(Prediction { what, expected, measured, .. }) = prediction {
            reasons.push(format!(
                "the {} arm {must} as theory says, and the apparatus did not see that ({what}: expected {expected}, \
                 measured {measured})",
                cell.arm
            ));
        }
    }
    reasons.extend(report.studies.iter().flat_map(StudyReport::unlike_theory));
    reasons.extend(report.studies.iter().flat_map(|study| study.too_slow.clone()));
    reasons.extend(unwritten(report));
    reasons.extend(nothing_killed(report));
    reasons.extend(too_little(report));
    reasons.extend(too_late(report));
    reasons
}

/// What was not written down cannot be judged.
fn unwritten(report: &Report) -> Option<String> {
    let mut all = report.predictions().filter(|(_, one)| one.subject == Subject::Apparatus);
    let is_missing = |one: &Prediction| one.what == UNWRITTEN && one.verdict == Verdict::Broken;
    let (place, prediction) = all.find(|(_, one)| is_missing(one))?;
    Some(format!("{place}: {UNWRITTEN}: {}", prediction.measured))
}

/// A kill that met no request says nothing about requests under way.
fn nothing_killed(report: &Report) -> Option<String> {
    let is_idle = |cell: &&CellReport| {
        let kills = cell.history.of(State::Killed).filter(|mark| !mark.whose.starts_with("proxy")).count();
        kills > 0 && cell.findings.in_flight == 0 && cell.arm.role() == Role::Stateless
    };
    let cell = report.cells.iter().find(is_idle)?;
    Some(format!("{}, {}: no request was under way at any replica when it was killed", cell.arm, cell.event))
}

/// Requests that the machine itself had no time for are held against nobody. Nor can anybody say that they were served.
fn too_late(report: &Report) -> Option<String> {
    let cell = report.cells.iter().find(|cell| cell.findings.late.count > 0)?;
    let late: u64 = report.cells.iter().map(|cell| cell.findings.late.count).sum();
    let longest = report.cells.iter().map(|cell| cell.measures.waits.machine.2).fold(0.0, f64::max);
    Some(format!(
        "{}, {}: {late} requests in all had no response in time while the machine stood still (an idle replica took \
         up to {longest:.0} ms); try fewer users, or a machine with nothing else to do",
        cell.arm, cell.event
    ))
}

/// Whether there is too little to conclude anything from.
fn too_little(report: &Report) -> Option<String> {
    if report.predictions().next().is_none() {
        return Some("nothing was measured".into());
    }
    let mut undecided = report.predictions().filter(|(_, prediction)| prediction.verdict == Verdict::TooFew);
    let (place, prediction) = undecided.next()?;
    let others = undecided.count();
    Some(format!(
        "{place}: {}: {} trials are too few, as in {others} other predictions; try more users or a longer run",
        prediction.what, prediction.trials
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::trial::history::{Action, History, Step, StepOutcome};
    use report::Conclusion;

    /// A run with requests that failed after a time, beside an idle replica that took so long.
    fn run_with(failed_after_ms: u64, beat_ms: u64) -> Report {
        let ms = Duration::from_millis;
        let step = |number: u32, action, (sent, ended), outcome| Step {
            session: number,
            number: 0,
            user: number,
            action,
            sent,
            ended,
            replica: None,
            outcome,
            tries: 1,
            state_bytes: 0,
            store_trips: 0,
            is_altered: false,
            is_reconnected: false,
        };
        let logins = (0..100).map(|number| step(number, Action::Login, (ms(1), ms(2)), StepOutcome::Done));
        let failed = StepOutcome::Failed("no response in time".into());
        let steps = logins.chain([step(100, Action::Read, (ms(10), ms(10 + failed_after_ms)), failed)]).collect();
        let history = History { steps, beats: vec![(ms(20), ms(beat_ms))], ..History::default() };
        let mut cell = CellReport::of((arm::jwt::ARM, Event::Rolling, 3, "round-robin"), history);
        let requests = &cell.findings;
        cell.predictions = vec![Prediction::never("requests failed", requests.failed.count, requests.requests, None)];
        let mut report = Report { cells: vec![cell], ..Report::default() };
        report.inconclusive = inconclusive(&report);
        report
    }

    #[test]
    fn a_machine_that_stands_still_breaks_nothing_and_shows_nothing() {
        assert_eq!(run_with(5010, 2).conclusion(), Conclusion::Broken);
        assert_eq!(run_with(100, 2000).conclusion(), Conclusion::Broken);
        let report = run_with(5010, 2000);
        assert_eq!(report.conclusion(), Conclusion::Inconclusive);
        let why = "jwt, rolling: 1 requests in all had no response in time while the machine stood still (an idle \
                   replica took up to 2000 ms)";
        assert!(report.inconclusive[0].starts_with(why), "{:?}", report.inconclusive);
    }

    #[test]
    fn an_event_that_cannot_be_played_takes_nothing_back() {
        for (failed, conclusion) in [(1, Conclusion::Broken), (0, Conclusion::Inconclusive)] {
            let mut report = run_with(100, 2000);
            report.cells[0].predictions = vec![Prediction::never("requests failed", failed, 100, None)];
            report.impossible = Some("event failover: the standby does not catch up".into());
            report.inconclusive = inconclusive(&report);
            assert_eq!(report.conclusion(), conclusion);
            assert_eq!(report.inconclusive.len(), 1, "{:?}", report.inconclusive);
            assert!(report.inconclusive[0].starts_with("event failover"), "{:?}", report.inconclusive);
        }
    }
}
