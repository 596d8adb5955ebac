//! HTTP/2 from clients: translation, flow control, hostile frames.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use tokio::time::Instant;
use unstick::app::Ended;

use crate::support::backend::{Backend, answer, signal};
use crate::support::h2::{
    CONTINUATION, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, begin, client, client_with,
    frame, get, get_list, next_frame, raw, read, run, whole,
};
use crate::support::{App, SOON, eventually, pause, pool_of, read_to_close, send, text};

fn request(method: Method, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(format!("http://a.test{path}"))
}

fn sized(method: Method, length: usize) -> Request<()> {
    request(method, "/").header("content-length", length).body(()).unwrap()
}

#[test]
fn a_request_reaches_the_replica_in_the_words_of_http1() {
    let backend = Backend::start(|peer| {
        peer.serve(|_| {
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n\
             5\r\nhello\r\n0\r\nx-sum: 42\r\n\r\n"
                .into()
        });
    });
    let app = App::over(&[backend.address]);
    run(async {
        let client = client(app.address).await;
        let request = request(Method::POST, "/a?b")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("te", "trailers")
            .header("trailer", "x-end")
            .header("x-forwarded-for", "6.6.6.6")
            .body(())
            .unwrap();
        let (response, mut body) = begin(&client, request, false).await;
        body.send_data("one ".into(), false).unwrap();
        body.send_data("two".into(), false).unwrap();
        body.send_trailers(HeaderMap::from_iter([("x-end".parse().unwrap(), "7".parse().unwrap())])).unwrap();
        let (response, body, trailers) = whole(response).await.unwrap();
        assert_eq!((response.status().as_u16(), text(&body).as_str()), (200, "hello"));
        assert_eq!(trailers.unwrap()["x-sum"], "42");
        let headers = response.headers();
        for name in ["connection", "transfer-encoding", "x-hop", "keep-alive"] {
            assert!(!headers.contains_key(name), "{name}");
        }
    });
    let seen = &backend.seen()[0];
    assert_eq!(seen.line(), "POST /a?b HTTP/1.1");
    assert_eq!(text(&seen.body), "4\r\none \r\n3\r\ntwo\r\n0\r\nx-end: 7\r\n\r\n");
    for (name, value) in [
        ("host", "a.test"),
        ("cookie", "a=1; b=2"),
        ("transfer-encoding", "chunked"),
        ("via", "2.0 unstick"),
        ("x-forwarded-for", "127.0.0.1"),
        ("te", "trailers"),
    ] {
        assert_eq!(seen.field(name), Some(value), "{name} in {}", seen.head);
    }
    assert_eq!(seen.head.to_ascii_lowercase().matches("\r\ncookie:").count(), 1);
}

#[test]
fn requests_that_could_be_read_in_two_ways_are_refused() {
    let backend = Backend::named("one");
    let app = App::over(&[backend.address]);
    run(async {
        let client = client(app.address).await;
        let status = async |request: Request<()>| {
            whole(begin(&client, request, true).await.0).await.map(|(r, ..)| r.status().as_u16())
        };
        let many = (0..101).fold(request(Method::GET, "/"), |request, nth| request.header(format!("x-{nth}"), "1"));
        for (what, request, expected) in [
            ("fits", request(Method::GET, "/"), 200),
            ("the same host twice", request(Method::GET, "/").header("host", "a.test"), 200),
            ("another host", request(Method::GET, "/").header("host", "b.test"), 400),
            ("two hosts", request(Method::GET, "/").header("host", "a.test").header("host", "a.test"), 400),
            ("a user", Request::get("http://u@a.test/"), 400),
            ("TRACE", request(Method::TRACE, "/"), 405),
            ("CONNECT", Request::builder().method(Method::CONNECT).uri("a.test:80"), 405),
            ("many fields", many, 431),
        ] {
            assert_eq!(status(request.body(()).unwrap()).await.unwrap(), expected, "{what}");
        }
    });
    assert_eq!(backend.seen().len(), 2);
    // The library would refuse to send these.
    for (what, list) in [
        ("no slash", [&[0x82, 0x86, 0x44, 1][..], b"x", &[0x41, 6], b"a.test"].concat()),
        ("no host", vec![0x82, 0x86, 0x84]),
        ("no path", [&[0x82, 0x86, 0x41, 6][..], b"a.test"].concat()),
        ("upper case", [get_list(), [&[0, 1][..], b"X", &[1], b"y"].concat()].concat()),
        ("connection", [get_list(), [&[0, 10][..], b"connection", &[5], b"close"].concat()].concat()),
        ("line break", [get_list(), [&[0, 1][..], b"x", &[4], b"a\r\nb"].concat()].concat()),
    ] {
        let mut stream = raw(app.address);
        stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &list)).unwrap();
        // The stream is reset, or the proxy itself responds.
        while let Some((kind, _, id, _)) = next_frame(&mut stream) {
            if kind == GOAWAY || (id == 1 && [HEADERS, RST_STREAM].contains(&kind)) {
                break;
            }
        }
        assert_eq!(backend.seen().len(), 2, "{what}");
    }
}

