//! Heads over HTTP/2 that no head may look like. h2 finds them while it decompresses, so its connection is over: what
//! becomes of the other requests on that.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::sync::Mutex;

use crate::support::backend::{Backend, Signal, signal};
use crate::support::client::{Response, read_response};
use crate::support::h2::{DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, frame, next_frame};
use crate::support::{App, connect, send};

/// A head of 200 with one field, without compression.
fn head(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0x88, 0, name.len() as u8], name, &[value.len() as u8], value].concat()
}

/// How many requests wait when one is answered with a bad head.
const WAITING: usize = 3;

/// A replica that leaves requests without a response until the last one has come, which gets `bad` on the first
/// connection. Whatever comes on later connections is answered. The signal is given for each head on the first.
fn replica(bad: Vec<u8>) -> (Backend, Signal) {
    let first = Mutex::new(true);
    let (came, has_come) = signal();
    let backend = Backend::start(move |peer| {
        peer.stream.read_exact(&mut [0; PREFACE.len()]).unwrap();
        peer.stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
        let is_bad = std::mem::replace(&mut *first.lock().unwrap(), false);
        let (mut waiting, mut ends) = (Vec::new(), BTreeMap::new());
        while let Some((kind, flags, id, _)) = next_frame(&mut peer.stream) {
            if kind == HEADERS {
                waiting.push(id);
                if is_bad {
                    came.lock().unwrap().send(()).unwrap();
                }
            }
            if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
                ends.insert(id, ());
            }
            if is_bad && ends.len() == WAITING + 1 {
                let last = *waiting.last().unwrap();
                peer.stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, last, &bad)).unwrap();
                ends.clear();
            }
            if !is_bad {
                for id in std::mem::take(&mut ends).into_keys() {
                    let good = [frame(HEADERS, END_HEADERS, id, &[0x88]), frame(DATA, END_STREAM, id, b"good")];
                    peer.stream.write_all(&good.concat()).ok();
                }
            }
        }
    });
    (backend, has_come)
}

fn told(response: &Response) -> (u16, Option<&str>) {
    (response.status, response.field("x-unstick-error"))
}

#[test]
fn a_bad_head_of_a_replica_is_no_failure_of_the_requests_beside_it() {
    for (name, value) in [(&b"Foo"[..], &b"x"[..]), (b"foo", b"a\0b"), (b"foo", b"a\r\nb"), (b"fo o", b"x")] {
        let (replica, has_come) = replica(head(name, value));
        let app = App::builder(&[replica.address]).pool("protocol = \"h2c\"").workers(1).start();
        let mut clients = Vec::new();
        for request in ["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"]
            .into_iter()
            .cycle()
            .take(WAITING)
            .chain(["POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"])
        {
            let mut client = connect(app.address);
            send(&mut client, request);
            clients.push(client);
            // The next one would overtake it while their connection is being opened.
            has_come.wait("it is under way");
        }
        let responses: Vec<_> = clients.iter_mut().map(|client| read_response(client, false)).collect();
        // Those that may be done twice are, the others are told that this was the proxy's doing.
        let beside: Vec<_> = responses[..WAITING].iter().map(told).collect();
        assert_eq!(
            beside,
            [(502, Some("connection-curbed")), (200, None), (502, Some("connection-curbed"))],
            "{name:?}"
        );
        assert_eq!(told(&responses[WAITING]), (502, Some("upstream-invalid")), "{name:?}");
        assert_eq!(app.endpoint(replica.address).unwrap()["failures"], 1, "{name:?}");
        assert_eq!(app.metric("unstick_own_responses_total{cause=\"connection-curbed\",rule=\"\"}"), 2.0);
    }
}

/// What is not the head of any stream is the failure of all.
#[test]
fn a_replica_that_breaks_the_rules_of_a_connection_has_failed() {
    let replica = Backend::start(|peer| {
        peer.stream.read_exact(&mut [0; PREFACE.len()]).unwrap();
        peer.stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
        while let Some((kind, ..)) = next_frame(&mut peer.stream) {
            if kind == HEADERS {
                // Settings come in sixes.
                peer.stream.write_all(&frame(SETTINGS, 0, 0, &[0; 5])).unwrap();
            }
        }
    });
    let app = App::builder(&[replica.address]).pool("protocol = \"h2c\"\nretry = { attempts = 1 }").start();
    assert_eq!(told(&crate::support::client::get(app.address, "/")), (502, Some("upstream-invalid")));
    assert_eq!(app.endpoint(replica.address).unwrap()["failures"], 1);
}
