//! What theory says of a fleet that grows and shrinks, beside what was seen. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::play::{Seen, Step};
use super::users::{Asked, Life};
use super::{FEWEST, MOST};
use crate::prove::study::PlaceReport;
use crate::prove::study::basket::Told;
use crate::prove::theory::{Prediction, percent, short};
use crate::trial::judge::{FACTS_MAX, Fact};

/// How many responses of each replica are looked at, and how few of them and how many a fair share may be.
const FAIR_OF: usize = 4;
const FAIR: std::ops::RangeInclusive<usize> = 2..=7;
/// How long replicas that came may take to have their fair share.
const FAIR_WITHIN: f64 = 1.2;
/// How long after a step responses belong to it.
const AFTER_STEP: Duration = Duration::from_secs(1);
/// A p99 of fewer requests at the peak is none: the slowest of a hundred.
const AT_PEAK_MIN: u64 = 100;
const SLOWER: &str = "p99 at the peak over that of sticky users";

/// Sessions in tokens, through the proxy.
pub(super) fn stateless(seen: &Seen, sticky: &Seen) -> PlaceReport {
    let ratio = p99_at_peak(seen) / p99_at_peak(sticky).max(f64::MIN_POSITIVE);
    let trials = at_peak(seen).count().min(at_peak(sticky).count()) as u64;
    let fair = fair_share(seen);
    let longest = fair.iter().map(|(_, seconds)| *seconds).fold(0.0, f64::max);
    let facts = fair.iter().filter(|(_, seconds)| *seconds > FAIR_WITHIN).map(|(step, seconds)| {
        Fact::Note(format!("from {} to {} replicas: fair share after {seconds:.1} s", step.from, step.to))
    });
    // A peak of which nothing was measured says nothing.
    let slower = Prediction::at_most(SLOWER, ratio, 1.0, (trials, AT_PEAK_MIN)).or_too_few();
    let mut predictions = vec![failed(seen), lost(seen)];
    predictions.extend(of_steps(seen));
    predictions.extend([
        Prediction::at_most("s to a fair share", longest, FAIR_WITHIN, (fair.len() as u64, 1))
            .by_the_clock()
            .shown_by(facts.collect::<Vec<_>>()),
        slower.by_the_clock().shown_by([Fact::Note(format!(
            "p99 {:.0} ms, with sticky users {:.0} ms",
            p99_at_peak(seen),
            p99_at_peak(sticky)
        ))]),
    ]);
    let share = if fair.is_empty() { "not measured".to_owned() } else { format!("after {} s", short(longest, 1)) };
    let shown = format!("{}\nfair share {share}\n{}", shown_lost(seen), shown_steps(seen));
    PlaceReport::claim("token", shown, figures(seen, &fair), predictions)
}

/// Sessions in the memory of replicas, and each user keeps to one.
pub(super) fn sticky(seen: &Seen) -> PlaceReport {
    let known = || seen.log.sessions.iter().filter(|life| life.is_known && life.replica.is_some());
    let is_gone = |life: &&Life| life.replica.as_ref().is_some_and(|replica| seen.removed.contains(replica));
    let gone = || known().filter(is_gone);
    let of_gone = (gone().filter(|life| life.is_lost).count() as u64, gone().count() as u64);
    let alive: Vec<&Life> = known().filter(|life| life.is_lost && !is_gone(life)).collect();
    let facts: Vec<Fact> = alive.iter().take(4).map(|life| Fact::Note(story(life))).collect();
    let stayed = known().filter(|life| !is_gone(life)).count() as u64;
    let kept: Vec<Fact> = gone().filter(|life| !life.is_lost).map(|life| Fact::Note(story(life))).collect();
    let (old, idle, of_old) = at_newcomers(seen);
    let shown = format!(
        "{}\nnew replicas get {old} of {idle} requests of sessions from before\n{}",
        shown_lost(seen),
        shown_steps(seen)
    );
    let predictions = vec![
        failed(seen),
        Prediction::share("sessions lost of those at replicas that were taken out", of_gone.0, of_gone.1, 1.0)
            .shown_by(kept),
        Prediction::never("sessions lost at replicas that stayed", alive.len() as u64, stayed, Some(&facts))
            .or_untested(),
        Prediction::never("requests of old sessions at new replicas", old, idle, Some(&of_old)),
    ];
    PlaceReport::control("memory, sticky by cookie", shown, figures(seen, &[]), predictions)
}

