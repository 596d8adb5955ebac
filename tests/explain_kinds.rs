//! What is told of requests that are not plain: tunnels, calls, streams, secrets, and connections that were closed.

use std::time::Duration;

use http::{HeaderMap, Request, Response};
use serde_json::json;
use tokio::time::sleep;

use crate::explain::{attempts, latest, listed};
use crate::support::backend::{Backend, answer, signal};
use crate::support::client::{exchange, get, read_response};
use crate::support::h2::{begin, client as h2_client, run, whole};
use crate::support::h2_backend::{Call, H2Backend, tls};
use crate::support::tls::Authority;
use crate::support::{App, connect, eventually, free_address, pause, read_until, send};

/// All are kept, and what takes 100 ms is slow.
const ALL: &str = "[explain]\nsample = 1\nslow = \"100ms\"\n";

#[test]
fn a_tunnel_that_lasts_is_not_slow() {
    let replica = Backend::start(|peer| {
        peer.own();
        if peer.next().is_some() {
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n";
            send(&mut peer.stream, head);
            peer.wait_for_close();
        }
    });
    let app = App::builder(&[replica.address]).more(ALL).workers(1).start();
    let mut client = connect(app.address);
    send(&mut client, "POST /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n");
    read_until(&mut client, b"\r\n\r\n");
    pause("the tunnel lasts", 200);
    drop(client);
    let story = latest(&app, "any");
    assert_eq!([&story["kinds"], &story["status"], &story["path"]], [&json!(["sampled"]), &json!(101), &json!("/ws")]);
    assert!(
        story["duration_us"].as_u64().unwrap() >= 200_000 && story["phases"]["head_us"].as_u64().unwrap() < 100_000
    );
}

#[test]
fn a_stream_of_events_is_slow_only_if_it_begins_late() {
    let replica = Backend::start(|peer| {
        while let Some(seen) = peer.next() {
            let kind = if seen.line().contains("/events") { "text/event-stream" } else { "text/html" };
            send(
                &mut peer.stream,
                format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"),
            );
            pause("the response lasts", 200);
            send(&mut peer.stream, "1\r\nx\r\n0\r\n\r\n");
        }
    });
    let app = App::builder(&[replica.address]).more(ALL).workers(1).start();
    let mut client = connect(app.address);
    for (path, kinds) in [("/events", json!(["sampled"])), ("/page", json!(["slow", "sampled"]))] {
        assert_eq!(exchange(&mut client, &format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).text(), "x");
        eventually("it is kept", || listed(&app, "any").first().is_some_and(|last| last["path"] == path));
        assert_eq!(latest(&app, "any")["kinds"], kinds, "{path}");
    }
}

#[test]
fn a_call_that_lasts_is_not_slow() {
    let replica = H2Backend::start(|mut call| async move {
        let mut answer = call.answer(Response::builder().header("content-type", "application/grpc"));
        sleep(Duration::from_millis(200)).await;
        let ok = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
        answer.send_trailers(ok).unwrap();
    });
    let app = App::builder(&[replica.address]).pool("protocol = \"h2c\"").more(ALL).workers(1).start();
    run(async {
        let channel = h2_client(app.address).await;
        let request = Request::post("http://a.test/test.Echo/Unary").header("content-type", "application/grpc");
        whole(begin(&channel, request.body(()).unwrap(), true).await.0).await.unwrap();
    });
    let story = latest(&app, "any");
    assert_eq!([&story["kinds"], &story["method"]], [&json!(["sampled"]), &json!("POST")], "{story}");
    assert_eq!(attempts(&story, &["/protocol", "/connection"]), json!([["HTTP/2", "new"]]));
}

#[test]
fn a_handshake_is_told_apart_from_the_connection() {
    let (authority, folder) = (Authority::new("explain"), tempfile::tempdir().unwrap());
    let (ca, pair) = (folder.path().join("ca.pem"), authority.issue(folder.path(), "replica", &["127.0.0.1"]));
    authority.write(&ca);
    let settings = tls(&pair, &["h2"], None);
    let say = |call: Call| async move { call.say("a") };
    let replica = H2Backend::start_with(h2::server::Builder::new(), Some(settings), say);
    let pool = format!("protocol = \"https\"\ntls.ca = \"{}\"", ca.display());
    let app = App::builder(&[replica.address]).pool(&pool).more(ALL).workers(1).start();
    assert_eq!(get(app.address, "/").status, 200);
    let story = latest(&app, "any");
    let attempt = &story["attempts"][0];
    assert!(attempt["connect_us"].is_u64() && attempt["tls_us"].as_u64().unwrap() > 0, "{attempt}");
}

#[test]
fn secrets_queries_and_fields_are_not_shown() {
    let (a, folder) = (Backend::named("a"), tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("token"), "hunter2secret").unwrap();
    let token = format!("\"${{file:{}}}\"", folder.path().join("token").display());
    let more = format!(
        "{ALL}[[route]]\npool = \"app\"\nheader = {{ x-key = {token} }}\n[[route]]\npath = \"/open\"\npool = \"app\"\n"
    );
    let app = App::builder(&[a.address]).more(&more).workers(1).start();
    let mut client = connect(app.address);
    let fields = "X-Key: hunter2secret\r\nAuthorization: Bearer opensesame\r\nCookie: id=opensesame\r\n";
    let request = format!("GET /reset/Hunter2Secret/x?code=opensesame HTTP/1.1\r\nHost: hunter2secret\r\n{fields}\r\n");
    assert_eq!(exchange(&mut client, &request).status, 200);
    let story = latest(&app, "any");
    assert_eq!([&story["path"], &story["host"]], [&json!("/reset/***/x"), &json!("***")]);
    let text = story.to_string().to_ascii_lowercase() + &app.admin_get("/v1/requests").text().to_ascii_lowercase();
    assert!(!text.contains("hunter2") && !text.contains("opensesame"), "{text}");
    assert!(story["route"]["conditions"].as_str().unwrap().contains("header x-key=***"), "{story}");
}

