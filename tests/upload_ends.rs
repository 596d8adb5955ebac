//! How a client connection ends whose upload has ended, or never will, behind an early response.

use std::sync::mpsc::channel;

use unstick::app::Ended;

use crate::support::client::read_response;
use crate::support::{App, SOON, connect, pause, read_to_close, send};
use crate::upload_tails::accepts_early;

const TRAILERS: &str = "0\r\nX-Sum: 1\r\n\r\n";

/// It is idle as any other, though hyper has not told of its trailers.
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
