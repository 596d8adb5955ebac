//! Long work: a client orders a report, which takes a while, and asks for it later. Where are the order and the report
//! in the meantime?
//!
//! In the memory of the replica that took the order no other one knows of it, and it is gone with that replica. In
//! Redis orders are a stream with a consumer group, in PostgreSQL rows of a table that are taken with `FOR UPDATE SKIP
//! LOCKED`: any replica's worker takes the next one, and others take over what a dead worker had. So a report may be
//! made twice; it is sent out once, since that bears the order's id as its key.

mod client;
mod desk;
mod judge;
mod memory;
pub(super) mod part;
mod queue;
mod stream;
mod table;
mod talk;
mod theory;
mod worker;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use anyhow::bail;
use fastrand::Rng;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::caller::Caller;
use super::stage::{Scene, Stage};
use super::{Bench, PlaceReport, Study, StudyReport};
use crate::prove::arm::postgres::execute;
use crate::prove::ask;
use crate::prove::sabotage::Sabotage;
use crate::prove::theory::{Prediction, Verdict, percent};
use crate::trial::judge::{Fact, Ratio};
use client::{Client, Crowd};
use desk::State;
use judge::{Findings, gone, judge, together};
use queue::Begun;
use talk::{Job, Kill};

/// See the module.
pub(super) const STUDY: Study = Study {
    name: "jobs",
    question: "what becomes of long work when its replica dies, and who knows of it?",
    seconds: 8,
    run: |bench| Box::pin(run(bench)),
};

/// Replicas, in memory and in Redis.
const REPLICAS_IN_MEMORY: usize = 3;
const REPLICAS: usize = 4;
/// Orders in memory: a multiple of the replicas, so that each has as many.
const ORDERS_IN_MEMORY: usize = 60;
/// How often each of them is asked for.
const QUESTIONS: usize = 6;
/// Clients, and orders of each.
const CLIENTS: usize = 8;
const ORDERS: usize = 40;
/// Mean pause of a client between two orders.
const PAUSE: Duration = Duration::from_millis(80);
/// When this share of all orders is accepted, a replica is killed, and then another one, until none is left of those
/// that were there at first.
const KILLS_AT: [f64; REPLICAS] = [0.15, 0.35, 0.55, 0.75];
/// How long may pass until enough orders are accepted, and, for a client, between two of its last reports.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(30);
const READY_WITHIN: Duration = Duration::from_secs(6);
/// How long clients may take for everything, on a machine on which reports are slow to come.
const ALL_WITHIN: Duration = Duration::from_secs(60);

/// The places beside the memory of replicas.
const REDIS: &str = "redis";
const POSTGRES: &str = "postgres";
/// A prediction of all places.
const REFUSED: &str = "orders that nobody accepts";

async fn run(bench: &Bench<'_>) -> anyhow::Result<StudyReport> {
    // Side by side, so that they see the same machine and take the time of one.
    let (memory, redis, postgres) = tokio::try_join!(in_memory(bench), in_redis(bench), in_postgres(bench))?;
    let (mut columns, mut left_out) = (vec![memory], Vec::new());
    for (place, found) in [(REDIS, redis), (POSTGRES, postgres)] {
        match found {
            Ok(column) => columns.push(column),
            Err(hint) => left_out.push(format!("jobs, {place}: {hint}")),
        }
    }
    Ok(STUDY.report(columns, left_out))
}

/// A place that is there, or what to do to have it.
type Found = Result<PlaceReport, &'static str>;

async fn in_redis(bench: &Bench<'_>) -> anyhow::Result<Found> {
    let redis = match bench.redis().await? {
        Ok(redis) => redis,
        Err(hint) => return Ok(Err(hint)),
    };
    let environment: Vec<_> = redis.variable.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let scene = Scene { part: "jobs", replicas: REPLICAS, environment: &environment, ..Scene::default() };
    Ok(Ok(in_queue(bench, REDIS, scene).await?))
}

async fn in_postgres(bench: &Bench<'_>) -> anyhow::Result<Found> {
    let postgres = match bench.postgres().await? {
        Ok(postgres) => postgres,
        Err(hint) => return Ok(Err(hint)),
    };
    execute(postgres, table::SCHEMA).await?;
    let environment: Vec<_> = postgres.variable.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let scene = Scene { part: "jobs-in-postgres", replicas: REPLICAS, environment: &environment, ..Scene::default() };
    Ok(Ok(in_queue(bench, POSTGRES, scene).await?))
}

fn control() -> Scene<'static> {
    Scene { part: "jobs-in-memory", replicas: REPLICAS_IN_MEMORY, ..Scene::default() }
}

