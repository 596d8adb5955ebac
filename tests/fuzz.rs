//! Mutated messages from both sides go through real sockets. A reader that forgives nothing judges them.
//!
//! It is short by default. `UNSTICK_FUZZ_CASES=1000000 UNSTICK_FUZZ_SEED=7 cargo test --release fuzz` runs for long. A
//! failure shows the bytes that caused it.

use std::env;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;

use fastrand::Rng;

use crate::support::backend::{Backend, Peer, answer};
use crate::support::reader::{self, Message, Trouble};
use crate::support::{App, connect, read_to_close, send, text};

/// Threads, each with a proxy and a replica of its own. About every third case waits for a timeout.
const LANES: u64 = 12;
const CASES: u64 = 600;
/// The number of cases that share a proxy and a replica.
const ROUND: u64 = 300;

/// Unfinished messages end with these deadlines, so they are short. When a machine stands still for this long, a case
/// proves less but does not fail.
const TIMEOUTS: &str = "[timeouts]\nrequest_head = \"800ms\"\nrequest_body = \"800ms\"\nclient_idle = \"800ms\"\n\
    response_head = \"800ms\"\nresponse_body = \"800ms\"\n";
/// A replica that closes after its response may do so as the next request arrives. That request is repeated.
const POOL: &str = "eject.failures = 0\n[pool.app.retry]\nattempts = 2\nbudget_per_second = 1000";

const REQUESTS: [&str; 8] = [
    "GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
    "HEAD /b?c=d HTTP/1.1\r\nHost: shop.example.com:80\r\nAccept: */*\r\n\r\n",
    "POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    "PUT /d HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\
        X-Sum: 1\r\n\r\n",
    "POST /e HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    "GET /f HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, X-A\r\nX-A: 1\r\nTE: trailers\r\n\r\n",
    "OPTIONS /g HTTP/1.1\r\nhost: x\r\n\
        X-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n",
    "DELETE /h HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nIdempotency-Key: k\r\n\r\n",
];

const ANSWERS: [&str; 8] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end",
    "HTTP/1.0 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\
        Connection: close\r\n\r\nok",
    "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 500 Oh no\r\nContent-Length: 0\r\nKeep-Alive: timeout=5\r\nConnection: keep-alive\r\n\r\n",
];

const PIECES: [&[u8]; 30] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b":",
    b" ",
    b"\t",
    b";",
    b",",
    b"-",
    b"+",
    b"0x",
    b"0",
    b"9",
    b"\x80",
    b"\x7f",
    b"ffffffffffffffff",
    b"HTTP/1.0",
    b"\r\nContent-Length: 5",
    b"\r\nContent-Length: 0",
    b"\r\nTransfer-Encoding: chunked",
    b"\r\nTransfer-Encoding : chunked",
    b"\r\nTransfer-Encoding: gzip",
    b"\r\nConnection: close",
    b"\r\nHost: y",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"\r\n folded",
    b"GET /inner HTTP/1.1\r\nHost: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
];

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

/// Runs `lane` in several threads, each with its own dice and its share of the cases.
fn in_lanes(lane: impl Fn(&mut Rng, u64) + Sync) {
    let seed = number("UNSTICK_FUZZ_SEED", 1);
    let cases = number("UNSTICK_FUZZ_CASES", CASES).div_ceil(LANES);
    thread::scope(|scope| {
        for number in 0..LANES {
            let lane = &lane;
            scope.spawn(move || {
                let mut dice = Rng::with_seed(seed * 1000 + number);
                // Replicas keep their connections until they are dropped.
                let rounds = (0..cases).step_by(ROUND as usize).map(|done| ROUND.min(cases - done));
                rounds.for_each(|cases| lane(&mut dice, cases));
            });
        }
    });
}

/// Changes a message at up to three places, or not at all.
fn mutate(bytes: &mut Vec<u8>, dice: &mut Rng) {
    for _ in 0..dice.usize(..4) {
        let at = dice.usize(..=bytes.len());
        let end = (at + dice.usize(..12)).min(bytes.len());
        match dice.u8(..6) {
            0 if at < bytes.len() => bytes[at] = dice.u8(..),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy).for_each(drop);
            }
            3 if dice.u8(..4) == 0 => bytes.truncate(at),
            _ => bytes.splice(at..at, PIECES[dice.usize(..PIECES.len())].iter().copied()).for_each(drop),
        }
    }
}

fn some<'a>(seeds: &[&'a str], dice: &mut Rng) -> &'a [u8] {
    seeds[dice.usize(..seeds.len())].as_bytes()
}

/// What a replica read: requests, and the first thing that was not a request.
#[derive(Default)]
struct Log {
    requests: Vec<Message>,
    wrong: Option<&'static str>,
}

/// Responds to what the reader accepts, and records the rest.
fn record(peer: &mut Peer, log: &Mutex<Log>) {
    loop {
        match reader::request(&peer.ahead) {
            Ok((message, used)) => {
                peer.ahead.drain(..used);
                let body = if message.word(0) == "HEAD" { "" } else { "ok" };
                let answer = format!("HTTP/1.1 200 OK\r\nX-Replica: 1\r\nContent-Length: 2\r\n\r\n{body}");
                log.lock().unwrap().requests.push(message);
                send(&mut peer.stream, answer);
            }
            Err(Trouble::Unfinished) => {
                if peer.fill().is_none() {
                    return;
                }
            }
            Err(Trouble::Wrong(what)) => {
                log.lock().unwrap().wrong = Some(what);
                return;
            }
        }
    }
}