#[test]
fn each_request_of_a_connection_is_balanced_by_itself() {
    let backends = [Backend::named("one"), Backend::named("two")];
    let app = App::over(&[backends[0].address, backends[1].address]);
    run(async {
        let client = client(app.address).await;
        let all: Vec<_> = (0..100).map(|_| get(&client, "/")).collect();
        for request in all {
            assert_eq!(request.await.unwrap().0, 200);
        }
    });
    assert_eq!(backends.map(|backend| backend.seen().len()), [50, 50]);
}

#[test]
fn many_streams_at_once_are_all_answered() {
    let backend = Backend::named("one");
    let app = App::over(&[backend.address]);
    run(async {
        let client = client(app.address).await;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..1000 {
            let client = client.clone();
            tasks.spawn(async move { get(&client, "/").await.unwrap() });
        }
        while let Some(answer) = tasks.join_next().await {
            assert_eq!(answer.unwrap(), (200, "one".to_owned()));
        }
    });
    assert_eq!(backend.seen().len(), 1000);
}

#[test]
fn streams_beyond_the_limit_are_refused_before_they_are_begun() {
    let backend = Backend::start(|peer| {
        peer.next();
        peer.wait_for_close();
    });
    let app = App::builder(&[backend.address]).limits("h2_streams = 20").start();
    let mut stream = raw(app.address);
    let heads = (0..25).flat_map(|nth| frame(HEADERS, END_HEADERS | END_STREAM, nth * 2 + 1, &get_list()));
    stream.write_all(&heads.collect::<Vec<u8>>()).unwrap();
    let resets = std::iter::from_fn(|| next_frame(&mut stream)).filter(|(kind, ..)| *kind == RST_STREAM);
    let refused: Vec<(u32, Vec<u8>)> = resets.take(5).map(|(_, _, id, code)| (id, code)).collect();
    let expected: Vec<_> = (20..25).map(|nth| (nth * 2 + 1, 7u32.to_be_bytes().to_vec())).collect();
    assert_eq!(refused, expected, "REFUSED_STREAM: they may be sent again");
    eventually("the others are under way", || backend.seen().len() == 20);
}

#[test]
fn a_stream_that_nobody_reads_stops_neither_others_nor_upstream_for_ever() {
    let backend = Backend::start(|peer| {
        peer.serve(|seen| {
            let len = if seen.line().contains("/big") { 4 << 20 } else { 3 };
            format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n{}", "x".repeat(len)).into()
        });
    });
    let app = App::builder(&[backend.address]).timeouts("client_write = \"500ms\"").start();
    run(async {
        // The window of the connection stays open. Only that of the stream is full.
        let client =
            client_with(app.address, h2::client::Builder::new().initial_connection_window_size(16 << 20)).await;
        let (unread, _) = begin(&client, request(Method::GET, "/big").body(()).unwrap(), true).await;
        let mut unread = unread.await.unwrap().into_body();
        for _ in 0..20 {
            assert_eq!(get(&client, "/small").await.unwrap(), (200, "xxx".to_owned()));
        }
        // What was sent arrives, and then only this stream ends.
        let mut length = 0;
        let error = loop {
            match unread.data().await {
                Some(Ok(part)) => length += part.len(),
                other => break other.map(|ended| ended.unwrap_err()),
            }
        };
        assert!(length < 4 << 20 && error.is_some_and(|error| error.is_reset()));
        assert_eq!(get(&client, "/small").await.unwrap().0, 200);
    });
    eventually("nothing is under way", || app.endpoint(backend.address).unwrap()["in_flight"] == 0);
}

