//! One arm in one event: it is started, played, judged and compared with theory.

use std::cell::Cell as Counter;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::arm::{Arm, Work};
use super::ask::beat;
use super::event::{Event, SCALE_OUT, Schedule};
use super::fleet::{Fleet, Plan};
use super::measures::{Measures, crossing, fair_share_after};
use super::pairs;
use super::repeats;
use super::sabotage::Sabotage;
use super::shop::{self, Shop};
use super::theory::Prediction;
use crate::trial::client::{Crowd, play};
use crate::trial::fault;
use crate::trial::history::{Action, History, State, StepOutcome};
use crate::trial::judge::{Findings, judge};
use crate::trial::pairs::judge::{PairFindings, judge as judge_pairs};
use crate::trial::recorder::Recorder;
use crate::trial::scenario::Scenario;

/// How long users go on after the last act at least, as a share of the event's time.
const AFTER_ACTS: f64 = 0.2;
/// How long they go on after scaling out, where the time to a fair share is measured.
const AFTER_SCALE_OUT: Duration = Duration::from_millis(2700);
/// One user in so many begins after the event, as new users do.
const LATE_ONE_IN: u32 = 5;
/// One keyed write in so many is sent again when it has been done; one user in so many has two tabs.
const AGAIN_ONE_IN: u32 = 4;
const TABS_ONE_IN: u32 = 5;
/// Of 100 steps so many look at a book that all share, in arms that have any.
const LOOKS: u32 = 16;
/// One step in so many is not written down, under sabotage.
const UNWRITTEN_ONE_IN: u32 = 50;
/// Pause between two requests that show what the machine itself costs.
const BEAT: Duration = Duration::from_millis(20);

/// What an arm was, did and showed in an event.
#[derive(Debug, Clone, Serialize)]
pub struct CellReport {
    /// Which arm.
    pub arm: Arm,
    /// Which event.
    pub event: Event,
    /// Which repetition of it, from 0 on.
    pub round: u32,
    /// Replicas at the beginning.
    pub replicas: usize,
    /// The algorithm of the proxy.
    pub balance: &'static str,
    /// What was found.
    pub findings: Findings,
    /// What was found in journeys that were played in several placements.
    pub pairs: Option<PairFindings>,
    /// Of the sessions that were there before the first incident and used after the last: how many, how many were lost.
    pub crossing: (u64, u64),
    /// Figures.
    pub measures: Measures,
    /// How long after scaling out every replica carried its fair share.
    pub seconds_to_fair_share: Option<f64>,
    /// Share of the requests that went to new replicas after scaling out: those of sessions from before, and all.
    pub newcomers: Option<(f64, f64)>,
    /// Resident memory of each replica at the end, in KiB.
    pub memory_kib: Vec<(String, u64)>,
    /// Theory beside measurement.
    pub predictions: Vec<Prediction>,
    /// Seconds from the first failed request to the end of the last.
    pub failing_seconds: f64,
    /// The longest time to the end of a response.
    pub longest_seconds: f64,
    /// When something happened to the replicas, in seconds.
    pub incidents: Vec<f64>,
    /// Everything that happened.
    #[serde(skip)]
    pub history: History,
}

/// What is to be run.
pub(super) struct Cell {
    pub(super) plan: Plan,
    pub(super) event: Event,
    /// Which repetition of it.
    pub(super) round: u32,
    pub(super) schedule: Schedule,
    /// How much longer than usual users take to come, and how much later everything is.
    pub(super) gathering: Duration,
    /// How long they take to leave.
    pub(super) leaving: Duration,
    pub(super) users: u32,
    pub(super) pause: Duration,
    pub(super) seed: u64,
    /// A replica that no proxy knows.
    pub(super) control: SocketAddr,
}

impl Cell {
    /// Starts the fleet.
    async fn start(self) -> anyhow::Result<Ready> {
        let fleet = Fleet::start(self.plan.clone()).await?;
        Ok(Ready { cell: self, fleet })
    }

    async fn play(&self, fleet: &Fleet) -> anyhow::Result<Recorder> {
        if self.event == Event::Pairs {
            let recorder = Recorder::begin();
            fleet.introduce(&recorder).await;
            pairs::play(self, fleet, &recorder).await?;
            return Ok(recorder);
        }
        if self.event == Event::Repeats {
            let recorder = Recorder::begin();
            repeats::play(self, fleet, &recorder).await?;
            return Ok(recorder);
        }
        self.play_users(fleet).await
    }

