//! Trailers in both directions, in every combination of versions, announced by `Trailer` or not.
//!
//! Over HTTP/2 they always pass. Over HTTP/1.1 those pass that the head has announced, to clients only if they
//! have said `TE: trailers`; the head is gone when others come. RFC 9110 section 6.5.1 lets an intermediary drop them.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};

use crate::support::backend::Backend;
use crate::support::client::read_response;
use crate::support::h2::{begin, client as h2_client, run, whole};
use crate::support::h2_backend::H2Backend;
use crate::support::{App, connect, send, text};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    H1,
    H2,
}

use Version::{H1, H2};

/// What a replica says in its body: whether the request's trailers have arrived.
fn said(has_trailers: bool) -> &'static str {
    if has_trailers { "with" } else { "none" }
}

fn h1_replica(announced: bool) -> Backend {
    Backend::start(move |peer| {
        while let Some(seen) = peer.next() {
            let said = said(text(&seen.body).ends_with("0\r\nx-in: 1\r\n\r\n"));
            let trailer = if announced { "Trailer: X-Out\r\n" } else { "" };
            let head = format!("HTTP/1.1 200 OK\r\n{trailer}Transfer-Encoding: chunked\r\n\r\n");
            send(&mut peer.stream, format!("{head}4\r\n{said}\r\n0\r\nX-Out: 1\r\n\r\n"));
        }
    })
}

fn h2_replica(announced: bool) -> H2Backend {
    H2Backend::start(move |mut call| async move {
        let (_, trailers) = call.body().await;
        let said = said(trailers.is_some_and(|trailers| trailers.contains_key("x-in")));
        let has_length = call.request.uri().path() == "/length";
        let mut head = Response::builder();
        if announced {
            head = head.header("trailer", "x-out");
        }
        if has_length {
            head = head.header("content-length", "4");
        }
        let mut answer = call.answer(head);
        answer.send_data(Bytes::from_static(said.as_bytes()), false).unwrap();
        answer.send_trailers(trailer("x-out")).unwrap();
    })
}

fn trailer(name: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static("1"))])
}

/// What a client over HTTP/1.1 gets: the text, and whether there are trailers. Its connection goes on afterwards.
fn ask_h1(app: &App, path: &str, announced: bool, te: bool) -> (String, bool) {
    let mut stream = connect(app.address);
    let (trailer, te) = (if announced { "Trailer: X-In\r\n" } else { "" }, if te { "TE: trailers\r\n" } else { "" });
    let head = format!("POST {path} HTTP/1.1\r\nHost: a.test\r\n{trailer}{te}Transfer-Encoding: chunked\r\n\r\n");
    let mut answers = (0..2).map(|_| {
        send(&mut stream, format!("{head}2\r\nhi\r\n0\r\nX-In: 1\r\n\r\n"));
        let response = read_response(&mut stream, false);
        assert_eq!(response.status, 200, "{}", response.head);
        (response.text(), response.trailers.contains("x-out: 1"))
    });
    let first = answers.next().unwrap();
    assert_eq!(answers.next().unwrap(), first);
    first
}

fn ask_h2(app: &App, path: &str, announced: bool) -> (String, bool) {
    run(async {
        let mut request = Request::post(format!("http://a.test{path}"));
        if announced {
            request = request.header("trailer", "x-in");
        }
        let (response, mut body) = begin(&h2_client(app.address).await, request.body(()).unwrap(), false).await;
        body.send_data(Bytes::from_static(b"hi"), false).unwrap();
        body.send_trailers(trailer("x-in")).unwrap();
        let (_, text, trailers) = whole(response).await.unwrap();
        (String::from_utf8(text).unwrap(), trailers.is_some_and(|trailers| trailers.contains_key("x-out")))
    })
}

#[test]
fn trailers_pass_where_the_version_lets_them() {
    for (replica, announced) in [(H1, true), (H1, false), (H2, true), (H2, false)] {
        let (h1, h2) = (h1_replica(announced), h2_replica(announced));
        let app = match replica {
            H1 => App::over(&[h1.address]),
            H2 => App::builder(&[h2.address]).pool("protocol = \"h2c\"").start(),
        };
        let arrives = said(replica == H2 || announced);
        for te in [true, false] {
            let expected = (arrives.to_owned(), announced && te);
            assert_eq!(ask_h1(&app, "/", announced, te), expected, "h1 -> {replica:?}, {announced}, {te}");
        }
        assert_eq!(ask_h2(&app, "/", announced), (arrives.to_owned(), true), "h2 -> {replica:?}, {announced}");
    }
}

/// A body with a length has no place for trailers over HTTP/1.1.
#[test]
fn trailers_behind_a_body_with_a_length_do_no_harm() {
    let replica = h2_replica(true);
    let app = App::builder(&[replica.address]).pool("protocol = \"h2c\"").start();
    assert_eq!(ask_h1(&app, "/length", true, true), ("with".to_owned(), false));
    assert_eq!(ask_h2(&app, "/length", true), ("with".to_owned(), true));
}
