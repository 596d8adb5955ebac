//! The dashboard on the admin port: the page, its policy, and the events that it follows.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;

use serde_json::Value;
use tokio::time::Instant;

use crate::support::backend::Backend;
use crate::support::client::{Response, exchange, who};
use crate::support::{App, connect, eventually, pause, pool_of, read_to_close, read_until, send, text};

/// Frequent enough that a test need not wait.
const CHECK: &str = "[pool.app.health]\npath = \"/healthz\"\ninterval = \"20ms\"\n";

/// As many listeners as there may be.
const LISTENERS_MAX: usize = 4;

/// What Chromium sends.
const BROWSER: &str = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n";

#[track_caller]
fn ask(admin: SocketAddr, path: &str, fields: &str) -> Response {
    exchange(&mut connect(admin), &format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n{fields}\r\n"))
}

/// A listener of `/events`.
struct Listener(BufReader<TcpStream>);

impl Listener {
    #[track_caller]
    fn new(admin: SocketAddr) -> Self {
        let mut stream = connect(admin);
        send(&mut stream, format!("GET /events HTTP/1.1\r\nHost: {admin}\r\n\r\n"));
        let head = text(&read_until(&mut stream, b"\r\n\r\n"));
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("text/event-stream"), "{head}");
        Self(BufReader::new(stream))
    }

    /// The next event with this name.
    #[track_caller]
    fn next(&mut self, name: &str) -> Value {
        loop {
            let event = text(&read_until(&mut self.0, b"\n\n"));
            let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or_else(|| panic!("{event}"));
            if event.contains(&format!("event: {name}\n")) {
                return serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"));
            }
        }
    }

    /// Waits for a state that fits.
    #[track_caller]
    fn state_where(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let mut state = Value::Null;
        eventually(what, || {
            state = self.next("state");
            fits(&state)
        });
        state
    }
}

#[test]
fn a_browser_gets_the_page_and_everybody_else_the_index() {
    let a = Backend::named("a");
    let app = App::over(&[a.address]);
    for (accept, is_page) in
        [("", false), ("Accept: */*\r\n", false), ("Accept: text/plain\r\n", false), (BROWSER, true)]
    {
        let response = ask(app.admin, "/", accept);
        assert_eq!((response.status, response.field("vary")), (200, Some("accept")), "{accept}");
        let content_type = if is_page { "text/html; charset=utf-8" } else { "text/plain; charset=utf-8" };
        assert_eq!(response.field("content-type"), Some(content_type), "{accept}");
        assert_eq!(response.text().starts_with("<!doctype html>"), is_page, "{accept}");
        assert_eq!(response.text().starts_with("unstick admin\n"), !is_page, "{accept}");
        assert_eq!(response.field("content-security-policy").is_some(), is_page, "{accept}");
    }
    for path in ["/", "/status", "/metrics", "/nowhere"] {
        let response = ask(app.admin, path, BROWSER);
        let field = |name: &str| response.field(name).unwrap_or_default().to_owned();
        assert_eq!([field("x-content-type-options"), field("cache-control")], ["nosniff", "no-store"], "{path}");
        assert_eq!(field("cross-origin-resource-policy"), "same-origin", "{path}");
    }
    let policy = ask(app.admin, "/", BROWSER).field("content-security-policy").unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; connect-src 'self'; "), "{policy}");
    let stranger = exchange(&mut connect(app.admin), &format!("GET / HTTP/1.1\r\nHost: evil.test\r\n{BROWSER}\r\n"));
    assert_eq!(stranger.status, 421, "a name that somebody else may have pointed here");
}

#[test]
fn events_tell_what_happens_to_an_endpoint() {
    let [a, b] = [Backend::named("a"), Backend::named("b")];
    let app = App::builder(&[a.address, b.address]).more(CHECK).start();
    let mut listener = Listener::new(app.admin);
    let history = listener.next("history");
    assert!(history["at"].is_array() && history["pools"].is_object(), "{history}");
    let state = listener.next("state");
    let [first, second] = [&state["pools"][0]["endpoints"][0], &state["pools"][0]["endpoints"][1]];
    assert_eq!([&first["state"], &second["state"]], ["healthy", "healthy"]);
    assert_eq!([&first["fair_share"], &second["fair_share"]], [0.5, 0.5]);
    assert!(state.get("routes").is_none() && state["reloads"].get("last").is_none(), "{state}");

    who(app.address, "/", 10);
    let state = listener
        .state_where("the requests of a second", |state| state["latest"]["app"]["requests"].as_f64() > Some(0.0));
    let latest = &state["latest"]["app"];
    assert!(
        latest["p99_ms"].as_f64() > Some(0.0) && latest["p50_ms"].as_f64() <= latest["p99_ms"].as_f64(),
        "{latest}"
    );
    assert_eq!(latest["failed"], 0.0);
    let of_a = &latest["endpoints"][a.address.to_string()];
    assert!(of_a["requests"].as_f64() > Some(0.0), "{latest}");
    assert!(of_a["p50_ms"].as_f64() > Some(0.0) && of_a["p50_ms"].as_f64() <= of_a["p99_ms"].as_f64(), "{latest}");

    let address = a.address;
    a.kill();
    let state =
        listener.state_where("a dead endpoint", |state| state["pools"][0]["endpoints"][0]["state"] == "unhealthy");
    let [dead, alive] = [&state["pools"][0]["endpoints"][0], &state["pools"][0]["endpoints"][1]];
    assert_eq!(dead["address"], address.to_string());
    assert_eq!(dead["reason"], "connect: connection refused");
    assert!(dead["since"].as_str().is_some_and(|since| since.contains('T') && since.ends_with('Z')), "{dead}");
    assert_eq!([&dead["fair_share"], &alive["fair_share"]], [0.0, 1.0]);

    // Whoever comes now sees what was before.
    let history = Listener::new(app.admin).next("history");
    let sum = |values: &Value| values["requests"].as_array().unwrap().iter().filter_map(Value::as_f64).sum::<f64>();
    let pool = &history["pools"]["app"];
    assert!((8.0..=12.0).contains(&sum(pool)), "10 requests in all, whatever the seconds: {history}");
    let of_a = sum(&pool["endpoints"][address.to_string()]);
    assert!((4.0..=6.0).contains(&of_a), "5 of them at one endpoint: {history}");
}

