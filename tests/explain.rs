//! What the admin port tells of recent requests: where they went and why, what was tried, and where their time went.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use crate::support::backend::{Backend, answer, signal};
use crate::support::client::{exchange, get, read_response};
use crate::support::h2::{begin, client as h2_client, run, whole};
use crate::support::h2_backend::H2Backend;
use crate::support::{App, connect, eventually, free_address, pause, read_until, send};

/// Nothing is kept but what has a reason.
const REASONS: &str = "[explain]\nsample = 0\n";

/// The parsed body of a response of the admin port, and its status.
pub(crate) fn api(app: &App, path: &str) -> (u16, Value) {
    let response = app.admin_get(path);
    (response.status, serde_json::from_slice(&response.body).unwrap_or(Value::Null))
}

/// The requests of this kind, the latest first.
pub(crate) fn listed(app: &App, kind: &str) -> Vec<Value> {
    let (status, list) = api(app, &format!("/v1/requests?kind={kind}"));
    assert_eq!(status, 200, "{list}");
    list["requests"].as_array().unwrap().clone()
}

/// The whole story of the latest request of this kind.
#[track_caller]
pub(crate) fn latest(app: &App, kind: &str) -> Value {
    eventually(&format!("a request is {kind}"), || !listed(app, kind).is_empty());
    let summary = listed(app, kind).remove(0);
    let (status, story) = api(app, &format!("/v1/requests/{}", summary["id"].as_str().unwrap()));
    assert_eq!(status, 200, "{story}");
    for key in ["id", "at", "kinds", "method", "host", "path", "pool", "status", "outcome", "duration_us"] {
        assert_eq!(summary[key], story[key], "the summary says {key} too");
    }
    story
}

