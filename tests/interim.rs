//! Interim responses (RFC 9110 section 15.2): 103 (Early Hints) and others of its kind, in every combination of
//! versions.

use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, mpsc};

use http::{Request, Response as Head};
use tokio::sync::mpsc::unbounded_channel;

use crate::support::backend::{Backend, answer};
use crate::support::client::{Response, read_response};
use crate::support::h2::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, begin, client, frame, next_frame, run, whole,
};
use crate::support::h2_backend::H2Backend;
use crate::support::{App, SOON, connect, pause, pool_of, send};

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nConnection: x-hop\r\nX-Hop: 1\r\n\
    Content-Length: 5\r\n\r\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// A replica that sends hints for each request, and its response when it is told to.
struct Hinting {
    address: SocketAddr,
    go_on: Box<dyn Fn()>,
    _alive: Box<dyn std::any::Any>,
}

fn hinting_h1() -> Hinting {
    let (told, go_on) = mpsc::channel::<()>();
    let go_on = Mutex::new(go_on);
    let backend = Backend::start(move |peer| {
        while peer.next_head().is_some() {
            send(&mut peer.stream, format!("{HINTS}HTTP/1.1 199 Odd\r\n\r\n"));
            go_on.lock().unwrap().recv_timeout(SOON).unwrap();
            send(&mut peer.stream, answer("ok"));
        }
    });
    let go_on = Box::new(move || told.send(()).unwrap());
    Hinting { address: backend.address, go_on, _alive: Box::new(backend) }
}

fn hinting_h2() -> Hinting {
    let (told, go_on) = unbounded_channel::<()>();
    let go_on = std::sync::Arc::new(tokio::sync::Mutex::new(go_on));
    let backend = H2Backend::start(move |mut call| {
        let go_on = std::sync::Arc::clone(&go_on);
        async move {
            let hints = Head::builder().status(103).header("link", "</a>; rel=preload").body(()).unwrap();
            call.respond.send_informational(hints).unwrap();
            call.respond.send_informational(Head::builder().status(199).body(()).unwrap()).unwrap();
            go_on.lock().await.recv().await.unwrap();
            call.say("ok");
        }
    });
    let go_on = Box::new(move || told.send(()).unwrap());
    Hinting { address: backend.address, go_on, _alive: Box::new(backend) }
}

fn everywhere(test: impl Fn(&App, &Hinting)) {
    let (h1, h2) = (hinting_h1(), hinting_h2());
    test(&App::over(&[h1.address]), &h1);
    test(&App::builder(&[h2.address]).pool("protocol = \"h2c\"").start(), &h2);
}

#[track_caller]
fn assert_hints(head: &Response) {
    assert_eq!((head.status, head.field("link")), (103, Some("</a>; rel=preload")), "{}", head.head);
    assert_eq!((head.field("connection"), head.field("x-hop")), (None, None), "{}", head.head);
    assert_eq!(head.field("content-length"), None, "{}", head.head);
}

#[test]
fn hints_reach_a_client_of_http1_before_the_response_is_there() {
    everywhere(|app, replica| {
        let mut stream = connect(app.address);
        for _ in 0..3 {
            send(&mut stream, GET);
            assert_hints(&read_response(&mut stream, false));
            assert_eq!(read_response(&mut stream, false).status, 199);
            (replica.go_on)();
            let response = read_response(&mut stream, false);
            assert_eq!((response.status, response.text()), (200, "ok".to_owned()));
        }
    });
}

#[test]
fn hints_reach_a_client_of_http2_before_the_response_is_there() {
    everywhere(|app, replica| {
        run(async {
            let client = client(app.address).await;
            for _ in 0..3 {
                let request = Request::get("http://a.test/").body(()).unwrap();
                let (mut response, _) = begin(&client, request, true).await;
                let hints = poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
                assert_eq!(hints.status().as_u16(), 103);
                assert_eq!(hints.headers()["link"], "</a>; rel=preload");
                assert!(!hints.headers().contains_key("x-hop"));
                let odd = poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
                assert_eq!(odd.status().as_u16(), 199);
                (replica.go_on)();
                let (head, body, _) = whole(response).await.unwrap();
                assert_eq!((head.status().as_u16(), &body[..]), (200, &b"ok"[..]));
            }
        });
    });
}

