//! A rate limit per user: each may have so many requests. Where is the count?
//!
//! In the memory of each of k replicas a user has k limits, and a new one with each replica that is replaced. In Redis
//! the limit is the limit. Users ask with several requests at the same time, so that a count that is read and written
//! in two steps is found, too.

pub(super) mod part;

use bytes::Bytes;
use fastrand::Rng;
use http::{Request, StatusCode};
use serde_json::json;

use super::caller::{Caller, replica_of};
use super::part::PLACE_VARIABLE;
use super::stage::{Scene, Stage};
use super::{Bench, PlaceReport, Study, StudyReport};
use crate::prove::sabotage::Sabotage;
use crate::prove::theory::{Prediction, short};
use crate::trial::judge::Fact;

/// See the module.
pub(super) const STUDY: Study = Study {
    name: "limits",
    question: "how many requests of a user does a limit of 10 let through?",
    seconds: 3,
    run: |bench| Box::pin(run(bench)),
};

/// Requests that each user may have.
const LIMIT: u64 = 10;
/// Replicas.
const REPLICAS: u64 = 3;
/// Users, one after the other.
const USERS: u32 = 20;
/// Requests of each user, a multiple of what all are at the same time. Each replica gets more than the limit of them.
const REQUESTS: u64 = 60;
/// Requests of a user at the same time.
const AT_ONCE: usize = 6;
/// Field that names the user.
const USER: &str = "x-user";

/// Where the count is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Memory,
    Redis,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
        }
    }
}

async fn run(bench: &Bench<'_>) -> anyhow::Result<StudyReport> {
    let (mut columns, mut left_out) = (Vec::new(), Vec::new());
    match bench.redis().await? {
        Ok(redis) => {
            let variables: Vec<_> = redis.variable.iter().map(|(name, value)| (*name, value.as_str())).collect();
            // Under sabotage the control is none.
            let is_shared = bench.planted().is(Sabotage::LimitShared);
            let control = if is_shared { Place::Redis } else { Place::Memory };
            columns.push(of(Place::Memory, &play(bench, control, &variables).await?));
            columns.push(of(Place::Redis, &play(bench, Place::Redis, &variables).await?));
        }
        Err(hint) => {
            columns.push(of(Place::Memory, &play(bench, Place::Memory, &[]).await?));
            left_out.push(format!("limits, redis: {hint}"));
        }
    }
    Ok(STUDY.report(columns, left_out))
}

/// What became of a user's requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Count {
    user: String,
    /// Requests.
    sent: u64,
    /// Those that got through.
    through: u64,
    /// Neither through nor refused.
    failed: u64,
    /// Those of them to which something came that no slow machine brings.
    wrong: u64,
    /// The last that got through: which one it was, and who let it through.
    last: Option<(u64, String)>,
}

/// What was found in a place: each user's requests, then those to the replica that came in the place of another.
#[derive(Debug, Clone, Default)]
struct Found {
    before: Vec<Count>,
    after: Vec<Count>,
}

async fn play(bench: &Bench<'_>, place: Place, variables: &[(&str, &str)]) -> anyhow::Result<Found> {
    let environment = [&[(PLACE_VARIABLE, place.name())], variables].concat();
    let scene = Scene { part: "limits", replicas: REPLICAS as usize, environment: &environment, ..Scene::default() };
    let mut stage = Stage::start(bench, scene).await?;
    let mut callers: Vec<Caller> = (0..AT_ONCE).map(|_| Caller::to(stage.front())).collect();
    let mut found = Found::default();
    for user in 0..USERS {
        found.before.push(ask(&mut callers, user).await);
    }
    let victim = Rng::with_seed(bench.seed()).u64(..REPLICAS);
    stage.put_in_place_of(victim as usize).await?;
    for user in 0..USERS {
        found.after.push(ask(&mut callers, user).await);
    }
    Ok(found)
}

/// Sends the requests of a user, some at the same time.
async fn ask(callers: &mut [Caller], user: u32) -> Count {
    let mut count = Count { user: format!("u{user}"), ..Count::default() };
    while count.sent < REQUESTS {
        let request = || Request::get("/").header(USER, &count.user).body(Bytes::new());
        let sent = callers.iter_mut().map(|caller| {
            let request = request();
            Box::pin(async move { caller.send(request?).await }) as super::Work<'_, http::Response<Bytes>>
        });
        for response in super::all_of(sent).await {
            count.sent += 1;
            match response {
                Ok(response) if response.status() == StatusCode::OK => {
                    count.through += 1;
                    count.last = Some((count.sent, replica_of(&response).unwrap_or_default()));
                }
                Ok(response) if response.status() == StatusCode::TOO_MANY_REQUESTS => {}
                other => {
                    count.failed += 1;
                    count.wrong += u64::from(super::is_no_failure_of_time(&other));
                }
            }
        }
    }
    count
}

/// What theory says of a place, beside what was found.
fn of(place: Place, found: &Found) -> PlaceReport {
    let Found { before, after } = found;
    let through = |counts: &[Count]| counts.iter().map(|count| count.through).sum::<u64>();
    let mean = |counts: &[Count]| through(counts) as f64 / counts.len().max(1) as f64;
    let figures = json!({
        "limit": LIMIT, "replicas": REPLICAS, "users": before.len(),
        "through_per_user": mean(before), "through_per_user_after_a_replacement": mean(after),
    });
    let shown = format!(
        "{} of {REQUESTS} requests get through, the limit is {LIMIT}\n{} more after one of {REPLICAS} replicas \
         was replaced",
        short(mean(before), 1),
        short(mean(after), 1)
    );
    match place {
        Place::Memory => {
            let users = before.len() as u64;
            let exactly = |counts: &[Count], number| counts.iter().filter(|count| count.through == number).count();
            let share = |what, hits: usize| Prediction::share(what, hits as u64, users, 1.0);
            let predictions = vec![
                share("users who get the limit times the replicas", exactly(before, LIMIT * REPLICAS)),
                share("users who get the limit again after a replacement", exactly(after, LIMIT)),
            ];
            PlaceReport::control(place.name(), shown, figures, predictions)
        }
        Place::Redis => PlaceReport::claim(place.name(), shown, figures, claims(before, after)),
    }
}

