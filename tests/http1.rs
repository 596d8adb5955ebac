//! HTTP/1.1 in both directions, byte by byte where framing matters.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use crate::support::backend::{Backend, answer, signal};
use crate::support::client::{self, exchange, get, read_response};
use crate::support::{App, connect, eventually, pause, read_to_close, read_until, send, text};

fn app(backend: &Backend) -> App {
    App::over(&[backend.address])
}

/// nginx compresses no response to a request with `Via`, unless it is told to.
#[test]
fn via_is_left_out_where_the_pool_says_so() {
    let backend = Backend::named("one");
    let app = App::builder(&[backend.address]).pool("via = false").start();
    let ask = |fields: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        assert_eq!(exchange(&mut connect(app.address), &request).status, 200);
        backend.seen().pop().unwrap().field("via").map(str::to_owned)
    };
    assert_eq!(ask(""), None);
    assert_eq!(ask("Via: 1.1 front\r\n").as_deref(), Some("1.1 front"), "what others said is theirs");
    app.apply(&App::builder(&[backend.address]).config());
    assert_eq!(ask("").as_deref(), Some("1.1 unstick"));
    assert_eq!(exchange(&mut connect(app.address), "GET / HTTP/1.0\r\nHost: x\r\n\r\n").status, 200);
    assert_eq!(backend.seen()[3].field("via"), Some("1.0 unstick"), "the version that was received");
}