#[test]
fn uploads_that_no_replica_takes_do_not_stop_the_others() {
    let (done, is_done) = signal();
    let is_done = std::sync::Mutex::new(is_done);
    let stuck = Backend::start(move |_| is_done.lock().unwrap().wait("the test ends"));
    let other = Backend::named("other");
    let routes = "[[route]]\npath = \"/stuck\"\npool = \"stuck\"\n[[route]]\npool = \"app\"\n";
    let stuck_pool = format!("[pool.stuck]\nbackends = [\"{}\"]\n", stuck.address);
    let app = App::builder(&[other.address]).more(&format!("{stuck_pool}{routes}")).start();
    run(async {
        let client = client(app.address).await;
        let mut uploads = Vec::new();
        for _ in 0..32 {
            let (response, mut body) = begin(&client, request(Method::POST, "/stuck").body(()).unwrap(), false).await;
            // This is larger than any window, so it waits in the client.
            body.send_data(Bytes::from(vec![7; 1 << 20]), false).unwrap();
            uploads.push((response, body));
        }
        for _ in 0..10 {
            let (response, mut body) = begin(&client, sized(Method::POST, 300_000), false).await;
            body.send_data(Bytes::from(vec![7; 300_000]), true).unwrap();
            assert_eq!(whole(response).await.unwrap().0.status().as_u16(), 200);
        }
    });
    assert_eq!(other.seen().iter().map(|seen| seen.body.len()).collect::<Vec<_>>(), [300_000; 10]);
    done.lock().unwrap().send(()).unwrap();
}

#[test]
fn a_cancelled_stream_cancels_the_attempt_and_nothing_else() {
    let (closed, was_closed) = signal();
    let backend = Backend::start(move |peer| {
        while let Some(seen) = peer.next() {
            if seen.line().contains("/slow") {
                peer.wait_for_close();
                closed.lock().unwrap().send(()).unwrap();
                return;
            }
            send(&mut peer.stream, answer("fast"));
        }
    });
    let app = App::over(&[backend.address]);
    run(async {
        let client = client(app.address).await;
        let (response, mut stream) = begin(&client, request(Method::GET, "/slow").body(()).unwrap(), true).await;
        assert_eq!(get(&client, "/").await.unwrap().1, "fast");
        drop(response);
        stream.send_reset(h2::Reason::CANCEL);
        assert_eq!(get(&client, "/").await.unwrap().1, "fast");
        tokio::task::spawn_blocking(move || was_closed.wait("the replica sees that nobody waits")).await.unwrap();
    });
}

#[test]
fn an_answer_cut_short_resets_its_stream() {
    let backend = Backend::start(|peer| {
        while let Some(seen) = peer.next() {
            if seen.line().contains("/half") {
                send(&mut peer.stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
                peer.stream.shutdown(Shutdown::Both).ok();
                return;
            }
            send(&mut peer.stream, answer("fast"));
        }
    });
    let app = App::over(&[backend.address]);
    run(async {
        let client = client(app.address).await;
        assert!(get(&client, "/half").await.unwrap_err().is_reset());
        assert_eq!(get(&client, "/").await.unwrap().1, "fast");
    });
}

#[test]
fn stopping_says_goaway_and_finishes_every_stream() {
    let (asked, was_asked) = signal();
    let (go, going) = signal();
    let going = std::sync::Mutex::new(going);
    let backend = Backend::start(move |peer| {
        while peer.next().is_some() {
            asked.lock().unwrap().send(()).unwrap();
            going.lock().unwrap().wait("the test lets it go on");
            send(&mut peer.stream, answer("done"));
        }
    });
    let app = App::over(&[backend.address]);
    run(async {
        let client = client(app.address).await;
        let slow = tokio::spawn({
            let client = client.clone();
            async move { get(&client, "/").await }
        });
        tokio::task::spawn_blocking(move || was_asked.wait("the request arrives")).await.unwrap();
        std::thread::scope(|scope| _ = scope.spawn(|| app.stop()));
        // After GOAWAY a client starts nothing more.
        let refused = async {
            while let Ok(mut ready) = client.clone().ready().await {
                match ready.send_request(request(Method::GET, "/").body(()).unwrap(), true) {
                    Ok((response, _)) => _ = tokio::time::timeout(Duration::from_millis(20), response).await,
                    Err(_) => return,
                }
            }
        };
        refused.await;
        for _ in 0..10 {
            go.lock().unwrap().send(()).ok();
        }
        assert_eq!(slow.await.unwrap().unwrap(), (200, "done".to_owned()));
    });
    assert_eq!(app.wait(), Ended::Drained);
}

#[test]
fn a_client_that_is_gone_without_a_word_is_found_out_by_ping() {
    let backend = Backend::start(|peer| {
        peer.next();
        peer.wait_for_close();
    });
    let app = App::builder(&[backend.address]).timeouts("h2_ping = \"150ms\"").start();
    let mut silent = raw(app.address);
    silent.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &get_list())).unwrap();
    let mut pings = 0;
    while let Some((kind, ..)) = next_frame(&mut silent) {
        pings += usize::from(kind == PING);
    }
    assert!(pings >= 1);
    eventually("its request is ended", || app.endpoint(backend.address).unwrap()["in_flight"] == 0);
}

