//! Requests that come close behind another one: each is read as if it had come alone.

use crate::support::backend::Backend;
use crate::support::client::{exchange, read_response};
use crate::support::{App, connect, pause, send, text};

const NEXT: &str = "GET /a<b>`\" HTTP/1.1\r\nHost: x\r\n\r\n";

fn request(fields: &str, body: &str) -> String {
    format!("POST /<first> HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n{body}")
}

/// Parsers would refuse them.
#[test]
fn every_target_is_encoded_whatever_came_before_it() {
    let chunked = "Transfer-Encoding: chunked";
    let body = "3;x=\"<\"\r\n<\"`\r\n0\r\n";
    let befores = [
        NEXT.to_owned(),
        format!("{NEXT}\r\n{NEXT}"),
        request("Content-Length: 5", "<\"`>\n"),
        request(chunked, &format!("{body}\r\n")),
        request(chunked, &format!("{body}X-Sum: \"<\"\r\n\r\n")),
        request(&format!("Trailer: X-Sum\r\n{chunked}"), &format!("{body}X-Sum: \"<\"\r\n\r\n")),
        request(&format!("Expect: 100-continue\r\n{chunked}"), &format!("{body}X-Sum: \"<\"\r\n\r\n")),
        request("Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 0", ""),
        request("Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 5", "<\"`>\n"),
        request(&format!("Connection: upgrade\r\nUpgrade: x\r\n{chunked}"), &format!("{body}X-Sum: \"<\"\r\n\r\n")),
        NEXT.replace("\r\n\r\n", "\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
    ];
    let backend = Backend::named("a");
    let app = App::builder(&[backend.address]).workers(1).start();
    for before in befores {
        let all = format!("{before}{NEXT}{NEXT}");
        let expected = all.matches("HTTP/1.1\r\n").count();
        for cut in (0..=before.len() + 20).step_by(3) {
            let (seen, mut client) = (backend.seen().len(), connect(app.address));
            send(&mut client, &all[..cut]);
            if cut % 2 == 1 {
                pause("the rest may come in a read of its own", 5);
            }
            send(&mut client, &all[cut..]);
            for nth in 0..expected {
                let mut response = read_response(&mut client, false);
                if response.status == 100 {
                    response = read_response(&mut client, false);
                }
                assert_eq!(response.status, 200, "{nth}, cut at {cut}: {all}\n{}", response.head);
            }
            let lines = backend.seen().split_off(seen);
            for line in lines.iter().map(|seen| seen.line()) {
                assert!(line == "POST /%3Cfirst%3E HTTP/1.1" || line == "GET /a%3Cb%3E%60%22 HTTP/1.1", "{line}");
            }
            let bodies = lines.iter().filter(|seen| seen.line().starts_with("POST"));
            for body in bodies.map(|seen| text(&seen.body)).filter(|body| !body.is_empty()) {
                // It may come in chunks of its own.
                assert!("<\"`".chars().all(|odd| body.contains(odd)) && !body.contains('%'), "{body:?}");
            }
        }
    }
}

/// What a head is read as does not depend on where it is cut.
#[test]
fn empty_lines_and_odd_methods_are_read_in_any_pieces() {
    let backend = Backend::named("a");
    let app = App::builder(&[backend.address]).workers(1).start();
    for all in [format!("\r\n\r\n\n{NEXT}"), format!("\r\nM`X{}", NEXT.trim_start_matches("GET"))] {
        for cut in 0..12 {
            let mut client = connect(app.address);
            send(&mut client, &all[..cut]);
            pause("the rest comes in a read of its own", 20);
            send(&mut client, &all[cut..]);
            assert_eq!(read_response(&mut client, false).status, 200, "{all:?} cut at {cut}");
        }
    }
    assert!(backend.seen().iter().all(|seen| seen.line().ends_with(" /a%3Cb%3E%60%22 HTTP/1.1")));
    // They come to an end.
    let mut client = connect(app.address);
    let response = exchange(&mut client, &"\r\n".repeat(40_000));
    assert_eq!((response.status, response.field("connection")), (431, Some("close")));
}

/// Some clients send one behind each body (RFC 9112 section 2.2).
#[test]
fn an_empty_line_behind_a_request_begins_no_head() {
    let backend = Backend::named("a");
    let waits = "request_head = \"400ms\"\nclient_idle = \"10m\"";
    let app = App::builder(&[backend.address]).timeouts(waits).workers(1).start();
    for (with, later) in [("\r\n", ""), ("\r", "\n"), ("", "\r\n")] {
        let mut client = connect(app.address);
        send(&mut client, format!("{}{with}", request("Content-Length: 3", "abc")));
        assert_eq!(read_response(&mut client, false).status, 200);
        send(&mut client, later);
        pause("the time for a head passes", 800);
        assert_eq!(exchange(&mut client, NEXT).status, 200, "{with:?} {later:?}");
    }
}

/// A client that reads slowly, and asks on: nothing that it asks is lost, and no body is taken for a head.
#[test]
fn many_requests_in_one_piece_are_all_read() {
    let backend = Backend::named("a");
    let app = App::builder(&[backend.address]).workers(1).start();
    let upgrade = NEXT.replace("\r\n\r\n", "\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    let one = [NEXT, &upgrade, &request("Content-Length: 3", "<\"`")].concat();
    let mut client = connect(app.address);
    send(&mut client, one.repeat(200));
    for nth in 0..600 {
        assert_eq!(read_response(&mut client, false).status, 200, "{nth}");
    }
    assert!(backend.seen().iter().all(|seen| seen.line().contains("%3C")));
}
