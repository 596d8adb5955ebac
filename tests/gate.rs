//! What is a request: one table of rules, put to every version of HTTP, and to what the replica is sent.

use std::io::{Read, Write};

use crate::support::backend::{Backend, Seen};
use crate::support::h2::{END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS, frame, next_frame};
use crate::support::tls::{Authority, TlsClient};
use crate::support::{App, connect, pool_of, text};

const DATA: u8 = 0;

/// How a request is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// HTTP/1.1, with the path as target.
    Origin,
    /// HTTP/1.1, with the whole URL as target.
    Absolute,
    H2c,
    /// HTTP/2 in TLS.
    H2,
}

const ALL: &[Form] = &[Form::Origin, Form::Absolute, Form::H2c, Form::H2];
const HTTP1: &[Form] = &[Form::Origin, Form::Absolute];
const HTTP2: &[Form] = &[Form::H2c, Form::H2];
const NOT_ABSOLUTE: &[Form] = &[Form::Origin, Form::H2c, Form::H2];
const NOT_ORIGIN: &[Form] = &[Form::Absolute, Form::H2c, Form::H2];

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// The replica gets this target and this host.
    Passes(&'static str, &'static str),
    /// It is refused, and no replica hears of it.
    Refused,
}
use Due::{Passes, Refused};

#[derive(Debug, Clone, Copy)]
struct Request {
    method: &'static str,
    scheme: &'static str,
    host: &'static str,
    path: &'static str,
    fields: &'static [(&'static str, &'static str)],
    body: &'static str,
    trailers: &'static [(&'static str, &'static str)],
}

const GET: Request =
    Request { method: "GET", scheme: "http", host: "a.test", path: "/x?y", fields: &[], body: "", trailers: &[] };
const POST: Request = Request { method: "POST", body: "hello", ..GET };
const FINE: Due = Passes("/x?y", "a.test");

fn host(host: &'static str) -> Request {
    Request { host, ..GET }
}

fn path(path: &'static str) -> Request {
    Request { path, ..GET }
}

fn field(fields: &'static [(&'static str, &'static str)]) -> Request {
    Request { fields, ..GET }
}

fn upload(fields: &'static [(&'static str, &'static str)]) -> Request {
    Request { fields, ..POST }
}

