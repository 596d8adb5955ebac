//! Figures from a history: how requests and sessions were spread, how long answers took, what state cost. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::theory::random_variation;
use crate::trial::history::{Action, History, SessionId, Step, StepOutcome};
use crate::trial::judge::{dying, lingering};

/// Width of a point of the charts.
const TICK: Duration = Duration::from_millis(100);
/// Width of the window in which a fair share is looked for.
const WINDOW: Duration = Duration::from_millis(500);
/// How near to fair a share must be.
const FAIR: f64 = 0.1;
/// With less time between two steps of a session, round-robin gives the second to another replica than a lot would.
pub const APART: Duration = Duration::from_millis(20);

/// Figures of one arm in one event.
#[derive(Debug, Clone, Serialize)]
pub struct Measures {
    /// Requests answered by each replica; those that were there at the beginning are there even if they got none.
    pub spread: BTreeMap<Arc<str>, u64>,
    /// Largest over smallest of them.
    pub largest_over_smallest: f64,
    /// Their coefficient of variation, and what sending by lot would show.
    pub variation: (f64, f64),
    /// Steps that came at least [`APART`] after the step before: how many, and how many met the same replica again.
    pub same_replica: (u64, u64),
    /// Such steps of sessions that were known at the step before: how many, and how many found them forgotten.
    pub forgotten: (u64, u64),
    /// How long responses took that no dying replica had.
    pub waits: Waits,
    /// Writes that were sent again with their key, when they had been done: how many, and how many of those were not
    /// acknowledged again.
    pub repeats: (u64, u64),
    /// Milliseconds to the end of an answer: median, and 99 of 100.
    pub latency_ms: (f64, f64),
    /// Bytes of session state that travelled with a request, on average.
    pub state_bytes: f64,
    /// Round trips to a store per request.
    pub store_trips: f64,
    /// Requests by replica and sessions that are known, over time.
    pub timeline: Timeline,
}

/// How long responses took, in milliseconds, without those that a dying or stopped replica may have held, one that was
/// told to take its time, or a machine that stood still.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Waits {
    /// Before the first incident: how many, and 99 of 100.
    pub quiet: (u64, f64),
    /// From then on.
    pub event: (u64, f64),
    /// The longest, without four times what the machine itself took beside it.
    pub longest: f64,
    /// The median before the first incident at the replica where it is greatest.
    pub quiet_median: f64,
    /// The median from then on.
    pub event_median: f64,
    /// Of requests that met neither a proxy nor load: the median, 99 of 100, and the longest.
    pub machine: (f64, f64, f64),
    /// Responses that the machine itself may have held up.
    pub held_up: u64,
    /// The longest as a step.
    #[serde(skip)]
    pub example: Option<Step>,
}

/// What charts show.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Timeline {
    /// Seconds.
    pub at: Vec<f64>,
    /// Requests per second by replica.
    pub replicas: BTreeMap<Arc<str>, Vec<f64>>,
    /// Of the sessions that were begun before the first incident, those that were neither lost nor ended.
    pub alive: Vec<u32>,
    /// Sessions lost so far.
    pub lost: Vec<u32>,
}

impl Measures {
    /// Measures a history.
    pub fn of(history: &History) -> Self {
        let mut latency = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).expect("these bounds are valid");
        let (mut bytes, mut trips) = (0u64, 0u64);
        for step in &history.steps {
            latency.saturating_record((step.ended - step.sent).as_micros() as u64);
            bytes += u64::from(step.state_bytes);
            trips += u64::from(step.store_trips);
        }
        let mut spread = spread(history, Duration::ZERO, Duration::MAX);
        history.replicas.iter().for_each(|name| {
            spread.entry(Arc::clone(name)).or_default();
        });
        let (same_replica, forgotten) = placements(history);
        let counts: Vec<u64> = spread.values().copied().collect();
        let requests = history.steps.len().max(1) as f64;
        let ms = |quantile| latency.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            largest_over_smallest: ratio(&counts),
            variation: (variation(&counts), random_variation(counts.len(), counts.iter().sum())),
            same_replica,
            forgotten,
            waits: Waits::of(history),
            repeats: repeats(history),
            latency_ms: (ms(0.5), ms(0.99)),
            state_bytes: bytes as f64 / requests,
            store_trips: trips as f64 / requests,
            timeline: Timeline::of(history),
            spread,
        }
    }
}

/// If a request that meets neither a proxy nor load takes longer than this, the machine stands still, and nothing is
/// said of how long others took beside it.
const STANDSTILL: Duration = Duration::from_millis(100);
/// If it ever takes longer than this, the machine is too busy to say when a replica was found out.
const MACHINE_MS: f64 = 250.0;

impl Waits {
    /// Whether the machine is too busy to say how soon something happens.
    pub fn is_machine_busy(&self) -> bool {
        self.machine.2 > MACHINE_MS
    }

