//! The key that signs tokens: is it each replica's own, or one for all?
//!
//! A token is known where it was signed. Where each replica makes a key when it starts, as some frameworks do unless
//! they are told one, all other replicas refuse it, and nobody knows it when that replica is gone.

pub(super) mod part;

use bytes::Bytes;
use fastrand::Rng;
use http::{Request, StatusCode};
use serde_json::json;

use super::caller::{Caller, replica_of};
use super::part::PLACE_VARIABLE;
use super::stage::{Scene, Stage};
use super::{Bench, PlaceReport, Study, StudyReport};
use crate::prove::replica::KEY_VARIABLE;
use crate::prove::sabotage::Sabotage;
use crate::prove::store::new_token;
use crate::prove::theory::{Prediction, percent};
use crate::trial::judge::Fact;

/// See the module.
pub(super) const STUDY: Study = Study {
    name: "keys",
    question: "how many requests with a good token are refused?",
    seconds: 4,
    run: |bench| Box::pin(run(bench)),
};

/// Each replica's own key, and one for all.
const OWN: &str = "key per replica";
const SHARED: &str = "shared key";
/// Replicas.
const REPLICAS: usize = 3;
/// Users, one after the other.
const USERS: u32 = 60;
/// Requests of each user behind the login, a multiple of the replicas: then the next user logs in at the next replica.
const REQUESTS: u32 = 12;
/// Field that names the user who logs in.
const USER: &str = "x-user";

async fn run(bench: &Bench<'_>) -> anyhow::Result<StudyReport> {
    // Under sabotage the control is none.
    let control = if bench.planted().is(Sabotage::KeyShared) { SHARED } else { OWN };
    let columns = vec![of(OWN, &play(bench, control).await?), of(SHARED, &play(bench, SHARED).await?)];
    Ok(STUDY.report(columns, Vec::new()))
}

/// A user's requests with the token of one login: how many were refused, before a replica was replaced and after.
#[derive(Debug, Clone, Default)]
struct User {
    name: String,
    token: String,
    /// The replica that signed it.
    signed_by: String,
    before: u32,
    after: u32,
    /// The first refusal: by whom, and whether a replica had been replaced.
    refusal: Option<(String, bool)>,
    /// Neither known nor refused.
    failed: u32,
    /// Those of them to which something came that no slow machine brings.
    wrong: u32,
}

async fn play(bench: &Bench<'_>, key: &'static str) -> anyhow::Result<Vec<User>> {
    let secret = new_token()?;
    let environment = [(PLACE_VARIABLE, key), (KEY_VARIABLE, &*secret)];
    let scene = Scene { part: "keys", replicas: REPLICAS, environment: &environment, ..Scene::default() };
    let mut stage = Stage::start(bench, scene).await?;
    let mut caller = Caller::to(stage.front());
    let mut users = Vec::new();
    for number in 0..USERS {
        let name = format!("u{number}");
        let login = caller.send(Request::get("/").header(USER, &name).body(Bytes::new())?).await?;
        let signed_by = replica_of(&login).unwrap_or_default();
        let token = String::from_utf8(login.body().to_vec())?;
        let mut user = User { name, token, signed_by, ..User::default() };
        user.before = user.ask(&mut caller, false).await;
        users.push(user);
    }
    let victim = Rng::with_seed(bench.seed()).usize(..REPLICAS);
    stage.put_in_place_of(victim).await?;
    for user in &mut users {
        user.after = user.ask(&mut caller, true).await;
    }
    Ok(users)
}

impl User {
    /// How many requests with the token are refused.
    async fn ask(&mut self, caller: &mut Caller, is_replaced: bool) -> u32 {
        let mut refused = 0;
        for _ in 0..REQUESTS {
            let request = Request::get("/").header("authorization", format!("Bearer {}", self.token));
            let Ok(request) = request.body(Bytes::new()) else { continue };
            match caller.send(request).await {
                Ok(response) if response.status() == StatusCode::OK && response.body() == self.name.as_bytes() => {}
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED => {
                    refused += 1;
                    let by = replica_of(&response).unwrap_or_default();
                    self.refusal.get_or_insert((by, is_replaced));
                }
                other => {
                    self.failed += 1;
                    self.wrong += u32::from(super::is_no_failure_of_time(&other));
                }
            }
        }
        refused
    }

