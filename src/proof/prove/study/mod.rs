//! Studies: what is not about sessions of the shop. Where do counters, caches, files, rooms and jobs live, and what
//! becomes of them there?
//!
//! A *study* asks one question of several *places* where the state could be. A place that theory predicts to fail is a
//! *control*: if it does not fail as predicted, the apparatus sees nothing and the run is inconclusive. A study is a
//! file or folder here and one line of [`STUDIES`]. Its replicas are processes of their own that serve a *part*: a line
//! of `PARTS` in `part.rs`.
//!
//! How to write one:
//!
//! 1. The part, `study/NAME/part.rs`: something that implements [`part::Responder`], and
//!    `pub(in crate::prove::study) fn serve(replica: PartReplica) -> Work<'static, ()>`, which makes it and ends with
//!    `replica.serve(responder).await`. A line in `PARTS` in `part.rs`. The server responds to `/healthz` by itself and
//!    names the replica in `x-replica` of every response. [`part::PartReplica::directory`] is the folder of the stage,
//!    shared by its replicas; it is a good scope for names in a Redis that others use too.
//! 2. The study, `study/NAME/mod.rs`: `pub(super) const STUDY: Study`. For each place it calls [`stage::Stage::start`]
//!    with a [`stage::Scene`] (which part, how many replicas and proxies, the environment), sends requests with
//!    [`caller::Caller`]s to [`stage::Stage::fronts`], kills, starts and edits through the stage, and makes a
//!    [`PlaceReport`] of what it has counted. Dropping the stage ends its processes.
//! 3. A place that needs Redis takes [`Bench::redis`]: `Ok` has the environment variable for the replicas (they connect
//!    with `arm::redis::connect_told`), `Err` says how to install it and belongs into [`StudyReport::left_out`].
//! 4. Counting is a pure function from what callers saw to predictions, with tests beside it. Predictions of a control
//!    are made with [`PlaceReport::control`], all others with [`PlaceReport::claim`].
//!    One with a deadline in it, however long, is marked by `Prediction::by_the_clock`: see `beats.rs`.
//! 5. What breaks it on purpose: a line in `sabotage/list/study.rs`. Replicas get it as [`part::PartReplica::planted`],
//!    the study as [`Bench::planted`].

pub mod part;

mod affinity;
mod autoscaling;
mod basket;
mod beats;
mod caches;
pub(super) mod caller;
mod files;
mod hold;
mod jobs;
mod keys;
mod limits;
mod retries;
mod rooms;
mod stage;

use std::cell::Cell;
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::str::FromStr;
use std::task::Poll;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::arm::{Backing, Work, postgres, redis};
use super::lifeline::Lifeline;
use super::options::{self, Options};
use super::sabotage::Planted;
use super::theory::{Prediction, Subject, Verdict};
use super::workspace::Workspace;
use beats::{Beats, Pace};

/// All studies, in the order in which they are made and shown.
pub static STUDIES: [Study; 9] = [
    limits::STUDY,
    caches::STUDY,
    files::STUDY,
    keys::STUDY,
    rooms::STUDY,
    jobs::STUDY,
    affinity::STUDY,
    retries::STUDY,
    autoscaling::STUDY,
];

/// One question about where state is.
#[derive(Debug, Clone, Copy)]
pub struct Study {
    name: &'static str,
    /// What is asked, as a reviewer of an architecture would ask it.
    question: &'static str,
    /// How many seconds it takes on two cores.
    seconds: u32,
    run: for<'a> fn(&'a Bench<'a>) -> Work<'a, StudyReport>,
}

impl Study {
    /// As it is written on the command line and in reports.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// How many seconds it takes on two cores.
    pub fn seconds(self) -> u32 {
        self.seconds
    }

    pub(super) fn run<'a>(self, bench: &'a Bench<'a>) -> Work<'a, StudyReport> {
        Box::pin(async move {
            let beats = Beats::begin().await?;
            let report = (self.run)(bench).await;
            let report = report.map_err(|error| beats.pace().explain(error))?;
            Ok(StudyReport { pace: beats.pace(), ..report })
        })
    }

    /// The report of this study, which could not be made: what was measured before is still worth something.
    pub(super) fn impossible(self, why: &anyhow::Error) -> StudyReport {
        StudyReport { too_slow: vec![format!("{self}: {why:#}")], ..self.report(Vec::new(), Vec::new()) }
    }

