//! A body that passes as it comes, piece by piece, and is kept on the way.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::log::{Side, Ticket};

/// See the module.
pub(super) struct Tap {
    body: Incoming,
    side: Side,
    /// Where it is kept, if it is.
    ticket: Option<Ticket>,
}

impl Tap {
    pub(super) fn new(body: Incoming, side: Side, ticket: Option<Ticket>) -> Self {
        Self { body, side, ticket }
    }
}

impl Body for Tap {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        if let (Some(Ok(frame)), Some(ticket)) = (&frame, &this.ticket)
            && let Some(data) = frame.data_ref()
        {
            ticket.keep(this.side, data);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
