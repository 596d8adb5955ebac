//! More requests than the replicas may have, and more connections and descriptors than there are.

use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::backend::{Backend, answer, patient};
use crate::support::client::{Response, exchange, get, read_response};
use crate::support::{App, SOON, begin, connect, eventually, free_address, send};

fn waiting(app: &App) -> u64 {
    app.status()["pools"][0]["waiting"].as_u64().unwrap()
}

#[test]
fn an_endpoint_never_has_more_than_it_may_and_the_others_wait() {
    let (backend, was_asked, go) = patient();
    for balance in ["round-robin", "least-connections", "p2c", "peak-ewma", "random"] {
        let pool = format!("balance = \"{balance}\"\nmax_requests = 1\nqueue.timeout = \"1m\"");
        let app = App::builder(&[backend.address]).pool(&pool).workers(2).start();
        let mut clients: Vec<TcpStream> = (0..6).map(|_| begin(&app)).collect();
        eventually("five wait", || waiting(&app) == 5);
        for left in (0..6).rev() {
            was_asked.recv_timeout(SOON).unwrap();
            assert!(was_asked.try_recv().is_err(), "one at a time");
            assert_eq!(app.endpoint(backend.address).unwrap()["in_flight"], 1);
            go.send(()).unwrap();
            eventually("the next one's turn", || waiting(&app) <= left);
        }
        assert!(clients.iter_mut().all(|client| read_response(client, false).text() == "a"), "{balance}");
    }
}

#[test]
fn who_waits_gets_the_pool_as_it_is_when_its_turn_comes() {
    let (old, was_asked, go) = patient();
    let new = Backend::named("new");
    let pool = "max_requests = 1\nqueue.timeout = \"1m\"";
    let app = App::builder(&[old.address]).pool(pool).workers(1).start();
    let mut first = begin(&app);
    was_asked.recv_timeout(SOON).unwrap();
    let mut others: Vec<TcpStream> = (0..3).map(|_| begin(&app)).collect();
    eventually("three wait", || waiting(&app) == 3);
    app.apply(&App::builder(&[new.address]).pool(pool).config());
    assert!(others.iter_mut().all(|client| read_response(client, false).text() == "new"));
    go.send(()).unwrap();
    assert_eq!(read_response(&mut first, false).text(), "a");
    assert!(was_asked.try_recv().is_err(), "the one that has left gets nothing more");
}

#[test]
fn a_full_queue_and_a_long_wait_are_told_at_once() {
    let (backend, was_asked, go) = patient();
    let pool = "max_requests = 1\nqueue = { size = 1, timeout = \"300ms\" }";
    let app = App::builder(&[backend.address]).pool(pool).workers(1).start();
    let mut first = begin(&app);
    was_asked.recv_timeout(SOON).unwrap();
    let mut second = begin(&app);
    eventually("the second waits", || waiting(&app) == 1);
    let is_overload = |response: &Response| {
        assert_eq!((response.status, response.field("x-unstick-error")), (503, Some("overloaded")));
        assert_eq!(response.field("retry-after"), Some("1"));
    };
    is_overload(&get(app.address, "/"));
    is_overload(&read_response(&mut second, false));
    go.send(()).unwrap();
    assert_eq!(read_response(&mut first, false).text(), "a");
    assert_eq!(waiting(&app), 0);
    assert!(was_asked.try_recv().is_err(), "who was refused never reached the replica");
}

#[test]
fn a_wait_for_endpoints_that_have_gone_down_is_no_overload() {
    let (backend, was_asked, go) = patient();
    let pool = "max_requests = 1\nqueue.timeout = \"1s\"";
    let app = App::builder(&[backend.address]).pool(pool).workers(1).start();
    let mut first = begin(&app);
    was_asked.recv_timeout(SOON).unwrap();
    let mut second = begin(&app);
    eventually("the second waits", || waiting(&app) == 1);
    let backends = format!("[{{ address = \"{}\", state = \"drain\" }}]", backend.address);
    app.apply(&format!("[pool.app]\nbackends = {backends}\n{pool}"));
    let response = read_response(&mut second, false);
    assert_eq!((response.status, response.field("x-unstick-error")), (503, Some("no-endpoint")));
    go.send(()).unwrap();
    assert_eq!(read_response(&mut first, false).text(), "a");
}

