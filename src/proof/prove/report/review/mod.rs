//! The questions of an architecture review and a checklist of five points, answered for each arm from what this run
//! measured: a pure function of its cells. An answer names the prediction or figure that it was made of. Where the run
//! has none, it says what was missing.

mod checklist;
mod further;
pub(super) mod html;
mod losses;
mod questions;
pub(super) mod text;

use serde::Serialize;

use super::Report;
use crate::prove::arm::Arm;
use crate::prove::cell::CellReport;
use crate::prove::event::Event;
use crate::prove::theory::TRIALS_MIN;
use crate::trial::judge::Findings;

/// All answers.
#[derive(Debug, Clone, Serialize)]
pub struct Review {
    /// What every review asks.
    pub questions: Vec<Question>,
    /// What happened besides, if it was played.
    pub further: Vec<Question>,
    /// Five points.
    pub checklist: Vec<Question>,
}

/// A row: one answer for each arm.
#[derive(Debug, Clone, Serialize)]
pub struct Question {
    /// In a few words.
    pub question: &'static str,
    /// What exactly.
    pub asks: &'static str,
    /// One for each arm.
    pub answers: Vec<Answer>,
}

/// What this run says of an arm.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The arm.
    pub arm: Arm,
    /// Whether that is good.
    pub grade: Grade,
    /// Lines, of which the first counts most.
    pub text: String,
    /// What it was made of.
    pub evidence: Vec<Evidence>,
}

/// What an answer means for whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// As one would like it.
    Good,
    /// Only in part.
    Partly,
    /// Not as one would like it.
    Bad,
    /// A figure: whether it is good depends on what one can pay.
    Figure,
    /// The run does not say.
    NotMeasured,
}

/// One thing that an answer was made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    /// The event in which it was measured.
    pub event: Event,
    /// Where it is in the JSON: a pointer (RFC 6901).
    pub path: String,
    /// The prediction, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prediction: Option<String>,
    /// The row of the page.
    #[serde(skip)]
    pub anchor: String,
}

impl Grade {
    /// As the answer to a question of yes or no.
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "yes",
            Self::Partly => "partly",
            Self::Bad => "no",
            Self::Figure | Self::NotMeasured => "not measured",
        }
    }

    /// The worse of the two.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Bad, _) | (_, Self::Bad) => Self::Bad,
            (Self::Partly, _) | (_, Self::Partly) => Self::Partly,
            _ => Self::Good,
        }
    }
}

impl Answer {
    /// This one, and below it another one to the same question.
    fn besides(mut self, other: Self) -> Self {
        self.grade = self.grade.and(other.grade);
        self.text = format!("{}\n{}", self.text, other.text);
        self.evidence.extend(other.evidence);
        self
    }
}

impl Review {
    /// What a run says.
    pub fn of(report: &Report) -> Self {
        let arms: Vec<Arm> = report.arms().collect();
        let ask = |answer: fn(&Played<'_>) -> Answer| {
            arms.iter().map(|arm| answer(&Played { report, arm: *arm })).collect::<Vec<Answer>>()
        };
        let all = |table: &[Line]| {
            let row = |(question, asks, answer): &Line| Question { question, asks, answers: ask(*answer) };
            table.iter().map(row).collect()
        };
        Self {
            questions: all(&questions::QUESTIONS),
            further: further::rows(report, &arms),
            checklist: all(&checklist::POINTS),
        }
    }

    /// Every row.
    pub fn rows(&self) -> impl Iterator<Item = &Question> {
        self.questions.iter().chain(&self.further).chain(&self.checklist)
    }
}

/// A question in a few words, what exactly it asks, and who answers it.
type Line = (&'static str, &'static str, fn(&Played<'_>) -> Answer);

/// What was played of an arm.
struct Played<'a> {
    report: &'a Report,
    arm: Arm,
}

/// One cell, with its place in the report.
#[derive(Clone, Copy)]
struct Source<'a> {
    place: usize,
    cell: &'a CellReport,
}

