//! What counts against `limits.request_head` over HTTP/2: all that a head is made of, and trailers.

use http::Request;
use http::header::HeaderMap;

use crate::support::App;
use crate::support::backend::Backend;
use crate::support::h2::{begin, client, run, whole};

const LIMIT: usize = 8 << 10;

fn app(backend: &Backend) -> App {
    App::builder(&[backend.address]).limits("request_head = \"8KiB\"").start()
}

#[test]
fn every_part_of_a_head_counts() {
    let backend = Backend::named("one");
    let app = app(&backend);
    // The library reads twice the limit. What is larger than one limit is refused by the proxy.
    let part = |bytes: usize| "a".repeat(bytes);
    run(async {
        let client = client(app.address).await;
        for (bytes, status) in [(LIMIT / 2, 200), (LIMIT + LIMIT / 2, 431)] {
            for (what, request) in [
                ("the method", Request::builder().method(part(bytes).as_str()).uri("http://a.test/")),
                ("the authority", Request::get(format!("http://{}/", part(bytes)))),
                ("the path", Request::get(format!("http://a.test/{}", part(bytes)))),
                ("the query", Request::get(format!("http://a.test/?{}", part(bytes)))),
                ("a name", Request::get("http://a.test/").header(part(bytes), "b")),
                ("a value", Request::get("http://a.test/").header("a", part(bytes))),
                (
                    "many fields",
                    (0..bytes / 164).fold(Request::get("http://a.test/"), |request, nth| {
                        request.header(format!("x-{nth:03}"), part(127))
                    }),
                ),
            ] {
                let response = begin(&client, request.body(()).unwrap(), true).await.0;
                let (response, ..) = whole(response).await.unwrap();
                let cause = response.headers().get("x-unstick-error").map(|cause| cause.to_str().unwrap());
                assert_eq!(response.status().as_u16(), status, "{bytes} bytes of {what}");
                assert_eq!(cause.is_some(), status == 431, "{bytes} bytes of {what}");
            }
        }
    });
    assert_eq!(backend.seen().len(), 7);
}

#[test]
fn trailers_count_by_themselves() {
    let backend = Backend::named("one");
    let app = app(&backend);
    run(async {
        let client = client(app.address).await;
        for (bytes, is_whole) in [(LIMIT / 2, true), (LIMIT + LIMIT / 2, false)] {
            let request = Request::post("http://a.test/").header("trailer", "x-end").body(()).unwrap();
            let (response, mut body) = begin(&client, request, false).await;
            body.send_data("body".into(), false).unwrap();
            let trailer = ("x-end".parse().unwrap(), "a".repeat(bytes).parse().unwrap());
            body.send_trailers(HeaderMap::from_iter([trailer])).unwrap();
            let status = whole(response).await.map(|(response, ..)| response.status().as_u16());
            assert_eq!(status.is_ok_and(|status| status == 200), is_whole, "{bytes} bytes");
        }
    });
    let has_trailer = |seen: &crate::support::backend::Seen| seen.body.windows(6).any(|part| part == b"x-end:");
    assert_eq!(backend.seen().iter().filter(|seen| has_trailer(seen)).count(), 1);
}
