//! Probes and their verdicts, and what the admin port says about them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::support::backend::{Backend, Seen, answer};
use crate::support::client::{exchange, get, read_response, who};
use crate::support::probed::Probed;
use crate::support::{App, connect, eventually, free_address, pause, pool_of, send};

/// Frequent enough that a test need not wait.
const CHECK: &str = "[pool.app.health]\npath = \"/healthz\"\ninterval = \"20ms\"\n";

/// How late a busy machine may be.
const LATE: Duration = Duration::from_millis(1500);

fn counts<const N: usize>(expected: [(&str, usize); N]) -> BTreeMap<String, usize> {
    expected.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

/// A replica that sends this response to every request, and closes.
fn saying(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Backend {
    Backend::start(move |peer| {
        if peer.next().is_some() {
            send(&mut peer.stream, &bytes);
            peer.stream.shutdown(std::net::Shutdown::Both).ok();
        }
    })
}

#[test]
fn a_probe_asks_for_what_the_config_says() {
    let first_probe = |keys: &str| -> (SocketAddr, Seen) {
        let backend = saying(answer("ok"));
        let app = App::builder(&[backend.address]).more(&format!("[pool.app.health]\n{keys}")).start();
        app.wait_for(backend.address, "healthy");
        (backend.address, backend.seen().remove(0))
    };
    let (address, probe) = first_probe("path = \"/ready?deep=1\"");
    assert_eq!(probe.line(), "GET /ready?deep=1 HTTP/1.1");
    assert_eq!(probe.field("host"), Some(&*address.to_string()), "the backend as written");
    assert_eq!((probe.field("user-agent"), probe.field("connection")), (Some("unstick-health"), Some("close")));
    let (_, probe) = first_probe("host = \"shop.example.com\"");
    assert_eq!((probe.line(), probe.field("host")), ("GET / HTTP/1.1", Some("shop.example.com")));
}

#[test]
fn what_counts_as_a_pass() {
    let status = |status: u16| format!("HTTP/1.1 {status} S\r\nContent-Length: 0\r\n\r\n");
    let body = |body: &str| String::from_utf8(answer(body)).unwrap();
    let long = "x".repeat(100 * 1024);
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nready";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nre\r\n3\r\nady\r\n0\r\n\r\n";
    for (keys, bytes, reason) in [
        ("", status(200), ""),
        ("", status(399), ""),
        ("", status(404), "status 404"),
        ("", status(500), "status 500"),
        ("status = \"2xx\"", status(204), ""),
        ("status = \"2xx\"", status(302), "status 302"),
        ("status = [200, \"404-410\"]", status(404), ""),
        ("status = [200, \"404-410\"]", status(201), "status 201"),
        ("body = \"ready\"", body("all is ready."), ""),
        ("body = \"ready\"", body("not yet"), "the body does not contain \"ready\""),
        ("body = \"ready\"", body(""), "the body does not contain \"ready\""),
        ("body = \"ready\"", chunked.to_owned(), ""),
        ("body = \"ready\"", cut.to_owned(), ""),
        ("body = \"ready\"", body(&format!("ready{long}")), ""),
        ("body = \"ready\"", body(&format!("{long}ready")), "the body does not contain \"ready\""),
        ("body = \"ready\"", status(503) + "ready", "status 503"),
        ("", "garbage\r\n\r\n".to_owned(), "no valid response: "),
        ("", String::new(), "no valid response: "),
    ] {
        let backend = saying(bytes.clone());
        // The long timeout prevents verdicts that only say that the machine is busy.
        let patient = format!("[pool.app.health]\ntimeout = \"1m\"\n{keys}");
        let app = App::builder(&[backend.address]).more(&patient).start();
        let endpoint = app.endpoint(backend.address).unwrap();
        let expected = if reason.is_empty() { "healthy" } else { "unhealthy" };
        assert_eq!(endpoint["state"], expected, "{keys} {bytes:.80} {endpoint}");
        let said = endpoint["reason"].as_str().unwrap_or_default();
        assert!(said.starts_with(reason) && said.is_empty() == reason.is_empty(), "{keys} {bytes:.80} {endpoint}");
    }
}

#[test]
fn a_tcp_probe_only_connects() {
    // This replica never sends anything.
    let silent = Backend::start(|peer| peer.wait_for_close());
    let app = App::builder(&[silent.address]).more("[pool.app.health]\nkind = \"tcp\"\ninterval = \"20ms\"").start();
    let address = silent.address;
    assert_eq!(app.endpoint(address).unwrap()["state"], "healthy");
    silent.kill();
    app.wait_for(address, "unhealthy");
    assert_eq!(app.endpoint(address).unwrap()["reason"], "connect: connection refused");
}

#[test]
fn an_answer_that_does_not_come_is_a_failure() {
    let silent = Backend::start(|peer| peer.wait_for_close());
    let app = App::builder(&[silent.address]).more("[pool.app.health]\ntimeout = \"50ms\"").start();
    let endpoint = app.endpoint(silent.address).unwrap();
    assert_eq!((&endpoint["state"], &endpoint["reason"]), (&"unhealthy".into(), &"no response within 50ms".into()));
}

#[test]
fn it_takes_fall_failures_in_a_row_to_go_and_rise_passes_to_return() {
    let (a, b) = (Probed::named("a"), Backend::named("b"));
    a.say(200);
    let app =
        App::builder(&[a.backend.address, b.address]).more(&format!("{}rise = 2\nfall = 3\n", Probed::CHECK)).start();
    a.asked();
    // Replica b takes a probe for an ordinary request, so it is always healthy.
    a.asked();
    for (status, state, streak) in [
        (500, "healthy", 1),
        (500, "healthy", 2),
        (200, "healthy", 0),
        (500, "healthy", 1),
        (500, "healthy", 2),
        (503, "unhealthy", 0),
        (500, "unhealthy", 0),
        (200, "unhealthy", 1),
        (500, "unhealthy", 0),
        (200, "unhealthy", 1),
        (200, "healthy", 0),
    ] {
        a.say(status);
        // When the next probe has come, the verdict of this one is in force.
        a.asked();
        let endpoint = app.endpoint(a.backend.address).unwrap();
        assert_eq!((&endpoint["state"], &endpoint["streak"]), (&state.into(), &streak.into()), "after {status}");
        let reason = endpoint["reason"].as_str().map(str::to_owned);
        assert_eq!(reason, (status != 200).then(|| format!("status {status}")));
        let expected = if state == "healthy" { counts([("a", 5), ("b", 5)]) } else { counts([("b", 10)]) };
        assert_eq!(who(app.address, "/", 10), expected, "after {status}");
    }
}

#[test]
fn a_crash_is_noticed_within_fall_intervals_and_a_return_within_rise() {
    const INTERVAL: Duration = Duration::from_millis(500);
    let [a, b] = [Backend::named_at(free_address(), "a"), Backend::named("b")];
    let address = a.address;
    let check = "[pool.app.health]\npath = \"/healthz\"\ninterval = \"500ms\"\nrise = 2\nfall = 3\n";
    let app = App::builder(&[address, b.address]).more(check).start();
    assert_eq!(who(app.address, "/", 10), counts([("a", 5), ("b", 5)]));

    let killed = Instant::now();
    a.kill();
    app.wait_for(address, "unhealthy");
    assert!(killed.elapsed() < 3 * INTERVAL + LATE, "{:?}", killed.elapsed());
    let failures = app.endpoint(address).unwrap()["failures"].clone();
    assert_eq!(who(app.address, "/", 10), counts([("b", 10)]));
    assert_eq!(app.endpoint(address).unwrap()["failures"], failures, "it is not even tried");

    let a = Backend::named_at(address, "a");
    let returned = Instant::now();
    app.wait_for(address, "healthy");
    assert!(returned.elapsed() < 2 * INTERVAL + LATE, "{:?}", returned.elapsed());
    assert_eq!(who(app.address, "/", 10), counts([("a", 5), ("b", 5)]));
    assert_eq!(a.seen().len(), 5);
}

#[test]
fn a_pool_with_too_few_healthy_endpoints_fails_open() {
    let [a, b, c] = ["a", "b", "c"].map(Backend::named);
    let all = [a.address, b.address, c.address];
    let app = App::builder(&all).more(CHECK).start();
    let mode = || app.status()["pools"][0]["mode"].as_str().unwrap().to_owned();
    let fail_open = || app.metric("unstick_pool_fail_open{pool=\"app\"}");
    assert_eq!((mode().as_str(), fail_open()), ("healthy", 0.0));
    c.set_healthy(false);
    app.wait_for(c.address, "unhealthy");
    assert_eq!((mode().as_str(), fail_open()), ("healthy", 0.0));
    assert_eq!(who(app.address, "/", 10), counts([("a", 5), ("b", 5)]));
    b.set_healthy(false);
    app.wait_for(b.address, "unhealthy");
    assert_eq!((mode().as_str(), fail_open()), ("fail-open", 1.0));
    assert_eq!(who(app.address, "/", 12), counts([("a", 4), ("b", 4), ("c", 4)]));

    app.apply(&pool_of(&all, "fail_open_below = \"0%\"", CHECK));
    assert_eq!((mode().as_str(), fail_open()), ("healthy", 0.0));
    assert_eq!(who(app.address, "/", 10), counts([("a", 10)]));
    app.apply(&pool_of(&all, "", CHECK));
    assert_eq!(mode(), "fail-open", "the verdicts outlive an edit");
    b.set_healthy(true);
    app.wait_for(b.address, "healthy");
    assert_eq!((mode().as_str(), fail_open()), ("healthy", 0.0));
    assert_eq!(who(app.address, "/", 10), counts([("a", 5), ("b", 5)]));
}

#[test]
fn what_is_down_is_not_probed_and_what_drains_is() {
    let [a, b, c] = ["a", "b", "c"].map(Backend::named);
    let config = format!(
        "[pool.app]\nbackends = [\"{}\", {{ address = \"{}\", state = \"down\" }}, {{ address = \"{}\", state = \
            \"drain\" }}]\n\
         {CHECK}",
        a.address, b.address, c.address
    );
    let app = App::start(&config);
    app.wait_for(c.address, "healthy");
    let probes = a.connections();
    eventually("some more probes have been sent", || a.connections() > probes + 5);
    assert_eq!((b.connections(), &app.endpoint(b.address).unwrap()["state"]), (0, &"unchecked".into()));
    assert_eq!(who(app.address, "/", 10), counts([("a", 10)]));
}

/// Starts the proxy while `clients` connections, each with a POST, wait for the first verdicts.
fn start_with_clients_waiting(clients: usize, workers: usize) {
    let (good, sick) = (Probed::named("good"), Probed::named("sick"));
    let (web, admin) = (free_address(), free_address());
    let config = format!(
        "[listen.web]\naddress = \"{web}\"\n[admin]\naddress = \"{admin}\"\n{}",
        pool_of(&[sick.backend.address, good.backend.address], "", Probed::CHECK)
    );
    thread::scope(|scope| {
        let starting = scope.spawn(|| App::start_with(&config, workers));
        [&good, &sick].iter().for_each(|probed| drop(probed.asked()));
        assert_eq!([get(admin, "/readyz").status, get(admin, "/healthz").status], [503, 200]);
        let post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
        let waiting: Vec<_> = (0..clients)
            .map(|_| {
                let mut client = connect(web);
                send(&mut client, post);
                scope.spawn(move || read_response(&mut client, false).text())
            })
            .collect();
        sick.say(500);
        good.say(200);
        let app = starting.join().unwrap();
        for client in waiting {
            assert_eq!(client.join().unwrap(), "good");
        }
        assert_eq!(app.admin_get("/readyz").status, 200);
    });
}

#[test]
fn the_first_requests_wait_for_the_first_verdicts() {
    start_with_clients_waiting(2, 2);
}

#[test]
fn however_many_wait_for_the_start_all_are_served() {
    start_with_clients_waiting(32, 4);
}

#[test]
fn no_request_fails_right_after_the_start() {
    for _ in 0..5 {
        let a = Backend::named("a");
        let app = App::builder(&[free_address(), a.address]).more(CHECK).start();
        assert_eq!(who(app.address, "/", 20), counts([("a", 20)]));
        assert_eq!(app.status()["pools"][0]["retries"], 0, "the dead one is not even tried");
    }
}

#[test]
fn the_admin_port_answers_get_only() {
    let a = Backend::named("a");
    let app = App::over(&[a.address]);
    for (path, status, text) in [
        ("/healthz", 200, "ok\n"),
        ("/readyz", 200, "ready\n"),
        ("/", 200, "unstick admin\n"),
        ("/nowhere", 404, "unstick admin\n"),
        ("/status/x", 404, "unstick admin\n"),
    ] {
        let response = app.admin_get(path);
        assert_eq!((response.status, response.text().starts_with(text)), (status, true), "{path}");
        assert_eq!(response.field("cache-control"), Some("no-store"));
    }
    for method in ["POST", "PUT", "DELETE"] {
        let response =
            exchange(&mut connect(app.admin), &format!("{method} /status HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert_eq!((response.status, response.field("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    let head = exchange(&mut connect(app.admin), "HEAD /readyz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((head.status, head.field("content-length")), (200, Some("6")));
    let status = app.admin_get("/status");
    assert_eq!((status.status, status.field("content-type")), (200, Some("application/json")));
}

/// The parts of a line `name{labels} value`. It panics on anything else.
fn sample(line: &str) -> (&str, &str, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}"))),
        None => (series, ""),
    };
    assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{line}");
    for label in labels.split(',').filter(|label| !label.is_empty()) {
        let (key, value) = label.split_once('=').unwrap_or_else(|| panic!("{line}"));
        assert!(key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
        assert!(value.len() >= 2 && value.starts_with('"') && value.ends_with('"'), "{line}");
    }
    (name, labels, value.parse().unwrap_or_else(|_| panic!("{line}")))
}

#[test]
fn the_metrics_page_is_what_prometheus_reads() {
    let [a, b] = [Backend::named("a"), Backend::named("b")];
    let app = App::builder(&[a.address, b.address]).more(CHECK).start();
    who(app.address, "/", 10);
    eventually("all are counted", || app.metric("unstick_requests_total{pool=\"app\",outcome=\"2xx\"}") == 10.0);
    let ask = |accept: &str| {
        let head = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{accept}\r\n", app.admin);
        let response = exchange(&mut connect(app.admin), &head);
        (response.field("content-type").unwrap().to_owned(), response.text())
    };
    let (content_type, page) = ask("Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n");
    assert_eq!(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    // Who cannot read OpenMetrics gets the same samples in the older format.
    for accept in ["", "Accept: */*\r\n", "Accept: text/plain\r\n"] {
        let (content_type, plain) = ask(accept);
        assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8", "{accept}");
        assert!(!plain.contains("# EOF") && plain.contains("\n# TYPE unstick_requests_total counter\n"), "{plain}");
        let samples = |page: &str| page.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(samples(&plain), samples(&page));
    }
    let lines = page.strip_suffix("# EOF\n").expect("the page ends with # EOF");
    let samples: Vec<_> = lines.lines().filter(|line| !line.starts_with("# ")).map(sample).collect();
    let names: BTreeSet<&str> = samples.iter().map(|(name, ..)| *name).collect();
    let expected = BTreeSet::from([
        "unstick_accept_errors_total",
        "unstick_accepted_connections_total",
        "unstick_access_log_dropped_total",
        "unstick_access_log_lost_total",
        "unstick_admin_refused_total",
        "unstick_build_info",
        "unstick_config_applied_timestamp_seconds",
        "unstick_config_files_detached",
        "unstick_connect_duration_seconds_bucket",
        "unstick_connect_duration_seconds_count",
        "unstick_connect_duration_seconds_sum",
        "unstick_connections",
        "unstick_connections_parked",
        "unstick_ejections_total",
        "unstick_endpoint_5xx_total",
        "unstick_endpoint_attempts_total",
        "unstick_endpoint_connects_total",
        "unstick_endpoint_failures_total",
        "unstick_endpoint_first_byte_duration_seconds_bucket",
        "unstick_endpoint_first_byte_duration_seconds_count",
        "unstick_endpoint_first_byte_duration_seconds_sum",
        "unstick_endpoint_healthy",
        "unstick_endpoint_in_flight",
        "unstick_endpoint_latency_seconds",
        "unstick_explain_dropped_total",
        "unstick_first_byte_duration_seconds_bucket",
        "unstick_first_byte_duration_seconds_count",
        "unstick_first_byte_duration_seconds_sum",
        "unstick_handed_over_connections_total",
        "unstick_listener_sockets",
        "unstick_local_responses_total",
        "unstick_own_responses_total",
        "unstick_panics_total",
        "unstick_pool_certificates_refused",
        "unstick_pool_endpoints",
        "unstick_pool_fail_open",
        "unstick_pool_overrides",
        "unstick_queue_duration_seconds_bucket",
        "unstick_queue_duration_seconds_count",
        "unstick_queue_duration_seconds_sum",
        "unstick_ready",
        "unstick_refused_connections_total",
        "unstick_refused_requests_total",
        "unstick_reload_duration_seconds_bucket",
        "unstick_reload_duration_seconds_count",
        "unstick_reload_duration_seconds_sum",
        "unstick_reload_last_duration_seconds",
        "unstick_reload_last_success",
        "unstick_reload_last_timestamp_seconds",
        "unstick_reloads_total",
        "unstick_request_duration_seconds_bucket",
        "unstick_request_duration_seconds_count",
        "unstick_request_duration_seconds_sum",
        "unstick_requests_total",
        "unstick_retries_refused_total",
        "unstick_retries_total",
        "unstick_start_timestamp_seconds",
        "unstick_tls_handshake_duration_seconds_bucket",
        "unstick_tls_handshake_duration_seconds_count",
        "unstick_tls_handshake_duration_seconds_sum",
        "unstick_traces_dropped_total",
        "unstick_traces_exported_total",
        "unstick_worker_connections",
        "unstick_worker_cpu_seconds_total",
    ]);
    assert_eq!(names, expected, "a metric that is new belongs in this list");
    let series: BTreeSet<_> = samples.iter().map(|(name, labels, _)| (name, labels)).collect();
    assert_eq!(series.len(), samples.len(), "each series once");
    for name in ["unstick_requests", "unstick_ready", "unstick_endpoint_attempts"] {
        assert!(lines.contains(&format!("# TYPE {name} ")) && lines.contains(&format!("# HELP {name} ")), "{name}");
    }

    let is_bucket = |name: &str| name == "unstick_request_duration_seconds_bucket";
    let buckets: Vec<_> = samples.iter().filter(|(name, ..)| is_bucket(name)).collect();
    assert!(buckets.is_sorted_by_key(|(.., count)| *count as u64), "buckets add up");
    let (_, labels, count) = buckets.last().unwrap();
    assert!(labels.contains("le=\"+Inf\"") && *count == 10.0, "{labels} {count}");
    assert_eq!(buckets.iter().filter(|(_, labels, _)| labels.contains("le=\"+Inf\"")).count(), 1);
    let attempts =
        |address| app.metric(&format!("unstick_endpoint_attempts_total{{pool=\"app\",endpoint=\"{address}\"}}"));
    assert_eq!([attempts(a.address), attempts(b.address)], [5.0, 5.0]);
}

#[test]
fn the_first_probes_do_not_all_start_at_once() {
    const ENDPOINTS: usize = 400;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, peak) = (Arc::clone(&now), Arc::clone(&most));
    let port = free_address().port();
    let _backend = Backend::start_at(([0, 0, 0, 0], port).into(), move |peer| {
        if peer.next_head().is_some() {
            peak.fetch_max(count.fetch_add(1, Relaxed) + 1, Relaxed);
            pause("all that start together meet", 1500);
            count.fetch_sub(1, Relaxed);
            send(&mut peer.stream, answer("a"));
        }
    });
    let ip = |nth: usize| [127, 1, (nth / 200) as u8, (nth % 200 + 1) as u8];
    let endpoints: Vec<SocketAddr> = (0..ENDPOINTS).map(|nth| (ip(nth), port).into()).collect();
    let check = "[pool.app.health]\npath = \"/\"\ninterval = \"1h\"\ntimeout = \"20s\"\n";
    let app = App::builder(&endpoints).pool(check).start();
    let status = app.status();
    let states = status["pools"][0]["endpoints"].as_array().unwrap().iter();
    assert_eq!(states.filter(|endpoint| endpoint["state"] == "healthy").count(), ENDPOINTS, "all before it serves");
    assert!((32..=256).contains(&most.load(Relaxed)), "{most:?} at one time");
}

#[test]
fn lazy_peers_do_not_silence_the_admin_port() {
    let backend = Backend::named("a");
    let app = App::over(&[backend.address]);
    let lazy: Vec<_> = (0..200).map(|_| connect(app.admin)).collect();
    let began = Instant::now();
    for _ in 0..10 {
        assert_eq!(app.admin_get("/healthz").status, 200);
    }
    assert!(began.elapsed() < Duration::from_secs(4), "not until the lazy ones give up: {:?}", began.elapsed());
    let mut kept = connect(app.admin);
    let mut lazy_too = Vec::new();
    for _ in 0..5 {
        let response = exchange(&mut kept, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(response.status, 200, "who asks is not the one to make room");
        lazy_too.extend((0..30).map(|_| connect(app.admin)));
        app.admin_get("/healthz");
    }
    drop((lazy, lazy_too));
}

#[test]
fn the_admin_port_answers_to_its_own_names_only() {
    let backend = Backend::named("a");
    let config = |hosts: &str| pool_of(&[backend.address], "", &format!("[admin]\naddress = \"127.0.0.1:0\"\n{hosts}"));
    let app = App::start(&config(""));
    let ask = |path: &str, host: &str| {
        exchange(&mut connect(app.admin), &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).status
    };
    let port = app.admin.port();
    for host in
        ["127.0.0.1", &format!("127.0.0.1:{port}"), "localhost", &format!("LocalHost.:{port}"), "[::1]", "10.0.0.1"]
    {
        assert_eq!(ask("/status", host), 200, "{host}");
    }
    for path in ["/status", "/metrics", "/"] {
        for host in ["evil.test", "127.0.0.1.evil.test", "localhost.evil.test:9900", "a.admin.test"] {
            assert_eq!(ask(path, host), 421, "{path} {host}");
        }
    }
    let absolute = "GET http://evil.test/status HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(exchange(&mut connect(app.admin), absolute).status, 421);
    assert_eq!([ask("/healthz", "evil.test"), ask("/readyz", "pod.cluster")], [200, 200], "probes use any name");
    assert_eq!(ask("/status", "admin.test"), 421);
    app.apply(&config("hosts = [\"Admin.Test\"]\n"));
    assert_eq!([ask("/status", "admin.test"), ask("/status", &format!("ADMIN.test:{port}"))], [200, 200]);
}