#[test]
fn events_tell_that_there_is_a_request_to_look_into() {
    let gone = Backend::named("a");
    let app = App::over(&[gone.address]);
    gone.kill();
    let mut listener = Listener::new(app.admin);
    assert_eq!(listener.next("state")["told"], serde_json::json!({ "failed": 0, "retried": 0, "slow": 0 }));
    assert_eq!(exchange(&mut connect(app.address), "GET /lost HTTP/1.1\r\nHost: test\r\n\r\n").status, 502);
    listener.state_where("the request that failed", |state| state["told"]["failed"].as_u64() > Some(0));
    let listed: Value = serde_json::from_str(&ask(app.admin, "/v1/requests?kind=failed", "").text()).unwrap();
    assert_eq!(listed["requests"][0]["path"], "/lost", "it is there when it is told: {listed}");
}

#[test]
fn events_tell_what_a_page_needs_to_change_something() {
    let a = Backend::named("a");
    let app = App::over(&[a.address]);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"0123456789abcdef").unwrap();
    let token = format!("token = \"${{file:{}}}\"", file.path().display());
    for (keys, token) in [("", Value::Null), ("control = false", false.into()), (&*token, true.into())] {
        if !keys.is_empty() {
            app.apply(&pool_of(
                &[a.address],
                "",
                &format!("[admin]\naddress = \"127.0.0.1:0\"\nsocket = \"off\"\n{keys}\n"),
            ));
        }
        let needs = Listener::new(app.admin).next("needs");
        assert_eq!(needs["token"], token, "{keys}: {needs}");
        assert_eq!(needs.is_null(), keys.is_empty(), "{needs}");
    }
}

#[test]
fn events_tell_what_became_of_edits() {
    let a = Backend::named("a");
    let app = App::over(&[a.address]);
    app.apply(&pool_of(&[a.address], "max_requests = 7", ""));
    app.refuse(&pool_of(&[a.address], "balance = \"<script>alert(1)</script>\"", ""));
    let state = {
        let mut listener = Listener::new(app.admin);
        listener.next("state")
    };
    let [refused, applied] = [&state["reloads"]["recent"][0], &state["reloads"]["recent"][1]];
    assert_eq!([&refused["ok"], &applied["ok"]], [false, true]);
    assert!(refused["message"].as_str().unwrap().contains("<script>alert(1)</script>"), "as text: {refused}");
    assert!(applied["message"].as_str().unwrap().contains("max_requests 0 -> 7"), "{applied}");
    // The same is in /status, and the last one as it was.
    let status = app.status();
    assert_eq!(status["reloads"]["recent"], state["reloads"]["recent"]);
    assert_eq!(status["reloads"]["last"], status["reloads"]["recent"][0]);
}

/// Makes news until a listener hears of it between two samples. Each sample has its own time, so of two states with the
/// same one the second is not that of a new second.
#[track_caller]
fn is_heard_at_once(app: &App, mut make_news: impl FnMut()) {
    let mut listener = Listener::new(app.admin);
    let mut sampled = listener.next("state")["sampled_at"].clone();
    eventually("a state between two samples", || {
        make_news();
        let now = listener.next("state")["sampled_at"].clone();
        std::mem::replace(&mut sampled, now.clone()) == now
    });
}

#[test]
fn a_verdict_does_not_wait_for_the_next_second() {
    let a = Backend::named("a");
    let app = App::builder(&[a.address]).more(CHECK).start();
    let mut is_healthy = true;
    is_heard_at_once(&app, || {
        is_healthy = !is_healthy;
        a.set_healthy(is_healthy);
        app.wait_for(a.address, if is_healthy { "healthy" } else { "unhealthy" });
    });
}