impl<'a> Played<'a> {
    /// The cells of an event, one for each round.
    fn cells(&self, event: Event) -> Vec<Source<'a>> {
        self.every(|cell| cell.event == event)
    }

    /// The cells with users whose sessions no replica may lose.
    fn of_users(&self) -> Vec<Source<'a>> {
        self.every(|cell| cell.findings.requests > 0 && cell.event.has_sessions())
    }

    fn every(&self, is_one: impl Fn(&CellReport) -> bool) -> Vec<Source<'a>> {
        let sources = self.report.cells.iter().enumerate().map(|(place, cell)| Source { place, cell });
        sources.filter(|source| source.cell.arm == self.arm && is_one(source.cell)).collect()
    }

    fn answer(&self, grade: Grade, text: String, evidence: impl IntoIterator<Item = Evidence>) -> Answer {
        Answer { arm: self.arm, grade, text, evidence: evidence.into_iter().collect() }
    }

    fn not_measured(&self, why: &str) -> Answer {
        self.answer(Grade::NotMeasured, format!("not measured\n{why}"), [])
    }

    /// Why there is no answer from an event.
    fn missing(&self, event: Event) -> String {
        if !self.cells(event).is_empty() {
            return format!("fewer than {TRIALS_MIN} sessions in {}", event.name());
        }
        match self.report.cells.iter().any(|cell| cell.event == event) {
            true => format!("{} is not played with it", event.name()),
            false => format!("{} was not played", event.name()),
        }
    }

    /// What is said of figures in quiet.
    fn in_quiet(&self, say: impl FnOnce(&[Source<'a>]) -> Answer) -> Answer {
        match &self.cells(Event::Steady)[..] {
            [] => self.not_measured(&self.missing(Event::Steady)),
            cells => say(cells),
        }
    }
}

impl Source<'_> {
    /// A figure of the cell, by its path in there.
    fn figure(&self, path: &str) -> Evidence {
        Evidence {
            event: self.cell.event,
            path: format!("/cells/{}/{path}", self.place),
            prediction: None,
            anchor: super::evidence::of_cell(self.cell),
        }
    }

    /// The first prediction of which this is true.
    fn prediction(&self, is_it: impl Fn(&str) -> bool) -> Option<Evidence> {
        let place = self.cell.predictions.iter().position(|one| is_it(&one.what))?;
        let what = &self.cell.predictions[place].what;
        Some(Evidence {
            event: self.cell.event,
            path: format!("/cells/{}/predictions/{place}", self.place),
            prediction: Some(what.clone()),
            anchor: super::evidence::of_prediction(self.cell, what),
        })
    }

    /// The prediction of this name, or else the figure.
    fn told(&self, what: &str, path: &str) -> Evidence {
        self.prediction(|one| one.starts_with(what)).unwrap_or_else(|| self.figure(path))
    }
}

/// A sum over cells.
fn sum(cells: &[Source<'_>], count: impl Fn(&Findings) -> u64) -> u64 {
    cells.iter().map(|source| count(&source.cell.findings)).sum()
}

/// A figure of a request, over all requests of cells.
fn a_request(cells: &[Source<'_>], figure: fn(&CellReport) -> f64) -> f64 {
    let requests = sum(cells, |findings| findings.requests).max(1) as f64;
    cells.iter().map(|source| figure(source.cell) * source.cell.findings.requests as f64).sum::<f64>() / requests
}

/// The cell in which a count is the greatest, which shows it best.
fn worst<'a, T: PartialOrd>(cells: &[Source<'a>], count: impl Fn(&CellReport) -> T) -> Option<Source<'a>> {
    let greater = |one: Source<'a>, other: Source<'a>| if count(other.cell) > count(one.cell) { other } else { one };
    cells.iter().copied().reduce(greater)
}

/// Events that are named as references at most.
const NAMED_MAX: usize = 3;

/// Events by which an answer can be looked up, each once.
fn references(evidence: &[Evidence]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in evidence.iter().map(|one| one.event.name()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    match names.len() {
        ..=NAMED_MAX => names.join(", "),
        count => format!("{}, and {} more", names[0], count - 1),
    }
}

#[cfg(test)]
mod tests;
