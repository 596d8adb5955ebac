//! The access log as a user reads it: its forms, who the client was, what is refused, and edits while requests go on.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use http::{Method, Request};
use serde_json::Value;

use crate::support::backend::{Backend, answer};
use crate::support::client::{exchange, get};
use crate::support::h2::{begin, client, run, whole};
use crate::support::{App, connect, eventually, pool_of, read_to_close, send};
use unstick::config::AccessField;

/// A folder with room for an access log, which is this file.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    (folder, file)
}

/// A config with an access log. `keys` are those of `[log]`, `listener` those of the only listener.
fn config(backend: SocketAddr, file: &Path, keys: &str, listener: &str) -> String {
    let log = format!("[log]\naccess = \"{}\"\n{keys}\n", file.display());
    let listen = format!("[listen.web]\naddress = \"127.0.0.1:0\"\n{listener}\n");
    format!("{listen}{}", pool_of(&[backend], "", &log))
}

/// The lines of the log, when there are as many as there should be.
#[track_caller]
fn lines(file: &Path, count: usize) -> Vec<String> {
    let read = || std::fs::read_to_string(file).unwrap_or_default();
    eventually("the access log is written", || read().matches('\n').count() >= count);
    let lines: Vec<String> = read().lines().map(ToOwned::to_owned).collect();
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))
}

/// What a client sends who wants to write lines of its own.
const HOSTILE: &str = "GET /a?b='|x HTTP/1.1\r\nHost: x\r\nUser-Agent: u\" 200 1 \"\\\tx | y\r\nReferer: r[2J\r\n\r\n";

#[test]
fn each_form_says_what_it_is_asked_for_and_no_more() {
    let backend = Backend::named("a");
    let tail = "\"GET /a?b='|x HTTP/1.1\" 200 1";
    for (keys, expected) in [
        ("access_format = \"common\"", format!("127.0.0.1 - - [T] {tail}")),
        (
            "access_format = \"combined\"",
            format!("127.0.0.1 - - [T] {tail} \"r[2J\" \"u\\x22 200 1 \\x22\\x5c\\x09x | y\""),
        ),
        (
            "access_format = \"{method} {user_agent} {status}\"",
            "GET u\\x22\\x20200\\x201\\x20\\x22\\x5c\\x09x\\x20|\\x20y 200".into(),
        ),
        ("access_format = \"{path}|{query}|{pool}\"", "/a|b='\\x7cx|app".into()),
        (
            "access_fields = [\"status\", \"client_ip\", \"referer\"]",
            "{\"status\":200,\"client_ip\":\"127.0.0.1\",\"referer\":\"r[2J\"}".into(),
        ),
    ] {
        let (_folder, file) = folder();
        let app = App::start(&config(backend.address, &file, keys, ""));
        assert_eq!(exchange(&mut connect(app.address), HOSTILE).status, 200);
        let line = lines(&file, 1).remove(0);
        let line = match line.split_once(" - - [") {
            Some((client, rest)) => format!("{client} - - [T]{}", rest.split_once(']').unwrap().1),
            None => line,
        };
        assert_eq!(line, expected, "{keys}");
    }
}

/// Whatever is refused has a line, with what is known of it.
#[test]
fn refused_requests_are_logged_with_what_is_known_of_them() {
    let backend = Backend::named("a");
    let route = "[[route]]\nhost = \"x\"\npool = \"app\"\n[limits]\nrequest_fields = 10\n";
    let many = "X: a\r\n".repeat(20);
    let large = format!("X: {}\r\n", "a".repeat(70_000));
    let agent = "User-Agent: me\r\nX-Request-Id: forged\r\n";
    let cases = [
        (format!("GET /a HTTP/1.1\r\nHost: a,b\r\n{agent}\r\n"), 400, "GET", "/a", "a,b", "me"),
        (format!("GET /b HTTP/1.1\r\n{agent}\r\n"), 400, "GET", "/b", "", "me"),
        (format!("GET /c?d HTTP/1.1\r\nHost: other\r\n{agent}\r\n"), 404, "GET", "/c?d", "other", "me"),
        (format!("TRACE /e HTTP/1.1\r\nHost: x\r\n{agent}\r\n"), 405, "TRACE", "/e", "x", "me"),
        (format!("CONNECT y:443 HTTP/1.1\r\nHost: y:443\r\n{agent}\r\n"), 405, "CONNECT", "y:443", "y:443", "me"),
        (format!("GET /f HTTP/1.1\r\nHost: x\r\n{agent}{many}\r\n"), 431, "-", "-", "", "GET /f HTTP/1.1"),
        (format!("GET /g HTTP/1.1\r\nHost: x\r\n{agent}{large}\r\n"), 431, "-", "-", "", "GET /g HTTP/1.1"),
        (format!("GET /h i HTTP/1.1\r\nHost: x\r\n{agent}\r\n"), 400, "-", "-", "", "GET /h i HTTP/1.1"),
        ("\x16\x03\x01\x02nonsense\r\n\r\n".to_owned(), 400, "-", "-", "", "\x16\x03\x01\x02nonsense"),
    ];
    let (_folder, file) = folder();
    let app = App::start(&(config(backend.address, &file, "", "") + route));
    for (request, status, ..) in &cases {
        let mut client = connect(app.address);
        send(&mut client, request);
        client.flush().unwrap();
        assert!(read_status(&mut client) == Some(*status), "{request:.80?}");
    }
    let lines = lines(&file, cases.len());
    for (line, (request, status, method, target, host, known)) in lines.iter().zip(&cases) {
        let line = json(line);
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(line["status"], *status, "{request:.80?} {line}");
        assert_eq!((text("method").as_str(), text("target").as_str()), (*method, *target), "{line}");
        assert_eq!((text("host").as_str(), text("origin").as_str()), (*host, "unstick"), "{line}");
        assert_eq!(text(if *method == "-" { "line" } else { "user_agent" }), *known, "{line}");
        assert_eq!((text("client_ip").as_str(), text("request_id").as_str()), ("127.0.0.1", ""), "{line}");
        assert!(!text("cause").is_empty() && line["pool"].is_null(), "{line}");
    }
    assert!(backend.seen().is_empty());
}

