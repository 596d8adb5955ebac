//! What a run showed: the verdict, a table for people, JSON for machines, a page with charts.

mod evidence;
mod facts;
pub mod html;
mod pairs;
pub mod review;
mod studies;
pub mod table;

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

use serde::Serialize;

use super::arm::{ARMS, Arm, Role};
use super::cell::CellReport;
use super::event::Event;
use super::level;
use super::options;
use super::pace::Pace;
use super::study::StudyReport;
use super::theory::{Prediction, Subject, Verdict, percent, percent_up, upper_bound};
use crate::trial::history::History;
use crate::trial::judge::Findings;
use crate::trial::pairs::judge::PairFindings;
use review::Review;

/// What no run can show; it is printed every time.
pub const NOT_SHOWN: [&str; 6] = [
    "paths that no journey touches, and races between users for one thing (two tabs of one user are played)",
    "effects of time beyond the run: expiry, refresh of tokens, scheduled jobs",
    "background jobs and local files that nobody reads back",
    "that the shared store is itself safe or fast enough",
    "other applications than the shop tested here",
    "that no dependence exists: only that none was found, with the bounds given",
];

/// Steps of the journeys whose loss is told.
const JOURNEY_STEPS: i32 = 5;

/// Everything that a run showed.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Version of unstick that judged it.
    pub version: &'static str,
    /// Everything random was drawn from this.
    pub seed: u64,
    /// Users at one time, in each arm.
    pub users: u32,
    /// Replicas at the beginning of most events.
    pub replicas: usize,
    /// Seconds it took.
    pub seconds: f64,
    /// How many predictions have a sampling error, and share the level of the run.
    pub sampled: usize,
    /// Why users paused longer than they were told to, if they did.
    pub pace: Option<Pace>,
    /// What was left out, and what to do to have it measured.
    pub skipped: Vec<String>,
    /// Events that a run of a minute leaves out.
    pub not_played: Vec<Event>,
    /// Studies that were not made.
    pub not_studied: Vec<&'static str>,
    /// Where logs, config files and stores were kept.
    pub kept: Option<PathBuf>,
    /// One cell for each arm in each event.
    pub cells: Vec<CellReport>,
    /// One replica three times slower: round-robin, then least-connections.
    pub slow_replica: Vec<CellReport>,
    /// Predictions about the slow replica.
    pub slow_predictions: Vec<Prediction>,
    /// What is not about sessions of the shop: see [`study`](super::study).
    pub studies: Vec<StudyReport>,
    /// Why an event could not be played, and none behind it was, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impossible: Option<String>,
    /// Why nothing can be concluded, if so. What is broken is broken nevertheless.
    pub inconclusive: Vec<String>,
    /// Every step of every cell, if it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub histories: Vec<History>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conclusion {
    /// All predictions held.
    Held,
    /// At least one did not.
    Broken,
    /// Nothing can be concluded.
    Inconclusive,
}

impl Report {
    /// Every prediction with its arm and event.
    pub fn predictions(&self) -> impl Iterator<Item = (String, &Prediction)> {
        let of_cells = self.cells.iter().flat_map(|cell| {
            let round = if cell.round > 0 { format!(" (round {})", cell.round + 1) } else { String::new() };
            let place = format!("{}, {}{round}", cell.arm, cell.event);
            cell.predictions.iter().map(move |prediction| (place.clone(), prediction))
        });
        let of_slow = self.slow_predictions.iter().map(|prediction| ("slow replica".to_owned(), prediction));
        of_cells.chain(of_slow).chain(self.studies.iter().flat_map(StudyReport::predictions))
    }

    /// Judges those that have a sampling error, now that it is known how many there are. `known`: so many there were
    /// in a run of which this is a part.
    pub(super) fn judge_shares(&mut self, known: usize) {
        self.sampled = level::sampled(self.predictions().map(|(_, prediction)| prediction)).max(known);
        let level = level::of_each(self.sampled);
        let of_cells = self.cells.iter_mut().flat_map(|cell| &mut cell.predictions);
        let of_studies = self.studies.iter_mut().flat_map(|study| &mut study.columns);
        let of_studies = of_studies.flat_map(|column| &mut column.predictions);
        of_cells.chain(&mut self.slow_predictions).chain(of_studies).for_each(|one| one.judge_at(level));
        self.studies.iter_mut().for_each(StudyReport::excuse);
    }

