//! What the workers share of their client connections, under many schedules; see `sync::model`.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize as Plain, Ordering::Relaxed};

use shuttle::thread::spawn;

use super::Loads;
use super::permits::Peers;
use crate::sync::model::{explore, step};

#[test]
fn an_address_has_no_more_connections_than_it_may() {
    let most = NonZeroUsize::new(2).unwrap();
    explore(500, move || {
        let (peers, held) = (Peers::default(), Arc::new(Plain::new(0)));
        let connect = || {
            let (peers, held) = (peers.clone(), Arc::clone(&held));
            spawn(move || {
                for _ in 0..2 {
                    let Some(permit) = peers.admit([192, 0, 2, 1].into(), most) else { continue };
                    assert!(held.fetch_add(1, Relaxed) < most.get(), "more than it may");
                    step();
                    held.fetch_sub(1, Relaxed);
                    drop(permit);
                }
            })
        };
        let workers = [connect(), connect(), connect()];
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert!(peers.is_empty(), "permits are left");
    });
}

#[test]
fn every_connection_is_counted_once_and_uncounted_once() {
    explore(500, || {
        let loads = Loads::new(2);
        let worker = |number: usize| {
            let loads = loads.clone();
            spawn(move || {
                // A worker counts its own connections and those that it takes over.
                let kept = loads.add(number);
                drop(loads.add(1 - number));
                kept
            })
        };
        let kept: Vec<_> = [worker(0), worker(1), worker(0)].map(|worker| worker.join().unwrap()).into();
        assert_eq!((loads.of(0), loads.of(1)), (2, 1));
        drop(kept);
        assert_eq!(loads.total(), 0);
    });
}