fn figures(seen: &Seen, fair: &[(Step, f64)]) -> serde_json::Value {
    let step = |step: &Step| {
        let share = fair.iter().find(|(of, _)| of == step).map(|(_, seconds)| *seconds);
        json!({
            "at": step.decided.as_secs_f64(), "in_force": step.in_force.as_secs_f64(), "from": step.from, "to": step.to,
            "p99_ms": p99(during(seen, step)), "fair_share_seconds": share,
        })
    };
    let sessions = &seen.log.sessions;
    json!({
        "sessions": sessions.len(), "lost": sessions.iter().filter(|life| life.is_lost).count(),
        "requests": seen.log.requests.len(), "removed": seen.removed.len(), "p99_ms_at_peak": p99_at_peak(seen),
        "steps": seen.steps.iter().map(step).collect::<Vec<_>>(),
    })
}

fn shown_lost(seen: &Seen) -> String {
    let lost = seen.log.sessions.iter().filter(|life| life.is_lost).count();
    let all = seen.log.sessions.len();
    format!("{lost} of {all} sessions lost ({})", percent(lost as f64 / all.max(1) as f64))
}

fn shown_steps(seen: &Seen) -> String {
    let counts: Vec<String> = seen.steps.iter().map(|step| step.to.to_string()).collect();
    let slowest = seen.steps.iter().map(|step| p99(during(seen, step))).fold(0.0, f64::max);
    format!(
        "replicas {FEWEST}, {}\np99 {:.0} ms at the peak, {slowest:.0} ms in the worst step",
        counts.join(", "),
        p99_at_peak(seen)
    )
}

fn failed(seen: &Seen) -> Prediction {
    let is_failed = |asked: &&Asked| matches!(asked.told, Told::Failed(_));
    let all = &seen.log.requests;
    let note = |asked: &Asked| {
        let at = (asked.sent.as_secs_f64(), asked.ended.as_secs_f64());
        Fact::Note(format!("{:.3} s-{:.3} s session {}: {:?}", at.0, at.1, asked.session, asked.told))
    };
    let facts: Vec<Fact> = all.iter().filter(is_failed).take(4).map(note).collect();
    Prediction::never("requests failed", all.iter().filter(is_failed).count() as u64, all.len() as u64, Some(&facts))
        .by_the_clock()
}

fn lost(seen: &Seen) -> Prediction {
    let lost: Vec<&Life> = seen.log.sessions.iter().filter(|life| life.is_lost).collect();
    let facts: Vec<Fact> = lost.iter().take(4).map(|life| Fact::Note(story(life))).collect();
    Prediction::never("sessions lost", lost.len() as u64, seen.log.sessions.len() as u64, Some(&facts))
}

fn story(life: &Life) -> String {
    let at = life.replica.as_deref().unwrap_or("no replica");
    let became = if life.is_lost { "lost" } else { "there" };
    format!("a session of {:.1} s at {at} is {became}", life.begun.as_secs_f64())
}

/// The fleet is as big and as small as the load asks for.
fn of_steps(seen: &Seen) -> [Prediction; 2] {
    let most = seen.steps.iter().map(|step| step.to).max().unwrap_or(FEWEST);
    let facts = || {
        seen.steps.iter().rev().take(4).rev().map(|one| {
            Fact::Note(format!("{:.1} s: from {} to {} replicas", one.decided.as_secs_f64(), one.from, one.to))
        })
    };
    let missing = (MOST - most.min(MOST)) as f64;
    let extra = seen.left.saturating_sub(FEWEST) as f64;
    [
        Prediction::at_most("replicas missing at the peak", missing, 0.0, (1, 1)).by_the_clock().shown_by(facts()),
        Prediction::at_most("replicas too many in the end", extra, 0.0, (1, 1)).by_the_clock().shown_by(facts()),
    ]
}

