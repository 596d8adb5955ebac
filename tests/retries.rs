//! Which requests are repeated: by method, key, moment of the failure, kept body, status and budget.

use std::net::Shutdown;

use crate::support::backend::{Backend, Seen, answer, signal};
use crate::support::client::{exchange, get, read_response};
use crate::support::h2_backend::H2Backend;
use crate::support::{App, connect, eventually, pause, send};

/// A replica that reads each whole request and closes without a response.
fn mute() -> Backend {
    Backend::start(|peer| {
        if peer.next().is_some() {
            peer.stream.shutdown(Shutdown::Both).ok();
        }
    })
}

/// A replica that responds to everything with this status and its own name.
fn saying(status: &'static str, name: &'static str) -> Backend {
    Backend::start(move |peer| {
        peer.serve(|_| format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{name}", name.len()).into_bytes());
    })
}

fn request(line: &str, fields: &str, body: &str) -> String {
    format!("{line} / HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn bodies(backend: &Backend) -> Vec<Vec<u8>> {
    backend.seen().into_iter().map(|Seen { body, .. }| body).collect()
}

/// The text in the chunks of a body as it was sent.
fn dechunked(body: &[u8]) -> String {
    let (mut rest, mut text) = (crate::support::text(body), String::new());
    while let Some((size, more)) = rest.split_once("\r\n") {
        let (chunk, more) = more.split_at(usize::from_str_radix(size, 16).unwrap());
        text.push_str(chunk);
        rest = more["\r\n".len()..].to_owned();
    }
    text
}

#[test]
fn unanswered_requests_are_repeated_with_their_body_if_that_does_no_harm() {
    for (method, fields, is_repeated) in [
        ("PUT", "", true),
        ("DELETE", "", true),
        ("OPTIONS", "", true),
        ("POST", "Idempotency-Key: 8e03978e-40d5\r\n", true),
        ("PATCH", "Idempotency-Key: \"a\"\r\n", true),
        ("POST", "", false),
        ("PATCH", "", false),
        // An empty key tells the application nothing.
        ("POST", "Idempotency-Key:\r\n", false),
        ("POST", "Idempotency-Key: \"\"\r\n", false),
    ] {
        let (mute, backend) = (mute(), Backend::named("a"));
        let app = App::builder(&[mute.address, backend.address]).workers(1).start();
        let mut client = connect(app.address);
        for _ in 0..2 {
            let response = exchange(&mut client, &request(method, fields, "a body"));
            let is_fine = response.status == 200;
            assert!(is_fine || !is_repeated, "{method} {fields}: {}", response.text());
        }
        assert_eq!(bodies(&mute), [b"a body"], "{method}: it was tried there first, once");
        assert_eq!(bodies(&backend).len(), if is_repeated { 2 } else { 1 }, "{method} {fields}");
        assert!(bodies(&backend).iter().all(|body| body == b"a body"));
    }
}

#[test]
fn a_request_is_repeated_in_the_pool_as_it_is_then() {
    let ((asked, was_asked), (close, may_close)) = (signal(), signal());
    let may_close = std::sync::Mutex::new(may_close);
    let old = Backend::start(move |peer| {
        peer.own();
        if peer.next().is_some() {
            asked.lock().unwrap().send(()).unwrap();
            may_close.lock().unwrap().wait("the test replaces the pool");
        }
    });
    let new = Backend::named("new");
    // The second edit changes the place of the pool among the others.
    let another =
        "[pool.a]\nbackends = [\"127.0.0.1:1\"]\n[[route]]\npath = \"/a\"\npool = \"a\"\n[[route]]\npool = \"app\"\n";
    for rest in ["", another] {
        let app = App::over(&[old.address]);
        let mut client = connect(app.address);
        send(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        was_asked.wait("the old replica is asked");
        app.apply(&App::builder(&[new.address]).more(rest).config());
        close.lock().unwrap().send(()).unwrap();
        assert_eq!(read_response(&mut client, false).text(), "new");
    }
    assert_eq!(old.seen().len(), 2, "it has left, and gets nothing more");
}

#[test]
fn chunks_and_trailers_are_repeated_as_they_came() {
    let (mute, backend) = (mute(), Backend::named("a"));
    let app = App::builder(&[mute.address, backend.address]).workers(1).start();
    let request = "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                   3\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Sum: 7\r\n\r\n";
    assert_eq!(exchange(&mut connect(app.address), request).text(), "a");
    let (first, second) = (mute.seen().remove(0), backend.seen().remove(0));
    assert_eq!(first.body, second.body);
    assert!(second.body.ends_with(b"0\r\nx-sum: 7\r\n\r\n"), "{}", crate::support::text(&second.body));
    let fields = |seen: &Seen| {
        let mut lines: Vec<String> = seen.head.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(fields(&first), fields(&second));
}

#[test]
fn a_short_body_is_repeated_however_many_parts_it_came_in() {
    let (mute, backend) = (mute(), Backend::named("a"));
    let app = App::builder(&[mute.address, backend.address]).workers(1).start();
    let body: String = (0..5_000).map(|at| (at % 10).to_string()).collect();
    let chunks: String = body.chars().map(|digit| format!("1\r\n{digit}\r\n")).collect();
    let request = format!("PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n");
    assert_eq!(exchange(&mut connect(app.address), &request).text(), "a");
    assert_eq!(mute.seen().len(), 1, "it was tried there first");
    assert_eq!(dechunked(&bodies(&backend)[0]), body);
}

#[test]
fn a_request_that_is_still_coming_goes_on_to_the_next_endpoint() {
    let (read, was_read) = signal();
    let closing = Backend::start(move |peer| {
        // It reads the head and a part of the body, then nothing more.
        if peer.next_head().is_some() {
            peer.stream.shutdown(Shutdown::Both).ok();
            read.lock().unwrap().send(()).ok();
        }
    });
    let backend = Backend::named("a");
    let app = App::builder(&[closing.address, backend.address]).workers(1).start();
    let mut client = connect(app.address);
    send(&mut client, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nfirst");
    was_read.wait("the first replica has the beginning");
    // The second replica has the beginning before the rest is sent.
    eventually("the attempt is repeated", || app.endpoint(backend.address).unwrap()["in_flight"] == 1);
    send(&mut client, " half");
    assert_eq!(read_response(&mut client, false).text(), "a");
    assert_eq!(bodies(&backend), [b"first half"]);
}

#[test]
fn a_body_that_was_not_kept_is_not_repeated() {
    let long = "x".repeat(70_000);
    for (limits, is_repeated) in [("", false), ("replay = \"0B\"", false), ("replay = \"1MiB\"", true)] {
        let (mute, backend) = (mute(), Backend::named("a"));
        let rest = format!("[limits]\n{limits}");
        let app = App::builder(&[mute.address, backend.address]).more(&rest).workers(1).start();
        let body = if limits.contains("0B") { "short" } else { &long };
        let response = exchange(&mut connect(app.address), &request("PUT", "", body));
        if is_repeated {
            assert_eq!(response.text(), "a");
            assert!(bodies(&backend) == [body.as_bytes()]);
        } else {
            assert_eq!(
                (response.status, response.field("x-unstick-error")),
                (502, Some("upstream-closed")),
                "{limits}"
            );
            assert!(backend.seen().is_empty());
        }
    }
}

#[test]
fn the_budget_bounds_what_is_repeated_after_it_was_sent() {
    let (mute, backend) = (mute(), Backend::named("a"));
    let none = "eject.failures = 0\n[pool.app.retry]\nbudget = \"0%\"\nbudget_per_second = 0";
    let app = App::builder(&[mute.address, backend.address]).pool(none).workers(1).start();
    let statuses: Vec<u16> = (0..6).map(|_| get(app.address, "/").status).collect();
    assert_eq!(statuses.iter().filter(|&&status| status == 502).count(), 3, "{statuses:?}");
    assert_eq!(app.metric("unstick_retries_refused_total{pool=\"app\"}"), 3.0);

    let few = "eject.failures = 0\n[pool.app.retry]\nbudget = \"0%\"\nbudget_per_second = 1";
    let app = App::builder(&[mute.address, backend.address]).pool(few).workers(1).start();
    let failed = (0..100).filter(|_| get(app.address, "/").status != 200).count();
    assert!((20..=40).contains(&failed), "ten and one a second of 50 are repeated, not {}", 50 - failed);
}

#[test]
fn what_was_not_sent_needs_no_budget() {
    let backend = Backend::named("a");
    let nobody = crate::support::free_address();
    let none = "[pool.app.retry]\nbudget = \"0%\"\nbudget_per_second = 0";
    let app = App::builder(&[nobody, backend.address]).pool(none).workers(1).start();
    assert!((0..20).all(|_| exchange(&mut connect(app.address), &request("POST", "", "x")).status == 200));
}

#[test]
fn an_unwell_answer_moves_to_another_endpoint_if_the_pool_asks_for_it() {
    let (unwell, well) = (saying("503 Sick", "unwell"), saying("200 OK", "well"));
    let backends = [unwell.address, well.address];
    let on_status = "[pool.app.retry]\non_status = [502, 503]";
    for (pool, method, statuses) in [
        (on_status, "GET", vec![200; 4]),
        (on_status, "PUT", vec![200; 4]),
        (on_status, "POST", vec![200, 200, 503, 503]),
        ("", "GET", vec![200, 200, 503, 503]),
    ] {
        let app = App::builder(&backends).pool(pool).workers(1).start();
        let mut got: Vec<_> =
            (0..4).map(|_| exchange(&mut connect(app.address), &request(method, "", "x")).status).collect();
        got.sort_unstable();
        assert_eq!(got, statuses, "{method} with {pool:?}");
    }
}

#[test]
fn the_last_unwell_answer_is_passed_on_when_there_is_no_better() {
    let (a, b) = (saying("503 Sick", "replica"), saying("503 Sick", "replica"));
    let nobody = crate::support::free_address();
    for backends in [vec![a.address], vec![a.address, b.address], vec![a.address, nobody]] {
        let app = App::builder(&backends).pool("[pool.app.retry]\non_status = [503]").workers(1).start();
        for _ in 0..3 {
            let response = get(app.address, "/");
            assert_eq!((response.status, response.text().as_str()), (503, "replica"));
            assert_eq!(response.field("x-unstick-error"), None, "it is the replica's own");
        }
        for address in backends {
            eventually("nothing is left in flight", || app.endpoint(address).unwrap()["in_flight"] == 0);
        }
    }
}

#[test]
fn an_attempt_has_a_deadline_of_its_own() {
    let silent = Backend::start(|peer| {
        peer.next();
        peer.wait_for_close();
    });
    let backend = Backend::start(|peer| peer.serve(|_| answer("a")));
    // The other replica must respond within this time, even on a busy machine.
    let pool = "[pool.app.retry]\nattempt_timeout = \"1s\"";
    let app = App::builder(&[silent.address, backend.address]).pool(pool).workers(1).start();
    for _ in 0..4 {
        assert_eq!(get(app.address, "/").text(), "a");
    }
    assert_eq!(silent.seen().len(), 2);
    let posts: Vec<_> = (0..2).map(|_| exchange(&mut connect(app.address), &request("POST", "", "x"))).collect();
    let late = posts.iter().find(|response| response.status != 200).unwrap();
    assert_eq!((late.status, late.field("x-unstick-error")), (504, Some("upstream-timeout")));
}

/// Each of them was a failure of the endpoint, and three ejected it.
#[test]
fn the_deadline_of_an_attempt_does_not_count_while_the_client_sends_its_body() {
    const PARTS: usize = 8;
    let http1 = Backend::start(|peer| peer.serve(|_| answer("a")));
    let h2c = H2Backend::start(|mut call| async move {
        call.body().await;
        call.say("a");
    });
    for (address, keys) in [(http1.address, ""), (h2c.address, "protocol = \"h2c\"")] {
        let pool = format!("{keys}\n[pool.app.retry]\nattempt_timeout = \"1s\"");
        let app = App::builder(&[address]).pool(&pool).workers(1).start();
        let mut clients: Vec<_> = ["PUT", "POST"].into_iter().map(|method| (method, connect(app.address))).collect();
        for (method, client) in &mut clients {
            send(client, format!("{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: {PARTS}\r\n\r\n"));
        }
        for _ in 0..PARTS {
            pause("the client is slow", 250);
            clients.iter_mut().for_each(|(_, client)| send(client, "x"));
        }
        for (method, client) in &mut clients {
            assert_eq!(read_response(client, false).text(), "a", "{method} {keys}");
        }
        let endpoint = app.endpoint(address).unwrap();
        assert_eq!((&endpoint["failures"], &endpoint["admission"]), (&0.into(), &"full".into()), "{endpoint}");
    }
}
