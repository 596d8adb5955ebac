//! gRPC: calls of all kinds, deadlines, errors, health checks. The messages are raw bytes, because the proxy does not
//! look at them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use http::{HeaderMap, Request, Response};
use tokio::time::{Instant, sleep};

use crate::support::h2::{begin, client, read, run, whole};
use crate::support::h2_backend::{Call, H2Backend};
use crate::support::{App, SOON, free_address};

const H2C: &str = "protocol = \"h2c\"";

fn call(method: &str) -> http::request::Builder {
    Request::post(format!("http://a.test/test.Echo/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
}

fn trailers(status: &'static str) -> HeaderMap {
    HeaderMap::from_iter([
        ("grpc-status".parse().unwrap(), status.parse().unwrap()),
        ("x-extra".parse().unwrap(), "kept".parse().unwrap()),
    ])
}

fn head() -> http::response::Builder {
    Response::builder().header("content-type", "application/grpc")
}

/// A replica with a method for each kind of call.
fn echo(name: &'static str) -> H2Backend {
    H2Backend::start(move |mut call| async move {
        match call.request.uri().path() {
            "/test.Echo/Unary" => {
                call.body().await;
                let mut answer = call.answer(head());
                answer.send_data(name.into(), false).unwrap();
                answer.send_trailers(trailers("0")).unwrap();
            }
            "/test.Echo/Bidi" => bidi(call).await,
            "/test.Echo/Fail" => {
                let response = head().header("grpc-status", "7").header("x-extra", "kept").body(()).unwrap();
                call.respond.send_response(response, true).unwrap();
            }
            _ => {
                let _open = call.answer(head());
                sleep(SOON).await;
            }
        }
    })
}

/// Sends each part back as it arrives.
async fn bidi(mut call: Call) {
    let mut answer: SendStream<Bytes> = call.answer(head());
    while let Some(Ok(part)) = call.request.body_mut().data().await {
        call.request.body_mut().flow_control().release_capacity(part.len()).unwrap();
        answer.send_data(part, false).unwrap();
    }
    answer.send_trailers(trailers("0")).unwrap();
}

#[test]
fn both_sides_of_a_call_that_has_begun_may_be_silent() {
    let replica = echo("one");
    let timeouts = "[timeouts]\nrequest_body = \"100ms\"\nresponse_body = \"100ms\"";
    let app = App::builder(&[replica.address]).pool(H2C).more(timeouts).start();
    run(async {
        let channel = client(app.address).await;
        let (response, mut up) = begin(&channel, call("Bidi").body(()).unwrap(), false).await;
        let mut response = response.await.unwrap();
        for _ in 0..2 {
            sleep(Duration::from_millis(400)).await;
            up.send_data(Bytes::from_static(b"x"), false).unwrap();
            let part = response.body_mut().data().await.unwrap().unwrap();
            assert_eq!(part, "x");
        }
    });
}

#[test]
fn a_hundred_unary_calls_on_one_channel_are_spread_over_the_replicas() {
    let replicas = [echo("one"), echo("two")];
    let app = App::builder(&replicas.each_ref().map(|replica| replica.address)).pool(H2C).start();
    let mut counts = BTreeMap::new();
    run(async {
        let channel = client(app.address).await;
        for _ in 0..100 {
            let (response, mut body) = begin(&channel, call("Unary").body(()).unwrap(), false).await;
            body.send_data(Bytes::from_static(b"\0\0\0\0\0"), true).unwrap();
            let (_, body, trailers) = whole(response).await.unwrap();
            let trailers = trailers.unwrap();
            assert_eq!(
                (&trailers["grpc-status"], &trailers["x-extra"]),
                (&"0".parse().unwrap(), &"kept".parse().unwrap())
            );
            *counts.entry(String::from_utf8(body).unwrap()).or_insert(0) += 1;
        }
    });
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [50, 50]);
}

#[test]
fn messages_of_a_bidirectional_call_pass_one_by_one() {
    let replica = echo("one");
    let app = App::builder(&[replica.address]).pool(H2C).start();
    run(async {
        let channel = client(app.address).await;
        let (response, mut up) = begin(&channel, call("Bidi").body(()).unwrap(), false).await;
        let mut response = response.await.unwrap();
        for nth in 0..50u8 {
            up.send_data(Bytes::from(vec![nth; 100]), false).unwrap();
            let mut got = Vec::new();
            while got.len() < 100 {
                let part = response.body_mut().data().await.unwrap().unwrap();
                response.body_mut().flow_control().release_capacity(part.len()).unwrap();
                got.extend(part);
            }
            assert_eq!(got, [nth; 100]);
        }
        up.send_data(Bytes::new(), true).unwrap();
        assert!(read(response.body_mut()).await.unwrap().is_empty());
        assert_eq!(response.body_mut().trailers().await.unwrap().unwrap()["grpc-status"], "0");
    });
}

#[test]
fn an_answer_of_trailers_only_stays_one() {
    let replica = echo("one");
    let app = App::builder(&[replica.address]).pool(H2C).start();
    run(async {
        let channel = client(app.address).await;
        let (response, _) = begin(&channel, call("Fail").body(()).unwrap(), true).await;
        let response = response.await.unwrap();
        assert_eq!(
            (&response.headers()["grpc-status"], &response.headers()["x-extra"]),
            (&"7".parse().unwrap(), &"kept".parse().unwrap())
        );
        assert!(response.body().is_end_stream());
    });
}

#[test]
fn the_proxy_s_own_errors_are_answers_of_grpc() {
    let dead = free_address();
    let app = App::builder(&[dead]).pool(&format!("{H2C}\n[pool.app.queue]\nsize = 0")).start();
    run(async {
        let channel = client(app.address).await;
        let (response, mut body) = begin(&channel, call("Unary").body(()).unwrap(), false).await;
        body.send_data(Bytes::from_static(b"\0\0\0\0\0"), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        let field = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(
            (field("grpc-status"), field("content-type"), field("x-unstick-error")),
            ("14".into(), "application/grpc".into(), "connect-failed".into())
        );
        assert!(field("grpc-message").contains("no replica accepted a connection"));
    });
    // The metrics count it as the server error that it is.
    assert_eq!(app.metric("unstick_requests_total{pool=\"app\",outcome=\"5xx\"}"), 1.0);
}

#[test]
fn a_deadline_ends_a_call_before_and_after_the_answer_has_begun() {
    let silent = H2Backend::start(|call| async move {
        sleep(SOON).await;
        drop(call);
    });
    let streaming = echo("one");
    for (replica, begins) in [(&silent, false), (&streaming, true)] {
        let app = App::builder(&[replica.address]).pool(H2C).start();
        run(async {
            let channel = client(app.address).await;
            let began = Instant::now();
            let request = call("Endless").header("grpc-timeout", "300m").body(()).unwrap();
            let (response, _body) = begin(&channel, request, false).await;
            let mut response = response.await.unwrap();
            if begins {
                assert!(response.body_mut().data().await.unwrap().unwrap_err().is_reset());
            } else {
                assert_eq!(response.headers()["grpc-status"], "4");
            }
            assert!(
                (Duration::from_millis(250)..Duration::from_secs(5)).contains(&began.elapsed()),
                "{:?}",
                began.elapsed()
            );
        });
    }
}

#[test]
fn cancelling_a_call_cancels_it_at_the_replica() {
    let (cancelled, was_cancelled) = std::sync::mpsc::channel();
    let replica = H2Backend::start(move |mut call| {
        let cancelled = cancelled.clone();
        async move {
            let mut answer = call.answer(head());
            let reason = std::future::poll_fn(|cx| answer.poll_reset(cx)).await.unwrap();
            cancelled.send(reason).unwrap();
        }
    });
    let app = App::builder(&[replica.address]).pool(H2C).start();
    run(async {
        let channel = client(app.address).await;
        let (response, mut up) = begin(&channel, call("Bidi").body(()).unwrap(), false).await;
        let response = response.await.unwrap();
        up.send_reset(h2::Reason::CANCEL);
        drop(response);
        let reason = tokio::task::spawn_blocking(move || was_cancelled.recv_timeout(SOON).unwrap()).await.unwrap();
        assert_eq!(reason, h2::Reason::CANCEL);
    });
}

#[test]
fn calls_that_are_safe_to_repeat_do_not_see_a_replica_die() {
    let mut replicas = vec![echo("one"), echo("two")];
    let addresses: Vec<_> = replicas.iter().map(|replica| replica.address).collect();
    let app = App::builder(&addresses).pool(H2C).start();
    run(async {
        let channel = client(app.address).await;
        let mut tasks = tokio::task::JoinSet::new();
        let mut done = 0;
        while done < 2000 {
            while tasks.len() < 32 {
                let channel = channel.clone();
                tasks.spawn(async move {
                    let request = call("Unary").header("idempotency-key", "k").body(()).unwrap();
                    let (response, mut body) = begin(&channel, request, false).await;
                    body.send_data(Bytes::from_static(b"\0\0\0\0\0"), true).unwrap();
                    let (response, _, trailers) = whole(response).await.unwrap();
                    trailers.as_ref().unwrap_or(response.headers())["grpc-status"].clone()
                });
            }
            assert_eq!(tasks.join_next().await.unwrap().unwrap(), "0");
            done += 1;
            if done == 1000 {
                replicas.pop();
            }
        }
    });
}

#[test]
fn health_is_asked_for_as_grpc_says() {
    let serving = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&serving);
    let replica = H2Backend::start(move |mut call| {
        let state = Arc::clone(&state);
        async move {
            let (body, _) = call.body().await;
            assert_eq!(call.request.uri().path(), "/grpc.health.v1.Health/Check");
            assert_eq!(body, b"\0\0\0\0\x0b\x0a\x09shop.Cart");
            let mut answer = call.answer(head());
            let status = if state.load(Relaxed) { 1 } else { 2 };
            answer.send_data(Bytes::from(vec![0, 0, 0, 0, 2, 8, status]), false).unwrap();
            answer.send_trailers(trailers("0")).unwrap();
        }
    });
    let unknown = H2Backend::start(|mut call| async move {
        call.respond.send_response(head().header("grpc-status", "12").body(()).unwrap(), true).unwrap();
    });
    let health = "[pool.app.health]\nkind = \"grpc\"\nservice = \"shop.Cart\"\ninterval = \"50ms\"";
    let app = App::builder(&[replica.address, unknown.address]).pool(&format!("{H2C}\n{health}")).start();
    app.wait_for(replica.address, "healthy");
    app.wait_for(unknown.address, "unhealthy");
    assert!(app.endpoint(unknown.address).unwrap()["reason"].as_str().unwrap().contains("no health service"));
    serving.store(false, Relaxed);
    app.wait_for(replica.address, "unhealthy");
    assert!(app.endpoint(replica.address).unwrap()["reason"].as_str().unwrap().contains("NOT_SERVING"));
    serving.store(true, Relaxed);
    app.wait_for(replica.address, "healthy");
}

#[test]
fn a_client_s_own_deadlines_are_no_failures_of_the_replica() {
    let silent = H2Backend::start(|call| async move {
        sleep(SOON).await;
        drop(call);
    });
    let app = App::builder(&[silent.address]).pool(H2C).start();
    run(async {
        let channel = client(app.address).await;
        for _ in 0..10 {
            let (response, _body) =
                begin(&channel, call("Unary").header("grpc-timeout", "1n").body(()).unwrap(), false).await;
            assert_eq!(response.await.unwrap().headers()["grpc-status"], "4");
        }
    });
    let endpoint = app.endpoint(silent.address).unwrap();
    assert_eq!((endpoint["failures"].as_u64(), endpoint["admission"].as_str()), (Some(0), Some("full")));
}