#[test]
fn an_idle_connection_is_told_to_go_and_closed() {
    let backend = Backend::named("one");
    let app = App::builder(&[backend.address]).timeouts("client_idle = \"100ms\"").start();
    let mut stream = raw(app.address);
    stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &get_list())).unwrap();
    let (mut answered, mut told) = (false, false);
    while let Some((kind, flags, id, payload)) = next_frame(&mut stream) {
        answered |= (kind, id) == (HEADERS, 1);
        told |= kind == GOAWAY;
        if kind == PING && flags == 0 {
            stream.write_all(&frame(PING, 1, 0, &payload)).unwrap();
        }
    }
    assert!(answered && told);
}

#[test]
fn only_the_protocols_of_a_listener_are_spoken() {
    let backend = Backend::named("one");
    let listen = |protocols| format!("[listen.web]\naddress = \"127.0.0.1:0\"\nprotocols = [{protocols}]\n");
    let pool = pool_of(&[backend.address], "", "");
    let app = App::start(&format!("{}{pool}", listen("\"h1\"")));
    let (bytes, _) = read_to_close(&mut raw(app.address));
    assert!(text(&bytes).is_empty() || text(&bytes).starts_with("HTTP/1.1 "), "{}", text(&bytes));
    let app = App::start(&format!("{}{pool}", listen("\"h2\"")));
    let mut plain = crate::support::connect(app.address);
    send(&mut plain, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let (bytes, _) = read_to_close(&mut plain);
    assert!(!text(&bytes).contains("HTTP/1.1 200"), "{}", text(&bytes));
    assert!(backend.seen().is_empty());
}

/// Writes `flood` again and again until the proxy closes. Returns how long that took, and how many times it was
/// written.
fn flood(stream: &mut TcpStream, mut flood: impl FnMut(u32) -> Vec<u8>) -> (Duration, u32) {
    let began = Instant::now();
    // What the proxy sends must not fill the way back.
    let mut reading = stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || read_to_close(&mut reading));
    let mut rounds = 0;
    while began.elapsed() < SOON && stream.write_all(&flood(rounds)).is_ok() {
        rounds += 1;
    }
    stream.shutdown(Shutdown::Both).ok();
    reader.join().unwrap();
    (began.elapsed(), rounds)
}

#[test]
fn floods_of_frames_end_their_connection_and_leave_others_alone() {
    let backend = Backend::named("one");
    let app = App::over(&[backend.address]);
    let stream_of = |round: u32| round * 2 + 1;
    let headers = |round| frame(HEADERS, END_HEADERS | END_STREAM, stream_of(round), &get_list());
    let reset = |round| frame(RST_STREAM, 0, stream_of(round), &8u32.to_be_bytes());
    type Flood<'a> = Box<dyn Fn(u32) -> Vec<u8> + 'a>;
    let floods: [(&str, Flood<'_>); 7] = [
        ("rapid reset", Box::new(|round| [headers(round), reset(round)].concat())),
        ("ping", Box::new(|_| frame(PING, 0, 0, &[0; 8]))),
        ("settings", Box::new(|_| frame(SETTINGS, 0, 0, &[]))),
        ("priority", Box::new(|round| frame(2, 0, stream_of(round), &[0, 0, 0, 0, 1]))),
        ("unknown", Box::new(|_| frame(0x77, 0, 0, &[1]))),
        (
            "continuation",
            Box::new(|round| match round {
                0 => frame(HEADERS, END_STREAM, 1, &get_list()),
                _ => frame(CONTINUATION, 0, 1, &[]),
            }),
        ),
        (
            "empty data",
            Box::new(|round| match round {
                0 => frame(HEADERS, END_HEADERS, 1, &[&[0x83][..], &get_list()[1..]].concat()),
                _ => frame(0, 0, 1, &[]),
            }),
        ),
    ];
    for (name, one) in floods {
        let (took, rounds) = flood(&mut raw(app.address), one);
        assert!(took < Duration::from_secs(10), "{name}: {rounds} in {took:?}");
        let other = run(async { get(&client(app.address).await, "/").await.unwrap() });
        assert_eq!(other, (200, "one".to_owned()), "after {name}");
    }
    eventually("nothing is under way", || app.endpoint(backend.address).unwrap()["in_flight"] == 0);
}

#[test]
fn streams_reset_after_they_were_taken_are_counted_too() {
    let backend = Backend::start(|peer| {
        peer.next();
        peer.wait_for_close();
    });
    let app = App::over(&[backend.address]);
    let mut stream = raw(app.address);
    let mut reading = stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || read_to_close(&mut reading));
    let (mut begun, mut is_cut, began) = (0u32, false, Instant::now());
    // Each stream lives long enough to be accepted, so the count of h2 itself does not see it. Many are opened at once,
    // so that a busy machine cannot make them slow enough to be allowed.
    while !is_cut && began.elapsed() < SOON {
        let ids = || (begun..begun + 16).map(|nth| nth * 2 + 1);
        let heads: Vec<u8> = ids().flat_map(|id| frame(HEADERS, END_HEADERS | END_STREAM, id, &get_list())).collect();
        let resets: Vec<u8> = ids().flat_map(|id| frame(RST_STREAM, 0, id, &8u32.to_be_bytes())).collect();
        is_cut = stream.write_all(&heads).is_err();
        pause("the streams live long enough to be taken", 1);
        is_cut |= stream.write_all(&resets).is_err();
        begun += 16;
    }
    stream.shutdown(Shutdown::Both).ok();
    reader.join().unwrap();
    assert!(is_cut, "{begun} in {:?}", began.elapsed());
}

