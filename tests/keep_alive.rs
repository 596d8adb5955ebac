//! Connections that a replica closes while they are unused.

use std::io::{ErrorKind, Read, Write as _};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use crate::support::backend::{Backend, Peer, answer, signal};
use crate::support::client::{exchange, read_response};
use crate::support::h2_backend::tls;
use crate::support::tls::Authority;
use crate::support::{App, connect, pause, send};

const POST: &str = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx";
const FOR_EVER: &str = "[timeouts]\nupstream_idle = \"1h\"";

/// Whether the other side closes within `patience`. It may send nothing before.
fn is_closed_within(peer: &mut Peer, patience: Duration) -> bool {
    peer.stream.set_read_timeout(Some(patience)).unwrap();
    match peer.stream.read(&mut [0; 1]) {
        Ok(0) => true,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_closed_connection_is_never_used_again() {
    let (closed, was_closed) = signal();
    let backend = Backend::start(move |peer| {
        if peer.next().is_some() {
            send(&mut peer.stream, answer("a"));
            peer.stream.shutdown(Shutdown::Both).ok();
            closed.lock().unwrap().send(()).ok();
        }
    });
    let app = App::builder(&[backend.address]).more(FOR_EVER).workers(1).start();
    let mut client = connect(app.address);
    for round in 0..50 {
        let response = exchange(&mut client, POST);
        assert_eq!((response.status, response.text().as_str()), (200, "a"), "POST {round} met the close");
        was_closed.wait("the replica closes");
    }
    assert_eq!(backend.seen().len(), 50, "each was executed once");
}

#[test]
fn bytes_that_nobody_asked_for_spoil_a_connection() {
    let (sent, was_sent) = signal();
    let backend = Backend::start(move |peer| {
        while peer.next().is_some() {
            send(&mut peer.stream, answer("right"));
            send(&mut peer.stream, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong");
            sent.lock().unwrap().send(()).ok();
        }
    });
    let app = App::builder(&[backend.address]).more(FOR_EVER).workers(1).start();
    let mut client = connect(app.address);
    for _ in 0..20 {
        assert_eq!(exchange(&mut client, POST).text(), "right");
        was_sent.wait("the second answer is there");
    }
    assert_eq!(backend.connections(), 20, "none was used twice");
}

/// They are there when the next request is to be sent, which is sent elsewhere: the client gets its response.
#[test]
fn bytes_that_nobody_asked_for_are_no_response_to_what_was_not_sent() {
    for request in [POST, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let (sent, was_sent) = signal();
        let backend = Backend::start(move |peer| {
            if peer.next().is_some() {
                send(&mut peer.stream, answer("mine"));
                pause("so that it is read by itself", 20);
                send(&mut peer.stream, answer("nobody's"));
                sent.lock().unwrap().send(()).ok();
                // The connection stays open.
                peer.next();
            }
        });
        let app = App::builder(&[backend.address]).more(FOR_EVER).workers(1).start();
        let mut client = connect(app.address);
        for round in 1..=20 {
            assert_eq!(exchange(&mut client, request).text(), "mine", "{round}");
            was_sent.wait("the surplus is sent");
            assert_eq!(backend.seen().len(), round, "the replica has seen every request that was answered");
        }
    }
}

/// The same in TLS, which holds what has come behind a response where the kernel does not see it.
#[test]
fn what_tls_holds_behind_a_response_is_not_the_next_one() {
    let (authority, folder) = (Authority::new("surplus"), tempfile::tempdir().unwrap());
    let (ca, pair) = (folder.path().join("ca.pem"), authority.issue(folder.path(), "replica", &["127.0.0.1"]));
    authority.write(&ca);
    let settings = Arc::new(tls(&pair, &["http/1.1"], None));
    let backend = Backend::start(move |peer| {
        let session = rustls::ServerConnection::new(Arc::clone(&settings)).unwrap();
        let mut stream = rustls::StreamOwned::new(session, peer.stream.try_clone().unwrap());
        let mut read = Vec::new();
        loop {
            let mut part = [0; 4096];
            match stream.read(&mut part) {
                Ok(0) | Err(_) => return,
                Ok(length) => read.extend_from_slice(&part[..length]),
            }
            if read.starts_with(b"HEAD") && read.ends_with(b"\r\n\r\n") {
                // Two records in one write: a server that writes head and body by themselves, also to HEAD.
                let mut records = stream.conn.writer();
                records.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 46\r\n\r\n").unwrap();
                records.write_all(&answer("nobody's")).unwrap();
            } else if read.starts_with(b"GET /long") && read.ends_with(b"\r\n\r\n") {
                // So long that the end of the body is read by itself.
                let mut records = stream.conn.writer();
                records.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n").unwrap();
                records.write_all(&[b'x'; 20_000]).unwrap();
                records.write_all(&answer("nobody's")).unwrap();
            } else if read.ends_with(b"END") || read.starts_with(b"GET /healthz") {
                stream.conn.writer().write_all(&answer("mine")).unwrap();
            } else {
                continue;
            }
            read.clear();
            stream.flush().unwrap();
        }
    });
    let pool = format!("protocol = \"https\"\ntls.ca = \"{}\"", ca.display());
    let app = App::builder(&[backend.address]).pool(&pool).more(FOR_EVER).workers(1).start();
    let mut client = connect(app.address);
    // So long that the request is not written together with others.
    let body = format!("{}END", "x".repeat(3000));
    for round in 1..=10 {
        match round % 2 {
            0 => {
                send(&mut client, "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
                assert_eq!(read_response(&mut client, true).status, 200);
            }
            _ => assert_eq!(exchange(&mut client, "GET /long HTTP/1.1\r\nHost: x\r\n\r\n").body.len(), 20_000),
        }
        let post = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let response = exchange(&mut client, &post);
        assert_eq!((response.status, response.text().as_str()), (200, "mine"), "{round}");
    }
}

/// They are no response, not even the beginning of one, and nothing that precedes one: the request goes elsewhere at
/// once, and is not waited for.
#[test]
fn bytes_that_nobody_asked_for_are_no_part_of_the_next_response() {
    let long = format!("POST / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\nContent-Length: 1\r\n\r\nx", "y".repeat(2000));
    // A short one is written together with others, a long one by itself.
    for request in [&long, POST, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
        for surplus in ["\r\n", "HTTP/1.", "HTTP/1.1 200 OK\r\nX-Of: another", "HTTP/1.1 103 Early Hints\r\n\r\n"] {
            let (sent, was_sent) = signal();
            let backend = Backend::start(move |peer| {
                if peer.next().is_some() {
                    send(&mut peer.stream, answer("mine"));
                    pause("so that it is read by itself", 20);
                    send(&mut peer.stream, surplus);
                    sent.lock().unwrap().send(()).ok();
                    // The connection stays open.
                    if peer.next().is_some() {
                        send(&mut peer.stream, answer("merged"));
                    }
                }
            });
            let app = App::builder(&[backend.address]).more(FOR_EVER).workers(1).start();
            let mut client = connect(app.address);
            for round in 1..=3 {
                let response = exchange(&mut client, request);
                assert_eq!((response.status, response.text().as_str()), (200, "mine"), "{surplus:?} {round}");
                assert!(response.field("x-of").is_none());
                was_sent.wait("the surplus is sent");
                pause("the runtime has heard of it", 50);
            }
            assert_eq!(backend.seen().len(), 3, "{surplus:?}: every request was sent once");
            assert_eq!(app.endpoint(backend.address).unwrap()["failures"], 0, "{surplus:?}");
        }
    }
}

/// The end has come with the response, which does not announce it: no request goes that way, nor is anything learned.
#[test]
fn a_connection_that_ends_with_its_response_is_not_kept() {
    let backend = Backend::start(|peer| {
        if peer.next().is_some() {
            // The kernel holds the response back until its end can go with it, in one segment.
            rustix::net::sockopt::set_tcp_cork(&peer.stream, true).unwrap();
            send(&mut peer.stream, answer("a"));
            peer.stream.shutdown(Shutdown::Write).unwrap();
            peer.wait_for_close();
        }
    });
    let more = format!("{FOR_EVER}\n[pool.app.retry]\nattempts = 1");
    let app = App::builder(&[backend.address]).more(&more).workers(1).start();
    let mut client = connect(app.address);
    for round in 1..=20 {
        assert_eq!(exchange(&mut client, POST).text(), "a", "{round}");
    }
    assert_eq!(backend.connections(), 20);
}

#[test]
fn an_announced_keep_alive_time_is_honoured() {
    let (closed, was_closed) = signal();
    let backend = Backend::start(move |peer| {
        if peer.next().is_some() {
            send(&mut peer.stream, "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1, max=9\r\nContent-Length: 1\r\n\r\na");
            peer.wait_for_close();
            closed.lock().unwrap().send(()).ok();
        }
    });
    let app = App::builder(&[backend.address]).more(FOR_EVER).workers(1).start();
    assert_eq!(exchange(&mut connect(app.address), POST).text(), "a");
    was_closed.wait("the proxy closes it, long before an hour has passed");
}

#[test]
fn an_observed_keep_alive_time_is_learned() {
    let backend = Backend::start(|peer| {
        while peer.next().is_some() {
            send(&mut peer.stream, answer("a"));
            if is_closed_within(peer, Duration::from_millis(700)) {
                return;
            }
            // It closes like a server whose keep-alive time is over.
            peer.stream.shutdown(Shutdown::Both).ok();
        }
    });
    let app = App::builder(&[backend.address]).more(FOR_EVER).workers(1).start();
    assert_eq!(app.endpoint(backend.address).unwrap()["idle_limit_ms"], 3_600_000.0);
    assert_eq!(exchange(&mut connect(app.address), POST).text(), "a");
    crate::support::eventually("the replica's close is noticed", || {
        app.endpoint(backend.address).unwrap()["idle_limit_ms"].as_f64().is_some_and(|limit| limit < 700.0)
    });
}

#[test]
fn an_announcement_holds_until_the_next_response() {
    let backend = Backend::start(|peer| {
        if peer.next().is_some() {
            send(&mut peer.stream, "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 1\r\n\r\na");
        }
        peer.serve(|_| answer("b"));
    });
    let app = App::builder(&[backend.address]).more(FOR_EVER).workers(1).start();
    let mut client = connect(app.address);
    assert_eq!(exchange(&mut client, POST).text(), "a");
    assert_eq!(exchange(&mut client, POST).text(), "b", "on the same connection, and without an announcement");
    pause("longer than what was announced before", 1500);
    assert_eq!(exchange(&mut client, POST).text(), "b");
    assert_eq!(backend.connections(), 1);
}

/// A kept connection that the replica was about to close says nothing about the replica.
#[test]
fn a_single_attempt_is_not_used_up_by_a_kept_connection_that_was_closed() {
    let backend = Backend::start(|peer| {
        // Each connection brings one response, and ends when the next request comes.
        if peer.next().is_some() {
            send(&mut peer.stream, answer("a"));
            peer.next();
            peer.stream.shutdown(Shutdown::Both).ok();
        }
    });
    let pool = "[pool.app.retry]\nattempts = 1";
    let app = App::builder(&[backend.address]).pool(pool).more(FOR_EVER).workers(1).start();
    let mut client = connect(app.address);
    for _ in 0..5 {
        assert_eq!(exchange(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").text(), "a");
    }
    assert_eq!((backend.connections(), backend.seen().len()), (5, 9));
    assert_eq!(exchange(&mut client, POST).field("x-unstick-error"), Some("upstream-closed"), "it may have arrived");
}

/// A replica that ends closes all connections, and their ages say nothing about its successor.
#[test]
fn what_closes_have_taught_is_forgotten_when_connections_are_refused() {
    let backend = Backend::start(|peer| {
        if peer.next().is_some() {
            send(&mut peer.stream, answer("a"));
            pause("the age at which it ends", 300);
            peer.stream.shutdown(Shutdown::Both).ok();
        }
    });
    let address = backend.address;
    let app = App::builder(&[address]).more(FOR_EVER).workers(1).start();
    let limit = || app.endpoint(address).unwrap()["idle_limit_ms"].as_f64().unwrap();
    assert_eq!(exchange(&mut connect(app.address), POST).text(), "a");
    crate::support::eventually("the close is noticed", || limit() < 1000.0);
    backend.kill();
    assert_eq!(exchange(&mut connect(app.address), POST).field("x-unstick-error"), Some("connect-failed"));
    assert_eq!(limit(), 3_600_000.0);
}

/// A crash in the middle of a request says nothing about how long the replica keeps an unused connection.
#[test]
fn a_crash_teaches_nothing() {
    let backend = Backend::start(|peer| {
        if peer.next().is_some() {
            send(&mut peer.stream, answer("a"));
        }
        if peer.next().is_some() {
            pause("a close this long after the request was sent is no stale connection", 300);
            peer.stream.shutdown(Shutdown::Both).ok();
        }
    });
    let app = App::builder(&[backend.address]).more(FOR_EVER).workers(1).start();
    let mut client = connect(app.address);
    assert_eq!(exchange(&mut client, POST).text(), "a");
    pause("nothing is learned from a connection that was unused for less than 100 ms", 300);
    assert_eq!(exchange(&mut client, POST).field("x-unstick-error"), Some("upstream-closed"));
    assert_eq!(backend.connections(), 1, "the second request met the crash on the used connection");
    assert_eq!(app.endpoint(backend.address).unwrap()["idle_limit_ms"], 3_600_000.0);
}
