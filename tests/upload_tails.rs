//! The last part of an upload whose response is over already: it is not lost with the response.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::time::sleep;
use unstick::app::Ended;

use crate::support::backend::Backend;
use crate::support::client::read_response;
use crate::support::h2::{begin, client, read, run};
use crate::support::h2_backend::{Call, H2Backend};
use crate::support::{App, SOON, connect, eventually, pause, read_until, send, text, try_connect};

const H2C: &str = "protocol = \"h2c\"";

#[derive(Debug, Clone, Copy)]
enum Speaks {
    Http1,
    Http2,
}

/// Uploads in `parts`, with a pause between any two, and reads the response, whose status it returns.
fn upload(speaks: Speaks, at: SocketAddr, path: &str, parts: &[usize], between: Duration) -> u16 {
    let length: usize = parts.iter().sum();
    match speaks {
        Speaks::Http1 => {
            let mut stream = connect(at);
            send(&mut stream, format!("POST {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\n\r\n"));
            for &part in parts {
                send(&mut stream, vec![b'u'; part]);
                pause("an upload takes its time", between.as_millis() as u64);
            }
            read_response(&mut stream, false).status
        }
        Speaks::Http2 => run(async {
            let client = client(at).await;
            let request = Request::post(format!("http://a.test{path}")).body(()).unwrap();
            let (response, mut body) = begin(&client, request, false).await;
            for (nth, &part) in parts.iter().enumerate() {
                let mut rest = Bytes::from(vec![b'u'; part]);
                while !rest.is_empty() {
                    body.reserve_capacity(rest.len());
                    let room = std::future::poll_fn(|cx| body.poll_capacity(cx)).await.unwrap().unwrap();
                    let now = rest.split_to(room.min(rest.len()));
                    body.send_data(now, nth + 1 == parts.len() && rest.is_empty()).unwrap();
                }
                sleep(between).await;
            }
            let (head, mut content) = response.await.unwrap().into_parts();
            read(&mut content).await.unwrap();
            head.status.as_u16()
        }),
    }
}

/// Responds at once, with the status that the path names, and ends its stream when it has the whole upload.
async fn accept(mut call: Call, seen: Sender<usize>) {
    let status = call.request.uri().path()[1..].to_owned();
    let mut head = Response::builder().status(&*status);
    if status != "204" {
        head = head.header("content-length", "2");
    }
    let mut content = call.answer(head);
    if status != "204" {
        content.send_data(Bytes::from_static(b"ok"), false).unwrap();
    }
    seen.send(call.body().await.0.len()).unwrap();
    content.send_data(Bytes::new(), true).ok();
}

#[test]
fn an_upload_goes_on_although_the_stream_of_its_response_has_not_ended() {
    // It takes longer than the end of a response and the rest of a body are waited for.
    let (parts, between) = ([5_000; 12], Duration::from_millis(200));
    let (seen, bytes) = channel();
    let replica = H2Backend::start(move |call| accept(call, seen.clone()));
    let app = App::builder(&[replica.address]).pool(H2C).workers(1).start();
    thread::scope(|scope| {
        for (speaks, status) in [Speaks::Http1, Speaks::Http2].map(|speaks| [(speaks, 202), (speaks, 204)]).concat() {
            let at = app.address;
            scope.spawn(move || {
                assert_eq!(upload(speaks, at, &format!("/{status}"), &parts, between), status, "{speaks:?}");
            });
        }
    });
    for _ in 0..4 {
        assert_eq!(bytes.recv_timeout(SOON).unwrap(), parts.iter().sum::<usize>());
    }
    let outcome = |name| app.metric(&format!("unstick_requests_total{{pool=\"app\",outcome=\"{name}\"}}"));
    eventually("all are counted", || outcome("2xx") == 4.0);
    assert_eq!((outcome("client_gone"), outcome("cut")), (0.0, 0.0));
    eventually("nothing is under way", || app.endpoint(replica.address).unwrap()["in_flight"] == 0);
}

/// The client has sent everything before its response comes, but the replica has not let all of it in.
#[test]
fn what_waits_for_a_window_of_the_replica_is_sent_after_the_response() {
    const WINDOW: usize = 65_535;
    const LENGTH: usize = WINDOW + 1_000;
    let (seen, bytes) = channel();
    let replica = H2Backend::start(move |mut call| {
        let seen = seen.clone();
        async move {
            let mut got = 0;
            while got < WINDOW {
                got += call.request.body_mut().data().await.unwrap().unwrap().len();
            }
            call.answer(Response::builder().status(202)).send_data(Bytes::from_static(b"ok"), true).unwrap();
            sleep(Duration::from_millis(300)).await;
            call.request.body_mut().flow_control().release_capacity(got).unwrap();
            seen.send(got + call.body().await.0.len()).unwrap();
        }
    });
    let app = App::builder(&[replica.address]).pool(H2C).start();
    for speaks in [Speaks::Http1, Speaks::Http2] {
        assert_eq!(upload(speaks, app.address, "/", &[LENGTH], Duration::ZERO), 202);
        assert_eq!(bytes.recv_timeout(SOON).unwrap(), LENGTH, "{speaks:?}");
    }
}

