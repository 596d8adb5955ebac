//! Predictions that several arms share.

use std::time::Duration;

use super::exchanges::exchanges;
use super::rotation::rotation;
use super::shares::shares;
use crate::prove::cell::CellReport;
use crate::prove::event::Event;
use crate::prove::repeats;
use crate::prove::theory::Prediction;
use crate::trial::history::{State, Step, StepOutcome};
use crate::trial::judge::{Fact, Findings, GUARANTEES, Guarantee, Ratio, Tally, is_late};
use crate::trial::pairs::judge::PairFindings;

/// How many times more requests than the idlest replica the busiest may have under round-robin.
const SPREAD_MAX: f64 = 1.01;
/// With fewer requests per replica a difference of one or two would exceed that.
const SPREAD_REQUESTS_MIN: u64 = 200;
/// How soon new replicas must carry their fair share.
const FAIR_WITHIN_SECONDS: f64 = 1.2;
/// How soon an edit must be in force.
const IN_FORCE_SECONDS: f64 = 1.0;
/// How soon a replica that wants requests again must get one.
const BACK_WITHIN_SECONDS: f64 = 1.2;
/// How soon replicas must use a store that is back.
const RECOVERED_WITHIN: Duration = Duration::from_millis(500);
/// How long a response may take, where the machine does not stand still.
const LONGEST_MS: f64 = 500.0;
/// How long half of the responses may take.
const MEDIAN_MS: f64 = 60.0;
/// How many times longer than in quiet 99 of 100 responses may take in an event; and a time that is always granted.
const P99_RATIO: f64 = 10.0;
const P99_MS: f64 = 250.0;
/// With fewer responses before or in the event nothing is said about that.
const P99_RESPONSES_MIN: u64 = 100;

/// What the arm is predicted to do beside the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeps {
    /// Sessions are at the client: a copy of the old cookie is as good as before the logout, and of two writes at the
    /// same time one is lost.
    AtTheClient,
    /// Sessions are at the client, and replicas share a list of those that ended.
    AtTheClientUntilLogout,
    /// Sessions are in a store, which forgets them at the logout, and applies one write after the other.
    InAStore,
}

/// Of replicas that keep nothing of a session.
pub(super) fn of_stateless(report: &CellReport, keeps: Keeps) -> Vec<Prediction> {
    let findings = &report.findings;
    if let Some(pairs) = &report.pairs {
        let crossings = ratio("responses that depend on the replica", &pairs.crossings);
        // Nothing in a body of the shop is the clock's or drawn: what differs by itself would hide the rest.
        let noisy = ratio("bodies that differ between two runs on one replica", &pairs.noisy);
        return vec![crossings, noisy.or_untested(), of_pairs(pairs)];
    }
    if report.event == Event::Repeats {
        return repeats::predict(&report.history, keeps == Keeps::InAStore);
    }
    let mut predictions = vec![no_session_lost(findings)];
    predictions.push(match report.event {
        Event::StoreRestart => recovered(report),
        _ => never("requests failed", &findings.failed, findings.requests),
    });
    predictions.extend(effects(report));
    predictions.extend(exchanges(report));
    predictions.extend(guarantees(findings, keeps));
    if report.event != Event::TwoProxies {
        predictions.push(never("requests sent again", &findings.moved, findings.requests));
    }
    predictions.extend(of_design(report, keeps));
    predictions.extend(of_the_pool(report));
    if report.event != Event::StoreRestart {
        predictions.extend(availability(report));
    }
    predictions.extend(placement(report));
    predictions.extend(shares(report));
    predictions.extend(rotation(report));
    predictions
}