fn rules() -> Vec<(&'static [Form], Request, Due)> {
    vec![
        (ALL, GET, FINE),
        (ALL, upload(&[("content-length", "5")]), FINE),
        // Hosts.
        (ALL, host("A-1_b~c.test:8080"), Passes("/x?y", "A-1_b~c.test:8080")),
        (ALL, host("127.0.0.1"), Passes("/x?y", "127.0.0.1")),
        (ALL, host("[::1]:80"), Passes("/x?y", "[::1]:80")),
        (ALL, host("evil,good"), Refused),
        (ALL, host("evil good"), Refused),
        (ALL, host("evil;good"), Refused),
        (ALL, host("evil&good"), Refused),
        (ALL, host("a%2etest"), Refused),
        (ALL, host("u@a.test"), Refused),
        (ALL, host("u:p@a.test"), Refused),
        (ALL, host("a.test:x"), Refused),
        (ALL, host("a.test:80:80"), Refused),
        (ALL, host("[::1"), Refused),
        (ALL, host("[a]"), Refused),
        (ALL, host("::1"), Refused),
        (NOT_ABSOLUTE, host("a/b"), Refused),
        (NOT_ABSOLUTE, host("a?b"), Refused),
        (NOT_ABSOLUTE, host("a#b"), Refused),
        (ALL, host(""), Refused),
        (HTTP2, field(&[("host", "a.test")]), FINE),
        (HTTP2, field(&[("host", "b.test")]), Refused),
        (ALL, field(&[("host", "a.test"), ("host", "a.test")]), Refused),
        // Targets.
        (NOT_ORIGIN, Request { scheme: "ftp", ..GET }, Refused),
        (NOT_ABSOLUTE, path("*"), Refused),
        (NOT_ABSOLUTE, Request { method: "OPTIONS", path: "*", ..GET }, Passes("*", "a.test")),
        (NOT_ABSOLUTE, path("x"), Refused),
        (NOT_ABSOLUTE, path(""), Refused),
        (NOT_ABSOLUTE, path("x:1"), Refused),
        (ALL, path("/a b"), Refused),
        (ALL, path("/a\x7f"), Refused),
        (ALL, path("/a\0"), Refused),
        (ALL, path("/a\tb"), Refused),
        // A fragment is not a part of a target, so it is not passed on, and is not looked at for the route either.
        (ALL, path("/a#b"), Passes("/a", "a.test")),
        (ALL, path("/%2e%2E/a?%00"), Passes("/%2e%2E/a?%00", "a.test")),
        // Methods.
        (ALL, Request { method: "TRACE", ..GET }, Refused),
        (ALL, Request { method: "CONNECT", ..GET }, Refused),
        (ALL, Request { method: "G T", ..GET }, Refused),
        (ALL, Request { method: "", ..GET }, Refused),
        // Fields.
        (HTTP1, field(&[("x-a", " v \t")]), FINE),
        (HTTP2, field(&[("x-a", " v")]), Refused),
        (HTTP2, field(&[("x-a", "v\t")]), Refused),
        (HTTP2, field(&[("X-A", "v")]), Refused),
        (ALL, field(&[("x a", "v")]), Refused),
        (ALL, field(&[("", "v")]), Refused),
        (ALL, field(&[("x-a", "a\0b")]), Refused),
        (ALL, field(&[("x-a", "a\rb")]), Refused),
        (HTTP2, field(&[("x-a", "a\nb")]), Refused),
        (HTTP2, field(&[("x-a", "a\r\nx-b: b")]), Refused),
        (HTTP2, field(&[("connection", "close")]), Refused),
        (HTTP2, field(&[("keep-alive", "1")]), Refused),
        (HTTP2, field(&[("proxy-connection", "close")]), Refused),
        (HTTP2, field(&[("upgrade", "websocket")]), Refused),
        (HTTP2, field(&[("te", "gzip")]), Refused),
        (HTTP2, field(&[(":path", "/other")]), Refused),
        (HTTP2, field(&[(":other", "x")]), Refused),
        (HTTP2, field(&[(":status", "200")]), Refused),
        (HTTP2, field(&[("x-a", "v"), (":authority", "b.test")]), Refused),
        // Lengths.
        (ALL, upload(&[("content-length", "5"), ("content-length", "6")]), Refused),
        (ALL, upload(&[("content-length", "5, 5")]), Refused),
        (ALL, upload(&[("content-length", "+5")]), Refused),
        (HTTP1, upload(&[("content-length", "5 ")]), FINE),
        (HTTP2, upload(&[("content-length", "5 ")]), Refused),
        (HTTP1, upload(&[("content-length", "5"), ("content-length", "5")]), FINE),
        (HTTP2, upload(&[("content-length", "5"), ("content-length", "5")]), Refused),
        (HTTP2, upload(&[("content-length", "4")]), Refused),
        (HTTP2, upload(&[("content-length", "6")]), Refused),
        (HTTP2, Request { body: "", ..upload(&[("content-length", "5")]) }, Refused),
        (HTTP2, upload(&[("transfer-encoding", "chunked")]), Refused),
        (ALL, upload(&[("content-length", "5"), ("transfer-encoding", "gzip")]), Refused),
    ]
}

/// The request in the words of HTTP/1.1.
fn h1_bytes(request: &Request, form: Form) -> Vec<u8> {
    let Request { method, scheme, host, path, fields, body, .. } = request;
    let target = if form == Form::Absolute { format!("{scheme}://{host}{path}") } else { (*path).to_owned() };
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    if !fields.iter().any(|(name, _)| *name == "host") {
        let named = if form == Form::Absolute { "other.test" } else { host };
        head.push_str(&format!("Host: {named}\r\n"));
    }
    fields.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    format!("{head}\r\n{body}").into_bytes()
}

/// The request in frames, with nothing compressed, so that anything can be said.
fn h2_bytes(request: &Request) -> Vec<u8> {
    let Request { method, scheme, host, path, fields, body, trailers } = request;
    let literal = |(name, value): (&str, &str)| {
        let part = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        [&[0][..], &part(name), &part(value)].concat()
    };
    let pseudo = [(":method", *method), (":scheme", scheme), (":authority", host), (":path", path)];
    let list: Vec<u8> = pseudo.into_iter().chain(fields.iter().copied()).flat_map(literal).collect();
    let end = |is_last| if is_last { END_STREAM } else { 0 };
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    bytes.extend(frame(HEADERS, END_HEADERS | end(body.is_empty()), 1, &list));
    if !body.is_empty() {
        bytes.extend(frame(DATA, end(trailers.is_empty()), 1, body.as_bytes()));
    }
    if !trailers.is_empty() {
        let list: Vec<u8> = trailers.iter().copied().flat_map(literal).collect();
        bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, &list));
    }
    bytes
}

