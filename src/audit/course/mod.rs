//! All runs of an audit, one after the other: first on one replica, then across, then with replicas that break, and
//! for each dependence those that make its witness small and tell its cause. AUDIT in docs/audit.md.

mod bench;
mod cause;
mod crash;
mod cross;
mod deaths;
mod fresh;
mod gate;
mod hint;
mod locate;
mod replay;
mod shrink;

pub use bench::{Bench, Listener, Site};
pub use replay::{Replay, again, replays};

use crate::play::Plan;
use crate::replicas::Trouble;
use crate::report::{Coverage, Dependence, Report, SCHEMA, StepLine, Verdict};

/// Dependences that are shown with a witness of their own. Of further ones only the pair is named.
const SHOWN_MAX: usize = 5;

/// Dependences that are looked for.
const DEPENDENCES_MAX: usize = 20;

/// How often each placement of a witness is played.
const RUNS_OF_CELL: u32 = 5;

/// A dependence whose corrected p is larger is no finding.
const P_MAX: f64 = 0.01;

/// Runs on one replica before anything else.
const RUNS_ALONE: usize = 3;

/// Why an audit came to no end, or to an end that is no finding.
#[derive(Debug)]
pub enum Stopped {
    /// Nothing can be said: why, and what to do.
    Inconclusive(String, String),
    /// A replica could not be started or killed.
    Trouble(Trouble),
    /// The time is over.
    Late,
}

impl From<Trouble> for Stopped {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// What to do if a step fails now and then.
const UNSTEADY: &str = "repeat the step in the journey (`repeat = 10`), or give another --seed: what fails more often \
                        in a run is found";

/// Audits the application of a site, and says what was found. It never fails: what goes wrong makes it inconclusive.
pub async fn audit(bench: &mut Bench<'_>) -> Report {
    let verdict = match course(bench).await {
        Ok(dependences) if dependences.is_empty() => Verdict::NoneFound,
        Ok(dependences) => Verdict::Dependent { dependences },
        Err(stopped) => inconclusive(bench, stopped).await,
    };
    report(bench, verdict)
}

async fn course(bench: &mut Bench<'_>) -> Result<Vec<Dependence>, Stopped> {
    if let Some(skew) = gate::gate(bench).await? {
        return Ok(vec![skew]);
    }
    let mut found = Vec::new();
    match search(bench, &mut found).await {
        Err(Stopped::Late) => {
            bench.coverage.untried.push("The time was over before everything was played; see --budget.".into());
        }
        result => result?,
    }
    let shown = cause::explain(bench, found).await?;
    match bench.doubt.take().filter(|_| shown.is_empty()) {
        Some(why) => Err(Stopped::Inconclusive(why, UNSTEADY.into())),
        None if shown.is_empty() && !bench.is_crossed => Err(Stopped::Late),
        None => Ok(shown),
    }
}

async fn search(bench: &mut Bench<'_>, found: &mut Vec<cross::Found>) -> Result<(), Stopped> {
    let mut groups = cross::cross(bench, found).await?;
    crash::crash(bench, found).await?;
    fresh::fresh(bench, &mut groups, found).await
}

/// A verdict that says nothing of the application. What a replica said last may tell why.
async fn inconclusive(bench: &Bench<'_>, stopped: Stopped) -> Verdict {
    let (mut why, mut advice) = match stopped {
        Stopped::Inconclusive(why, advice) => (why, advice),
        Stopped::Trouble(trouble) => (trouble.to_string(), "mend that, then start the audit again".into()),
        Stopped::Late if bench.coverage.failures > 0 => {
            let why = "something came out wrong across replicas, and the time was over before that was confirmed";
            (why.into(), "give it more: --budget 10m".into())
        }
        Stopped::Late => {
            ("the time was over before every two steps were apart once".into(), "give it more: --budget 10m".into())
        }
    };
    if let Some(died) = bench.died().await {
        why = format!("{why}\n{died}");
        advice = format!("look at what the replica said; {advice}");
    }
    Verdict::Inconclusive { why, advice }
}

fn report(bench: &Bench<'_>, verdict: Verdict) -> Report {
    let (journey, plan) = (bench.journey, &bench.plan);
    let line = |at: usize| StepLine {
        name: plan.name(at, journey),
        actor: journey.steps[plan.0[at].step].actor.clone(),
        action: plan.action(at, journey),
    };
    Report {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").into(),
        journey: journey.name.clone(),
        steps: (0..plan.len()).map(line).collect(),
        replicas: bench.names(),
        seed: bench.seed,
        coverage: coverage(bench, plan, &verdict),
        verdict,
        notes: bench.notes(),
        again: None,
        took: bench.took(),
    }
}

fn coverage(bench: &Bench<'_>, plan: &Plan, verdict: &Verdict) -> Coverage {
    let mut coverage = bench.coverage.clone();
    coverage.steps = plan.len();
    coverage.pairs = plan.len() * plan.len().saturating_sub(1) / 2;
    coverage.pairs_crossed = coverage.matrix.iter().filter(|pair| pair.crossed > 0).count();
    coverage.crash_points_max = plan.len().saturating_sub(1);
    if matches!(verdict, Verdict::NoneFound) && coverage.failures == 0 {
        coverage.bound = crate::statistics::upper_bound(coverage.crossings);
    }
    coverage
}
