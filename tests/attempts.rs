//! What the client sees when an attempt fails, at each possible moment.

use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::support::backend::{Backend, answer};
use crate::support::client::{exchange, get};
use crate::support::{App, connect, free_address, send};

/// A replica that reads each request and closes without a response. It counts the requests.
fn mute() -> (Backend, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let backend = Backend::start(move |peer| {
        if peer.next().is_some() {
            counted.fetch_add(1, Relaxed);
            peer.stream.shutdown(Shutdown::Both).ok();
        }
    });
    (backend, count)
}

#[test]
fn a_refused_connection_moves_any_method_to_another_endpoint() {
    let backend = Backend::named("a");
    let app = App::over(&[free_address(), free_address(), backend.address]);
    for method in ["GET", "POST", "DELETE", "PATCH"] {
        let request = format!("{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
        for _ in 0..6 {
            let response = exchange(&mut connect(app.address), &request);
            assert_eq!((response.status, response.text().as_str()), (200, "a"), "{method}");
        }
    }
    assert!(backend.seen().iter().all(|seen| seen.body == b"abc"));
    assert_eq!(backend.seen().len(), 24, "each was executed once");
}

#[test]
fn a_refused_connection_is_no_attempt_while_there_are_other_endpoints() {
    let backend = Backend::named("a");
    let mut addresses: Vec<_> = (0..7).map(|_| free_address()).collect();
    addresses.push(backend.address);
    let app = App::builder(&addresses).pool("eject.failures = 0\n[pool.app.retry]\nattempts = 1").start();
    for _ in 0..24 {
        assert_eq!(get(app.address, "/").text(), "a");
    }
    let dead = App::builder(&addresses[..7]).pool("eject.failures = 0").start();
    assert_eq!(get(dead.address, "/").field("x-unstick-error"), Some("connect-failed"));
    let retries = dead.metric("unstick_retries_total{pool=\"app\",cause=\"connect-failed\"}");
    assert_eq!(retries, 8.0, "each once, and two more attempts");
}

#[test]
fn an_unanswered_get_moves_to_another_endpoint_and_a_post_does_not() {
    let ((mute, count), backend) = (mute(), Backend::named("a"));
    let app = App::builder(&[mute.address, backend.address]).pool("eject.failures = 0").start();
    for _ in 0..10 {
        assert_eq!(get(app.address, "/").text(), "a");
    }
    assert_eq!(count.load(Relaxed), 5, "round robin tried it every other time");
    let request = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
    let answers: Vec<_> = (0..10).map(|_| exchange(&mut connect(app.address), request)).collect();
    let failed: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert_eq!(failed.len(), count.load(Relaxed) - 5, "a POST that was sent is never sent again");
    assert!(failed.iter().all(|answer| answer.field("x-unstick-error") == Some("upstream-closed")));
    assert!(failed.iter().all(|answer| answer.status == 502) && !failed.is_empty());
}

#[test]
fn a_request_is_tried_three_times_at_most() {
    let mutes: Vec<_> = (0..5).map(|_| mute()).collect();
    let addresses: Vec<_> = mutes.iter().map(|(backend, _)| backend.address).collect();
    let app = App::over(&addresses);
    let response = get(app.address, "/");
    assert_eq!((response.status, response.field("x-unstick-error")), (502, Some("upstream-closed")));
    let tried: Vec<usize> = mutes.iter().map(|(_, count)| count.load(Relaxed)).collect();
    assert_eq!(tried.iter().sum::<usize>(), 3);
    assert_eq!(tried.iter().max(), Some(&1), "each time another endpoint: {tried:?}");
}

#[test]
fn a_stale_connection_is_replaced_by_a_fresh_one() {
    // It closes each connection after its first response without announcing that, like a replica whose keep-alive time
    // is over.
    let backend = Backend::start(|peer| {
        if peer.next().is_some() {
            send(&mut peer.stream, answer("a"));
            peer.stream.shutdown(Shutdown::Both).ok();
        }
    });
    let app = App::builder(&[backend.address]).workers(1).start();
    let mut client = connect(app.address);
    for _ in 0..50 {
        let get = exchange(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!((get.status, get.text().as_str()), (200, "a"));
    }
    assert_eq!(app.endpoint(backend.address).unwrap()["failures"], 0, "the way of keep-alive is nobody's failure");
}

#[test]
fn a_pool_whose_endpoints_are_all_dead_says_so() {
    let app = App::over(&[free_address(), free_address()]);
    let response = get(app.address, "/");
    assert_eq!((response.status, response.field("x-unstick-error")), (502, Some("connect-failed")));
    let app = App::builder(&[free_address()])
        .pool("fail_open_below = \"0%\"\n[pool.app.health]\ninterval = \"100ms\"")
        .start();
    let response = get(app.address, "/");
    assert_eq!((response.status, response.field("x-unstick-error")), (503, Some("no-endpoint")));
    assert_eq!(response.field("retry-after"), Some("1"));
}

#[test]
fn deadlines_end_every_wait_for_a_replica() {
    let silent = Backend::start(|peer| {
        peer.next();
        peer.wait_for_close();
    });
    let half = Backend::start(|peer| {
        peer.next();
        send(&mut peer.stream, "HTTP/1.1 200 OK\r\nContent-Le");
        peer.wait_for_close();
    });
    let post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx";
    for (backend, timeouts, cause) in [
        (&silent, "response_head = \"150ms\"", "upstream-timeout"),
        (&half, "response_head = \"150ms\"", "upstream-timeout"),
        (&silent, "request = \"150ms\"", "request-timeout"),
    ] {
        let app = App::builder(&[backend.address]).timeouts(timeouts).start();
        let response = exchange(&mut connect(app.address), post);
        assert_eq!((response.status, response.field("x-unstick-error")), (504, Some(cause)), "{timeouts}");
        assert_eq!(app.endpoint(backend.address).unwrap()["in_flight"], 0);
    }
}

#[test]
fn a_body_that_stops_coming_is_cut() {
    let stalling = Backend::start(|peer| {
        peer.next();
        send(&mut peer.stream, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        peer.wait_for_close();
    });
    let app = App::builder(&[stalling.address]).timeouts("response_body = \"150ms\"").start();
    let mut client = connect(app.address);
    send(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let (bytes, _) = crate::support::read_to_close(&mut client);
    assert!(crate::support::text(&bytes).ends_with("half"));
    assert_eq!(app.status()["pools"][0]["requests"]["cut"], 1);
}

#[test]
fn an_answer_that_is_not_http_is_a_502() {
    for garbage in [
        "\0\0\0\0garbage\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ] {
        let backend = Backend::start(move |peer| {
            peer.next();
            send(&mut peer.stream, garbage);
        });
        let app = App::builder(&[backend.address]).pool("[pool.app.retry]\nattempts = 1").start();
        let response = get(app.address, "/");
        assert_eq!(response.status, 502, "{garbage:?}");
        assert_eq!(response.field("x-unstick-error"), Some("upstream-invalid"), "{garbage:?}");
    }
}
