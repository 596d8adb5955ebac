//! HTTP/2 from clients: where a response ends, who waits for whom meanwhile, and what has no body.

use std::io::Write as _;

use bytes::Bytes;
use http::{Method, Request};
use unstick::app::Ended;

use crate::support::backend::{Backend, answer, signal};
use crate::support::h2::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, begin, client, frame, get,
    get_list, next_frame, raw, run, whole,
};
use crate::support::{App, SOON, eventually, pause, send};

/// Bytes of a response that the kernel holds whole for a client that does not read.
const LONG: usize = 2 << 20;

/// How long the client does nothing: longer than a client that has read everything may take to go.
const PAUSE_MS: u64 = 6_000;

/// A client whose kernel, and ours, hold a long response whole. It does nothing for `pause_ms`, then it reads.
fn read_late(app: &App, backend: &Backend, before_pause: impl FnOnce(), pause_ms: u64) {
    let mut stream = raw(app.address);
    // The windows let everything out at once.
    let window = (1_u32 << 30).to_be_bytes();
    stream.write_all(&frame(SETTINGS, 0, 0, &[&[0, 4][..], &window].concat())).unwrap();
    stream.write_all(&frame(WINDOW_UPDATE, 0, 0, &window)).unwrap();
    stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &get_list())).unwrap();
    eventually("the replica has answered", || backend.seen().len() == 1);
    eventually("the proxy has sent everything", || app.endpoint(backend.address).unwrap()["in_flight"] == 0);
    before_pause();
    pause("the client is busy with something else", pause_ms);
    let mut length = 0;
    while length < LONG {
        let (kind, flags, _, payload) = next_frame(&mut stream).unwrap_or_else(|| panic!("cut after {length} bytes"));
        match kind {
            DATA => {
                length += payload.len();
                // The proxy hears of it to the very end.
                stream.write_all(&frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes())).unwrap();
            }
            PING if flags == 0 => stream.write_all(&frame(PING, 1, 0, &payload)).unwrap(),
            _ => {}
        }
    }
}

#[test]
fn a_response_is_read_to_its_end_though_the_process_stops() {
    let backend = Backend::start(|peer| peer.serve(|_| answer(&"x".repeat(LONG))));
    let app = App::over(&[backend.address]);
    read_late(&app, &backend, || app.stop(), PAUSE_MS);
    assert_eq!(app.wait(), Ended::Drained);
}

/// Our ping stands behind all that the client has not read yet.
#[test]
fn a_client_that_reads_late_is_not_taken_for_gone() {
    let backend = Backend::start(|peer| peer.serve(|_| answer(&"x".repeat(LONG))));
    let app = App::builder(&[backend.address]).timeouts("h2_ping = \"200ms\"").start();
    read_late(&app, &backend, || (), 1_500);
}

#[test]
fn a_client_that_lets_nothing_out_is_cut_off_however_short_the_response_is() {
    let backend = Backend::start(|peer| peer.serve(|_| answer(&"x".repeat(500))));
    let app = App::builder(&[backend.address]).timeouts("client_write = \"300ms\"").start();
    let mut stream = raw(app.address);
    // SETTINGS_INITIAL_WINDOW_SIZE = 1.
    stream.write_all(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1])).unwrap();
    for id in [1, 3, 5] {
        stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, id, &get_list())).unwrap();
    }
    let mut resets = Vec::new();
    while resets.len() < 3 {
        let (kind, _, id, payload) = next_frame(&mut stream).expect("the connection lives");
        assert!(kind != DATA || payload.len() <= 1, "the window is one byte");
        if kind == RST_STREAM {
            resets.push(id);
        }
    }
    resets.sort_unstable();
    assert_eq!(resets, [1, 3, 5]);
    eventually("nothing is under way", || app.endpoint(backend.address).unwrap()["in_flight"] == 0);
}

#[test]
fn a_client_that_reads_slowly_but_steadily_gets_everything() {
    let backend = Backend::start(|peer| peer.serve(|_| answer(&"x".repeat(40))));
    let app = App::builder(&[backend.address]).timeouts("client_write = \"400ms\"").start();
    let mut stream = raw(app.address);
    stream.write_all(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1])).unwrap();
    stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &get_list())).unwrap();
    let (mut length, mut is_over) = (0, false);
    while !is_over {
        let (kind, flags, id, payload) = next_frame(&mut stream).expect("the connection lives");
        assert_ne!(kind, RST_STREAM);
        is_over = id == 1 && flags & END_STREAM != 0;
        if kind == DATA {
            length += payload.len();
            pause("the client takes its time for each byte", 50);
            stream.write_all(&frame(WINDOW_UPDATE, 0, 1, &1u32.to_be_bytes())).unwrap();
        }
    }
    assert_eq!(length, 40, "which took five times as long as each wait may");
}