/// Once the store is back, and replicas have had the time to notice, no request fails.
pub(super) fn recovered(report: &CellReport) -> Prediction {
    let history = &report.history;
    let back = history.incidents.last().map_or(Duration::MAX, |incident| incident.done);
    let from = back.saturating_add(RECOVERED_WITHIN);
    let from = from.saturating_add(4 * history.longest_beat((back, from)));
    let after = || history.steps.iter().filter(|step| step.sent > from);
    let is_failed = |step: &&Step| matches!(step.outcome, StepOutcome::Failed(_)) && !is_late(history, step);
    let mut failed = after().filter(is_failed).peekable();
    let note = Fact::Note(format!("{:.3} s: the store is back", back.as_secs_f64()));
    let facts = failed.peek().map(|step| [note, Fact::from(*step)]);
    let what = "requests failed once the store was back";
    Prediction::never(what, failed.count() as u64, after().count() as u64, facts.as_ref().map(|facts| &facts[..]))
        .or_untested()
}

/// On one replica a journey is the same twice, but for noise. If it is not, nothing can be said of its placement.
pub(super) fn of_pairs(pairs: &PairFindings) -> Prediction {
    ratio("journeys that differ from themselves on one replica", &pairs.unsteady).or_untested().of_apparatus()
}

/// Requests arrive as they were sent, and take effect once.
pub(super) fn effects(report: &CellReport) -> Vec<Prediction> {
    let findings = &report.findings;
    let mut predictions = vec![
        never("writes doubled", &findings.doubled, findings.writes),
        ratio("requests without a key executed twice", &findings.bare),
        ratio("requests changed on the way", &findings.changed),
    ];
    let may_be_repeated =
        [State::Ending, State::Stopped, State::Mute].iter().any(|state| report.history.of(*state).next().is_some());
    if !may_be_repeated {
        predictions.push(ratio("requests with a key executed twice", &findings.keyed));
    }
    predictions
}

/// Every session sees what it has written and read.
fn guarantees(findings: &Findings, keeps: Keeps) -> Vec<Prediction> {
    let mut predictions = Vec::new();
    for guarantee in GUARANTEES {
        let serial = findings.violations.get(&guarantee);
        let at_once = findings.violations_at_once.get(&guarantee).filter(|_| keeps == Keeps::InAStore);
        let sessions = if keeps == Keeps::InAStore { findings.sessions } else { findings.serial_sessions };
        let shared = findings.shared.get(&guarantee);
        let hits = serial.into_iter().chain(at_once).chain(shared).map(|tally| tally.count).sum();
        let example = serial.or(at_once).or(shared).and_then(Tally::example);
        predictions.push(Prediction::never(guarantee.name(), hits, sessions, example));
    }
    if keeps == Keeps::InAStore {
        predictions.push(ratio("writes follow reads broken between sessions", &findings.follows).or_untested());
    }
    predictions.push(never("responses wrong", &findings.wrong, findings.requests));
    predictions
}

/// What follows from where sessions are kept. A store forgets them at the logout, whatever happens.
fn of_design(report: &CellReport, keeps: Keeps) -> Vec<Prediction> {
    let findings = &report.findings;
    let (reused, logouts) = (&findings.reused, findings.logouts);
    let Ratio { trials: pairs, hits: torn } = &findings.pairs;
    let torn = match keeps {
        Keeps::AtTheClient | Keeps::AtTheClientUntilLogout => {
            // The control of what is claimed of stores: where this is not tested, that is not, either.
            Prediction::share("pairs of writes at once that lose one", torn.count, *pairs, 1.0).or_untested()
        }
        Keeps::InAStore => never("pairs of writes at once that lose one", torn, *pairs).or_untested(),
    };
    let reused = match keeps {
        Keeps::AtTheClient => Prediction::share("good after logout", reused.count, logouts, 1.0),
        Keeps::AtTheClientUntilLogout | Keeps::InAStore => never("good after logout", reused, logouts).or_untested(),
    };
    match (report.event, keeps) {
        (Event::Steady, _) => vec![torn, reused],
        (_, Keeps::AtTheClient) => Vec::new(),
        (_, Keeps::AtTheClientUntilLogout | Keeps::InAStore) => vec![reused],
    }
}

