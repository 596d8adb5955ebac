//! What a route does besides leading to a pool: who may ask, who responds, paths, fields, deadlines.

use std::io::Read as _;
use std::net::Shutdown;

use crate::support::backend::{Backend, answer, signal};
use crate::support::client::{Response, exchange, read_response};
use crate::support::h2::{begin, client as h2_client, run, whole};
use crate::support::{App, connect, eventually, free_address, send, text};

/// Two pools of one replica each, and these routes.
fn two_pools(routes: &str) -> (App, [Backend; 2]) {
    let backends = [Backend::named("a"), Backend::named("b")];
    (App::start(&config(&backends, routes)), backends)
}

fn config(backends: &[Backend; 2], routes: &str) -> String {
    let pools = ["a", "b"].iter().zip(backends);
    let pools = pools.map(|(name, backend)| format!("[pool.{name}]\nbackends = [\"{}\"]\n", backend.address));
    format!("{}{routes}", pools.collect::<String>())
}

/// One request over HTTP/1.1 to `a.test`: a method, a target, and lines of fields.
fn ask(app: &App, method: &str, target: &str, fields: &str) -> Response {
    let mut client = connect(app.address);
    exchange(&mut client, &format!("{method} {target} HTTP/1.1\r\nHost: a.test:8080\r\n{fields}\r\n"))
}

fn status_and_cause(response: &Response) -> (u16, Option<&str>) {
    (response.status, response.field("x-unstick-error"))
}

