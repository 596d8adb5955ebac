//! Edits of the config file while requests run: what they change, and what they must not change.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;
use unstick::app::Ended;

use crate::cli::unstick;
use crate::support::backend::{Backend, Signal, answer, signal};
use crate::support::client::{exchange, get, read_response, who};
use crate::support::probed::Probed;
use crate::support::{
    App, SOON, complete, connect, eventually, free_address, pause, pool_of, read_to_close, send, skipped,
};

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const HOLD: &str = "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n";

/// Frequent enough that a test need not wait.
const CHECK: &str = "[pool.app.health]\npath = \"/healthz\"\ninterval = \"20ms\"\n";
/// Connections to replicas stay open until they are closed on purpose.
const KEEP: &str = "[timeouts]\nupstream_idle = \"1h\"\n";

/// A replica that holds the response to `/hold` back until it is told to go on.
struct Holding {
    backend: Backend,
    was_asked: Signal,
    was_closed: Signal,
    go: std::sync::mpsc::Sender<()>,
}

impl Holding {
    fn named(name: &'static str) -> Self {
        let ((asked, was_asked), (closed, was_closed)) = (signal(), signal());
        let (go, going) = std::sync::mpsc::channel();
        let going = Mutex::new(going);
        let backend = Backend::start(move |peer| {
            while let Some(seen) = peer.next() {
                if seen.line().contains("/hold") {
                    asked.lock().unwrap().send(()).ok();
                    going.lock().unwrap().recv_timeout(SOON).ok();
                }
                send(&mut peer.stream, answer(name));
            }
            closed.lock().unwrap().send(()).ok();
        });
        Self { backend, was_asked, was_closed, go }
    }

    /// A client whose request has reached the replica and waits there.
    fn hold(&self, address: SocketAddr) -> TcpStream {
        let mut client = connect(address);
        send(&mut client, HOLD);
        self.was_asked.wait("the held request arrives");
        client
    }

    fn release(&self) {
        self.go.send(()).unwrap();
    }
}