/// Who is to get nothing gets nothing, who is to get something gets it, and edits are in force soon.
fn of_the_pool(report: &CellReport) -> Vec<Prediction> {
    let (findings, history) = (&report.findings, &report.history);
    let states: &[(State, &str)] = match report.event {
        Event::Crash => &[(State::Killed, "requests to dead replicas")],
        Event::Drain => {
            &[(State::Draining, "requests to draining replicas"), (State::Out, "requests to removed replicas")]
        }
        Event::ScaleIn | Event::Rolling => &[(State::Out, "requests to removed replicas")],
        Event::Sick => &[(State::Sick, "requests to sick replicas")],
        Event::Stop => &[(State::Stopped, "requests to failing replicas")],
        Event::Mute => &[(State::Mute, "requests to failing replicas")],
        Event::Errors => &[(State::Erring, "requests to failing replicas")],
        Event::Partition => &[(State::CutOff, "requests to failing replicas")],
        _ => &[],
    };
    let none = Ratio::default();
    let of_state = |(state, what): &(State, &str)| {
        let prediction = ratio(what, findings.unwanted.get(state).unwrap_or(&none)).or_untested();
        let is_of_time = !matches!(state, State::Draining | State::Out);
        if is_of_time { unless_busy(report, prediction) } else { prediction }
    };
    let mut predictions: Vec<Prediction> = states.iter().map(of_state).collect();
    if matches!(report.event, Event::Drain | Event::ScaleOut | Event::ScaleIn | Event::Rolling) {
        let slowest = findings.edits_in_force.iter().copied().fold(0.0, f64::max);
        let edits = findings.edits_in_force.len() as u64;
        let what = "s until an edit is in force";
        let marks = history.marks.iter().filter(|mark| mark.whose.is_empty());
        let prediction = Prediction::at_most(what, slowest, IN_FORCE_SECONDS, (edits, 1));
        predictions.push(prediction.shown_by(marks.map(Fact::from)));
    }
    if report.event == Event::Sick {
        predictions.extend(back(report));
    }
    if report.event == Event::ScaleOut {
        let seconds = report.seconds_to_fair_share.unwrap_or(f64::INFINITY);
        let enough = (findings.requests, SPREAD_REQUESTS_MIN * report.measures.spread.len() as u64 / 4);
        let prediction = Prediction::at_most("s to a fair share", seconds, FAIR_WITHIN_SECONDS, enough);
        predictions.push(unless_busy(report, prediction.shown_by(extremes(report))));
    }
    predictions
}

/// A replica that is well again gets requests again.
fn back(report: &CellReport) -> Option<Prediction> {
    let well = report.history.of(State::Well).next()?;
    let first = report.history.seen.iter().find(|seen| seen.replica == well.whose && seen.at > well.at);
    let seconds = first.map_or(f64::INFINITY, |seen| (seen.at - well.at).as_secs_f64());
    let after = report.history.seen.iter().filter(|seen| seen.at > well.at).count() as u64;
    let what = "s until a recovered replica gets requests";
    let prediction = Prediction::at_most(what, seconds, BACK_WITHIN_SECONDS, (after, P99_RESPONSES_MIN));
    let facts = [Fact::from(well)].into_iter().chain(first.map(Fact::from));
    Some(unless_busy(report, prediction.shown_by(facts)))
}

/// Nobody waits long, and in an event not much longer than in quiet. What the machine itself costs is granted.
fn availability(report: &CellReport) -> Vec<Prediction> {
    let waits = &report.measures.waits;
    let (machine_median, machine_p99, _) = waits.machine;
    let (responses, enough) = (waits.quiet.0 + waits.event.0, P99_RESPONSES_MIN);
    let longest = Prediction::at_most("longest response in ms", waits.longest, LONGEST_MS, (responses, enough));
    let longest = longest.shown_by(waits.example.as_ref().map(Fact::from));
    let mut predictions = vec![if report.event == Event::SlowOnce { waiting(report) } else { longest }];
    if report.event == Event::Steady {
        let trials = (waits.quiet.0, P99_RESPONSES_MIN);
        let (limit, what) = (MEDIAN_MS + 10.0 * machine_median, "median in ms at the slowest replica in quiet");
        predictions.push(Prediction::at_most(what, waits.quiet_median, limit.round(), trials));
    }
    if !matches!(report.event, Event::Steady | Event::Clocks) {
        let limit = (P99_RATIO * waits.quiet.1).max(P99_MS) + 2.0 * machine_p99;
        let trials = (waits.event.0.min(waits.quiet.0), P99_RESPONSES_MIN);
        let p99 = Prediction::at_most("p99 in ms from the first incident on", waits.event.1, limit.round(), trials);
        let limit = (MEDIAN_MS + 10.0 * machine_median).round();
        let what = "median in ms from the first incident on";
        predictions.push(Prediction::at_most(what, waits.event_median, limit, trials));
        predictions.push(p99.shown_by([Fact::Note(format!(
            "before it {:.1} ms, of {} responses; of the machine itself {machine_p99:.1} ms",
            waits.quiet.1, waits.quiet.0
        ))]));
    }
    predictions
}

