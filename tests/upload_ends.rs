//! How a client connection ends whose upload has ended, or never will, behind an early response.

use std::sync::mpsc::channel;

use unstick::app::Ended;

use crate::support::backend::Backend;
use crate::support::client::read_response;
use crate::support::{App, SOON, connect, pause, read_to_close, send, text};
use crate::upload_tails::accepts_early;

const TRAILERS: &str = "0\r\nX-Sum: 1\r\n\r\n";

/// It is idle as any other.
#[test]
fn a_client_that_idles_behind_trailers_does_not_hold_a_drain() {
    let (seen, bodies) = channel();
    let replica = accepts_early(b"0\r\nx-sum: 1\r\n\r\n", seen);
    let waits = "request_body = \"10m\"\nclient_idle = \"10m\"\ndrain = \"10m\"\ndrain_idle = \"300ms\"";
    for is_before in [true, false] {
        let app = App::builder(&[replica.address]).timeouts(waits).start();
        let mut client = connect(app.address);
        let fields = "Host: a.test\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked";
        send(&mut client, format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n5\r\nbegin\r\n"));
        assert_eq!(read_response(&mut client, false).status, 202);
        if is_before {
            send(&mut client, TRAILERS);
            assert!(bodies.recv_timeout(SOON).unwrap().1);
        }
        app.stop();
        pause("the drain begins", 100);
        if !is_before {
            send(&mut client, TRAILERS);
            assert!(bodies.recv_timeout(SOON).unwrap().1);
        }
        assert_eq!(read_to_close(&mut client), (Vec::new(), true));
        assert_eq!(app.wait(), Ended::Drained);
    }
}

/// The library asks for the rest of the head then, and still has not told of the trailers.
#[test]
fn a_piece_of_the_next_head_holds_neither_the_end_of_an_upload_nor_a_drain() {
    const NEXT: &str = "\r\nPOST /n\u{e9}xt HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n";
    let waits = "request_body = \"10m\"\nrequest_head = \"1s\"\ndrain = \"10m\"\ndrain_idle = \"300ms\"";
    // Behind the blank line, the method, half of a character, the target, the name of a field, and the last field.
    for cut in [2, 3, 10, 14, 27, NEXT.len() - 2] {
        let (seen, bodies) = channel();
        let replica = accepts_early(b"0\r\nx-sum: 1\r\n\r\n", seen);
        let app = App::builder(&[replica.address]).timeouts(waits).start();
        let [mut goes_on, mut stays] = [(); 2].map(|()| {
            let mut client = connect(app.address);
            let fields = "Host: a.test\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked";
            send(&mut client, format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n5\r\nbegin\r\n"));
            assert_eq!(read_response(&mut client, false).status, 202);
            send(&mut client, [TRAILERS.as_bytes(), &NEXT.as_bytes()[..cut]].concat());
            let (body, is_whole) = bodies.recv_timeout(SOON).unwrap();
            assert!(is_whole, "cut at {cut}: {body:?}");
            client
        });
        send(&mut goes_on, &NEXT.as_bytes()[cut..]);
        assert_eq!(read_response(&mut goes_on, false).status, 202, "cut at {cut}");
        app.stop();
        // The rest of a head is awaited as long as of any.
        read_to_close(&mut stays);
        assert_eq!(app.wait(), Ended::Drained, "cut at {cut}");
    }
}

/// Its connection is closed, but it still reads, and the end of its upload comes too late: that must not reset what it
/// has not read.
#[test]
fn a_client_that_is_given_up_still_reads_its_response() {
    // More than a client has room for that reads nothing, less than the kernel takes from us.
    const LENGTH: usize = 600_000;
    let (seen, bodies) = channel();
    let replica = Backend::start(move |peer| {
        if peer.next_head().is_some_and(|head| head.starts_with("POST")) {
            send(&mut peer.stream, format!("HTTP/1.1 202 Accepted\r\nContent-Length: {LENGTH}\r\n\r\n"));
            send(&mut peer.stream, vec![b'r'; LENGTH]);
            while !peer.ahead.ends_with(b"0\r\n\r\n") && peer.fill().is_some() {}
            seen.send(text(&peer.ahead)).unwrap();
        }
    });
    let app = App::builder(&[replica.address]).timeouts("request_body = \"200ms\"").workers(1).start();
    let mut client = connect(app.address);
    send(&mut client, "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n");
    assert_eq!(bodies.recv_timeout(SOON).unwrap(), "5\r\nbegin\r\n", "it broke off, because the client was given up");
    send(&mut client, "3\r\nend\r\n0\r\n\r\n");
    pause("a reset would have come meanwhile", 100);
    let (response, is_orderly) = read_to_close(&mut client);
    assert!(response.starts_with(b"HTTP/1.1 202 "), "{}", text(&response[..response.len().min(200)]));
    let content = response.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|end| response.len() - end - 4);
    assert_eq!((content, is_orderly), (Some(LENGTH), true));
}
