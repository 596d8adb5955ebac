//! `Expect: 100-continue` (RFC 9110 section 10.1.1): the replica decides whether it wants a body, in every combination
//! of versions.

use std::future::poll_fn;
use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{Request, Response as Head, StatusCode};
use tokio::time::Instant;

use crate::support::backend::{Backend, Peer, answer};
use crate::support::client::{Response, exchange, field, read_response};
use crate::support::h2::{begin, client, get, run, whole};
use crate::support::h2_backend::{Call, H2Backend};
use crate::support::{App, SOON, connect, eventually, pause, read_to_close, send};

/// Shorter than a replica is given for its decision, and longer than the proxy needs for anything.
const WHILE_MS: u64 = 300;

/// A replica that does what the path says, and tells the test what it has seen.
struct Replica {
    address: SocketAddr,
    /// Of each request: `Expect`, then the body, if one was read.
    seen: Mutex<mpsc::Receiver<String>>,
    go_on: Arc<Mutex<bool>>,
    _alive: Box<dyn std::any::Any>,
}

impl Replica {
    #[track_caller]
    fn next(&self) -> String {
        self.seen.lock().unwrap().recv_timeout(SOON).unwrap()
    }

    /// The same, while a client goes on in this task's runtime.
    async fn told(&self) -> String {
        loop {
            match self.seen.lock().unwrap().try_recv() {
                Ok(what) => return what,
                Err(mpsc::TryRecvError::Empty) => {}
                Err(error) => panic!("{error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn h1() -> Self {
        let (teller, seen) = mpsc::channel();
        let (teller, go_on) = (Mutex::new(teller), Arc::new(Mutex::new(false)));
        let gate = Arc::clone(&go_on);
        let backend = Backend::start(move |peer| {
            let tell = |what: String| teller.lock().unwrap().send(what).unwrap();
            let mut was_refused = false;
            while let Some(head) = peer.next_head() {
                tell(field(&head, "expect").unwrap_or("nothing").to_owned());
                let path = head.split(' ').nth(1).unwrap();
                match path.trim_start_matches('/').parse::<u16>() {
                    Ok(202) => {
                        send(
                            &mut peer.stream,
                            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 X\r\nContent-Length: 0\r\n\r\n",
                        );
                        tell(body_h1(peer, &head));
                        continue;
                    }
                    Ok(status) => {
                        was_refused = true;
                        send(&mut peer.stream, format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nno"));
                        continue;
                    }
                    Err(_) if path == "/wanted" => {
                        eventually("the test goes on", || *gate.lock().unwrap());
                        send(&mut peer.stream, "HTTP/1.1 100 Continue\r\n\r\n");
                    }
                    Err(_) => {}
                }
                let body = body_h1(peer, &head);
                send(&mut peer.stream, answer(&body));
                tell(body);
            }
            if was_refused {
                tell("closed".to_owned());
            }
        });
        Self { address: backend.address, seen: Mutex::new(seen), go_on, _alive: Box::new(backend) }
    }

    fn h2() -> Self {
        let (teller, seen) = mpsc::channel();
        let go_on = Arc::new(Mutex::new(false));
        let gate = Arc::clone(&go_on);
        let backend = H2Backend::start(move |call| script_h2(call, teller.clone(), Arc::clone(&gate)));
        Self { address: backend.address, seen: Mutex::new(seen), go_on, _alive: Box::new(backend) }
    }
}

fn body_h1(peer: &mut Peer, head: &str) -> String {
    let length: usize = field(head, "content-length").map_or(0, |length| length.parse().unwrap());
    while peer.ahead.len() < length && peer.fill().is_some() {}
    String::from_utf8(peer.ahead.drain(..).collect()).unwrap()
}

async fn script_h2(mut call: Call, teller: mpsc::Sender<String>, gate: Arc<Mutex<bool>>) {
    let tell = |what: String| teller.send(what).unwrap();
    let expected = call.request.headers().get("expect").map(|value| value.to_str().unwrap().to_owned());
    tell(expected.unwrap_or_else(|| "nothing".to_owned()));
    let path = call.request.uri().path().to_owned();
    let go_on = || Head::builder().status(100).body(()).unwrap();
    match path.trim_start_matches('/').parse::<u16>() {
        Ok(202) => {
            call.respond.send_informational(go_on()).unwrap();
            call.answer(Head::builder().status(202)).send_data(Bytes::new(), true).unwrap();
            tell(String::from_utf8(call.body().await.0).unwrap());
            return;
        }
        Ok(status) => {
            call.answer(Head::builder().status(status)).send_data(Bytes::from_static(b"no"), true).unwrap();
            // The stream ends with its handles.
            if call.body().await.0.is_empty() {
                tell("closed".to_owned());
            }
            return;
        }
        Err(_) if path == "/wanted" => {
            while !*gate.lock().unwrap() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            call.respond.send_informational(go_on()).unwrap();
        }
        Err(_) => {}
    }
    let body = String::from_utf8(call.body().await.0).unwrap();
    tell(body.clone());
    call.say(&body);
}

fn everywhere(test: impl Fn(&App, &Replica)) {
    let (h1, h2) = (Replica::h1(), Replica::h2());
    test(&App::over(&[h1.address]), &h1);
    test(&App::builder(&[h2.address]).pool("protocol = \"h2c\"").start(), &h2);
}

fn post(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a.test\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n")
}

async fn begin_post(client: &SendRequest<Bytes>, path: &str) -> (ResponseFuture, h2::SendStream<Bytes>) {
    let request = Request::post(format!("http://a.test{path}")).header("expect", "100-continue");
    begin(client, request.header("content-length", 5).body(()).unwrap(), false).await
}

async fn interim(response: &mut ResponseFuture) -> Option<StatusCode> {
    poll_fn(|cx| response.poll_informational(cx)).await.map(|head| head.unwrap().status())
}

#[track_caller]
fn assert_silent(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(Duration::from_millis(WHILE_MS))).unwrap();
    let read = stream.read(&mut [0]);
    assert!(read.is_err(), "nothing is said before the replica has decided: {read:?}");
    stream.set_read_timeout(Some(SOON)).unwrap();
}

#[test]
fn the_client_is_told_to_continue_when_the_replica_says_so() {
    everywhere(|app, replica| {
        let mut stream = connect(app.address);
        send(&mut stream, post("/wanted"));
        assert_eq!(replica.next(), "100-continue");
        assert_silent(&mut stream);
        *replica.go_on.lock().unwrap() = true;
        assert_eq!(read_response(&mut stream, false).status, 100);
        let response = exchange(&mut stream, "hello");
        assert_eq!((response.status, response.text(), response.field("connection")), (200, "hello".to_owned(), None));
        assert_eq!(replica.next(), "hello");

        *replica.go_on.lock().unwrap() = false;
        run(async {
            let client = client(app.address).await;
            let (mut response, mut body) = begin_post(&client, "/wanted").await;
            assert_eq!(replica.told().await, "100-continue");
            let early = tokio::time::timeout(Duration::from_millis(WHILE_MS), interim(&mut response)).await;
            assert!(early.is_err(), "nothing is said before the replica has decided: {early:?}");
            *replica.go_on.lock().unwrap() = true;
            assert_eq!(interim(&mut response).await.unwrap(), 100);
            body.send_data(Bytes::from_static(b"hello"), true).unwrap();
            assert_eq!(whole(response).await.unwrap().1, b"hello");
            assert_eq!(replica.told().await, "hello");
        });
    });
}

#[test]
fn a_replica_that_does_not_want_the_body_responds_instead() {
    everywhere(|app, replica| {
        for status in [401, 413, 417, 200] {
            let path = format!("/{status}");
            let mut stream = connect(app.address);
            let response = exchange(&mut stream, &post(&path));
            assert_eq!((response.status, response.text()), (status, "no".to_owned()), "and no 100 before it");
            assert_eq!(response.field("connection"), Some("close"), "the body may come or not");
            assert_eq!(replica.next(), "100-continue");
            // A client that has sent it all the same reads the response.
            send(&mut stream, "hello");
            assert!(read_to_close(&mut stream).0.is_empty());
            assert_eq!(replica.next(), "closed", "the replica waits for a body that does not come");

            run(async {
                let client = client(app.address).await;
                let (mut response, mut body) = begin_post(&client, &path).await;
                assert_eq!(interim(&mut response).await, None);
                let (head, text, _) = whole(response).await.unwrap();
                assert_eq!((head.status().as_u16(), &text[..]), (status, &b"no"[..]));
                body.send_data(Bytes::from_static(b"hello"), true).ok();
                assert_eq!((replica.told().await.as_str(), replica.told().await.as_str()), ("100-continue", "closed"));
                assert_eq!(get(&client, "/other").await.unwrap().0, 200, "the connection goes on");
                assert_eq!((replica.told().await.as_str(), replica.told().await.as_str()), ("nothing", ""));
            });
            if replica.seen.lock().unwrap().try_recv().is_ok() {
                panic!("nothing else was seen");
            }
        }
    });
}

/// Also if the 100 and the response come in one segment: the client hears both.
#[test]
fn a_replica_that_continues_and_responds_at_once_gets_the_body() {
    everywhere(|app, replica| {
        let mut stream = connect(app.address);
        send(&mut stream, post("/202"));
        assert_eq!(read_response(&mut stream, false).status, 100);
        let response = read_response(&mut stream, false);
        assert_eq!((response.status, response.field("connection")), (202, None));
        send(&mut stream, "hello");
        assert_eq!((replica.next().as_str(), replica.next().as_str()), ("100-continue", "hello"));

        run(async {
            let client = client(app.address).await;
            let (mut response, mut body) = begin_post(&client, "/202").await;
            assert_eq!(interim(&mut response).await.unwrap(), 100);
            assert_eq!(response.await.unwrap().status().as_u16(), 202);
            body.send_data(Bytes::from_static(b"hello"), true).unwrap();
            assert_eq!((replica.told().await.as_str(), replica.told().await.as_str()), ("100-continue", "hello"));
        });
    });
}

/// Many applications never say 100.
#[test]
fn a_replica_that_says_nothing_gets_the_body_after_a_while_and_the_next_one_at_once() {
    everywhere(|app, replica| {
        let mut stream = connect(app.address);
        let mut told_after = |path: &str| {
            let began = Instant::now();
            send(&mut stream, post(path));
            assert_eq!(read_response(&mut stream, false).status, 100);
            let took = began.elapsed();
            assert_eq!(exchange(&mut stream, "hello").text(), "hello");
            assert_eq!((replica.next().as_str(), replica.next().as_str()), ("100-continue", "hello"));
            took
        };
        let first = told_after("/silent");
        assert!(first > Duration::from_millis(WHILE_MS), "{first:?}");
        // One in five is not slow for another reason.
        assert!((0..5).any(|_| told_after("/silent") < first / 2), "the first took {first:?}");
        *replica.go_on.lock().unwrap() = true;
        told_after("/wanted");
        let last = told_after("/silent");
        assert!(last > Duration::from_millis(WHILE_MS), "a 100 takes it back: {last:?}");
        *replica.go_on.lock().unwrap() = false;
    });
}

#[test]
fn the_time_for_a_response_is_left_to_a_replica_that_says_nothing() {
    let replica = Replica::h1();
    let app = App::builder(&[replica.address]).timeouts("response_head = \"600ms\"").start();
    let mut stream = connect(app.address);
    send(&mut stream, post("/silent"));
    assert_eq!(read_response(&mut stream, false).status, 100);
    assert_eq!(exchange(&mut stream, "hello").text(), "hello");
}

#[test]
fn without_a_body_or_with_another_word_nothing_is_expected() {
    everywhere(|app, replica| {
        for (head, body) in [
            ("GET / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\n\r\n", ""),
            ("POST / HTTP/1.0\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", "hello"),
            ("POST / HTTP/1.1\r\nHost: a.test\r\nExpect: more\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        ] {
            assert_eq!(exchange(&mut connect(app.address), head).text(), body);
            assert_eq!((replica.next().as_str(), replica.next().as_str()), ("nothing", body));
        }
    });
}

/// Nothing of the body was read, so none of it has to be kept for another attempt.
#[test]
fn an_attempt_that_fails_before_its_100_leaves_the_body_to_the_next_one() {
    let refusing = |status: &'static str| {
        Backend::start(move |peer| {
            if peer.next_head().is_some() && !status.is_empty() {
                send(&mut peer.stream, format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
                peer.wait_for_close();
            }
            peer.own();
        })
    };
    for status in ["", "503"] {
        let (bad, good) = (refusing(status), Replica::h1());
        *good.go_on.lock().unwrap() = true;
        let app = App::builder(&[bad.address, good.address])
            .pool("retry.on_status = [503]")
            .limits("replay = \"0B\"")
            .workers(1)
            .start();
        for _ in 0..4 {
            let mut stream = connect(app.address);
            send(&mut stream, post("/wanted").replace("POST", "PUT"));
            assert_eq!(read_response(&mut stream, false).status, 100, "{status}");
            let response = exchange(&mut stream, "hello");
            assert_eq!((response.status, response.text()), (200, "hello".to_owned()), "{status}");
        }
        assert!(bad.connections() > 0, "it was tried");
    }
}

/// The response of the first replica is kept while the second one is tried, and is better than none.
#[test]
fn a_response_that_was_kept_takes_nothing_of_the_body_of_another_attempt() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let (by_kept, by_broken) = (Arc::clone(&order), Arc::clone(&order));
    let kept = Backend::start(move |peer| {
        while peer.next_head().is_some() {
            by_kept.lock().unwrap().push("kept");
            send(&mut peer.stream, "HTTP/1.1 503 X\r\nContent-Length: 4\r\n\r\nno");
            pause("the other one is tried", 200);
            send(&mut peer.stream, "no");
            peer.wait_for_close();
            by_kept.lock().unwrap().push(if peer.ahead.is_empty() { "clean" } else { "taken" });
        }
    });
    let broken = Backend::start(move |peer| {
        if let Some(head) = peer.next_head() {
            by_broken.lock().unwrap().push("broken");
            send(&mut peer.stream, "HTTP/1.1 100 Continue\r\n\r\n");
            body_h1(peer, &head);
        }
        peer.own();
    });
    let app = App::builder(&[kept.address, broken.address])
        .pool("retry = { on_status = [503], attempts = 2 }\neject = { failures = 0 }")
        .workers(1)
        .start();
    let mut was_first = false;
    for _ in 0..2 {
        order.lock().unwrap().clear();
        let mut stream = connect(app.address);
        send(&mut stream, post("/").replace("POST", "PUT"));
        assert_eq!(read_response(&mut stream, false).status, 100);
        let response = exchange(&mut stream, "hello");
        assert_eq!((response.status, response.text()), (503, "nono".to_owned()));
        eventually("the replicas are done", || order.lock().unwrap().len() == 3);
        was_first |= *order.lock().unwrap() == ["kept", "broken", "clean"];
    }
    assert!(was_first, "{:?}", order.lock().unwrap());
}

/// Two responses could be read as those of two requests, and a body as a request.
#[test]
fn what_follows_a_refused_body_is_never_taken_for_it() {
    everywhere(|app, replica| {
        let mut stream = connect(app.address);
        send(&mut stream, post("/401") + "GET /wanted HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let Response { status, .. } = read_response(&mut stream, false);
        assert_eq!(status, 401);
        assert!(read_to_close(&mut stream).0.is_empty());
        assert_eq!((replica.next().as_str(), replica.next().as_str()), ("100-continue", "closed"));
        pause("another request would come now", 50);
        assert!(replica.seen.lock().unwrap().try_recv().is_err());
    });
}
