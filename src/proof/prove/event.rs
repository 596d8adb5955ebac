//! What happens to the replicas in each part of the experiment. The schedules are made by pure functions.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use super::options;
use crate::trial::fault::{Act, Planned, Rekey};

/// One part of the experiment. All arms go through it at the same time, each on replicas of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Nothing happens.
    Steady,
    /// One replica gets SIGKILL.
    Crash,
    /// All replicas but one get SIGKILL.
    CrashAllButOne,
    /// One replica is set to drain, then taken out.
    Drain,
    /// From 2 replicas to 20 in one edit.
    ScaleOut,
    /// From 6 replicas to 2 in one edit.
    ScaleIn,
    /// Every replica is replaced, one by one.
    Rolling,
    /// 50 edits of the file.
    Reloads,
    /// Two proxies; one gets SIGKILL.
    TwoProxies,
    /// The store is stopped and started again.
    StoreRestart,
    /// One replica says that it wants no requests, and wants them again later.
    Sick,
    /// The process of one replica stands still, and goes on later.
    Stop,
    /// Nothing happens, and there are no users: journeys are played in several placements, and compared.
    Pairs,
    /// One replica accepts requests and does not respond.
    Mute,
    /// One replica responds 500 to everything.
    Errors,
    /// One replica takes long for one request.
    SlowOnce,
    /// One replica cannot reach its store.
    Partition,
    /// The clocks of replicas differ, and tokens are good for a short time.
    Clocks,
    /// Replicas seal tokens with a new key.
    KeyRotation,
    /// The store gets SIGKILL, and the one that copies it takes its place.
    Failover,
    /// The place where sessions are has no room left.
    Full,
    /// All replicas but one get SIGKILL, and clients repeat what was cut off.
    Repeats,
}

/// All events in the order in which they are played.
pub const EVENTS: [Event; 22] = [
    Event::Steady,
    Event::Pairs,
    Event::Crash,
    Event::CrashAllButOne,
    Event::Drain,
    Event::Sick,
    Event::ScaleOut,
    Event::ScaleIn,
    Event::Rolling,
    Event::Reloads,
    Event::TwoProxies,
    Event::StoreRestart,
    Event::Stop,
    Event::Mute,
    Event::Errors,
    Event::SlowOnce,
    Event::Partition,
    Event::Clocks,
    Event::KeyRotation,
    Event::Failover,
    Event::Full,
    Event::Repeats,
];

/// Events for which a run of a minute has no time: `--full` plays them, or their name.
pub const FULL_ONLY: [Event; 10] = [
    Event::Stop,
    Event::Mute,
    Event::Errors,
    Event::SlowOnce,
    Event::Partition,
    Event::Clocks,
    Event::KeyRotation,
    Event::Failover,
    Event::Full,
    Event::Repeats,
];

/// Replicas before and after scaling out.
pub const SCALE_OUT: (usize, usize) = (2, 20);
/// Replicas before and after scaling in.
pub const SCALE_IN: (usize, usize) = (6, 2);
/// Replicas in `repeats`; all but one are killed.
const REPEATS: usize = 6;
/// The weight of the last replica in `reloads`; the others have 1.
pub const HEAVY: u32 = 2;
/// Edits in `reloads`.
const EDITS: usize = 50;

