//! How long users pause, so that the machine can carry them. Users, replicas and proxies share its cores. If users ask
//! for more than these can do, every response is late, some come after the clients' deadline, and that would be held
//! against the proxy. So it is measured beforehand what the machine carries. If that is too little, users pause longer
//! than they were told to: everything is judged as usual, at a rate at which it can be.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cell::CellReport;

/// How many users ask without a pause in each arm while it is measured, for how long, and from when on it counts.
pub(super) const USERS: u32 = 20;
pub(super) const SPAN: Duration = Duration::from_millis(1200);
const WARM: Duration = Duration::from_millis(500);
/// So many requests per second are not worth a measurement.
const ANY_MACHINE: f64 = 2000.0;
/// How much of what the machine carries users may ask for, as they pause by themselves.
const FULL: f64 = 0.8;
/// How much of it they ask for if they must pause longer: twice as much while they come and leave, which then takes
/// long.
const PACED: f64 = 0.4;
/// A shorter pause is none.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// A longer pause would be one for which proxies close connections.
const PAUSE_MAX: Duration = Duration::from_secs(40);

/// Why users pause longer than they were told to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// Requests per second that the machine carried.
    pub carried: f64,
    /// Requests per second that users would have sent.
    pub offered: f64,
    /// How long they were to pause, on average, in seconds.
    pub asked_seconds: f64,
    /// How long they do.
    pub pause_seconds: f64,
    /// How many users in each arm may pause as they were to.
    pub users_max: u32,
}

/// Requests per second that users ask for in all arms.
pub(super) fn offered(users: u32, arms: usize, pause: Duration) -> f64 {
    f64::from(users) * arms as f64 / pause.max(PAUSE_MIN).as_secs_f64()
}

/// Whether so many may be too many.
pub(super) fn is_worth_measuring(offered: f64) -> bool {
    offered > ANY_MACHINE
}

/// Requests per second that all arms together carried.
pub(super) fn carried(reports: &[CellReport]) -> f64 {
    let steps = reports.iter().flat_map(|report| &report.history.steps);
    let count = steps.filter(|step| (WARM..SPAN).contains(&step.ended)).count();
    (count as f64 / (SPAN - WARM).as_secs_f64()).round()
}

impl Pace {
    /// How fast the users of so many arms are to be on a machine that carries so much; `None`: as they were told to.
    pub(super) fn of(carried: f64, (users, arms): (u32, usize), asked: Duration) -> Option<Self> {
        let offered = offered(users, arms, asked);
        (offered > carried * FULL).then(|| Self {
            carried,
            offered,
            asked_seconds: asked.as_secs_f64(),
            pause_seconds: f64::from(users) * arms as f64 / (carried * PACED).max(1.0),
            users_max: (carried * FULL * asked.as_secs_f64() / arms as f64) as u32,
        })
    }

    /// The pause, if users can pause for so long.
    pub(super) fn pause(&self) -> Option<Duration> {
        Some(Duration::from_secs_f64(self.pause_seconds)).filter(|pause| *pause <= PAUSE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::arm::jwt;
    use crate::prove::event::Event;
    use crate::trial::history::{Action, History, Step, StepOutcome};

    const ASKED: Duration = Duration::from_millis(160);

    #[test]
    fn users_whom_the_machine_can_carry_pause_as_they_were_told_to() {
        assert_eq!(Pace::of(5000.0, (100, 5), ASKED), None);
        assert_eq!(Pace::of(5000.0, (3000, 5), Duration::from_secs(5)), None);
    }

    #[test]
    fn more_users_than_the_machine_can_carry_pause_longer() {
        let pace = Pace::of(5000.0, (3000, 5), ASKED).unwrap();
        assert_eq!((pace.offered, pace.users_max), (93_750.0, 128));
        let pause = pace.pause().unwrap();
        assert!(offered(3000, 5, pause) <= 5000.0 * PACED + 1e-6, "{pause:?}");
        assert_eq!(Pace::of(5000.0, (3000, 5), pause), None, "that is a pause that the machine can carry");
        assert_eq!(Pace::of(5000.0, (pace.users_max, 5), ASKED), None);
        assert!(Pace::of(5000.0, (pace.users_max + 1, 5), ASKED).is_some());
    }

    #[test]
    fn nobody_pauses_for_so_long_that_connections_are_closed() {
        for carried in [0.0, 100.0] {
            assert_eq!(Pace::of(carried, (3000, 5), ASKED).unwrap().pause(), None);
        }
    }

    #[test]
    fn what_ends_while_it_counts_is_carried() {
        let step = |ms| Step {
            session: 1,
            number: 0,
            user: 1,
            action: Action::Login,
            sent: Duration::ZERO,
            ended: Duration::from_millis(ms),
            replica: None,
            outcome: StepOutcome::Done,
            tries: 1,
            state_bytes: 0,
            store_trips: 0,
            is_altered: false,
            is_reconnected: false,
        };
        let steps = (0..2000).map(step).collect();
        let history = History { steps, ..History::default() };
        let report = CellReport::of((jwt::ARM, Event::Steady, 3, "round-robin"), history);
        assert_eq!(carried(&[report.clone(), report]), 2000.0);
    }
}