    fn of(history: &History) -> Self {
        let (dying, lingering): (Vec<_>, Vec<_>) = (dying(history), lingering(history).collect());
        let first = history.incidents.first().map_or(Duration::MAX, |incident| incident.at);
        let is_lingering = |step: &Step| {
            lingering.iter().any(|(mark, time)| step.replica.as_ref() == Some(&mark.whose) && step.meets(*time))
        };
        let is_free = |step: &&Step| !dying.iter().any(|time| step.meets(*time)) && !is_lingering(step);
        let took = |step: &Step| step.ended - step.sent;
        let is_held_up = |step: &&Step| history.longest_beat((step.sent, step.ended)) > STANDSTILL;
        let (held_up, free): (Vec<&Step>, Vec<&Step>) = history.steps.iter().filter(is_free).partition(is_held_up);
        let times = |is: &dyn Fn(&Step) -> bool| -> Vec<Duration> {
            free.iter().filter(|step| is(step)).map(|step| took(step)).collect()
        };
        let of = |times: Vec<Duration>| (times.len() as u64, quantile_ms(times, 0.99));
        let (quiet, event) = (times(&|step| step.sent < first), times(&|step| step.sent >= first));
        let mut by_replica: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
        for step in free.iter().filter(|step| step.sent < first) {
            by_replica.entry(step.replica.as_deref().unwrap_or_default()).or_default().push(took(step));
        }
        let beats: Vec<Duration> = history.beats.iter().map(|(_, took)| *took).collect();
        // Beside a machine that stands still for a while a response may take four times as long: it passes four
        // processes.
        let excess = |step: &&Step| took(step).saturating_sub(4 * history.longest_beat((step.sent, step.ended)));
        let example = free.iter().chain(&held_up).copied().max_by_key(excess).cloned();
        Self {
            quiet_median: by_replica.into_values().map(|times| quantile_ms(times, 0.5)).fold(0.0, f64::max),
            quiet: of(quiet),
            event_median: quantile_ms(event.clone(), 0.5),
            event: of(event),
            longest: example.as_ref().map_or(0.0, |step| excess(&step).as_secs_f64() * 1000.0),
            machine: (quantile_ms(beats.clone(), 0.5), quantile_ms(beats.clone(), 0.99), quantile_ms(beats, 1.0)),
            held_up: held_up.len() as u64,
            example,
        }
    }
}

