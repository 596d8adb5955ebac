//! Responses in place of the application: each has its name, its line in the access log and its counter.

use std::net::{Shutdown, SocketAddr};
use std::path::PathBuf;

use bytes::Bytes;
use serde_json::Value;

use crate::support::backend::{Backend, answer};
use crate::support::client::{Response, exchange, read_response};
use crate::support::h2_backend::H2Backend;
use crate::support::{App, SOON, connect, eventually, free_address, pause, read_to_close, send, text};

/// An application that writes an access log, which is this file.
fn logging(backends: &[SocketAddr], pool: &str, more: &str) -> (App, PathBuf, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let log = format!("[log]\naccess = \"{}\"\n{more}", file.display());
    (App::builder(backends).pool(pool).more(&log).workers(1).start(), file, folder)
}

/// The lines of the access log, when there are as many as there should be.
#[track_caller]
fn lines(file: &PathBuf, count: usize) -> Vec<Value> {
    let read = || std::fs::read_to_string(file).unwrap_or_default();
    eventually("the access log is written", || read().lines().count() >= count);
    let lines: Vec<Value> = read().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

fn ask(app: &App, request: &str) -> Response {
    exchange(&mut connect(app.address), request)
}

/// Parsers would refuse them. HAProxy and nginx pass them on, and there are clients that send them.
#[test]
fn targets_with_bytes_that_no_url_may_contain_are_encoded() {
    let backend = Backend::named("a");
    let app = App::builder(&[backend.address]).workers(1).start();
    for (target, expected) in [
        (&b"/?q=\"a\""[..], "/?q=%22a%22"),
        (b"/a\"b", "/a%22b"),
        (b"/<script>?<>", "/%3Cscript%3E?%3C%3E"),
        (b"/`?`", "/%60?%60"),
        (b"/caf\xe9?\xff", "/caf%E9?%FF"),
        ("/café".as_bytes(), "/caf%C3%A9"),
        (b"http://x/<", "/%3C"),
        (b"/%22?{}|\\^", "/%22?{}|\\^"),
    ] {
        let mut client = connect(app.address);
        let fields = &b" HTTP/1.1\r\nHost: x\r\nX-A: \"<`>\"\r\n"[..];
        let get = [b"GET ", target, fields, b"\r\n"].concat();
        let post = [b"POST ", target, fields, b"Content-Length: 4\r\n\r\n\"<`>"].concat();
        // In one piece, several times on one connection and at last with a body; and byte by byte.
        for (method, head, is_slow) in
            [("GET", &get, false), ("GET", &get, false), ("POST", &post, false), ("GET", &get, true)]
        {
            if is_slow {
                client = connect(app.address);
                head.iter().for_each(|byte| send(&mut client, [*byte]));
            } else {
                send(&mut client, head);
            }
            let response = read_response(&mut client, false);
            assert_eq!(response.status, 200, "{}: {}", text(target), response.head);
            let seen = backend.seen().pop().unwrap();
            assert_eq!(seen.line(), format!("{method} {expected} HTTP/1.1"));
            let body = if method == "POST" { "\"<`>" } else { "" };
            assert_eq!((seen.field("x-a"), text(&seen.body).as_str()), (Some("\"<`>\""), body));
        }
    }
}

/// Browsers encode it, other clients do not.
#[test]
fn the_path_of_a_route_may_have_other_letters_than_ascii() {
    let (coffee, rest) = (Backend::named("coffee"), Backend::named("rest"));
    let routes = format!(
        "[pool.coffee]\nbackends = [\"{}\"]\n\
         [[route]]\npath = \"/café\"\npool = \"coffee\"\n[[route]]\npool = \"app\"\n",
        coffee.address
    );
    let app = App::builder(&[rest.address]).more(&routes).start();
    for (target, expected) in [("/café/1", "coffee"), ("/caf%C3%A9?a", "coffee"), ("/cafe", "rest")] {
        let response = ask(&app, &format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(response.text(), expected, "{target}");
    }
}

/// A route that keeps something from a pool must not be passed by with other requests in front, or in another version.
#[test]
fn the_route_of_a_raw_target_does_not_depend_on_what_came_before_it() {
    let (coffee, rest) = (Backend::named("coffee"), Backend::named("rest"));
    let routes = format!(
        "[pool.coffee]\nbackends = [\"{}\"]\n\
         [[route]]\npath = \"/caf\u{e9}\\\"\"\npool = \"coffee\"\n[[route]]\npool = \"app\"\n",
        coffee.address
    );
    let app = App::builder(&[rest.address]).more(&routes).workers(1).start();
    let get = "GET /café\" HTTP/1.1\r\nHost: x\r\n\r\n";
    let before = [
        "",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ];
    for before in before {
        for pieces in [vec![before, get], vec![&*[before, get].concat()], vec![before, &get[..20], &get[20..]]] {
            let mut client = connect(app.address);
            for piece in pieces {
                send(&mut client, piece);
                pause("the pieces come one by one", 20);
            }
            if !before.is_empty() {
                assert_eq!(read_response(&mut client, false).text(), "rest");
            }
            assert_eq!(read_response(&mut client, false).text(), "coffee", "behind {before:?}");
            assert_eq!(coffee.seen().pop().unwrap().line(), "GET /caf%C3%A9%22 HTTP/1.1");
            // And those that follow.
            for raw in ["/café\"", "/caf%C3%A9\"?`<>"] {
                let next = exchange(&mut client, &format!("GET {raw} HTTP/1.1\r\nHost: x\r\n\r\n"));
                assert_eq!((next.status, next.text().as_str()), (200, "coffee"), "{raw} behind {before:?}");
            }
        }
    }
    crate::support::h2::run(async {
        let client = crate::support::h2::client(app.address).await;
        let (status, name) = crate::support::h2::get(&client, "/café\"").await.unwrap();
        assert_eq!((status, name.as_str()), (200, "coffee"));
        assert_eq!(coffee.seen().pop().unwrap().line(), "GET /caf%C3%A9%22 HTTP/1.1");
    });
}

/// The head has come in one read with the request before, so what comes next is a body, though it looks like a head to
/// whoever has not heard of that yet.
#[test]
fn a_body_behind_a_head_that_came_with_another_request_is_not_touched() {
    const ROUNDS: usize = 40;
    let (has_come, come) = std::sync::mpsc::channel::<()>();
    let come = std::sync::Mutex::new(come);
    let backend = Backend::start(move |peer| {
        peer.serve(|seen| {
            if seen.line().starts_with("GET") {
                come.lock().unwrap().recv_timeout(SOON).ok();
            }
            answer("a")
        });
    });
    let app = App::builder(&[backend.address]).workers(1).start();
    let body = format!("{{\"a\": {}}}", "\"".repeat(400));
    let heads = format!(
        "GET / HTTP/1.1\r\nHost: x\r\n\r\nPOST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    for round in 0..ROUNDS {
        let mut client = connect(app.address);
        send(&mut client, &heads);
        eventually("the first request has come", || backend.seen().len() == 2 * round + 1);
        // It arrives together with the response to that.
        send(&mut client, &body);
        has_come.send(()).unwrap();
        for _ in 0..2 {
            assert_eq!(read_response(&mut client, false).status, 200);
        }
        assert_eq!(text(&backend.seen().pop().unwrap().body), body);
    }
}

/// A large head fills the buffer of the library, so that the encoded target does not fit beside it.
#[test]
fn an_encoded_target_may_be_longer_than_what_was_read() {
    let backend = Backend::named("a");
    let app = App::builder(&[backend.address]).workers(1).start();
    let (many, filler) = ("<".repeat(3000), "f".repeat(12_000));
    let request = format!("GET /{many} HTTP/1.1\r\nHost: x\r\nX-A: {filler}\r\n\r\n");
    for _ in 0..3 {
        assert_eq!(ask(&app, &request).status, 200);
        let seen = backend.seen().pop().unwrap();
        assert_eq!(seen.line(), format!("GET /{} HTTP/1.1", "%3C".repeat(3000)));
        assert_eq!(seen.field("x-a").map(str::len), Some(12_000));
    }
}

/// The bound is the library's own. It must not look like a fault of the network or of the protocol.
#[test]
fn a_response_with_too_many_fields_is_refused_with_the_reason() {
    let backend = Backend::start(|peer| {
        while let Some(seen) = peer.next() {
            let count: usize = seen.line().split(['/', ' ']).nth(2).unwrap().parse().unwrap();
            let fields: String = (1..count).map(|nth| format!("X-{nth}: a\r\n")).collect();
            send(&mut peer.stream, format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok"));
        }
    });
    let (app, file, _folder) = logging(&[backend.address], "", "");
    let get = |count: usize| ask(&app, &format!("GET /{count} HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_eq!((get(100).status, get(100).text().as_str()), (200, "ok"));
    let response = get(101);
    assert_eq!((response.status, response.field("x-unstick-error")), (502, Some("upstream-invalid")));
    let line = lines(&file, 3).pop().unwrap();
    assert_eq!(line["error"], "the head of the response has more than 100 fields or 256 KiB", "{line}");
    assert_eq!(get(100).text(), "ok");
}

/// Over HTTP/2 such a head concerns nobody but its own request.
#[test]
fn a_response_head_over_http2_that_is_too_large_costs_the_others_of_its_connection_nothing() {
    let (told, go_on) = tokio::sync::oneshot::channel::<()>();
    let go_on = std::cell::RefCell::new(Some(go_on));
    let backend = H2Backend::start(move |mut call| {
        let path = call.request.uri().path()[1..].to_owned();
        let go_on = if path == "slow" { go_on.borrow_mut().take() } else { None };
        async move {
            match (path.parse::<usize>(), go_on) {
                (Ok(kib), _) => {
                    let mut head = http::Response::builder();
                    for nth in 0..kib / 16 {
                        head = head.header(format!("x-{nth}"), "~".repeat(16 << 10));
                    }
                    call.answer(head).send_data(Bytes::from_static(b"ok"), true).unwrap();
                }
                (Err(_), Some(go_on)) => {
                    go_on.await.unwrap();
                    call.say("slow");
                }
                (Err(_), None) => call.say("quick"),
            }
        }
    });
    let keys = "protocol = \"h2c\"\nretry = { attempts = 1 }\neject = { failures = 0 }";
    let (app, file, _folder) = logging(&[backend.address], keys, "");
    let mut slow = connect(app.address);
    send(&mut slow, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    eventually("it is sent", || app.endpoint(backend.address).unwrap()["in_flight"] == 1);
    let get = |path: &str| ask(&app, &format!("GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_eq!(get("224").text(), "ok");
    for kib in ["272", "1024", "3072"] {
        let response = get(kib);
        assert_eq!((response.status, response.field("x-unstick-error")), (502, Some("upstream-invalid")), "{kib}");
    }
    let line = lines(&file, 4).pop().unwrap();
    assert_eq!(line["error"], "the head of the response has more than 100 fields or 256 KiB", "{line}");
    assert_eq!(get("quick").text(), "quick");
    told.send(()).unwrap();
    assert_eq!(read_response(&mut slow, false).text(), "slow", "its connection lives");
    assert_eq!(backend.connections(), 1);
}

/// The response has begun, so it can only break off.
#[test]
fn trailers_and_extensions_of_a_response_beyond_the_bound_are_the_failure_of_the_replica() {
    let backend = Backend::start(|peer| {
        peer.serve(|seen| {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            match seen.line().split(' ').nth(1).unwrap() {
                "/trailers" => format!("{head}2\r\nok\r\n0\r\nX: {}\r\n\r\n", "a".repeat(17 << 10)),
                _ => format!("{head}2;x={}\r\nok\r\n0\r\n\r\n", "a".repeat(17 << 10)),
            }
            .into()
        });
    });
    let (app, file, _folder) = logging(&[backend.address], "eject = { failures = 0 }", "");
    for (count, (path, reason)) in [("/trailers", "trailers"), ("/extensions", "extensions")].into_iter().enumerate() {
        let mut stream = connect(app.address);
        send(&mut stream, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let (bytes, _) = read_to_close(&mut stream);
        assert!(!bytes.ends_with(b"0\r\n\r\n"), "{path} is not taken for whole");
        let line = lines(&file, count + 1).pop().unwrap();
        assert_eq!((line["origin"].as_str(), line["status"].as_u64()), (Some("replica"), Some(200)), "{line}");
        assert!(line["error"].as_str().is_some_and(|error| error.contains(reason)), "{line}");
        assert_eq!(app.endpoint(backend.address).unwrap()["failures"], count + 1);
    }
}

/// The library that knows targets keeps their length in 16 bits.
#[test]
fn a_target_has_a_bound_of_its_own_however_large_a_head_may_be() {
    let backend = Backend::named("a");
    let (app, _file, _folder) = logging(&[backend.address], "", "[limits]\nrequest_head = \"256KiB\"");
    for (length, status) in [(65_534, 200), (65_535, 431)] {
        let response = ask(&app, &format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(length - 1)));
        assert_eq!(response.status, status, "{length}");
    }
}

#[test]
fn what_is_no_head_is_named_logged_and_counted() {
    let backend = Backend::named("a");
    let (app, file, _folder) = logging(&[backend.address], "", "");
    let good = "GET /good HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut expected = Vec::new();
    for (head, status, line) in [
        ("GET /a b HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 400, Some("GET /a b HTTP/1.1")),
        ("G\0T / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 400, Some("G\0T / HTTP/1.1")),
        ("GET / HTTP/9\r\nHost: x\r\n\r\n".to_owned(), 400, Some("GET / HTTP/9")),
        ("GET / HTTP/1.1\r\nHost : x\r\n\r\n".to_owned(), 400, Some("GET / HTTP/1.1")),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n".to_owned(), 400, Some("POST / HTTP/1.1")),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(70_000)), 431, Some("GET / HTTP/1.1")),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: a\r\n".repeat(101)), 431, Some("GET / HTTP/1.1")),
    ] {
        // Alone, after another request, and in the same piece as another request.
        for before in [None, Some(true), Some(false)] {
            let mut client = connect(app.address);
            if before == Some(true) {
                assert_eq!(exchange(&mut client, good).status, 200);
            }
            let ahead = if before == Some(false) { good } else { "" };
            send(&mut client, format!("{ahead}{head}"));
            let (answers, was_orderly) = read_to_close(&mut client);
            let answers = text(&answers);
            let last = answers.rsplit("HTTP/1.1 ").next().unwrap();
            let name = if status == 400 { "bad-request" } else { "request-head-too-large" };
            assert!(was_orderly && last.starts_with(&status.to_string()), "{head:.40?} {before:?}: {answers}");
            assert!(last.contains(&format!("x-unstick-error: {name}")), "{head:.40?} {before:?}: {answers}");
            assert!(last.contains("connection: close") && last.contains(&format!("{name}: ")), "{answers}");
            let count = answers.matches("HTTP/1.1 ").count();
            assert_eq!(count, 1 + usize::from(before == Some(false)), "{answers}");
            if before.is_some() {
                expected.push((200, None, None));
            }
            expected.push((status, Some(name), line));
        }
    }
    let lines = lines(&file, expected.len());
    for (line, (status, name, text)) in lines.iter().zip(&expected) {
        assert_eq!((&line["status"], line["cause"].as_str()), (&Value::from(*status), *name), "{line}");
        assert_eq!(line["origin"], if name.is_some() { "unstick" } else { "replica" }, "{line}");
        if name.is_some() {
            assert!(line["error"].as_str().is_some_and(|error| !error.is_empty()), "{line}");
            assert_eq!((line["line"].as_str(), &line["pool"], &line["method"]), (*text, &Value::Null, &"-".into()));
        }
    }
    let own = |labels: &str| app.metric(&format!("unstick_own_responses_total{{{labels}}}"));
    assert_eq!(own("cause=\"bad-request\",rule=\"head\""), 15.0);
    assert_eq!(own("cause=\"request-head-too-large\",rule=\"\""), 6.0);
    assert_eq!(backend.seen().len(), 14);
}

/// A client that reads nothing meanwhile still gets all its responses, and the refusal behind them.
#[test]
fn a_refusal_comes_behind_the_responses_before_it() {
    let big = "x".repeat(3 << 20);
    let backend = Backend::start(move |peer| peer.serve(|_| answer(&big)));
    let app = App::builder(&[backend.address]).workers(1).start();
    let mut client = connect(app.address);
    send(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /a b HTTP/1.1\r\nHost: x\r\n\r\n");
    pause("the response fills every buffer", 300);
    assert_eq!(read_response(&mut client, false).body.len(), 3 << 20);
    let (refusal, _) = read_to_close(&mut client);
    assert!(text(&refusal).starts_with("HTTP/1.1 400 "), "{}", text(&refusal));
}

#[test]
fn each_response_says_in_the_log_who_made_it_and_why() {
    let backend = Backend::start(|peer| {
        while let Some(seen) = peer.next() {
            let bytes = match seen.line().split(' ').nth(1).unwrap() {
                "/502" => b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n".to_vec(),
                "/close" => return drop(peer.stream.shutdown(Shutdown::Both)),
                "/cut" => {
                    send(&mut peer.stream, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
                    pause("the beginning is passed on", 100);
                    return drop(peer.stream.shutdown(Shutdown::Both));
                }
                _ => answer("fine"),
            };
            send(&mut peer.stream, bytes);
        }
    });
    let routes = "[[route]]\nhost = \"x\"\npath = \"/nobody\"\npool = \"nobody\"\n\
        [[route]]\nhost = \"x\"\npool = \"app\"\n\
                  [limits]\nrequest_body = \"10B\"\n";
    let nobody = format!("[pool.nobody]\nbackends = [\"{}\"]\n", free_address());
    let pool = "eject.failures = 0\n[pool.app.retry]\nattempts = 1";
    let (app, file, _folder) = logging(&[backend.address], pool, &format!("{routes}{nobody}"));
    let get = |target: &str, host: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let cases = [
        (get("/fine", "x"), 200, "replica", None, None, None),
        (get("/502", "x"), 502, "replica", None, None, None),
        (get("/close", "x"), 502, "unstick", Some("upstream-closed"), None, Some("")),
        (get("/nobody", "x"), 502, "unstick", Some("connect-failed"), None, Some("Connection refused (os error 111)")),
        (get("/", "other"), 404, "unstick", Some("no-route"), None, None),
        (get("/", "a,b"), 400, "unstick", Some("bad-request"), Some("host-invalid"), None),
        (get("/", "x").replace("GET", "TRACE"), 405, "unstick", Some("method-not-allowed"), None, None),
        (
            get("/", "x").replace("\r\n\r\n", "\r\nContent-Length: 11\r\n\r\nhello world"),
            413,
            "unstick",
            Some("request-body-too-large"),
            None,
            None,
        ),
        (
            get("/", "x").replace("\r\n\r\n", "\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
            501,
            "unstick",
            Some("unknown-transfer-coding"),
            None,
            None,
        ),
    ];
    for (request, status, ..) in &cases {
        assert_eq!(ask(&app, request).status, *status, "{request}");
    }
    let mut client = connect(app.address);
    send(&mut client, get("/cut", "x"));
    read_to_close(&mut client);
    let lines = lines(&file, cases.len() + 1);
    for (line, (request, status, origin, cause, rule, error)) in lines.iter().zip(cases) {
        let field = |name: &str| line[name].as_str();
        assert_eq!(line["status"], status, "{request} {line}");
        assert_eq!((field("origin"), field("cause"), field("rule")), (Some(origin), cause, rule), "{request} {line}");
        match error {
            Some("") => assert!(field("error").is_some_and(|error| !error.is_empty()), "{line}"),
            error => assert_eq!(field("error"), error, "{line}"),
        }
        if let Some(cause) = cause {
            let labels = format!("cause=\"{cause}\",rule=\"{}\"", rule.unwrap_or_default());
            assert_eq!(app.metric(&format!("unstick_own_responses_total{{{labels}}}")), 1.0, "{cause}");
        }
    }
    let errors = format!("unstick_endpoint_5xx_total{{pool=\"app\",endpoint=\"{}\"}}", backend.address);
    assert_eq!(app.metric(&errors), 1.0, "those of the proxy do not count");
    let cut = lines.last().unwrap();
    assert_eq!((&cut["outcome"], &cut["origin"], &cut["status"]), (&"cut".into(), &"replica".into(), &200.into()));
    assert!(cut["error"].as_str().is_some_and(|error| error.contains("broke off")), "{cut}");
}

/// Over HTTP/2, and for a pool without endpoints, in the same way.
#[test]
fn refusals_over_http2_are_logged_too() {
    let backend = H2Backend::named("one");
    let route = "[[route]]\nhost = \"a.test\"\npool = \"app\"\n";
    let (app, file, _folder) = logging(&[backend.address], "protocol = \"h2c\"", route);
    crate::support::h2::run(async {
        let client = crate::support::h2::client(app.address).await;
        assert_eq!(crate::support::h2::get(&client, "/").await.unwrap().0, 200);
        let request = http::Request::get("http://b.test/").body(()).unwrap();
        let (response, ..) =
            crate::support::h2::whole(crate::support::h2::begin(&client, request, true).await.0).await.unwrap();
        assert_eq!(response.status().as_u16(), 404);
        // The limit is 64 KiB, of which each field takes 32 bytes more than it has; method, host and target take 10.
        for (bytes, status, cause) in [
            (65_536 - 45, 200, None),
            (65_536 - 44, 431, Some("request-head-too-large")),
            (130_000, 431, Some("request-head-too-large")),
            (200_000, 431, None),
        ] {
            let request = http::Request::get("http://a.test/").header("big", "x".repeat(bytes)).body(()).unwrap();
            let (response, ..) =
                crate::support::h2::whole(crate::support::h2::begin(&client, request, true).await.0).await.unwrap();
            let told = response.headers().get("x-unstick-error").map(|cause| cause.to_str().unwrap());
            assert_eq!((response.status().as_u16(), told), (status, cause), "{bytes}");
        }
    });
    let lines = lines(&file, 5);
    assert_eq!((&lines[0]["origin"], &lines[1]["origin"]), (&"replica".into(), &"unstick".into()));
    assert_eq!((&lines[1]["cause"], &lines[1]["version"]), (&"no-route".into(), &"HTTP/2.0".into()));
    assert_eq!(lines[2]["status"], 200);
    for large in &lines[3..] {
        assert_eq!((&large["cause"], &large["status"]), (&"request-head-too-large".into(), &431.into()));
    }
}

#[test]
fn responses_of_its_own_are_told_by_cause() {
    let app = App::over(&[free_address()]);
    assert_eq!(app.status()["own_responses"], serde_json::json!({}));
    exchange(&mut connect(app.address), "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    exchange(&mut connect(app.address), "GET / HTTP/1.1\r\nHost: a b\r\n\r\n");
    let expected = serde_json::json!({ "bad-request": 1, "connect-failed": 1 });
    eventually("both are counted", || app.status()["own_responses"] == expected);
}