fn counts<const N: usize>(expected: [(&str, usize); N]) -> BTreeMap<String, usize> {
    expected.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

fn listener(app: &App, name: &str) -> Option<SocketAddr> {
    let status = app.status();
    let listeners = status["listeners"].as_array().unwrap();
    let found = listeners.iter().find(|listener| listener["name"] == name)?;
    Some(found["address"].as_str().unwrap().parse().unwrap())
}

#[test]
fn a_file_that_is_written_in_place_is_read_again() {
    let [a, b] = [Backend::named("a"), Backend::named("b")];
    let app = App::over(&[a.address]);
    assert_eq!(who(app.address, "/", 2), counts([("a", 2)]));
    app.edit(&pool_of(&[b.address], "", ""));
    eventually("the edit is in force", || get(app.address, "/").text() == "b");
    eventually("the edit is reported", || app.status()["reloads"]["last"]["ok"] == true);
    let last = &app.status()["reloads"]["last"];
    assert_eq!(last["trigger"], "file change");
    let message = last["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("pool app: added {}, removed {}", b.address, a.address)), "{message}");
    assert_eq!(who(app.address, "/", 2), counts([("b", 2)]));
}

#[test]
fn a_file_that_is_renamed_over_the_old_one_is_read_again() {
    let [a, b] = [Backend::named("a"), Backend::named("b")];
    let app = App::over(&[a.address]);
    app.apply(&pool_of(&[b.address], "", ""));
    assert_eq!(who(app.address, "/", 2), counts([("b", 2)]));
}

#[test]
fn a_symbolic_link_that_is_swapped_as_kubernetes_does_is_followed() {
    let [a, b] = [Backend::named("a"), Backend::named("b")];
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for (version, backend) in [("..v1", &a), ("..v2", &b)] {
        std::fs::create_dir(path(version)).unwrap();
        std::fs::write(path(version).join("unstick.toml"), complete(&pool_of(&[backend.address], "", ""))).unwrap();
    }
    symlink("..v1", path("..data")).unwrap();
    symlink("..data/unstick.toml", path("unstick.toml")).unwrap();
    let (file, new_link, link, old) = (path("unstick.toml"), path("..data_tmp"), path("..data"), path("..v1"));
    let app = App::start_file(dir, file, 2);
    assert_eq!(who(app.address, "/", 2), counts([("a", 2)]));
    symlink("..v2", &new_link).unwrap();
    std::fs::rename(new_link, link).unwrap();
    std::fs::remove_dir_all(old).unwrap();
    eventually("the edit is in force", || get(app.address, "/").text() == "b");
    eventually("it is read once", || app.reloads() == (1, 0));
}

#[test]
fn a_broken_edit_is_refused_with_its_place_and_the_old_config_serves_on() {
    let [a, b] = [Backend::named("a"), Backend::named("b")];
    let app = App::over(&[a.address]);
    let good = pool_of(&[b.address], "", "");
    let broken = good.replace("backends", "balanse = \"rr\"\nbackends");
    let why = app.refuse(&broken);
    let line = complete(&broken).lines().position(|line| line.starts_with("balanse")).unwrap() + 1;
    assert!(why.contains(&format!("unstick.toml:{line}:1: unknown key `balanse`")), "{why}");
    assert!(why.contains("did you mean `balance`?"), "{why}");
    assert_eq!(who(app.address, "/", 2), counts([("a", 2)]));
    assert_eq!((app.reloads(), app.metric("unstick_reload_last_success")), ((0, 1), 0.0));
    assert_eq!(app.metric("unstick_reloads_total{result=\"refused\"}"), 1.0);
    assert_eq!(app.admin_get("/readyz").status, 200, "it serves as well as before");

    let broken = "this is not TOML";
    let why = app.refuse(broken);
    let line = complete(broken).lines().position(|line| line == broken).unwrap() + 1;
    assert!(why.contains(&format!("unstick.toml:{line}:")), "{why}");

    app.apply(&good);
    assert_eq!(who(app.address, "/", 2), counts([("b", 2)]));
    assert_eq!((app.reloads(), app.metric("unstick_reload_last_success")), ((1, 2), 1.0));
    assert_eq!(app.metric("unstick_reloads_total{result=\"applied\"}"), 1.0);
}

#[test]
fn a_reload_says_what_changed_as_the_file_would() {
    let a = Backend::named("a");
    let app = App::over(&[a.address]);
    let edits = [
        ("slow_start = \"5s\"", "", "pool app: slow_start 10s -> 5s (in "),
        (
            "slow_start = \"5s\"",
            "[timeouts]\nconnect = \"500ms\"\n[listen.web]\naddress = \"127.0.0.1:0\"\n\
                trusted_proxies = [\"10.0.0.0/8\"]",
            "timeouts.connect 2s -> 500ms; listener web: trusted_proxies [] -> [\"10.0.0.0/8\"] (in ",
        ),
    ];
    for (pool, rest, expected) in edits {
        app.apply(&pool_of(&[a.address], pool, rest));
        let last = &app.status()["reloads"]["last"];
        assert!(last["message"].as_str().unwrap().starts_with(expected), "{last}");
    }
}

#[test]
fn a_reload_that_is_asked_for_is_done_and_reported_in_any_case() {
    let a = Backend::named("a");
    let app = App::over(&[a.address]);
    app.reload();
    eventually("it is done", || app.reloads() == (1, 0));
    let last = &app.status()["reloads"]["last"];
    assert_eq!(last["trigger"], "signal");
    assert!(last["message"].as_str().unwrap().starts_with("nothing changed"), "{last}");
    std::fs::remove_file(&app.file).unwrap();
    app.reload();
    eventually("a missing file is reported", || app.reloads() == (1, 1));
    assert_eq!(get(app.address, "/").text(), "a");
}

#[test]
fn an_endpoint_that_stays_keeps_what_it_had() {
    let (a, b) = (Holding::named("a"), Backend::named("b"));
    let (first, rest) = (a.backend.address, KEEP);
    let app = App::builder(&[first]).more(rest).workers(1).start();
    let held = a.hold(app.address);
    let mut client = connect(app.address);
    (0..5).for_each(|_| assert_eq!(exchange(&mut client, GET).text(), "a"));
    let connections = a.backend.connections();
    let before = app.endpoint(first).unwrap();
    assert_eq!((&before["in_flight"], &before["requests"], &before["connects"]), (&1.into(), &6.into(), &2.into()));

    for edit in [
        pool_of(&[b.address, first], "", rest),
        pool_of(&[first], "balance = \"random\"", rest),
        pool_of(&[first], "", &format!("{rest}[limits]\nconnections = 100")),
        pool_of(&[first], "", rest),
    ] {
        app.apply(&edit);
        let after = app.endpoint(first).unwrap();
        assert_eq!((&after["in_flight"], &after["connects"]), (&1.into(), &2.into()));
        assert!(after["requests"].as_u64() >= before["requests"].as_u64());
        while exchange(&mut client, GET).text() != "a" {}
    }
    assert_eq!(a.backend.connections(), connections, "unused connections are used on");
    assert_eq!(app.endpoint(first).unwrap()["requests"], 10);
    a.release();
    let mut held = held;
    assert_eq!(read_response(&mut held, false).text(), "a");
    eventually("nothing is in flight", || app.endpoint(first).unwrap()["in_flight"] == 0);
    let requests = &app.status()["pools"][0]["requests"]["2xx"];
    assert_eq!(requests.as_u64().unwrap() as usize, 10 + b.seen().len(), "the pool has forgotten nothing");
}

#[test]
fn what_is_taken_out_finishes_its_request_and_gets_nothing_new() {
    for how in ["removed", "drain"] {
        let (a, b) = (Holding::named("a"), Backend::named("b"));
        let leaving = a.backend.address;
        let app = App::builder(&[leaving]).more(KEEP).start();
        let mut held = a.hold(app.address);
        assert_eq!(get(app.address, "/").text(), "a");
        let drained = format!(
            "[pool.app]\nbackends = [{{ address = \"{leaving}\", state = \"drain\" }}, \"{}\"]\n{KEEP}",
            b.address
        );
        app.apply(&if how == "removed" { pool_of(&[b.address], "", KEEP) } else { drained });
        let seen = a.backend.seen().len();
        assert_eq!(who(app.address, "/", 10), counts([("b", 10)]), "{how}");
        match app.endpoint(leaving) {
            None => a.was_closed.wait("the unused connection to what was removed is closed"),
            Some(endpoint) => {
                assert_eq!((&endpoint["wanted"], &endpoint["in_flight"]), (&"drain".into(), &1.into()), "{how}");
            }
        }
        a.release();
        let response = read_response(&mut held, false);
        assert_eq!((response.status, response.text().as_str()), (200, "a"), "{how}");
        assert_eq!(a.backend.seen().len(), seen, "{how}: nothing new");
    }
}

#[test]
fn a_new_endpoint_gets_its_share_after_its_first_pass_only() {
    let (a, b) = (Probed::named("a"), Probed::named("b"));
    a.say(200);
    let app = App::builder(&[a.backend.address]).more(Probed::CHECK).start();
    let new = b.backend.address;
    let only_a = || assert_eq!(who(app.address, "/", 20), counts([("a", 20)]));
    app.apply(&pool_of(&[a.backend.address, new], "", Probed::CHECK));
    b.asked();
    assert_eq!(app.endpoint(new).unwrap()["state"], "unchecked");
    only_a();
    b.say(503);
    b.asked();
    let endpoint = app.endpoint(new).unwrap();
    assert_eq!((&endpoint["state"], &endpoint["reason"]), (&"unhealthy".into(), &"status 503".into()));
    only_a();
    b.say(200);
    b.asked();
    assert_eq!(app.endpoint(new).unwrap()["state"], "healthy");
    assert_eq!(who(app.address, "/", 20), counts([("a", 10), ("b", 10)]));
}

#[test]
fn an_endpoint_that_was_down_is_probed_before_it_serves_again() {
    let [a, b] = [Backend::named("a"), Backend::named("b")];
    let app = App::builder(&[a.address, b.address]).more(CHECK).start();
    let down = format!(
        "[pool.app]\nbackends = [\"{}\", {{ address = \"{}\", state = \"down\" }}]\n{CHECK}",
        a.address, b.address
    );
    app.apply(&down);
    b.set_healthy(false);
    app.apply(&pool_of(&[a.address, b.address], "", CHECK));
    assert_eq!(who(app.address, "/", 20), counts([("a", 20)]));
    b.set_healthy(true);
    app.wait_for(b.address, "healthy");
    assert_eq!(who(app.address, "/", 20), counts([("a", 10), ("b", 10)]));
}

#[test]
fn the_guard_keeps_the_old_serving_until_a_new_one_passes() {
    let [a, b, c] = [Backend::named("a"), Backend::named("b"), Backend::named("c")];
    let (old, dead) = ([a.address, b.address], free_address());
    let app = App::builder(&old).more(CHECK).start();
    c.set_healthy(false);
    let edit = pool_of(&[dead, c.address], "", CHECK);
    app.apply(&edit);
    let held = || old.map(|address| app.endpoint(address).map(|endpoint| endpoint["wanted"].clone()));
    let both_held = || held().iter().all(|wanted| wanted.as_ref().is_some_and(|wanted| wanted == "held"));
    assert!(both_held(), "{}", app.status());
    assert_eq!(who(app.address, "/", 10), counts([("a", 5), ("b", 5)]));
    app.wait_for(dead, "unhealthy");
    app.wait_for(c.address, "unhealthy");
    assert!(both_held());
    assert_eq!(who(app.address, "/", 10), counts([("a", 5), ("b", 5)]), "verdicts alone change nothing");
    assert_eq!(app.status()["pools"][0]["mode"], "healthy");
    app.apply(&format!("{edit}[limits]\nconnections = 100"));
    assert!(both_held(), "an edit of something else changes nothing");

    c.set_healthy(true);
    eventually("the old ones are let go", || held() == [None, None]);
    assert_eq!(who(app.address, "/", 10), counts([("c", 10)]));
    assert_eq!(app.endpoint(c.address).unwrap()["wanted"], "ready");
}

#[test]
fn the_guard_lets_an_edit_be_taken_back() {
    let [a, b] = [Backend::named("a"), Backend::named("b")];
    let old = pool_of(&[a.address, b.address], "", CHECK);
    let app = App::start(&old);
    app.apply(&pool_of(&[free_address()], "", CHECK));
    app.apply(&old);
    assert_eq!(app.endpoint(a.address).unwrap()["wanted"], "ready");
    assert_eq!(who(app.address, "/", 10), counts([("a", 5), ("b", 5)]));
    assert_eq!(app.status()["pools"][0]["endpoints"].as_array().unwrap().len(), 2);
}

#[test]
fn without_the_guard_an_edit_gets_its_will() {
    let a = Backend::named("a");
    let app = App::builder(&[a.address]).more(CHECK).start();
    let dead = free_address();
    app.apply(&pool_of(&[dead], "reload_guard = false", CHECK));
    let response = get(app.address, "/");
    assert_eq!((response.status, response.field("x-unstick-error")), (502, Some("connect-failed")));
    app.apply(&pool_of(&[a.address], "reload_guard = false", CHECK));
    app.wait_for(a.address, "healthy");
    app.apply(&pool_of(&[dead], "reload_guard = false\nfail_open_below = \"0%\"", CHECK));
    let response = get(app.address, "/");
    assert_eq!((response.status, response.field("x-unstick-error")), (503, Some("no-endpoint")));
}

#[test]
fn a_change_of_one_pool_touches_nothing_of_another() {
    let (x, y) = (Backend::named("x"), [Holding::named("y0"), Holding::named("y1")]);
    let others = y.each_ref().map(|holding| holding.backend.address);
    let config = |x_backends: &str| {
        format!(
            "[[route]]\npath = \"/x\"\npool = \"x\"\n[[route]]\npool = \"y\"\n[pool.x]\nbackends = [{x_backends}]\n\
             [pool.y]\nbackends = [\"{}\", \"{}\"]\n{KEEP}",
            others[0], others[1]
        )
    };
    let app = App::start_with(&config(&format!("\"{}\"", x.address)), 1);
    let mut held = y[0].hold(app.address);
    let mut client = connect(app.address);
    // Both replicas get a connection that is then unused. The next turn is that of y1.
    for expected in ["y1", "y0"] {
        assert_eq!(exchange(&mut client, GET).text(), expected);
    }
    let connections = y.each_ref().map(|holding| holding.backend.connections());
    let describe = || others.map(|address| app.lasting(address).unwrap());
    let before = describe();
    let more = Backend::named("x");
    for x_backends in [
        format!("\"{}\", \"{}\"", x.address, more.address),
        format!("{{ address = \"{}\", weight = 7 }}", more.address),
        format!(
            "\"{}\"]\nbalance = \"random\"\nretry.attempts = 1\nhealth = {{ kind = \"tcp\" }}\nbackend = [",
            x.address
        ),
    ] {
        app.apply(&config(&x_backends));
        assert_eq!(describe(), before);
    }
    for expected in ["y1", "y0", "y1", "y0"] {
        assert_eq!(exchange(&mut client, GET).text(), expected, "the turn of round robin goes on");
    }
    assert_eq!(y.each_ref().map(|holding| holding.backend.connections()), connections);
    y[0].release();
    assert_eq!(read_response(&mut held, false).text(), "y0");
}

#[test]
fn listeners_come_and_go_while_their_connections_finish() {
    let a = Holding::named("a");
    let web = "[listen.web]\naddress = \"127.0.0.1:0\"\n";
    let one = format!("{web}{}", pool_of(&[a.backend.address], "", ""));
    let app = App::start(&one);
    let mut kept = connect(app.address);
    assert_eq!(exchange(&mut kept, GET).text(), "a");
    app.apply(&format!("[listen.extra]\naddress = \"127.0.0.1:0\"\n{one}"));
    assert_eq!(listener(&app, "web"), Some(app.address), "a listener that stays keeps its port");
    let extra = listener(&app, "extra").unwrap();
    let mut idle = connect(extra);
    assert_eq!(exchange(&mut idle, GET).text(), "a");
    let mut busy = a.hold(extra);

    app.apply(&one);
    assert_eq!(listener(&app, "extra"), None);
    eventually("the port is closed", || TcpStream::connect(extra).is_err());
    let response = exchange(&mut idle, GET);
    assert_eq!((response.text().as_str(), response.field("connection")), ("a", Some("close")), "one more request");
    assert_eq!(read_to_close(&mut idle), (Vec::new(), true));
    a.release();
    let response = read_response(&mut busy, false);
    assert_eq!((response.text().as_str(), response.field("connection")), ("a", Some("close")));
    assert_eq!(read_to_close(&mut busy), (Vec::new(), true));
    let response = exchange(&mut kept, GET);
    assert_eq!((response.text().as_str(), response.field("connection")), ("a", None), "the other goes on");
}

#[test]
fn a_listener_may_change_its_address_within_the_same_port() {
    let a = Backend::named("a");
    let (narrow, pool) = (free_address(), pool_of(&[a.address], "", ""));
    let app = App::start(&format!("[listen.web]\naddress = \"{narrow}\"\n{pool}"));
    for ip in ["0.0.0.0", "127.0.0.1"] {
        app.apply(&format!("[listen.web]\naddress = \"{ip}:{}\"\n{pool}", narrow.port()));
        assert_eq!(listener(&app, "web").unwrap().ip().to_string(), ip);
        assert_eq!(who(narrow, "/", 4), counts([("a", 4)]));
    }
}

#[test]
fn a_listener_that_changes_loses_no_connection() {
    let a = Backend::named("a");
    let (address, pool) = (free_address(), pool_of(&[a.address], "", ""));
    let config = |peers: &str| format!("[listen.web]\naddress = \"{address}\"\ntrusted_proxies = [{peers}]\n{pool}");
    let app = App::start_with(&config(""), 4);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !is_over.load(Relaxed) {
                    assert_eq!(get(address, "/").text(), "a");
                }
            });
        }
        let _over = OnDrop(&is_over);
        for nth in 0..20 {
            app.apply(&config(&format!("\"10.0.0.{nth}\"")));
        }
    });
    assert_eq!(app.reloads(), (20, 0));
}

