//! Exact counts, over all workers.

use std::collections::BTreeMap;
use std::thread;

use unstick::config::Algorithm;

use crate::support::backend::{Backend, answer, signal};
use crate::support::client::{exchange, get, read_response};
use crate::support::{App, connect, eventually, pause, send};

const WORKERS: usize = 4;

/// Sends `count` requests over `clients` connections at a time. Returns how many each replica responded to.
fn spread(app: &App, clients: usize, count: usize) -> BTreeMap<String, usize> {
    let threads: Vec<_> = (0..clients)
        .map(|_| {
            let address = app.address;
            thread::spawn(move || {
                let mut client = connect(address);
                let request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
                (0..count / clients).map(|_| exchange(&mut client, request).text()).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut counts = BTreeMap::new();
    for name in threads.into_iter().flat_map(|thread| thread.join().unwrap()) {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

fn three() -> [Backend; 3] {
    [Backend::named("a"), Backend::named("b"), Backend::named("c")]
}

#[test]
fn round_robin_is_exact_through_any_number_of_workers() {
    let backends = three();
    let app = App::builder(&backends.each_ref().map(|backend| backend.address)).workers(WORKERS).start();
    let counts: Vec<usize> = spread(&app, 30, 3000).into_values().collect();
    assert_eq!(counts, [1000, 1000, 1000]);
}

#[test]
fn round_robin_follows_the_weights() {
    let [a, b, c] = three();
    let config = format!(
        "[pool.app]\nbackends = [{{ address = \"{}\", weight = 5 }}, \"{}\", {{ address = \"{}\", weight = 2 }}]\n",
        a.address, b.address, c.address
    );
    let counts: Vec<usize> = spread(&App::start_with(&config, WORKERS), 8, 1600).into_values().collect();
    assert_eq!(counts, [1000, 200, 400]);
}

#[test]
fn every_algorithm_reaches_every_replica() {
    for balance in Algorithm::ALL.iter().map(|algorithm| algorithm.name()) {
        let backends = three();
        let addresses = backends.each_ref().map(|backend| backend.address);
        let app = App::builder(&addresses).pool(&format!("balance = \"{balance}\"")).start();
        let counts = spread(&app, 4, 400);
        assert_eq!(counts.len(), 3, "{balance}: {counts:?}");
        assert_eq!(app.status()["pools"][0]["balance"], balance);
    }
}

#[test]
fn least_connections_counts_what_all_workers_have_in_flight() {
    const EACH: usize = 40;
    let (release, _) = signal();
    drop(release);
    let held = || {
        Backend::start(|peer| {
            // It responds only when the client has sent a second request behind the first. Until then the first is in
            // flight.
            while let Some(seen) = peer.next() {
                if seen.line().contains("/hold") {
                    peer.wait_for_close();
                    return;
                }
                send(&mut peer.stream, answer("free"));
            }
        })
    };
    let backends = [held(), held(), held()];
    let addresses = backends.each_ref().map(|backend| backend.address);
    let app = App::builder(&addresses).pool("balance = \"least-connections\"").workers(WORKERS).start();
    let clients: Vec<_> = (0..3 * EACH)
        .map(|_| {
            let mut client = connect(app.address);
            send(&mut client, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
            client
        })
        .collect();
    let in_flight = || addresses.map(|address| app.endpoint(address).unwrap()["in_flight"].as_u64().unwrap());
    eventually("all are in flight", || in_flight().iter().sum::<u64>() == 3 * EACH as u64);
    assert_eq!(in_flight(), [EACH as u64; 3]);
    drop(clients);
    eventually("none is in flight", || in_flight() == [0; 3]);
}

#[test]
fn connections_are_spread_over_the_workers() {
    let backend = Backend::named("a");
    let app = App::builder(&[backend.address]).workers(WORKERS).start();
    let clients: Vec<_> = (0..64)
        .map(|_| {
            let mut client = connect(app.address);
            send(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            assert_eq!(read_response(&mut client, false).status, 200);
            client
        })
        .collect();
    let status = app.status();
    let loads: Vec<u64> =
        status["workers"].as_array().unwrap().iter().map(|worker| worker["connections"].as_u64().unwrap()).collect();
    assert_eq!(loads.iter().sum::<u64>(), clients.len() as u64);
    assert!(loads.iter().all(|&load| (13..=19).contains(&load)), "{loads:?}");
}

#[test]
fn a_backend_set_to_drain_or_down_gets_nothing_new() {
    let [a, b, c] = three();
    let config = format!(
        "[pool.app]\nbackends = [\"{}\", {{ address = \"{}\", state = \"drain\" }}, {{ address = \"{}\", state = \
            \"down\" }}]\n",
        a.address, b.address, c.address
    );
    let app = App::start(&config);
    assert!((0..6).all(|_| get(app.address, "/").text() == "a"));
}

/// The time that a client takes for its upload is not the replica's.
#[test]
fn a_slow_upload_makes_no_replica_look_slow() {
    let backend = Backend::named("a");
    let app = App::builder(&[backend.address]).pool("balance = \"peak-ewma\"").workers(1).start();
    let mut client = connect(app.address);
    send(&mut client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na");
    pause("a slow client", 1000);
    send(&mut client, "b");
    assert_eq!(read_response(&mut client, false).status, 200);
    let latency = app.endpoint(backend.address).unwrap()["latency_ms"].as_f64().unwrap();
    assert!(latency < 500.0, "{latency} ms");
}
