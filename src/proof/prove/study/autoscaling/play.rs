//! The controller at work: it asks the proxy what is under way, starts and ends replicas, and edits the file.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::scaler::Scaler;
use super::trace::Trace;
use super::users::{self, Crowd, Log};
use super::{AT_ONCE, FEWEST, SERVICE};
use crate::prove::event::SCALE_OUT;
use crate::prove::sabotage::{Planted, Sabotage};
use crate::prove::study::Bench;
use crate::prove::study::basket::part::{AT_ONCE as AT_ONCE_VARIABLE, SERVICE_MS};
use crate::prove::study::basket::{self, Keeps, settle};
use crate::prove::study::stage::Stage;

/// Pause between two looks of the controller.
const LOOK: Duration = Duration::from_millis(50);
/// How long replicas may take to finish what they have when they drain.
const DRAIN: Duration = Duration::from_secs(2);
/// How many requests a kill should meet, under sabotage.
const MET: u64 = 2;
/// How long the controller goes on behind the end of the trace at most, until there are few replicas again.
const AFTER: Duration = Duration::from_secs(6);
/// Weight of the first replicas where newcomers starve.
const HEAVY: u32 = 20;
/// Where a controller stops that stops halfway.
const HALFWAY: usize = 10;

/// One change of the number of replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) decided: Duration,
    pub(super) in_force: Duration,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// What was seen of one place.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    pub(super) log: Log,
    pub(super) steps: Vec<Step>,
    /// Replicas that came, and when they were in force.
    pub(super) came: Vec<(String, Duration)>,
    pub(super) removed: Vec<String>,
    /// Replicas in the end.
    pub(super) left: usize,
    pub(super) peak: (Duration, Duration),
}

/// Plays the trace for one place.
pub(super) async fn play(bench: &Bench<'_>, keeps: Keeps, trace: &Trace) -> anyhow::Result<Seen> {
    let (service, at_once) = (SERVICE.as_millis().to_string(), AT_ONCE.to_string());
    let environment = [(SERVICE_MS, service.as_str()), (AT_ONCE_VARIABLE, at_once.as_str())];
    let is_placed = keeps == Keeps::Memory;
    let stage = basket::stage(bench, keeps, FEWEST, &environment, is_placed).await?;
    settle(&stage, &[]).await?;
    let there: Vec<String> = (0..FEWEST).map(|number| stage.replica(number).name.clone()).collect();
    let crowd = Rc::new(Crowd {
        front: stage.front(),
        began: Instant::now(),
        active: Cell::new(0),
        is_over: Cell::new(false),
        open: RefCell::new(is_placed.then(|| there.clone())),
        log: RefCell::default(),
        planted: bench.planted(),
    });
    let mut users = JoinSet::new();
    for number in 0..trace.most() {
        users.spawn_local(users::play(Rc::clone(&crowd), number));
    }
    let mut beside = JoinSet::new();
    beside.spawn_local(follow(Rc::clone(&crowd), trace.clone()));
    let planted = bench.planted();
    let mut controller =
        Controller { stage, crowd: Rc::clone(&crowd), there, planted, is_placed, seen: Seen::default() };
    controller.run(trace.end).await?;
    crowd.is_over.set(true);
    while let Some(user) = users.join_next().await {
        user?;
    }
    beside.shutdown().await;
    let mut seen = controller.seen;
    seen.left = controller.there.len();
    seen.log = crowd.log.borrow().clone();
    seen.peak = trace.peak();
    Ok(seen)
}

/// Sets how many users are active.
async fn follow(crowd: Rc<Crowd>, trace: Trace) {
    for level in trace.levels {
        sleep_until(crowd.began + level.at).await;
        crowd.active.set(level.users);
    }
}

struct Controller {
    stage: Stage,
    crowd: Rc<Crowd>,
    /// The replicas that are there, in the order in which they came.
    there: Vec<String>,
    planted: Planted,
    is_placed: bool,
    seen: Seen,
}

impl Controller {
    async fn run(&mut self, end: Duration) -> anyhow::Result<()> {
        let mut scaler = Scaler::default();
        loop {
            let now = self.crowd.began.elapsed();
            if now >= end && self.there.len() == FEWEST || now >= end + AFTER {
                return Ok(());
            }
            let status = self.stage.status(0).await?;
            let wanted = scaler.wanted(now, under_way(&status, self.is_placed, None), self.there.len());
            let from = self.there.len();
            let wanted = if self.planted.is(Sabotage::ScalesHalfway) { wanted.min(HALFWAY) } else { wanted };
            if wanted > from {
                self.grow(wanted - from).await?;
            } else if wanted < from && !self.planted.is(Sabotage::NeverScalesIn) {
                self.shrink(wanted).await?;
            }
            if self.there.len() != from {
                scaler.changed();
                let (in_force, to) = (self.crowd.began.elapsed(), self.there.len());
                self.seen.steps.push(Step { decided: now, in_force, from, to });
            }
            sleep(LOOK).await;
        }
    }

