//! A cache in each replica's memory. Of what may it be?
//!
//! Of what a user changes: then a user who has just changed it reads the old value at other replicas, and sees the new
//! one come and go, for as long as an entry lives. Of what all share and nobody changes here: then it is harmless, and
//! saves most trips to the store. The same code serves both; only what is asked for differs.

pub(super) mod part;

mod catalogue;
mod theory;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use http::{Method, Request, StatusCode};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::caller::{Caller, replica_of};
use super::part::PLACE_VARIABLE;
use super::stage::{Scene, Stage};
use super::{Bench, PlaceReport, Study, StudyReport};
use crate::prove::sabotage::Sabotage;
use crate::prove::theory::{Prediction, percent};
use crate::trial::judge::Fact;

/// See the module.
pub(super) const STUDY: Study = Study {
    name: "caches",
    question: "what does a cache in each replica's memory show, and for how long?",
    seconds: 18,
    run: |bench| Box::pin(run(bench)),
};

/// The places: where the cache is, and of what.
const OF_USERS: &str = "cache of user data";
const OF_ALL: &str = "cache of shared data";
const NO_CACHE: &str = "no cache";
/// How long an entry lives.
const TTL: Duration = Duration::from_millis(600);
/// Replicas.
const REPLICAS: usize = 3;
/// Users at one time, and how often each does the same again with another value.
const USERS: u32 = 60;
const ROUNDS: u32 = 4;
/// Reads of a value at one replica within a lifetime, on average.
const READS_PER_TTL: f64 = 1.0;
/// When a value is read behind the write, in lifetimes.
const AGES: (f64, f64) = (0.25, 0.5);
/// How far from that it may be, and how long a request may take, until a trial is left out.
const AGE_SLACK: f64 = 0.1;
const SLOW: Duration = Duration::from_millis(100);
/// Field that names the user, and the one that says whether a value was in the cache.
const USER: &str = "x-user";
const CACHE: &str = "x-cache";

async fn run(bench: &Bench<'_>) -> anyhow::Result<StudyReport> {
    let redis = match bench.redis().await? {
        Ok(redis) => redis.variable.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>(),
        Err(hint) => return Ok(STUDY.report(Vec::new(), vec![format!("caches: the values are in Redis: {hint}")])),
    };
    // Under sabotage the control is none.
    let control = if bench.planted().is(Sabotage::CacheOff) { NO_CACHE } else { OF_USERS };
    let stage = stage(bench, control, &redis).await?;
    let with_cache = trials(bench, stage.front(), ROUNDS).await?;
    let catalogue = catalogue::play(bench.seed(), stage.front()).await?;
    drop(stage);
    let stage = self::stage(bench, NO_CACHE, &redis).await?;
    let without = trials(bench, stage.front(), 1).await?;
    Ok(STUDY.report(vec![of(OF_USERS, &with_cache), catalogue::of(&catalogue), of(NO_CACHE, &without)], Vec::new()))
}

async fn stage(bench: &Bench<'_>, place: &str, redis: &[(&str, &str)]) -> anyhow::Result<Stage> {
    let environment = [&[(PLACE_VARIABLE, place)], redis].concat();
    let scene = Scene { part: "caches", replicas: REPLICAS, environment: &environment, ..Scene::default() };
    Stage::start(bench, scene).await
}

/// A request of a trial.
#[derive(Debug, Clone, Default)]
struct Asked {
    sent: Duration,
    took: Duration,
    replica: String,
    /// What was read, and whose page it is.
    value: String,
    user: String,
    is_hit: bool,
    has_failed: bool,
}

impl Asked {
    fn middle(&self) -> f64 {
        (self.sent + self.took / 2).as_secs_f64()
    }
}

/// One value that a user reads for a while, writes, reads twice, and reads again when every entry has expired.
#[derive(Debug, Clone, Default)]
struct Trial {
    user: String,
    warm: u32,
    write: Asked,
    reads: [Asked; 2],
    last: Asked,
}

impl Trial {
    fn all(&self) -> impl Iterator<Item = &Asked> {
        self.reads.iter().chain([&self.write, &self.last])
    }

