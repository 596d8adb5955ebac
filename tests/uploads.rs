//! Request bodies to replicas that speak HTTP/2, in all cases in which they do not simply arrive whole.

use std::future::pending;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::time::{Instant, sleep};

use crate::support::client::read_response;
use crate::support::h2::{begin, client, run, whole};
use crate::support::h2_backend::H2Backend;
use crate::support::{App, SOON, connect, eventually, pause, send};

const H2C: &str = "protocol = \"h2c\"";
const BEGINNING: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbeginning";

/// A replica that sends a whole response at once, and reports how the request body ended.
fn hasty(ended: mpsc::Sender<Option<h2::Reason>>) -> H2Backend {
    H2Backend::start(move |mut call| {
        let ended = ended.clone();
        async move {
            call.respond.send_response(Response::new(()), true).unwrap();
            let reason = loop {
                match call.request.body_mut().data().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break error.reason(),
                    None => break None,
                }
            };
            ended.send(reason).unwrap();
        }
    })
}

#[test]
fn the_status_of_a_call_ends_its_upload_at_once() {
    let (ended, was_ended) = mpsc::channel();
    let replica = hasty(ended);
    let app = App::builder(&[replica.address]).pool(H2C).timeouts("request_body = \"1h\"").start();
    run(async {
        let request = Request::post("http://a.test/").header("content-type", "application/grpc").body(()).unwrap();
        let (response, mut body) = begin(&client(app.address).await, request, false).await;
        body.send_data(Bytes::from_static(b"beginning"), false).unwrap();
        assert_eq!(whole(response).await.unwrap().0.status(), 200);
    });
    assert_eq!(was_ended.recv_timeout(SOON).unwrap(), Some(h2::Reason::CANCEL));
    eventually("nothing is under way", || app.endpoint(replica.address).unwrap()["in_flight"] == 0);
}

#[test]
fn a_client_that_stops_sending_is_told_so_in_time_and_the_replica_hears_cancel() {
    let (ended, was_ended) = mpsc::channel();
    let replica = H2Backend::start(move |mut call| {
        let ended = ended.clone();
        async move {
            while let Some(Ok(_)) = call.request.body_mut().data().await {}
            let reason = std::future::poll_fn(|cx| call.respond.poll_reset(cx)).await;
            ended.send(reason.unwrap()).unwrap();
        }
    });
    let app =
        App::builder(&[replica.address]).pool(H2C).timeouts("request_body = \"400ms\"\nresponse_head = \"1h\"").start();
    let mut stream = connect(app.address);
    send(&mut stream, BEGINNING);
    let part_sent = Instant::now() + Duration::from_millis(200);
    eventually("a part of the time has passed", || Instant::now() >= part_sent);
    send(&mut stream, "more");
    let response = read_response(&mut stream, false);
    assert_eq!((response.status, response.field("x-unstick-error")), (408, Some("request-body-timeout")));
    let waited = part_sent.elapsed();
    assert!(waited >= Duration::from_millis(390), "counted from the last part: {waited:?}");
    assert_eq!(was_ended.recv_timeout(SOON).unwrap(), h2::Reason::CANCEL);
    assert_eq!(app.endpoint(replica.address).unwrap()["failures"], 0);
}

