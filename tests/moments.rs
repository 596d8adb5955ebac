//! Faults at every byte of an exchange: peers that close, reset or dribble there. ARCHITECTURE.md has the table of
//! expected outcomes.

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::SockRef;

use crate::support::backend::{Backend, Peer};
use crate::support::reader::{self, Trouble};
use crate::support::{App, connect, eventually, read_to_close, send, text};

const ANSWERS: [&str; 2] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n",
];
const REQUESTS: [&str; 3] = [
    "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody",
    "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nIdempotency-Key: k\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n\
        body\r\n0\r\n\r\n",
];
const POOL: &str = "eject.failures = 0\n[pool.app.retry]\nbudget_per_second = 1000";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Close,
    Reset,
}

impl Fault {
    /// A reset goes out when the stream is dropped.
    fn strike(self, stream: &TcpStream) {
        match self {
            Self::Close => stream.shutdown(Shutdown::Both).ok(),
            Self::Reset => SockRef::from(stream).set_linger(Some(Duration::ZERO)).ok(),
        };
    }
}

/// A replica that reads a request, writes this many bytes of a response, and then fails in this way.
struct Broken {
    backend: Backend,
    plan: Arc<Mutex<(&'static str, usize, Fault)>>,
    struck: Arc<AtomicUsize>,
}

impl Broken {
    fn start() -> Self {
        let plan = Arc::new(Mutex::new(("", 0, Fault::Close)));
        let struck = Arc::new(AtomicUsize::new(0));
        let backend = Backend::start({
            let (plan, struck) = (Arc::clone(&plan), Arc::clone(&struck));
            move |peer| {
                if peer.next().is_some() {
                    let (answer, bytes, fault) = *plan.lock().unwrap();
                    struck.fetch_add(1, Relaxed);
                    send(&mut peer.stream, &answer[..bytes]);
                    peer.own();
                    fault.strike(&peer.stream);
                }
            }
        });
        Self { backend, plan, struck }
    }

