//! Connections of HTTP/2 that many requests share: none of them may cost the others theirs, in either direction.

use std::future::pending;
use std::io::{Read as _, Write as _};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::time::sleep;

use crate::support::backend::{Backend, answer, signal};
use crate::support::client::read_response;
use crate::support::h2::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, RST_STREAM, SETTINGS, begin, client as h2_client, frame, get,
    get_list, next_frame, raw, run,
};
use crate::support::h2_backend::H2Backend;
use crate::support::{App, connect, pause, send};

const H2C: &str = "protocol = \"h2c\"";

#[test]
fn many_cancels_at_once_leave_the_connection_alone() {
    let backend = Backend::named("one");
    let app = App::over(&[backend.address]);
    let mut stream = raw(app.address);
    let cancelled = |id: u32| {
        [frame(HEADERS, END_HEADERS | END_STREAM, id, &get_list()), frame(RST_STREAM, 0, id, &8u32.to_be_bytes())]
    };
    let burst: Vec<u8> = (0..100).flat_map(|nth| cancelled(nth * 2 + 1).concat()).collect();
    let last = frame(HEADERS, END_HEADERS | END_STREAM, 201, &get_list());
    stream.write_all(&[burst, last].concat()).unwrap();
    loop {
        let (kind, _, id, _) = next_frame(&mut stream).expect("the connection lives");
        if (kind, id) == (HEADERS, 201) {
            break;
        }
    }
}

#[test]
fn requests_that_are_cancelled_at_once_open_no_connections() {
    let backend = Backend::named("one");
    let app = App::builder(&[backend.address]).workers(1).start();
    let mut stream = raw(app.address);
    let cancelled = |id: u32| {
        [frame(HEADERS, END_HEADERS | END_STREAM, id, &get_list()), frame(RST_STREAM, 0, id, &8u32.to_be_bytes())]
    };
    let burst: Vec<u8> = (0..40).flat_map(|nth| cancelled(nth * 2 + 1).concat()).collect();
    stream.write_all(&[burst, frame(HEADERS, END_HEADERS | END_STREAM, 81, &get_list())].concat()).unwrap();
    while next_frame(&mut stream).expect("the connection lives").2 != 81 {}
    assert_eq!((backend.connections(), backend.seen().len()), (1, 1));
}

#[test]
fn many_malformed_requests_leave_the_connection_alone() {
    let backend = Backend::named("one");
    let app = App::over(&[backend.address]);
    let mut stream = raw(app.address);
    // `content-length: 5`, and no body.
    let bad = [get_list(), vec![0x0f, 0x0d, 1, b'5']].concat();
    for nth in 0..1_100 {
        stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, nth * 2 + 1, &bad)).unwrap();
        while next_frame(&mut stream).expect("the connection lives").0 != RST_STREAM {}
    }
    stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 2 * 1_100 + 1, &get_list())).unwrap();
    while next_frame(&mut stream).expect("the connection lives").0 != HEADERS {}
}

#[test]
fn small_parts_that_no_replica_takes_leave_the_connection_alone() {
    let (done, is_done) = signal();
    let is_done = std::sync::Mutex::new(is_done);
    let stuck = Backend::start(move |_| is_done.lock().unwrap().wait("the test ends"));
    let other = Backend::named("other");
    let routes = "[[route]]\npath = \"/stuck\"\npool = \"stuck\"\n[[route]]\npool = \"app\"\n";
    // One request is under way, all others wait in the queue: nobody reads their bodies.
    let stuck_pool = format!(
        "[pool.stuck]\nbackends = [\"{}\"]\nmax_requests = 1\n[pool.stuck.queue]\ntimeout = \"1m\"\n",
        stuck.address
    );
    let app = App::builder(&[other.address]).more(&format!("{stuck_pool}{routes}")).start();
    run(async {
        let client = h2_client(app.address).await;
        let mut uploads = Vec::new();
        for _ in 0..6 {
            let request = Request::post("http://a.test/stuck").body(()).unwrap();
            let (response, mut body) = begin(&client, request, false).await;
            for _ in 0..8_000 {
                body.send_data(Bytes::from_static(b"x"), false).unwrap();
            }
            uploads.push((response, body));
        }
        // What is asked for last is answered behind all that.
        assert_eq!(get(&client, "/").await.unwrap(), (200, "other".to_owned()));
    });
    done.lock().unwrap().send(()).unwrap();
}

/// A proxy in front may share the connection among many, and some clients send an empty frame after each flush.
#[test]
fn empty_parts_of_uploads_cost_nobody_anything() {
    let backend = Backend::start(|peer| {
        peer.serve(|seen| answer(&seen.body.iter().filter(|byte| **byte == b'x').count().to_string()))
    });
    let app = App::over(&[backend.address]);
    let mut stream = raw(app.address);
    let post = [&[0x83][..], &get_list()[1..]].concat();
    for id in (1..21).step_by(2) {
        let parts = [frame(DATA, 0, id, b"x"), frame(DATA, 0, id, b"")].concat().repeat(30);
        let upload = [frame(HEADERS, END_HEADERS, id, &post), parts, frame(DATA, END_STREAM, id, b"")].concat();
        stream.write_all(&upload).unwrap();
        let answered =
            std::iter::from_fn(|| next_frame(&mut stream)).find(|(kind, _, of, _)| (*kind, *of) == (DATA, id));
        assert_eq!(answered.expect("the connection lives").3, b"30", "stream {id}");
    }
}