/// Ends the threads of a test, also when it fails.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn a_listener_that_cannot_be_bound_refuses_the_whole_edit() {
    let [a, b] = [Backend::named("a"), Backend::named("b")];
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (free, taken_address) = (free_address(), taken.local_addr().unwrap());
    let app = App::over(&[a.address]);
    let before = app.status()["listeners"].clone();
    let why = app.refuse(&format!(
        "[listen.web]\naddress = \"127.0.0.1:0\"\n[listen.free]\naddress = \"{free}\"\n[listen.taken]\n\
         address = \"{taken_address}\"\n{}",
        pool_of(&[b.address], "", "")
    ));
    assert!(
        why.contains(&format!("cannot listen on {taken_address} (listener taken): Address already in use")),
        "{why}"
    );
    assert_eq!(app.status()["listeners"], before);
    eventually("what could be bound was let go", || TcpStream::connect(free).is_err());
    assert_eq!(who(app.address, "/", 4), counts([("a", 4)]));
}

#[test]
fn what_cannot_change_live_is_refused_by_its_name() {
    let [a, b] = [Backend::named("a"), Backend::named("b")];
    let config = |workers: usize, admin: &str, log: &str, backend: SocketAddr| {
        format!(
            "workers = {workers}\n[listen.web]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"{admin}\"\n[log]\n\
                {log}\n{}",
            pool_of(&[backend], "", "")
        )
    };
    let any = "127.0.0.1:0";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("unstick.toml");
    std::fs::write(&file, config(2, any, "", a.address)).unwrap();
    let app = App::start_file(dir, file, 0);
    assert_eq!(app.status()["workers"].as_array().unwrap().len(), 2);
    for (key, edit) in [
        ("workers", config(3, any, "", b.address)),
        ("admin.address", config(2, "off", "", b.address)),
        ("log.access", config(2, any, "access = \"stdout\"", b.address)),
        ("log.format", config(2, any, "format = \"json\"", b.address)),
    ] {
        let why = app.refuse(&edit);
        assert!(why.starts_with(key) && why.contains("cannot change while unstick runs"), "{why}");
        assert_eq!(get(app.address, "/").text(), "a", "all or nothing");
    }
    app.apply(&config(2, any, "level = \"warn\"", b.address));
    assert_eq!(get(app.address, "/").text(), "b");
}