async fn in_memory(bench: &Bench<'_>) -> anyhow::Result<PlaceReport> {
    // Under sabotage the control is none.
    let shared = if bench.planted().is(Sabotage::OrdersShared) { bench.redis().await?.ok() } else { None };
    let variables = shared.and_then(|redis| redis.variable.as_ref());
    let environment: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let shared = Scene { part: "jobs", replicas: REPLICAS_IN_MEMORY, environment: &environment, ..Scene::default() };
    let mut stage = Stage::start(bench, if environment.is_empty() { control() } else { shared }).await?;
    let (crowd, mut caller) = (Crowd::new(stage.front(), ORDERS_IN_MEMORY), Caller::to(stage.front()));
    for place in 0..ORDERS_IN_MEMORY {
        crowd.order(&mut caller, place).await;
    }
    // In random order: asked one after the other, round-robin would meet each replica equally often.
    let mut rng = Rng::with_seed(bench.seed());
    let mut questions: Vec<usize> = (0..ORDERS_IN_MEMORY * QUESTIONS).map(|n| n % ORDERS_IN_MEMORY).collect();
    rng.shuffle(&mut questions);
    for place in questions {
        crowd.ask_and_note(&mut caller, place).await;
    }
    let victim = rng.usize(..REPLICAS_IN_MEMORY);
    stage.kill(victim).await?;
    let mut told = BTreeMap::new();
    for number in (0..REPLICAS_IN_MEMORY).filter(|number| *number != victim) {
        let replica = stage.replica(number);
        let (mut caller, mut states) = (Caller::to(replica.address), Vec::new());
        for place in 0..ORDERS_IN_MEMORY {
            let asked = crowd.ask(&mut caller, place).await;
            states.push(asked.map_or(State::Unknown, |asked| asked.state));
        }
        told.insert(replica.name.clone(), states);
    }
    let jobs = crowd.jobs.take();
    let Findings { unknown, refused, .. } = judge(&jobs, &[], &[]);
    Ok(of_memory(&unknown, &gone(&jobs, &told), &refused))
}

/// What theory says of orders in memory.
fn of_memory(unknown: &Ratio, gone: &Ratio, refused: &Ratio) -> PlaceReport {
    let k = REPLICAS_IN_MEMORY as u64;
    let of = |ratio: &Ratio| percent(ratio.hits.count as f64 / ratio.trials.max(1) as f64);
    let shown = format!(
        "{} of questions meet a replica that does not know the report\n{} of the reports are gone with one of {k} \
         replicas",
        of(unknown),
        of(gone)
    );
    let figures = json!({
        "replicas": k, "orders": gone.trials, "gone": gone.hits.count, "questions": unknown.trials,
        "unknown": unknown.hits.count,
    });
    let of = |predict: fn(&str, u64, u64, f64) -> Prediction, what, ratio: &Ratio, predicted| {
        let facts = ratio.hits.example().unwrap_or_default().to_vec();
        predict(what, ratio.hits.count, ratio.trials, predicted).shown_by(facts)
    };
    let predictions = vec![
        // Questions are in random order. Orders were not, so round-robin has spread them evenly.
        of(Prediction::share, "questions that meet a replica without the report", unknown, theory::unknown(k)),
        of(Prediction::exactly, "reports gone with a killed replica", gone, theory::gone(k)),
        never(REFUSED, refused).by_the_clock(),
    ];
    PlaceReport::control("memory", shown, figures, predictions)
}

async fn in_queue(bench: &Bench<'_>, place: &'static str, scene: Scene<'_>) -> anyhow::Result<PlaceReport> {
    let mut stage = Stage::start(bench, scene).await?;
    let all = CLIENTS * ORDERS;
    let crowd = Rc::new(Crowd::new(stage.front(), all));
    let (mut rng, mut clients) = (Rng::with_seed(bench.seed()), JoinSet::new());
    for number in 0..CLIENTS {
        let places = (number..all).step_by(CLIENTS).collect();
        let (crowd, rng) = (Rc::clone(&crowd), rng.fork());
        clients.spawn_local(Client { crowd, places, pause: PAUSE, patience: READY_WITHIN, rng }.run());
    }
    let (first, mut kills) = (rng.usize(..REPLICAS), Vec::new());
    for (number, share) in (first..).zip(KILLS_AT) {
        crowd.wait_accepted((share * all as f64) as usize, ACCEPTED_WITHIN).await;
        kills.push(kill(&mut stage, number % REPLICAS, &crowd).await?);
        stage.put_in_place_of(number % REPLICAS).await?;
    }
    // Each client has a patience of its own.
    timeout(ALL_WITHIN, clients.join_all()).await.ok();
    let (sent, begun): (Vec<String>, Vec<Begun>) = serde_json::from_slice(&ask::get(stage.front(), "/sent").await?)?;
    let jobs = crowd.jobs.take();
    let findings = judge(&jobs, &sent, &kills);
    let (requests, failed) = (crowd.requests.get(), crowd.failed.take());
    let idle = kills.iter().find(|kill| kill.requests.is_empty() || kill.orders.is_empty()).cloned();
    let report = of_queue(place, &jobs, &findings, &Totals { kills, begun, requests, failed });
    // That says nothing of work under way. What is broken is broken nevertheless.
    let is_broken = report.predictions.iter().any(|one| one.verdict == Verdict::Broken);
    match idle.filter(|_| !is_broken) {
        Some(kill) => bail!("{} had nothing to do when it was killed; try again where nothing else runs", kill.replica),
        None => Ok(report),
    }
}