#[test]
fn a_full_endpoint_is_waited_for_rather_than_a_dead_one_tried_again() {
    let (backend, was_asked, go) = patient();
    let dead = free_address();
    let pool = "max_requests = 1\nqueue.timeout = \"1m\"\neject.failures = 0";
    let app = App::builder(&[dead, backend.address]).pool(pool).workers(2).start();
    let mut clients: Vec<TcpStream> = (0..4).map(|_| begin(&app)).collect();
    eventually("three wait", || waiting(&app) == 3);
    for _ in 0..4 {
        was_asked.recv_timeout(SOON).unwrap();
        go.send(()).unwrap();
    }
    assert!(clients.iter_mut().all(|client| read_response(client, false).text() == "a"));
}

#[test]
fn a_client_that_leaves_gives_up_its_place() {
    let (backend, was_asked, go) = patient();
    let pool = "max_requests = 1\nqueue.timeout = \"1m\"";
    let app = App::builder(&[backend.address]).pool(pool).workers(1).start();
    let mut first = begin(&app);
    was_asked.recv_timeout(SOON).unwrap();
    let leaving = begin(&app);
    eventually("it waits", || waiting(&app) == 1);
    drop(leaving);
    eventually("its place is free", || waiting(&app) == 0);
    let mut last = begin(&app);
    go.send(()).unwrap();
    go.send(()).unwrap();
    assert_eq!(read_response(&mut first, false).text(), "a");
    assert_eq!(read_response(&mut last, false).text(), "a");
    assert_eq!(backend.seen().len(), 2);
}

#[test]
fn a_repeated_request_does_not_wait_for_itself() {
    let count = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&count);
    let replica = Backend::start(move |peer| {
        while peer.next().is_some() {
            let mut count = counted.lock().unwrap();
            *count += 1;
            if *count == 1 {
                peer.stream.shutdown(std::net::Shutdown::Both).ok();
                return;
            }
            send(&mut peer.stream, answer("a"));
        }
    });
    let app = App::builder(&[replica.address]).pool("max_requests = 1").workers(1).start();
    assert_eq!(get(app.address, "/").text(), "a");
    assert_eq!(*count.lock().unwrap(), 2);
}

#[test]
fn many_at_once_all_get_their_turn() {
    let backends = [Backend::named("a"), Backend::named("b")];
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let pool = "max_requests = 2\nqueue = { size = 1000, timeout = \"1m\" }";
    let app = App::builder(&addresses).pool(pool).workers(2).start();
    thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                let mut client = connect(app.address);
                for _ in 0..50 {
                    assert_eq!(exchange(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
                }
            });
        }
    });
    assert_eq!(backends.iter().map(|backend| backend.seen().len()).sum::<usize>(), 1200);
    assert_eq!(waiting(&app), 0);
}

#[test]
fn an_address_holds_as_many_connections_as_it_may() {
    let backend = Backend::named("a");
    let app = App::builder(&[backend.address]).limits("connections_per_address = 3").workers(2).start();
    let mut held: Vec<TcpStream> = (0..3).map(|_| connect(app.address)).collect();
    let is_served = |client: &mut TcpStream| exchange(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").text() == "a";
    assert!(held.iter_mut().all(is_served));
    let mut refused = connect(app.address);
    let (bytes, _) = crate::support::read_to_close(&mut refused);
    assert!(bytes.is_empty());
    assert_eq!(app.metric("unstick_refused_connections_total"), 1.0);
    held.pop();
    eventually("there is room again", || {
        let mut client = connect(app.address);
        send(&mut client, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        !crate::support::read_to_close(&mut client).0.is_empty()
    });
}