#[test]
fn a_route_responds_itself() {
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("robots.txt");
    std::fs::write(&page, "User-agent: *\n").unwrap();
    let (app, [a, b]) = two_pools(&format!(
        "[[route]]\npool = 'a'\n[[route]]\nhost = 'b.test'\npool = 'b'\n\
         [[route]]\npath = '=/health'\nrespond = {{ body = 'ok' }}\n\
         response_headers = {{ set = {{ x-a = '{{path}}' }} }}\n\
         [[route]]\npath = '=/none'\nrespond = {{ status = 204 }}\n\
         [[route]]\npath = '=/page'\nrespond = {{ status = 404, body_file = '{}', content_type = 'text/html' }}\n",
        page.display()
    ));
    let health = ask(&app, "GET", "/health?x", "");
    assert_eq!((health.status, health.text().as_str(), health.field("x-unstick-error")), (200, "ok", None));
    assert_eq!(health.field("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!((health.field("content-length"), health.field("x-a")), (Some("2"), Some("/health")));
    let mut client = connect(app.address);
    send(&mut client, "HEAD /health HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = read_response(&mut client, true);
    assert_eq!((head.status, head.field("content-length")), (200, Some("2")));
    // The connection goes on, also behind a body that nobody reads.
    let post = exchange(&mut client, "POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(post.status, 200);
    let none = exchange(&mut client, "GET /none HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((none.status, none.field("content-type"), none.body.len()), (204, None, 0));
    let page = exchange(&mut client, "GET /page HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(
        (page.status, page.text().as_str(), page.field("content-type")),
        (404, "User-agent: *\n", Some("text/html"))
    );
    let (response, body, _) = run(async {
        let client = h2_client(app.address).await;
        let request = http::Request::get("http://a.test/health").body(()).unwrap();
        whole(begin(&client, request, true).await.0).await.unwrap()
    });
    assert_eq!((response.status().as_u16(), body), (200, b"ok".to_vec()));
    assert_eq!(app.metric("unstick_local_responses_total"), 6.0);
    assert_eq!(app.metric("unstick_refused_requests_total"), 0.0);
    assert!(a.seen().is_empty() && b.seen().is_empty());
}

#[test]
fn redirects_lead_where_they_were_meant_to() {
    let (app, _backends) = two_pools(
        "[[route]]\npool = 'a'\n[[route]]\nhost = 'b.test'\npool = 'b'\n\
         [[route]]\npath = '/old'\nredirect = { to = 'https://{host}{path}{?query}' }\n\
         [[route]]\npath = '=/login'\nredirect = { to = '/account/login{?query}', status = 302 }\n\
         [[route]]\npath = '~/$'\nredirect = { to = '{path}index.html', status = 301 }\n",
    );
    for (target, status, expected) in [
        ("/old/x%0d%0aSet-Cookie:a?q=%0d%0a", 308, "https://a.test/old/x%0d%0aSet-Cookie:a?q=%0d%0a"),
        ("/login?next=/a", 302, "/account/login?next=/a"),
        ("//evil.example/", 301, "/evil.example/index.html"),
    ] {
        let response = ask(&app, "GET", target, "");
        assert_eq!((response.status, response.field("location")), (status, Some(expected)), "{target}");
        assert_eq!(response.field("set-cookie"), None);
    }
    let long = ask(&app, "GET", &format!("/old?{}", "a".repeat(9000)), "");
    assert_eq!(status_and_cause(&long), (414, Some("uri-too-long")));
    let mut old = connect(app.address);
    let nowhere = exchange(&mut old, "GET /old HTTP/1.0\r\n\r\n");
    assert_eq!(status_and_cause(&nowhere), (400, Some("bad-request")));
}

#[test]
fn paths_and_fields_are_edited() {
    let (app, [a, b]) = two_pools(
        "[[route]]\npool = 'a'\n[[route]]\npath = '/api'\npool = 'b'\nstrip_prefix = '/api'\n\
         request_headers = { remove = ['x-debug', 'cookie'], set = { x-client = '{client_ip} {scheme} {listener}', \
         host = 'inner.test' }, add = { x-list = '{host}{path}{?query}' } }\n\
         response_headers = { remove = ['x-named'], set = { x-id = '{request_id}' }, add = { vary = 'origin' } }\n\
         [[route]]\npath = '/v1'\npool = 'a'\nreplace_prefix = { from = '/v1', to = '/inner/v1' }\n",
    );
    let fields = "X-Debug: 1\r\nCookie: a=b\r\nX-Client: me\r\nX-List: one\r\nX-Forwarded-Prefix: /evil\r\n";
    let response = ask(&app, "GET", "/%61pi/x%2Fy?q=1", fields);
    let seen = b.seen().pop().unwrap();
    assert_eq!(seen.line(), "GET /x%2Fy?q=1 HTTP/1.1");
    for (name, expected) in [
        ("x-debug", None),
        ("cookie", None),
        ("x-client", Some("127.0.0.1 http web")),
        ("host", Some("inner.test")),
        ("x-forwarded-host", Some("a.test:8080")),
        ("x-forwarded-prefix", Some("/api")),
    ] {
        assert_eq!(seen.field(name), expected, "{name}");
    }
    let list: Vec<&str> = seen.head.lines().filter_map(|line| line.strip_prefix("x-list: ")).collect();
    assert_eq!(list, ["one", "a.test/%61pi/x%2Fy?q=1"]);
    assert_eq!(response.field("x-id"), seen.field("x-request-id"));
    assert_eq!(response.field("vary"), Some("origin"));
    ask(&app, "GET", "/v1", "");
    ask(&app, "GET", "/v1/x?q", "");
    ask(&app, "GET", "/v10/x", fields);
    let lines: Vec<String> = a.seen().iter().map(|seen| seen.line().to_owned()).collect();
    assert_eq!(lines, ["GET /inner/v1 HTTP/1.1", "GET /inner/v1/x?q HTTP/1.1", "GET /v10/x HTTP/1.1"]);
    assert_eq!(a.seen()[2].field("x-forwarded-prefix"), None, "a stranger's prefix is removed");
}

#[test]
fn a_prefix_stands_behind_that_of_a_trusted_proxy() {
    let backend = Backend::named("a");
    let app = App::start(&format!(
        "[listen.web]\naddress = '127.0.0.1:0'\ntrusted_proxies = ['127.0.0.1']\n[pool.a]\nbackends = ['{}']\n\
         [[route]]\npath = '/api'\nstrip_prefix = '/api'\n",
        backend.address
    ));
    ask(&app, "GET", "/api/x", "X-Forwarded-Prefix: /outer/\r\n");
    ask(&app, "GET", "/api/x", "");
    let told: Vec<Option<String>> =
        backend.seen().iter().map(|seen| seen.field("x-forwarded-prefix").map(str::to_owned)).collect();
    assert_eq!(told, [Some("/outer/api".to_owned()), Some("/api".to_owned())]);
}

#[test]
fn who_may_ask_is_who_the_client_is() {
    let (app, [_a, b]) = two_pools(
        "[listen.web]\naddress = '127.0.0.1:0'\ntrusted_proxies = ['127.0.0.1']\n\
         [[route]]\npool = 'a'\n[[route]]\npath = '/admin'\npool = 'b'\nallow = ['10.0.0.0/8', '2001:db8::/32']\n\
         deny = ['10.0.0.13']\nresponse_headers = { set = { x-kept = '{client_ip}' } }\n",
    );
    for (path, from, expected) in [
        ("/admin", "10.1.2.3", 200),
        ("/admin", "2001:db8::1", 200),
        ("/admin", "10.0.0.13", 403),
        ("/admin", "192.0.2.1", 403),
        ("/admin", "10.0.0.1, 192.0.2.1", 403),
        ("/x/../%61dmin", "192.0.2.1", 403),
        ("/", "192.0.2.1", 200),
    ] {
        let response = ask(&app, "GET", path, &format!("X-Forwarded-For: {from}\r\n"));
        assert_eq!(response.status, expected, "{path} {from}");
        if expected == 403 {
            let kept = from.rsplit(", ").next();
            assert_eq!((response.field("x-unstick-error"), response.field("x-kept")), (Some("forbidden"), kept));
        }
    }
    assert_eq!(b.seen().len(), 2);
    // A trusted proxy writes one of the lists, and may pass the other on. Nothing tells which is which.
    for (list, forwarded, expected) in [
        ("10.1.2.3", "10.1.2.3", 200),
        ("10.0.0.13", "203.0.113.7", 403),
        ("10.0.0.13", "10.1.2.3", 403),
        ("10.1.2.3", "10.0.0.13", 403),
        ("203.0.113.7", "10.1.2.3", 403),
    ] {
        let fields = format!("X-Forwarded-For: {list}\r\nForwarded: for={forwarded}\r\n");
        assert_eq!(ask(&app, "GET", "/admin", &fields).status, expected, "{fields}");
    }
}

#[test]
fn a_path_that_can_be_read_in_two_ways_is_no_way_past_a_guard() {
    let (app, [a, b]) = two_pools(
        "[[route]]\npool = 'a'\n[[route]]\npath = '/admin'\npool = 'b'\ndeny = ['127.0.0.1']\n\
         [[route]]\npath = '/api'\npool = 'b'\nstrip_prefix = '/api'\n",
    );
    let forbidden = (403, Some("forbidden"));
    let ambiguous = (400, Some("bad-request"));
    for (path, expected) in [
        ("/admin%2Fx", forbidden),
        ("/admin;a=b", forbidden),
        ("/admin\\x", forbidden),
        ("/%2F/admin", forbidden),
        ("/x/..%2Fadmin", ambiguous),
        ("/x/..;/admin", ambiguous),
        ("/x\\..\\admin", ambiguous),
        ("/api/..%2Fadmin", ambiguous),
        ("/projects/a%2Fb;c?x=..%2f", (200, None)),
        ("/api/a%2Fb;c", (200, None)),
    ] {
        assert_eq!(status_and_cause(&ask(&app, "GET", path, "")), expected, "{path}");
    }
    let over_h2 = run(async {
        let client = h2_client(app.address).await;
        let request = http::Request::get("http://a.test/x/..%2Fadmin").body(()).unwrap();
        whole(begin(&client, request, true).await.0).await.unwrap().0.status().as_u16()
    });
    assert_eq!(over_h2, 400);
    let lines = |backend: &Backend| backend.seen().iter().map(|seen| seen.line().to_owned()).collect::<Vec<_>>();
    assert_eq!(lines(&a), ["GET /projects/a%2Fb;c?x=..%2f HTTP/1.1"]);
    assert_eq!(lines(&b), ["GET /a%2Fb;c HTTP/1.1"]);
    assert_eq!(app.metric("unstick_own_responses_total{cause=\"bad-request\",rule=\"path-ambiguous\"}"), 5.0);
}

#[test]
fn a_field_of_the_client_cannot_pass_for_one_of_the_route() {
    let (app, [a, _b]) = two_pools(
        "[[route]]\npool = 'a'\nrequest_headers = { set = { x-tenant = 'a' }, remove = ['x-debug'] }\n\
         [[route]]\npath = '/plain'\npool = 'b'\n",
    );
    ask(&app, "GET", "/", "X_Tenant: evil\r\nX-Tenant: evil\r\nX_Debug: 1\r\nX_Request_Id: 1\r\nX_Other: 1\r\n");
    let seen = a.seen().pop().unwrap();
    let names: Vec<&str> = seen.head.lines().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
    assert_eq!(seen.field("x-tenant"), Some("a"), "{}", seen.head);
    let underscored: Vec<_> = names.iter().filter(|name| name.contains('_')).collect();
    assert_eq!(underscored, [&"x_other"], "{}", seen.head);
    let trailers = "X-Tenant: evil\r\nX_Debug: 1\r\nX-Sum: 7\r\n";
    let fields = "Transfer-Encoding: chunked\r\nTrailer: x-tenant, x_debug, x-sum\r\n";
    let mut client = connect(app.address);
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    assert_eq!(exchange(&mut client, &format!("{head}1\r\nx\r\n0\r\n{trailers}\r\n")).status, 200);
    let seen = a.seen().pop().unwrap();
    let whole = format!("{}{}", seen.head, String::from_utf8_lossy(&seen.body));
    let found = whole.to_ascii_lowercase();
    assert!(found.contains("x-sum: 7") && !found.contains("evil") && !found.contains("x_debug: 1"), "{whole}");
}

#[test]
fn conditions_and_rates_know_a_field_by_both_spellings() {
    let (app, _backends) = two_pools(
        "[[route]]\npool = 'a'\n[[route]]\npath = '/dbg'\npool = 'b'\n\
         [[route]]\npath = '/dbg'\nheader = { x-debug = '*' }\nrespond = { status = 403 }\n\
         [[route]]\npath = '/key'\npool = 'b'\nrate = { per = 'header:x-api-key', requests = 2, in = '1h' }\n",
    );
    assert_eq!(ask(&app, "GET", "/dbg", "").status, 200);
    assert_eq!(ask(&app, "GET", "/dbg", "X_Debug: 1\r\n").status, 403);
    // With both spellings it is not known which one counts, so the address does.
    let statuses: Vec<u16> = (0..4)
        .map(|turn| ask(&app, "GET", "/key", &format!("X-Api-Key: {turn}\r\nX_Api_Key: real\r\n")).status)
        .collect();
    assert_eq!(statuses, [200, 200, 429, 429]);
}

#[test]
fn what_counts_for_a_path_counts_for_whoever_reads_it_otherwise() {
    let (app, [_a, b]) = two_pools(
        "[[route]]\npool = 'a'\nrate = { requests = 100, in = '1h' }\n\
         [[route]]\npath = '/login'\npool = 'b'\nrate = { requests = 2, in = '1h' }\n\
         [[route]]\npath = '/closed'\npool = 'b'\nmaintenance = true\n\
         [[route]]\npath = '/sso'\nredirect = { to = '/' }\n\
         [[route]]\npath = '/pub'\npool = 'b'\nrate = { requests = 100, in = '1h' }\n\
         replace_prefix = { from = '/pub', to = '/public' }\n",
    );
    let ask = |path: &str| status_and_cause(&ask(&app, "GET", path, "")).0;
    assert_eq!(["/login;a", "/login%2F", "/%2Flogin", "/login"].map(ask), [200, 200, 429, 429]);
    assert_eq!(["/closed;x", "/sso;x", "/a;b"].map(ask), [503, 400, 200]);
    // What is read as a prefix by others only stays where it was.
    assert_eq!(["/pub%2Fx", "/pub/x%2Fy"].map(ask), [200, 200]);
    assert_eq!(b.seen().iter().map(|seen| seen.line().to_owned()).collect::<Vec<_>>(), ["GET /public/x%2Fy HTTP/1.1"]);
}

#[test]
fn a_switch_of_protocols_has_the_fields_of_its_route() {
    let replica = Backend::start(|peer| {
        let _ = peer.next();
        send(
            &mut peer.stream,
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: tcp\r\nServer: x/1\r\n\r\n",
        );
        while peer.stream.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
    });
    let app = App::start(&format!(
        "[pool.a]\nbackends = ['{}']\n\
         [[route]]\nresponse_headers = {{ remove = ['server'], set = {{ x-a = '{{path}} {{host}}:8080' }} }}\n",
        replica.address
    ));
    let mut client = connect(app.address);
    send(&mut client, "GET /x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n");
    let switched = read_response(&mut client, true);
    assert_eq!((switched.status, switched.field("server"), switched.field("x-a")), (101, None, Some("/x a:8080")));
    assert_eq!(switched.field("upgrade"), Some("tcp"));
}

#[test]
fn a_rate_is_exact_over_connections_and_workers_and_outlives_an_edit() {
    let backends = [Backend::named("a"), Backend::named("b")];
    let routes = |rate: &str| {
        format!(
            "[listen.web]\naddress = '127.0.0.1:0'\ntrusted_proxies = ['127.0.0.1']\n\
             [[route]]\npool = 'a'\nrate = {{ {rate} }}\n[[route]]\npath = '/b'\npool = 'b'\n"
        )
    };
    let app = App::start(&config(&backends, &routes("requests = 5, in = '1h'")));
    let statuses = |from: &str, count: usize| -> Vec<u16> {
        let field = format!("X-Forwarded-For: {from}\r\n");
        (0..count).map(|_| ask(&app, "GET", "/", &field).status).collect()
    };
    assert_eq!(statuses("10.0.0.1", 7), [200, 200, 200, 200, 200, 429, 429]);
    assert_eq!(statuses("10.0.0.2", 1), [200], "another client");
    assert_eq!(statuses("2001:db8::1", 5), [200; 5]);
    assert_eq!(statuses("2001:db8::2", 1), [429], "the same network");
    let refused = ask(&app, "GET", "/", "X-Forwarded-For: 10.0.0.1\r\n");
    let after: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((600..=720).contains(&after), "5 an hour are one in 720 s: {after}");
    assert_eq!(refused.field("x-unstick-error"), Some("rate-limited"));
    assert_eq!(ask(&app, "GET", "/b", "X-Forwarded-For: 10.0.0.1\r\n").text(), "b");
    app.apply(&config(&backends, &routes("requests = 6, in = '1h'")));
    assert_eq!(statuses("10.0.0.1", 2), [200, 429], "one more is allowed, and what was used stays used");
    assert_eq!(app.metric("unstick_rate_refused_total{route=\"* /\",per=\"address\"}"), 5.0);
    app.apply(&config(&backends, &routes("requests = 6, in = '1h' }\npriority = -1\nlimits = { replay = '0B'")));
    assert_eq!(statuses("10.0.0.1", 1), [429], "it is the same route");
    app.apply(&config(&backends, &routes("per = 'header:x-key', requests = 1, in = '1h'")));
    let by_key = |key: &str| ask(&app, "GET", "/", &format!("X-Key: {key}\r\n")).status;
    assert_eq!([by_key("a"), by_key("a"), by_key("b")], [200, 429, 200]);
}

#[test]
fn maintenance_begins_and_ends_with_an_edit() {
    let backends = [Backend::named("a"), Backend::named("b")];
    let routes = |is_down: bool| {
        format!("[[route]]\npool = 'a'\n[[route]]\npath = '/shop'\npool = 'b'\nmaintenance = {is_down}\n")
    };
    let app = App::start(&config(&backends, &routes(true)));
    let down = ask(&app, "POST", "/shop", "Content-Length: 0\r\n");
    assert_eq!(status_and_cause(&down), (503, Some("maintenance")));
    assert_eq!(down.field("retry-after"), Some("1"));
    assert_eq!(ask(&app, "GET", "/", "").text(), "a");
    app.apply(&config(&backends, &routes(false)));
    assert_eq!(ask(&app, "GET", "/shop", "").text(), "b");
}

#[test]
fn error_pages_are_those_of_the_route_before_the_general_ones() {
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("sorry.html");
    std::fs::write(&page, "<h1>Back soon</h1>").unwrap();
    let routes = format!(
        "[errors]\n404 = {{ body = 'nothing here' }}\n503 = {{ body_file = '{}', content_type = 'text/html' }}\n\
         [[route]]\npath = '/a'\npool = 'a'\nmaintenance = true\n\
         [[route]]\npath = '/b'\npool = 'b'\nmaintenance = true\nerrors = {{ 503 = {{ body = 'b sleeps' }} }}\n",
        page.display()
    );
    let (app, [a, b]) = two_pools(&routes);
    for (path, expected) in [
        ("/a", (503, "<h1>Back soon</h1>", Some("text/html"), Some("maintenance"))),
        ("/b", (503, "b sleeps", Some("text/plain; charset=utf-8"), Some("maintenance"))),
        ("/c", (404, "nothing here", Some("text/plain; charset=utf-8"), Some("no-route"))),
    ] {
        let found = ask(&app, "GET", path, "Accept: application/json\r\n");
        let (text, kind) = (found.text(), found.field("content-type"));
        assert_eq!((found.status, text.as_str(), kind, found.field("x-unstick-error")), expected, "{path}");
        assert_eq!(found.field("cache-control"), Some("no-store"));
    }
    let call = ask(&app, "POST", "/a", "Content-Type: application/grpc\r\nContent-Length: 0\r\n");
    assert_eq!((call.status, call.field("grpc-status")), (200, Some("14")), "a call gets no page");
    // The nearest counts: that of the route, of the listener, of all.
    let of_listener = "[listen.web]\naddress = '127.0.0.1:0'\nerrors = { 503 = { body = 'web sleeps' }, 404 = { body = \
         'nothing on web' }, 400 = { body = 'web understands nothing' } }\n";
    let before = config(&[a, b], &routes);
    app.apply(&format!("{of_listener}{before}"));
    for (target, expected) in [
        ("/a", (503, "web sleeps")),
        ("/b", (503, "b sleeps")),
        ("/c", (404, "nothing on web")),
        ("/\u{1}", (400, "web understands nothing")),
    ] {
        let found = ask(&app, "GET", target, "");
        assert_eq!((found.status, found.text().as_str()), expected, "{target:?}");
    }
    app.apply(&before);
    assert_eq!(ask(&app, "GET", "/a", "").text(), "<h1>Back soon</h1>");
    // A page that cannot be read refuses the edit.
    let why = app.refuse(&before.replace("sorry.html", "gone.html"));
    assert!(why.contains("gone.html"), "{why}");
}

#[test]
fn the_errors_of_replicas_are_passed_on_as_they_are() {
    let own = Backend::start(|peer| peer.serve(|_| b"HTTP/1.1 503 Down\r\nContent-Length: 3\r\n\r\nown".to_vec()));
    let app = App::builder(&[own.address]).more("[errors]\n503 = { body = 'page' }\n").start();
    assert_eq!(ask(&app, "GET", "/", "").text(), "own");
}

#[test]
fn shares_are_exact_and_change_with_an_edit() {
    let backends = [Backend::named("a"), Backend::named("b")];
    let routes = |split: &str| format!("[[route]]\nsplit = {{ {split} }}\n");
    let app = App::start(&config(&backends, &routes("a = 90, b = 10")));
    let counts = |requests: usize| {
        let mut counts = [0, 0];
        for _ in 0..requests {
            counts[usize::from(ask(&app, "GET", "/", "").text() == "b")] += 1;
        }
        counts
    };
    assert_eq!(counts(100), [90, 10]);
    app.apply(&config(&backends, &routes("a = 0, b = 1")));
    assert_eq!(counts(5), [0, 5]);
    app.apply(&config(&backends, &routes("a = 1, b = 1")));
    assert_eq!(counts(20), [10, 10]);
}

#[test]
fn a_fallback_takes_over_while_nobody_is_healthy_and_no_longer() {
    let backends = [Backend::named("a"), Backend::named("b")];
    let checked = |backend: &Backend, name: &str| {
        format!(
            "[pool.{name}]\nbackends = ['{}']\nhealth = {{ path = '/healthz', interval = '50ms', \
             timeout = '1s', rise = 1, fall = 1 }}\n",
            backend.address
        )
    };
    let [first, second] = ["a", "b"].map(|name| checked(&backends[usize::from(name == "b")], name));
    let app = App::start(&format!("{first}{second}[[route]]\npool = 'a'\nfallback = 'b'\n"));
    let goes_to = |name: &'static str| {
        eventually(name, || ask(&app, "GET", "/", "").text() == name);
    };
    goes_to("a");
    backends[0].set_healthy(false);
    goes_to("b");
    // With nobody healthy the first fails open, as it would alone.
    backends[1].set_healthy(false);
    goes_to("a");
    backends[1].set_healthy(true);
    goes_to("b");
    backends[0].set_healthy(true);
    goes_to("a");
}

/// An endpoint closes unused connections as part of keep-alive: that is no reason to leave it.
#[test]
fn a_request_whose_kept_connection_was_closed_does_not_go_to_the_fallback() {
    let first = Backend::start(|peer| {
        if peer.next().is_some() {
            send(&mut peer.stream, answer("first"));
            // It closes when the next request comes on it.
            peer.next();
            peer.stream.shutdown(Shutdown::Both).ok();
        }
    });
    let spare = Backend::named("spare");
    let app = App::start(&format!(
        "[pool.a]\nbackends = ['{}']\n[pool.b]\nbackends = ['{}']\n[[route]]\npool = 'a'\nfallback = 'b'\n",
        first.address, spare.address
    ));
    for _ in 0..5 {
        assert_eq!(ask(&app, "GET", "/", "").text(), "first");
    }
    assert_eq!(spare.seen().len(), 0);
}

#[test]
fn a_request_that_no_endpoint_has_taken_goes_to_the_fallback() {
    let (well, dead) = (Backend::named("b"), [free_address(), free_address()]);
    let app = App::start(&format!(
        "[pool.a]\nbackends = ['{}', '{}']\n[pool.b]\nbackends = ['{}']\n[[route]]\npool = 'a'\nfallback = 'b'\n",
        dead[0], dead[1], well.address
    ));
    for method in ["GET", "POST", "GET", "POST"] {
        let response = ask(&app, method, "/", "Content-Length: 0\r\n");
        assert_eq!((response.status, response.text().as_str()), (200, "b"), "{method}");
    }
}

#[test]
fn a_request_for_https_is_sent_where_it_came_to() {
    let backend = Backend::named("a");
    let app = App::start(&format!(
        "[listen.web]\naddress = '127.0.0.1:0'\nredirect_to_https = 443\n[pool.a]\nbackends = ['{}']\n[[route]]\n\
         path = '/api'\nstrip_prefix = '/api'\nrequest_headers = {{ set = {{ host = 'inner.test' }} }}\n\
         response_headers = {{ set = {{ x-a = '1' }} }}\n",
        backend.address
    ));
    let response = ask(&app, "GET", "/api/x?q", "");
    assert_eq!((response.status, response.field("location")), (308, Some("https://a.test/api/x?q")));
    assert_eq!(response.field("x-a"), Some("1"));
}

#[test]
fn a_target_that_cannot_be_rewritten_goes_nowhere() {
    let (app, [a, _b]) = two_pools(
        "[[route]]\nhost = 'b.test'\npool = 'b'\n[[route]]\npath = '/t'\npool = 'a'\n\
         replace_prefix = { from = '/t', to = '/v1/tenant' }\n",
    );
    let long = ask(&app, "GET", &format!("/t/{}", "a".repeat(62_000)), "");
    assert_eq!(status_and_cause(&long), (414, Some("uri-too-long")));
    ask(&app, "GET", "/t/%%32e%%32e/secret", "");
    let lines: Vec<String> = a.seen().iter().map(|seen| seen.line().to_owned()).collect();
    assert_eq!(lines, ["GET /v1/tenant/%252e%252e/secret HTTP/1.1"]);
}

#[test]
fn an_identifier_of_a_stranger_is_not_told_again() {
    let (app, _backends) = two_pools(
        "[[route]]\nsplit = { a = 1, b = 1 }\n[[route]]\npath = '/x'\nrespond = { body = 'x' }\n\
         response_headers = { set = { x-id = 'id-{request_id}' } }\n",
    );
    assert_eq!(ask(&app, "GET", "/x", "X-Request-Id: chosen\r\n").field("x-id"), Some("id-"));
}

#[test]
fn a_split_leaves_out_a_pool_in_which_nobody_is_healthy() {
    let (well, ill) = (Backend::named("a"), Backend::named("b"));
    ill.set_healthy(false);
    let app = App::start(&format!(
        "[pool.a]\nbackends = ['{}']\n[pool.b]\nbackends = ['{}']\nhealth = {{ path = '/healthz', interval = '50ms', \
             timeout = '1s', \
         fall = 1 }}\n[[route]]\nsplit = {{ a = 1, b = 1 }}\n",
        well.address, ill.address
    ));
    app.wait_for(ill.address, "unhealthy");
    for _ in 0..10 {
        assert_eq!(ask(&app, "GET", "/", "").text(), "a");
    }
}

#[test]
fn deadlines_and_bounds_of_a_route_are_its_own() {
    let (asked, was_asked) = signal();
    let slow = Backend::start(move |peer| {
        while peer.next_head().is_some() {
            asked.lock().unwrap().send(()).unwrap();
        }
    });
    let quick = Backend::named("b");
    let app = App::start(&format!(
        "[timeouts]\nresponse_head = '1h'\n[pool.a]\nbackends = ['{}']\n[pool.b]\nbackends = ['{}']\n\
         [[route]]\npath = '/slow'\npool = 'a'\n\
         timeouts = {{ response_head = '100ms' }}\nretry = {{ attempts = 1 }}\n\
         [[route]]\npool = 'b'\n[[route]]\npath = '/upload'\npool = 'b'\nlimits = {{ request_body = '10B' }}\n",
        slow.address, quick.address
    ));
    let late = ask(&app, "GET", "/slow", "");
    assert_eq!(status_and_cause(&late), (504, Some("upstream-timeout")));
    was_asked.wait("the replica was asked");
    assert_eq!(slow.connections(), 1, "a GET would be repeated with the pool's attempts");
    let mut client = connect(app.address);
    let post = |path: &str, framing: &str| format!("POST {path} HTTP/1.1\r\nHost: a\r\n{framing}");
    let body = "Content-Length: 11\r\n\r\n12345678901";
    assert_eq!(exchange(&mut client, &post("/x", body)).status, 200);
    let large = exchange(&mut client, &post("/upload", body));
    assert_eq!(status_and_cause(&large), (413, Some("request-body-too-large")));
    let chunks = "Transfer-Encoding: chunked\r\n\r\n6\r\n123456\r\n6\r\n123456\r\n0\r\n\r\n";
    let large = exchange(&mut connect(app.address), &post("/upload", chunks));
    assert_eq!(status_and_cause(&large), (413, Some("request-body-too-large")));
    assert_eq!(exchange(&mut connect(app.address), &post("/upload", "Content-Length: 1\r\n\r\n1")).status, 200);
}

#[test]
fn statuses_that_count_as_failures_are_those_of_the_route() {
    let unwell = Backend::start(|peer| {
        peer.serve(|_| b"HTTP/1.1 503 Down\r\nContent-Length: 4\r\n\r\ndown".to_vec());
    });
    let well = Backend::start(|peer| peer.serve(|_| answer("well")));
    let app = App::builder(&[unwell.address, well.address])
        .more("[[route]]\n[[route]]\npath = '/again'\nretry = { on_status = [503] }\n")
        .start();
    let texts = |path: &str| -> Vec<String> { (0..6).map(|_| ask(&app, "GET", path, "").text()).collect() };
    assert!(texts("/").contains(&"down".to_owned()));
    assert_eq!(texts("/again"), ["well"; 6]);
}

#[test]
fn requests_of_a_route_are_left_out_of_the_access_log() {
    let backend = Backend::named("a");
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("access.log");
    let app = App::start(&format!(
        "[log]\naccess = '{}'\n[pool.a]\nbackends = ['{}']\n[[route]]\n\
         [[route]]\npath = '/health'\naccess_log = false\n\
         [[route]]\npath = '/ping'\naccess_log = false\nrespond = {{ body = 'pong' }}\n\
         [[route]]\npath = '/pong'\nrespond = {{ body = 'ping' }}\n\
         [[route]]\npath = '/closed'\naccess_log = false\ndeny = ['127.0.0.1']\npool = 'a'\n",
        log.display(),
        backend.address
    ));
    for path in ["/health", "/ping", "/closed", "/pong", "/seen"] {
        ask(&app, "GET", path, "");
    }
    let written = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually("the last one is written", || written().contains("/seen"));
    let lines: Vec<serde_json::Value> = written().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let targets: Vec<&str> = lines.iter().map(|line| line["target"].as_str().unwrap_or_default()).collect();
    assert_eq!(targets, ["/pong", "/seen"], "{}", text(written().as_bytes()));
    assert_eq!((&lines[0]["status"], &lines[0]["origin"]), (&200.into(), &"unstick".into()));
}
