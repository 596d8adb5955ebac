//! `unstick route`: that it says what the running proxy does.

use std::process::Command;

use http::Request;
use unstick::app::{Outcome, Question, answer};
use unstick::config;

use crate::support::backend::{Backend, answer as text_answer};
use crate::support::client::exchange;
use crate::support::{App, connect};

#[test]
fn a_listener_that_redirects_to_https_is_told() {
    let text = "listen.web = { address = ':1', redirect_to_https = 443 }\npool.app.backends = ['10.0.0.1:1']\n\
                route = [{ path = '/api', strip_prefix = '/api' }]\n";
    let config = config::parse("unstick.toml", text).unwrap();
    let request = Request::get("http://a.test/api/x?q").header("host", "a.test").body(()).unwrap();
    let said = answer(&config, Question { listener: None, peer: [192, 0, 2, 1].into(), request }).unwrap();
    let Outcome::Here(status, headers) = said.explained.outcome else { panic!("{said:?}") };
    assert_eq!((status.as_u16(), headers["location"].to_str().unwrap()), (308, "https://a.test/api/x?q"));
}

/// Routes of every kind, between which requests are easily mistaken.
const ROUTES: &str = "[[route]]\npool = 'a'\n[[route]]\npath = '/api'\npool = 'b'\n\
    [[route]]\npath = '/api'\nmethod = ['POST', 'PUT']\npool = 'a'\n\
    [[route]]\npath = '/api/v1'\nstrip_prefix = '/api'\npool = 'b'\n\
    [[route]]\npath = '=/api/v1/x'\nrespond = { status = 418 }\n\
    [[route]]\npath = '~^/api/v[12]/items/'\npool = 'b'\nheader = { x-canary = '1' }\n\
    [[route]]\npath = '~items/$'\npool = 'a'\n\
    [[route]]\npath = '/api'\nquery = { next = '*' }\npriority = 2\npool = 'a'\n\
    [[route]]\nhost = 'b.test'\nredirect = { to = 'https://a.test{path}' }\n\
    [[route]]\nhost = '*.b.test'\npath = '/x'\nmaintenance = true\npool = 'a'\n\
    [[route]]\nhost = 'c.test'\npath = '/api'\ndeny = ['127.0.0.1']\npool = 'b'\n";

/// The targets and hosts that are asked for, by all combinations of which the routes are told apart.
const PATHS: [&str; 20] = [
    "/",
    "/api",
    "/api/",
    "/apis",
    "/api/v1",
    "/api/v1/x",
    "/api/v1/y",
    "/%61pi/v1/y",
    "/api/./v1/x",
    "/api/v1/items/",
    "/api/v2/items/7",
    "/x/../api/v2/items/7",
    "/x",
    "//x",
    "/api?next=1",
    "/api/v1/items/?next=1",
    "/api%2Fv1/x",
    "/api;a/v1/x",
    "/x/..%2Fapi",
    "/api/v1/\\x",
];
const HOSTS: [&str; 5] = ["a.test", "b.test", "x.b.test:80", "C.test", "x.y.b.test"];

fn config(a: &Backend, b: &Backend) -> String {
    let pool = |name: &str, backend: &Backend| format!("[pool.{name}]\nbackends = ['{}']\n", backend.address);
    format!("{}{}{ROUTES}", pool("a", a), pool("b", b))
}

/// A replica that responds with its name and the target that it got.
fn replica(name: &'static str) -> Backend {
    Backend::start(move |peer| peer.serve(|seen| text_answer(&format!("{name} {}", seen.line()))))
}

