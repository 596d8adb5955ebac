//! What operators set at run time over the admin port: what traffic sees of it, for how long it lasts, and who may not.

mod access;
mod openapi;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::backend::Backend;
use crate::support::client::{Response, exchange, get, who};
use crate::support::{App, connect, eventually, pool_of};

pub(crate) const JSON: &str = "Content-Type: application/json\r\n";

/// A request that changes something, with these fields.
#[track_caller]
pub(crate) fn post(admin: SocketAddr, path: &str, fields: &str, body: &str) -> Response {
    let host = if fields.contains("Host:") { String::new() } else { format!("Host: {admin}\r\n") };
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\n{host}{fields}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    exchange(&mut connect(admin), &head)
}

pub(crate) fn path(endpoint: SocketAddr, verb: &str) -> String {
    format!("/v1/pools/app/endpoints/{endpoint}/{verb}")
}

/// Sets something of an endpoint. Returns what it says.
#[track_caller]
fn set(app: &App, endpoint: SocketAddr, verb: &str, body: &str) -> Value {
    let response = post(app.admin, &path(endpoint, verb), JSON, body);
    assert_eq!(response.status, 200, "{}", response.text());
    serde_json::from_str(&response.text()).unwrap()
}

/// The status of a response, and its error.
fn refused(response: &Response) -> (u16, String) {
    let body: Value = serde_json::from_str(&response.text()).unwrap_or_default();
    (response.status, body["error"].as_str().unwrap_or_default().to_owned())
}

/// What was set of an endpoint, without when; `null` if nothing was.
fn override_of(app: &App, endpoint: SocketAddr) -> Value {
    let mut set = app.endpoint(endpoint).unwrap()["override"].take();
    if let Some(fields) = set.as_object_mut() {
        let since = fields.remove("since").unwrap();
        assert!(since.as_str().unwrap().ends_with('Z'), "{since}");
    }
    set
}

