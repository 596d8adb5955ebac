//! The PROXY protocol: headers that name the client, received from proxies in front and sent to replicas.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::support::backend::{Backend, answer};
use crate::support::client::{exchange, read_response};
use crate::support::h2::{END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, frame, get_list, next_frame};
use crate::support::tls::{Authority, TlsClient};
use crate::support::{App, connect, eventually, pool_of, read_to_close, read_until, send, text};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
const V1: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 1234 443\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x04\xd2\x01\xbb";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

fn over(backend: &Backend, mode: &str, trusted: &str, rest: &str) -> App {
    let listen = "[listen.web]\naddress = \"127.0.0.1:0\"\n";
    let keys = format!("proxy_protocol = \"{mode}\"\ntrusted_proxies = [\"{trusted}\"]\n");
    App::start(&format!("{listen}{keys}{rest}\n{}", pool_of(&[backend.address], "", "")))
}

#[test]
fn whose_connection_it_is_stands_in_the_header() {
    let backend = Backend::named("one");
    for mode in ["accept", "require"] {
        let app = over(&backend, mode, "127.0.0.1", "");
        for (header, client) in
            [(V1.as_bytes(), "192.0.2.7"), (V2, "192.0.2.7"), (b"PROXY UNKNOWN\r\n", "127.0.0.1"), (LOCAL, "127.0.0.1")]
        {
            // Both in one piece and byte by byte.
            for is_slow in [false, true] {
                let mut stream = connect(app.address);
                if is_slow {
                    header.iter().for_each(|byte| send(&mut stream, [*byte]));
                    send(&mut stream, GET);
                } else {
                    send(&mut stream, [header, GET.as_bytes()].concat());
                }
                assert_eq!(read_response(&mut stream, false).text(), "one");
                assert_eq!(exchange(&mut stream, GET).text(), "one");
                let seen = backend.seen();
                let last = seen.last().unwrap();
                assert_eq!(last.field("x-forwarded-for"), Some(client), "{mode} {}", text(header));
            }
        }
    }
}

#[test]
fn what_is_forged_broken_or_missing_closes_the_connection() {
    let backend = Backend::named("one");
    for (mode, trusted, sent, is_served) in [
        ("require", "127.0.0.1", GET, false),
        ("accept", "127.0.0.1", GET, true),
        ("require", "10.0.0.0/8", V1, false),
        ("accept", "10.0.0.0/8", V1, false),
        ("accept", "10.0.0.0/8", GET, true),
        ("off", "127.0.0.1", V1, false),
        ("accept", "127.0.0.1", "PROXY TCP4 1.2.3.4 5.6.7.8 1 99999\r\n", false),
        ("accept", "127.0.0.1", "PROXY what ever\r\n", false),
        ("require", "127.0.0.1", "\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c............", false),
    ] {
        let app = over(&backend, mode, trusted, "");
        let mut stream = connect(app.address);
        send(&mut stream, sent);
        if is_served {
            assert_eq!(read_response(&mut stream, false).text(), "one", "{mode} {trusted} {sent:?}");
        } else {
            // The connection may be closed by now.
            std::io::Write::write_all(&mut stream, GET.as_bytes()).ok();
            let (bytes, _) = read_to_close(&mut stream);
            assert!(!text(&bytes).contains(" 200 "), "{mode} {trusted} {sent:?}: {}", text(&bytes));
        }
    }
    assert_eq!(backend.seen().len(), 2);
}

#[test]
fn http2_and_tls_follow_the_header() {
    let backend = Backend::named("one");
    let app = over(&backend, "require", "127.0.0.1", "");
    let mut stream = connect(app.address);
    let headers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &get_list());
    send(&mut stream, [V2, PREFACE, &frame(SETTINGS, 0, 0, &[]), &headers].concat());
    while next_frame(&mut stream).is_some_and(|(kind, ..)| kind != HEADERS) {}

    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ca"));
    let pair = authority.issue(folder.path(), "a", &["a.test"]);
    let tls = format!("tls = {{ cert = \"{}\", key = \"{}\" }}", pair.cert.display(), pair.key.display());
    let app = over(&backend, "require", "127.0.0.1", &tls);
    let mut stream = connect(app.address);
    send(&mut stream, V1);
    let name = rustls::pki_types::ServerName::try_from("a.test").unwrap();
    let session = rustls::ClientConnection::new(Arc::new(authority.client(&[])), name).unwrap();
    let mut stream = TlsClient::new(session, stream);
    assert_eq!(exchange(&mut stream, GET).text(), "one");
    assert!(backend.seen().iter().all(|seen| seen.field("x-forwarded-for") == Some("192.0.2.7")));
    assert_eq!(backend.seen().len(), 2);
}

