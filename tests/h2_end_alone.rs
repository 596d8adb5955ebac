//! Replicas that end a stream of HTTP/2 with an empty DATA frame of its own, behind the last byte of a body of known
//! length or behind a head without content, as Node.js and Hypercorn do. A client of HTTP/1.1 has got everything by
//! then.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use http::Response;
use tokio::time::{sleep, timeout};

use crate::support::client::{exchange, read_response};
use crate::support::h2_backend::{Call, H2Backend};
use crate::support::{App, SOON, connect, eventually, pause, send};

const H2C: &str = "protocol = \"h2c\"";

/// How long the end comes behind everything else.
const BEHIND: Duration = Duration::from_millis(50);

/// Sends the end, and says whether the stream was reset before.
async fn end_alone(mut body: SendStream<Bytes>, heard: Sender<Option<h2::Reason>>) {
    let reset = timeout(BEHIND, std::future::poll_fn(|cx| body.poll_reset(cx))).await;
    heard.send(reset.ok().map(Result::unwrap)).unwrap();
    body.send_data(Bytes::new(), true).ok();
}

/// Responds as the path says: `/status/length`. A length is announced, and sent unless there can be no content.
fn replica(heard: Sender<Option<h2::Reason>>) -> H2Backend {
    H2Backend::start(move |mut call| {
        let heard = heard.clone();
        async move {
            let path = call.request.uri().path().to_owned();
            let (status, length) = path.trim_start_matches('/').split_once('/').unwrap();
            let mut head = Response::builder().status(status);
            if !length.is_empty() {
                head = head.header("content-length", length);
            }
            let has_content = call.request.method() == "GET" && status != "304";
            let mut body = call.answer(head);
            if has_content && let Ok(length @ 1..) = length.parse() {
                body.send_data(Bytes::from(vec![b'x'; length]), false).unwrap();
            }
            end_alone(body, heard).await;
        }
    })
}

fn outcome(app: &App, outcome: &str) -> f64 {
    app.metric(&format!("unstick_requests_total{{pool=\"app\",outcome=\"{outcome}\"}}"))
}