fn read_status(client: &mut std::net::TcpStream) -> Option<u16> {
    let head = crate::support::read_until(client, b"\r\n\r\n");
    String::from_utf8(head).ok()?.split(' ').nth(1)?.parse().ok()
}

#[test]
fn requests_that_are_refused_over_http2_are_logged_likewise() {
    let backend = Backend::named("a");
    let route = "[[route]]\nhost = \"x\"\npool = \"app\"\n[limits]\nrequest_fields = 10\n";
    let (_folder, file) = folder();
    let app = App::start(&(config(backend.address, &file, "", "") + route));
    let request = |method: Method, uri: &str| Request::builder().method(method).uri(uri).header("user-agent", "me");
    let many = (0..20).fold(request(Method::GET, "http://x/m"), |request, nth| request.header(format!("x-{nth}"), "1"));
    let cases = [
        (request(Method::GET, "http://x/a").header("host", "y"), 400, "GET", "/a", "y"),
        (request(Method::GET, "http://other/b?c"), 404, "GET", "/b?c", "other"),
        (request(Method::TRACE, "http://x/d"), 405, "TRACE", "/d", "x"),
        (request(Method::CONNECT, "x:80"), 405, "CONNECT", "x:80", "x:80"),
        (many, 431, "GET", "/m", "x"),
    ];
    let expected = cases.each_ref().map(|(_, status, method, target, host)| (*status, *method, *target, *host));
    run(async {
        let client = client(app.address).await;
        for (request, status, ..) in cases {
            let request = request.body(()).unwrap();
            let (response, ..) = whole(begin(&client, request, true).await.0).await.unwrap();
            assert_eq!(response.status().as_u16(), status);
        }
    });
    let lines = lines(&file, expected.len());
    for (line, (status, method, target, host)) in lines.iter().zip(expected) {
        let line = json(line);
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        assert_eq!((line["status"].as_u64(), text("method").as_str()), (Some(status.into()), method), "{line}");
        assert_eq!((text("target").as_str(), text("version").as_str()), (target, "HTTP/2.0"), "{line}");
        assert_eq!(text("host"), host, "{line}");
        assert_eq!((text("user_agent").as_str(), text("client_ip").as_str()), ("me", "127.0.0.1"), "{line}");
    }
}

#[test]
fn the_client_is_named_by_trusted_proxies_only() {
    let backend = Backend::named("a");
    for (listener, expected) in [("", "127.0.0.1"), ("trusted_proxies = [\"127.0.0.1\"]", "192.0.2.9")] {
        let (_folder, file) = folder();
        let keys = "access_format = \"{client_ip} {peer_ip}\"";
        let app = App::start(&config(backend.address, &file, keys, listener));
        for fields in [
            "X-Forwarded-For: 10.0.0.1, 192.0.2.9",
            "Forwarded: for=10.0.0.1, for=192.0.2.9",
            // The replica does not get it, but it says who the client was.
            "X-Forwarded-For: 192.0.2.9\r\nConnection: x-forwarded-for",
        ] {
            let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
            assert_eq!(exchange(&mut connect(app.address), &request).status, 200);
        }
        // Also in the line of a request that is refused.
        let request = "TRACE / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n";
        assert_eq!(exchange(&mut connect(app.address), request).status, 405);
        assert_eq!(lines(&file, 4), vec![format!("{expected} 127.0.0.1"); 4]);
    }
}