    async fn play_users(&self, fleet: &Fleet) -> anyhow::Result<Recorder> {
        let Schedule { acts, span } = &self.schedule;
        let first = acts.first().map_or(*span, |planned| planned.at);
        let scenario = Scenario {
            seed: self.seed,
            writes: &shop::WRITES,
            again_one_in: AGAIN_ONE_IN,
            tabs_one_in: TABS_ONE_IN,
            looks: if self.plan.arm.shares() { LOOKS } else { 0 },
            pause: self.pause,
            arrivals: first.saturating_sub(self.gathering).mul_f64(0.5).min(Duration::from_millis(500))
                + self.gathering,
            late_one_in: if acts.is_empty() { 0 } else { LATE_ONE_IN },
            late: (span.mul_f64(0.5), span.mul_f64(0.8)),
            leaving: self.leaving,
        };
        let recorder = Recorder::begin();
        fleet.introduce(&recorder).await;
        let (front, sessions, until) = (fleet.front().await, Counter::new(1), Counter::new(Duration::MAX));
        let application = Rc::new(Shop { planted: self.plan.planted });
        let crowd = Rc::new(Crowd { application, front, scenario, until, recorder: recorder.clone(), sessions });
        let mut users = JoinSet::new();
        for user in 0..self.users {
            users.spawn_local(play(Rc::clone(&crowd), user));
        }
        let due = Rc::new(Counter::new(Duration::MAX));
        let beats = tokio::task::spawn_local(beats(self.control, recorder.clone(), Rc::clone(&due)));
        let played = fault::play(acts, fleet, &recorder).await;
        assert!(!self.plan.planted.is(Sabotage::HarnessPanics), "as planned");
        // However long the acts took, users go on after the last of them.
        let margin = if self.event == Event::ScaleOut { AFTER_SCALE_OUT } else { span.mul_f64(AFTER_ACTS) };
        crowd.until.set(if acts.is_empty() { *span } else { (*span).max(recorder.now() + margin) });
        drop(crowd);
        if played.is_ok() {
            while let Some(user) = users.join_next().await {
                user?;
            }
        }
        users.shutdown().await;
        beats.abort();
        // One that is under way has taken that long at least.
        if due.get() < recorder.now() {
            recorder.beat(due.get());
        }
        played.map(|()| recorder)
    }

    /// What is judged: under sabotage not what happened.
    fn seen_by_the_judge(&self, mut history: History) -> History {
        if self.plan.planted.is(Sabotage::BlindJudge) {
            let lost = history
                .steps
                .iter_mut()
                .filter(|step| step.outcome == StepOutcome::Forgotten && step.action != Action::Reuse);
            lost.for_each(|step| step.outcome = StepOutcome::Failed("unseen".into()));
        }
        if self.plan.planted.is(Sabotage::HalfJudge) {
            history.steps.truncate(history.steps.len() / 2);
        }
        if self.plan.planted.is(Sabotage::ForgetfulClient) {
            let mut number = 0;
            history.steps.retain(|_| {
                number += 1;
                number % UNWRITTEN_ONE_IN != 0
            });
        }
        history
    }

    fn report(self, history: History, memory_kib: Vec<(String, u64)>) -> CellReport {
        let history = self.seen_by_the_judge(history);
        let Plan { arm, replicas, balance, service_ms, .. } = self.plan;
        let mut report = CellReport::of((arm, self.event, replicas, balance), history);
        (report.memory_kib, report.round) = (memory_kib, self.round);
        if service_ms.is_empty() {
            report.predictions = arm.predict(&report);
        }
        report
    }
}

/// Asks a replica that no proxy knows, again and again: what is slow for it is slow because of the machine.
/// `due`: when the one under way should have been sent.
async fn beats(control: SocketAddr, recorder: Recorder, due: Rc<Counter<Duration>>) {
    let mut line = None;
    loop {
        // From then on it counts: if the thread of the users gets no time, neither do they.
        due.set(recorder.now() + BEAT);
        sleep_until(recorder.at(due.get())).await;
        line = beat(line, control).await;
        recorder.beat(due.get());
    }
}

