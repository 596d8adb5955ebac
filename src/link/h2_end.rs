//! The end of a stream whose response has been passed on whole.
//!
//! Many servers end a stream with an empty DATA frame of its own (RFC 9113 section 8.1), behind the last byte of a body
//! of known length, or behind a head without content. A client of HTTP/1.1 has got everything by then, and nobody reads
//! on. If the stream were dropped, its endpoint would hear CANCEL, which ends what it still reads of the request.

use std::future::poll_fn;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::timeout;

use super::h2::Lease;
use crate::net::h2::ReceivedBody;

/// How long the end may take that follows a whole response. It needs no longer than the endpoint's next write; trailers
/// that nobody gets may take a moment.
const END_AWAITED: Duration = Duration::from_secs(1);

/// How often as long may pass while the endpoint does not read what it is sent: there may be a part of the request.
const UNREAD_MAX: u32 = 30;

/// Keeps the stream, with its share in the connection, until its end has come, at most for [`END_AWAITED`] since the
/// endpoint was last sent all that h2 has. If there is content all the same, the endpoint hears CANCEL.
pub(super) fn wait_for_end(mut body: ReceivedBody, lease: Box<Lease>) {
    // Mostly the end has come in the same read.
    if body.poll_frame(&mut Context::from_waker(Waker::noop())).is_ready() {
        return;
    }
    spawn_local(async move {
        for _ in 0..UNREAD_MAX {
            let is_over = timeout(END_AWAITED, poll_fn(|cx| body.poll_frame(cx))).await.is_ok();
            if is_over || !lease.shared.seen.is_behind() {
                break;
            }
        }
        drop(body);
        drop(lease);
    });
}
