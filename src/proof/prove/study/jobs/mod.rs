//! Long work: a client orders a report, which takes a while, and asks for it later. Where are the order and the report
//! in the meantime?
//!
//! In the memory of the replica that took the order no other one knows of it, and it is gone with that replica. In
//! Redis orders are a stream with a consumer group: any replica's worker takes the next one, and others take over what
//! a dead worker had. So a report may be made twice; it is sent out once, since that bears the order's id as its key.

mod client;
mod desk;
mod judge;
mod memory;
pub(super) mod part;
mod queue;
mod talk;
mod theory;
mod worker;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::caller::Caller;
use super::stage::{Scene, Stage};
use super::{Bench, PlaceReport, Study, StudyReport};
use crate::prove::ask;
use crate::prove::sabotage::Sabotage;
use crate::prove::theory::{Prediction, percent};
use crate::trial::judge::{Fact, Ratio};
use client::{Client, Crowd};
use desk::State;
use judge::{Findings, gone, judge};
use talk::{Job, Kill};

/// See the module.
pub(super) const STUDY: Study = Study {
    name: "jobs",
    question: "what becomes of long work when its replica dies, and who knows of it?",
    seconds: 6,
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
/// How long all orders together, and a client for its last reports, may wait.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(30);
const READY_WITHIN: Duration = Duration::from_secs(6);

async fn run(bench: &Bench<'_>) -> anyhow::Result<StudyReport> {
    let (mut columns, mut left_out) = (Vec::new(), Vec::new());
    match bench.redis().await? {
        Ok(redis) => {
            let environment: Vec<_> = redis.variable.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let scene = Scene { part: "jobs", replicas: REPLICAS, environment: &environment, ..Scene::default() };
            // Under sabotage the control is none.
            let is_shared = bench.planted().is(Sabotage::OrdersShared);
            let shared = Scene { replicas: REPLICAS_IN_MEMORY, ..scene };
            columns.push(in_memory(bench, if is_shared { shared } else { control() }).await?);
            columns.push(in_redis(bench, scene).await?);
        }
        Err(hint) => {
            columns.push(in_memory(bench, control()).await?);
            left_out.push(format!("jobs, redis: {hint}"));
        }
    }
    Ok(STUDY.report(columns, left_out))
}

fn control() -> Scene<'static> {
    Scene { part: "jobs-in-memory", replicas: REPLICAS_IN_MEMORY, ..Scene::default() }
}

async fn in_memory(bench: &Bench<'_>, scene: Scene<'_>) -> anyhow::Result<PlaceReport> {
    let mut stage = Stage::start(bench, scene).await?;
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
    Ok(of_memory(&judge(&jobs, &[], &[]).unknown, &gone(&jobs, &told)))
}

/// What theory says of orders in memory.
fn of_memory(unknown: &Ratio, gone: &Ratio) -> PlaceReport {
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
    ];
    PlaceReport::control("memory", shown, figures, predictions)
}

async fn in_redis(bench: &Bench<'_>, scene: Scene<'_>) -> anyhow::Result<PlaceReport> {
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
    timeout(ACCEPTED_WITHIN + READY_WITHIN, clients.join_all()).await.ok();
    let (sent, begun): (Vec<String>, u64) = serde_json::from_slice(&ask::get(stage.front(), "/sent").await?)?;
    let jobs = crowd.jobs.take();
    let findings = judge(&jobs, &sent, &kills);
    Ok(of_redis(
        &jobs,
        &findings,
        &Totals { kills, begun, requests: crowd.requests.get(), failed: crowd.failed.take() },
    ))
}

/// Kills a replica that has requests, and whose workers have orders.
async fn kill(stage: &mut Stage, number: usize, crowd: &Crowd) -> anyhow::Result<Kill> {
    let replica = stage.replica(number).clone();
    let held = ask::get(replica.address, &format!("/control/hold/{}", part::WORKERS)).await?;
    let (requests, orders): (Vec<String>, Vec<String>) = serde_json::from_slice(&held)?;
    stage.kill(number).await?;
    anyhow::ensure!(
        !requests.is_empty() && !orders.is_empty(),
        "{} had nothing to do when it was killed",
        replica.name
    );
    Ok(Kill { at: crowd.began.elapsed(), replica: replica.name, requests, orders })
}

