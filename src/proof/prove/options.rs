//! What `unstick prove` takes from the command line.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::arm::{Arm, jwt};
use super::event::Event;
use super::lab::{ARMS_AT_ONCE, SLOW_REPLICA};
use super::sabotage::Planted;
use super::study::Study;

/// One of `all` by its name; the error says which ones there are.
pub(super) fn by_name<T: Copy + fmt::Display>(what: &str, all: &[T], text: &str) -> Result<T, String> {
    all.iter().copied().find(|one| one.to_string() == text).ok_or_else(|| format!("the {what} are {}", names(all)))
}

/// All names, separated by commas.
pub fn names<T: fmt::Display>(all: &[T]) -> String {
    all.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// Environment variables for `--redis`, `--s3`, `--postgres` and `--memcached`, and for replicas: URLs may hold
/// passwords, and arguments show up in `ps`.
pub const REDIS_VARIABLE: &str = "UNSTICK_PROVE_REDIS";
/// See there.
pub const S3_VARIABLE: &str = "UNSTICK_PROVE_S3";
/// See there.
pub const POSTGRES_VARIABLE: &str = "UNSTICK_PROVE_POSTGRES";
/// See there.
pub const MEMCACHED_VARIABLE: &str = "UNSTICK_PROVE_MEMCACHED";

/// What each event takes besides what is measured.
const AROUND_EVENT: Duration = Duration::from_secs(1);

/// What `unstick prove` takes from the command line.
#[derive(Debug, Clone)]
pub struct Options {
    /// Everything random is drawn from this.
    pub seed: u64,
    /// How often each event is played, each time with another seed.
    pub repeat: u32,
    /// Users at one time, in each arm.
    pub users: u32,
    /// Replicas at the beginning of most events.
    pub replicas: usize,
    /// How long all events take together, roughly; `None`: what they need.
    pub duration: Option<Duration>,
    /// Mean pause of a user between two steps.
    pub pause: Duration,
    /// Which arms. An arm whose store is missing is left out.
    pub arms: Vec<Arm>,
    /// Which events.
    pub events: Vec<Event>,
    /// Which studies.
    pub studies: Vec<Study>,
    /// A Redis to use instead of a private one.
    pub redis: Option<String>,
    /// A bucket of an S3-compatible store to use instead of a private store.
    pub s3: Option<String>,
    /// A PostgreSQL to use instead of a private one.
    pub postgres: Option<String>,
    /// A memcached to use instead of a private one.
    pub memcached: Option<String>,
    /// Where everything is written as JSON.
    pub json: Option<PathBuf>,
    /// Where the report with charts is written.
    pub html: Option<PathBuf>,
    /// Whether the JSON contains every step.
    pub history: bool,
    /// Whether logs, config files and stores are kept.
    pub keep: bool,
    /// What is broken on purpose.
    pub planted: Planted,
}

impl Options {
    /// How long a run takes, roughly, on two cores that have nothing else to do: what is measured, and what is started
    /// and ended besides.
    pub fn usual_span(&self) -> Duration {
        let events: Duration = self.events.iter().map(|event| event.usual_span() + AROUND_EVENT).sum();
        let studies = self.studies.iter().map(|study| u64::from(study.seconds())).sum();
        let groups = self.arms.len().div_ceil(ARMS_AT_ONCE) as u32;
        let has_slow = self.arms.contains(&jwt::ARM) && self.events.contains(&Event::Steady);
        let slow = if has_slow { SLOW_REPLICA } else { Duration::ZERO };
        events * self.repeat * groups + slow + Duration::from_secs(studies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::arm::ARMS;
    use crate::prove::event::{EVENTS, FULL_ONLY};
    use crate::prove::study::STUDIES;

    fn seconds(arms: Vec<Arm>, events: Vec<Event>, studies: Vec<Study>) -> u64 {
        let options = Options {
            seed: 1,
            repeat: 1,
            users: 100,
            replicas: 3,
            duration: None,
            pause: Duration::from_millis(160),
            arms,
            events,
            studies,
            redis: None,
            s3: None,
            postgres: None,
            memcached: None,
            json: None,
            html: None,
            history: false,
            keep: false,
            planted: Planted::default(),
        };
        options.usual_span().as_secs()
    }

    #[test]
    fn a_run_takes_a_minute_and_a_full_one_six_at_most() {
        let arms = ARMS.into_iter().filter(|arm| arm.is_default()).collect();
        let events = EVENTS.into_iter().filter(|event| !FULL_ONLY.contains(event)).collect();
        let usual = seconds(arms, events, Vec::new());
        assert!(usual < 60, "{usual} s");
        let full = seconds(ARMS.to_vec(), EVENTS.to_vec(), STUDIES.to_vec());
        assert!(full <= 360, "{full} s");
    }
}
