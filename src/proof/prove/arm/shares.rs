//! Predictions about shares of requests where replicas came, went, or have weights.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::predictions::unless_busy;
use crate::prove::cell::CellReport;
use crate::prove::event::{Event, HEAVY, SCALE_IN};
use crate::prove::measures::spread;
use crate::prove::theory::Prediction;
use crate::trial::history::State;
use crate::trial::judge::{FOUND_OUT, Fact};

/// How many times more requests than the idlest the busiest may have once it is over, under round-robin and where the
/// least busy one is drawn.
const AFTERWARDS_MAX: f64 = 1.25;
const DRAWN_AFTERWARDS_MAX: f64 = 2.0;
/// With fewer requests per replica nothing is said about that.
const REQUESTS_MIN: u64 = 75;
/// By which factor the share of a heavier replica may differ from its weight.
const WEIGHT_MAX: f64 = 1.25;

/// Who is left has a fair share, and weights hold after an edit as before.
pub(super) fn shares(report: &CellReport) -> Vec<Prediction> {
    let prediction = match report.event {
        Event::Crash => afterwards(report, State::Killed, FOUND_OUT, report.replicas - 1),
        Event::Drain => afterwards(report, State::Draining, Duration::ZERO, report.replicas - 1),
        Event::ScaleIn => afterwards(report, State::Out, Duration::ZERO, SCALE_IN.1),
        Event::Rolling => afterwards(report, State::Out, Duration::ZERO, report.replicas),
        Event::Reloads => weight(report),
        _ => return Vec::new(),
    };
    vec![prediction]
}

/// The busiest over the idlest of those that are left, from some time after the last change on.
fn afterwards(report: &CellReport, state: State, later: Duration, count: usize) -> Prediction {
    let history = &report.history;
    let from = history.of(state).last().map_or(Duration::MAX, |mark| mark.at.saturating_add(later));
    let is_gone = |name: &str| [State::Killed, State::Out, State::Draining].map(|state| history.first(name, state));
    let mut counts: BTreeMap<Arc<str>, u64> = spread(history, from, Duration::MAX);
    counts.retain(|name, _| is_gone(name).iter().all(Option::is_none));
    let requests: u64 = counts.values().sum();
    let (most, least) = (counts.values().max().copied(), counts.values().min().copied());
    // Who gets nothing is not there.
    let least = least.filter(|_| counts.len() >= count).unwrap_or_default();
    let ratio = most.unwrap_or_default() as f64 / least.max(1) as f64;
    let enough = (requests, REQUESTS_MIN * count as u64);
    let facts = counts.iter().map(|(name, count)| Fact::Note(format!("{count} requests at {name}")));
    // Who is dead must have been found out by then.
    let is_of_time = report.event == Event::Crash;
    let limit = if is_of_time { DRAWN_AFTERWARDS_MAX } else { AFTERWARDS_MAX };
    let prediction = Prediction::at_most("spread afterwards", ratio, limit, enough).shown_by(facts);
    if is_of_time { unless_busy(report, prediction) } else { prediction }
}

/// The last replica of the file has a greater weight.
fn weight(report: &CellReport) -> Prediction {
    let history = &report.history;
    let from = history.of(State::Edited).next().map_or(Duration::MAX, |mark| mark.at);
    let counts = spread(history, from, Duration::MAX);
    let requests: u64 = counts.values().sum();
    let heavy = format!("r{}", report.replicas - 1);
    let share = counts.get(heavy.as_str()).copied().unwrap_or_default() as f64 / requests.max(1) as f64;
    let fair = f64::from(HEAVY) / (report.replicas as f64 - 1.0 + f64::from(HEAVY));
    let factor = (share / fair).max(fair / share.max(f64::MIN_POSITIVE));
    let enough = (requests, REQUESTS_MIN * report.replicas as u64);
    let prediction = Prediction::at_most("factor between a share and its weight", factor, WEIGHT_MAX, enough);
    prediction.shown_by(counts.iter().map(|(name, count)| Fact::Note(format!("{count} requests at {name}"))))
}