#[test]
fn a_header_list_that_unfolds_is_not_taken() {
    let backend = Backend::named("one");
    let app = App::over(&[backend.address]);
    let mut stream = raw(app.address);
    // One entry of 4,000 bytes is put into the table and then named a thousand times: 4 MB of header list in 5 KB.
    let name = [&[0x40, 1][..], b"x", &[0x7f, 0xa1, 0x1e], &[b'y'; 4000]].concat();
    let list = [get_list(), name, vec![0xbe; 1000]].concat();
    stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &list)).unwrap();
    let refused = std::iter::from_fn(|| next_frame(&mut stream))
        .find(|(kind, _, id, _)| *kind == GOAWAY || (*id == 1 && [HEADERS, RST_STREAM].contains(kind)));
    assert!(refused.is_some());
    assert!(backend.seen().is_empty());
}

#[test]
fn large_bodies_pass_whole_in_both_directions() {
    let backend = Backend::start(|peer| {
        peer.serve(|seen| {
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", seen.body.len(), text(&seen.body)).into()
        })
    });
    let app = App::over(&[backend.address]);
    let body: Vec<u8> = (0..5_000_000u32).map(|nth| b'a' + (nth % 23) as u8).collect();
    run(async {
        let builder = h2::client::Builder::new();
        let client = client_with(app.address, &builder).await;
        let (response, mut upload) = begin(&client, sized(Method::PUT, body.len()), false).await;
        upload.send_data(Bytes::from(body.clone()), true).unwrap();
        let mut response = response.await.unwrap();
        assert!(read(response.body_mut()).await.unwrap() == body);
    });
}

#[test]
fn who_is_answered_early_may_finish_its_upload() {
    let backend = Backend::start(|peer| {
        let mut byte = [0];
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            std::io::Read::read_exact(&mut peer.stream, &mut byte).unwrap();
            head.push(byte[0]);
        }
        send(&mut peer.stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno");
        peer.wait_for_close();
    });
    let app = App::over(&[backend.address]);
    run(async {
        let client = client(app.address).await;
        let (response, mut body) = begin(&client, sized(Method::POST, 1 << 20), false).await;
        let (response, text, _) = whole(response).await.unwrap();
        assert_eq!((response.status().as_u16(), &text[..]), (404, &b"no"[..]));
        // There is no reset: all of the body is still taken, and discarded.
        let mut left = 1 << 20;
        while left > 0 {
            body.reserve_capacity(left.min(16_384));
            let granted = std::future::poll_fn(|cx| body.poll_capacity(cx)).await.unwrap().unwrap().min(left);
            left -= granted;
            body.send_data(Bytes::from(vec![0; granted]), left == 0).unwrap();
        }
    });
}

#[test]
fn an_upload_reset_without_an_error_is_never_whole_to_the_replica() {
    let backend = Backend::start(|peer| peer.serve(|_| answer("ok")));
    let app = App::over(&[backend.address]);
    run(async {
        let client = client(app.address).await;
        for length in [1, 100, 4000] {
            let (_response, mut body) = begin(&client, request(Method::POST, "/").body(()).unwrap(), false).await;
            body.send_data(Bytes::from(vec![b'x'; length]), false).unwrap();
            body.send_reset(h2::Reason::NO_ERROR);
        }
        assert_eq!(get(&client, "/").await.unwrap().0, 200);
    });
    assert!(backend.seen().iter().all(|seen| seen.line().starts_with("GET")), "{:?}", backend.seen());
}
