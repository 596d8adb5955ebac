//! Peers that speak HTTP/2 and do not read: what they make the proxy hold has a bound.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use crate::support::backend::Backend;
use crate::support::h2::{
    END_HEADERS, END_STREAM, HEADERS, PREFACE, RST_STREAM, SETTINGS, frame, get_list, next_frame, raw,
};
use crate::support::{App, connect, eventually, pause, send};

/// The bytes of each head that is sent and not read. It fits into one frame, so that h2 holds it as a whole.
const HEAD_BYTES: usize = 14_000;

/// The heads that both kernels and the proxy may hold: those of all streams that may be open, the bound of what waits,
/// and 10 MiB in the buffers of the sockets, with as much to spare.
const HELD_MAX: usize = 2_000;

/// Requests that would be sent if nothing held them back.
const REQUESTS: usize = 6_000;

/// A replica with long heads, and the number of its responses.
fn talkative() -> (Backend, Arc<AtomicUsize>) {
    let answered = Arc::new(AtomicUsize::new(0));
    let (count, value) = (Arc::clone(&answered), "x".repeat(HEAD_BYTES));
    let backend = Backend::start(move |peer| {
        while peer.next_head().is_some() {
            count.fetch_add(1, Relaxed);
            send(&mut peer.stream, format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Long: {value}\r\n\r\n"));
        }
    });
    (backend, answered)
}

/// Sends requests, few enough at one time that none is refused, until they are not taken any more.
fn ask(client: &mut TcpStream, requests: usize, answered: &AtomicUsize) {
    for sent in (0..requests).step_by(50) {
        let began = Instant::now();
        while answered.load(Relaxed) < sent && began.elapsed() < Duration::from_secs(1) {
            std::thread::yield_now();
        }
        let ids = (sent..sent + 50).map(|nth| nth as u32 * 2 + 1);
        let batch: Vec<u8> = ids.flat_map(|id| frame(HEADERS, END_HEADERS | END_STREAM, id, &get_list())).collect();
        if client.write_all(&batch).is_err() {
            return;
        }
    }
}

#[test]
fn a_client_that_reads_no_responses_gets_no_more_of_them() {
    let (backend, answered) = talkative();
    let app = App::builder(&[backend.address]).workers(1).timeouts("client_write = \"3s\"").start();
    ask(&mut raw(app.address), REQUESTS, &answered);
    // The deadline of what is written ends it.
    eventually("the client is given up", || app.metric("unstick_connections") == 0.0);
    let answered = answered.load(Relaxed);
    assert!(answered < HELD_MAX, "{answered} responses of {HEAD_BYTES} bytes were held");
}

#[test]
fn a_client_that_reads_late_gets_everything() {
    const COUNT: usize = 1_500;
    let (backend, answered) = talkative();
    let app = App::builder(&[backend.address]).workers(1).start();
    let client = raw(app.address);
    let (mut writer, seen) = (client.try_clone().unwrap(), Arc::clone(&answered));
    let writing = std::thread::spawn(move || ask(&mut writer, COUNT, &seen));
    pause("responses pile up", 3_000);
    let (mut reader, mut ended) = (std::io::BufReader::new(client), 0);
    while ended < COUNT {
        let (kind, flags, ..) = next_frame(&mut reader).expect("the connection lives");
        // A stream beyond those that it may have is refused.
        ended += usize::from(kind == RST_STREAM || kind == HEADERS && flags & END_STREAM != 0);
    }
    writing.join().unwrap();
}

/// Each request is cancelled before the next one comes. They would all wait in one connection.
#[test]
fn a_replica_that_reads_nothing_gets_no_more_requests_on_that_connection() {
    let replica = Backend::start(|peer| {
        peer.stream.read_exact(&mut [0; PREFACE.len()]).unwrap();
        peer.stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
        // It reads no more; the kernel keeps the connection.
        let (_never, end) = std::sync::mpsc::channel::<()>();
        end.recv_timeout(crate::support::SOON).ok();
    });
    let app = App::builder(&[replica.address]).pool("protocol = \"h2c\"").workers(1).start();
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(HEAD_BYTES));
    let in_flight = || app.endpoint(replica.address).unwrap()["in_flight"].as_u64().unwrap();
    let mut asked = 0;
    while replica.connections() < 2 {
        let clients: Vec<_> = (0..50)
            .map(|_| {
                let mut client = connect(app.address);
                send(&mut client, &head);
                client
            })
            .collect();
        eventually("they are sent", || in_flight() == 50);
        drop(clients);
        eventually("they are cancelled", || in_flight() == 0);
        asked += 50;
        assert!(asked <= HELD_MAX, "{asked} requests of {HEAD_BYTES} bytes are held by one connection");
    }
}