/// A text is cut before the control thread, which knows the secrets, masks it.
#[test]
fn what_is_left_of_a_secret_where_a_text_was_cut_is_not_shown() {
    let (a, folder) = (Backend::named("a"), tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("token"), "hunter2secret").unwrap();
    let token = format!("\"${{file:{}}}\"", folder.path().join("token").display());
    for length in (228..=240).step_by(4) {
        let path = format!("/{}", "p".repeat(length));
        let more = format!("{ALL}[[route]]\npath = \"{path}\"\npool = \"app\"\nheader = {{ x-key = {token} }}\n");
        let app = App::builder(&[a.address]).more(&more).workers(1).start();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Key: hunter2secret\r\n\r\n");
        assert_eq!(exchange(&mut connect(app.address), &request).status, 200);
        let conditions = latest(&app, "any")["route"]["conditions"].as_str().unwrap().to_owned();
        let shown = conditions.split_once("x-key=").map_or("", |(_, shown)| shown);
        assert!("***".starts_with(shown), "{length}: {conditions}");
    }
}

#[test]
fn a_trusted_proxy_names_client_and_request() {
    let a = Backend::named("a");
    let more = format!("{ALL}[listen.web]\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n");
    let app = App::builder(&[a.address]).more(&more).workers(1).start();
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: cart/7 x\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n";
    assert_eq!(exchange(&mut connect(app.address), request).status, 200);
    eventually("it is kept", || !listed(&app, "any").is_empty());
    let response = app.admin_get("/v1/requests/cart%2F7%20x");
    let story: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!([&story["id"], &story["client"]], [&json!("cart/7 x"), &json!("192.0.2.7")], "{story}");
}

#[test]
fn a_kept_connection_that_was_closed_is_told_of() {
    let (closed, was_closed) = signal();
    let replica = Backend::start(move |peer| {
        peer.own();
        if peer.next().is_some() {
            send(&mut peer.stream, answer("a"));
        }
        // What comes on it now meets a reset.
        if peer.number == 0 {
            peer.next_head();
            closed.lock().unwrap().send(()).ok();
        }
    });
    let app = App::builder(&[replica.address]).more("[explain]\nsample = 0\n").workers(1).start();
    let mut client = connect(app.address);
    for _ in 0..2 {
        assert_eq!(exchange(&mut client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    }
    was_closed.wait("the first connection met a request");
    let story = latest(&app, "retried");
    let told = attempts(&story, &["/connection", "/failure/cause", "/failure/request", "/failure/decision"]);
    assert_eq!(told, json!([["kept", "upstream-closed", "sent", "again"], ["new", null, null, null]]), "{story}");
}

#[test]
fn what_is_not_repeated_says_why() {
    let replica = Backend::start(|peer| {
        peer.own();
        peer.next();
    });
    let more = "[explain]\nsample = 0\n";
    let app = App::builder(&[replica.address, free_address()]).more(more).workers(1).start();
    let mut client = connect(app.address);
    send(&mut client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(read_response(&mut client, false).status, 502);
    let story = latest(&app, "failed");
    let told = attempts(&story, &["/failure/cause", "/failure/request", "/failure/decision"]);
    assert_eq!(told[0], json!(["upstream-closed", "sent", "may-have-been-executed"]), "{story}");
}

#[test]
fn an_unwell_response_is_an_attempt_with_a_status() {
    let sick = Backend::start(|peer| peer.serve(|_| b"HTTP/1.1 503 Sick\r\nContent-Length: 0\r\n\r\n".to_vec()));
    let well = Backend::named("well");
    let pool = "retry.on_status = [503]";
    let app = App::builder(&[sick.address, well.address]).pool(pool).more("[explain]\nsample = 0\n").workers(1).start();
    assert_eq!(get(app.address, "/").status, 200);
    let told = attempts(&latest(&app, "retried"), &["/status", "/failure/cause", "/failure/decision"]);
    assert_eq!(told, json!([[503, "unwell", "again"], [200, null, null]]));
}

/// Whatever comes at once is kept, or counted as dropped.
#[test]
fn of_a_flood_of_failures_nothing_vanishes_uncounted() {
    const COUNT: u64 = 700;
    let app = App::builder(&[free_address()]).more("[explain]\nsample = 0\n").workers(1).start();
    let mut client = connect(app.address);
    for _ in 0..COUNT {
        assert_eq!(exchange(&mut client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 502);
    }
    let list: serde_json::Value = serde_json::from_slice(&app.admin_get("/v1/requests?limit=1000").body).unwrap();
    let (kept, dropped) = (list["kept"]["failed"].as_u64().unwrap(), list["dropped"].as_u64().unwrap());
    assert!(kept >= 256 && kept + dropped == COUNT, "{kept} kept, {dropped} dropped");
    assert_eq!(app.metric("unstick_explain_dropped_total") as u64, dropped);
    assert_eq!(list["requests"].as_array().unwrap().len() as u64, kept);
}