    /// Starts replicas, and writes them into the file.
    async fn grow(&mut self, count: usize) -> anyhow::Result<()> {
        let mut new = Vec::new();
        for _ in 0..count {
            new.push(self.stage.start_one().await?);
        }
        let names: Vec<String> = new.iter().map(|member| member.name.clone()).collect();
        let is_starved = self.planted.is(Sabotage::NewcomersStarved);
        self.stage
            .set_pool(|pool| {
                pool.members.extend(new);
                for (place, member) in pool.members.iter_mut().enumerate() {
                    member.weight = if is_starved && place < SCALE_OUT.0 { HEAVY } else { 1 };
                }
            })
            .await?;
        settle(&self.stage, &[]).await?;
        let now = self.crowd.began.elapsed();
        self.seen.came.extend(names.iter().map(|name| (name.clone(), now)));
        if let Some(open) = self.crowd.open.borrow_mut().as_mut() {
            open.extend(names.iter().cloned());
        }
        self.there.extend(names);
        Ok(())
    }

    /// Takes the youngest replicas out: they drain, they leave the file, and end when they have nothing under way.
    async fn shrink(&mut self, to: usize) -> anyhow::Result<()> {
        let going = self.there.split_off(to);
        if let Some(open) = self.crowd.open.borrow_mut().as_mut() {
            open.retain(|name| !going.contains(name));
        }
        let is_kill = self.planted.is(Sabotage::ScalesByKill);
        if is_kill {
            self.meet(&going).await?;
            self.end(&going).await?;
        } else {
            self.drain(&going).await?;
        }
        self.stage.set_pool(|pool| pool.members.retain(|member| !going.contains(&member.name))).await?;
        settle(&self.stage, &[]).await?;
        if !is_kill {
            self.end(&going).await?;
        }
        self.seen.removed.extend(going);
        Ok(())
    }

    async fn drain(&mut self, going: &[String]) -> anyhow::Result<()> {
        let mut addresses = Vec::new();
        self.stage
            .set_pool(|pool| {
                for member in pool.members.iter_mut().filter(|member| going.contains(&member.name)) {
                    member.is_draining = true;
                    addresses.push(member.address.to_string());
                }
            })
            .await?;
        let deadline = Instant::now() + DRAIN;
        while under_way(&self.stage.status(0).await?, self.is_placed, Some(&addresses)) > 0 && Instant::now() < deadline
        {
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Waits until replicas have something under way. A kill that meets nothing breaks nothing.
    async fn meet(&self, going: &[String]) -> anyhow::Result<()> {
        let number = |name: &String| name.trim_start_matches('r').parse().ok();
        let numbers: Vec<usize> = going.iter().filter_map(number).collect();
        let addresses: Vec<String> =
            numbers.into_iter().map(|number| self.stage.replica(number).address.to_string()).collect();
        let deadline = Instant::now() + DRAIN;
        while under_way(&self.stage.status(0).await?, self.is_placed, Some(&addresses)) < MET
            && Instant::now() < deadline
        {
            sleep(LOOK).await;
        }
        Ok(())
    }

    async fn end(&mut self, going: &[String]) -> anyhow::Result<()> {
        for name in going {
            let number = name.trim_start_matches('r').parse().with_context(|| format!("no number is in {name}"))?;
            self.stage.kill(number).await?;
        }
        Ok(())
    }
}

/// Requests under way by `/status`, at these replicas or at all. Users who keep to a replica use its own pool.
fn under_way(status: &Value, is_placed: bool, addresses: Option<&[String]>) -> u64 {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let pools = list(&status["pools"]).into_iter().filter(|pool| (pool["name"] == "app") != is_placed);
    let is_meant =
        |one: &Value| addresses.is_none_or(|all| all.iter().any(|address| one["address"] == address.as_str()));
    pools.flat_map(|pool| list(&pool["endpoints"])).filter(is_meant).filter_map(|one| one["in_flight"].as_u64()).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_under_way_is_counted_once() {
        let endpoint = |address: &str, in_flight| json!({ "address": address, "in_flight": in_flight });
        let status = json!({ "pools": [
            { "name": "app", "endpoints": [endpoint("a", 3), endpoint("b", 4)] },
            { "name": "r0", "endpoints": [endpoint("a", 5)] },
            { "name": "r1", "endpoints": [endpoint("b", 6)] },
        ] });
        assert_eq!(under_way(&status, false, None), 7);
        assert_eq!(under_way(&status, true, None), 11);
        assert_eq!(under_way(&status, true, Some(&["b".to_owned()])), 6);
    }
}