    /// The lifetimes from the write to a read.
    fn age(&self, read: &Asked) -> f64 {
        (read.middle() - self.write.middle()) / TTL.as_secs_f64()
    }

    /// Whether it took place as it was planned: theory speaks of moments.
    fn is_punctual(&self) -> bool {
        let is_then = |read: &Asked, age: f64| (self.age(read) - age).abs() < AGE_SLACK;
        let [first, second] = &self.reads;
        is_then(first, AGES.0) && is_then(second, AGES.1) && self.all().all(|one| one.took < SLOW && !one.has_failed)
    }

    fn is_old(read: &Asked) -> bool {
        read.value != NEW
    }

    /// Whether the user saw the write, and then not any more.
    fn goes_back(&self) -> bool {
        self.reads.iter().all(|read| !read.has_failed) && !Self::is_old(&self.reads[0]) && Self::is_old(&self.reads[1])
    }

    fn facts(&self) -> Vec<Fact> {
        let tell = |what: &str, one: &Asked| {
            let Asked { sent, replica, value, has_failed, .. } = one;
            let came = if *has_failed { "fails".to_owned() } else { format!("\"{value}\"") };
            format!("{:8.3} s  user {} {what} at {replica}: {came}", sent.as_secs_f64(), self.user)
        };
        let write = format!("{} (writes \"{NEW}\")", tell("writes", &self.write));
        let reads = self.reads.iter().chain([&self.last]).map(|read| tell("reads", read));
        std::iter::once(write).chain(reads).map(Fact::Note).collect()
    }
}

/// What is written. Before that nothing is there.
const NEW: &str = "new";

/// Who asks.
struct Reader {
    caller: Caller,
    user: String,
    began: Instant,
}

impl Reader {
    async fn ask(&mut self, method: Method, path: &str, body: &'static str) -> Asked {
        let sent = self.began.elapsed();
        let request = Request::builder().method(method).uri(path).header(USER, &self.user);
        let response = match request.body(Bytes::from_static(body.as_bytes())) {
            Ok(request) => self.caller.send(request).await,
            Err(error) => Err(error.into()),
        };
        let took = self.began.elapsed() - sent;
        match response {
            Ok(response) if response.status() == StatusCode::OK => {
                let page = String::from_utf8_lossy(response.body()).into_owned();
                let (value, user) = page.split_once(' ').unwrap_or_default();
                let is_hit = response.headers().get(CACHE).is_some_and(|value| value == "hit");
                let replica = replica_of(&response).unwrap_or_default();
                Asked { sent, took, replica, value: value.into(), user: user.into(), is_hit, has_failed: false }
            }
            _ => Asked { sent, took, has_failed: true, ..Asked::default() },
        }
    }
}

/// Pauses that make moments as random as those of a Poisson process, of this mean.
fn pause(rng: &mut Rng, mean: Duration) -> Duration {
    mean.mul_f64(-(1.0 - rng.f64()).ln())
}

async fn trials(bench: &Bench<'_>, front: SocketAddr, rounds: u32) -> anyhow::Result<Vec<Trial>> {
    let (mut running, began) = (JoinSet::new(), Instant::now());
    let mut seeds = Rng::with_seed(bench.seed());
    for number in 0..USERS {
        let mut rng = Rng::with_seed(seeds.u64(..));
        running.spawn_local(async move {
            let mut reader = Reader { caller: Caller::to(front), user: format!("u{number}"), began };
            let mut trials = Vec::new();
            for round in 0..rounds {
                trials.push(trial(&mut reader, &format!("/user/{number}/{round}"), &mut rng).await);
            }
            trials
        });
    }
    let mut all = Vec::new();
    while let Some(trials) = running.join_next().await {
        all.extend(trials?);
    }
    Ok(all)
}