#[test]
fn a_reload_does_not_wait_for_the_next_second() {
    let a = Backend::named("a");
    let app = App::over(&[a.address]);
    let mut most = 0;
    is_heard_at_once(&app, || {
        most += 1;
        app.apply(&pool_of(&[a.address], &format!("max_requests = {most}"), ""));
    });
}

#[test]
fn more_listeners_than_there_may_be_are_refused() {
    let a = Backend::named("a");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ctl.sock");
    let admin = format!("[admin]\naddress = \"127.0.0.1:0\"\nsocket = \"{}\"\n", file.display());
    let app = App::start(&pool_of(&[a.address], "", &admin));
    let mut listeners: Vec<_> = (0..LISTENERS_MAX).map(|_| Listener::new(app.admin)).collect();
    let refused = ask(app.admin, "/events", "");
    assert_eq!((refused.status, refused.field("retry-after")), (503, Some("5")));
    assert_eq!(refused.text(), "4 listen already from your network, as many as may: close a page of the dashboard\n");
    let mut unix = UnixStream::connect(&file).unwrap();
    unix.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(text(&read_until(&mut unix, b"\r\n")).starts_with("HTTP/1.1 200 "), "another door has places of its own");
    assert_eq!(ask(app.admin, "/healthz", "").status, 200, "it answers beside them");
    // A place is free again as soon as its listener has gone.
    drop(listeners.pop());
    eventually("a place is free", || {
        let mut stream = connect(app.admin);
        send(&mut stream, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
        text(&read_until(&mut stream, b"\r\n")).starts_with("HTTP/1.1 200 ")
    });
    // Peers that only hold connections do not drive out those who take events.
    listeners.iter_mut().for_each(|listener| _ = listener.next("state"));
    let lazy: Vec<_> = (0..200).map(|_| connect(app.admin)).collect();
    assert_eq!(ask(app.admin, "/healthz", "").status, 200);
    listeners.iter_mut().for_each(|listener| _ = listener.next("state"));
    drop(lazy);
}

#[test]
fn a_page_of_another_site_gets_no_events() {
    let a = Backend::named("a");
    let app = App::over(&[a.address]);
    assert_eq!(ask(app.admin, "/events", "Sec-Fetch-Site: cross-site\r\n").status, 403);
    let mut stream = connect(app.admin);
    let head = exchange(&mut stream, "HEAD /events HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-origin\r\n\r\n");
    assert_eq!((head.status, head.field("content-type")), (200, Some("text/event-stream")));
    // HEAD has no body, so the connection goes on.
    assert_eq!(exchange(&mut stream, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
}

/// So many endpoints that an event is large, none of which is there.
fn crowd() -> Vec<SocketAddr> {
    (0..500).map(|nth| ([127, 1, (nth / 200) as u8, (nth % 200 + 1) as u8], 9).into()).collect()
}

#[test]
fn a_listener_that_stops_reading_is_closed() {
    let app = App::over(&crowd());
    let mut stopped = connect(app.admin);
    send(&mut stopped, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let began = Instant::now();
    let mut first = [0];
    stopped.read_exact(&mut first).unwrap();
    let mut others: Vec<_> = (1..LISTENERS_MAX).map(|_| Listener::new(app.admin)).collect();
    eventually("its place is free", || {
        others.iter_mut().for_each(|listener| _ = listener.next("state"));
        assert_eq!(ask(app.admin, "/healthz", "").status, 200, "it answers meanwhile");
        let mut stream = connect(app.admin);
        send(&mut stream, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
        text(&read_until(&mut stream, b"\r\n")).starts_with("HTTP/1.1 200 ")
    });
    assert!(began.elapsed().as_secs() >= 5, "not before it has stalled for so long");
    let (rest, _) = read_to_close(&mut stopped);
    assert!(rest.len() < 32 << 20, "what is kept for it is bounded: {} bytes", rest.len());
}

#[test]
fn events_end_in_order_when_the_proxy_drains() {
    let (entered, enters) = std::sync::mpsc::channel();
    let slow = Backend::start(move |peer| {
        if peer.next().is_some() {
            entered.send(()).ok();
            peer.wait_for_close();
        }
    });
    let app = App::over(&[slow.address]);
    let mut client = connect(app.address);
    send(&mut client, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    enters.recv().unwrap();
    let mut listener = Listener::new(app.admin);
    listener.next("state");
    app.stop();
    let (rest, is_orderly) = read_to_close(listener.0.get_mut());
    assert!(is_orderly && rest.ends_with(b"0\r\n\r\n"), "{}", text(&rest));
}

#[test]
fn the_past_is_kept_while_nobody_listens() {
    let a = Backend::named("a");
    let app = App::over(&[a.address]);
    drop(Listener::new(app.admin));
    pause("samples are taken all the same", 2500);
    let history = Listener::new(app.admin).next("history");
    let samples = history["at"].as_array().unwrap().len();
    assert!(samples >= 2, "{history}");
}