#[test]
fn weights_and_algorithm_change_live() {
    let (a, b) = (Holding::named("a"), Backend::named("b"));
    let config = |weight: usize, balance: &str| {
        format!(
            "[pool.app]\nbalance = \"{balance}\"\nbackends = [{{ address = \"{}\", weight = {weight} }}, \"{}\"]\n",
            a.backend.address, b.address
        )
    };
    let app = App::start(&config(1, "rr"));
    assert_eq!(who(app.address, "/", 20), counts([("a", 10), ("b", 10)]));
    app.apply(&config(3, "rr"));
    assert_eq!(app.endpoint(a.backend.address).unwrap()["weight"], 3);
    assert_eq!(who(app.address, "/", 20), counts([("a", 15), ("b", 5)]));
    app.apply(&config(1, "rr"));
    while get(app.address, "/").text() != "b" {}
    let mut held = a.hold(app.address);
    app.apply(&config(1, "leastconn"));
    assert_eq!(app.status()["pools"][0]["balance"], "least-connections");
    assert_eq!(who(app.address, "/", 20), counts([("b", 20)]), "a has one in flight since before the edit");
    a.release();
    assert_eq!(read_response(&mut held, false).text(), "a");
}

#[test]
fn routes_and_pools_change_live() {
    let [a, b] = [Backend::named("a"), Backend::named("b")];
    let config = |routes: &[(&str, &str)]| {
        let routes: String =
            routes.iter().map(|(path, pool)| format!("[[route]]\npath = \"{path}\"\npool = \"{pool}\"\n")).collect();
        let pool = |name: &str, backend: &Backend| {
            let used = routes.contains(&format!("\"{name}\""));
            if used { format!("[pool.{name}]\nbackends = [\"{}\"]\n", backend.address) } else { String::new() }
        };
        format!("{routes}{}{}", pool("one", &a), pool("two", &b))
    };
    let app = App::start(&config(&[("/", "one")]));
    let mut client = connect(app.address);
    let mut ask = |path: &str| {
        let response = exchange(&mut client, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        (response.status, if response.status == 200 { response.text() } else { String::new() })
    };
    let answers = |name: &str| (200, name.to_owned());
    assert_eq!([ask("/"), ask("/api")], [answers("a"), answers("a")]);
    app.apply(&config(&[("/", "one"), ("/api", "two")]));
    assert_eq!([ask("/"), ask("/api")], [answers("a"), answers("b")], "on a connection from before");
    app.apply(&config(&[("/api", "two")]));
    assert_eq!([ask("/").0, ask("/api").0], [404, 200]);
    let pools = app.status()["pools"].clone();
    assert_eq!((pools.as_array().unwrap().len(), &pools[0]["name"]), (1, &"two".into()));
    assert_eq!(app.status()["routes"][0]["path"], "/api");
}

/// One client sends GETs over a kept connection and POSTs over fresh ones. Returns how many got a response.
fn ask_until(is_over: &AtomicBool, address: SocketAddr) -> u64 {
    let mut client = connect(address);
    let mut count = 0;
    while !is_over.load(Relaxed) {
        let response = exchange(&mut client, GET);
        assert_eq!(response.status, 200, "{}{}", response.head, response.text());
        let post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc";
        let response = exchange(&mut connect(address), post);
        assert_eq!(response.status, 200, "{}{}", response.head, response.text());
        count += 2;
    }
    count
}

#[test]
fn fifty_edits_under_load_lose_nothing() {
    let [a, b, c, d] = ["a", "b", "c", "d"].map(Backend::named);
    let drained = format!("backends = [{{ address = \"{}\", state = \"drain\" }}, \"{}\"]", a.address, b.address);
    let weighted = format!("backends = [{{ address = \"{}\", weight = 9 }}, \"{}\"]", c.address, b.address);
    let plain = |addresses: &[SocketAddr], pool: &str| pool_of(addresses, pool, CHECK);
    let edits = [
        plain(&[a.address, b.address], ""),
        plain(&[c.address, d.address], ""),
        plain(&[a.address, b.address, c.address, d.address], "balance = \"least-connections\""),
        format!("[pool.app]\n{drained}\n{CHECK}"),
        plain(&[b.address], "balance = \"p2c\""),
        format!("[pool.app]\n{weighted}\n{CHECK}"),
        plain(&[free_address(), free_address()], ""),
        plain(&[d.address, c.address, b.address], "balance = \"peak-ewma\""),
        pool_of(&[a.address], "", "[timeouts]\nresponse_head = \"59s\""),
    ];
    let app = App::start_with(&edits[0], 4);
    let is_over = AtomicBool::new(false);
    let answered: u64 = thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(|| ask_until(&is_over, app.address))).collect();
        let over = OnDrop(&is_over);
        let (mut total, mut accepted) = (0, 0.0);
        for nth in 1..=50 {
            app.apply(&edits[nth % edits.len()]);
            let status = app.status();
            let outcomes = status["pools"][0]["requests"].as_object().unwrap();
            let now = outcomes.values().map(|count| count.as_u64().unwrap()).sum();
            assert!(now >= total, "the requests of a pool never become fewer: {total}, {now}");
            total = now;
            let now = app.metric("unstick_accepted_connections_total");
            assert!(now >= accepted);
            accepted = now;
        }
        drop(over);
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert_eq!(app.reloads(), (50, 0));
    let requests = app.status()["pools"][0]["requests"].clone();
    let count = |outcome: &str| requests[outcome].as_u64().unwrap();
    eventually("every answer is counted", || app.status()["pools"][0]["requests"]["2xx"] == answered);
    assert_eq!(["4xx", "5xx", "cut", "client_gone"].map(count), [0; 4], "{requests}");
    let reached: usize = [&a, &b, &c, &d].map(|backend| backend.seen().len()).iter().sum();
    assert_eq!(reached as u64, answered, "each was executed once");
    assert!(answered > 200, "there was load: {answered}");
}