/// A replica with one slow request, and others that do what `other` says on the same connection.
fn beside_a_slow_one<F: Future<Output = ()> + 'static>(
    other: impl Fn(crate::support::h2_backend::Call) -> F + Send + Clone + 'static,
) -> H2Backend {
    H2Backend::start(move |call| {
        let other = other.clone();
        async move {
            if call.request.uri().path() == "/slow" {
                sleep(Duration::from_secs(3)).await;
                call.say("slow");
            } else {
                other(call).await;
            }
        }
    })
}

/// That a POST which waits for its response gets it, whatever happens on its connection meanwhile.
fn survives(replica: &H2Backend, app: &App, meanwhile: impl FnOnce()) {
    let mut slow = connect(app.address);
    send(&mut slow, "POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    meanwhile();
    let response = read_response(&mut slow, false);
    assert_eq!((response.status, response.text().as_str()), (200, "slow"));
    assert_eq!(replica.connections(), 1);
    assert_eq!(app.endpoint(replica.address).unwrap()["failures"], 0);
}

#[test]
fn empty_parts_of_a_response_cost_nobody_anything() {
    let replica = beside_a_slow_one(|mut call| async move {
        let mut body = call.answer(Response::builder());
        for _ in 0..300 {
            body.send_data(Bytes::new(), false).unwrap();
        }
        body.send_data(Bytes::from_static(b"end"), true).unwrap();
    });
    let app = App::builder(&[replica.address]).pool(H2C).workers(1).start();
    survives(&replica, &app, || {
        for _ in 0..3 {
            assert_eq!(crate::support::client::get(app.address, "/").text(), "end");
        }
    });
}

#[test]
fn small_parts_that_a_client_does_not_read_cost_nobody_anything() {
    let replica = beside_a_slow_one(|mut call| async move {
        let mut body = call.answer(Response::builder());
        for _ in 0..40_000 {
            body.send_data(Bytes::from_static(b"x"), false).unwrap();
        }
        pending::<()>().await;
        drop(body);
    });
    let app = App::builder(&[replica.address]).pool(H2C).workers(1).start();
    let mut lazy = Vec::new();
    survives(&replica, &app, || {
        run(async {
            // Clients that open no window, so that everything piles up at the proxy.
            let mut builder = h2::client::Builder::new();
            builder.initial_window_size(0);
            for _ in 0..5 {
                let client = crate::support::h2::client_with(app.address, &builder).await;
                let request = Request::get("http://a.test/").body(()).unwrap();
                lazy.push(begin(&client, request, true).await.0.await.unwrap());
            }
        });
    });
}

#[test]
fn parts_that_come_late_for_cancelled_streams_cost_nobody_anything() {
    // More than the library takes over the life of a connection.
    const CANCELLED: u32 = 1_100;
    // It sends heads. When all requests but one are cancelled, it goes on with their bodies, then answers the first.
    let (came, has_come) = signal();
    let replica = Backend::start(move |peer| {
        std::io::Read::read_exact(&mut peer.stream, &mut [0; PREFACE.len()]).unwrap();
        peer.stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
        let (ok, mut cancelled) = (|id| frame(HEADERS, END_HEADERS, id, &[0x88]), Vec::new());
        while let Some((kind, _, id, _)) = next_frame(&mut peer.stream) {
            match kind {
                HEADERS if id > 1 => peer.stream.write_all(&ok(id)).unwrap(),
                HEADERS => came.lock().unwrap().send(()).unwrap(),
                RST_STREAM => cancelled.push(id),
                _ => {}
            }
            if cancelled.len() == CANCELLED as usize {
                pause("the library would have forgotten the streams", 1_300);
                let late: Vec<u8> = cancelled.drain(..).flat_map(|id| frame(DATA, 0, id, b"x")).collect();
                peer.stream.write_all(&[late, ok(1), frame(DATA, END_STREAM, 1, b"slow")].concat()).unwrap();
            }
        }
    });
    let app = App::builder(&[replica.address]).pool(H2C).workers(1).start();
    let mut slow = connect(app.address);
    send(&mut slow, "POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    has_come.wait("the first is sent");
    for _ in 0..CANCELLED {
        let mut cancelled = connect(app.address);
        send(&mut cancelled, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut start = [0; 12];
        cancelled.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
    }
    let response = read_response(&mut slow, false);
    assert_eq!((response.status, response.text().as_str()), (200, "slow"));
    assert_eq!(app.endpoint(replica.address).unwrap()["failures"], 0);
}