    fn facts(&self) -> Vec<Fact> {
        let Self { name, signed_by, refusal, failed, .. } = self;
        let mut facts = vec![format!("user {name} logs in: {signed_by} signs the token")];
        if let Some((by, is_replaced)) = refusal {
            facts.extend(is_replaced.then(|| "a replica is replaced".to_owned()));
            facts.push(format!("user {name} asks with that token: {by} refuses it"));
        }
        facts.extend((*failed > 0).then(|| format!("{failed} requests of user {name} fail in another way")));
        facts.into_iter().map(Fact::Note).collect()
    }
}

/// What theory says of a place, beside what was found.
fn of(place: &'static str, users: &[User]) -> PlaceReport {
    let all = users.len() as u64 * u64::from(REQUESTS);
    let [before, after] = [|user: &User| user.before, |user: &User| user.after]
        .map(|refused| users.iter().map(|user| u64::from(refused(user))).sum::<u64>());
    let failed: u64 = users.iter().map(|user| u64::from(user.failed)).sum();
    let unknown = users.iter().filter(|user| user.after == REQUESTS).count() as u64;
    let share = |count: u64| percent(count as f64 / all.max(1) as f64);
    let figures = json!({
        "replicas": REPLICAS, "users": users.len(), "requests": all, "refused": before,
        "refused_after_a_replacement": after, "users_whom_nobody_knows_after_it": unknown,
    });
    let shown = format!(
        "{} of requests with a good token are refused\n{} after one of {REPLICAS} replicas was replaced; then nobody \
         knows {unknown} of {} users",
        share(before),
        share(after),
        users.len()
    );
    let shows = |is_it: fn(&User) -> bool| users.iter().find(|user| is_it(user)).map(User::facts);
    if place == OWN {
        let k = REPLICAS as f64;
        // One request after the other, so round-robin spreads logins and requests evenly.
        let predictions = vec![
            Prediction::exactly("requests refused where they were not signed", before, all, (k - 1.0) / k),
            Prediction::exactly("users whom nobody knows after a replacement", unknown, users.len() as u64, 1.0 / k),
        ];
        return PlaceReport::control(place, shown, figures, predictions);
    }
    let never = |what, hits, facts: Option<Vec<Fact>>| Prediction::never(what, hits, 2 * all, facts.as_deref());
    let predictions = vec![
        never("good tokens refused", before + after, shows(|user| user.refusal.is_some())),
        never("requests failed", failed, shows(|user| user.failed > 0))
            .by_the_clock_if(users.iter().all(|user| user.wrong == 0)),
    ];
    PlaceReport::claim(place, shown, figures, predictions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::theory::Verdict;

    /// Users whose requests go to one replica after the other, by a key that only one has, or all have.
    fn simulated(is_own: bool, seed: u64) -> Vec<User> {
        let mut rng = Rng::with_seed(seed);
        let (replaced, mut turn) = (rng.usize(..REPLICAS), rng.usize(..REPLICAS));
        let user = |number: u32| {
            let mut next = || {
                turn = (turn + 1) % REPLICAS;
                turn
            };
            let home = next();
            let mut refused = |is_gone: bool| {
                let is_refused = |_: &u32| is_own && (next() != home || is_gone);
                (0..REQUESTS).filter(is_refused).count() as u32
            };
            let (before, after) = (refused(false), refused(home == replaced));
            User { name: format!("u{number}"), before, after, ..User::default() }
        };
        (0..USERS).map(user).collect()
    }

    #[test]
    fn theory_agrees_with_a_simulation() {
        for seed in 0..20 {
            for (place, is_own) in [(OWN, true), (SHARED, false)] {
                let report = of(place, &simulated(is_own, seed));
                let is_held = report.predictions.iter().all(|one| one.verdict == Verdict::Held);
                assert!(is_held, "{seed}: {:?}", report.predictions);
            }
        }
        // And not with one in which all share a key, or nobody does.
        assert_eq!(of(OWN, &simulated(false, 1)).predictions[0].verdict, Verdict::Broken);
        // One request more or less is noticed.
        for more in [-1, 1] {
            let mut users = simulated(true, 1);
            users[7].before = users[7].before.saturating_add_signed(more);
            assert_eq!(of(OWN, &users).predictions[0].verdict, Verdict::Broken);
        }
        let refusal = Some(("r2".to_owned(), false));
        let mut users = simulated(false, 1);
        users[7] = User { before: 1, refusal, ..users[7].clone() };
        let broken = &of(SHARED, &users).predictions[0];
        assert_eq!((broken.verdict, broken.counterexample.len()), (Verdict::Broken, 2));
    }
}
