//! Users who keep to one replica, or to none, while a replica comes, one dies, and all are replaced.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::Request;
use http::header::HOST;
use tokio::task::JoinSet;

use super::rule::{Layout, Rule};
use super::{REPLICAS, REQUESTS_MAX, ROUNDS, USERS, theory};
use crate::prove::sabotage::Planted;
use crate::prove::study::Bench;
use crate::prove::study::basket::{Ask, Session, Told, settle};
use crate::prove::study::caller::{Caller, replica_of};
use crate::prove::study::stage::Stage;

/// How many users send requests at one time.
const LANES: usize = 16;

/// Where a user's request went, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Visit {
    pub(super) user: u32,
    /// The replica of the visit before.
    pub(super) before: Option<String>,
    /// The replica that responded.
    pub(super) now: Option<String>,
    pub(super) told: Told,
}

/// What was seen: the visits of all users after each thing that happened, and the requests per replica in each round.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) quiet: Vec<Visit>,
    pub(super) came: Vec<Visit>,
    pub(super) newcomer: String,
    pub(super) died: Vec<Visit>,
    pub(super) victim: String,
    /// One list for each replica that was replaced.
    pub(super) rolled: Vec<Vec<Visit>>,
    pub(super) rounds: Vec<Vec<u64>>,
}

/// See the module.
pub(super) struct Play {
    stage: Stage,
    rule: Option<Rule>,
    planted: Planted,
    seed: u64,
    /// The replicas that are there, by name, with their numbers.
    there: Vec<(String, usize)>,
    lanes: Vec<Lane>,
}

/// Some users, one after the other, over one connection.
struct Lane {
    caller: Caller,
    users: Vec<User>,
}

struct User {
    number: u32,
    session: Session,
    /// The replica of the last visit.
    known: Option<String>,
}

impl Play {
    pub(super) fn begin(stage: Stage, rule: Option<Rule>, bench: &Bench<'_>) -> Self {
        let front = stage.front();
        let user = |number| User { number, session: Session::default(), known: None };
        let of_lane = |lane| (0..USERS).filter(move |user| *user as usize % LANES == lane).map(user).collect();
        let lanes = (0..LANES).map(|lane| Lane { caller: Caller::to(front), users: of_lane(lane) }).collect();
        let there = (0..REPLICAS).map(|number| (format!("r{number}"), number)).collect();
        Self { stage, rule, planted: bench.planted(), seed: bench.seed(), there, lanes }
    }

    pub(super) async fn play(mut self) -> anyhow::Result<Seen> {
        let mut seen = Seen::default();
        settle(&self.stage, &[]).await?;
        self.visit(Ask::Login).await?;
        seen.quiet = self.visit(Ask::Read).await?;
        let newcomer = self.stage.start_one().await?;
        seen.newcomer.clone_from(&newcomer.name);
        self.there.push((newcomer.name.clone(), REPLICAS));
        self.stage.set_pool(|pool| pool.members.push(newcomer)).await?;
        settle(&self.stage, &[]).await?;
        seen.came = self.visit(Ask::Read).await?;
        let (victim, number) = self.there.remove((self.seed % REPLICAS as u64) as usize);
        self.stage.kill(number).await?;
        seen.died = self.visit(Ask::Read).await?;
        self.stage.set_pool(|pool| pool.members.retain(|member| member.name != victim)).await?;
        settle(&self.stage, &[]).await?;
        seen.victim = victim;
        for _ in 0..self.there.len() {
            let (_, old) = self.there.remove(0);
            let new = self.stage.put_in_place_of(old).await?;
            let number = new.name.trim_start_matches('r').parse()?;
            self.there.push((new.name, number));
            settle(&self.stage, &[]).await?;
            seen.rolled.push(self.visit(Ask::Read).await?);
        }
        for round in 0..ROUNDS {
            seen.rounds.push(self.spread(round).await?);
        }
        Ok(seen)
    }

    /// The layout of the replicas that are there, if users keep to any.
    fn layout(&self, salt: u64) -> Rc<Option<Layout>> {
        let names: Vec<String> = self.there.iter().map(|(name, _)| name.clone()).collect();
        Rc::new(self.rule.map(|rule| Layout::new(rule, &names, salt, self.planted)))
    }

    /// Every user sends one request. Who finds the session lost logs in again.
    async fn visit(&mut self, ask: Ask) -> anyhow::Result<Vec<Visit>> {
        let (layout, mut running) = (self.layout(self.seed), JoinSet::new());
        for lane in self.lanes.drain(..) {
            running.spawn_local(lane.visit(Rc::clone(&layout), ask));
        }
        let mut visits = Vec::new();
        while let Some(done) = running.join_next().await {
            let (lane, of_lane) = done?;
            self.lanes.push(lane);
            visits.extend(of_lane);
        }
        visits.sort_by_key(|visit| visit.user);
        Ok(visits)
    }

    /// The requests that each replica gets from users of whom few send most.
    async fn spread(&self, round: u64) -> anyhow::Result<Vec<u64>> {
        let requests = theory::zipf(USERS, REQUESTS_MAX);
        let (layout, front) = (self.layout(self.seed.wrapping_add(1 + round)), self.stage.front());
        let mut running = JoinSet::new();
        for lane in 0..LANES {
            let users: Vec<(u32, u64)> = (0..USERS).zip(requests.iter().copied()).skip(lane).step_by(LANES).collect();
            running.spawn_local(ask_all(front, users, Rc::clone(&layout)));
        }
        let mut counts: BTreeMap<String, u64> = self.there.iter().map(|(name, _)| (name.clone(), 0)).collect();
        while let Some(done) = running.join_next().await {
            for replica in done?? {
                *counts.entry(replica).or_default() += 1;
            }
        }
        Ok(counts.into_values().collect())
    }
}

impl Lane {
    async fn visit(mut self, layout: Rc<Option<Layout>>, ask: Ask) -> (Self, Vec<Visit>) {
        let mut visits = Vec::new();
        for user in &mut self.users {
            let replica = layout.as_ref().as_ref().map(|layout| layout.replica(user.number, user.known.as_deref()));
            let (told, now) = user.session.ask(&mut self.caller, replica, ask).await;
            if told == Told::Lost {
                // If this fails, the next visit shows it.
                user.session.ask(&mut self.caller, replica, Ask::Login).await;
            }
            let before = user.known.take();
            user.known.clone_from(&now);
            visits.push(Visit { user: user.number, before, now, told });
        }
        (self, visits)
    }
}

/// The replicas that respond to so many requests of each of these users.
async fn ask_all(front: SocketAddr, users: Vec<(u32, u64)>, layout: Rc<Option<Layout>>) -> anyhow::Result<Vec<String>> {
    let (mut caller, mut replicas) = (Caller::to(front), Vec::new());
    for (user, count) in users {
        for _ in 0..count {
            let mut request = Request::get("/");
            if let Some(layout) = layout.as_ref() {
                request = request.header(HOST, layout.replica(user, None));
            }
            let response = caller.send(request.body(Bytes::new())?).await?;
            anyhow::ensure!(response.status() == 200, "a replica responds {}", response.status());
            replicas.extend(replica_of(&response));
        }
    }
    Ok(replicas)
}