#[test]
fn half_a_file_does_not_go_live_while_its_writer_pauses() {
    let [a, b] = [Backend::named("a"), Backend::named("b")];
    let half = complete(&pool_of(&[b.address], "", ""));
    let whole = format!("{half}[limits]\nconnections = 7\n");
    let elsewhere = tempfile::tempdir().unwrap();
    let linked = elsewhere.path().join("unstick.toml");
    std::fs::write(&linked, complete(&pool_of(&[a.address], "", ""))).unwrap();
    for in_place in [true, false] {
        let app = if in_place {
            App::over(&[a.address])
        } else {
            // No events: the file is in a folder that nobody watches.
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("unstick.toml");
            symlink(&linked, &file).unwrap();
            App::start_file(dir, file, 2)
        };
        // A writer is waited for ten seconds. Where nothing says that there is one, half a file has the two seconds
        // between two looks.
        let (pauses, at_most) = if in_place { (30, 8000) } else { (9, 1800) };
        let began = Instant::now();
        let mut writer = std::fs::File::create(&app.file).unwrap();
        writer.write_all(half.as_bytes()).unwrap();
        for nth in 0..pauses {
            pause("the writer pauses, and half of what it writes is valid", 100);
            let seen = (app.reloads(), get(app.address, "/").text());
            if began.elapsed() > Duration::from_millis(at_most) {
                break;
            }
            assert_eq!((seen.0, seen.1.as_str()), ((0, 0), "a"), "look {nth}, in place: {in_place}");
        }
        writer.write_all(&whole.as_bytes()[half.len()..]).unwrap();
        drop(writer);
        eventually("the whole file is in force", || app.reloads() == (1, 0));
        let last = app.status()["reloads"]["last"].clone();
        assert!(last["message"].as_str().unwrap().contains("limits.connections 0 -> 7"), "{last}");
    }
}

