//! Clients that repeat an order when its response was cut off: with a key, without one, and clients that never repeat.
//! Replicas get SIGKILL again and again, with orders under way; the store outlives them.
//!
//! What a kill meets was either done or not, and the client cannot tell which. Who repeats without a key orders twice
//! in the first case; who does not repeat has no order in the second. Only the key is right in both.

mod clients;
mod judge;
pub(super) mod part;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use fastrand::Rng;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::stage::{Scene, Stage};
use super::{Bench, PlaceReport, Study, StudyReport};
use crate::prove::arm::Work;
use crate::prove::sabotage::Sabotage;
use clients::{Habit, Order, Orders};
use judge::Seen;

/// See the module.
pub(super) const STUDY: Study =
    Study { name: "retries", question: "is a POST safe to repeat after a crash?", seconds: 12, run };

/// Replicas at one time, and how many are killed, one after the other.
const REPLICAS: usize = 3;
const KILLS: usize = 8;
/// Clients at one time, and how long each pauses between two orders, on average.
const CLIENTS: u64 = 40;
const PAUSE: Duration = Duration::from_millis(20);
/// How long a replica takes before the effect of an order, and after it until it responds, on average.
const BEFORE: Duration = Duration::from_millis(30);
const AFTER: Duration = Duration::from_millis(60);
/// How long orders go on undisturbed before each kill, in milliseconds: drawn, so that no kill has a rhythm.
const BETWEEN_MS: std::ops::Range<u64> = 250..400;

const PLACES: [(&str, Habit); 3] = [
    ("repeats with a key", Habit::RepeatsWithKey),
    ("repeats without a key", Habit::Repeats),
    ("never repeats", Habit::GivesUp),
];

fn run<'a>(bench: &'a Bench<'a>) -> Work<'a, StudyReport> {
    Box::pin(async move {
        let mut columns: Vec<PlaceReport> = Vec::new();
        for (number, (place, habit)) in PLACES.into_iter().enumerate() {
            let mut rng = Rng::with_seed(bench.seed().wrapping_mul(7).wrapping_add(number as u64));
            let seen = play(bench, habit, &mut rng).await.with_context(|| place.to_owned())?;
            columns.push(judge::report(place, habit, &seen));
        }
        Ok(STUDY.report(columns, Vec::new()))
    })
}

async fn play(bench: &Bench<'_>, habit: Habit, rng: &mut Rng) -> anyhow::Result<Seen> {
    let scene = Scene { part: "orders", replicas: REPLICAS, ..Scene::default() };
    let mut stage = Stage::start(bench, scene).await?;
    let orders: Rc<RefCell<Orders>> = Rc::default();
    let acted = match habit {
        Habit::Repeats if bench.planted().is(Sabotage::KeysForAll) => Habit::RepeatsWithKey,
        Habit::GivesUp if bench.planted().is(Sabotage::NobodyGivesUp) => Habit::Repeats,
        habit => habit,
    };
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn_local(clients::play(stage.front(), acted, Rc::clone(&orders)));
    }
    let mut killed = Vec::new();
    for number in 0..KILLS {
        sleep(Duration::from_millis(rng.u64(BETWEEN_MS))).await;
        // Each is replaced in turn, so the oldest is always alive.
        stage.kill(number).await?;
        killed.push(stage.replica(number).name.clone());
        stage.put_in_place_of(number).await?;
    }
    sleep(Duration::from_millis(BETWEEN_MS.start)).await;
    orders.borrow_mut().is_over = true;
    while let Some(client) = clients.join_next().await {
        client?;
    }
    let done: Vec<Order> = std::mem::take(&mut orders.borrow_mut().done);
    Seen::of(&stage.directory, done, killed)
}
