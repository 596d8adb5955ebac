//! Client connections that are parked because there was no request for a second. No client may notice.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::support::backend::{Backend, answer};
use crate::support::client::{exchange, read_response};
use crate::support::tls::{Authority, shake_hands};
use crate::support::{App, connect, eventually, pause, pool_of, read_to_close, send};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

#[track_caller]
fn until_parked(app: &App, connections: u32) {
    eventually("idle connections are parked", || app.metric("unstick_connections_parked") == f64::from(connections));
}

#[test]
fn a_parked_connection_serves_again_whatever_the_next_request_looks_like() {
    let backend = Backend::start(|peer| peer.serve(|seen| answer(&seen.body.len().to_string())));
    let app = App::over(&[backend.address]);
    let large = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n{}", "x".repeat(50_000));
    let mut streams: Vec<_> = (0..4).map(|_| connect(app.address)).collect();
    for round in 0..2 {
        for stream in &mut streams {
            assert_eq!(exchange(stream, GET).text(), "0", "round {round}");
        }
        // Half a head that came together with a whole request waits all this time.
        send(&mut streams[0], format!("{GET}GET / HT"));
        assert_eq!(read_response(&mut streams[0], false).text(), "0");
        until_parked(&app, 3);
        send(&mut streams[0], "TP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(read_response(&mut streams[0], false).text(), "0");
        assert_eq!(exchange(&mut streams[1], &large).text(), "50000", "larger than what is looked at");
        send(&mut streams[2], "G");
        send(&mut streams[2], &GET[1..]);
        assert_eq!(read_response(&mut streams[2], false).text(), "0", "byte by byte");
        send(&mut streams[3], format!("{GET}{GET}"));
        for _ in 0..2 {
            assert_eq!(read_response(&mut streams[3], false).text(), "0", "two at once");
        }
    }
}

#[test]
fn a_connection_that_serves_again_is_not_parked() {
    let (begin, begun) = std::sync::mpsc::channel();
    let backend = Backend::start(move |peer| {
        peer.serve(|seen| {
            if seen.head.starts_with("GET /held") {
                begin.send(()).unwrap();
                pause("while the gauge is looked at", 1500);
            }
            answer("one")
        });
    });
    let app = App::over(&[backend.address]);
    let mut stream = connect(app.address);
    assert_eq!(exchange(&mut stream, GET).text(), "one");
    until_parked(&app, 1);
    send(&mut stream, "GET /held HTTP/1.1\r\nHost: a.test\r\n\r\n");
    begun.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(app.metric("unstick_connections_parked"), 0.0);
    assert_eq!(read_response(&mut stream, false).text(), "one");
    until_parked(&app, 1);
}

#[test]
fn a_parked_connection_hears_the_end_and_keeps_its_deadline() {
    let backend = Backend::named("one");
    let app = App::builder(&[backend.address]).timeouts("client_idle = \"4s\"\nrequest_head = \"300ms\"").start();
    let mut streams: Vec<_> = (0..3).map(|_| connect(app.address)).collect();
    let began = Instant::now();
    for stream in &mut streams {
        assert_eq!(exchange(stream, GET).text(), "one");
    }
    until_parked(&app, 3);
    let [leaving, slow, silent] = &mut streams[..] else { panic!("three") };
    leaving.shutdown(Shutdown::Write).unwrap();
    assert_eq!(leaving.read(&mut [0; 1]).unwrap(), 0, "closed in order");
    send(slow, "GET / HT");
    let (bytes, _) = read_to_close(slow);
    assert!(bytes.is_empty() && began.elapsed() < Duration::from_secs(10), "the deadline of a head holds");
    assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0);
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
    eventually("all are gone", || app.metric("unstick_connections") == 0.0);
    assert_eq!(app.metric("unstick_connections_parked"), 0.0);
}

#[test]
fn parked_connections_end_when_their_listener_does() {
    let backend = Backend::named("one");
    let app = App::builder(&[backend.address]).timeouts("drain_idle = \"500ms\"").start();
    let mut streams = [connect(app.address), connect(app.address)];
    for stream in &mut streams {
        assert_eq!(exchange(stream, GET).text(), "one");
    }
    until_parked(&app, 2);
    let began = Instant::now();
    app.stop();
    eventually("it drains", || TcpStream::connect(app.address).is_err());
    let [asking, silent] = &mut streams;
    let response = exchange(asking, GET);
    assert_eq!((response.text().as_str(), response.field("connection")), ("one", Some("close")), "one more request");
    assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0);
    assert!(began.elapsed() >= Duration::from_millis(500));
    assert_eq!(app.wait(), unstick::app::Ended::Drained);
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_parked_connection_in_tls_serves_again() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ca"));
    authority.issue(folder.path(), "a", &["a.test"]);
    let backend = Backend::named("one");
    let listen = "[listen.web]\naddress = \"127.0.0.1:0\"\ntls = { cert = \"a.pem\", key = \"a.key\" }\n[admin]\n\
        address = \"127.0.0.1:0\"\n";
    let file = folder.path().join("unstick.toml");
    std::fs::write(&file, format!("{listen}{}", pool_of(&[backend.address], "", ""))).unwrap();
    let app = App::start_file(folder, file, 1);
    let mut stream = shake_hands(app.address, "a.test", &Arc::new(authority.client(&[]))).unwrap();
    for _ in 0..2 {
        assert_eq!(exchange(&mut stream, GET).text(), "one");
        until_parked(&app, 1);
    }
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "with close_notify");
}

#[test]
fn a_connection_in_tls_that_is_silent_too_long_ends_with_close_notify() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ca"));
    authority.issue(folder.path(), "a", &["a.test"]);
    let backend = Backend::named("one");
    let listen = "[listen.web]\naddress = \"127.0.0.1:0\"\ntls = { cert = \"a.pem\", key = \"a.key\" }\n[admin]\n\
        address = \"127.0.0.1:0\"\n[timeouts]\nrequest_head = \"300ms\"\nclient_idle = \"1500ms\"\n";
    let file = folder.path().join("unstick.toml");
    std::fs::write(&file, format!("{listen}{}", pool_of(&[backend.address], "", ""))).unwrap();
    let app = App::start_file(folder, file, 1);
    let connect = || shake_hands(app.address, "a.test", &Arc::new(authority.client(&[]))).unwrap();
    let (mut fresh, mut parked) = (connect(), connect());
    assert_eq!(exchange(&mut parked, GET).text(), "one");
    for stream in [&mut fresh, &mut parked] {
        // Without it, this is an error of rustls.
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    }
}

#[test]
fn a_part_of_a_head_behind_another_request_is_awaited_as_a_head() {
    let backend = Backend::named("one");
    let timeouts = "request_head = \"500ms\"\nclient_idle = \"1h\"";
    let app = App::builder(&[backend.address]).timeouts(timeouts).workers(1).start();
    let mut stream = connect(app.address);
    send(&mut stream, format!("{GET}GET /second HT"));
    assert_eq!(read_response(&mut stream, false).text(), "one");
    let end = read_to_close(&mut stream);
    assert_eq!(end, (Vec::new(), true), "closed, long before an idle connection would be");
}