#[test]
fn what_is_said_of_a_request_is_what_becomes_of_it() {
    let (a, b) = (replica("a"), replica("b"));
    let app = App::start(&config(&a, &b));
    let file = std::fs::read_to_string(&app.file).unwrap();
    let config = config::parse("unstick.toml", &file).unwrap();
    let mut client = connect(app.address);
    let mut asked = 0;
    for (round, method) in ["GET", "POST", "PUT", "DELETE"].iter().cycle().enumerate().take(25) {
        for path in PATHS {
            for host in HOSTS {
                for canary in [None, Some("1")] {
                    let fields = canary.map(|value| format!("X-Canary: {value}\r\n")).unwrap_or_default();
                    let request =
                        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}Content-Length: 0\r\n\r\n");
                    let response = exchange(&mut client, &request);
                    let mut question = Request::builder().method(*method).uri(format!("http://{host}{path}"));
                    question = question.header("host", host).header("content-length", "0");
                    if let Some(value) = canary {
                        question = question.header("x-canary", value);
                    }
                    let request = question.body(()).unwrap();
                    let peer = [127, 0, 0, 1].into();
                    let said = answer(&config, Question { listener: None, peer, request }).unwrap();
                    let expected = match said.explained.outcome {
                        Outcome::Pool(pool) => (200, format!("{pool} {method} {} HTTP/1.1", said.explained.target)),
                        Outcome::Here(status, _) => (status.as_u16(), String::new()),
                        Outcome::Refused(status, cause, why) => (status.as_u16(), format!("{cause}: {why}\n")),
                    };
                    assert_eq!(
                        (response.status, response.text()),
                        expected,
                        "{round} {method} {host} {path} {canary:?}"
                    );
                    asked += 1;
                }
            }
        }
    }
    assert_eq!(asked, 5000);
}

#[test]
fn the_command_says_route_pool_and_what_goes_out() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("unstick.toml");
    let backend = Backend::named("a");
    let text = format!("[listen.web]\naddress = ':1'\n{}", config(&backend, &backend));
    std::fs::write(&file, text).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_unstick"));
        let done = command.arg("route").arg("-c").arg(&file).args(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (done.status.code(), text(done.stdout), text(done.stderr))
    };
    let (code, said, _) = run(&["GET", "http://a.test/%61pi/v1/y?q=1", "-H", "x-a: b"]);
    assert_eq!(code, Some(0));
    for part in [
        "listener  web\npath      /api/v1/y\nroute     4 of 11: * /api/v1\npool      b\n\n/v1/y?q=1\n",
        "\nx-a: b\n",
        "\nx-forwarded-prefix: /api\n",
        "\nx-forwarded-for: 192.0.2.1\n",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let (code, said, _) = run(&["GET", "http://c.test/api", "--from", "127.0.0.1", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &said["response"]["cause"]), (Some(1), &"forbidden".into()));
    assert_eq!(said["route"]["conditions"], "c.test /api");
    let (code, said, _) = run(&["GET", "https://b.test/x"]);
    assert!(code == Some(0) && said.contains("308 Permanent Redirect, by unstick itself"), "{said}");
    assert!(said.contains("location: https://a.test/x"), "{said}");
    let (code, _, why) = run(&["GET", "/x"]);
    assert!(code == Some(1) && why.contains("write a whole URL"), "{why}");
    let (code, said, why) = run(&["OPTIONS", "*", "-H", "host: a.test"]);
    assert!(code == Some(0) && said.contains("route     1 of 11") && said.contains("host: a.test\n"), "{said}{why}");
    let (code, said, _) = run(&["GET", "/api/v1/caf\u{e9}", "-H", "host: a.test"]);
    assert!(code == Some(0) && said.contains("path      /api/v1/caf%C3%A9\n"), "{said}");
    let (code, _, why) = run(&["GET", "http://a.test/", "-H", "Host: b.test"]);
    assert!(code == Some(1) && why.contains("leave out the field `host`"), "{why}");
    let (code, said, _) = run(&["GET", "http://a.test/x/..%2Fapi"]);
    assert!(code == Some(1) && said.contains("route     none of 11") && said.contains("400 Bad Request"), "{said}");
    let (code, _, why) = run(&["GET", "http://a/", "--listen", "other"]);
    assert!(code == Some(1) && why.contains("known listeners: web"), "{why}");
}