/// The files were watched once clients were served: nothing was known of a writer that began before.
#[test]
fn half_a_file_that_is_written_during_the_start_does_not_go_live_while_its_writer_pauses() {
    let b = Backend::named("b");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("unstick.toml");
    let half = complete(&pool_of(&[b.address], "", ""));
    let (path, text) = (file.clone(), half.clone());
    let writer = Mutex::new(None);
    let a = Backend::start(move |peer| {
        // The first probe, on which the start waits.
        writer.lock().unwrap().get_or_insert_with(|| {
            let mut file = std::fs::File::create(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file
        });
        peer.serve(|_| answer("a"));
    });
    std::fs::write(&file, complete(&pool_of(&[a.address], "", CHECK))).unwrap();
    let app = App::start_file(dir, file, 2);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        pause("two looks at the file", 200);
        let seen = (app.reloads(), get(app.address, "/").text());
        if began.elapsed() > Duration::from_secs(8) {
            break;
        }
        assert_eq!((seen.0, seen.1.as_str()), ((0, 0), "a"));
    }
    assert_eq!(std::fs::read_to_string(&app.file).unwrap(), half);
}

#[test]
fn a_file_that_hangs_stops_nothing_but_its_reload() {
    let a = Backend::named("a");
    let app = App::over(&[a.address]);
    // Two, since the first config may be read once more while the second takes its place.
    let [certificate, fifo] = ["certificate", "fifo"].map(|name| app.dir.path().join(name));
    let made = std::process::Command::new("mkfifo").args([&certificate, &fifo]).status().unwrap();
    assert!(made.success());
    let with_tls = format!(
        "[listen.web]\naddress = \"127.0.0.1:0\"\n[listen.web.tls]\ncert = \"{0}\"\nkey = \"{0}\"\n{1}",
        certificate.display(),
        pool_of(&[a.address], "", "")
    );
    let edits: [&dyn Fn(); 2] = [&|| app.edit(&with_tls), &|| {
        std::fs::rename(&fifo, &app.file).unwrap();
        app.reload();
    }];
    for (nth, edit) in edits.into_iter().enumerate() {
        edit();
        let began = Instant::now();
        while app.reloads().1 == nth as u64 {
            assert_eq!(app.admin_get("/healthz").status, 200);
            assert_eq!(get(app.address, "/").text(), "a");
            assert!(began.elapsed() < SOON, "the reload is refused");
        }
        let last = app.status()["reloads"]["last"].clone();
        let why = last["message"].as_str().unwrap();
        assert!(why.contains("no regular file") || why.contains("nothing came within"), "{why}");
    }
    app.stop();
    assert_eq!(app.wait(), Ended::Drained);
}

