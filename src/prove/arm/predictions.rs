//! Predictions that several arms share.

use crate::prove::cell::CellReport;
use crate::prove::event::Event;
use crate::prove::theory::Prediction;
use crate::trial::history::Step;
use crate::trial::judge::{Findings, GUARANTEES, Tally};

/// How many times more requests than the idlest replica the busiest may have under round-robin.
const SPREAD_MAX: f64 = 1.01;
/// With fewer requests per replica a difference of one or two would exceed that.
const SPREAD_REQUESTS_MIN: u64 = 200;
/// How soon new replicas must carry their fair share.
const FAIR_WITHIN_SECONDS: f64 = 2.0;

/// What a copy of the old cookie is worth after the logout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OldCookie {
    /// Nothing.
    Refused,
    /// What it was worth before: nobody keeps a list of those that ended.
    StillGood,
}

/// Of replicas that keep nothing of a session.
pub(super) fn of_stateless(report: &CellReport, old_cookie: OldCookie) -> Vec<Prediction> {
    let findings = &report.findings;
    let mut predictions = vec![no_session_lost(findings)];
    predictions.extend(guarantees(findings));
    if report.event != Event::TwoProxies {
        predictions.push(Prediction::never("requests sent again", findings.moved, findings.requests, None));
    }
    if report.event == Event::Steady {
        let (reused, logouts) = (findings.reused.count, findings.logouts);
        predictions.push(match old_cookie {
            OldCookie::StillGood => Prediction::share("good after logout", reused, logouts, 1.0),
            OldCookie::Refused => Prediction::never("good after logout", reused, logouts, None),
        });
    }
    if report.event != Event::StoreRestart {
        predictions.push(never("requests failed", &findings.failed, findings.requests));
    }
    if report.event == Event::ScaleOut {
        let seconds = report.seconds_to_fair_share.unwrap_or(f64::INFINITY);
        predictions.push(Prediction::at_most("s to a fair share", seconds, FAIR_WITHIN_SECONDS, findings.requests));
    }
    predictions.extend(even_spread(report));
    predictions
}

/// Writes take effect once, and every session sees what it has written and read.
fn guarantees(findings: &Findings) -> Vec<Prediction> {
    let doubled = findings.doubled.examples.first().map(|doubled| &doubled.counterexample[..]);
    let mut predictions = vec![Prediction::never("writes doubled", findings.doubled.count, findings.writes, doubled)];
    for guarantee in GUARANTEES {
        let broken = findings.violations.get(&guarantee);
        let counterexample =
            broken.and_then(|tally| tally.examples.first()).map(|violation| &violation.counterexample[..]);
        let hits = broken.map_or(0, |tally| tally.count);
        predictions.push(Prediction::never(guarantee.name(), hits, findings.sessions, counterexample));
    }
    predictions.push(never("responses wrong", &findings.wrong, findings.requests));
    predictions
}

/// No session is lost.
pub(super) fn no_session_lost(findings: &Findings) -> Prediction {
    let counterexample = findings.lost.examples.first().map(|lost| &lost.counterexample[..]);
    Prediction::never("sessions lost", findings.lost.count, findings.sessions, counterexample)
}

/// In quiet, round-robin gives each replica the same, if there were enough requests to tell.
pub(super) fn even_spread(report: &CellReport) -> Option<Prediction> {
    let measures = &report.measures;
    let tells = |requests: &u64| *requests >= SPREAD_REQUESTS_MIN;
    (report.event == Event::Steady && measures.spread.values().all(tells)).then(|| {
        let requests = measures.spread.values().sum();
        Prediction::at_most("spread", measures.largest_over_smallest, SPREAD_MAX, requests)
    })
}

fn never(what: &str, steps: &Tally<Step>, trials: u64) -> Prediction {
    Prediction::never(what, steps.count, trials, steps.examples.first().map(std::slice::from_ref))
}