/// As above, with HTTP/1.1 and a replica that does not read.
#[test]
fn what_waits_for_the_reading_of_the_replica_is_sent_after_the_response() {
    // More than a Unix socket holds, less than that and the buffers of a connection together.
    const LENGTH: usize = 400_000;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("replica.sock");
    let listener = UnixListener::bind(&file).unwrap();
    let (seen, bytes) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, seen) = (stream.unwrap(), seen.clone());
            thread::spawn(move || {
                read_until(&mut stream, b"\r\n\r\n");
                pause("the client has sent everything meanwhile", 300);
                stream.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok").unwrap();
                pause("the response has ended meanwhile", 300);
                let mut body = Vec::new();
                stream.take(LENGTH as u64).read_to_end(&mut body).ok();
                seen.send(body.len()).unwrap();
            });
        }
    });
    let app = App::start(&format!("[pool.app]\nbackends = [\"unix:{}\"]\n[[route]]\npool = \"app\"\n", file.display()));
    for speaks in [Speaks::Http1, Speaks::Http2] {
        assert_eq!(upload(speaks, app.address, "/", &[LENGTH], Duration::ZERO), 202);
        assert_eq!(bytes.recv_timeout(SOON).unwrap(), LENGTH, "{speaks:?}");
    }
}

/// A replica that accepts an upload at once, and sends how much of it came until `end`, or until it broke off.
pub(crate) fn accepts_early(end: &'static [u8], seen: Sender<(String, bool)>) -> Backend {
    Backend::start(move |peer| {
        if peer.next_head().is_some_and(|head| head.starts_with("POST")) {
            send(&mut peer.stream, "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok");
            while !peer.ahead.ends_with(end) && peer.fill().is_some() {}
            seen.send((text(&peer.ahead), peer.ahead.ends_with(end))).unwrap();
        }
    })
}

/// The last part lies within the HTTP library then, though its end was not passed on yet.
#[test]
fn a_client_may_leave_with_its_last_byte() {
    let data = "u".repeat(1_000);
    let sized = (format!("Content-Length: {}", data.len() + 2), format!("{data}.."));
    let chunked = ("Transfer-Encoding: chunked".to_owned(), format!("3e8\r\n{data}\r\n0\r\n\r\n"));
    for ((length, body), end) in [(sized, &b".."[..]), (chunked, b"0\r\n\r\n")] {
        let (seen, bodies) = channel();
        let replica = accepts_early(end, seen);
        let app = App::builder(&[replica.address]).workers(1).start();
        for round in 0..20 {
            let mut client = connect(app.address);
            send(&mut client, format!("POST / HTTP/1.1\r\nHost: a.test\r\n{length}\r\n\r\n{}", &body[..9]));
            assert_eq!(read_response(&mut client, false).status, 202);
            send(&mut client, &body[9..]);
            drop(client);
            let (body, is_whole) = bodies.recv_timeout(SOON).unwrap();
            assert!(is_whole, "round {round}, {length}: {} bytes", body.len());
        }
    }
}

/// The same moment, though the client leaves too early. What came is passed on, but not as if it were all.
#[test]
fn an_upload_whose_client_left_too_early_does_not_end_in_order() {
    for (length, part) in [("Content-Length: 1000", ""), ("Transfer-Encoding: chunked", "3e8\r\n")] {
        let (seen, bodies) = channel();
        let replica = accepts_early(b"0\r\n\r\n", seen);
        let app = App::builder(&[replica.address]).workers(1).start();
        for round in 0..20 {
            let mut client = connect(app.address);
            send(&mut client, format!("POST / HTTP/1.1\r\nHost: a.test\r\n{length}\r\n\r\n{part}begin"));
            assert_eq!(read_response(&mut client, false).status, 202);
            send(&mut client, vec![b'u'; 900]);
            drop(client);
            let (body, is_whole) = bodies.recv_timeout(SOON).unwrap();
            assert!(!is_whole && body.matches('u').count() < 995, "round {round}, {length}: {body}");
        }
        eventually("nothing is under way", || app.endpoint(replica.address).unwrap()["in_flight"] == 0);
    }
}

