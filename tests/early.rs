//! Responses that come before the request body has come whole: what becomes of the rest of it, and of the next request
//! on the same connection.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use http::{Request, Response as Head};
use socket2::SockRef;
use tokio::time::{Instant, sleep};

use crate::support::backend::{Backend, answer, signal};
use crate::support::client::{Response, exchange, read_response};
use crate::support::h2::{begin, client, run, whole};
use crate::support::h2_backend::H2Backend;
use crate::support::{App, SOON, connect, eventually, free_address, pause, read_to_close, read_until, send};

const GET: &str = "GET /ok HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// One pool for each way of refusing a request early. Requests to `/ok` are served.
fn refusing(ok: SocketAddr, rest: &str) -> App {
    let mute = Backend::start(|peer| {
        read_until(&mut peer.stream, b"\r\n\r\n");
        peer.stream.shutdown(std::net::Shutdown::Both).ok();
    });
    let (mute_at, nobody) = (mute.address, free_address());
    let config = format!(
        "[pool.app]\nbackends = [\"{ok}\"]\n[pool.none]\nbackend = [{{ address = \"{ok}\", state = \"drain\" }}]\n\
         [pool.nobody]\nbackends = [\"{nobody}\"]\n[pool.mute]\nbackends = [\"{mute_at}\"]\n\
         [[route]]\nhost = \"a.test\"\npool = \"app\"\n\
         [[route]]\nhost = \"a.test\"\npath = \"/none\"\npool = \"none\"\n\
         [[route]]\nhost = \"a.test\"\npath = \"/nobody\"\npool = \"nobody\"\n\
         [[route]]\nhost = \"a.test\"\npath = \"/mute\"\npool = \"mute\"\n\
         [limits]\nrequest_body = \"20B\"\n[timeouts]\n{rest}"
    );
    // It lives as long as the test binary.
    std::mem::forget(mute);
    App::start(&config)
}

/// The start of a request, and the status that it gets before its body has come.
const REFUSED: &[(&str, u16)] = &[
    ("POST / HTTP/1.1\r\nHost: b.test", 404),
    ("TRACE / HTTP/1.1\r\nHost: a.test", 405),
    ("POST /none HTTP/1.1\r\nHost: a.test", 503),
    ("POST /nobody HTTP/1.1\r\nHost: a.test", 502),
    ("POST /mute HTTP/1.1\r\nHost: a.test", 502),
];

/// Sends the rest of a body and the next request in one go, as a client may that was not told of a close.
#[track_caller]
fn goes_on(stream: &mut TcpStream, refused: &Response, rest: &[u8]) {
    assert_eq!(refused.field("connection"), None, "{}", refused.head);
    send(stream, [rest, GET.as_bytes()].concat());
    assert_eq!(read_response(stream, false).text(), "ok", "after {}", refused.head);
    assert_eq!(exchange(stream, GET).text(), "ok");
}

#[track_caller]
fn ends(mut stream: TcpStream, refused: &Response) {
    assert_eq!(refused.field("connection"), Some("close"), "{}", refused.head);
    assert_eq!(read_to_close(&mut stream), (Vec::new(), true));
}

