//! Where the time of a request goes, and what else `/metrics` counts.

use std::net::TcpStream;

use crate::support::backend::{Backend, answer, patient};
use crate::support::client::{get, read_response};
use crate::support::{App, SOON, begin, eventually, free_address, pause, send};

/// How long the replica of a test takes for its response, in milliseconds.
const SLOW_MS: u64 = 60;

/// A replica that takes [`SLOW_MS`] for each response.
fn slow() -> Backend {
    Backend::start(|peer| {
        while peer.next().is_some() {
            pause("the replica is slow", SLOW_MS);
            send(&mut peer.stream, answer("slow"));
        }
    })
}

/// The number and the sum in seconds of what a histogram has counted for the pool.
fn times(app: &App, name: &str) -> (f64, f64) {
    let of = |part: &str| app.metric(&format!("unstick_{name}_duration_seconds_{part}{{pool=\"app\"}}"));
    (of("count"), of("sum"))
}

#[test]
fn the_time_to_the_first_byte_is_that_of_the_replica() {
    let (slow, fast) = (slow(), Backend::named("fast"));
    let app = App::builder(&[slow.address, fast.address]).workers(1).start();
    (0..6).for_each(|_| assert_eq!(get(app.address, "/").status, 200));
    eventually("all are counted", || times(&app, "request").0 == 6.0);
    let (count, sum) = times(&app, "first_byte");
    let slowness = SLOW_MS as f64 / 1e3;
    assert_eq!(count, 6.0);
    assert!((3.0 * slowness..6.0 * slowness).contains(&sum), "{sum}");
    assert!(times(&app, "request").1 >= sum, "a request takes longer than its first byte");
    let of = |part: &str, backend: &Backend| {
        let labels = format!("pool=\"app\",endpoint=\"{}\"", backend.address);
        app.metric(&format!("unstick_endpoint_first_byte_duration_seconds_{part}{{{labels}}}"))
    };
    assert_eq!([of("count", &slow), of("count", &fast)], [3.0, 3.0]);
    assert!(of("sum", &slow) >= 3.0 * slowness && of("sum", &fast) < 3.0 * slowness, "{}", of("sum", &fast));
    let (connects, took) = times(&app, "connect");
    let opened = |backend: &Backend| app.endpoint(backend.address).unwrap()["connects"].as_f64().unwrap();
    assert_eq!(connects, opened(&slow) + opened(&fast), "each connection once");
    assert!(took > 0.0 && took < slowness, "the slowness is not of the connection: {took}");
    assert_eq!([times(&app, "tls_handshake").0, times(&app, "queue").0], [0.0, 0.0]);
}

#[test]
fn whoever_waits_in_the_queue_is_timed_also_if_it_leaves() {
    let (backend, was_asked, go) = patient();
    let app = App::builder(&[backend.address]).pool("max_requests = 1\nqueue.timeout = \"1m\"").workers(1).start();
    let waiting = |count: u64| {
        eventually("they wait", || app.status()["pools"][0]["waiting"] == count);
    };
    let mut first = begin(&app);
    was_asked.recv_timeout(SOON).unwrap();
    let (mut second, third) = (begin(&app), begin(&app));
    waiting(2);
    pause("they wait for as long as this at least", 50);
    drop(third);
    waiting(1);
    eventually("the one that has left is counted", || times(&app, "queue").0 == 1.0);
    go.send(()).unwrap();
    assert_eq!(read_response(&mut first, false).text(), "a");
    was_asked.recv_timeout(SOON).unwrap();
    let (count, sum) = times(&app, "queue");
    assert!(count == 2.0 && sum >= 0.1, "both, and not the first: {count} {sum}");
    go.send(()).unwrap();
    assert_eq!(read_response(&mut second, false).text(), "a");
}

#[test]
fn each_endpoint_is_counted_in_one_state() {
    let (backend, dead) = (Backend::named("a"), free_address());
    let out = "backend = [{ address = \"127.0.0.1:1\", state = \"drain\" }, \
        { address = \"127.0.0.1:2\", state = \"down\" }, { address = \"127.0.0.1:3\", state = \"drain\" }]";
    let app = App::builder(&[backend.address, dead]).pool(&format!("{out}\neject.failures = 2")).start();
    let count = |state: &str| app.metric(&format!("unstick_pool_endpoints{{pool=\"app\",state=\"{state}\"}}"));
    let counts = || ["ready", "unchecked", "unhealthy", "ejected", "draining", "down", "held"].map(count);
    assert_eq!(counts(), [2.0, 0.0, 0.0, 0.0, 2.0, 1.0, 0.0]);
    (0..2).for_each(|_| assert_eq!(get(app.address, "/").text(), "a"));
    assert_eq!(counts(), [1.0, 0.0, 0.0, 1.0, 2.0, 1.0, 0.0], "a refused connection counts twice");
}

#[test]
fn the_load_of_each_worker_is_known() {
    let backend = Backend::named("a");
    let app = App::builder(&[backend.address]).workers(2).start();
    let of = |name: &str| [0, 1].map(|worker| app.metric(&format!("unstick_worker_{name}{{worker=\"{worker}\"}}")));
    let before = of("cpu_seconds_total").iter().sum::<f64>();
    let kept: Vec<TcpStream> = (0..4).map(|_| begin(&app)).collect();
    let shares = || of("connections");
    eventually("both have a share", || shares().iter().sum::<f64>() == 4.0 && !shares().contains(&0.0));
    eventually("they have worked", || of("cpu_seconds_total").iter().sum::<f64>() > before);
    assert!(of("cpu_seconds_total").iter().all(|seconds| (1e-6..60.0).contains(seconds)));
    assert_eq!(app.metric("unstick_listener_sockets{listener=\"web\"}"), 2.0);
    drop(kept);
    eventually("they are gone", || of("connections") == [0.0, 0.0]);
}