#[test]
fn a_request_and_its_answer_pass_through() {
    let backend = Backend::start(|peer| {
        peer.serve(|_| {
            b"HTTP/1.1 201 Made Here\r\nX-App: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: x-hop\r\n\
                X-Hop: 1\r\n\
              Keep-Alive: timeout=5\r\nContent-Length: 5\r\n\r\nhello"
                .to_vec()
        })
    });
    let app = app(&backend);
    let mut client = connect(app.address);
    let request = "POST /a/b?c=d%20e HTTP/1.1\r\nHost: Shop.example.com:81\r\nContent-Length: 3\r\nX-Mine: yes\r\n\
                   Connection: keep-alive, X-Private\r\nX-Private: 1\r\nX-Forwarded-For: 6.6.6.6\r\n\r\nabc";
    let response = exchange(&mut client, request);
    assert_eq!((response.status, response.text().as_str()), (201, "hello"));
    assert!(response.head.starts_with("HTTP/1.1 201 Made Here\r\n"), "the reason is passed on: {}", response.head);
    assert_eq!(response.head.matches("set-cookie:").count(), 2);
    for gone in ["x-hop", "keep-alive", "connection", "x-unstick-error"] {
        assert_eq!(response.field(gone), None, "{}", response.head);
    }
    let seen = &backend.seen()[0];
    assert_eq!((seen.line(), seen.body.as_slice()), ("POST /a/b?c=d%20e HTTP/1.1", &b"abc"[..]));
    for (name, value) in [
        ("host", Some("Shop.example.com:81")),
        ("x-mine", Some("yes")),
        ("x-private", None),
        ("connection", None),
        ("via", Some("1.1 unstick")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-host", Some("Shop.example.com:81")),
        ("forwarded", Some("for=127.0.0.1;proto=http;host=\"Shop.example.com:81\"")),
    ] {
        assert_eq!(seen.field(name), value, "{name} in {}", seen.head);
    }
    assert_eq!(seen.field("x-request-id").map(str::len), Some(32));
}

#[test]
fn a_trusted_proxy_is_believed() {
    let backend = Backend::named("a");
    let listen = "[listen.web]\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.0/8\"]";
    let app = App::builder(&[backend.address]).more(listen).start();
    let request = "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
                   X-Request-Id: mine\r\n\r\n";
    exchange(&mut connect(app.address), request);
    let seen = &backend.seen()[0];
    assert!(seen.head.contains("x-forwarded-for: 6.6.6.6, 127.0.0.1\r\n"), "{}", seen.head);
    assert_eq!((seen.field("x-forwarded-proto"), seen.field("x-request-id")), (Some("https"), Some("mine")));
}

#[test]
fn connections_are_reused_on_both_sides() {
    let backend = Backend::named("a");
    let app = App::builder(&[backend.address]).workers(1).start();
    let mut client = connect(app.address);
    for _ in 0..20 {
        assert_eq!(exchange(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").text(), "a");
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::start(|peer| peer.serve(|seen| answer(seen.line().split(' ').nth(1).unwrap())));
    let app = app(&backend);
    let mut client = connect(app.address);
    let requests: String = (0..10).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
    send(&mut client, requests);
    for n in 0..10 {
        assert_eq!(read_response(&mut client, false).text(), format!("/{n}"));
    }
}

#[test]
fn chunks_and_trailers_pass_both_ways() {
    let backend = Backend::start(|peer| {
        peer.serve(|_| {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
              3\r\nabc\r\n4;ext=1\r\ndefg\r\n0\r\nX-Sum: 7\r\n\r\n"
                .to_vec()
        })
    });
    let app = app(&backend);
    let mut client = connect(app.address);
    let request = "POST / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: X-In\r\n\r\n\
                   5\r\n12345\r\n0\r\nX-In: yes\r\n\r\n";
    let response = exchange(&mut client, request);
    assert_eq!((response.text().as_str(), response.trailers.as_str()), ("abcdefg", "x-sum: 7\r\n"));
    let seen = &backend.seen()[0];
    assert_eq!(text(&seen.body), "5\r\n12345\r\n0\r\nx-in: yes\r\n\r\n", "{}", seen.head);
    assert_eq!(seen.field("te"), Some("trailers"));
    assert_eq!(exchange(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").status, 200, "the connection goes on");
}

#[test]
fn an_answer_without_a_length_ends_with_its_connection() {
    let backend = Backend::start(|peer| {
        peer.next();
        send(&mut peer.stream, "HTTP/1.0 200 OK\r\n\r\nuntil the end");
        peer.stream.shutdown(Shutdown::Both).unwrap();
    });
    let app = app(&backend);
    let response = exchange(&mut connect(app.address), "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((response.text().as_str(), response.field("transfer-encoding")), ("until the end", Some("chunked")));
}

#[test]
fn http_1_0_clients_are_served() {
    let backend = Backend::start(|peer| {
        peer.serve(|_| b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec())
    });
    let app = app(&backend);
    let mut client = connect(app.address);
    send(&mut client, "GET / HTTP/1.0\r\n\r\n");
    let (bytes, orderly) = read_to_close(&mut client);
    let answer = text(&bytes);
    assert!(orderly && answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nhello"), "{answer}");
    assert!(!answer.contains("chunked"), "{answer}");
    let seen = &backend.seen()[0];
    assert_eq!((seen.line(), seen.field("host")), ("GET / HTTP/1.1", Some(backend.address.to_string().as_str())));
}

#[test]
fn answers_without_a_body_have_none() {
    let backend = Backend::start(|peer| {
        peer.serve(|seen| match seen.line().split(' ').nth(1).unwrap() {
            "/head" => b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".to_vec(),
            "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            _ => b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 77\r\n\r\n".to_vec(),
        })
    });
    let app = app(&backend);
    let mut client = connect(app.address);
    for (method, path, status, length) in
        [("HEAD", "/head", 200, Some("1234")), ("GET", "/204", 204, None), ("GET", "/304", 304, None)]
    {
        let response = exchange(&mut client, &format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!((response.status, response.field("content-length")), (status, length), "{}", response.head);
    }
    assert_eq!(backend.seen().len(), 3);
}

#[test]
fn expect_100_continue_is_passed_on_and_answered() {
    let backend = Backend::named("a");
    let app = app(&backend);
    let mut client = connect(app.address);
    send(&mut client, "PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(text(&read_until(&mut client, b"\r\n\r\n")), "HTTP/1.1 100 Continue\r\n\r\n");
    send(&mut client, "body");
    assert_eq!(read_response(&mut client, false).text(), "a");
    let seen = &backend.seen()[0];
    assert_eq!((seen.body.as_slice(), seen.field("expect")), (&b"body"[..], Some("100-continue")));
}

#[test]
fn targets_are_brought_into_origin_form() {
    let backend = Backend::named("a");
    let app = app(&backend);
    for (request, line, host) in [
        ("GET http://real.example/x?y HTTP/1.1\r\nHost: other\r\n\r\n", "GET /x?y HTTP/1.1", "real.example"),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "OPTIONS * HTTP/1.1", "x"),
    ] {
        assert_eq!(exchange(&mut connect(app.address), request).status, 200);
        let seen = backend.seen().pop().unwrap();
        assert_eq!((seen.line(), seen.field("host")), (line, Some(host)));
    }
}

#[test]
fn what_is_not_served_is_refused_by_name() {
    let backend = Backend::named("a");
    let app =
        App::builder(&[backend.address]).more("[[route]]\npath = \"/app\"\n[limits]\nrequest_body = \"10B\"").start();
    for (request, status, cause) in [
        ("CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n", 405, "method-not-allowed"),
        ("TRACE /app HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method-not-allowed"),
        ("GET /app HTTP/1.1\r\n\r\n", 400, "bad-request"),
        ("GET /app HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400, "bad-request"),
        ("GET /nope HTTP/1.1\r\nHost: x\r\n\r\n", 404, "no-route"),
        ("POST /app HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n", 413, "request-body-too-large"),
    ] {
        let response = exchange(&mut connect(app.address), request);
        assert_eq!((response.status, response.field("x-unstick-error")), (status, Some(cause)), "{request}");
        assert!(response.text().starts_with(cause), "{}", response.text());
    }
    assert!(backend.seen().is_empty(), "none of it reached the replica");
    let chunked =
        "POST /app HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n123456\r\n6\r\n123456\r\n0\r\n\r\n";
    let response = exchange(&mut connect(app.address), chunked);
    assert_eq!((response.status, response.field("x-unstick-error")), (413, Some("request-body-too-large")));
}

#[test]
fn a_body_of_exactly_the_limit_is_served() {
    let backend = Backend::named("a");
    let app = App::builder(&[backend.address]).more("[limits]\nrequest_body = \"10B\"").start();
    for framed in
        ["Content-Length: 10\r\n\r\n0123456789", "Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n"]
    {
        let response = exchange(&mut connect(app.address), &format!("POST / HTTP/1.1\r\nHost: x\r\n{framed}"));
        assert_eq!(response.status, 200, "{framed}");
        // As it was framed: a chunk ends with a line.
        let body = text(&backend.seen().last().unwrap().body);
        assert_eq!(body.lines().filter(|line| *line == "0123456789").count(), 1, "{framed}: {body}");
    }
}

#[test]
fn an_early_answer_arrives_while_the_upload_goes_on() {
    let backend = Backend::start(|peer| {
        let head = peer.next_head().unwrap();
        if head.starts_with("POST") {
            send(&mut peer.stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n");
            peer.wait_for_close();
        }
    });
    let app = app(&backend);
    let mut client = connect(app.address);
    send(&mut client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nfirst");
    let head = text(&read_until(&mut client, b"3\r\nyes\r\n"));
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    send(&mut client, vec![b'x'; 100_000]);
}

#[test]
fn a_refused_upload_s_answer_is_not_lost_to_a_reset() {
    let backend = Backend::start(|peer| {
        if peer.next_head().unwrap().starts_with("POST") {
            send(&mut peer.stream, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
            peer.wait_for_close();
        }
    });
    let app = app(&backend);
    for _ in 0..20 {
        let mut client = connect(app.address);
        send(&mut client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n");
        let mut writer = client.try_clone().unwrap();
        let upload = std::thread::spawn(move || while writer.write_all(&[b'x'; 65536]).is_ok() {});
        let response = read_response(&mut client, false);
        assert_eq!((response.status, response.text().as_str()), (403, "no"));
        client.shutdown(Shutdown::Both).ok();
        upload.join().unwrap();
    }
}

#[test]
fn both_directions_stream_at_once() {
    const PART: usize = 64 * 1024;
    const PARTS: usize = 400;
    let backend = Backend::start(|peer| {
        peer.next_head().unwrap();
        let length = PART * PARTS;
        send(&mut peer.stream, format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"));
        let mut buffer = vec![0u8; PART];
        send(&mut peer.stream, &peer.ahead);
        let mut left = length - peer.ahead.len();
        // An echo that never holds more than one part, so both directions must flow.
        while left > 0 {
            let n = peer.stream.read(&mut buffer).unwrap();
            assert!(n > 0);
            send(&mut peer.stream, &buffer[..n]);
            left -= n;
        }
    });
    let app = app(&backend);
    let mut client = connect(app.address);
    send(&mut client, format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", PART * PARTS));
    let mut writer = client.try_clone().unwrap();
    let upload = std::thread::spawn(move || {
        for n in 0..PARTS {
            writer.write_all(&vec![n as u8; PART]).unwrap();
        }
    });
    let response = read_response(&mut client, false);
    upload.join().unwrap();
    assert_eq!(response.body.len(), PART * PARTS);
    assert!(response.body.chunks(PART).enumerate().all(|(n, part)| part.iter().all(|&byte| byte == n as u8)));
}

#[test]
fn when_the_client_goes_the_attempt_is_cancelled_at_once() {
    let (asked, was_asked) = signal();
    let (closed, was_closed) = signal();
    let backend = Backend::start(move |peer| {
        if peer.next().is_some() {
            asked.lock().unwrap().send(()).unwrap();
            peer.wait_for_close();
            closed.lock().unwrap().send(()).ok();
        }
    });
    let app = app(&backend);
    let mut client = connect(app.address);
    send(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    was_asked.wait("the request arrives");
    drop(client);
    was_closed.wait("the connection to the replica is closed");
    eventually("nothing is in flight", || app.endpoint(backend.address).unwrap()["in_flight"] == 0);
    assert_eq!(app.status()["pools"][0]["requests"]["client_gone"], 1);
}

#[test]
fn a_client_that_goes_in_the_middle_of_an_answer_cancels_too() {
    let (closed, was_closed) = signal();
    let backend = Backend::start(move |peer| {
        if peer.next().is_some() {
            send(&mut peer.stream, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
            peer.wait_for_close();
            closed.lock().unwrap().send(()).ok();
        }
    });
    let app = app(&backend);
    let mut client = connect(app.address);
    send(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    read_until(&mut client, b"half");
    drop(client);
    was_closed.wait("the connection to the replica is closed");
}

#[test]
fn a_truncated_answer_is_never_presented_as_whole() {
    for framing in ["Content-Length: 10\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"] {
        let (half_read, was_read) = signal();
        let was_read = std::sync::Mutex::new(was_read);
        let backend = Backend::start(move |peer| {
            if peer.next().is_some() {
                send(&mut peer.stream, format!("HTTP/1.1 200 OK\r\n{framing}"));
                was_read.lock().unwrap().wait("the client has read the first half");
                peer.stream.shutdown(Shutdown::Both).unwrap();
            }
        });
        let app = app(&backend);
        let mut client = connect(app.address);
        send(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        read_until(&mut client, b"half");
        half_read.lock().unwrap().send(()).unwrap();
        let (rest, _) = read_to_close(&mut client);
        assert!(!text(&rest).contains('0'), "no last chunk: {:?}", text(&rest));
        eventually("it is counted", || app.status()["pools"][0]["requests"]["cut"] == 1);
    }
}

#[test]
fn a_slow_reader_does_not_fill_the_memory() {
    const LENGTH: u64 = 1 << 30;
    let (written, _hold) = signal();
    let backend = Backend::start(move |peer| {
        peer.next().unwrap();
        send(&mut peer.stream, format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
        let part = vec![0u8; 1 << 20];
        peer.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut sent = 0u64;
        while sent < LENGTH {
            match peer.stream.write(&part) {
                Ok(n) => sent += n as u64,
                // No more is taken: all buffers on the way are full.
                Err(_) => break,
            }
        }
        assert!(sent < 64 << 20, "{sent} bytes were taken although the client reads nothing");
        written.lock().unwrap().send(()).ok();
    });
    let app = app(&backend);
    let mut client = connect(app.address);
    send(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    _hold.wait("the replica is held back");
}

#[test]
fn a_silent_client_is_closed() {
    let backend = Backend::named("a");
    let app = App::builder(&[backend.address]).timeouts("request_head = \"200ms\"\nclient_idle = \"300ms\"").start();
    for opening in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut client = connect(app.address);
        send(&mut client, opening);
        read_to_close(&mut client);
    }
    let mut upload = connect(App::builder(&[backend.address]).timeouts("request_body = \"200ms\"").start().address);
    upload.write_all(b"").unwrap();
    let app = App::builder(&[backend.address]).timeouts("request_body = \"200ms\"").start();
    let response = exchange(&mut connect(app.address), "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf");
    assert_eq!((response.status, response.field("x-unstick-error")), (408, Some("request-body-timeout")));
}

#[test]
fn every_head_of_a_connection_has_its_deadline_and_every_answer_begins_a_new_wait() {
    let backend = Backend::named("a");
    let deadlines = "[timeouts]\nrequest_head = \"200ms\"\nclient_idle = \"1m\"";
    let app = App::builder(&[backend.address]).more(deadlines).start();
    let mut client = connect(app.address);
    assert_eq!(exchange(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").text(), "a");
    send(&mut client, "GET / HT");
    let (rest, _) = read_to_close(&mut client);
    assert!(rest.is_empty(), "closed long before a minute has passed");

    let routes = "[[route]]\npath = \"/a\"\npool = \"app\"\n[timeouts]\nclient_idle = \"400ms\"";
    let app = App::builder(&[backend.address]).more(routes).start();
    let mut client = connect(app.address);
    assert_eq!(exchange(&mut client, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
    for _ in 0..8 {
        pause("together these take longer than the idle time, which begins anew with each", 100);
        assert_eq!(exchange(&mut client, "GET /b HTTP/1.1\r\nHost: x\r\n\r\n").status, 404);
    }
}

#[test]
fn an_answer_with_trailers_is_a_whole_one() {
    let chunks =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n";
    let backend = Backend::start(move |peer| peer.serve(|_| chunks.as_bytes().to_vec()));
    let app = App::builder(&[backend.address]).workers(1).start();
    let mut client = connect(app.address);
    for _ in 0..3 {
        let response = exchange(&mut client, "GET / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n\r\n");
        assert_eq!((response.text().as_str(), response.trailers.trim()), ("a", "x-sum: 1"));
    }
    assert_eq!(backend.connections(), 1, "its connection is used again");
    assert_eq!(app.metric("unstick_requests_total{pool=\"app\",outcome=\"2xx\"}"), 3.0);
}

#[test]
fn routes_lead_by_host_and_path() {
    let (shop, api, other) = (Backend::named("shop"), Backend::named("api"), Backend::named("other"));
    let config = format!(
        "[[route]]\nhost = \"shop.example.com\"\npool = \"shop\"\n\
         [[route]]\nhost = \"shop.example.com\"\npath = \"/api/\"\npool = \"api\"\n\
         [[route]]\npool = \"other\"\n\
         [pool.shop]\nbackends = [\"{}\"]\n[pool.api]\nbackends = [\"{}\"]\n[pool.other]\nbackends = [\"{}\"]\n",
        shop.address, api.address, other.address
    );
    let app = App::start(&config);
    for (host, path, name) in
        [("SHOP.example.com:80", "/", "shop"), ("shop.example.com", "/api/x", "api"), ("x", "/api/x", "other")]
    {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(exchange(&mut connect(app.address), &request).text(), name);
    }
    assert_eq!(get(app.address, "/").text(), "other");
}

#[test]
fn the_status_of_json_clients_is_json() {
    let backend = Backend::named("a");
    let app = App::builder(&[backend.address]).more("[[route]]\npath = \"/app\"").start();
    let request = "GET / HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n";
    let response: client::Response = exchange(&mut connect(app.address), request);
    let value: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!((response.field("content-type"), &value["error"]), (Some("application/json"), &"no-route".into()));
}

#[test]
fn the_body_of_a_get_arrives_however_it_is_framed() {
    let backend = Backend::named("a");
    let app = app(&backend);
    for (framing, body) in [("Content-Length: 5", "query"), ("Transfer-Encoding: chunked", "5\r\nquery\r\n0\r\n\r\n")] {
        let request = format!("GET /search HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n{body}");
        assert_eq!(exchange(&mut connect(app.address), &request).status, 200);
        assert_eq!(text(&backend.seen().pop().unwrap().body), body);
    }
}

#[test]
fn a_replica_of_http_1_0_gets_whole_bodies_over_fresh_connections() {
    let backend = Backend::start(|peer| {
        peer.serve(|_| b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na".to_vec());
    });
    let app = app(&backend);
    let mut client = connect(app.address);
    for _ in 0..3 {
        let request = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        assert_eq!(exchange(&mut client, request).text(), "a");
        assert_eq!(text(&backend.seen().pop().unwrap().body), "3\r\nabc\r\n0\r\n\r\n");
    }
    assert_eq!(backend.connections(), 3);
}

/// Without `Upgrade`, a 426 says nothing (RFC 9110 section 15.5.22).
#[test]
fn a_426_says_what_to_upgrade_to() {
    let backend = Backend::start(|peer| {
        peer.serve(|_| {
            "HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade, x-hop\r\nUpgrade: foo/2\r\nX-Hop: 1\r\n\
             Content-Length: 0\r\n\r\n"
                .into()
        });
    });
    let app = App::over(&[backend.address]);
    let response = get(app.address, "/");
    assert_eq!((response.status, response.field("upgrade"), response.field("x-hop")), (426, Some("foo/2"), None));
    assert!(response.head.to_lowercase().contains("connection: upgrade"), "{}", response.head);
    crate::support::h2::run(async {
        let client = crate::support::h2::client(app.address).await;
        assert_eq!(crate::support::h2::get(&client, "/").await.unwrap().0, 426);
    });
}