/// How long it took after each step up until every replica had its fair share: `FAIR_OF` responses of each, about.
fn fair_share(seen: &Seen) -> Vec<(Step, f64)> {
    let mut responses: Vec<(Duration, &str)> = seen
        .log
        .requests
        .iter()
        .filter(|asked| !asked.is_return)
        .filter_map(|asked| Some((asked.ended, asked.replica.as_deref()?)))
        .collect();
    responses.sort_unstable();
    let of_step = |(place, step): (usize, &Step)| {
        // What was sent before the step may end behind it.
        let until = seen.steps.get(place + 1).map_or(Duration::MAX, |next| next.decided);
        let within: Vec<_> = responses.iter().filter(|(at, _)| (step.in_force..until).contains(at)).copied().collect();
        let size = FAIR_OF * step.to;
        if step.to < step.from || within.len() < size {
            return None;
        }
        let fair = within.windows(size).find(|window| is_fair(window, step.to));
        let seconds = fair.map_or(f64::INFINITY, |window| (window[0].0 - step.in_force).as_secs_f64());
        // If the next step came soon, nothing is known.
        let lasted = within.last().map_or(0.0, |(at, _)| (*at - step.in_force).as_secs_f64());
        let is_known = seconds.is_finite() || lasted > 2.0 * FAIR_WITHIN;
        is_known.then_some((*step, seconds.min(lasted)))
    };
    seen.steps.iter().enumerate().filter_map(of_step).collect()
}

fn is_fair(window: &[(Duration, &str)], replicas: usize) -> bool {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, replica) in window {
        *counts.entry(replica).or_default() += 1;
    }
    counts.len() == replicas && counts.values().all(|count| FAIR.contains(count))
}

/// Requests of sessions at replicas that came after the session began, and all that such sessions sent then; the first
/// of them.
fn at_newcomers(seen: &Seen) -> (u64, u64, Vec<Fact>) {
    let came: BTreeMap<&str, Duration> = seen.came.iter().map(|(name, at)| (name.as_str(), *at)).collect();
    let Some(first) = seen.came.iter().map(|(_, at)| *at).min() else {
        return (0, 0, Vec::new());
    };
    let (mut new, mut all, mut facts) = (0, 0, Vec::new());
    for asked in &seen.log.requests {
        let begun = seen.log.sessions[asked.session].begun;
        let Some(replica) = asked.replica.as_deref().filter(|_| begun < first && asked.sent >= first) else { continue };
        all += 1;
        if came.get(replica).is_some_and(|at| *at > begun) {
            new += 1;
            let at = (begun.as_secs_f64(), asked.sent.as_secs_f64());
            facts.push(Fact::Note(format!("a session of {:.1} s is at {replica} at {:.1} s", at.0, at.1)));
        }
    }
    facts.truncate(FACTS_MAX);
    (new, all, facts)
}

fn during<'a>(seen: &'a Seen, step: &Step) -> impl Iterator<Item = &'a Asked> {
    let (from, to) = (step.decided, step.in_force + AFTER_STEP);
    seen.log.requests.iter().filter(move |asked| asked.sent >= from && asked.sent < to)
}

/// The p99 of the second half of the peak, when all replicas are there.
fn p99_at_peak(seen: &Seen) -> f64 {
    p99(at_peak(seen))
}

fn at_peak(seen: &Seen) -> impl Iterator<Item = &Asked> {
    let (from, to) = seen.peak;
    let middle = from + (to - from) / 2;
    seen.log.requests.iter().filter(move |asked| (middle..to).contains(&asked.sent) && !asked.is_return)
}