#[test]
fn connections_are_counted_for_whom_they_are() {
    let backend = Backend::named("one");
    let app = over(&backend, "require", "127.0.0.1", "[limits]\nconnections_per_address = 2");
    let ask = |client: &str| {
        let mut stream = connect(app.address);
        send(&mut stream, format!("PROXY TCP4 {client} 198.51.100.1 1234 443\r\n{GET}"));
        stream
    };
    let kept: Vec<_> = ["192.0.2.1", "192.0.2.1", "192.0.2.2"]
        .into_iter()
        .map(|client| {
            let mut stream = ask(client);
            assert_eq!(read_response(&mut stream, false).text(), "one", "{client}");
            stream
        })
        .collect();
    assert!(read_to_close(&mut ask("192.0.2.1")).0.is_empty());
    assert_eq!(app.metric("unstick_refused_connections_total"), 1.0);
    drop(kept);
    eventually("they may come again", || !read_to_close_after_answer(&mut ask("192.0.2.1")).is_empty());
}

fn read_to_close_after_answer(stream: &mut std::net::TcpStream) -> Vec<u8> {
    let mut seen = vec![0; 15];
    match std::io::Read::read_exact(stream, &mut seen) {
        Ok(()) => seen,
        Err(_) => Vec::new(),
    }
}

#[test]
fn replicas_are_told_and_no_connection_serves_two_clients() {
    for version in ["v1", "v2"] {
        let backend = Backend::start(|peer| {
            // One header, and then requests as usual. Probes name no client.
            let mut first = [0; 1];
            std::io::Read::read_exact(&mut peer.stream, &mut first).unwrap();
            let header = if first[0] == b'P' {
                text(&read_until(&mut peer.stream, b"\r\n"))
            } else {
                let mut rest = [0; 15];
                std::io::Read::read_exact(&mut peer.stream, &mut rest).unwrap();
                let mut addresses = vec![0; usize::from(rest[14])];
                std::io::Read::read_exact(&mut peer.stream, &mut addresses).unwrap();
                match addresses[..] {
                    [a, b, c, d, _, _, _, _, high, low, ..] => {
                        format!("ROXY TCP4 {a}.{b}.{c}.{d} - {} -", u16::from_be_bytes([high, low]))
                    }
                    _ => "ROXY UNKNOWN".to_owned(),
                }
            };
            let mut words = header.split(' ').skip(2);
            let source = format!("{}:{}", words.next().unwrap_or("-"), words.nth(1).unwrap_or("-"));
            peer.serve(move |_| answer(&source));
        });
        let app = App::builder(&[backend.address])
            .pool(&format!("proxy_protocol = \"{version}\"\n[pool.app.health]\npath = \"/healthz\""))
            .start();
        app.wait_for(backend.address, "healthy");
        let before = backend.connections();
        let own = |stream: &std::net::TcpStream| -> SocketAddr { stream.local_addr().unwrap() };
        let mut clients = [connect(app.address), connect(app.address)];
        for _ in 0..3 {
            for client in &mut clients {
                let expected = own(client).to_string();
                assert_eq!(exchange(client, GET).text(), expected, "{version}");
            }
        }
        assert!(backend.connections() >= before + 2);
    }
}

#[test]
fn a_header_without_an_address_makes_nobody_trusted() {
    let backend = Backend::named("one");
    let app = over(&backend, "require", "127.0.0.1", "");
    let forged = "GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n";
    for (header, expected) in [(LOCAL, "127.0.0.1"), (b"PROXY UNKNOWN\r\n", "127.0.0.1"), (V2, "192.0.2.7")] {
        let mut stream = connect(app.address);
        send(&mut stream, [header, forged.as_bytes()].concat());
        assert_eq!(read_response(&mut stream, false).text(), "one");
        assert_eq!(backend.seen().last().unwrap().field("x-forwarded-for"), Some(expected));
    }
}