async fn trial(reader: &mut Reader, path: &str, rng: &mut Rng) -> Trial {
    let mut trial = Trial { user: reader.user.clone(), ..Trial::default() };
    let mut next = Instant::now();
    let until = next + TTL.mul_f64(2.0 + 1.5 * rng.f64());
    loop {
        next += pause(rng, TTL.div_f64(READS_PER_TTL * REPLICAS as f64));
        if next >= until {
            break;
        }
        sleep_until(next).await;
        reader.ask(Method::GET, path, "").await;
        trial.warm += 1;
    }
    sleep_until(until).await;
    trial.write = reader.ask(Method::PUT, path, NEW).await;
    let written = Instant::now();
    let middle = written - trial.write.took / 2;
    for (read, age) in trial.reads.iter_mut().zip([AGES.0, AGES.1]) {
        sleep_until(middle + TTL.mul_f64(age)).await;
        *read = reader.ask(Method::GET, path, "").await;
    }
    // Whatever was asked for before the write has expired.
    sleep_until(written + TTL).await;
    trial.last = reader.ask(Method::GET, path, "").await;
    trial
}

/// What theory says of a place, beside what was found.
fn of(place: &'static str, trials: &[Trial]) -> PlaceReport {
    let punctual: Vec<&Trial> = trials.iter().filter(|trial| trial.is_punctual()).collect();
    let count = |all: &[&Trial], is_it: &dyn Fn(&Trial) -> bool| all.iter().filter(|one| is_it(one)).count() as u64;
    let stale = count(&punctual, &|trial| Trial::is_old(&trial.reads[0]));
    let backs = count(&punctual, &Trial::goes_back);
    let every: Vec<&Trial> = trials.iter().collect();
    let answered = |read: &Asked| !read.has_failed;
    let late = |trial: &Trial| answered(&trial.last) && !trial.write.has_failed && Trial::is_old(&trial.last);
    let failed = |trial: &Trial| trial.all().any(|one| one.has_failed);
    let (all, whole) = (punctual.len() as u64, every.len() as u64);
    let never = |what, among: &[&Trial], trials, is_it: &dyn Fn(&Trial) -> bool| {
        let facts = among.iter().find(|one| is_it(one)).map(|one| one.facts());
        Prediction::never(what, count(among, is_it), trials, facts.as_deref())
    };
    let mut predictions = vec![
        never("old values after the lifetime", &every, whole, &late),
        never("trials with a request that failed", &every, whole, &failed).by_the_clock(),
    ];
    let share = |hits: u64| percent(hits as f64 / all.max(1) as f64);
    let figures = json!({
        "ttl_ms": TTL.as_millis(), "trials": whole, "left_out": whole - all, "stale": stale, "back": backs,
        "old_after_ttl": count(&every, &late),
    });
    let shown = format!(
        "{} of reads {} ms behind a write do not show it\n{} of users see it, and then not any more\nafter {} ms {} of \
         {whole} reads show an old value",
        share(stale),
        TTL.mul_f64(AGES.0).as_millis(),
        share(backs),
        TTL.as_millis(),
        count(&every, &late),
    );
    if place == OF_USERS {
        let (k, n) = (REPLICAS as f64, all.max(1) as f64);
        // By the moments at which they really were.
        let mean = |p: &dyn Fn(&Trial) -> f64| punctual.iter().map(|trial| p(trial)).sum::<f64>() / n;
        let ages = |trial: &Trial| (trial.age(&trial.reads[0]), trial.age(&trial.reads[1]));
        let stale_share = mean(&|trial| theory::stale(k, READS_PER_TTL, ages(trial).0));
        let back_share = mean(&|trial| theory::goes_back(k, READS_PER_TTL, ages(trial)));
        predictions.push(Prediction::share("reads that do not show the write before", stale, all, stale_share));
        predictions.push(Prediction::share("monotonic reads broken", backs, all, back_share));
        return PlaceReport::control(place, shown, figures, predictions);
    }
    let is_stale =
        |trial: &Trial| !trial.write.has_failed && trial.reads.iter().any(|read| answered(read) && Trial::is_old(read));
    predictions.push(never("reads that do not show the write before", &every, whole, &is_stale));
    predictions.push(never("monotonic reads broken", &every, whole, &Trial::goes_back));
    PlaceReport::claim(place, shown, figures, predictions)
}