    /// The report of this study.
    fn report(self, columns: Vec<PlaceReport>, left_out: Vec<String>) -> StudyReport {
        let (study, question) = (self.name, self.question);
        StudyReport { study, question, columns, left_out, pace: Pace::default(), too_slow: Vec::new() }
    }
}

impl PartialEq for Study {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl FromStr for Study {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        options::by_name("studies", &STUDIES, text)
    }
}

impl fmt::Display for Study {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What a study found.
#[derive(Debug, Clone, Serialize)]
pub struct StudyReport {
    /// Its name.
    pub study: &'static str,
    /// What it asked.
    pub question: &'static str,
    /// One for each place that was there.
    pub columns: Vec<PlaceReport>,
    /// What was left out, and what to do to have it measured.
    pub left_out: Vec<String>,
    /// How fast the machine was meanwhile.
    pub pace: Pace,
    /// Why nothing can be concluded from some places, or from all: the machine was too slow.
    pub too_slow: Vec<String>,
}

/// What a study found of one place.
#[derive(Debug, Clone, Serialize)]
pub struct PlaceReport {
    /// The place.
    pub place: &'static str,
    /// Whether it is predicted to fail.
    pub is_control: bool,
    /// What was found, for people: a few lines, of which the first counts most.
    pub shown: String,
    /// What was found, for programs.
    pub figures: Value,
    /// What theory says, beside what was measured.
    pub predictions: Vec<Prediction>,
}

impl PlaceReport {
    /// Of a place that theory predicts to fail. Its predictions are about the apparatus.
    fn control(place: &'static str, shown: String, figures: Value, predictions: Vec<Prediction>) -> Self {
        let predictions = predictions.into_iter().map(Prediction::of_apparatus).collect();
        Self { place, is_control: true, shown, figures, predictions }
    }

    /// Of a place of which something is claimed.
    fn claim(place: &'static str, shown: String, figures: Value, predictions: Vec<Prediction>) -> Self {
        Self { place, is_control: false, shown, figures, predictions }
    }
}

impl StudyReport {
    /// Every prediction with its study and place.
    pub(super) fn predictions(&self) -> impl Iterator<Item = (String, &Prediction)> {
        let of_place = |column: &PlaceReport| format!("{}, {}", self.study, column.place);
        self.columns.iter().flat_map(move |one| one.predictions.iter().map(move |it| (of_place(one), it)))
    }

