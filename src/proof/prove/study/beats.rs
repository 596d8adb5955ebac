//! How fast the machine is while a study is made: requests to an idle replica that no proxy knows. A study has
//! deadlines, and a machine that is too slow misses them whatever the application does. So what is broken and has a
//! deadline in it says nothing then.

use std::cell::RefCell;
use std::fmt;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::part::{PartReplica, Responder, Responding, text};
use super::{PlaceReport, StudyReport};
use crate::prove::arm::Work;
use crate::prove::ask::beat;
use crate::prove::theory::Verdict;
use crate::replica::launch::{Launched, launch};

/// Pause between two requests.
const PAUSE: Duration = Duration::from_millis(50);
/// A machine on which one of them takes so long, or all of them so long on average, may miss any deadline.
const LONGEST: Duration = Duration::from_millis(250);
const MEAN: Duration = Duration::from_millis(25);

/// How long requests to an idle replica took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Pace {
    /// On average, in milliseconds.
    pub mean_ms: f64,
    /// The longest, in milliseconds.
    pub longest_ms: f64,
}

impl Pace {
    fn of(took: &[Duration]) -> Self {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let (sum, longest) = (took.iter().sum(), took.iter().max().copied().unwrap_or_default());
        Self { mean_ms: ms(sum) / took.len().max(1) as f64, longest_ms: ms(longest) }
    }

    /// What an error may come from.
    pub(super) fn explain(self, error: anyhow::Error) -> anyhow::Error {
        if self.is_slow() { error.context(format!("{self}; try again where nothing else runs")) } else { error }
    }

    /// Whether a deadline that was missed says nothing.
    fn is_slow(self) -> bool {
        self.longest_ms >= LONGEST.as_secs_f64() * 1000.0 || self.mean_ms >= MEAN.as_secs_f64() * 1000.0
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mean_ms, longest_ms } = self;
        write!(
            f,
            "the machine itself may have been too slow (an idle replica took {mean_ms:.0} ms on average and \
             {longest_ms:.0} ms at most)"
        )
    }
}

/// Asks, until it is dropped.
pub(super) struct Beats {
    took: Rc<RefCell<Vec<Duration>>>,
    _idle: Launched,
    _asking: JoinSet<()>,
}

impl Beats {
    pub(super) async fn begin() -> anyhow::Result<Self> {
        let idle = launch(&["prove-part", "--part", "idle", "--name", "idle", "--directory", "/"], &[]).await?;
        let (took, port, mut asking) = (Rc::<RefCell<Vec<Duration>>>::default(), idle.port, JoinSet::new());
        let written = Rc::clone(&took);
        asking.spawn_local(async move {
            let (mut line, mut due) = (None, Instant::now());
            loop {
                // What this thread was too late for counts, too.
                line = beat(line, (Ipv4Addr::LOCALHOST, port).into()).await;
                written.borrow_mut().push(due.elapsed());
                due = Instant::now() + PAUSE;
                sleep_until(due).await;
            }
        });
        Ok(Self { took, _idle: idle, _asking: asking })
    }

    pub(super) fn pace(&self) -> Pace {
        Pace::of(&self.took.borrow())
    }
}

impl StudyReport {
    /// What a machine of this pace could have broken by itself says nothing. Asked when shares are judged: a share that
    /// would be broken in a run of its own may hold at the level of the whole run.
    pub(in crate::prove) fn excuse(&mut self) {
        let (study, pace) = (self.study, self.pace);
        if pace.is_slow() {
            self.too_slow.extend(self.columns.iter_mut().filter_map(|place| excuse(place, study, pace)));
        }
    }
}

/// Why nothing can be said of a place, if so.
fn excuse(column: &mut PlaceReport, study: &str, pace: Pace) -> Option<String> {
    let mut excused = Vec::new();
    for prediction in column.predictions.iter_mut().filter(|one| one.is_timed && one.verdict == Verdict::Broken) {
        excused.push(format!("{}: {}", prediction.what, prediction.measured));
        *prediction = prediction.clone().unless_busy(true);
    }
    (!excused.is_empty()).then(|| {
        format!("{study}, {}: {}; but {pace}; try again where nothing else runs", column.place, excused.join(", "))
    })
}

/// The idle replica.
pub(super) fn serve(replica: PartReplica) -> Work<'static, ()> {
    Box::pin(replica.serve(Idle))
}

struct Idle;

impl Responder for Idle {
    fn respond(&self, _: Request<Incoming>) -> Responding<'_> {
        Box::pin(async { text(StatusCode::NOT_FOUND, "there is nothing") })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::prove::report::Report;
    use crate::prove::study::limits;
    use crate::prove::theory::Prediction;

    #[test]
    fn a_slow_machine_is_to_blame_for_what_has_a_deadline_and_for_nothing_else() {
        let ms = Duration::from_millis;
        for (took, is_slow) in [
            (vec![], false),
            (vec![ms(2); 50], false),
            (vec![ms(24); 50], false),
            (vec![ms(26); 50], true),
            ([vec![ms(2); 50], vec![ms(249)]].concat(), false),
            ([vec![ms(2); 50], vec![ms(251)]].concat(), true),
        ] {
            let pace = Pace::of(&took);
            let predictions = vec![
                Prediction::never("requests failed", 1, 100, None).by_the_clock(),
                Prediction::never("orders not done", 0, 100, None).by_the_clock(),
                Prediction::never("reports sent out twice", 1, 100, None),
            ];
            let claim = PlaceReport::claim("redis", String::new(), Value::Null, predictions);
            let mut report = StudyReport { pace, ..limits::STUDY.report(vec![claim], Vec::new()) };
            report.excuse();
            let verdicts: Vec<Verdict> = report.columns[0].predictions.iter().map(|one| one.verdict).collect();
            let first = if is_slow { Verdict::Untested } else { Verdict::Broken };
            assert_eq!(verdicts, [first, Verdict::Held, Verdict::Broken], "{pace:?}");
            assert_eq!(report.too_slow.len(), usize::from(is_slow), "{pace:?}");
            let why = "limits, redis: requests failed: 1 of 100; but the machine itself may have been too slow";
            assert!(report.too_slow.iter().all(|text| text.starts_with(why)), "{:?}", report.too_slow);
        }
    }

    #[test]
    fn what_holds_at_the_level_of_the_run_needs_no_excuse() {
        // It would be broken in a run that predicts nothing else.
        let share = Prediction::share("moved", 50, 100, 1.0 / 3.0).by_the_clock();
        for (others, verdict, excuses) in [(0, Verdict::Untested, 1), (1000, Verdict::Held, 0)] {
            let claim = PlaceReport::claim("hash", String::new(), Value::Null, vec![share.clone()]);
            let pace = Pace { mean_ms: 100.0, longest_ms: 100.0 };
            let study = StudyReport { pace, ..limits::STUDY.report(vec![claim], Vec::new()) };
            let mut report = Report { studies: vec![study], ..Report::default() };
            report.judge_shares(others);
            let study = &report.studies[0];
            assert_eq!((study.columns[0].predictions[0].verdict, study.too_slow.len()), (verdict, excuses));
        }
    }
}