#[test]
fn a_whole_response_is_whole_before_its_end_comes() {
    let (heard, resets) = channel();
    let replica = replica(heard);
    let app = App::builder(&[replica.address]).pool(H2C).workers(1).start();
    let mut client = connect(app.address);
    let mut so_far = 0;
    for (method, path, class) in [
        ("GET", "/200/2", "2xx"),
        ("GET", "/200/100000", "2xx"),
        ("GET", "/200/", "2xx"),
        ("HEAD", "/200/2", "2xx"),
        ("HEAD", "/200/", "2xx"),
        ("GET", "/204/", "2xx"),
        ("GET", "/304/9", "3xx"),
        ("GET", "/302/0", "3xx"),
        ("HEAD", "/302/0", "3xx"),
    ] {
        let before = outcome(&app, class);
        send(&mut client, format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let response = read_response(&mut client, method == "HEAD");
        assert_eq!(response.status.to_string(), path[1..4], "{method} {path}");
        assert_eq!(resets.recv_timeout(SOON).unwrap(), None, "{method} {path}: the replica hears of no reset");
        eventually("it is counted", || outcome(&app, class) == before + 1.0);
        so_far += 1;
    }
    assert_eq!((outcome(&app, "client_gone"), replica.connections(), so_far), (0.0, 1, 9));
    eventually("nothing is under way", || app.endpoint(replica.address).unwrap()["in_flight"] == 0);
}

/// Over HTTP/2 a stream ends with the head of such a response, so its client has everything too. h2 itself takes the
/// length of a 304 for broken when its end comes alone.
#[test]
fn a_head_without_content_is_the_whole_for_a_client_of_http2_as_well() {
    use crate::support::h2::{begin, client, run, whole};
    let (heard, resets) = channel();
    let replica = replica(heard);
    let app = App::builder(&[replica.address]).pool(H2C).workers(1).start();
    run(async {
        let client = client(app.address).await;
        let calls = [("HEAD", "/200/2"), ("HEAD", "/200/"), ("GET", "/204/"), ("GET", "/205/"), ("GET", "/304/9")];
        for (method, path) in calls.repeat(3) {
            let request = http::Request::builder().method(method).uri(format!("http://a.test{path}")).body(()).unwrap();
            let (head, body, _) = whole(begin(&client, request, true).await.0).await.unwrap();
            assert_eq!((head.status().as_str(), body.len()), (&path[1..4], 0), "{method} {path}");
            assert_eq!(resets.recv_timeout(SOON).unwrap(), None, "{method} {path}: the replica hears of no reset");
        }
    });
    eventually("all are counted", || outcome(&app, "2xx") + outcome(&app, "3xx") == 15.0);
    assert_eq!((outcome(&app, "client_gone"), outcome(&app, "cut")), (0.0, 0.0));
    let endpoint = app.endpoint(replica.address).unwrap();
    assert_eq!(endpoint["failures"], 0, "{endpoint}");
}

/// Trailers may follow a known length, and a client of HTTP/2 gets them.
#[test]
fn a_client_of_http2_gets_what_follows_a_length() {
    use crate::support::h2::{begin, client, run, whole};
    let replica = H2Backend::start(|mut call| async move {
        let mut body = call.answer(Response::builder().header("content-length", "2"));
        body.send_data(Bytes::from_static(b"ok"), false).unwrap();
        sleep(BEHIND).await;
        body.send_trailers(http::HeaderMap::from_iter([("x-sum".parse().unwrap(), "1".parse().unwrap())])).unwrap();
    });
    let app = App::builder(&[replica.address]).pool(H2C).start();
    run(async {
        let request = http::Request::get("http://a.test/").header("te", "trailers").body(()).unwrap();
        let (_, body, trailers) = whole(begin(&client(app.address).await, request, true).await.0).await.unwrap();
        assert_eq!((&body[..], trailers.unwrap()["x-sum"].to_str().unwrap()), (&b"ok"[..], "1"));
    });
}

/// A replica that never ends its stream is told that nobody waits for that.
#[test]
fn an_end_that_does_not_come_is_not_waited_for_long() {
    let (heard, resets) = channel();
    let replica = H2Backend::start(move |mut call| {
        let heard = heard.clone();
        async move {
            let mut body = call.answer(Response::builder().header("content-length", "2"));
            body.send_data(Bytes::from_static(b"ok"), false).unwrap();
            heard.send(std::future::poll_fn(|cx| body.poll_reset(cx)).await.unwrap()).unwrap();
        }
    });
    let app = App::builder(&[replica.address]).pool(H2C).start();
    assert_eq!(crate::support::client::get(app.address, "/").text(), "ok");
    assert_eq!(resets.recv_timeout(SOON).unwrap(), h2::Reason::CANCEL);
}

/// The whole upload of a call, in bytes, after a response of `202` that ends alone.
async fn accept(mut call: Call, seen: Sender<usize>) {
    let mut body = call.answer(Response::builder().status(202).header("content-length", "2"));
    body.send_data(Bytes::from_static(b"ok"), false).unwrap();
    sleep(BEHIND).await;
    body.send_data(Bytes::new(), true).ok();
    seen.send(call.body().await.0.len()).unwrap();
}

#[test]
fn an_upload_goes_on_behind_such_a_response_and_so_does_the_connection() {
    const LENGTH: usize = 300_000;
    let (seen, bytes) = channel();
    let replica = H2Backend::start(move |call| {
        let seen = seen.clone();
        async move { if call.request.method() == "POST" { accept(call, seen).await } else { call.say("next") } }
    });
    let app = App::builder(&[replica.address]).pool(H2C).start();
    let mut client = connect(app.address);
    for _ in 0..3 {
        send(&mut client, format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n"));
        let response = read_response(&mut client, false);
        assert_eq!((response.status, response.text().as_str()), (202, "ok"));
        for _ in 0..10 {
            send(&mut client, vec![b'u'; LENGTH / 10]);
            pause("the response has ended meanwhile", 20);
        }
        assert_eq!(exchange(&mut client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "next");
        assert_eq!(bytes.recv_timeout(SOON).unwrap(), LENGTH);
    }
}

/// Failures in a row are ended by a response that was whole.
#[test]
fn whole_responses_between_failures_prevent_an_ejection() {
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let replica = H2Backend::start(move |mut call| {
        let nth = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async move {
            if nth.is_multiple_of(4) {
                call.respond.send_response(Response::builder().status(503).body(()).unwrap(), true).unwrap();
                return;
            }
            let mut body = call.answer(Response::builder().header("content-length", "2"));
            body.send_data(Bytes::from_static(b"ok"), false).unwrap();
            sleep(Duration::from_millis(2)).await;
            body.send_data(Bytes::new(), true).ok();
        }
    });
    let (other, unwell) = (H2Backend::named("ok"), format!("{H2C}\nretry = {{ on_status = [503] }}"));
    let app = App::builder(&[replica.address, other.address]).pool(&unwell).workers(1).start();
    let mut client = connect(app.address);
    for _ in 0..100 {
        assert_eq!(exchange(&mut client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "ok");
    }
    let endpoint = app.endpoint(replica.address).unwrap();
    assert!(endpoint["failures"].as_u64().unwrap() > 5, "{endpoint}");
    assert_eq!(app.metric("unstick_ejections_total{pool=\"app\"}"), 0.0);
}