#[test]
fn of_a_sample_errors_are_never_left_out() {
    let backend = Backend::start(|peer| {
        peer.serve(|seen| match seen.line().split(' ').nth(1).unwrap() {
            "/500" => b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n".to_vec(),
            "/404" => b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n".to_vec(),
            _ => answer("fine"),
        });
    });
    let (_folder, file) = folder();
    let keys = "access_sample = \"0%\"\naccess_format = \"{status} {target}\"";
    let app = App::start(&config(backend.address, &file, keys, ""));
    for path in ["/", "/404", "/500", "/", "/404"] {
        get(app.address, path);
    }
    let mut client = connect(app.address);
    send(&mut client, "GET /x y HTTP/1.1\r\nHost: x\r\n\r\n");
    read_to_close(&mut client);
    assert_eq!(lines(&file, 2), ["500 /500", "400 -"]);
    drop(app);
    // A part of the others: between 1 and 99 of 100 but for 2 in 10^30 runs.
    let (_folder, file) = folder();
    let app = App::start(&config(backend.address, &file, "access_sample = \"50%\"\naccess_format = \"{status}\"", ""));
    (0..100).for_each(|_| _ = get(app.address, "/"));
    drop(app);
    let count = std::fs::read_to_string(&file).unwrap().lines().count();
    assert!((1..100).contains(&count), "{count}");
}

/// Ends the clients, also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Each line is in one form or the other, and none is missing.
#[test]
fn what_a_stop_cuts_is_not_the_client_s_doing() {
    let silent = Backend::start(|peer| {
        _ = peer.next();
        while peer.stream.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
    });
    let (_folder, file) = folder();
    let keys = "access_sample = \"0%\"";
    let app = App::start(&(config(silent.address, &file, keys, "") + "[timeouts]\ndrain = \"1s\"\n"));
    let mut client = connect(app.address);
    send(&mut client, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the request is there", || silent.seen().len() == 1);
    app.stop();
    let line = json(&lines(&file, 1)[0]);
    assert_eq!(
        (&line["outcome"], &line["status"], &line["target"]),
        (&"cut".into(), &Value::Null, &"/x".into()),
        "{line}"
    );
    assert_eq!(line["error"], "unstick stopped before it was over");
}

#[test]
fn an_edit_of_the_form_loses_no_line_and_mixes_none() {
    let backend = Backend::named("a");
    let (_folder, file) = folder();
    let with = |keys: &str| config(backend.address, &file, &format!("access_queue = 100000\n{keys}"), "");
    let forms = [
        "access_format = \"json\"",
        "access_format = \"combined\"",
        "access_format = \"<{method} {status}>\"",
        "access_fields = [\"referer\", \"status\"]",
    ];
    let app = App::start(&with(forms[0]));
    let (is_over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = connect(app.address);
                while !is_over.load(Relaxed) {
                    let request = "GET /x HTTP/1.1\r\nHost: x\r\nUser-Agent: u\r\nReferer: r\r\n\r\n";
                    assert_eq!(exchange(&mut client, request).status, 200);
                    sent.fetch_add(1, Relaxed);
                }
            });
        }
        let _over = Over(&is_over);
        for form in forms.iter().cycle().skip(1).take(8) {
            let before = sent.load(Relaxed);
            app.apply(&with(form));
            eventually("requests go on", || sent.load(Relaxed) > before + 20);
        }
    });
    // A request that began before the last edit may have been the last to end.
    let request = "GET /x HTTP/1.1\r\nHost: x\r\nUser-Agent: u\r\nReferer: r\r\n\r\n";
    assert_eq!(exchange(&mut connect(app.address), request).status, 200);
    assert_eq!(app.metric("unstick_access_log_dropped_total"), 0.0);
    let lines = lines(&file, sent.load(Relaxed) + 1);
    let form_of = |line: &String| match line.as_str() {
        "<GET 200>" => 2,
        "{\"referer\":\"r\",\"status\":200}" => 3,
        line if line.starts_with("{\"time\":") && json(line)["user_agent"] == "u" => 0,
        line if line.ends_with("] \"GET /x HTTP/1.1\" 200 1 \"r\" \"u\"") => 1,
        line => panic!("{line}"),
    };
    let mut seen = lines.iter().map(form_of).collect::<Vec<_>>();
    assert_eq!(seen.last(), Some(&0), "the last edit holds");
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, [0, 1, 2, 3]);
}

#[test]
fn every_field_is_documented() {
    let text = std::fs::read_to_string("docs/operations.md").unwrap();
    let section = text.split("\n### The access log\n").nth(1).unwrap();
    let missing =
        |name: &str| !section.lines().any(|line| line.starts_with("| ") && line.contains(&format!("`{name}`")));
    let missing: Vec<&str> = AccessField::NAMES.iter().map(|(name, _)| *name).filter(|name| missing(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