/// In milliseconds.
fn p99<'a>(requests: impl Iterator<Item = &'a Asked>) -> f64 {
    let requests = requests.filter(|asked| !asked.is_return);
    let mut times: Vec<Duration> = requests.map(|asked| asked.ended - asked.sent).collect();
    times.sort_unstable();
    let place = (times.len() * 99).div_ceil(100).saturating_sub(1);
    times.get(place).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::theory::Verdict;

    /// A fleet that goes from 2 to 20 and back. Sessions begin at r0 and r1; then each replica responds in turn, or
    /// only the first two do if `is_starved`.
    fn seen(is_starved: bool, latency_ms: u64) -> Seen {
        let ms = Duration::from_millis;
        let step = |at, from, to| Step { decided: ms(at), in_force: ms(at + 100), from, to };
        let session = |number: usize| Life {
            begun: ms(10),
            replica: Some(format!("r{}", number % 2)),
            is_lost: false,
            is_known: true,
        };
        let asked = |number: u64| {
            let replicas = if is_starved || !(210..=1000).contains(&number) { 2 } else { 20 };
            let (sent, replica) = (ms(number * 5), Some(format!("r{}", number % replicas)));
            Asked {
                session: number as usize % 50,
                sent,
                ended: sent + ms(latency_ms),
                replica,
                told: Told::Kept,
                is_return: false,
            }
        };
        let mut seen = Seen { steps: vec![step(1000, 2, 20), step(5000, 20, 2)], left: 2, ..Seen::default() };
        seen.peak = (ms(1000), ms(5000));
        seen.came = (2..20).map(|number| (format!("r{number}"), ms(1100))).collect();
        seen.removed = (2..20).map(|number| format!("r{number}")).collect();
        seen.log.sessions = (0..50).map(session).collect();
        seen.log.requests = (10..1200).map(asked).collect();
        seen
    }

    fn broken(report: &PlaceReport) -> Vec<&str> {
        let is_broken = |one: &&Prediction| one.verdict == Verdict::Broken;
        assert!(report.predictions.iter().filter(is_broken).all(|one| (1..=4).contains(&one.counterexample.len())));
        report.predictions.iter().filter(is_broken).map(|one| one.what.as_str()).collect()
    }

    #[test]
    fn a_fleet_that_follows_the_load_is_told_from_one_that_does_not() {
        let (fair, slow) = (seen(false, 20), seen(true, 90));
        assert!(broken(&stateless(&fair, &slow)).is_empty());
        assert_eq!(
            broken(&stateless(&slow, &fair)),
            ["s to a fair share", "p99 at the peak over that of sticky users"]
        );
        let mut other = fair.clone();
        other.left = 20;
        other.steps.remove(1);
        assert_eq!(broken(&stateless(&other, &slow)), ["replicas too many in the end"]);
        let mut small = fair.clone();
        small.steps[0].to = 19;
        assert!(broken(&stateless(&small, &slow)).contains(&"replicas missing at the peak"));
        let mut cut = fair.clone();
        cut.log.requests[7].told = Told::Failed("502".into());
        cut.log.sessions[3].is_lost = true;
        assert_eq!(broken(&stateless(&cut, &slow)), ["requests failed", "sessions lost"]);
    }

    #[test]
    fn a_peak_of_which_nothing_was_measured_says_nothing() {
        let (mut empty, whole) = (seen(false, 20), seen(true, 90));
        empty.log.requests.retain(|asked| asked.sent < Duration::from_secs(3));
        for (one, other) in [(&empty, &whole), (&whole, &empty), (&empty, &empty)] {
            let report = stateless(one, other);
            let slower = report.predictions.iter().find(|one| one.what == SLOWER).unwrap();
            assert_eq!((slower.verdict, slower.trials), (Verdict::TooFew, 0), "it is inconclusive");
        }
    }

    #[test]
    fn sticky_sessions_go_with_their_replica() {
        let mut seen = seen(true, 20);
        assert_eq!(at_newcomers(&seen), (0, 980, Vec::new()));
        for number in 0..30 {
            let replica = Some(format!("r{}", 2 + number % 18));
            seen.log.sessions.push(Life { begun: Duration::from_secs(2), replica, is_lost: true, is_known: true });
        }
        let report = sticky(&seen);
        assert!(report.predictions.iter().all(|one| one.verdict == Verdict::Held), "{:?}", report.predictions);
        seen.log.sessions.last_mut().unwrap().is_lost = false;
        assert_eq!(broken(&sticky(&seen)), ["sessions lost of those at replicas that were taken out"]);
    }
}
