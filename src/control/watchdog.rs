//! Tells the service manager that all is well, for as long as it is: the control thread runs, and every worker does.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_utils::CachePadded;
use tokio::task::spawn_local;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Control;
use super::supervisor::Supervisor;
use crate::metrics::WorkerCell;

/// A worker is not asked more often: it makes a note twice a second.
const PROGRESS_MIN: Duration = Duration::from_millis(1500);

impl Control {
    /// Begins to watch the workers, if there is a service manager that wants to know.
    pub(super) fn watch_workers(&self) {
        if let Some(patience) = self.supervisor.patience() {
            spawn_local(watch(Rc::clone(&self.supervisor), patience, Arc::clone(&self.status.cells)));
        }
    }
}

/// Says twice per patience of the service manager that all is well. If a worker hangs it says nothing, and the service
/// manager ends the process.
async fn watch(supervisor: Rc<Supervisor>, patience: Duration, cells: Arc<[CachePadded<WorkerCell>]>) {
    let period = (patience / 2).max(Duration::from_millis(1));
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut progress = Progress::default();
    loop {
        let now = ticks.tick().await;
        let beats = cells.iter().map(|cell| cell.beats.value());
        match progress.stuck(now, beats, period.max(PROGRESS_MIN)) {
            None => supervisor.is_well(),
            Some(worker) => {
                tracing::error!(worker, "a worker hangs, and the service manager is not told that all is well")
            }
        }
    }
}

/// When each worker was last seen to make progress.
#[derive(Debug, Default)]
struct Progress(Vec<(u64, Instant)>);

impl Progress {
    /// Takes in what each worker has counted. Returns one that has not counted on for longer than `most`.
    fn stuck(&mut self, now: Instant, beats: impl Iterator<Item = u64>, most: Duration) -> Option<usize> {
        let mut stuck = None;
        for (worker, beats) in beats.enumerate() {
            match self.0.get_mut(worker) {
                Some((seen, at)) if *seen == beats => {
                    stuck = stuck.or((now.duration_since(*at) > most).then_some(worker));
                }
                Some(known) => *known = (beats, now),
                None => self.0.push((beats, now)),
            }
        }
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_stops_counting_is_found_and_forgiven() {
        let (start, most) = (Instant::now(), Duration::from_secs(2));
        let mut progress = Progress::default();
        for (second, beats, expected) in [
            (0, [0, 0], None),
            (1, [1, 0], None),
            (2, [2, 0], None),
            (3, [3, 0], Some(1)),
            (4, [3, 1], None),
            (5, [3, 2], None),
            (6, [3, 3], Some(0)),
            (7, [4, 4], None),
        ] {
            let now = start + Duration::from_secs(second);
            assert_eq!(progress.stuck(now, beats.into_iter(), most), expected, "second {second}");
        }
    }
}