impl Event {
    /// As it is written on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Crash => "crash",
            Self::CrashAllButOne => "crash-all-but-one",
            Self::Drain => "drain",
            Self::ScaleOut => "scale-out",
            Self::ScaleIn => "scale-in",
            Self::Rolling => "rolling",
            Self::Reloads => "reloads",
            Self::TwoProxies => "two-proxies",
            Self::StoreRestart => "store-restart",
            Self::Sick => "sick",
            Self::Stop => "stop",
            Self::Pairs => "pairs",
            Self::Mute => "mute",
            Self::Errors => "errors",
            Self::SlowOnce => "slow-once",
            Self::Partition => "partition",
            Self::Clocks => "clocks",
            Self::KeyRotation => "key-rotation",
            Self::Failover => "failover",
            Self::Full => "full",
            Self::Repeats => "repeats",
        }
    }

    /// How long it takes at the default duration.
    pub(super) fn usual_span(self) -> Duration {
        Duration::from_millis(match self {
            Self::Steady | Self::Rolling | Self::SlowOnce => 3500,
            Self::Crash => 3600,
            Self::Sick => 4400,
            Self::ScaleOut | Self::Errors | Self::Partition => 5000,
            Self::Reloads => 6500,
            Self::StoreRestart | Self::Failover => 4000,
            Self::Stop | Self::Mute => 6000,
            Self::Pairs => 2500,
            _ => 3000,
        })
    }

    /// Whether it happens to the store: then requests fail, and sessions may be lost, whoever serves them.
    pub fn is_of_the_store(self) -> bool {
        matches!(self, Self::StoreRestart | Self::Failover | Self::Full)
    }

    /// Whether sessions are counted that no replica may lose.
    pub fn has_sessions(self) -> bool {
        !self.is_of_the_store() && self != Self::Repeats
    }

    /// Replicas at the beginning.
    pub fn replicas(self, usual: usize) -> usize {
        match self {
            Self::ScaleOut => SCALE_OUT.0,
            Self::ScaleIn => SCALE_IN.0,
            Self::Repeats => REPEATS,
            _ => usual,
        }
    }

    /// How many proxies there are.
    pub fn proxies(self) -> usize {
        if self == Self::TwoProxies { 2 } else { 1 }
    }

    /// What is done when, and when the event is over. All times are multiplied by `stretch`. What happens to one
    /// replica happens to the `victim`.
    pub fn schedule(self, replicas: usize, stretch: f64, victim: usize) -> Schedule {
        let victim = victim % replicas.max(1);
        let span = self.usual_span().mul_f64(stretch);
        let at = |share: f64| span.mul_f64(share);
        let acts: Vec<(f64, Act)> = match self {
            Self::Steady | Self::Pairs | Self::Clocks => Vec::new(),
            Self::Crash => vec![(0.25, Act::Kill(victim))],
            Self::CrashAllButOne => {
                let at = |number: usize| 0.3 + 0.3 * number as f64 / replicas as f64;
                (1..replicas).map(|number| (at(number), kill(number, (victim + number) % replicas))).collect()
            }
            Self::Drain => vec![(0.35, Act::Drain(victim)), (0.5, Act::Retire(victim))],
            Self::ScaleOut => vec![(0.2, Act::Add(SCALE_OUT.1 - SCALE_OUT.0))],
            Self::ScaleIn => vec![(0.4, Act::Remove(SCALE_IN.0 - SCALE_IN.1))],
            Self::Rolling => (0..replicas)
                .map(|replica| (0.25 + 0.5 * replica as f64 / replicas as f64, Act::Replace(replica)))
                .collect(),
            Self::Reloads => {
                (0..EDITS).map(|edit| (0.12 + 0.87 * edit as f64 / EDITS as f64, Act::Edit(edit))).collect()
            }
            Self::TwoProxies => vec![(0.4, Act::KillProxy(0))],
            Self::StoreRestart => vec![(0.35, Act::RestartStore)],
            Self::Sick => vec![(0.18, Act::Sicken(victim)), (0.75, Act::Heal(victim))],
            Self::Stop => vec![(0.15, Act::Stop(victim)), (0.75, Act::Continue(victim))],
            Self::Mute => vec![(0.15, Act::Mute(victim)), (0.75, Act::Heal(victim))],
            Self::Errors => vec![(0.2, Act::Err(victim)), (0.8, Act::Heal(victim))],
            Self::Partition => vec![(0.2, Act::CutOff(victim)), (0.8, Act::Heal(victim))],
            Self::SlowOnce => vec![(0.4, Act::SlowOnce(victim))],
            Self::Failover => vec![(0.3, Act::FailOver)],
            Self::Full => vec![(0.3, Act::Fill)],
            Self::Repeats => {
                let at = |number: usize| 0.15 + 0.75 * number as f64 / replicas as f64;
                (1..replicas).map(|number| (at(number), Act::Kill((victim + number) % replicas))).collect()
            }
            Self::KeyRotation => vec![(0.3, Act::Rekey(Rekey::Announce)), (0.5, Act::Rekey(Rekey::Use))],
        };
        let acts = acts.into_iter().map(|(share, act)| Planned { at: at(share), act }).collect();
        Schedule { acts, span }
    }
}

/// The first is killed with requests in both states that matter, all others while they read one.
fn kill(number: usize, replica: usize) -> Act {
    if number == 1 { Act::Kill(replica) } else { Act::KillReading(replica) }
}

impl FromStr for Event {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        options::by_name("events", &EVENTS, text)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is done when, and when the event is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The acts, in order of time.
    pub acts: Vec<Planned>,
    /// When sessions are brought to an end.
    pub span: Duration,
}

impl Schedule {
    /// The same, so much later.
    pub(super) fn later(mut self, by: Duration) -> Self {
        self.acts.iter_mut().for_each(|planned| planned.at += by);
        self.span += by;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_keep_to_their_span() {
        for event in EVENTS {
            for (replicas, stretch) in [(2, 0.5), (3, 1.0), (20, 4.0)] {
                let replicas = event.replicas(replicas);
                let Schedule { acts, span } = event.schedule(replicas, stretch, 1);
                assert!(acts.iter().all(|planned| planned.at < span), "{event}");
                assert!(acts.is_sorted_by_key(|planned| planned.at), "{event}");
            }
            assert_eq!(event.name().parse(), Ok(event));
        }
    }

    #[test]
    fn somebody_is_always_left() {
        let killed = Event::CrashAllButOne.schedule(3, 1.0, 2).acts.len();
        assert_eq!(killed, 2);
        let victims = |victim| Event::Sick.schedule(3, 1.0, victim).acts.into_iter().map(|planned| planned.act);
        assert_eq!(victims(2).collect::<Vec<_>>(), [Act::Sicken(2), Act::Heal(2)]);
        assert_eq!(victims(4).next(), Some(Act::Sicken(1)));
        let (usual, later) =
            (Event::Sick.schedule(3, 1.0, 0), Event::Sick.schedule(3, 1.0, 0).later(Duration::from_secs(2)));
        assert!(
            later.acts[0].at == usual.acts[0].at + Duration::from_secs(2)
                && later.span == usual.span + Duration::from_secs(2)
        );
        assert_eq!(Event::Rolling.schedule(5, 1.0, 0).acts.len(), 5);
        assert_eq!(Event::Reloads.schedule(3, 1.0, 2).acts.len(), 50);
    }
}