    /// The claims that did not hold.
    pub fn broken(&self) -> impl Iterator<Item = (String, &Prediction)> {
        let is_broken =
            |prediction: &Prediction| prediction.verdict == Verdict::Broken && prediction.subject == Subject::Claim;
        self.predictions().filter(move |(_, prediction)| is_broken(prediction))
    }

    /// The predictions that had no chance to be broken.
    pub fn untested(&self) -> impl Iterator<Item = (String, &Prediction)> {
        self.predictions().filter(|(_, prediction)| prediction.verdict == Verdict::Untested)
    }

    /// How many of them held in no other event of their arm, or in no other repetition.
    fn tested_nowhere(&self) -> usize {
        let of_cells = || self.cells.iter().flat_map(|cell| cell.predictions.iter().map(move |one| (cell.arm, one)));
        let held: HashSet<(&str, &str)> = of_cells()
            .filter(|(_, one)| one.verdict == Verdict::Held)
            .map(|(arm, one)| (arm.name(), one.what.as_str()))
            .collect();
        let elsewhere = of_cells()
            .filter(|(arm, one)| one.verdict == Verdict::Untested && held.contains(&(arm.name(), one.what.as_str())));
        self.untested().count() - elsewhere.count()
    }

    /// How the run ended. One claim that is broken counts, whatever else there was too little of.
    pub fn conclusion(&self) -> Conclusion {
        if self.broken().next().is_some() {
            Conclusion::Broken
        } else if self.inconclusive.is_empty() {
            Conclusion::Held
        } else {
            Conclusion::Inconclusive
        }
    }

    /// A cell, if it was run.
    pub fn cell(&self, arm: Arm, event: Event) -> Option<&CellReport> {
        self.cells.iter().find(|cell| cell.arm == arm && cell.event == event)
    }

    /// The cells of all arms of one role.
    pub fn of_role(&self, role: Role, event: Event) -> impl Iterator<Item = &CellReport> {
        self.cells.iter().filter(move |cell| cell.arm.role() == role && cell.event == event)
    }

    /// The arms that were run.
    pub fn arms(&self) -> impl Iterator<Item = Arm> {
        ARMS.into_iter().filter(|arm| self.cells.iter().any(|cell| cell.arm == *arm))
    }

    /// What it says to the questions of a review.
    pub fn review(&self) -> Review {
        Review::of(self)
    }

    /// Three lines that say what was found.
    pub fn verdict(&self) -> [String; 3] {
        [self.of_stateless(), self.of_stateful(), self.of_predictions()]
    }

    fn of_stateless(&self) -> String {
        let is_stateless = |arm: Arm| arm.role() == Role::Stateless;
        let cells = || self.cells.iter().filter(|cell| is_stateless(cell.arm) && cell.event.has_sessions());
        let names: Vec<Arm> = self.arms().filter(|arm| is_stateless(*arm)).collect();
        let sum = |count: fn(&CellReport) -> u64| cells().map(count).sum::<u64>();
        if names.is_empty() {
            return "Replicas without state of their own: not run.".to_owned();
        }
        let (lost, sessions) = (sum(|cell| cell.findings.lost.count), sum(|cell| cell.findings.sessions));
        let (incidents, losing) = (sum(|cell| cell.findings.incidents.0), sum(|cell| cell.findings.incidents.1));
        let pairs = self.of_pairs(is_stateless).map(|text| format!(" {text}")).unwrap_or_default();
        format!(
            "Replicas without state of their own ({}), without sticky sessions: {lost} of {sessions} sessions lost{}, \
             after {losing} of {incidents} incidents{}; {} requests were under way at replicas that were killed. {} of \
             {} requests failed, {} writes doubled, {} guarantees broken.{pairs}",
            options::names(&names),
            bound(lost, sessions),
            bound(losing, incidents),
            sum(|cell| cell.findings.in_flight),
            sum(|cell| cell.findings.failed.count),
            sum(|cell| cell.findings.requests),
            sum(|cell| cell.findings.doubled.count + cell.findings.bare.hits.count),
            sum(|cell| {
                let Findings { violations, shared, follows, .. } = &cell.findings;
                violations.values().chain(shared.values()).map(|tally| tally.count).sum::<u64>() + follows.hits.count
            }),
        )
    }