fn shares(counts: &[(&str, usize)]) -> BTreeMap<String, usize> {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[test]
fn each_verb_is_seen_by_traffic() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let app = App::over(&[a.address, b.address]);
    assert_eq!(who(app.address, "/", 8), shares(&[("a", 4), ("b", 4)]));

    let did = set(&app, a.address, "drain", "");
    let said = did["did"].as_str().unwrap();
    assert!(said.contains("takes no new requests") && said.contains("lasts until its entry"), "{did}");
    assert_eq!((&did["wanted"], &did["endpoint"]), (&json!("drain"), &json!(a.address.to_string())));
    assert_eq!(who(app.address, "/", 8), shares(&[("b", 8)]));
    assert_eq!(override_of(&app, a.address), json!({ "state": "drain", "by": "127.0.0.1" }));
    assert_eq!(app.metric("unstick_pool_overrides{pool=\"app\"}"), 1.0);

    let last = set(&app, b.address, "down", "{}");
    assert!(last["did"].as_str().unwrap().ends_with("No endpoint of pool app takes requests now"), "{last}");
    assert_eq!(app.endpoint(b.address).unwrap()["wanted"], "down");

    set(&app, a.address, "ready", "");
    assert_eq!(who(app.address, "/", 8), shares(&[("a", 8)]));
    assert_eq!(override_of(&app, a.address), Value::Null, "that is what the file says");

    set(&app, b.address, "ready", "");
    let did = set(&app, a.address, "weight", r#"{"weight": 3}"#);
    assert_eq!((&did["weight"], &did["override"]["weight"]), (&json!(3), &json!(3)));
    assert_eq!(who(app.address, "/", 8), shares(&[("a", 6), ("b", 2)]));
    let recent = app.status()["reloads"]["recent"][0].clone();
    assert_eq!((&recent["trigger"], &recent["ok"]), (&json!("control"), &json!(true)));
    assert_eq!(recent["message"], format!("pool app: {} weight 1 -> 3 (by 127.0.0.1)", a.address));
}

#[test]
fn it_is_said_who_gets_the_requests_when_nobody_healthy_is_left() {
    let [a, b, c] = ["a", "b", "c"].map(Backend::named);
    let health = "[pool.app.health]\npath = \"/healthz\"\ninterval = \"20ms\"\nfall = 1\nrise = 1\n";
    let config = |open: &str| pool_of(&[a.address, b.address, c.address], &format!("{open}{health}"), "");
    let app = App::start(&config(""));
    let dead = b.address;
    b.set_healthy(false);
    app.wait_for(dead, "unhealthy");
    [a.address, c.address].iter().for_each(|address| app.wait_for(*address, "healthy"));
    let did = |endpoint, verb, body| set(&app, endpoint, verb, body)["did"].as_str().unwrap().to_owned();

    let first = did(a.address, "drain", "");
    assert!(first.ends_with("until its entry of the file changes"), "{first}");
    let last = did(c.address, "drain", "");
    assert!(last.ends_with(&format!("No healthy endpoint is left in pool app: all requests go to {dead}")), "{last}");
    assert!(did(dead, "ready", "").contains("takes requests although its check fails, as before. This is what"));

    app.apply(&config("fail_open_below = \"0%\"\n"));
    let none = did(dead, "ready", "");
    assert!(none.contains("takes requests when its check passes") && none.ends_with("it takes no requests"), "{none}");

    did(a.address, "weight", r#"{"weight": 3}"#);
    let ready = did(a.address, "ready", "");
    assert!(ready.contains("takes requests. This is what the file says"), "its weight is another matter: {ready}");
    assert!(did(a.address, "weight", r#"{"weight": 1}"#).contains("This is what the file says"));
}

#[test]
fn it_is_set_against_the_file_and_lasts_until_its_entry_changes() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let config = |a_state: &str, more: &str| {
        let backends = format!(
            "[[pool.app.backend]]\naddress = \"{}\"\nstate = \"{a_state}\"\n[[pool.app.backend]]\naddress = \"{}\"\n",
            a.address, b.address
        );
        format!("{more}\n[pool.app]\n{backends}")
    };
    let app = App::start(&config("down", ""));
    assert_eq!(who(app.address, "/", 4), shares(&[("b", 4)]));
    set(&app, a.address, "ready", "");
    set(&app, b.address, "drain", "");
    assert_eq!(who(app.address, "/", 4), shares(&[("a", 4)]));

    app.apply(&config("down", "[timeouts]\nconnect = \"1s\""));
    assert_eq!(who(app.address, "/", 4), shares(&[("a", 4)]), "an edit of something else");
    assert_eq!(override_of(&app, a.address), json!({ "state": "ready", "by": "127.0.0.1" }));

    app.apply(&config("drain", ""));
    assert_eq!(override_of(&app, a.address), Value::Null);
    assert_eq!(override_of(&app, b.address), json!({ "state": "drain", "by": "127.0.0.1" }), "of the other entry");
    let message = app.status()["reloads"]["last"]["message"].clone();
    let expected = format!("{} is as the file says, no longer ready (set by 127.0.0.1)", a.address);
    assert!(message.as_str().unwrap().contains(&expected), "{message}");
    assert_eq!(app.endpoint(a.address).unwrap()["wanted"], "drain");
}

#[test]
fn endpoints_of_names_are_set_one_by_one() {
    let a = Backend::named("a");
    let config = format!("[pool.app]\nbackends = [\"localhost:{}\"]\n[dns]\nfamilies = \"ipv4\"\n", a.address.port());
    let app = App::start(&config);
    eventually("the name is resolved", || app.endpoint(a.address).is_some());
    set(&app, a.address, "drain", "");
    assert_eq!(app.endpoint(a.address).unwrap()["wanted"], "drain");
    app.apply(&format!("{config}[timeouts]\nconnect = \"1s\"\n"));
    assert_eq!(app.endpoint(a.address).unwrap()["wanted"], "drain");
    set(&app, a.address, "ready", "");
    assert_eq!(who(app.address, "/", 2), shares(&[("a", 2)]));
}

#[test]
fn what_cannot_be_done_is_said() {
    let a = Backend::named("a");
    let app = App::over(&[a.address]);
    let weight = path(a.address, "weight");
    for (path, body, status, error) in [
        ("/v1/pools/shop/endpoints/127.0.0.1:1/drain", "", 404, "there is no pool `shop`"),
        ("/v1/pools/app/endpoints/127.0.0.1:1/drain", "", 404, "pool app has no endpoint `127.0.0.1:1`"),
        (&*weight, "", 400, "a number from 1 to 256"),
        (&weight, r#"{"weight": 0}"#, 400, "a number from 1 to 256"),
        (&path(a.address, "drain"), r#"{"weight": 1}"#, 400, "the body is not `{}`"),
        (&weight, &" ".repeat(5000), 413, "at most 4096 bytes"),
    ] {
        let (found, why) = refused(&post(app.admin, path, JSON, body));
        assert!(found == status && why.contains(error), "{path} {body}: {found} {why}");
    }
    assert_eq!(app.metric("unstick_admin_refused_total{why=\"unknown\"}"), 2.0);
    assert_eq!(app.metric("unstick_admin_refused_total{why=\"body\"}"), 4.0);
    let get = app.admin_get(&weight);
    assert_eq!((get.status, get.field("allow")), (405, Some("POST")));
    let elsewhere = post(app.admin, "/status", JSON, "");
    assert_eq!((elsewhere.status, elsewhere.field("allow")), (405, Some("GET, HEAD")));
    assert_eq!(app.metric("unstick_admin_refused_total{why=\"method\"}"), 2.0);
    assert_eq!(override_of(&app, a.address), Value::Null);
}

#[test]
fn nothing_is_changed_while_it_stops() {
    let a = Backend::named("a");
    let app = App::builder(&[a.address]).timeouts("shutdown_delay = \"1h\"").start();
    app.stop();
    eventually("it stops", || app.admin_get("/readyz").status == 503);
    for path in [&*path(a.address, "drain"), "/v1/reload"] {
        let (status, why) = refused(&post(app.admin, path, JSON, ""));
        assert!(status == 409 && why.contains("is stopping"), "{path}: {status} {why}");
    }
    assert_eq!(app.endpoint(a.address).unwrap()["wanted"], "ready");
    app.interrupt();
}

#[test]
fn a_reload_says_what_it_has_changed_or_why_it_was_refused() {
    let a = Backend::named("a");
    let app = App::over(&[a.address]);
    let reload = || post(app.admin, "/v1/reload", JSON, "");
    let did: Value = serde_json::from_str(&reload().text()).unwrap();
    assert!(did["did"].as_str().unwrap().starts_with("reloaded: nothing changed"), "{did}");
    app.edit(&pool_of(&[a.address], "slow_start = \"7s\"", ""));
    let did: Value = serde_json::from_str(&reload().text()).unwrap();
    let changed = did["did"].as_str().unwrap().contains("slow_start 10s -> 7s");
    // The edit may have been seen before it was asked for.
    let recent = app.status()["reloads"]["recent"].to_string();
    assert!(changed || recent.contains("slow_start 10s -> 7s"), "{did} {recent}");
    app.edit("oops");
    let (status, why) = refused(&reload());
    assert!(status == 422 && why.contains("unstick.toml:"), "{status} {why}");
}

#[test]
fn pages_of_other_sites_and_foreign_names_change_nothing() {
    let a = Backend::named("a");
    let app = App::over(&[a.address]);
    let (drain, admin) = (path(a.address, "drain"), app.admin);
    for (fields, status, why) in [
        ("Origin: http://evil.test\r\n", 403, "other_site"),
        ("Origin: null\r\n", 403, "other_site"),
        ("Sec-Fetch-Site: cross-site\r\n", 403, "other_site"),
        ("Host: evil.test\r\n", 421, "host"),
        (&*format!("Host: evil.test\r\nOrigin: http://{admin}\r\n"), 421, "host"),
    ] {
        let counter = format!("unstick_admin_refused_total{{why=\"{why}\"}}");
        let before = app.metric(&counter);
        let response = post(admin, &drain, &format!("{JSON}{fields}"), "");
        assert_eq!(response.status, status, "{fields}: {}", response.text());
        assert_eq!(app.metric(&counter), before + 1.0, "{fields}");
    }
    let form = post(admin, &drain, "Content-Type: text/plain\r\n", "{}");
    assert_eq!((form.status, app.metric("unstick_admin_refused_total{why=\"content_type\"}")), (415, 1.0));
    assert_eq!(app.endpoint(a.address).unwrap()["wanted"], "ready");
    let own = format!("{JSON}Origin: http://{admin}\r\nSec-Fetch-Site: same-origin\r\n");
    assert_eq!(post(admin, &drain, &own, "{}").status, 200, "the page of the admin port itself");
}

#[test]
fn a_question_is_answered_by_the_state_of_now_and_counted_by_nothing() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let routes = "[[route]]\npool = \"app\"\nfallback = \"spare\"\nrate = { requests = 1, in = \"1h\" }\n\
                  [pool.spare]\nbackends = [\"SPARE\"]\n";
    let health = "[pool.app.health]\npath = \"/healthz\"\ninterval = \"20ms\"\nfall = 1\nrise = 1\n";
    let app = App::start(&pool_of(&[a.address], health, &routes.replace("SPARE", &b.address.to_string())));
    let route = || -> Value {
        let response = app.admin_get("/v1/route?url=http://shop.test/x%3Fq=1&header=x-a:+1&from=10.1.2.3");
        assert_eq!(response.status, 200, "{}", response.text());
        serde_json::from_str(&response.text()).unwrap()
    };
    app.wait_for(a.address, "healthy");
    for _ in 0..3 {
        let said = route();
        assert_eq!((&said["pool"], &said["request"]["target"]), (&json!("app"), &json!("/x?q=1")), "{said}");
        assert_eq!(said["route"]["place"], 1);
    }
    assert_eq!(get(app.address, "/").status, 200, "no question was counted by the rate");
    a.set_healthy(false);
    app.wait_for(a.address, "unhealthy");
    assert_eq!(route()["pool"], "spare", "the fallback of now");
}
