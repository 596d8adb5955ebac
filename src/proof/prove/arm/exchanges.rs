//! Predictions about exchanges by themselves, whatever follows from them.

use std::time::Duration;

use super::UNWRITTEN;
use super::predictions::{never, ratio, unless_busy};
use crate::prove::cell::CellReport;
use crate::prove::event::Event;
use crate::prove::theory::Prediction;
use crate::trial::judge::Fact;

/// How long a replica may be without a probe, whose interval is 0.2 s; and how many a second it may get.
const UNPROBED_SECONDS: f64 = 1.0;
const PROBES_MAX: f64 = 12.0;
/// With fewer probes nothing is said about them.
const PROBES_MIN: u64 = 6;

/// What is sent arrives once and as it was sent; so does what comes back; and both sides have written it down.
pub(super) fn exchanges(report: &CellReport) -> Vec<Prediction> {
    let findings = &report.findings;
    let mut predictions = vec![
        ratio("requests that arrive more often than they were sent", &findings.repeated),
        ratio("responses changed on the way", &findings.altered),
        ratio("responses of which no replica knows", &findings.unheard),
        ratio(UNWRITTEN, &findings.unwritten).of_apparatus(),
    ];
    if report.event != Event::TwoProxies {
        predictions.push(never("connections closed under users", &findings.reconnected, findings.requests));
    }
    if report.event == Event::ScaleIn {
        predictions.push(ratio("requests cut when their replica was taken out", &findings.left).or_untested());
    }
    if report.event == Event::Steady {
        predictions.extend(probes(report));
    }
    predictions
}

/// Each replica is probed, at the rate that the file says.
fn probes(report: &CellReport) -> [Prediction; 2] {
    let history = &report.history;
    let end = history.steps.iter().map(|step| step.ended).max().unwrap_or_default();
    let (mut longest, mut most, mut fewest) = ((0.0, ""), (0.0, ""), u64::MAX);
    for replica in &history.replicas {
        let mut times: Vec<Duration> =
            history.probes.iter().filter(|(at, name)| name == replica && *at < end).map(|(at, _)| *at).collect();
        fewest = fewest.min(times.len() as u64);
        let rate = times.len() as f64 / end.as_secs_f64().max(f64::MIN_POSITIVE);
        times.extend([Duration::ZERO, end]);
        times.sort_unstable();
        let gap = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).fold(0.0, f64::max);
        longest = if gap > longest.0 { (gap, &**replica) } else { longest };
        most = if rate > most.0 { (rate, &**replica) } else { most };
    }
    let trials = ((end.as_secs_f64() / UNPROBED_SECONDS * 2.0) as u64, PROBES_MIN);
    let shown = |replica: &str| [Fact::Note(format!("that is {replica}; one has {fewest} probes in all"))];
    let gap = Prediction::at_most("s that a replica is not probed", longest.0, UNPROBED_SECONDS, trials);
    let rate = Prediction::at_most("probes of a replica per second", most.0, PROBES_MAX, trials);
    [unless_busy(report, gap.shown_by(shown(longest.1))), rate.shown_by(shown(most.1))]
}