#[test]
fn a_body_that_is_held_back_is_asked_for() {
    let backend = Backend::start(|peer| peer.serve(|seen| answer(&seen.body.len().to_string())));
    let app = App::builder(&[backend.address]).more("[[route]]\npath = \"/known\"\npool = \"app\"\n").start();
    run(async {
        let client = client(app.address).await;
        let post = |path: &str| {
            let request = Request::post(format!("http://a.test{path}")).header("expect", "100-continue");
            request.header("content-length", 5).body(()).unwrap()
        };
        let (mut response, mut body) = begin(&client, post("/known"), false).await;
        let interim = std::future::poll_fn(|cx| response.poll_informational(cx)).await;
        assert_eq!(interim.unwrap().unwrap().status().as_u16(), 100);
        body.send_data(Bytes::from_static(b"hello"), true).unwrap();
        let (response, text, _) = whole(response).await.unwrap();
        assert_eq!((response.status().as_u16(), &text[..]), (200, &b"5"[..]));
        // Of a request that is refused the body is not wanted.
        let (mut response, _body) = begin(&client, post("/nowhere"), false).await;
        let interim = std::future::poll_fn(|cx| response.poll_informational(cx)).await;
        assert!(interim.is_none());
        assert_eq!(whole(response).await.unwrap().0.status().as_u16(), 404);
    });
}

#[test]
fn what_has_no_content_ends_with_its_head() {
    let backend = Backend::start(|peer| {
        peer.serve(|seen| {
            let status = seen.line().split('/').nth(1).unwrap().split(' ').next().unwrap().to_owned();
            match (seen.line().starts_with("HEAD"), status.as_str()) {
                (_, "204" | "304") => format!("HTTP/1.1 {status} X\r\nETag: \"a\"\r\n\r\n"),
                (true, _) => format!("HTTP/1.1 {status} X\r\nContent-Length: 7\r\n\r\n"),
                (false, _) => format!("HTTP/1.1 {status} X\r\nContent-Length: 7\r\n\r\ncontent"),
            }
            .into()
        });
    });
    let routes = "[[route]]\npath = \"/200\"\npool = \"app\"\n[[route]]\npath = \"/204\"\npool = \"app\"\n\
        [[route]]\npath = \"/205\"\npool = \"app\"\n[[route]]\npath = \"/304\"\npool = \"app\"\n";
    let app = App::builder(&[backend.address]).more(routes).start();
    for (method, path, status, length, ends) in [
        (Method::GET, "/200", 200, Some(7), false),
        (Method::HEAD, "/200", 200, Some(7), true),
        (Method::GET, "/204", 204, None, true),
        // A replica may err, but this has no content.
        (Method::GET, "/205", 205, Some(0), true),
        (Method::GET, "/304", 304, None, true),
        (Method::HEAD, "/nowhere", 404, Some(71), true),
        (Method::GET, "/nowhere", 404, Some(71), false),
    ] {
        run(async {
            let client = client(app.address).await;
            let request = Request::builder().method(&method).uri(format!("http://a.test{path}")).body(()).unwrap();
            let (response, _) = begin(&client, request, true).await;
            let response = response.await.unwrap();
            let told = response.headers().get("content-length").map(|length| length.to_str().unwrap().parse().unwrap());
            assert_eq!((response.status().as_u16(), told), (status, length), "{method} {path}");
            assert!(response.headers().contains_key("date"));
            assert_eq!(response.body().is_end_stream(), ends, "{method} {path}");
            let again = tokio::time::timeout(SOON, get(&client, "/200")).await.expect("in time").unwrap();
            assert_eq!(again.0, 200, "the connection goes on");
        });
    }
}

/// A response that is not over, of which the client lets out nothing, and then the end of the process.
#[test]
fn a_response_that_nobody_reads_ends_with_the_time_to_drain() {
    let backend = Backend::start(|peer| peer.serve(|_| answer(&"x".repeat(1 << 20))));
    let app = App::builder(&[backend.address]).timeouts("client_write = \"1m\"\ndrain = \"3s\"").start();
    let mut stream = raw(app.address);
    stream.write_all(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1])).unwrap();
    stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &get_list())).unwrap();
    while next_frame(&mut stream).expect("the response begins").0 != DATA {}
    app.stop();
    while next_frame(&mut stream).expect("the stream is reset").0 != RST_STREAM {}
    drop(stream);
    assert_eq!(app.wait(), Ended::Drained);
}

#[test]
fn a_client_that_stays_after_its_last_response_does_not_hold_up_the_end() {
    let ((asked, was_asked), (go, going)) = (signal(), signal());
    let going = std::sync::Mutex::new(going);
    let backend = Backend::start(move |peer| {
        while peer.next_head().is_some() {
            asked.lock().unwrap().send(()).unwrap();
            going.lock().unwrap().wait("the test lets it go on");
            send(&mut peer.stream, answer("late"));
        }
    });
    let post_list = [&[0x83][..], &get_list()[1..]].concat();
    // A whole request; and one whose client still owes its body, which is waited for after the response.
    for (flags, list) in [(END_HEADERS | END_STREAM, get_list()), (END_HEADERS, post_list)] {
        let app = App::builder(&[backend.address]).timeouts("drain = \"5s\"\nh2_ping = \"1m\"").start();
        let mut stream = raw(app.address);
        stream.write_all(&frame(HEADERS, flags, 1, &list)).unwrap();
        was_asked.wait("the request arrives");
        app.stop();
        go.lock().unwrap().send(()).unwrap();
        while next_frame(&mut stream).expect("the response comes").2 != 1 {}
        assert_eq!(app.wait(), Ended::Drained, "the client says nothing and keeps its socket");
        drop(stream);
    }
}