fn quantile_ms(mut times: Vec<Duration>, quantile: f64) -> f64 {
    times.sort_unstable();
    let place = (times.len() as f64 * quantile).ceil() as usize;
    times.get(place.saturating_sub(1)).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

/// See the fields of the same names.
fn placements(history: &History) -> ((u64, u64), (u64, u64)) {
    let (mut same, mut forgotten) = ((0, 0), (0, 0));
    for steps in sessions(history).values() {
        for pair in steps.windows(2) {
            let (before, step) = (pair[0], pair[1]);
            let is_failed = |step: &Step| matches!(step.outcome, StepOutcome::Failed(_));
            if step.action == Action::Reuse || is_failed(before) || is_failed(step) {
                continue;
            }
            if step.sent >= before.ended + APART {
                same.0 += 1;
                same.1 += u64::from(step.replica == before.replica);
                forgotten.0 += 1;
                forgotten.1 += u64::from(step.outcome == StepOutcome::Forgotten);
            }
            if step.outcome == StepOutcome::Forgotten {
                break;
            }
        }
    }
    (same, forgotten)
}

fn repeats(history: &History) -> (u64, u64) {
    let again = history.steps.iter().filter(|step| matches!(step.action, Action::Again { .. }));
    let refused = again.clone().filter(|step| step.outcome != StepOutcome::Done);
    (again.count() as u64, refused.count() as u64)
}

/// Requests answered by each replica that were sent within a time.
pub fn spread(history: &History, from: Duration, to: Duration) -> BTreeMap<Arc<str>, u64> {
    let mut spread = BTreeMap::new();
    for step in history.steps.iter().filter(|step| (from..to).contains(&step.sent)) {
        if let Some(replica) = &step.replica {
            *spread.entry(Arc::clone(replica)).or_default() += 1;
        }
    }
    spread
}

fn ratio(counts: &[u64]) -> f64 {
    let (least, most) = (counts.iter().min(), counts.iter().max());
    most.copied().unwrap_or_default() as f64 / least.copied().unwrap_or(1).max(1) as f64
}

fn variation(counts: &[u64]) -> f64 {
    let n = counts.len().max(1) as f64;
    let mean = counts.iter().sum::<u64>() as f64 / n;
    let variance = counts.iter().map(|count| (*count as f64 - mean).powi(2)).sum::<f64>() / n;
    if mean > 0.0 { variance.sqrt() / mean } else { 0.0 }
}

/// The steps of each session, in order.
pub fn sessions(history: &History) -> BTreeMap<SessionId, Vec<&Step>> {
    let mut sessions: BTreeMap<SessionId, Vec<&Step>> = BTreeMap::new();
    history.steps.iter().for_each(|step| sessions.entry(step.session).or_default().push(step));
    sessions.retain(|_, steps| steps[0].action == Action::Login && steps[0].outcome == StepOutcome::Done);
    sessions
}

fn lost_at(steps: &[&Step]) -> Option<Duration> {
    let lost = steps.iter().find(|step| step.outcome == StepOutcome::Forgotten && step.action != Action::Reuse);
    lost.map(|step| step.ended)
}

/// Of the sessions that were known before `from`, and used after `to` or lost before: how many there are, how many were
/// lost.
pub fn crossing(history: &History, from: Duration, to: Duration) -> (u64, u64) {
    let (mut crossing, mut lost) = (0, 0);
    for steps in sessions(history).values() {
        let lost_at = lost_at(steps);
        let began_before = steps[0].ended < from && lost_at.is_none_or(|at| at >= from);
        let used_after = steps.iter().any(|step| step.sent > to);
        if began_before && (used_after || lost_at.is_some()) {
            crossing += 1;
            lost += u64::from(lost_at.is_some());
        }
    }
    (crossing, lost)
}

/// How long after `edit` every one of `count` replicas carried its fair share, give or take a tenth, of a window's
/// requests or of the whole rest of the time; `None` if that never came.
pub fn fair_share_after(history: &History, edit: Duration, end: Duration, count: usize) -> Option<Duration> {
    let mut from = edit;
    while from.saturating_add(WINDOW) <= end {
        if is_fair(&spread(history, from, end), count) {
            return Some(from - edit);
        }
        from += TICK;
    }
    None
}

fn is_fair(spread: &BTreeMap<Arc<str>, u64>, count: usize) -> bool {
    let fair = spread.values().sum::<u64>() as f64 / count as f64;
    // One request more or less is no unfairness.
    let slack = (fair * FAIR).max(1.0);
    spread.len() == count && spread.values().all(|requests| (*requests as f64 - fair).abs() <= slack)
}

impl Timeline {
    fn of(history: &History) -> Self {
        let end = history.steps.iter().map(|step| step.ended).max().unwrap_or_default();
        let tick = |at: Duration| (at.as_nanos() / TICK.as_nanos()) as usize;
        let ticks = tick(end) + 1;
        let mut timeline = Self {
            at: (0..ticks).map(|tick| tick as f64 * TICK.as_secs_f64()).collect(),
            alive: vec![0; ticks],
            lost: vec![0; ticks],
            ..Self::default()
        };
        for step in &history.steps {
            if let Some(replica) = &step.replica {
                let counts = timeline.replicas.entry(Arc::clone(replica)).or_insert_with(|| vec![0.0; ticks]);
                counts[tick(step.ended)] += 1.0 / TICK.as_secs_f64();
            }
        }
        let first_incident = history.incidents.first().map_or(Duration::MAX, |incident| incident.at);
        for steps in sessions(history).values() {
            let lost = lost_at(steps);
            let over = steps.iter().find(|step| step.action == Action::Logout).map(|step| step.ended);
            let until = lost.or(over).map_or(ticks, tick);
            let began = tick(steps[0].ended);
            if steps[0].ended < first_incident {
                timeline.alive[began..until.max(began)].iter_mut().for_each(|alive| *alive += 1);
            }
            timeline.lost[lost.map_or(ticks, tick)..].iter_mut().for_each(|lost| *lost += 1);
        }
        timeline
    }
}

#[cfg(test)]
mod tests {
    use crate::trial::history::{Incident, Mark, State};

    use super::*;

    fn step(session: SessionId, ms: u64, action: Action, outcome: StepOutcome, replica: &str) -> Step {
        let (sent, ended) = (Duration::from_millis(ms), Duration::from_millis(ms + 2));
        let replica = Some(replica.into());
        Step {
            session,
            number: 0,
            user: session,
            action,
            sent,
            ended,
            replica,
            outcome,
            tries: 1,
            state_bytes: 10,
            store_trips: 2,
            is_altered: false,
            is_reconnected: false,
        }
    }

    fn history() -> History {
        let values = || StepOutcome::Values([].into());
        let steps = vec![
            step(1, 0, Action::Login, StepOutcome::Done, "a"),
            step(2, 5, Action::Login, StepOutcome::Done, "b"),
            step(1, 100, Action::Read, values(), "a"),
            step(2, 110, Action::Read, StepOutcome::Forgotten, "a"),
            step(3, 200, Action::Login, StepOutcome::Done, "b"),
            step(1, 300, Action::Read, values(), "b"),
            step(1, 400, Action::Logout, StepOutcome::Done, "b"),
            step(1, 410, Action::Reuse, StepOutcome::Forgotten, "b"),
        ];
        History { steps, ..History::default() }
    }

    #[test]
    fn figures_are_counted() {
        let measures = Measures::of(&history());
        assert_eq!(measures.spread.values().copied().collect::<Vec<_>>(), [3, 5]);
        assert_eq!((measures.state_bytes, measures.store_trips), (10.0, 2.0));
        assert!((measures.latency_ms.0 - 2.0).abs() < 0.01);
        assert!((measures.largest_over_smallest - 5.0 / 3.0).abs() < 1e-9);
        assert_eq!(measures.timeline.alive, [2, 1, 2, 2, 1]);
        assert_eq!(measures.timeline.lost, [0, 1, 1, 1, 1]);
    }

    #[test]
    fn who_got_nothing_is_counted() {
        let replicas = ["a", "b", "c"].map(Arc::from).to_vec();
        let measures = Measures::of(&History { replicas, ..history() });
        assert_eq!(measures.spread["c"], 0);
        assert_eq!(measures.largest_over_smallest, 5.0);
    }

    #[test]
    fn placements_are_counted_step_by_step() {
        let measures = Measures::of(&history());
        // 1: a, a (same), b, b (same); 2: b, a (forgotten).
        assert_eq!(measures.same_replica, (4, 2));
        assert_eq!(measures.forgotten, (4, 1));
    }

    #[test]
    fn waits_leave_out_what_a_dying_replica_held() {
        let ms = Duration::from_millis;
        let mut history = history();
        history.steps[5].ended = ms(900);
        let longest = |history: &History| Measures::of(history).waits.longest;
        assert!((longest(&history) - 600.0).abs() < 1e-9);
        let mark = |at, state| Mark { at: ms(at), whose: "b".into(), state, in_flight: 1 };
        history.marks = vec![mark(850, State::Ending), mark(899, State::Killed)];
        assert!((longest(&history) - 2.0).abs() < 1e-9);
        history.incidents = vec![Incident { at: ms(200), done: ms(899), what: "kill".into() }];
        let waits = Measures::of(&history).waits;
        assert_eq!((waits.quiet.0, waits.event.0), (4, 3));
    }

    #[test]
    fn waits_leave_out_what_the_machine_held_up() {
        let ms = Duration::from_millis;
        let mut history = history();
        history.steps[5].ended = ms(1200);
        let waits = |history: &History| Measures::of(history).waits;
        assert_eq!((waits(&history).longest, waits(&history).quiet.1, waits(&history).held_up), (900.0, 900.0, 0));
        history.beats = vec![(ms(200), ms(2)), (ms(500), ms(150)), (ms(1300), ms(400))];
        let with = waits(&history);
        assert_eq!((with.longest, with.quiet.1, with.held_up), (300.0, 2.0, 1), "four times as long beside it");
        assert_eq!(with.machine.2, 400.0);
        assert_eq!(history.longest_beat((ms(649), ms(660))), ms(150));
        assert_eq!(history.longest_beat((ms(651), ms(1299))), Duration::ZERO);
    }

    #[test]
    fn waits_leave_out_what_a_replica_took_that_was_told_to() {
        let ms = Duration::from_millis;
        let mut history = history();
        let mark = |at, state| Mark { at: ms(at), whose: "b".into(), state, in_flight: 1 };
        history.steps[5].ended = ms(380);
        history.marks = vec![mark(290, State::Lingering), mark(379, State::Out)];
        assert!((Measures::of(&history).waits.longest - 2.0).abs() < 1e-9);
        history.steps[5].replica = Some("a".into());
        assert!((Measures::of(&history).waits.longest - 80.0).abs() < 1e-9, "another one was told nothing");
    }

    #[test]
    fn sessions_cross_an_incident_or_not() {
        let ms = Duration::from_millis;
        assert_eq!(crossing(&history(), ms(50), ms(60)), (2, 1));
        assert_eq!(crossing(&history(), ms(150), ms(160)), (1, 0), "the third is not used after it");
    }

    #[test]
    fn a_share_is_fair_when_all_have_it() {
        let ms = Duration::from_millis;
        let mut steps: Vec<Step> = (0..100).map(|n| step(1, n * 10, Action::Login, StepOutcome::Done, "a")).collect();
        steps.extend((30..100).map(|n| step(2, n * 10 + 1, Action::Login, StepOutcome::Done, "b")));
        let history = History { steps, ..History::default() };
        assert_eq!(fair_share_after(&history, ms(100), ms(1000), 2), Some(ms(100)), "give or take a tenth");
        assert_eq!(fair_share_after(&history, ms(100), ms(1000), 3), None);
    }
}