/// It was found out at the next restart, when nothing started.
#[test]
fn a_file_that_can_no_longer_be_read_is_told_once_and_again_when_it_can_be() {
    let backend = Backend::named("a");
    let app = App::over(&[backend.address]);
    let away = app.dir.path().join("away");
    let last = || app.status()["reloads"]["last"].clone();
    // For a moment: it is being replaced.
    std::fs::rename(&app.file, &away).unwrap();
    std::fs::rename(&away, &app.file).unwrap();
    for (nth, (what, why)) in [("gone", "No such file"), ("a folder", "Is a directory")].into_iter().enumerate() {
        std::fs::rename(&app.file, &away).unwrap();
        if what == "a folder" {
            std::fs::create_dir(&app.file).unwrap();
        }
        let told = nth as u64 + 1;
        eventually("it is told", || app.reloads().1 == told);
        let message = last()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("cannot read") && message.contains(why), "{what}: {message}");
        assert_eq!(app.metric("unstick_reload_last_success"), 0.0);
        pause("it would be told at the next look, or at an event in the folder", 2500);
        std::fs::write(app.dir.path().join("other"), "").unwrap();
        if what == "a folder" {
            std::fs::remove_dir(&app.file).unwrap();
        }
        std::fs::rename(&away, &app.file).unwrap();
        eventually("it is as it was", || last()["ok"] == true);
        assert_eq!(app.reloads(), (told, told), "{what}");
        assert_eq!(get(app.address, "/").text(), "a");
    }
}