/// A client must not be told that its connection ends: it would stop sending.
#[test]
fn trailers_reach_a_replica_that_has_responded_before() {
    const TRAILERS: &[u8] = b"0\r\nX-Sum: 1\r\n\r\n";
    for (announced, end) in [("Trailer: X-Sum\r\n", &b"0\r\nx-sum: 1\r\n\r\n"[..]), ("", b"0\r\n\r\n")] {
        let (seen, bodies) = channel();
        let replica = accepts_early(end, seen);
        let app = App::builder(&[replica.address]).timeouts("request_body = \"10m\"").start();
        for then in ["leaves", "asks", "is silent"] {
            for parts in [&[TRAILERS][..], &[&TRAILERS[..6], &TRAILERS[6..]]] {
                let mut client = connect(app.address);
                let fields = format!("Host: a.test\r\n{announced}Transfer-Encoding: chunked");
                send(&mut client, format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n5\r\nbegin\r\n"));
                let response = read_response(&mut client, false);
                assert!(response.status == 202 && !response.head.contains("connection: close"), "{}", response.head);
                for part in parts {
                    pause("its end comes later", 20);
                    send(&mut client, part);
                }
                let kept = match then {
                    "leaves" => None,
                    "asks" => {
                        send(&mut client, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
                        Some(client)
                    }
                    _ => Some(client),
                };
                let (body, is_whole) = bodies.recv_timeout(SOON).unwrap();
                assert!(is_whole, "{then}, {announced:?}: {body}");
                drop(kept);
            }
        }
    }
}

/// Clients stop sending when they are told that the connection ends (RFC 9112 section 9.6).
#[test]
fn an_upload_that_is_read_goes_on_in_a_drain_and_its_client_is_told_of_no_end() {
    let (seen, bodies) = channel();
    let (responds, go) = channel();
    let go = Mutex::new(go);
    let replica = Backend::start(move |peer| {
        if peer.next_head().is_some_and(|head| head.starts_with("POST")) {
            go.lock().unwrap().recv_timeout(SOON).unwrap();
            send(&mut peer.stream, "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok");
            while !peer.ahead.ends_with(b"0\r\n\r\n") && peer.fill().is_some() {}
            seen.send(text(&peer.ahead)).unwrap();
        }
    });
    let app = App::builder(&[replica.address]).workers(1).start();
    let mut client = connect(app.address);
    send(&mut client, "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n");
    eventually("the replica has the request", || app.endpoint(replica.address).unwrap()["in_flight"] == 1);
    app.stop();
    eventually("it listens no more", || try_connect(app.address).is_err());
    responds.send(()).unwrap();
    let response = read_response(&mut client, false);
    assert!(response.status == 202 && !response.head.contains("connection: close"), "{}", response.head);
    pause("the client goes on", 100);
    send(&mut client, "3\r\nend\r\n0\r\n\r\n");
    assert_eq!(bodies.recv_timeout(SOON).unwrap(), "5\r\nbegin\r\n3\r\nend\r\n0\r\n\r\n");
    drop(client);
    assert_eq!(app.wait(), Ended::Drained);
}

/// Each was sent whole and responded to, and the replica reads all of them later.
#[test]
fn many_uploads_of_one_client_that_wait_for_their_replica_are_all_passed_on() {
    const LENGTH: usize = 400_000;
    const UPLOADS: usize = 8;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("replica.sock");
    let listener = UnixListener::bind(&file).unwrap();
    let (seen, bytes) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, seen) = (stream.unwrap(), seen.clone());
            thread::spawn(move || {
                read_until(&mut stream, b"\r\n\r\n");
                stream.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok").unwrap();
                pause("the others come meanwhile", 700);
                let mut body = Vec::new();
                stream.take(LENGTH as u64).read_to_end(&mut body).ok();
                seen.send(body.len()).unwrap();
            });
        }
    });
    let app = App::start(&format!("[pool.app]\nbackends = [\"unix:{}\"]\n[[route]]\npool = \"app\"\n", file.display()));
    for is_body_first in [true, false] {
        let mut client = connect(app.address);
        for _ in 0..UPLOADS {
            send(&mut client, format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {LENGTH}\r\n\r\n"));
            if is_body_first {
                send(&mut client, vec![b'u'; LENGTH]);
            }
            let response = read_response(&mut client, false);
            assert!(response.status == 202 && !response.head.contains("connection: close"), "{}", response.head);
            if !is_body_first {
                send(&mut client, vec![b'u'; LENGTH]);
            }
        }
        // No more than four wait at one time.
        assert!(bytes.try_iter().filter(|length| *length == LENGTH).count() >= UPLOADS - 5);
        eventually("all are passed on", || app.status()["pools"][0]["endpoints"][0]["in_flight"] == 0);
        assert!(bytes.try_iter().all(|length| length == LENGTH));
    }
}

/// The upload goes on, or the next request comes, around the time when the client would be given up.
#[test]
fn a_client_that_reads_or_asks_again_is_not_given_up() {
    let (seen, bodies) = channel();
    let replica = accepts_early(b"0\r\nx-sum: 1\r\n\r\n", seen);
    let app = App::builder(&[replica.address]).timeouts("request_body = \"300ms\"").workers(1).start();
    let mut client = connect(app.address);
    let fields = "Host: a.test\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked";
    send(&mut client, format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n5\r\nbegin\r\n"));
    assert_eq!(read_response(&mut client, false).status, 202);
    send(&mut client, "0\r\nX-Sum: 1\r\n\r\n");
    pause("most of the time passes", 220);
    send(&mut client, "POST /next HTTP/1.1\r\n");
    pause("the rest of it passes", 220);
    send(&mut client, "Host: a.test\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(read_response(&mut client, false).status, 202);
    let (body, is_whole) = bodies.recv_timeout(SOON).unwrap();
    assert!(is_whole, "{body}");
}