fn claims(before: &[Count], after: &[Count]) -> Vec<Prediction> {
    let all = || before.iter().chain(after);
    let sent = all().map(|count| count.sent).sum();
    let never = |what, beyond: &dyn Fn(&Count, u64) -> u64| {
        let limited = before.iter().map(|count| (count, LIMIT)).chain(after.iter().map(|count| (count, 0)));
        let found: Vec<(&Count, u64)> = limited.map(|(count, limit)| (count, beyond(count, limit))).collect();
        let example = found.iter().find(|(_, hits)| *hits > 0).map(|(count, _)| facts(count)).unwrap_or_default();
        Prediction::never(what, found.iter().map(|(_, hits)| hits).sum(), sent, Some(&example))
    };
    vec![
        never("requests let through beyond the limit", &|count, limit| count.through.saturating_sub(limit)),
        // One that failed may have been counted.
        never("requests refused below the limit", &|count, limit| limit.saturating_sub(count.through + count.failed)),
        never("requests failed", &|count, _| count.failed).by_the_clock_if(all().all(|count| count.wrong == 0)),
    ]
}

fn facts(count: &Count) -> Vec<Fact> {
    let Count { user, sent, through, failed, last, .. } = count;
    let whole = format!("user {user}: {through} of {sent} requests get through, {failed} fail; the limit is {LIMIT}");
    let last =
        last.as_ref().map(|(number, replica)| format!("the last that got through is number {number}, at {replica}"));
    std::iter::once(whole).chain(last).map(Fact::Note).collect()
}

/// The requests of a user that get through if each of k replicas counts for itself, and has got so many of them.
#[cfg(test)]
fn let_through(limit: u64, got: &[u64]) -> u64 {
    got.iter().map(|got| (*got).min(limit)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::theory::Verdict;

    #[test]
    fn a_limit_per_replica_is_the_limit_times_the_replicas() {
        // Independent of the formula: every request counts up at a replica that is drawn.
        let mut rng = Rng::with_seed(1);
        for (limit, replicas, requests) in [(10, 3, 60), (5, 4, 200), (10, 20, 30), (1, 2, 5)] {
            let (mut counts, mut through) = (vec![0; replicas], 0);
            for _ in 0..requests {
                let at = rng.usize(..replicas);
                counts[at] += 1;
                through += u64::from(counts[at] <= limit);
            }
            assert_eq!(let_through(limit, &counts), through);
            assert!(through <= limit * replicas as u64);
        }
        // Requests come in turn, as round-robin has it. A replica that is replaced has counted nothing.
        for (limit, replicas, requests) in [(10, 3, 60), (7, 5, 200), (1, 2, 9)] {
            let (mut counts, mut turn) = (vec![0; replicas], rng.usize(..replicas));
            let mut ask = |counts: &mut Vec<u64>| {
                let is_through = |_: &u64| {
                    turn = (turn + 1) % replicas;
                    counts[turn] += 1;
                    counts[turn] <= limit
                };
                (0..requests).filter(is_through).count() as u64
            };
            assert_eq!(ask(&mut counts), limit * replicas as u64, "{limit} {replicas}");
            assert_eq!(ask(&mut counts), 0);
            counts[rng.usize(..replicas)] = 0;
            assert_eq!(ask(&mut counts), limit);
        }
        // Each of three replicas gets a third of 60: at the most that is possible.
        assert_eq!(let_through(LIMIT, &[20; 3]), LIMIT * REPLICAS);
    }

    fn counts(through: u64, failed: u64) -> Vec<Count> {
        let count = |user: u32| Count { user: format!("u{user}"), sent: REQUESTS, through, failed, ..Count::default() };
        (0..USERS).map(count).collect()
    }

    #[test]
    fn what_is_counted_is_judged() {
        for (place, before, after, expected) in [
            (Place::Memory, 30, 10, [Verdict::Held; 2].as_slice()),
            (Place::Memory, 10, 0, &[Verdict::Broken; 2]),
            (Place::Redis, 10, 0, &[Verdict::Held; 3]),
            (Place::Redis, 11, 0, &[Verdict::Broken, Verdict::Held, Verdict::Held]),
            (Place::Redis, 9, 0, &[Verdict::Held, Verdict::Broken, Verdict::Held]),
            (Place::Redis, 10, 1, &[Verdict::Broken, Verdict::Held, Verdict::Held]),
        ] {
            let report = of(place, &Found { before: counts(before, 0), after: counts(after, 0) });
            let verdicts: Vec<Verdict> = report.predictions.iter().map(|one| one.verdict).collect();
            assert_eq!(verdicts, expected, "{place:?} {before} {after}");
        }
    }

    #[test]
    fn a_slow_machine_refuses_nothing() {
        let broken = |through, failed| {
            let report = of(Place::Redis, &Found { before: counts(through, failed), after: counts(0, 0) });
            let broken = report.predictions.into_iter().filter(|one| one.verdict == Verdict::Broken);
            broken.map(|one| (one.what, one.is_timed)).collect::<Vec<_>>()
        };
        assert_eq!(broken(9, 1), [("requests failed".to_owned(), true)]);
        assert_eq!(broken(9, 0), [("requests refused below the limit".to_owned(), false)]);
    }
}
