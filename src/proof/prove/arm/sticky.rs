//! Sessions in the replica's own memory, and every user keeps to one replica
//! ([`Keepers`](crate::prove::front::Keepers)).

use super::predictions::no_session_lost;
use super::{Arm, Role, memory};
use crate::prove::cell::CellReport;
use crate::prove::event::{Event, SCALE_IN};
use crate::prove::theory::Prediction;

/// See the module.
pub(super) const ARM: Arm = Arm { name: "memory+sticky", role: Role::Sticky, predict, ..memory::ARM };

/// A session lives as long as its replica. Unless one goes, all are kept; else the share of those that go is lost.
fn predict(report: &CellReport) -> Vec<Prediction> {
    let replicas = report.replicas as f64;
    let predicted = match report.event {
        Event::Crash | Event::Drain => 1.0 / replicas,
        Event::CrashAllButOne => (replicas - 1.0) / replicas,
        Event::ScaleIn => (SCALE_IN.0 - SCALE_IN.1) as f64 / SCALE_IN.0 as f64,
        Event::Rolling => 1.0,
        Event::Steady | Event::ScaleOut | Event::Reloads | Event::TwoProxies | Event::StoreRestart | Event::Sick => {
            return vec![no_session_lost(&report.findings)];
        }
        // Who used the session while its replica stood still has moved and lost it.
        Event::Stop | Event::Mute => return Vec::new(),
        // These are played for other arms only.
        Event::Pairs
        | Event::Errors
        | Event::SlowOnce
        | Event::Partition
        | Event::Clocks
        | Event::KeyRotation
        | Event::Failover
        | Event::Full
        | Event::Repeats => {
            return Vec::new();
        }
    };
    let (crossing, lost) = report.crossing;
    vec![Prediction::share("sessions lost", lost, crossing, predicted)]
}