fn us(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// The attempts, each by these keys.
pub(crate) fn attempts(story: &Value, keys: &[&str]) -> Value {
    let attempts = story["attempts"].as_array().unwrap().iter();
    attempts
        .map(|attempt| keys.iter().map(|key| attempt.pointer(key).cloned().unwrap_or_default()).collect::<Vec<_>>())
        .collect()
}

/// A replica that takes its time.
fn slow(ms: u64) -> Backend {
    Backend::start(move |peer| {
        peer.serve(move |seen| {
            pause("a slow application", if seen.line().contains("/slow") { ms } else { 0 });
            answer("slow")
        })
    })
}

#[test]
fn a_502_names_each_endpoint_and_what_it_said() {
    let dead = [free_address(), free_address()];
    for (more, as_of) in [(REASONS, "failure"), ("", "pick")] {
        let app = App::builder(&dead).more(more).workers(1).start();
        assert_eq!(get(app.address, "/cart?token=hunter2").status, 502);
        let story = latest(&app, "failed");
        let facts = ["status", "outcome", "origin", "cause", "pool", "method", "path", "host", "listener", "client"];
        let expected = [
            json!(502),
            json!("answered"),
            json!("unstick"),
            json!("connect-failed"),
            json!("app"),
            json!("GET"),
            json!("/cart"),
            json!("test"),
            json!("web"),
            json!("127.0.0.1"),
        ];
        assert_eq!(facts.map(|key| story[key].clone()), expected, "{story}");
        assert_eq!(story["route"], json!({ "place": 1, "conditions": "* /" }));
        assert!(story["error"].as_str().unwrap().contains("refused"), "{story}");
        let told = attempts(&story, &["/endpoint", "/failure/cause", "/failure/request", "/failure/decision"]);
        let [first, second] = dead.map(|address| address.to_string());
        let again =
            json!([[first, "connect-failed", "unsent", "again"], [second, "connect-failed", "unsent", "again"]]);
        let told = told.as_array().unwrap();
        assert_eq!(json!(told[..2]), again, "round-robin");
        assert_eq!(told.last().unwrap()[3], "attempts-used-up", "{story}");
        assert_eq!(us(&story["attempts_made"]) as usize, told.len());
        let errors = attempts(&story, &["/failure/error"]);
        assert!(
            errors.as_array().unwrap().iter().all(|error| error[0].as_str().unwrap().contains("refused")),
            "{errors}"
        );
        let candidates = &story["candidates"];
        assert_eq!([&candidates["as_of"], &candidates["balance"]], [&json!(as_of), &json!("round-robin")]);
        assert_eq!(candidates["endpoints"].as_array().unwrap().len(), 2, "{candidates}");
        assert_eq!(candidates["endpoints"][0]["tried"], json!(as_of == "failure"), "{candidates}");
        assert_eq!(story["phases"]["routed_us"].is_null(), as_of == "failure");
    }
}

#[test]
fn a_retried_request_tells_of_both_attempts() {
    let (dead, alive) = (free_address(), Backend::named("a"));
    let app = App::builder(&[dead, alive.address]).more(REASONS).workers(1).start();
    assert_eq!(get(app.address, "/").status, 200);
    let story = latest(&app, "retried");
    assert_eq!(story["kinds"], json!(["retried"]));
    let told = attempts(&story, &["/endpoint", "/chosen", "/connection", "/status", "/failure/decision"]);
    let [dead, alive] = [dead, alive.address].map(|address| address.to_string());
    assert_eq!(told, json!([[dead, "balance", null, null, "again"], [alive, "balance", "new", 200, null]]));
    let (last, phases) = (&story["attempts"][1], &story["phases"]);
    assert!(last["connect_us"].is_u64() && last["tls_us"].is_null(), "{last}");
    let steps =
        [&phases["picked_us"], &phases["connected_us"], &phases["sent_us"], &phases["head_us"], &phases["end_us"]];
    assert!(steps.map(us).is_sorted(), "{phases}");
    assert_eq!([us(&story["attempts"][0]["end_us"]), us(&story["duration_us"])], [us(&last["began_us"]), us(steps[4])]);
    assert_eq!(alive_requests(&app, 1), 1, "one request is kept once, whatever its kinds");
}

fn alive_requests(app: &App, least: usize) -> usize {
    eventually("requests are kept", || listed(app, "any").len() >= least);
    listed(app, "any").len()
}

#[test]
fn slow_requests_are_kept_and_fast_ones_are_not() {
    let replica = slow(400);
    let more = "[explain]\nsample = 0\nslow = \"200ms\"\n";
    let app = App::builder(&[replica.address]).more(more).workers(1).start();
    for path in ["/a", "/slow?x=1", "/b"] {
        assert_eq!(get(app.address, path).status, 200);
    }
    let story = latest(&app, "slow");
    assert_eq!([&story["path"], &story["kinds"], &story["status"]], [&json!("/slow"), &json!(["slow"]), &json!(200)]);
    assert!(us(&story["phases"]["head_us"]) >= 400_000 && us(&story["phases"]["sent_us"]) < 400_000, "{story}");
    assert_eq!(story["attempts"][0]["connection"], "kept");
    assert_eq!(alive_requests(&app, 1), 1);
}

#[test]
fn of_the_others_a_sample_is_kept() {
    let a = Backend::named("a");
    let app = App::builder(&[a.address]).more("[explain]\nsample = 4\n").workers(1).start();
    for nth in 0..9 {
        assert_eq!(get(app.address, &format!("/{nth}")).status, 200);
    }
    eventually("three are kept", || listed(&app, "any").len() == 3);
    let paths: Vec<Value> = listed(&app, "sampled").iter().map(|summary| summary["path"].clone()).collect();
    assert_eq!(paths, ["/8", "/4", "/0"]);
    let story = latest(&app, "sampled");
    assert_eq!(story["candidates"]["as_of"], "pick");
    let endpoint = &story["candidates"]["endpoints"][0];
    assert_eq!(
        [&endpoint["in_flight"], &endpoint["tried"], &endpoint["weight"]],
        [&json!(0), &json!(false), &json!(1)]
    );
    assert!(story["phases"]["routed_us"].is_u64(), "{story}");
}

#[test]
fn nothing_is_kept_if_so_configured_and_an_edit_changes_that() {
    let dead = free_address();
    let app = App::builder(&[dead]).more("[explain]\nkeep = 0\n").workers(1).start();
    assert_eq!(get(app.address, "/").status, 502);
    let (status, list) = api(&app, "/v1/requests");
    assert_eq!((status, &list["requests"], &list["keep"]), (200, &json!([]), &json!(0)));
    let (status, error) = api(&app, "/v1/requests/abc");
    assert_eq!((status, &error["error"]), (404, &json!("no requests are kept: explain.keep is 0")));
    app.apply(&App::builder(&[dead]).more("[explain]\nkeep = 3\n").config());
    for nth in 0..5 {
        assert_eq!(get(app.address, &format!("/{nth}")).status, 502);
    }
    eventually("the last one is kept", || listed(&app, "failed").first().is_some_and(|last| last["path"] == "/4"));
    assert_eq!(listed(&app, "failed").len(), 3);
    app.apply(&App::builder(&[dead]).more("[explain]\nkeep = 0\n").config());
    eventually("all are forgotten", || listed(&app, "any").is_empty());
}

#[test]
fn what_is_asked_for_wrongly_is_told_so() {
    let a = Backend::named("a");
    let app = App::over(&[a.address]);
    for (path, status, words) in [
        ("/v1/requests?kind=odd", 400, "one of failed, retried, slow"),
        ("/v1/requests?limit=0", 400, "from 1 to 1000"),
        ("/v1/requests?limit=x", 400, "from 1 to 1000"),
        ("/v1/requests?since=1", 400, "no such parameter"),
        ("/v1/requests/a%2Fb", 404, "request `a/b` is not known"),
    ] {
        let (found, error) = api(&app, path);
        assert!(found == status && error["error"].as_str().unwrap().contains(words), "{path}: {found} {error}");
    }
}

#[test]
fn a_client_that_leaves_a_slow_replica_is_told_of() {
    let (asked, was_asked) = signal();
    let replica = Backend::start(move |peer| {
        if peer.next().is_some() {
            asked.lock().unwrap().send(()).ok();
            peer.wait_for_close();
        }
    });
    let more = "[explain]\nsample = 0\nslow = \"50ms\"\n";
    let app = App::builder(&[replica.address]).more(more).workers(1).start();
    let mut client = connect(app.address);
    send(&mut client, "POST /gone HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    was_asked.wait("the replica is asked");
    pause("the client's patience", 100);
    socket2::SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
    let story = latest(&app, "slow");
    assert_eq!(
        [&story["outcome"], &story["status"], &story["origin"]],
        [&json!("client-gone"), &json!(null), &json!(null)]
    );
    let told = attempts(&story, &["/endpoint", "/head_us", "/failure"]);
    assert_eq!(told, json!([[replica.address.to_string(), null, null]]));
}

#[test]
fn a_response_that_breaks_off_has_failed() {
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let may_go = std::sync::Mutex::new(may_go);
    let replica = Backend::start(move |peer| {
        peer.own();
        if peer.next().is_some() {
            send(&mut peer.stream, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
            may_go.lock().unwrap().recv().ok();
        }
    });
    let app = App::builder(&[replica.address]).more(REASONS).workers(1).start();
    let mut client = connect(app.address);
    send(&mut client, "GET /part HTTP/1.1\r\nHost: a\r\n\r\n");
    read_until(&mut client, b"half");
    go.send(()).unwrap();
    let story = latest(&app, "failed");
    let facts = ["outcome", "status", "origin", "bytes"].map(|key| story[key].clone());
    assert_eq!(facts, [json!("cut"), json!(200), json!("replica"), json!(4)]);
    assert!(!story["error"].as_str().unwrap().is_empty(), "{story}");
}

#[test]
fn refusals_are_kept_only_if_the_fault_is_ours() {
    let a = Backend::named("a");
    let more = "[explain]\nsample = 0\n[[route]]\npath = \"/app\"\npool = \"app\"\n\
        rate = { requests = 1, in = \"1h\" }\n[[route]]\npath = \"/shut\"\npool = \"app\"\nmaintenance = true\n";
    let app = App::builder(&[a.address]).more(more).workers(1).start();
    for (path, status) in [("/none", 404), ("/app", 200), ("/app", 429), ("/shut", 503)] {
        assert_eq!(get(app.address, path).status, status, "{path}");
    }
    eventually("the 503 is kept", || !listed(&app, "any").is_empty());
    let (status, list) = api(&app, "/v1/requests?kind=any&limit=10");
    assert_eq!((status, list["requests"].as_array().unwrap().len()), (200, 1), "{list}");
    let only = &list["requests"][0];
    let facts = ["path", "status", "cause", "pool", "endpoint", "attempts_made"].map(|key| only[key].clone());
    assert_eq!(facts, [json!("/shut"), json!(503), json!("maintenance"), json!(null), json!(null), json!(0)]);
}

#[test]
fn who_waits_in_the_queue_is_told_how_long() {
    let (asked, was_asked) = signal();
    let (go, may_go) = std::sync::mpsc::channel();
    let may_go = std::sync::Mutex::new(may_go);
    let replica = Backend::start(move |peer| {
        while peer.next().is_some() {
            asked.lock().unwrap().send(()).ok();
            may_go.lock().unwrap().recv().ok();
            send(&mut peer.stream, answer("a"));
        }
    });
    let (pool, more) = ("max_requests = 1\nqueue.timeout = \"1m\"", "[explain]\nsample = 1\n");
    let app = App::builder(&[replica.address]).pool(pool).more(more).workers(1).start();
    let mut clients: Vec<_> = ["/first", "/second"].into_iter().map(|path| ask(app.address, path)).collect();
    was_asked.wait("the first one");
    eventually("the second one waits", || app.status()["pools"][0]["waiting"] == 1);
    pause("what it waits for", 50);
    [(), ()].into_iter().for_each(|()| go.send(()).unwrap());
    assert!(clients.iter_mut().all(|client| read_response(client, false).status == 200));
    eventually("both are kept", || listed(&app, "any").len() == 2);
    let story = latest(&app, "any");
    assert_eq!([&story["path"], &story["attempts"][0]["chosen"]], [&json!("/second"), &json!("queue")]);
    assert!(us(&story["queue_us"]) >= 50_000 && us(&story["queue_us"]) <= us(&story["phases"]["picked_us"]), "{story}");
}

fn ask(address: SocketAddr, path: &str) -> std::net::TcpStream {
    let mut client = connect(address);
    send(&mut client, format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    client
}

#[test]
fn http2_on_both_sides_is_told_as_such() {
    let replica = H2Backend::start(|call| async move { call.say("a") });
    let app = App::builder(&[replica.address]).pool("protocol = \"h2c\"").more("[explain]\nsample = 1\n").start();
    run(async {
        let channel = h2_client(app.address).await;
        for path in ["/one", "/two"] {
            let request = Request::get(format!("http://a.test{path}?q=1")).body(()).unwrap();
            let (response, body, _) = whole(begin(&channel, request, true).await.0).await.unwrap();
            assert_eq!((response.status().as_u16(), body), (200, Bytes::from_static(b"a").to_vec()));
        }
    });
    eventually("both are kept", || listed(&app, "any").len() == 2);
    let story = latest(&app, "any");
    assert_eq!(
        [&story["version"], &story["host"], &story["path"]],
        [&json!("HTTP/2.0"), &json!("a.test"), &json!("/two")]
    );
    let told = attempts(&story, &["/protocol", "/connection", "/status"]);
    assert_eq!(told, json!([["HTTP/2", "kept", 200]]));
}

#[test]
fn a_long_path_or_method_is_told_by_its_beginning() {
    let a = Backend::named("a");
    let app = App::builder(&[a.address]).more("[explain]\nsample = 1\n").workers(1).start();
    let mut client = connect(app.address);
    let request = format!("{} /{} HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(9_000), "x".repeat(9_000));
    assert_eq!(exchange(&mut client, &request).status, 200);
    let story = latest(&app, "any");
    assert_eq!(story["path"].as_str().unwrap().len(), 256);
    assert_eq!(story["method"], "M".repeat(256));
}