    /// What was found in journeys that were played in several placements.
    fn of_pairs(&self, concerns: impl Fn(Arm) -> bool) -> Option<String> {
        let all: Vec<&PairFindings> =
            self.cells.iter().filter(|cell| concerns(cell.arm)).filter_map(|cell| cell.pairs.as_ref()).collect();
        let sum = |count: fn(&PairFindings) -> u64| all.iter().map(|pairs| count(pairs)).sum::<u64>();
        let (differ, crossings) = (sum(|pairs| pairs.crossings.hits.count), sum(|pairs| pairs.crossings.trials));
        (!all.is_empty()).then(|| {
            format!(
                "{} journeys were played in four placements: {differ} of {crossings} responses behind a move to \
                 another replica differed{}.",
                sum(|pairs| pairs.journeys),
                bound(differ, crossings)
            )
        })
    }

    fn of_stateful(&self) -> String {
        let of_role = |role, event| self.of_role(role, event).next();
        let crossing = |event| {
            let (all, lost) = of_role(Role::Sticky, event)?.crossing;
            (all > 0).then(|| percent(lost as f64 / all as f64))
        };
        let without = of_role(Role::Stateful, Event::Steady).map(|cell| {
            let (steps, forgotten) = cell.measures.forgotten;
            let share = forgotten as f64 / steps.max(1) as f64;
            format!(
                "without stickiness {} of steps found the session forgotten, so {} of journeys of {JOURNEY_STEPS} \
                 steps are lost",
                percent(share),
                percent(1.0 - (1.0 - share).powi(JOURNEY_STEPS - 1))
            )
        });
        let steady = of_role(Role::Sticky, Event::Steady)
            .map(|cell| format!("with it {} sessions in quiet", cell.findings.lost.count));
        let crash =
            crossing(Event::Crash).map(|share| format!("{share} of them when one of {} replicas died", self.replicas));
        let rolling = crossing(Event::Rolling).map(|share| format!("{share} in a rolling restart"));
        let parts: Vec<String> = [without, steady, crash, rolling].into_iter().flatten().collect();
        if parts.is_empty() {
            "Replicas with sessions in memory: not run.".to_owned()
        } else {
            format!("Replicas with sessions in memory: {}.", parts.join(", "))
        }
    }

    fn of_predictions(&self) -> String {
        let (all, broken) = (self.predictions().count(), self.broken().count());
        let untested = match (self.untested().count(), self.tested_nowhere()) {
            (0, _) => String::new(),
            (count, 0) => format!(" but {count} that were not tested, each of which held in another event"),
            (count, nowhere) => {
                format!(" but {count} that were not tested, {nowhere} of them in no other event either")
            }
        };
        let reasons = self.inconclusive.join("; and ");
        match (self.inconclusive.is_empty(), broken) {
            (true, 0) => format!("All {all} predictions held{untested}, in {:.0} s, seed {}.", self.seconds, self.seed),
            (false, 0) => format!("INCONCLUSIVE: {reasons}."),
            (true, _) => format!("{broken} of {all} predictions did NOT hold, seed {}.", self.seed),
            (false, _) => {
                format!(
                    "{broken} of {all} predictions did NOT hold, seed {}. Besides, INCONCLUSIVE: {reasons}.",
                    self.seed
                )
            }
        }
    }

    /// Writes everything as JSON.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_json(&self, file: impl io::Write) -> io::Result<()> {
        let mut file = io::BufWriter::new(file);
        let all = Whole { report: self, review: self.review() };
        serde_json::to_writer(&mut file, &all).map_err(io::Error::from)?;
        io::Write::flush(&mut file)
    }
}

/// What is written down: the report, and the answers that are made of it.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    report: &'a Report,
    review: Review,
}

/// The bound that so many trials allow, if nothing happened.
fn bound(hits: u64, trials: u64) -> String {
    match hits {
        0 if trials > 0 => format!(" (below {})", percent_up(upper_bound(trials))),
        _ => String::new(),
    }
}