/// The requests whose framing is beyond doubt. They must reach a replica unchanged.
fn undoubted(mut bytes: &[u8]) -> Vec<Message> {
    let plain = |text: &str, also: &[u8]| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || also.contains(&byte));
    let mut messages = Vec::new();
    while let Ok((message, used)) = reader::request(bytes) {
        let is_plain = message.word(1).starts_with('/')
            && plain(message.word(1), b"/?=.:-")
            && message.all("host").all(|host| {
                let (name, port) = host.split_once(':').unwrap_or((host, "80"));
                !name.is_empty() && plain(name, b".-") && port.parse::<u16>().is_ok()
            })
            && !["CONNECT", "TRACE"].contains(&message.word(0));
        let may_end = message.all("connection").any(|value| !value.starts_with("keep-alive"))
            || message.fields.iter().any(|(name, _)| ["upgrade", "expect"].contains(&name.as_str()));
        if !is_plain || may_end {
            break;
        }
        messages.push(message);
        bytes = &bytes[used..];
    }
    messages
}

#[test]
fn no_request_is_read_in_two_ways() {
    in_lanes(|dice, cases| {
        let log = Arc::new(Mutex::new(Log::default()));
        let backend = Backend::start({
            let log = Arc::clone(&log);
            move |peer| record(peer, &log)
        });
        let app = App::builder(&[backend.address]).pool(POOL).more(TIMEOUTS).workers(1).start();
        let mut compared = 0;
        for case in 0..cases {
            let mut bytes = Vec::new();
            for _ in 0..dice.usize(1..4) {
                bytes.extend(some(&REQUESTS, dice));
            }
            if case > 0 {
                mutate(&mut bytes, dice);
            }
            bytes.extend(b"GET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let mut client = connect(app.address);
            send(&mut client, &bytes);
            let (answers, _) = read_to_close(&mut client);
            let (shown, answers) = (text(&bytes), text(&answers));
            let seen = std::mem::take(&mut *log.lock().unwrap());
            assert_eq!(seen.wrong, None, "a replica was sent this because of {shown:?}");
            if ["HTTP/1.1 408", "HTTP/1.1 504"].iter().any(|late| answers.contains(late)) {
                continue;
            }
            assert_eq!(answers.matches("x-replica: 1").count(), seen.requests.len(), "{shown:?}: {answers:?}");
            let expected = undoubted(&bytes);
            assert!(seen.requests.len() >= expected.len(), "{shown:?}: {answers:?}: {:?}", seen.requests);
            for (sent, seen) in expected.iter().zip(&seen.requests) {
                assert_eq!((sent.word(0), sent.word(1), &sent.body), (seen.word(0), seen.word(1), &seen.body));
                compared += 1;
            }
        }
        assert!(compared >= cases / 4, "only {compared} requests were free of doubt in {cases} cases");
    });
}

#[test]
fn no_answer_is_completed_or_mixed_with_another() {
    in_lanes(|dice, cases| {
        let next = Arc::new(Mutex::new((Vec::new(), true)));
        let backend = Backend::start({
            let next = Arc::clone(&next);
            move |peer| {
                while let Some(seen) = peer.next() {
                    if seen.line().contains("/control") {
                        send(&mut peer.stream, answer("control"));
                        continue;
                    }
                    let (bytes, is_closed) = next.lock().unwrap().clone();
                    send(&mut peer.stream, bytes);
                    if is_closed {
                        peer.stream.shutdown(Shutdown::Both).ok();
                        return;
                    }
                }
            }
        });
        let app = App::builder(&[backend.address]).pool(POOL).more(TIMEOUTS).workers(1).start();
        let mut compared = 0;
        for case in 0..cases {
            let mut bytes = some(&ANSWERS, dice).to_vec();
            if case > 0 {
                mutate(&mut bytes, dice);
            }
            let is_closed = case == 0 || dice.u8(..4) > 0;
            let method = ["GET", "GET", "HEAD", "POST"][dice.usize(..4)];
            *next.lock().unwrap() = (bytes.clone(), is_closed);
            compared += u64::from(one_answer(&app, method, &bytes, is_closed));
        }
        assert!(compared >= cases / 4, "only {compared} answers were passed on in {cases} cases");
    });
}

/// Sends a request whose response has these bytes, and judges what comes back. Returns whether the response was passed
/// on.
fn one_answer(app: &App, method: &str, bytes: &[u8], is_closed: bool) -> bool {
    let shown = format!("{method} {:?} closed: {is_closed}", text(bytes));
    let mut client = connect(app.address);
    send(&mut client, format!("{method} /fuzz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    let (got, in_order) = read_to_close(&mut client);
    let mut control = connect(app.address);
    send(&mut control, "GET /control HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let (after, _) = read_to_close(&mut control);
    let after = reader::response(&after, "GET", true).unwrap_or_else(|trouble| panic!("{shown}: {trouble:?}")).0;
    assert_eq!(text(&after.body), "control", "{shown} changed the next answer");

    let got_whole = reader::response(&got, method, in_order);
    if let Err(Trouble::Wrong(what)) = got_whole {
        panic!("{shown}: the client was sent {what}: {:?}", text(&got));
    }
    let is_ours = got_whole.as_ref().is_ok_and(|(message, _)| message.all("x-unstick-error").next().is_some());
    match reader::response(bytes, method, is_closed) {
        Ok((sent, _)) if !is_ours => {
            let (got, used) = got_whole.unwrap_or_else(|trouble| panic!("{shown}: {trouble:?}"));
            assert_eq!((sent.word(1), text(&sent.body)), (got.word(1), text(&got.body)), "{shown}");
            assert!(used > 0);
            true
        }
        Err(Trouble::Unfinished) => {
            assert!(is_ours || !in_order || got_whole.is_err(), "{shown} was completed: {:?}", text(&got));
            false
        }
        // A response of the proxy itself, or bytes that a stricter reader than that of the proxy refuses.
        _ => false,
    }
}