#[test]
fn a_client_of_http10_gets_only_the_response() {
    everywhere(|app, replica| {
        let mut stream = connect(app.address);
        send(&mut stream, "GET / HTTP/1.0\r\nHost: a.test\r\n\r\n");
        (replica.go_on)();
        let response = read_response(&mut stream, false);
        assert_eq!((response.status, response.text()), (200, "ok".to_owned()));
    });
}

/// The replica's hints and its response in one segment.
#[test]
fn hints_that_come_with_their_response_stand_before_it() {
    let backend = Backend::start(|peer| peer.serve(|_| [HINTS.as_bytes(), &answer("ok")].concat()));
    let app = App::over(&[backend.address]);
    let mut stream = connect(app.address);
    // Requests in a row, too.
    send(&mut stream, GET.repeat(3));
    for _ in 0..3 {
        assert_hints(&read_response(&mut stream, false));
        assert_eq!(read_response(&mut stream, false).text(), "ok");
    }
    run(async {
        let request = Request::get("http://a.test/").body(()).unwrap();
        let (mut response, _) = begin(&client(app.address).await, request, true).await;
        let hints = poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
        assert_eq!(hints.status().as_u16(), 103);
        assert_eq!(whole(response).await.unwrap().1, b"ok");
    });
}

#[test]
fn hints_pass_while_the_request_body_is_being_sent() {
    let backend = Backend::start(|peer| {
        while let Some(head) = peer.next_head() {
            send(&mut peer.stream, HINTS);
            let length: usize = crate::support::client::field(&head, "content-length").unwrap().parse().unwrap();
            while peer.ahead.len() < length && peer.fill().is_some() {}
            peer.ahead.drain(..length);
            send(&mut peer.stream, answer("ok"));
        }
    });
    let app = App::over(&[backend.address]);
    let mut stream = connect(app.address);
    for expect in ["", "Expect: 100-continue\r\n"] {
        send(&mut stream, format!("POST / HTTP/1.1\r\nHost: a.test\r\n{expect}Content-Length: 3\r\n\r\n"));
        let mut interims = vec![read_response(&mut stream, false)];
        if !expect.is_empty() {
            interims.push(read_response(&mut stream, false));
        }
        let statuses: Vec<u16> = interims.iter().map(|interim| interim.status).collect();
        assert!(statuses.contains(&103) && statuses.contains(&100) != expect.is_empty(), "{statuses:?}");
        send(&mut stream, "abc");
        assert_eq!(read_response(&mut stream, false).text(), "ok");
    }
}

/// The connection still holds the end of the first response when the hints for the second one come.
#[test]
fn hints_never_get_into_the_middle_of_an_earlier_response() {
    let long = "x".repeat(8 << 20);
    let length = long.len();
    let backend = Backend::start(move |peer| {
        peer.serve(|seen| match seen.line().starts_with("GET /long") {
            true => answer(&long),
            false => [HINTS.as_bytes(), &answer("ok")].concat(),
        });
    });
    let app = App::over(&[backend.address]);
    for pause_ms in [0, 300] {
        let mut stream = connect(app.address);
        send(&mut stream, format!("{}{GET}{GET}", GET.replace("GET / ", "GET /long ")));
        pause("the client does not read", pause_ms);
        assert_eq!(read_response(&mut stream, false).body, vec![b'x'; length]);
        for _ in 0..2 {
            let mut response = read_response(&mut stream, false);
            if response.status == 103 {
                assert_hints(&response);
                response = read_response(&mut stream, false);
            }
            assert_eq!((response.status, response.text()), (200, "ok".to_owned()));
        }
    }
}

