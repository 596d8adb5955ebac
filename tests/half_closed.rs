//! Clients that close their half of the connection after their request, and clients that have gone.

use std::io::Read as _;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::SockRef;
use tokio::time::Instant;

use crate::support::backend::{Backend, Signal, answer, signal};
use crate::support::client::read_response;
use crate::support::tls::{Authority, shake_hands};
use crate::support::{App, connect, eventually, pause, pool_of, read_to_close, send};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
/// With what belongs to the next request, or to none.
const MORE: [&str; 2] = [
    "GET / HTTP/1.1\r\nHost: a.test\r\n\r\nGET / HT",
    "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody\r\n",
];
const POST: &str = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody";

/// A replica that takes its time, and answers with the request's body.
fn slow() -> Backend {
    Backend::start(|peer| {
        while let Some(seen) = peer.next() {
            pause("the client's end arrives before the response", 300);
            send(&mut peer.stream, answer(&format!("got {}", crate::support::text(&seen.body))));
        }
    })
}

/// Sends `bytes`, closes this half, and reads everything, as `nc -N` does.
fn netcat(app: &App, bytes: &str) -> (String, bool) {
    let mut stream = connect(app.address);
    send(&mut stream, bytes);
    stream.shutdown(Shutdown::Write).unwrap();
    let (bytes, is_orderly) = read_to_close(&mut stream);
    (crate::support::text(&bytes), is_orderly)
}

#[test]
fn a_client_that_closes_its_half_gets_its_response() {
    let backend = slow();
    let app = App::over(&[backend.address]);
    for (request, expected) in [
        (GET.to_owned(), vec!["got "]),
        (POST.to_owned(), vec!["got body"]),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), vec!["got "]),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"
                .to_owned(),
            vec!["got 2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"],
        ),
        (format!("{GET}{POST}"), vec!["got ", "got body"]),
    ] {
        let (response, is_orderly) = netcat(&app, &request);
        assert!(is_orderly && response.ends_with(expected[expected.len() - 1]), "{request}: {response}");
        assert_eq!(response.matches(" 200 OK\r\n").count(), expected.len(), "{request}: {response}");
    }
    let (response, _) = netcat(&app, &POST[..POST.len() - 1]);
    assert!(response.starts_with("HTTP/1.1 400"), "a request that breaks off is none: {response}");
    assert_eq!(app.endpoint(backend.address).unwrap()["in_flight"], 0);
}

#[test]
fn a_client_in_tls_that_closes_its_half_gets_its_response() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ca"));
    authority.issue(folder.path(), "a", &["a.test"]);
    let backend = slow();
    let listen = "[listen.web]\naddress = \"127.0.0.1:0\"\ntls = { cert = \"a.pem\", key = \"a.key\" }\n[admin]\n\
        address = \"127.0.0.1:0\"\n";
    let file = folder.path().join("unstick.toml");
    std::fs::write(&file, format!("{listen}{}", pool_of(&[backend.address], "", ""))).unwrap();
    let app = App::start_file(folder, file, 1);
    let mut stream = shake_hands(app.address, "a.test", &Arc::new(authority.client(&[]))).unwrap();
    std::io::Write::write_all(&mut stream, POST.as_bytes()).unwrap();
    stream.conn.send_close_notify();
    std::io::Write::flush(&mut stream).unwrap();
    stream.sock.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_response(&mut stream, false).text(), "got body");
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "with close_notify");
}

/// A replica that never answers, and says when a request came and when its connection was closed.
fn mute() -> (Backend, Signal, Signal) {
    let ((asked, was_asked), (left, was_left)) = (signal(), signal());
    let say = |sender: &Arc<Mutex<std::sync::mpsc::Sender<()>>>| sender.lock().unwrap().send(()).unwrap();
    let backend = Backend::start(move |peer| {
        if peer.next().is_some() {
            say(&asked);
            peer.wait_for_close();
            say(&left);
        }
    });
    (backend, was_asked, was_left)
}

#[test]
fn a_client_that_has_gone_frees_the_replica_in_time() {
    let (backend, was_asked, was_left) = mute();
    let timeouts = "half_closed = \"600ms\"\nresponse_head = \"1h\"";
    let app = App::builder(&[backend.address]).timeouts(timeouts).start();
    for request in [GET, POST].into_iter().chain(MORE) {
        let mut stream = connect(app.address);
        send(&mut stream, request);
        was_asked.wait("the request arrives");
        let left = Instant::now();
        drop(stream);
        was_left.wait("the attempt is cancelled");
        assert!((600..20_000).contains(&left.elapsed().as_millis()), "{:?}", left.elapsed());
        eventually("nothing is in flight", || app.endpoint(backend.address).unwrap()["in_flight"] == 0);
    }
    assert_eq!(app.endpoint(backend.address).unwrap()["failures"], 0, "no fault of the replica");
}

#[test]
fn a_client_whose_connection_is_reset_frees_the_replica_at_once() {
    let (backend, was_asked, was_left) = mute();
    let timeouts = "half_closed = \"1h\"\nresponse_head = \"1h\"";
    let app = App::builder(&[backend.address]).timeouts(timeouts).start();
    for request in [GET, POST].into_iter().chain(MORE) {
        let mut stream = connect(app.address);
        send(&mut stream, request);
        was_asked.wait("the request arrives");
        reset(stream);
        was_left.wait("the attempt is cancelled");
    }
}

fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn a_response_that_goes_on_is_finished_whatever_time_it_takes() {
    let (left, was_left) = signal();
    let backend = Backend::start(move |peer| {
        if peer.next().is_some() {
            send(&mut peer.stream, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n");
            for _ in 0..4 {
                pause("all of these are longer than a half-closed client waits", 500);
                send(&mut peer.stream, "part.");
            }
        }
        if peer.next().is_some() {
            send(&mut peer.stream, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\npart.");
            peer.wait_for_close();
            left.lock().unwrap().send(()).unwrap();
        }
    });
    let app = App::builder(&[backend.address]).timeouts("half_closed = \"1500ms\"").workers(1).start();
    let (response, is_orderly) = netcat(&app, GET);
    assert!(is_orderly && response.ends_with("part.part.part.part."), "{response}");
    let began = Instant::now();
    let (response, is_orderly) = netcat(&app, GET);
    assert!(!is_orderly && response.ends_with("\r\n\r\npart."), "{response}");
    was_left.wait("a replica that is silent is freed");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn without_patience_a_closed_half_is_the_end() {
    let (backend, was_asked, was_left) = mute();
    let app = App::builder(&[backend.address]).timeouts("half_closed = \"0s\"\nresponse_head = \"1h\"").start();
    let mut stream = connect(app.address);
    send(&mut stream, GET);
    was_asked.wait("the request arrives");
    stream.shutdown(Shutdown::Write).unwrap();
    was_left.wait("the attempt is cancelled");
    assert!(read_to_close(&mut stream).0.is_empty());
}