    /// What of the controls is not as theory says: then the apparatus sees nothing.
    pub(super) fn unlike_theory(&self) -> Vec<String> {
        let of_control = self.predictions().filter(|(_, one)| one.subject == Subject::Apparatus);
        let reason = |(place, one): (String, &Prediction)| {
            let Prediction { what, expected, measured, .. } = one;
            let figures = format!("({what}: expected {expected}, measured {measured})");
            match one.verdict {
                // For what there was too little of, the run is inconclusive anyway.
                Verdict::Held | Verdict::TooFew => None,
                Verdict::Broken => {
                    Some(format!("{place} must fail as theory says, and the apparatus did not see that {figures}"))
                }
                Verdict::Untested => {
                    Some(format!("{place} must fail as theory says, and it was not tested whether it does {figures}"))
                }
            }
        };
        of_control.filter_map(reason).collect()
    }
}

/// Whether this is a response, and of those that come however fast the machine is: an error of a replica or a proxy may
/// say that something took too long.
fn is_no_failure_of_time(came: &anyhow::Result<http::Response<bytes::Bytes>>) -> bool {
    came.as_ref().is_ok_and(|response| !response.status().is_server_error())
}

/// Does all at the same time. The results in the same order.
async fn all_of<'a, T>(works: impl Iterator<Item = Work<'a, T>>) -> Vec<anyhow::Result<T>> {
    let mut running: Vec<(Work<'a, T>, Option<anyhow::Result<T>>)> = works.map(|work| (work, None)).collect();
    std::future::poll_fn(|cx| {
        for (work, result) in running.iter_mut().filter(|(_, result)| result.is_none()) {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                *result = Some(done);
            }
        }
        if running.iter().all(|(_, result)| result.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    running.into_iter().filter_map(|(_, result)| result).collect()
}

/// What all studies of a run share.
pub struct Bench<'a> {
    options: &'a Options,
    workspace: &'a Workspace,
    redis: OnceCell<Result<Backing, &'static str>>,
    postgres: OnceCell<Result<Backing, &'static str>>,
    /// Stages so far: each has a folder of its own.
    stages: Cell<u32>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(options: &'a Options, workspace: &'a Workspace) -> Self {
        Self { options, workspace, redis: OnceCell::new(), postgres: OnceCell::new(), stages: Cell::new(0) }
    }

    /// Everything random is drawn from this.
    fn seed(&self) -> u64 {
        self.options.seed
    }

    /// What ends the processes of the run when it is killed.
    fn lifeline(&self) -> &Rc<Lifeline> {
        self.workspace.lifeline()
    }

    /// What is broken on purpose.
    fn planted(&self) -> Planted {
        self.options.planted
    }

    /// A Redis for all studies: that of `--redis`, or a private one. Without either: what to do about that.
    async fn redis(&self) -> anyhow::Result<Result<&Backing, &'static str>> {
        let find = || redis::find(self.options, self.workspace, "redis-of-studies");
        Ok(self.redis.get_or_try_init(find).await?.as_ref().map_err(|hint| *hint))
    }

    /// The same of a PostgreSQL.
    async fn postgres(&self) -> anyhow::Result<Result<&Backing, &'static str>> {
        let find = || postgres::find(self.options, self.workspace, "postgres-of-studies");
        Ok(self.postgres.get_or_try_init(find).await?.as_ref().map_err(|hint| *hint))
    }

    /// A new folder of the run.
    fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let number = self.stages.replace(self.stages.get() + 1);
        // Drawn, since a Redis that is given keeps what an earlier run has left there, which may have had the same
        // process id: names in it hold this one.
        let path = self.workspace.directory(&format!("study-{number}-{name}-{:08x}", fastrand::u32(..)));
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn studies_are_known_by_their_names() {
        for study in STUDIES {
            assert_eq!(study.to_string().parse(), Ok(study));
            assert_eq!(STUDIES.iter().filter(|other| **other == study).count(), 1, "{study}");
        }
        let listed = format!("the studies are {}", options::names(&STUDIES));
        assert_eq!("weather".parse::<Study>(), Err(listed));
    }

    #[test]
    fn a_control_that_does_not_fail_as_predicted_makes_a_run_inconclusive() {
        let of = |hits| {
            let predictions = vec![Prediction::share("users who get more", hits, 20, 1.0)];
            let control = PlaceReport::control("memory", String::new(), Value::Null, predictions);
            limits::STUDY.report(vec![control], Vec::new())
        };
        assert!(of(20).unlike_theory().is_empty());
        let why = "limits, memory must fail as theory says, and the apparatus did not see that (users who get more: \
                   expected 100 %, measured 95.0 %";
        assert!(of(19).unlike_theory()[0].starts_with(why), "{:?}", of(19).unlike_theory());
    }

    #[test]
    fn a_control_that_is_not_tested_makes_a_run_inconclusive() {
        use crate::prove::report::{Conclusion, Report};
        let concluded = |prediction: Prediction, is_control| {
            let make = if is_control { PlaceReport::control } else { PlaceReport::claim };
            let column = make("memory", String::new(), Value::Null, vec![prediction]);
            let mut report =
                Report { studies: vec![limits::STUDY.report(vec![column], Vec::new())], ..Report::default() };
            report.judge_shares(0);
            report.inconclusive = crate::prove::inconclusive(&report);
            (report.conclusion(), report.inconclusive.len())
        };
        let share = |hits, trials| Prediction::share("x", hits, trials, 1.0 / 3.0);
        for (prediction, is_control, expected) in [
            (share(30, 90), true, (Conclusion::Held, 0)),
            (share(3, 9), true, (Conclusion::Inconclusive, 1)),
            (share(3, 9), false, (Conclusion::Inconclusive, 1)),
            (share(3, 9).or_untested(), true, (Conclusion::Inconclusive, 1)),
            (share(3, 9).or_untested(), false, (Conclusion::Held, 0)),
            (share(30, 90).unless_busy(true), true, (Conclusion::Inconclusive, 1)),
            (share(30, 90).unless_busy(true), false, (Conclusion::Held, 0)),
            (share(0, 90), true, (Conclusion::Inconclusive, 1)),
            (share(0, 90), false, (Conclusion::Broken, 0)),
            (Prediction::exactly("x", 3, 9, 1.0 / 3.0), true, (Conclusion::Inconclusive, 1)),
        ] {
            let told = format!("{prediction:?} {is_control}");
            assert_eq!(concluded(prediction, is_control), expected, "{told}");
        }
    }
}
