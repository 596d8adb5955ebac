//! A worker's view of snapshots that the control thread swaps meanwhile, under many schedules; see `sync::model`.

use std::rc::Rc;
use std::sync::{Arc, Weak};

use shuttle::thread::spawn;

use super::InFlight;
use super::view::{View, Viewer};
use crate::config::model::{self, Explain, Limits, Route, Timeouts};
use crate::pool::endpoint::Endpoint;
use crate::pool::health::Health;
use crate::pool::protocol::PoolProtocol;
use crate::pool::{Member, MemberState, Pool, PoolShared, Tried};
use crate::snapshot::plan::{Errors, Plan};
use crate::snapshot::routes::Routes;
use crate::snapshot::{Capacity, SharedSnapshot, Snapshot};
use crate::sync::model::{explore, step};

/// The pools of each snapshot, one after the other. All requests are routed to the last one.
const GENERATIONS: [&[&str]; 3] = [&["a"], &["a", "b"], &["b"]];

/// Snapshot number `generation`. `limits.idle_per_endpoint` bears the number. Pools keep their state and endpoint.
fn snapshot(generation: usize, before: Option<&Snapshot>) -> Arc<Snapshot> {
    let pool = |name: &&str| {
        let known = before.and_then(|before| before.pool(name));
        let new = || Arc::new(Endpoint::new((*name).into(), ([127, 0, 0, 1], 1).into(), Health::Healthy, 2));
        let endpoint = known.map_or_else(new, |pool| Arc::clone(&pool.members[0].endpoint));
        let shared = known.map_or_else(|| Arc::new(PoolShared::new(2)), |pool| Arc::clone(&pool.shared));
        let member = Member { endpoint, backend: "backend".into(), weight: 1, state: MemberState::Ready };
        Arc::new(Pool::new((*name).into(), &model::Pool::default(), PoolProtocol::Http1, vec![member], shared))
    };
    let pools: Box<[_]> = GENERATIONS[generation].iter().map(pool).collect();
    Arc::new(Snapshot {
        routes: Arc::new(Routes::new([Route::default()].into())),
        errors: Errors::default(),
        limiters: Arc::default(),
        pages: Arc::default(),
        plans: [Plan::Pool(pools.len() - 1)].into(),
        pools,
        timeouts: Timeouts::default(),
        limits: Limits { idle_per_endpoint: generation, ..Limits::default() },
        capacity: Capacity { connections: 1, h2_streams: 1 },
        access_log: None,
        explain: Explain::default(),
        traces: None,
    })
}

/// A request in one view: everything that it sees is of the same snapshot. Returns the number of that.
fn request(view: Rc<View>) -> usize {
    let generation = view.snapshot.limits.idle_per_endpoint;
    let names: Vec<&str> = view.snapshot.pools.iter().map(|pool| &*pool.name).collect();
    assert_eq!(names, GENERATIONS[generation], "pools of another snapshot");
    let Plan::Pool(routed) = view.snapshot.plans[0] else { unreachable!("nothing else is planned") };
    assert_eq!(routed + 1, names.len(), "routes of another snapshot");
    assert_eq!(view.endpoints.len(), names.len(), "connections of another snapshot");
    let (pool, own) = (&view.snapshot.pools[routed], &view.endpoints[routed][0]);
    assert!(Arc::ptr_eq(&own.endpoint, &pool.members[0].endpoint), "connections to another endpoint");
    let in_flight = InFlight::adopt(pool.acquire(&Tried::default()).unwrap(), Rc::clone(own));
    step();
    drop(in_flight);
    generation
}

#[test]
fn a_worker_sees_one_snapshot_or_the_next_and_old_ones_are_freed() {
    explore(500, || {
        let first = snapshot(0, None);
        let shared = Arc::new(SharedSnapshot::new(Arc::clone(&first)));
        let worker = |number: usize| {
            let shared = Arc::clone(&shared);
            spawn(move || {
                let viewer = Viewer::new(shared, number, Rc::default());
                let seen = [(); 3].map(|()| request(viewer.current()));
                assert!(seen.is_sorted(), "an older snapshot after a newer one");
                // The next request shows an idle worker what there is now.
                step();
                viewer.current();
            })
        };
        let workers = [worker(0), worker(1)];
        let (mut before, mut all) = (first, Vec::<Weak<Snapshot>>::new());
        for generation in 1..GENERATIONS.len() {
            let next = snapshot(generation, Some(&before));
            shared.swap(Arc::clone(&next));
            all.push(Arc::downgrade(&std::mem::replace(&mut before, next)));
        }
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert!(all.iter().all(|old| old.upgrade().is_none()), "an old snapshot is kept");
        let endpoints = before.pools.iter().flat_map(|pool| &pool.members);
        assert!(endpoints.map(|member| member.endpoint.in_flight()).all(|load| load == 0), "requests are left");
    });
}