#[test]
fn the_next_request_is_served_after_an_early_refusal_whose_body_ends() {
    let backend = Backend::named("ok");
    let app = refusing(backend.address, "");
    for &(head, status) in REFUSED {
        let mut stream = connect(app.address);
        let refused = exchange(&mut stream, &format!("{head}\r\nContent-Length: 10\r\n\r\nabc"));
        assert_eq!(refused.status, status);
        goes_on(&mut stream, &refused, b"defghij");
        // A body without a length that has come with its head.
        let chunked = format!("{head}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
        let refused = exchange(&mut stream, &chunked);
        assert_eq!(refused.status, status);
        goes_on(&mut stream, &refused, b"");
        let refused = exchange(&mut stream, &format!("{head}\r\nContent-Length: 3\r\n\r\nabc"));
        goes_on(&mut stream, &refused, b"");
    }
    let mut stream = connect(app.address);
    let refused = exchange(&mut stream, "POST /ok HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\nabc");
    assert_eq!(refused.status, 413);
    goes_on(&mut stream, &refused, &[b'x'; 99_997]);
    let chunked = "POST /ok HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n\
                   c\r\n123456789012\r\nc\r\n123456789012\r\nc\r\n123456789012\r\n0\r\n\r\n";
    let refused = exchange(&mut stream, chunked);
    assert_eq!(refused.status, 413);
    goes_on(&mut stream, &refused, b"");
}

/// The rest of a body is read by the task that waits for the next head. Nobody else tells it of the end.
#[test]
fn the_next_request_is_heard_as_soon_as_the_rest_of_a_body_has_come() {
    let backend = Backend::named("ok");
    let app = refusing(backend.address, "");
    let began = Instant::now();
    for rest in [&b""[..], b"def"] {
        let (mut stream, length) = (connect(app.address), 3 + rest.len());
        for _ in 0..20 {
            let refused = exchange(&mut stream, &format!("{}\r\nContent-Length: {length}\r\n\r\nabc", REFUSED[0].0));
            goes_on(&mut stream, &refused, rest);
        }
    }
    // Without being told it looks again when it is to be parked, a second later.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn a_close_after_an_early_refusal_is_announced() {
    let backend = Backend::named("ok");
    let app = refusing(backend.address, "");
    for &(head, status) in REFUSED {
        for fields in ["Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "Content-Length: 100000000\r\n\r\nabc"] {
            let mut stream = connect(app.address);
            let refused = exchange(&mut stream, &format!("{head}\r\n{fields}"));
            assert_eq!(refused.status, if status > 500 && fields.starts_with("Content") { 413 } else { status });
            ends(stream, &refused);
        }
    }
    // A client that waits for 100 may leave the body out.
    let mut stream = connect(app.address);
    let expecting = "POST / HTTP/1.1\r\nHost: b.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    let refused = exchange(&mut stream, expecting);
    assert_eq!(refused.status, 404, "no 100 for a body that nobody wants");
    ends(stream, &refused);
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for_any_longer_than_others() {
    let backend = Backend::named("ok");
    let app = refusing(backend.address, "request_body = \"500ms\"");
    let (head, _) = REFUSED[0];
    let mut stream = connect(app.address);
    let refused = exchange(&mut stream, &format!("{head}\r\nContent-Length: 10\r\n\r\nabc"));
    assert_eq!((refused.status, refused.field("connection")), (404, None));
    let began = Instant::now();
    assert!(read_to_close(&mut stream).0.is_empty());
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
    // The same for a replica that waits.
    let mut stream = connect(app.address);
    let refused = exchange(&mut stream, "POST /ok HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nabc");
    assert_eq!(refused.status, 408);
    ends(stream, &refused);
}

/// A replica that responds as soon as it has a head, then reads the body and says how long it was.
fn hasty(head: &'static str) -> (Backend, std::sync::mpsc::Receiver<usize>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let backend = Backend::start(move |peer| {
        while let Some(request) = peer.next_head() {
            if request.starts_with("GET") {
                send(&mut peer.stream, answer("ok"));
                continue;
            }
            send(&mut peer.stream, head);
            let length: usize = crate::support::client::field(&request, "content-length").unwrap().parse().unwrap();
            while peer.ahead.len() < length && peer.fill().is_some() {}
            let came = peer.ahead.len().min(length);
            peer.ahead.drain(..came);
            sender.lock().unwrap().send(came).unwrap();
        }
    });
    (backend, receiver)
}

const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\nContent-Length: 3\r\n\r\nyes";

#[test]
fn an_upload_goes_on_after_the_response_of_a_replica_that_reads_it() {
    for head in [ACCEPTED, "HTTP/1.1 401 Who\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 204 Fine\r\n\r\n"] {
        let (backend, came) = hasty(head);
        let app = App::over(&[backend.address]);
        let mut stream = connect(app.address);
        for length in [10, 1_000_000, 20_000_000] {
            let request = format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\n\r\n");
            let early = exchange(&mut stream, &request);
            assert!([202, 401, 204].contains(&early.status) && early.field("connection").is_none(), "{}", early.head);
            assert_eq!(app.endpoint(backend.address).unwrap()["in_flight"], 1, "the request is not over");
            pause("the response is over for a while", 50);
            stream.write_all(&vec![b'x'; length]).unwrap();
            assert_eq!(came.recv_timeout(SOON).unwrap(), length);
            assert_eq!(exchange(&mut stream, GET).text(), "ok");
            eventually("the request is over", || app.endpoint(backend.address).unwrap()["in_flight"] == 0);
        }
        assert_eq!(app.endpoint(backend.address).unwrap()["failures"], 0);
    }
}