/// A Unix socket has room for less than one of these. What comes while there is none waits, or is left out.
#[test]
fn hints_that_the_client_has_no_room_for_arrive_whole_or_not_at_all() {
    const LONG: usize = 240_000;
    let (told, go_on) = unbounded_channel::<()>();
    let go_on = std::sync::Arc::new(tokio::sync::Mutex::new(go_on));
    let backend = H2Backend::start(move |mut call| {
        let go_on = std::sync::Arc::clone(&go_on);
        async move {
            for _ in 0..3 {
                let hints = Head::builder().status(103).header("link", "x".repeat(LONG)).body(()).unwrap();
                call.respond.send_informational(hints).unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            go_on.lock().await.recv().await.unwrap();
            call.say("ok");
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.sock");
    let listen = format!("[listen.web]\naddress = \"unix:{}\"\n", file.display());
    let _app = App::start(&format!("{listen}{}", pool_of(&[backend.address], "protocol = \"h2c\"", "")));
    for reads_before_the_response in [true, false] {
        let mut stream = UnixStream::connect(&file).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(GET.as_bytes()).unwrap();
        pause("the replica sends all its hints, and the client reads none", 500);
        if !reads_before_the_response {
            told.send(()).unwrap();
            pause("the response comes", 200);
        }
        let hints = read_response(&mut stream, false);
        assert_eq!((hints.status, hints.field("link").map(str::len)), (103, Some(LONG)));
        if reads_before_the_response {
            // The rest of it came by the client's reading alone.
            told.send(()).unwrap();
        }
        let mut next = read_response(&mut stream, false);
        while next.status == 103 {
            assert_eq!(next.field("link").map(str::len), Some(LONG));
            next = read_response(&mut stream, false);
        }
        assert_eq!((next.status, next.text()), (200, "ok".to_owned()));
    }
}

/// A replica over HTTP/2 that sends `count` interim responses in one go, twice with a pause between, before each
/// response.
fn many(count: usize) -> (Backend, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let requests = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = std::sync::Arc::clone(&requests);
    let backend = Backend::start(move |peer| {
        peer.stream.read_exact(&mut [0; PREFACE.len()]).unwrap();
        peer.stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
        while let Some((kind, _, id, _)) = next_frame(&mut peer.stream) {
            if kind == HEADERS {
                counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                // `:status: 103`
                let hints = frame(HEADERS, END_HEADERS, id, &[8, 3, b'1', b'0', b'3']).repeat(count);
                let end = [frame(HEADERS, END_HEADERS, id, &[0x88]), frame(DATA, END_STREAM, id, b"ok")].concat();
                peer.stream.write_all(&hints).ok();
                pause("the first ones are read", 100);
                peer.stream.write_all(&[hints, end].concat()).ok();
            }
        }
    });
    (backend, requests)
}

#[test]
fn more_interim_responses_than_are_passed_on_do_no_harm_but_a_flood_does() {
    let requests = |count: &std::sync::atomic::AtomicUsize| count.load(std::sync::atomic::Ordering::Relaxed);
    let (replica, seen) = many(20);
    let app = App::builder(&[replica.address]).pool("protocol = \"h2c\"").start();
    let mut stream = connect(app.address);
    send(&mut stream, GET);
    for _ in 0..16 {
        assert_eq!(read_response(&mut stream, false).status, 103);
    }
    let response = read_response(&mut stream, false);
    assert_eq!((response.status, response.text(), requests(&seen)), (200, "ok".to_owned(), 1));
    let (replica, _seen) = many(50_000);
    let app = App::builder(&[replica.address]).pool("protocol = \"h2c\"\nretry = { attempts = 1 }").start();
    let mut stream = connect(app.address);
    send(&mut stream, GET.replace("HTTP/1.1", "HTTP/1.0"));
    let response = read_response(&mut stream, false);
    assert_eq!((response.status, response.field("x-unstick-error")), (502, Some("upstream-invalid")));
}

/// What earlier attempts have brought counts too.
#[test]
fn repeated_requests_bring_no_more_interim_responses_than_others() {
    let backend = Backend::start(|peer| {
        peer.own();
        if peer.next_head().is_some() {
            send(&mut peer.stream, HINTS.repeat(10));
            pause("the hints are read before the end", 50);
        }
    });
    let app = App::over(&[backend.address]);
    let mut stream = connect(app.address);
    send(&mut stream, GET);
    let (mut statuses, mut status) = (Vec::new(), 0);
    while status != 502 {
        status = read_response(&mut stream, false).status;
        statuses.push(status);
    }
    assert_eq!(statuses, [&[103; 16][..], &[502]].concat());
    assert!(backend.connections() > 1, "it was repeated");
}
