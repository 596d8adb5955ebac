//! What failures in live traffic do to an endpoint: it is ejected for a while, and comes back step by step.

use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::support::backend::{Backend, answer};
use crate::support::client::{get, who};
use crate::support::{App, eventually, free_address};

/// A replica that closes without a response as long as it is told to.
fn moody() -> (Backend, Arc<AtomicBool>) {
    let is_mute = Arc::new(AtomicBool::new(true));
    let mute = Arc::clone(&is_mute);
    let backend = Backend::start(move |peer| {
        while peer.next().is_some() {
            if mute.load(Relaxed) {
                peer.stream.shutdown(Shutdown::Both).ok();
                return;
            }
            crate::support::send(&mut peer.stream, answer("moody"));
        }
    });
    (backend, is_mute)
}

fn admission(app: &App, address: SocketAddr) -> String {
    app.endpoint(address).unwrap()["admission"].as_str().unwrap().to_owned()
}

#[test]
fn five_failures_in_a_row_eject_an_endpoint() {
    let ((moody, _), good) = (moody(), Backend::named("good"));
    let app = App::builder(&[moody.address, good.address]).workers(1).start();
    assert_eq!(who(app.address, "/", 40)["good"], 40, "nobody notices");
    assert_eq!(moody.seen().len(), 5);
    assert_eq!(admission(&app, moody.address), "ejected");
    assert_eq!(admission(&app, good.address), "full");
    let [out, full] = [moody.address, good.address].map(|address| app.endpoint(address).unwrap());
    let [since, until] = ["since", "until"].map(|when| out["ejection"][when].as_str().unwrap().to_owned());
    assert!(since < until && full.get("ejection").is_none(), "{out} {full}");
    assert_eq!([&out["fair_share"], &full["fair_share"]], [0.0, 1.0]);
    assert_eq!(app.metric("unstick_ejections_total{pool=\"app\"}"), 1.0);
}

#[test]
fn failures_to_connect_count_twice() {
    let (nobody, good) = (free_address(), Backend::named("good"));
    let app = App::builder(&[nobody, good.address]).workers(1).start();
    assert_eq!(who(app.address, "/", 40)["good"], 40);
    assert_eq!(app.endpoint(nobody).unwrap()["requests"], 3);
}

#[test]
fn an_answer_in_between_keeps_it_in() {
    let ((moody, is_mute), good) = (moody(), Backend::named("good"));
    let app = App::builder(&[moody.address, good.address]).workers(1).start();
    for _ in 0..6 {
        is_mute.store(true, Relaxed);
        who(app.address, "/", 8);
        is_mute.store(false, Relaxed);
        assert!(who(app.address, "/", 2).contains_key("moody"));
    }
    assert_eq!(admission(&app, moody.address), "full");
}

#[test]
fn at_most_half_of_a_pool_is_ejected() {
    let (a, b, c) = (moody().0, moody().0, Backend::named("good"));
    let app = App::builder(&[a.address, b.address, c.address]).workers(1).start();
    assert_eq!(who(app.address, "/", 60)["good"], 60);
    let out = [&a, &b].iter().filter(|backend| admission(&app, backend.address) == "ejected").count();
    assert_eq!(out, 1, "one of three");
}

#[test]
fn a_pool_of_one_is_never_ejected_and_zero_switches_it_off() {
    let (alone, is_mute) = moody();
    let app = App::builder(&[alone.address]).workers(1).start();
    for _ in 0..8 {
        assert_eq!(get(app.address, "/").status, 502);
    }
    is_mute.store(false, Relaxed);
    assert_eq!(get(app.address, "/").text(), "moody");

    let ((moody, _), good) = (moody(), Backend::named("good"));
    let app = App::builder(&[moody.address, good.address]).pool("[pool.app.eject]\nfailures = 0").workers(1).start();
    who(app.address, "/", 40);
    assert_eq!(moody.seen().len(), 20);
}

#[test]
fn an_ejected_endpoint_is_better_than_none() {
    let ((ejected, is_mute), good) = (moody(), Backend::named("good"));
    let app = App::builder(&[ejected.address, good.address]).workers(1).start();
    who(app.address, "/", 20);
    assert_eq!(admission(&app, ejected.address), "ejected");
    is_mute.store(false, Relaxed);
    good.kill();
    for _ in 0..4 {
        assert_eq!(get(app.address, "/").text(), "moody");
    }
}

#[test]
fn the_return_is_gradual() {
    let ((moody, is_mute), good) = (moody(), Backend::named("good"));
    let pool = "slow_start = \"2s\"\n[pool.app.eject]\nduration = \"100ms\"";
    let app = App::builder(&[moody.address, good.address]).pool(pool).workers(1).start();
    who(app.address, "/", 20);
    assert_ne!(admission(&app, moody.address), "full");
    is_mute.store(false, Relaxed);
    eventually("its share grows", || {
        who(app.address, "/", 2);
        admission(&app, moody.address) == "returning"
    });
    eventually("it has its full share again", || {
        who(app.address, "/", 2);
        admission(&app, moody.address) == "full"
    });
    assert_eq!(who(app.address, "/", 20)["moody"], 10);
}

#[test]
fn a_probe_that_passes_ends_an_ejection() {
    let (backend, good) = (Backend::named("back"), Backend::named("good"));
    let address = backend.address;
    let health = "[pool.app.health]\npath = \"/healthz\"\ninterval = \"50ms\"\ntimeout = \"1s\"\nfall = 2";
    let app = App::builder(&[address, good.address]).pool(health).workers(1).start();
    app.wait_for(address, "healthy");
    backend.kill();
    who(app.address, "/", 20);
    app.wait_for(address, "unhealthy");
    let _again = Backend::named_at(address, "back");
    app.wait_for(address, "healthy");
    assert_eq!(admission(&app, address), "full");
    assert_eq!(who(app.address, "/", 20)["back"], 10);
}

#[test]
fn a_replica_that_fails_fast_does_not_attract_everybody() {
    let ((moody, _), good) = (moody(), Backend::named("good"));
    let pool = "balance = \"least-connections\"\n[pool.app.eject]\nfailures = 0";
    let app = App::builder(&[moody.address, good.address]).pool(pool).workers(1).start();
    assert_eq!(who(app.address, "/", 200)["good"], 200);
    let tried = moody.seen().len();
    assert!((1..=20).contains(&tried), "it failed {tried} of 200 times, though it never had anything under way");
}

#[test]
fn answers_that_break_off_are_failures_too() {
    let cutting = Backend::start(|peer| {
        if peer.next().is_some() {
            crate::support::send(&mut peer.stream, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
            peer.stream.shutdown(Shutdown::Both).ok();
        }
    });
    let good = Backend::named("good");
    let app = App::builder(&[cutting.address, good.address]).workers(1).start();
    for _ in 0..20 {
        let mut client = crate::support::connect(app.address);
        crate::support::send(&mut client, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        crate::support::read_to_close(&mut client);
    }
    assert_eq!(admission(&app, cutting.address), "ejected");
    assert_eq!(cutting.seen().len(), 5);
}