/// What was counted beside the orders.
struct Totals {
    kills: Vec<Kill>,
    /// How often a worker began a report.
    begun: u64,
    requests: u64,
    failed: Vec<String>,
}

/// What is claimed of orders in Redis.
fn of_redis(jobs: &[Job], findings: &Findings, totals: &Totals) -> PlaceReport {
    let Totals { kills, begun, requests, failed } = totals;
    let held = kills.iter().map(|kill| kill.orders.len()).sum::<usize>();
    let orders = findings.undone.trials;
    let shown = format!(
        "{} of {orders} orders not done, {} sent out twice\n{} replicas killed whose workers had {held} orders; {} \
         reports were begun again",
        findings.undone.hits.count,
        findings.doubled.hits.count,
        kills.len(),
        begun.saturating_sub(orders)
    );
    let killed = |Kill { at, replica, requests, orders }: &Kill| {
        let at = at.as_secs_f64();
        json!({ "at_s": at, "replica": replica, "requests": requests, "orders": orders })
    };
    let figures = json!({
        "replicas": REPLICAS, "orders": jobs.len(), "repeated": findings.split.trials, "begun": begun,
        "kills": kills.iter().map(killed).collect::<Value>(), "requests": requests, "failed": failed,
        "findings": findings,
    });
    PlaceReport::claim("redis", shown, figures, claims(findings, *requests, failed))
}

fn claims(findings: &Findings, requests: u64, failed: &[String]) -> Vec<Prediction> {
    let Findings { undone, doubled, unsent, split, unknown, wrong } = findings;
    let never = |what, ratio: &Ratio| Prediction::never(what, ratio.hits.count, ratio.trials, ratio.hits.example());
    let notes: Vec<Fact> = failed.iter().take(1).cloned().map(Fact::Note).collect();
    vec![
        never("orders not done", undone),
        never("reports sent out twice", doubled),
        never("reports never sent out", unsent),
        never("orders with several ids", split),
        never("orders that a replica does not know", unknown),
        never("reports that are wrong", wrong),
        Prediction::never("requests failed", failed.len() as u64, requests, Some(&notes)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::theory::Verdict;
    use crate::trial::judge::Tally;

    fn ratio(hits: u64, trials: u64) -> Ratio {
        let examples = (hits > 0).then(|| vec![Fact::Note("so it was".into())]);
        Ratio { trials, hits: Tally { count: hits, examples: examples.into_iter().collect() } }
    }

    #[test]
    fn a_control_must_fail_as_much_as_theory_says() {
        for (unknown, gone, expected) in [
            (240, 20, [Verdict::Held; 2]),
            (0, 20, [Verdict::Broken, Verdict::Held]),
            (240, 0, [Verdict::Held, Verdict::Broken]),
        ] {
            let report = of_memory(&ratio(unknown, 360), &ratio(gone, 60));
            let verdicts: Vec<Verdict> = report.predictions.iter().map(|one| one.verdict).collect();
            assert_eq!(verdicts, expected, "{unknown} {gone}");
        }
    }

    #[test]
    fn each_finding_breaks_one_claim() {
        for broken in 0..7 {
            let of = |place| ratio(u64::from(place == broken), 100);
            let findings =
                Findings { undone: of(0), doubled: of(1), unsent: of(2), split: of(3), unknown: of(4), wrong: of(5) };
            let failed: &[String] = if broken == 6 { &["503".into()] } else { &[] };
            let claims = claims(&findings, 100, failed);
            for (place, claim) in claims.iter().enumerate() {
                let expected = if place == broken { Verdict::Broken } else { Verdict::Held };
                assert_eq!((claim.verdict, claim.counterexample.len()), (expected, usize::from(place == broken)));
            }
        }
    }
}
