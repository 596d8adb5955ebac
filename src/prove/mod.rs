//! `unstick prove`: the claim that stateless replicas need no sticky sessions, measured.
//!
//! Real parts only: replicas are processes of their own ([`replica`]), the proxy is the shipped `unstick run` on a real
//! TOML file (`proxy`), and every change is an edit of that file. The application is one small shop; only
//! its session layer differs between the *arms* ([`arm`]). Each *event* ([`event::Event`]) is played for all arms at
//! the same time, so that they are measured under the same conditions. What theory predicts stands beside every
//! measurement ([`theory`]). `docs/proof.md` has it in words for sceptical readers.

pub mod arm;
pub mod cell;
pub mod event;
mod fleet;
mod front;
mod lab;
pub mod measures;
pub mod options;
mod progress;
mod proxy;
pub mod replica;
pub mod report;
pub mod sabotage;
mod shop;
mod store;
pub mod theory;
mod workspace;

use std::fs::File;
use std::path::PathBuf;

use anyhow::Context as _;
use tokio::time::Instant;

use arm::Role;
use event::Event;
use lab::Lab;
use options::Options;
use progress::Progress;
use report::Report;
use theory::{Prediction, Verdict};
use workspace::Workspace;

/// Why a run could not be made, and nothing can be concluded.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotPossible(pub String);

/// Runs the experiment and writes the files that were asked for.
///
/// # Errors
/// A process could not be started or did not do what it was told; [`NotPossible`] if a store is not there.
pub async fn run(options: &Options) -> anyhow::Result<Report> {
    // Opened before anything is measured, so that nothing is measured in vain.
    let open = |path: &PathBuf| File::create(path).with_context(|| path.display().to_string());
    let json = options.json.as_ref().map(open).transpose()?;
    let html = options.html.as_ref().map(open).transpose()?;
    let workspace = Workspace::create(options.keep)?;
    let mut report = run_in(options, &workspace).await?;
    report.inconclusive = apparatus_fails(&report).or_else(|| too_little(&report));
    if options.history {
        let cells = report.cells.iter_mut().chain(&mut report.slow_replica);
        report.histories = cells.map(|cell| std::mem::take(&mut cell.history)).collect();
    }
    if options.keep {
        report.kept = Some(workspace.path.clone());
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
    let lab = Lab::prepare(options, workspace).await?;
    let progress = Progress::new(options.events.len() as u64 + 1);
    let mut cells = Vec::new();
    for event in &options.events {
        progress.begin(event.name());
        cells.extend(lab.play(*event).await.with_context(|| format!("event {event}"))?);
    }
    progress.begin("slow replica");
    let (slow_replica, slow_predictions) = lab.slow_replica().await?;
    progress.end();
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        seed: options.seed,
        users: options.users,
        replicas: options.replicas,
        seconds: began.elapsed().as_secs_f64(),
        skipped: lab.left_out,
        kept: None,
        cells,
        slow_replica,
        slow_predictions,
        inconclusive: None,
        histories: Vec::new(),
    })
}

/// An arm that must lose sessions says whether the apparatus can see a loss at all.
fn apparatus_fails(report: &Report) -> Option<String> {
    let is_broken =
        |prediction: &Prediction| prediction.verdict == Verdict::Broken && prediction.what.ends_with("lost");
    let cell = report.of_role(Role::Stateful, Event::Steady).find(|cell| cell.predictions.iter().any(is_broken))?;
    let (all, survived) = cell.survivors;
    Some(format!(
        "the {} arm must lose sessions as theory says and did not ({survived} of {all} journeys survived), so the \
         apparatus is broken",
        cell.arm
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