impl CellReport {
    /// What a history shows, without predictions: a pure function.
    pub(super) fn of((arm, event, replicas, balance): (Arm, Event, usize, &'static str), history: History) -> Self {
        let (from, to) = match (history.incidents.first(), history.incidents.last()) {
            (Some(first), Some(last)) => (first.at, last.done),
            _ => (Duration::MAX, Duration::MAX),
        };
        let is_scale_out = event == Event::ScaleOut;
        let end = history.steps.iter().map(|step| step.sent).max().unwrap_or_default();
        let edited = history.of(State::Edited).last().map_or(to, |mark| mark.at);
        let fair_share = is_scale_out.then(|| fair_share_after(&history, edited, end, SCALE_OUT.1)).flatten();
        let longest = history.steps.iter().map(|step| step.ended - step.sent).max().unwrap_or_default();
        Self {
            arm,
            event,
            round: 0,
            replicas,
            balance,
            findings: judge(&history),
            pairs: (event == Event::Pairs).then(|| judge_pairs(&history.pairs)),
            crossing: crossing(&history, from, to),
            measures: Measures::of(&history),
            seconds_to_fair_share: fair_share.map(|time| time.as_secs_f64()),
            newcomers: is_scale_out.then(|| newcomers(&history, to, end)).flatten(),
            memory_kib: Vec::new(),
            predictions: Vec::new(),
            failing_seconds: failing_seconds(&history),
            longest_seconds: longest.as_secs_f64(),
            incidents: history.incidents.iter().map(|incident| incident.at.as_secs_f64()).collect(),
            history,
        }
    }
}

/// Shares of the requests after `edit` that went to replicas which were not there at the beginning: of old sessions,
/// and of all. `None` if there were no such requests.
fn newcomers(history: &History, edit: Duration, end: Duration) -> Option<(f64, f64)> {
    // On a slow machine new replicas have requests before the edit is known to be in force.
    let old = &history.replicas;
    let logins = history.steps.iter().filter(|step| step.action == Action::Login && step.sent < edit);
    let old_sessions: HashSet<_> = logins.map(|step| step.session).collect();
    let share = |of_old: bool| {
        let later = history.steps.iter().filter(|step| (edit..end).contains(&step.sent) && step.replica.is_some());
        let (mut all, mut new) = (0u32, 0u32);
        for step in later.filter(|step| !of_old || old_sessions.contains(&step.session)) {
            all += 1;
            new += u32::from(step.replica.as_ref().is_some_and(|replica| !old.contains(replica)));
        }
        (all > 0).then(|| f64::from(new) / f64::from(all))
    };
    Some((share(true)?, share(false)?))
}

fn failing_seconds(history: &History) -> f64 {
    let failed = || history.steps.iter().filter(|step| matches!(step.outcome, StepOutcome::Failed(_)));
    let (first, last) = (failed().map(|step| step.sent).min(), failed().map(|step| step.ended).max());
    first.zip(last).map_or(0.0, |(first, last)| last.saturating_sub(first).as_secs_f64())
}

/// A cell whose replicas and proxies run.
struct Ready {
    cell: Cell,
    fleet: Fleet,
}

/// A cell that is over, but for its processes.
struct Over {
    ready: Ready,
    recorder: Recorder,
}

impl Ready {
    async fn play(self) -> anyhow::Result<Over> {
        let recorder = self.cell.play(&self.fleet).await?;
        Ok(Over { ready: self, recorder })
    }
}

impl Over {
    /// Ends the processes, and judges what they did.
    async fn report(self) -> CellReport {
        let Self { ready: Ready { cell, fleet }, recorder } = self;
        // What clients repeat on purpose is judged by itself.
        if cell.event != Event::Repeats {
            fleet.tell(&recorder).await;
        }
        let memory_kib = fleet.memory().await;
        fleet.end().await;
        cell.report(recorder.into_history(), memory_kib)
    }
}

/// Runs cells side by side. None begins before all have started, and none is ended or judged before all are over: what
/// that takes of the machine, and of the thread of the users, would be measured in the others. Dropping this ends all
/// of them, and every process they started, at once.
pub(super) async fn run_all(cells: Vec<Cell>) -> anyhow::Result<Vec<CellReport>> {
    let ready = side_by_side(cells.into_iter().map(|cell| Box::pin(cell.start()) as Work<'_, Ready>)).await?;
    let over = side_by_side(ready.into_iter().map(|ready| Box::pin(ready.play()) as Work<'_, Over>)).await?;
    let mut reports = Vec::new();
    for over in over {
        reports.push(over.report().await);
    }
    Ok(reports)
}

/// Does all at the same time, until one fails or all are done.
async fn side_by_side<T>(all: impl Iterator<Item = Work<'_, T>>) -> anyhow::Result<Vec<T>> {
    let mut running: Vec<Work<'_, T>> = all.collect();
    let mut results: Vec<Option<T>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (work, result) in running.iter_mut().zip(&mut results).filter(|(_, result)| result.is_none()) {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                match done {
                    Ok(done) => *result = Some(done),
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
        }
        if results.iter().all(Option::is_some) { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await?;
    Ok(results.into_iter().flatten().collect())
}