/// Whether the request got a response that is no refusal.
fn is_answered(stream: &mut (impl Read + Write), request: &Request, form: Form) -> bool {
    if matches!(form, Form::Origin | Form::Absolute) {
        stream.write_all(&h1_bytes(request, form)).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        let status = text(&status);
        assert!(["200", "400", "405", "501"].contains(&&status[9..]), "{status} to {request:?}");
        return status.ends_with("200");
    }
    stream.write_all(&h2_bytes(request)).unwrap();
    while let Some((kind, _, id, payload)) = next_frame(stream) {
        match kind {
            // In the static table, 200 is entry 8, and 400 is entry 12.
            HEADERS if id == 1 => return payload[0] == 0x88,
            RST_STREAM if id == 1 => return false,
            GOAWAY => return false,
            _ => {}
        }
    }
    false
}

#[test]
fn one_table_of_rules_holds_for_every_version() {
    let backend = Backend::named("one");
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ca"));
    let pair = authority.issue(folder.path(), "a", &["a.test"]);
    let listen = format!(
        "[listen.web]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = \"{}\", key = \"{}\" }}\n",
        pair.cert.display(),
        pair.key.display()
    );
    let plain = App::over(&[backend.address]);
    let secure = App::start(&format!("{listen}{}", pool_of(&[backend.address], "", "")));
    for (forms, request, due) in rules() {
        for form in forms {
            let before = backend.seen().len();
            let was_answered = if *form == Form::H2 {
                let name = rustls::pki_types::ServerName::try_from("a.test").unwrap();
                let client = rustls::ClientConnection::new(authority.client(&["h2"]).into(), name).unwrap();
                is_answered(&mut TlsClient::new(client, connect(secure.address)), &request, *form)
            } else {
                is_answered(&mut connect(plain.address), &request, *form)
            };
            let seen = backend.seen().split_off(before);
            match due {
                Refused => assert!(!was_answered && seen.is_empty(), "{form:?} {request:?}: {seen:?}"),
                Passes(target, host) => {
                    assert!(was_answered && seen.len() == 1, "{form:?} {request:?}: {seen:?}");
                    judge(&seen[0], &request, target, host, *form);
                }
            }
        }
    }
}

/// What the replica was sent can be read in one way only.
#[track_caller]
fn judge(seen: &Seen, request: &Request, target: &str, host: &str, form: Form) {
    let count = |name: &str| seen.head.to_lowercase().matches(&format!("\r\n{name}:")).count();
    assert_eq!(seen.line(), format!("{} {target} HTTP/1.1", request.method), "{form:?}");
    assert_eq!((seen.field("host"), count("host")), (Some(host), 1), "{form:?} {}", seen.head);
    let is_chunked = count("transfer-encoding") == 1;
    assert!(count("content-length") + count("transfer-encoding") <= 1, "{form:?} {}", seen.head);
    assert!(is_chunked || text(&seen.body) == request.body, "{form:?} {seen:?}");
    assert!(seen.field("x-a").is_none_or(|value| value == "v"), "{form:?} {}", seen.head);
}

/// h2 drops what is no field, so it cannot reach a replica.
#[test]
fn pseudo_fields_in_trailers_reach_no_replica() {
    let backend = Backend::named("one");
    let app = App::over(&[backend.address]);
    let request = Request { trailers: &[(":path", "/other"), ("x-end", "1")], ..POST };
    is_answered(&mut connect(app.address), &request, Form::H2c);
    for seen in backend.seen() {
        assert!(!text(&seen.body).contains("path") && !text(&seen.body).contains("other"), "{seen:?}");
    }
}

/// Cookies come in as many fields as a client likes (RFC 9113 section 8.2.3), and are one for the replica.
#[test]
fn fields_are_counted_when_the_cookies_are_joined() {
    let backend = Backend::named("one");
    let app = App::builder(&[backend.address]).limits("request_fields = 20").start();
    for (cookies, others, status) in [(300, 10, 200), (300, 25, 431), (0, 25, 431)] {
        let found = crate::support::h2::run(async {
            let client = crate::support::h2::client(app.address).await;
            let request = http::Request::get("http://a.test/");
            let request = (0..cookies).fold(request, |request, nth| request.header("cookie", format!("c{nth}=1")));
            let request = (0..others).fold(request, |request, nth| request.header(format!("x-{nth}"), "1"));
            let (response, _) = crate::support::h2::begin(&client, request.body(()).unwrap(), true).await;
            response.await.unwrap().status().as_u16()
        });
        assert_eq!(found, status, "{cookies} cookies, {others} others");
    }
    let seen = backend.seen();
    assert_eq!(seen.len(), 1);
    let cookie = seen[0].field("cookie").unwrap();
    assert_eq!((cookie.split("; ").count(), cookie.split("; ").last()), (300, Some("c299=1")));
}