    /// Sends a request, and waits for the fault if there is to be one. A connection must not end so late after a whole
    /// response that the next request is already on it.
    #[track_caller]
    fn ask(&self, app: &App, request: &str) -> (Vec<u8>, bool) {
        let got = ask(app, request);
        self.backend.wait_for_scripts();
        got
    }
}

/// Sends `request` on a fresh connection. Returns the bytes that came, and whether they ended in order.
fn ask(app: &App, request: &str) -> (Vec<u8>, bool) {
    let mut client = connect(app.address);
    send(&mut client, request);
    read_to_close(&mut client)
}

#[test]
fn an_answer_may_end_at_any_byte() {
    let (broken, good) = (Broken::start(), Backend::named("second"));
    let app = App::builder(&[broken.backend.address, good.address]).pool(POOL).start();
    for answer in ANSWERS {
        let head = answer.find("\r\n\r\n").unwrap() + 4;
        for (bytes, fault) in (0..=answer.len()).flat_map(|bytes| [(bytes, Fault::Close), (bytes, Fault::Reset)]) {
            *broken.plan.lock().unwrap() = (answer, bytes, fault);
            for request in REQUESTS {
                let (struck, executed) = (broken.struck.load(Relaxed), good.seen().len());
                let mut got = broken.ask(&app, request);
                if broken.struck.load(Relaxed) == struck {
                    // It was the turn of the other replica.
                    got = broken.ask(&app, request);
                }
                assert_eq!(broken.struck.load(Relaxed), struck + 1);
                let case = format!("{} {fault:?} after {:?}: {:?}", &request[..5], &answer[..bytes], text(&got.0));
                let is_repeatable = !request.starts_with("POST") || request.contains("Idempotency-Key");
                let whole = reader::response(&got.0, "GET", false);
                match whole {
                    Ok((message, _)) if text(&message.body) == "second" => {
                        // A reset destroys the bytes that the kernel of the other side has not delivered yet.
                        assert!(is_repeatable && (bytes < head || fault == Fault::Reset), "{case}");
                        assert!(good.seen().len() > executed, "{case}");
                    }
                    Ok((message, _)) if text(&message.body) == "first" => {
                        assert_eq!(bytes, answer.len(), "{case}");
                    }
                    Ok((message, _)) => {
                        let cause = message.all("x-unstick-error").next();
                        assert!(cause == Some("upstream-closed") && message.word(1) == "502", "{case}");
                        assert!(bytes < head || fault == Fault::Reset, "{case}");
                        assert!(!is_repeatable, "{case}");
                    }
                    Err(trouble) => {
                        assert_eq!(trouble, Trouble::Unfinished, "{case}");
                        assert!(bytes >= head && bytes < answer.len() || fault == Fault::Reset, "{case}");
                        assert!(!got.1 || !got.0.is_empty(), "{case}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_replica_may_vanish_at_any_byte_of_a_request() {
    // The replica reads this many bytes and closes. A request that may have reached it is repeated only if that does no
    // harm.
    let read = Arc::new(AtomicUsize::new(0));
    let struck = Arc::new(AtomicUsize::new(0));
    let broken = Backend::start({
        let (read, struck) = (Arc::clone(&read), Arc::clone(&struck));
        move |peer: &mut Peer| {
            while peer.ahead.len() < read.load(Relaxed) {
                if peer.fill().is_none() {
                    return;
                }
            }
            struck.fetch_add(1, Relaxed);
            peer.own();
            Fault::Reset.strike(&peer.stream);
        }
    });
    let good = Backend::named("second");
    let app = App::builder(&[broken.address, good.address]).pool(POOL).start();
    // unstick adds fields, so the request that the replica reads is longer than this.
    for (bytes, request) in (1..200).step_by(7).flat_map(|bytes| REQUESTS.map(|request| (bytes, request))) {
        read.store(bytes, Relaxed);
        let (before, executed) = (struck.load(Relaxed), good.seen().len());
        let mut asked = 1;
        let mut got = ask(&app, request);
        if struck.load(Relaxed) == before {
            asked = 2;
            got = ask(&app, request);
        }
        let case = format!("{} reset after {bytes} bytes: {:?}", &request[..5], text(&got.0));
        let message = reader::response(&got.0, "GET", false).unwrap_or_else(|trouble| panic!("{case}: {trouble:?}")).0;
        let is_repeatable = !request.starts_with("POST") || request.contains("Idempotency-Key");
        let expected = if is_repeatable { "200" } else { "502" };
        assert_eq!(message.word(1), expected, "{case}");
        let done = good.seen().len() - executed;
        assert_eq!(done, asked - usize::from(!is_repeatable), "{case}: each was executed once by the other replica");
    }
}

#[test]
fn a_client_may_vanish_at_any_byte() {
    let backend = Backend::named("a");
    let app = App::over(&[backend.address]);
    for (request, fault) in REQUESTS.iter().flat_map(|request| [(request, Fault::Close), (request, Fault::Reset)]) {
        for bytes in 0..request.len() {
            let mut client = connect(app.address);
            send(&mut client, &request[..bytes]);
            fault.strike(&client);
        }
    }
    eventually("everything about them is forgotten", || {
        let in_flight = app.endpoint(backend.address).is_some_and(|endpoint| endpoint["in_flight"] == 0);
        in_flight && app.metric("unstick_connections") == 0.0
    });
    assert!(backend.seen().is_empty(), "no replica saw a whole request: {:?}", backend.seen());
}

#[test]
fn both_may_dribble() {
    let backend = Backend::start(|peer| {
        while peer.next().is_some() {
            for byte in ANSWERS[1].as_bytes().chunks(1) {
                send(&mut peer.stream, byte);
            }
        }
    });
    let app = App::over(&[backend.address]);
    for request in REQUESTS {
        let mut client = connect(app.address);
        for byte in request.as_bytes().chunks(1) {
            send(&mut client, byte);
        }
        let (got, _) = read_to_close(&mut client);
        assert_eq!(reader::response(&got, "GET", false).unwrap().0.body, b"first", "{}", text(&got));
    }
    assert!(backend.seen().iter().zip(REQUESTS).all(|(seen, sent)| sent.starts_with(&seen.line()[..5])));
    assert_eq!(backend.seen().len(), 3);
}