/// Kills a replica that has requests, and whose workers have orders.
async fn kill(stage: &mut Stage, number: usize, crowd: &Crowd) -> anyhow::Result<Kill> {
    let replica = stage.replica(number).clone();
    let held = ask::get(replica.address, &format!("/control/hold/{}", part::WORKERS)).await?;
    let (requests, orders): (Vec<String>, Vec<String>) = serde_json::from_slice(&held)?;
    stage.kill(number).await?;
    Ok(Kill { at: crowd.began.elapsed(), replica: replica.name, requests, orders })
}

/// What was counted beside the orders.
struct Totals {
    kills: Vec<Kill>,
    /// Each time that a worker began a report.
    begun: Vec<Begun>,
    requests: u64,
    failed: Vec<String>,
}

/// What is claimed of orders in a queue.
fn of_queue(place: &'static str, jobs: &[Job], findings: &Findings, totals: &Totals) -> PlaceReport {
    let Totals { kills, begun, requests, failed } = totals;
    let held = kills.iter().map(|kill| kill.orders.len()).sum::<usize>();
    let orders = findings.undone.trials;
    let shown = format!(
        "{} of {orders} orders not done, {} sent out twice\n{} replicas killed whose workers had {held} orders; {} \
         reports were begun again",
        findings.undone.hits.count,
        findings.doubled.hits.count,
        kills.len(),
        (begun.len() as u64).saturating_sub(orders)
    );
    let killed = |Kill { at, replica, requests, orders }: &Kill| {
        let at = at.as_secs_f64();
        json!({ "at_s": at, "replica": replica, "requests": requests, "orders": orders })
    };
    let figures = json!({
        "replicas": REPLICAS, "orders": jobs.len(), "repeated": findings.split.trials, "begun": begun.len(),
        "kills": kills.iter().map(killed).collect::<Value>(), "requests": requests, "failed": failed,
        "findings": findings,
    });
    let mut predictions = claims(findings, *requests, failed);
    let together = together(begun);
    if together.trials > 0 {
        predictions.push(never("orders that two workers have at one time", &together));
    }
    PlaceReport::claim(place, shown, figures, predictions)
}

fn never(what: &str, ratio: &Ratio) -> Prediction {
    Prediction::never(what, ratio.hits.count, ratio.trials, ratio.hits.example())
}

fn claims(findings: &Findings, requests: u64, failed: &[String]) -> Vec<Prediction> {
    let Findings { undone, doubled, unsent, split, unknown, wrong, refused } = findings;
    let notes: Vec<Fact> = failed.iter().take(1).cloned().map(Fact::Note).collect();
    vec![
        never(REFUSED, refused).by_the_clock(),
        never("orders not done", undone).by_the_clock(),
        never("reports sent out twice", doubled),
        never("reports never sent out", unsent),
        never("orders with several ids", split),
        never("orders that a replica does not know", unknown),
        never("reports that are wrong", wrong),
        Prediction::never("requests failed", failed.len() as u64, requests, Some(&notes)).by_the_clock(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::judge::Tally;

    fn ratio(hits: u64, trials: u64) -> Ratio {
        let examples = (hits > 0).then(|| vec![Fact::Note("so it was".into())]);
        Ratio { trials, hits: Tally { count: hits, examples: examples.into_iter().collect() } }
    }

    #[test]
    fn a_control_must_fail_as_much_as_theory_says() {
        for (unknown, gone, expected) in [
            (240, 20, [Verdict::Held; 3]),
            (0, 20, [Verdict::Broken, Verdict::Held, Verdict::Held]),
            (240, 0, [Verdict::Held, Verdict::Broken, Verdict::Held]),
        ] {
            let report = of_memory(&ratio(unknown, 360), &ratio(gone, 60), &ratio(0, 60));
            let verdicts: Vec<Verdict> = report.predictions.iter().map(|one| one.verdict).collect();
            assert_eq!(verdicts, expected, "{unknown} {gone}");
        }
    }

    #[test]
    fn each_finding_breaks_one_claim() {
        for broken in 0..8 {
            let of = |place| ratio(u64::from(place == broken), 100);
            let findings = Findings {
                refused: of(0),
                undone: of(1),
                doubled: of(2),
                unsent: of(3),
                split: of(4),
                unknown: of(5),
                wrong: of(6),
            };
            let failed: &[String] = if broken == 7 { &["503".into()] } else { &[] };
            let claims = claims(&findings, 100, failed);
            for (place, claim) in claims.iter().enumerate() {
                let expected = if place == broken { Verdict::Broken } else { Verdict::Held };
                assert_eq!((claim.verdict, claim.counterexample.len()), (expected, usize::from(place == broken)));
            }
        }
    }
}
