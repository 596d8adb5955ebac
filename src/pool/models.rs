//! What threads share of a pool, under many schedules; see `sync::model`.

use std::future::Future;
use std::ops::ControlFlow::{Break, Continue};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::Poll;

use shuttle::future::block_on;
use shuttle::thread::{JoinHandle, spawn};
use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::health::Health;
use super::pick::{Acquired, Tried};
use super::protocol::PoolProtocol;
use super::queue::Turn;
use super::{Member, MemberState, Pool, PoolShared};
use crate::config::model::{self, Algorithm};
use crate::sync::model::{exhaust, explore, step};

/// A pool with an endpoint for each of `weights`, and what its requests hold as they know it themselves.
struct Model {
    pool: Pool,
    held: Box<[AtomicU32]>,
}

impl Model {
    fn new(balance: Algorithm, weights: &[u32], max_requests: Option<u32>) -> Arc<Self> {
        let member = |(index, &weight): (usize, &u32)| {
            let address = ([127, 0, 0, 1], index as u16 + 1).into();
            let endpoint = Arc::new(Endpoint::new("app".into(), address, Health::Healthy, 1));
            Member { endpoint, backend: "backend".into(), weight, state: MemberState::Ready }
        };
        let members = weights.iter().enumerate().map(member).collect();
        let config = model::Pool { balance, max_requests, ..model::Pool::default() };
        let pool = Pool::new("app".into(), &config, PoolProtocol::Http1, members, Arc::new(PoolShared::new(1)));
        Arc::new(Self { pool, held: weights.iter().map(|_| AtomicU32::new(0)).collect() })
    }

    fn loads(&self) -> Vec<u32> {
        self.pool.members.iter().map(|member| member.endpoint.in_flight()).collect()
    }

    /// A request that has found room and ends.
    fn hold(&self, acquired: Acquired<'_>) {
        let held = &self.held[acquired.index()];
        let before = held.fetch_add(1, Relaxed);
        assert!(self.pool.config.max_requests.is_none_or(|most| before < most), "more than max_requests");
        step();
        held.fetch_sub(1, Relaxed);
        drop(acquired);
    }

    /// Waits in the queue as a request does that found no room.
    async fn wait(&self) -> Acquired<'_> {
        let tried = Tried::default();
        let place = self.pool.shared.queue.enter(8).unwrap();
        let look = |turn| match turn {
            Turn::Own => self.pool.acquire_in_turn(&tried).map_or(Continue(()), Break),
            Turn::Others => Continue(()),
        };
        place.wait(look, || false).await
    }

    /// One request from its begin to its end. It has all the time that there is.
    fn request(&self) {
        let acquired = self.pool.acquire(&Tried::default()).unwrap_or_else(|| block_on(self.wait()));
        self.hold(acquired);
    }

    /// A request whose client leaves while it waits.
    fn leave(&self) {
        let mut wait = pin!(self.wait());
        if let Poll::Ready(acquired) = block_on(std::future::poll_fn(|cx| Poll::Ready(wait.as_mut().poll(cx)))) {
            self.hold(acquired);
        }
        step();
    }

    /// A request whose time in the queue is over when it has looked twice.
    fn expire(&self) {
        let (place, mut looks) = (self.pool.shared.queue.enter(8).unwrap(), 0);
        let look = |_| {
            looks += 1;
            if looks == 2 { Break(()) } else { Continue(()) }
        };
        block_on(place.wait(look, || true));
    }
}

/// Runs `jobs` beside each other until all have ended.
fn together(model: &Arc<Model>, jobs: &[fn(&Model)]) {
    let start = |job: &fn(&Model)| {
        let (model, job) = (Arc::clone(model), *job);
        spawn(move || job(&model))
    };
    let threads: Vec<JoinHandle<()>> = jobs.iter().map(start).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

fn acquire(model: &Model) -> Acquired<'_> {
    model.pool.acquire(&Tried::default()).expect("there is room")
}

#[test]
fn no_endpoint_gets_more_than_it_may_and_none_refuses_what_it_could_take() {
    for algorithm in Algorithm::ALL {
        explore(300, || {
            let model = Model::new(*algorithm, &[1, 1], Some(1));
            together(&model, &[|model| model.hold(acquire(model)), |model| model.hold(acquire(model))]);
            together(&model, &[try_twice, try_twice, try_twice]);
            assert_eq!(model.loads(), [0, 0]);
        });
    }

    fn try_twice(model: &Model) {
        (0..2).for_each(|_| _ = model.pool.acquire(&Tried::default()).map(|acquired| model.hold(acquired)));
    }
}

#[test]
fn a_place_in_the_queue_is_counted_once_and_given_up_once() {
    exhaust(100_000, || {
        let model = Model::new(Algorithm::RoundRobin, &[1], Some(1));
        together(&model, &[enter, enter]);
        assert_eq!(model.pool.shared.queue.waiting(), 0);
    });

    fn enter(model: &Model) {
        if let Some(place) = model.pool.shared.queue.enter(1) {
            assert_eq!(model.held[0].fetch_add(1, Relaxed), 0, "more than the queue may hold");
            step();
            model.held[0].fetch_sub(1, Relaxed);
            drop(place);
        }
    }
}

/// A request that is never woken is a deadlock, which is what the model fails with.
#[test]
fn whoever_waits_is_woken_when_a_place_is_free() {
    let jobs: [&[fn(&Model)]; 4] = [
        &[Model::request, Model::request, Model::request, Model::request],
        &[Model::request, Model::request, Model::leave, Model::request],
        &[Model::request, Model::request, Model::expire, Model::request],
        &[Model::request, Model::leave, Model::expire, Model::request],
    ];
    for (most, weights) in [(1, &[1][..]), (2, &[1]), (1, &[1, 1])] {
        for jobs in jobs {
            explore(300, move || {
                let model = Model::new(Algorithm::LeastConnections, weights, Some(most));
                together(&model, jobs);
                assert_eq!(model.pool.shared.queue.waiting(), 0, "places are left");
                assert!(model.loads().iter().all(|load| *load == 0), "requests are left");
            });
        }
    }
}

#[test]
fn a_round_is_exact_whoever_takes_its_turns() {
    explore(500, || {
        let model = Model::new(Algorithm::RoundRobin, &[2, 1], None);
        together(&model, &[two, two, two]);
        assert_eq!(model.loads(), [4, 2]);
    });

    fn two(model: &Model) {
        (0..2).for_each(|_| _ = acquire(model).hand_over());
    }
}

#[test]
fn two_workers_never_choose_the_same_idle_endpoint() {
    explore(500, || {
        let model = Model::new(Algorithm::LeastConnections, &[1, 1, 1], None);
        together(&model, &[one, one, one]);
        assert_eq!(model.loads(), [1, 1, 1]);
    });

    fn one(model: &Model) {
        _ = acquire(model).hand_over();
    }
}

#[test]
fn workers_together_eject_no_more_than_the_share() {
    explore(500, || {
        let model = Model::new(Algorithm::RoundRobin, &[1, 1, 1], None);
        together(&model, &[|model| fail(model, 0), |model| fail(model, 1), |model| fail(model, 2)]);
        let passive = model.pool.members.iter().map(|member| member.endpoint.passive());
        assert_eq!(passive.filter(|passive| passive.is_ejected(Instant::now())).count(), 1, "of three, at most half");
    });

    fn fail(model: &Model, index: usize) {
        let points = model.pool.config.eject.failures;
        model.pool.failed(&model.pool.members[index].endpoint, points, Instant::now());
    }
}