/// Some servers write an empty line too many. It is the beginning of nothing, and no reason to end the upload.
#[test]
fn an_upload_goes_on_although_more_than_the_response_has_come() {
    let (sender, came) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let backend = Backend::start(move |peer| {
        if peer.next_head().is_some() {
            send(&mut peer.stream, ACCEPTED);
            pause("so that it comes by itself", 30);
            send(&mut peer.stream, "\r\n");
            while peer.ahead.len() < 100_000 && peer.fill().is_some() {}
            sender.lock().unwrap().send(peer.ahead.len()).unwrap();
        }
    });
    let app = App::builder(&[backend.address]).workers(1).start();
    let mut client = connect(app.address);
    assert_eq!(exchange(&mut client, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\n").status, 202);
    pause("the empty line has come too", 80);
    client.write_all(&[b'x'; 100_000]).unwrap();
    assert_eq!(came.recv_timeout(SOON).unwrap(), 100_000);
}

/// The end of its connection is seen although nothing more comes of the client's body.
#[test]
fn an_upload_ends_when_its_replica_has_responded_and_left() {
    let backend = Backend::start(|peer| {
        if peer.next_head().is_some() {
            send(&mut peer.stream, "HTTP/1.1 413 Large\r\nContent-Length: 3\r\n\r\n");
            pause("the response is not over when its head is passed on", 50);
            send(&mut peer.stream, "big");
            pause("the response is over before the connection is", 50);
            peer.stream.shutdown(std::net::Shutdown::Both).unwrap();
        }
    });
    let app = App::builder(&[backend.address]).timeouts("request_body = \"10m\"").workers(1).start();
    let mut client = connect(app.address);
    let early = exchange(&mut client, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100\r\n\r\nbegin");
    assert_eq!((early.status, early.text().as_str()), (413, "big"));
    eventually("the request is over", || app.endpoint(backend.address).unwrap()["in_flight"] == 0);
}

/// The same over HTTP/2. Of a body that breaks off it says 0.
fn hasty_h2() -> (H2Backend, std::sync::mpsc::Receiver<usize>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let backend = H2Backend::start(move |mut call| {
        let sender = sender.clone();
        async move {
            let early = Head::builder().status(202).body(()).unwrap();
            call.respond.send_response(early, true).unwrap();
            sender.send(call.body().await.0.len()).unwrap();
        }
    });
    (backend, receiver)
}

/// What a replica says, while this client goes on.
async fn told(came: &std::sync::mpsc::Receiver<usize>) -> usize {
    let until = Instant::now() + SOON;
    loop {
        match came.try_recv() {
            Ok(length) => return length,
            Err(_) if Instant::now() < until => sleep(Duration::from_millis(5)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn an_upload_over_http2_goes_on_after_its_response() {
    let (h1, came_by_h1) = hasty(ACCEPTED);
    let (h2, came_by_h2) = hasty_h2();
    let replicas = [(h1.address, "", came_by_h1), (h2.address, "protocol = \"h2c\"", came_by_h2)];
    for (replica, pool, came) in replicas {
        let app = App::builder(&[replica]).pool(pool).start();
        for length in [10, 200_000, 2_000_000] {
            run(async {
                let request = Request::post("http://a.test/").header("content-length", length).body(()).unwrap();
                let (response, mut body) = begin(&client(app.address).await, request, false).await;
                assert_eq!(whole(response).await.unwrap().0.status(), 202);
                assert_eq!(app.endpoint(replica).unwrap()["in_flight"], 1, "the request is not over");
                let mut left = length;
                while left > 0 {
                    body.reserve_capacity(left);
                    let capacity = std::future::poll_fn(|cx| body.poll_capacity(cx)).await.unwrap().unwrap();
                    left -= capacity;
                    body.send_data(vec![b'x'; capacity].into(), left == 0).unwrap();
                }
                assert_eq!(told(&came).await, length);
            });
            eventually("the request is over", || app.endpoint(replica).unwrap()["in_flight"] == 0);
        }
        if !pool.is_empty() {
            let mut stream = connect(app.address);
            for length in [10, 2_000_000] {
                let head = format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\n\r\n");
                let early = exchange(&mut stream, &head);
                assert_eq!((early.status, early.field("connection")), (202, None));
                stream.write_all(&vec![b'x'; length]).unwrap();
                assert_eq!(came.recv_timeout(SOON).unwrap(), length);
            }
            assert_eq!(exchange(&mut stream, GET).status, 202, "the connection goes on");
        }
        assert_eq!(app.endpoint(replica).unwrap()["failures"], 0);
    }
}

/// A replica allows so many streams on a connection.
#[test]
fn an_upload_over_http2_that_went_on_gives_its_stream_back_when_it_ends() {
    let (backend, came) = hasty_h2();
    let app = App::builder(&[backend.address]).pool("protocol = \"h2c\"").workers(1).start();
    let mut stream = connect(app.address);
    for _ in 0..150 {
        let early = exchange(&mut stream, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\n");
        assert_eq!(early.status, 202);
        send(&mut stream, "abc");
        assert_eq!(came.recv_timeout(SOON).unwrap(), 3);
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_connection_of_http2_that_only_an_upload_uses_is_not_unused() {
    let (backend, came) = hasty_h2();
    let app = App::builder(&[backend.address])
        .pool("protocol = \"h2c\"")
        .timeouts("upstream_idle = \"200ms\"")
        .workers(1)
        .start();
    let mut stream = connect(app.address);
    let early = exchange(&mut stream, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(early.status, 202);
    for _ in 0..5 {
        pause("unused connections are closed meanwhile", 400);
        send(&mut stream, "x");
    }
    assert_eq!(came.recv_timeout(SOON).unwrap(), 5);
}

#[test]
fn an_upload_over_http2_that_stops_after_its_response_ends_in_time() {
    let (backend, came) = hasty_h2();
    let app = App::builder(&[backend.address]).pool("protocol = \"h2c\"").timeouts("request_body = \"400ms\"").start();
    run(async {
        let request = Request::post("http://a.test/").body(()).unwrap();
        let (response, mut body) = begin(&client(app.address).await, request, false).await;
        body.send_data("abc".into(), false).unwrap();
        assert_eq!(whole(response).await.unwrap().0.status(), 202);
        std::future::poll_fn(|cx| body.poll_reset(cx)).await.expect("the stream is reset");
    });
    assert_eq!(came.recv_timeout(SOON).unwrap(), 0, "the replica hears that there will be no more");
    eventually("it is freed", || app.endpoint(backend.address).unwrap()["in_flight"] == 0);
}

#[test]
fn the_next_request_is_served_when_the_replica_does_not_read_on() {
    let backend = Backend::start(|peer| {
        while let Some(request) = peer.next_head() {
            if !request.starts_with("GET") {
                send(&mut peer.stream, "HTTP/1.1 401 Who\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
                return peer.own();
            }
            send(&mut peer.stream, answer("ok"));
        }
    });
    let app = App::over(&[backend.address]);
    let mut stream = connect(app.address);
    let refused = exchange(&mut stream, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nabc");
    assert_eq!(refused.status, 401);
    goes_on(&mut stream, &refused, b"defghij");
    let chunked = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let refused = exchange(&mut stream, chunked);
    assert_eq!(refused.status, 401);
    ends(stream, &refused);
}

#[test]
fn a_connection_that_is_told_to_close_is_not_held_by_a_body_that_trickles() {
    let backend = Backend::start(|peer| {
        if peer.next_head().is_some() {
            send(&mut peer.stream, "HTTP/1.1 401 Who\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let app = App::over(&[backend.address]);
    let mut stream = connect(app.address);
    let chunked = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let refused = exchange(&mut stream, chunked);
    assert_eq!((refused.status, refused.field("connection")), (401, Some("close")));
    let began = Instant::now();
    assert_eq!(read_to_close(&mut stream), (Vec::new(), true));
    assert!(began.elapsed() < Duration::from_secs(2), "our half is closed at once: {:?}", began.elapsed());
    while stream.write_all(b"1\r\nx\r\n").is_ok() {
        assert!(began.elapsed() < Duration::from_secs(10), "what trickles is discarded for two seconds");
        pause("a client that goes on", 200);
    }
}

#[test]
fn an_upload_that_stops_after_its_response_ends_in_time_and_frees_the_replica() {
    let (backend, came) = hasty(ACCEPTED);
    let app = App::builder(&[backend.address]).timeouts("request_body = \"400ms\"").start();
    let mut stream = connect(app.address);
    let early = exchange(&mut stream, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nabc");
    assert_eq!(early.status, 202);
    assert!(read_to_close(&mut stream).0.is_empty());
    assert_eq!(came.recv_timeout(SOON).unwrap(), 3);
    eventually("it is freed", || app.endpoint(backend.address).unwrap()["in_flight"] == 0);
}

#[test]
fn an_upload_that_the_replica_takes_no_more_of_is_discarded_in_time() {
    let (begun, has_begun) = signal();
    let backend = Backend::start(move |peer| {
        while let Some(request) = peer.next_head() {
            if request.starts_with("GET") {
                send(&mut peer.stream, answer("ok"));
                continue;
            }
            send(&mut peer.stream, ACCEPTED);
            begun.lock().unwrap().send(()).unwrap();
            // It keeps its connection and reads nothing.
            while std::io::Read::read(&mut &peer.stream, &mut []).is_ok() {
                pause("the replica hangs", 100);
            }
        }
    });
    let app = App::builder(&[backend.address]).timeouts("response_body = \"500ms\"").start();
    let mut stream = connect(app.address);
    let length = 7_000_000;
    let head = format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\n\r\n");
    assert_eq!(exchange(&mut stream, &head).status, 202);
    has_begun.wait("the replica has responded");
    stream.write_all(&vec![b'x'; length]).unwrap();
    assert_eq!(exchange(&mut stream, GET).text(), "ok");
    eventually("it is freed", || app.endpoint(backend.address).unwrap()["in_flight"] == 0);
}

#[test]
fn what_a_replica_said_before_it_closed_is_heard_although_writing_failed() {
    let backend = Backend::start(|peer| {
        if peer.next_head().is_some() {
            send(&mut peer.stream, "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 4\r\n\r\nhuge");
            // What was not read makes the kernel send a reset behind that.
            peer.own();
        }
    });
    let app = App::builder(&[backend.address]).pool("eject = { failures = 0 }").start();
    for round in 0..60 {
        let mut stream = connect(app.address);
        let mut writer = stream.try_clone().unwrap();
        let sender = std::thread::spawn(move || {
            let head = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4000000\r\n\r\n";
            writer.write_all(head.as_bytes()).ok();
            let part = [b'x'; 16 * 1024];
            while writer.write_all(&part).is_ok() {}
        });
        let response = read_response(&mut stream, false);
        assert_eq!((response.status, response.text().as_str()), (413, "huge"), "round {round}: {}", response.head);
        stream.shutdown(std::net::Shutdown::Both).ok();
        sender.join().unwrap();
    }
    assert_eq!(app.endpoint(backend.address).unwrap()["failures"], 0);
}

#[test]
fn requests_behind_the_last_one_do_not_destroy_its_response() {
    let backend = Backend::start(|peer| peer.serve(|_| answer(&"x".repeat(8 << 20))));
    let app = App::builder(&[backend.address]).workers(1).start();
    let mut stream = connect(app.address);
    let last = "GET /last HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    // More than the proxy reads together with the head, so that some of it waits in the kernel when the proxy closes.
    send(&mut stream, [last, &GET.repeat(4_000)].concat());
    let (bytes, is_orderly) = read_to_close(&mut stream);
    assert!(is_orderly && bytes.len() > 8 << 20, "{} bytes, in order: {is_orderly}", bytes.len());
    assert_eq!(backend.seen().len(), 1, "nothing behind the last request is served");
}

/// Linux reports a reset only once. Here a write hears of it, because the client takes nothing of the response
/// meanwhile; to the read that follows it looks like an orderly end.
#[test]
fn a_response_without_a_length_whose_reset_only_a_write_has_heard_of_is_no_whole_one() {
    let (cut, was_cut) = signal();
    let backend = Backend::start(move |peer| {
        if peer.next_head().is_none_or(|head| !head.starts_with("POST")) {
            return;
        }
        send(&mut peer.stream, "HTTP/1.1 200 OK\r\n\r\n");
        peer.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        while peer.stream.write_all(&[b'x'; 16 * 1024]).is_ok() {}
        peer.own();
        SockRef::from(&peer.stream).set_linger(Some(Duration::ZERO)).unwrap();
        cut.lock().unwrap().send(()).unwrap();
    });
    let app = App::over(&[backend.address]);
    let mut stream = connect(app.address);
    send(&mut stream, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\nabc");
    let head = String::from_utf8(read_until(&mut stream, b"\r\n\r\n")).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("chunked"), "{head}");
    was_cut.wait("nobody takes more of the response, and the replica gives up");
    pause("the reset arrives, and then the connection is as a script that has ended leaves it", 100);
    for _ in 0..3 {
        send(&mut stream, [b'x'; 5000]);
        pause("a write of the proxy hears of the reset", 100);
    }
    let (body, _) = read_to_close(&mut stream);
    assert!(body.len() > 16 * 1024, "the response had begun");
    assert!(!body.ends_with(b"0\r\n\r\n"), "what broke off is not taken for whole");
}
