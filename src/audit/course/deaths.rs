//! Replicas that end by themselves while a run is played: a crash is what came of the run. They are started again, so
//! that the next run finds all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Stopped;
use super::bench::Bench;
use crate::outcome::Outcome;
use crate::play::{Move, Took};
use crate::replicas::{Died, Fleet, Key};

/// How often replicas that have ended by themselves are started again in an audit.
const RESTARTS_MAX: u32 = 300;
/// How long it may take until the end of a replica is heard of, after the end of its connections.
const HEARD_WITHIN: Duration = Duration::from_millis(300);
/// How often it is looked.
const HEARD_POLL: Duration = Duration::from_millis(10);
/// So many of its last lines are told.
const LINES: usize = 5;

/// The replicas that have ended by themselves so far.
#[derive(Debug, Default)]
pub(super) struct Deaths {
    /// For each name how often, how it ended the last time, and what it said.
    replicas: BTreeMap<String, (u32, String, Vec<String>)>,
    /// What is to be said of those in the last run.
    latest: Option<String>,
}

impl Deaths {
    /// A run begins.
    fn begin(&mut self) {
        self.latest = None;
    }

    fn add(&mut self, name: &str, status: &str, said: &[String]) {
        let said = said[said.len().saturating_sub(LINES)..].to_vec();
        let last =
            if said.is_empty() { "it said nothing".into() } else { format!("it said last:\n  {}", said.join("\n  ")) };
        self.latest = Some(format!("replica {name} ended by itself ({status}); {last}"));
        let count = self.replicas.get(name).map_or(0, |(count, ..)| *count);
        self.replicas.insert(name.to_owned(), (count + 1, status.to_owned(), said));
    }

    fn count(&self) -> u32 {
        self.replicas.values().map(|(count, ..)| count).sum()
    }

    /// What is to be said of the last run.
    pub(super) fn latest(&self) -> Option<String> {
        self.latest.clone()
    }

    /// What is to be said of all of them.
    pub(super) fn notes(&self) -> Vec<String> {
        let note = |(name, (count, status, said)): (&String, &(u32, String, Vec<String>))| {
            let times = if *count == 1 { "once".to_owned() } else { format!("{count} times") };
            let said = if said.is_empty() { "nothing".to_owned() } else { said.join(" | ") };
            format!(
                "Replica {name} ended by itself {times} while steps were played ({status}), and was started again. It \
                 said last: {said}"
            )
        };
        self.replicas.iter().map(note).collect()
    }
}

impl Bench<'_> {
    /// Before a run: what has ended since the last one is started again.
    pub(super) async fn revive(&self, fleet: &Fleet) -> Result<(), Stopped> {
        while let Some(died) = fleet.died() {
            self.start_again(fleet, &died).await?;
        }
        self.deaths.borrow_mut().begin();
        Ok(())
    }

    /// After a run: a step without a response, whose replica has ended, came out as that.
    pub(super) async fn bury(&self, fleet: &Fleet, moves: &[Move], mut took: Took) -> Result<Took, Stopped> {
        let has_failed = took.iter().any(|(_, outcome)| matches!(outcome, Outcome::Failed(_)));
        let deadline = Instant::now() + HEARD_WITHIN;
        while has_failed && fleet.died().is_none() && fleet.can_die() && Instant::now() < deadline {
            sleep(HEARD_POLL).await;
        }
        while let Some(died) = fleet.died() {
            told(&mut took, moves, &died);
            self.start_again(fleet, &died).await?;
        }
        Ok(took)
    }

    async fn start_again(&self, fleet: &Fleet, died: &Died) -> Result<(), Stopped> {
        let name = fleet.names().get(died.replica).cloned().unwrap_or_default();
        // Now all that it wrote has been read.
        fleet.kill(died.replica).await?;
        self.deaths.borrow_mut().add(&name, &died.status.to_string(), &fleet.said(died.replica));
        if self.deaths.borrow().count() > RESTARTS_MAX {
            let why = format!("replicas have ended by themselves more than {RESTARTS_MAX} times");
            return Err(Stopped::Inconclusive(why, "make the application stay up, then start the audit again".into()));
        }
        Ok(fleet.start(died.replica, Key::Same).await?)
    }
}

/// Says of the steps that a replica left without a response that it has ended.
fn told(took: &mut Took, moves: &[Move], died: &Died) {
    let was_there = |at: usize| moves.contains(&Move::Step(at, died.replica));
    for (at, outcome) in took {
        if matches!(outcome, Outcome::Failed(_)) && was_there(*at) {
            *outcome = Outcome::Failed(format!("its replica ended by itself ({})", died.status));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn a_replica_that_ends_often_is_told_once() {
        let mut deaths = Deaths::default();
        assert!(deaths.notes().is_empty() && deaths.latest().is_none());
        let lines = |count: usize| (0..count).map(|line| format!("line {line}")).collect::<Vec<_>>();
        deaths.add("B", "exit status: 3", &lines(2));
        deaths.add("A", "signal: 6", &[]);
        deaths.add("B", "exit status: 3", &lines(20));
        assert_eq!(deaths.count(), 3);
        let [a, b] = &deaths.notes()[..] else { panic!("{:?}", deaths.notes()) };
        assert!(a.starts_with("Replica A ended by itself once") && a.ends_with("It said last: nothing"), "{a}");
        assert!(b.starts_with("Replica B ended by itself 2 times") && b.ends_with("line 18 | line 19"), "{b}");
        assert_eq!(b.matches(" | ").count() + 1, LINES);
        assert!(deaths.latest().is_some_and(|latest| latest.starts_with("replica B ended by itself (exit status: 3)")));
        deaths.begin();
        assert_eq!((deaths.latest(), deaths.count()), (None, 3));
    }

    #[test]
    fn only_what_a_replica_left_without_a_response_is_its_end() {
        let failed = || Outcome::Failed("closed".into());
        let moves = [Move::Step(0, 1), Move::Step(1, 0), Move::Step(2, 1)];
        let mut took = vec![(0, Outcome::Skipped), (1, failed()), (2, failed())];
        told(&mut took, &moves, &Died { replica: 1, status: ExitStatus::from_raw(3 << 8), said: Vec::new() });
        let end = Outcome::Failed("its replica ended by itself (exit status: 3)".into());
        assert_eq!(took, [(0, Outcome::Skipped), (1, failed()), (2, end)]);
    }
}