/// Who meets the slow request waits, and nobody else.
fn waiting(report: &CellReport) -> Prediction {
    let (history, limit) = (&report.history, Duration::from_secs_f64(LONGEST_MS / 1000.0));
    let excess =
        |step: &Step| (step.ended - step.sent).saturating_sub(4 * history.longest_beat((step.sent, step.ended)));
    let waits = history.steps.iter().filter(|step| excess(step) > limit);
    let (count, trials) = (waits.clone().count() as f64, (history.steps.len() as u64, P99_RESPONSES_MIN));
    Prediction::at_most("responses that wait", count, 1.0, trials).shown_by(waits.map(Fact::from))
}

/// A prediction about time, if the machine leaves the processes enough of it.
pub(super) fn unless_busy(report: &CellReport, prediction: Prediction) -> Prediction {
    prediction.unless_busy(report.measures.waits.is_machine_busy())
}

/// In quiet, round-robin gives each replica the same, and no session keeps to one.
pub(super) fn placement(report: &CellReport) -> Vec<Prediction> {
    let measures = &report.measures;
    if report.event != Event::Steady {
        return Vec::new();
    }
    let requests: u64 = measures.spread.values().sum();
    let enough = SPREAD_REQUESTS_MIN * report.replicas as u64;
    let spread = Prediction::at_most("spread", measures.largest_over_smallest, SPREAD_MAX, (requests, enough));
    let (steps, same) = measures.same_replica;
    let share = Prediction::share("steps on the replica of the step before", same, steps, 1.0 / report.replicas as f64);
    let notes = extremes(report);
    vec![spread.shown_by(notes.clone()), share.shown_by(notes)]
}

/// The replicas with the most and the fewest requests.
fn extremes(report: &CellReport) -> Vec<Fact> {
    let mut spread: Vec<_> = report.measures.spread.iter().collect();
    spread.sort_by_key(|(_, requests)| std::cmp::Reverse(**requests));
    let ends = spread.first().into_iter().chain(spread.last().filter(|_| spread.len() > 1));
    ends.map(|(replica, requests)| Fact::Note(format!("{requests} requests at {replica}"))).collect()
}

/// No session is lost.
pub(super) fn no_session_lost(findings: &Findings) -> Prediction {
    never("sessions lost", &findings.lost, findings.sessions)
}

/// A read shows every write of its session that was acknowledged before.
pub(super) fn read_your_writes(findings: &Findings) -> Prediction {
    let guarantee = Guarantee::ReadYourWrites;
    let all = [&findings.violations, &findings.violations_at_once, &findings.shared];
    let tallies = || all.iter().filter_map(|of| of.get(&guarantee));
    let hits = tallies().map(|tally| tally.count).sum();
    Prediction::never(guarantee.name(), hits, findings.sessions, tallies().find_map(Tally::example))
}

pub(super) fn never(what: &str, tally: &Tally, trials: u64) -> Prediction {
    Prediction::never(what, tally.count, trials, tally.example())
}

pub(super) fn ratio(what: &str, ratio: &Ratio) -> Prediction {
    never(what, &ratio.hits, ratio.trials)
}