#[test]
fn a_client_that_stops_sending_while_it_is_answered_is_cut_off_and_nobody_else_is_blamed() {
    let replica = H2Backend::start(|mut call| async move {
        let mut answer = call.answer(Response::builder());
        while answer.send_data(Bytes::from_static(b"part"), false).is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    let app = App::builder(&[replica.address]).pool(H2C).timeouts("request_body = \"200ms\"").start();
    let mut stream = connect(app.address);
    send(&mut stream, BEGINNING);
    let (bytes, is_orderly) = crate::support::read_to_close(&mut stream);
    assert!(bytes.starts_with(b"HTTP/1.1 200") && !is_orderly);
    assert_eq!(app.endpoint(replica.address).unwrap()["failures"], 0);
}

/// It may still be read, so it is given up only when nothing of it was read for long.
#[test]
fn a_body_that_nobody_takes_gives_its_stream_back_in_the_end() {
    for window in [0, 5] {
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(1).initial_window_size(window);
        let (ended, was_ended) = mpsc::channel();
        let replica = H2Backend::start_with(builder, None, move |mut call| {
            let ended = ended.clone();
            async move {
                let is_get = call.request.method() == "GET";
                let mut stream = call.respond.send_response(Response::new(()), true).unwrap();
                if !is_get {
                    ended.send(std::future::poll_fn(|cx| stream.poll_reset(cx)).await.ok()).unwrap();
                }
            }
        });
        let app = App::builder(&[replica.address]).pool(H2C).timeouts("response_body = \"500ms\"").workers(1).start();
        let mut stream = connect(app.address);
        send(&mut stream, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nbeginning");
        assert_eq!(read_response(&mut stream, false).status, 200);
        assert_eq!(crate::support::client::get(app.address, "/").status, 200, "others do not wait for that");
        // Nor does it help the body that its client goes on to ask.
        let began = Instant::now();
        let reason = loop {
            match was_ended.try_recv() {
                Ok(reason) => break reason,
                Err(_) => assert!(began.elapsed() < SOON, "it is never given up"),
            }
            send(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(read_response(&mut stream, false).status, 200);
            pause("between two requests", 20);
        };
        assert_eq!(reason, Some(h2::Reason::CANCEL));
        let connections = replica.connections();
        for _ in 0..2 {
            assert_eq!(crate::support::client::get(app.address, "/").status, 200);
        }
        assert_eq!(replica.connections(), connections, "the stream is free again");
    }
}

#[test]
fn trailers_pass_but_not_those_that_say_who_the_client_is_or_how_it_came() {
    let replica = H2Backend::start(|mut call| async move {
        let (_, trailers) = call.body().await;
        let mut names: Vec<String> = trailers.unwrap().keys().map(ToString::to_string).collect();
        names.sort();
        let mut answer = call.answer(Response::builder());
        answer.send_data(Bytes::from(names.join(" ")), false).unwrap();
        let kept =
            ["x-sum", "x-forwarded-host"].map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1")));
        answer.send_trailers(HeaderMap::from_iter(kept)).unwrap();
    });
    let app = App::builder(&[replica.address]).pool(H2C).start();
    run(async {
        let request = Request::post("http://a.test/").header("te", "trailers").body(()).unwrap();
        let (response, mut body) = begin(&client(app.address).await, request, false).await;
        let names = ["x-checksum", "client-cert", "client_cert", "x-forwarded-for", "authorization", "host"];
        let trailers = names.map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1")));
        body.send_trailers(HeaderMap::from_iter(trailers)).unwrap();
        let (_, text, trailers) = whole(response).await.unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "x-checksum");
        let trailers = trailers.unwrap();
        assert!(trailers.contains_key("x-sum") && trailers.len() == 1, "{trailers:?}");
    });
}

#[test]
fn an_upload_that_goes_on_is_not_bounded_by_the_time_for_the_answer() {
    let replica = H2Backend::start(|mut call| async move {
        let (body, _) = call.body().await;
        call.say(&body.len().to_string());
    });
    let timeouts = "[timeouts]\nresponse_head = \"300ms\"\nrequest_body = \"10s\"";
    let app = App::builder(&[replica.address]).pool(H2C).more(timeouts).start();
    run(async {
        let request = Request::post("http://a.test/").body(()).unwrap();
        let (response, mut body) = begin(&client(app.address).await, request, false).await;
        for pause_ms in [100, 100, 100, 100, 100, 700] {
            sleep(Duration::from_millis(pause_ms)).await;
            body.send_data(Bytes::from_static(b"part"), false).unwrap();
        }
        body.send_data(Bytes::new(), true).unwrap();
        let (response, text, _) = whole(response).await.unwrap();
        assert_eq!((response.status().as_u16(), &text[..]), (200, &b"24"[..]));
    });
    assert_eq!(app.endpoint(replica.address).unwrap()["failures"], 0);
}

#[test]
fn a_connection_that_stands_still_gets_no_more_requests() {
    let replica = H2Backend::start(|mut call| async move {
        if call.request.method() != "GET" {
            pending::<()>().await;
        }
        call.respond.send_response(Response::new(()), true).unwrap();
    });
    let app = App::builder(&[replica.address]).pool(H2C).timeouts("response_head = \"300ms\"").workers(1).start();
    let mut stream = connect(app.address);
    send(&mut stream, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nbeginning");
    assert_eq!(read_response(&mut stream, false).status, 504);
    for _ in 0..3 {
        assert_eq!(crate::support::client::get(app.address, "/").status, 200);
    }
    assert_eq!(replica.connections(), 2);
}
