//! Replicas that respond to a probe without end: they must not hold the thread that watches over everything.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::support::App;
use crate::support::backend::Backend;

/// Far longer than it takes to read what a probe reads at most, also on a busy machine.
const CHECK: &str = "[pool.app.health]\ntimeout = \"30s\"\ninterval = \"1h\"";

/// Sends `bytes` again and again until the proxy has had enough.
fn flood(stream: &mut TcpStream, bytes: &[u8]) {
    while stream.write_all(bytes).is_ok() {}
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream];
    frame.extend_from_slice(payload);
    frame
}

/// Reads up to the head of the request, which opens stream 1.
fn read_head_of_h2(stream: &mut TcpStream) {
    stream.read_exact(&mut [0; 24]).unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        stream.read_exact(&mut vec![0; length]).unwrap();
        if head[3] == 1 {
            return;
        }
    }
}

#[test]
fn a_replica_that_responds_without_end_fails_its_probe_soon() {
    let interims = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1000);
    let http1 = Backend::start(move |peer| {
        peer.next();
        flood(&mut peer.stream, interims.as_bytes());
    });
    // `:status: 103`, END_HEADERS.
    let heads = frame(1, 4, 1, b"\x08\x03103").repeat(1000);
    let pings = frame(6, 0, 0, &[0; 8]).repeat(1000);
    let h2c = |frames: Vec<u8>| {
        Backend::start(move |peer| {
            read_head_of_h2(&mut peer.stream);
            peer.stream.write_all(&frame(4, 0, 0, &[])).unwrap();
            flood(&mut peer.stream, &frames);
        })
    };
    let (heads, pings) = (h2c(heads), h2c(pings));
    for (what, backend, keys, check) in [
        ("interim responses of HTTP/1.1", &http1, "", ""),
        ("interim responses of HTTP/2", &heads, "protocol = \"h2c\"", ""),
        ("interim responses to a call", &heads, "protocol = \"h2c\"", "\nkind = \"grpc\""),
        ("pings", &pings, "protocol = \"h2c\"", ""),
    ] {
        let app = App::builder(&[backend.address]).pool(keys).more(&format!("{CHECK}{check}")).start();
        let endpoint = app.endpoint(backend.address).unwrap();
        let reason = endpoint["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("more than 320 KiB"), "{what}: {endpoint}");
        assert_eq!(app.admin_get("/healthz").status, 200);
    }
}