#[test]
fn the_time_of_a_check_grows_with_the_file_and_not_with_its_square() {
    let config = |routes: usize| {
        let mut text = String::from("listen.web.address = ':1'\n");
        for nth in 0..routes {
            let (host, path) = (format!("h{nth}.test"), format!("/p{nth}"));
            text.push_str(&format!("[[route]]\nhost = \"{host}\"\npath = \"{path}\"\npool = \"p{}\"\n", nth / 4));
        }
        for pool in 0..routes.div_ceil(4) {
            let address = |nth: usize| format!("\"10.{}.{}.{nth}:80\"", pool / 200, pool % 200);
            text.push_str(&format!("[pool.p{pool}]\nbackends = [{}, {}]\n", address(1), address(2)));
        }
        let many: Vec<_> = (0..routes).map(|nth| format!("\"10.200.{}.{}:80\"", nth / 200, nth % 200)).collect();
        text.push_str(&format!("[[route]]\npool = \"many\"\n[pool.many]\nbackends = [{}]\n", many.join(", ")));
        text
    };
    let time = |routes: usize| {
        let text = config(routes);
        let once = || {
            let began = Instant::now();
            let config = unstick::config::parse("test.toml", &text).unwrap();
            assert_eq!(config.routes.len(), routes + 1);
            began.elapsed()
        };
        (0..3).map(|_| once()).min().unwrap()
    };
    let (small, large) = (time(500), time(8000));
    let ratio = large.as_secs_f64() / small.as_secs_f64();
    assert!(ratio < 64.0, "16 times the routes take {ratio:.0} times as long: {small:?}, {large:?}");
}

#[test]
fn listeners_may_overlap_at_the_start_as_after_a_reload() {
    let a = Backend::named("a");
    let has_v6 = TcpListener::bind("[::1]:0").is_ok();
    if !has_v6 {
        skipped("this machine has no IPv6: its half is left out");
    }
    let (port, pool) = (free_address().port(), pool_of(&[a.address], "", ""));
    let listen = |addresses: &[&str]| {
        let tables = addresses.iter().enumerate().map(|(nth, address)| {
            let peers = format!("trusted_proxies = [\"10.0.0.{nth}\"]");
            format!("[listen.l{nth}]\naddress = \"{}\"\n{peers}\n", address.replace("PORT", &port.to_string()))
        });
        tables.collect::<String>() + &pool
    };
    let v4 = ["127.0.0.1", "127.0.0.2"].map(|ip| SocketAddr::new(ip.parse().unwrap(), port));
    let v6 = SocketAddr::new("::1".parse().unwrap(), port);
    let combinations = [
        &["0.0.0.0:PORT", "127.0.0.1:PORT"][..],
        &["127.0.0.1:PORT", "0.0.0.0:PORT"],
        &["0.0.0.0:PORT", "[::]:PORT"],
        &["[::]:PORT", "0.0.0.0:PORT"],
        &[":PORT", "127.0.0.1:PORT"],
        &["[::]:PORT"],
        &[":PORT"],
    ];
    for addresses in combinations {
        let is_served = |how: &str| {
            let both = has_v6 && addresses.iter().any(|address| address.starts_with(['[', ':']));
            for address in v4.iter().chain(both.then_some(&v6)) {
                assert_eq!(get(*address, "/").text(), "a", "{addresses:?} at {address} after a {how}");
            }
        };
        let app = App::start(&listen(addresses));
        is_served("start");
        drop(app);
        let app = App::start(&listen(&["127.0.0.1:0"]));
        app.apply(&listen(addresses));
        is_served("reload");
        for alone in addresses.iter().filter(|_| addresses.len() > 1) {
            app.apply(&listen(&[alone]));
            app.apply(&listen(addresses));
        }
        is_served("few edits");
    }
}

#[test]
fn an_address_of_another_process_is_not_shared_however_listeners_overlap() {
    let a = Backend::named("a");
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, pool) = (other.local_addr().unwrap().port(), pool_of(&[a.address], "", ""));
    let app = App::over(&[a.address]);
    for address in [format!("127.0.0.1:{port}"), format!("0.0.0.0:{port}"), format!("[::]:{port}")] {
        let why = app.refuse(&format!("[listen.web]\naddress = \"{address}\"\n{pool}"));
        assert!(why.contains("Address already in use"), "{address}: {why}");
    }
}

#[test]
fn check_start_and_reload_give_one_answer() {
    let a = Backend::named("a");
    let (port, pool) = (free_address().port(), pool_of(&[a.address], "", ""));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let admin = |listen: &str, admin: &str| {
        format!("[listen.web]\naddress = \"{listen}:{port}\"\n[admin]\naddress = \"{admin}:{port}\"\n{pool}")
    };
    let log = |to: String| format!("[listen.web]\naddress = \"127.0.0.1:0\"\n[log]\naccess = \"{to}\"\n{pool}");
    for (text, expected) in [
        (admin("127.0.0.1", "127.0.0.1"), "and the admin port"),
        (admin("0.0.0.0", "127.0.0.1"), "and the admin port"),
        (admin("[::]", "127.0.0.1"), "and the admin port"),
        (admin("127.0.0.1", "[::ffff:127.0.0.1]"), "and the admin port"),
        (log(path.to_string()), "it is a folder"),
        (log(format!("{path}/no/access.log")), "its folder does not exist"),
    ] {
        let app = App::over(&[a.address]);
        let why = app.refuse(&text);
        assert!(why.contains(expected), "reload: {why}");
        for command in ["check", "run"] {
            let output = unstick(&[command, "-c", &app.file.display().to_string()]).output().unwrap();
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && why.contains(expected), "{command}: {why}");
        }
    }
}
