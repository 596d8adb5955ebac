//! An HTTP/1.1 connection whose request goes on beside its response: neither may wait for the other.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::Frame;

use super::driver::Driver;
use super::error::Http1Error;
use super::h1::UpstreamConnection;

/// The half that reads the response, and the task that sends the rest of the request. Dropping this ends both.
#[derive(Debug)]
pub(super) struct Split {
    shared: Rc<Shared>,
    driver: Driver,
}

#[derive(Debug)]
struct Shared {
    connection: RefCell<Box<UpstreamConnection>>,
    /// Who waits for the response. The socket wakes it too, but it knows nothing of a request that breaks off.
    reader: RefCell<Option<Waker>>,
    /// The task that sends. Once the response is over, it looks for the end of the connection too.
    sender: RefCell<Option<Waker>>,
}

impl Split {
    pub(super) fn begin(connection: Box<UpstreamConnection>) -> Self {
        let shared = Rc::new(Shared {
            connection: RefCell::new(connection),
            reader: RefCell::default(),
            sender: RefCell::default(),
        });
        let sender = Rc::clone(&shared);
        Self { shared, driver: Driver::spawn(poll_fn(move |cx| sender.poll_rest(cx))) }
    }

    /// The next part of the body.
    pub(super) fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Http1Error>>> {
        let polled = self.shared.connection.borrow_mut().poll_body(cx);
        if polled.is_pending() {
            *self.shared.reader.borrow_mut() = Some(cx.waker().clone());
        } else if self.is_end_stream() {
            self.shared.wake_sender();
        }
        polled
    }

    /// See [`UpstreamConnection::is_end_stream`].
    pub(super) fn is_end_stream(&self) -> bool {
        self.shared.connection.borrow().is_end_stream()
    }

    /// See [`UpstreamConnection::body_left`].
    pub(super) fn body_left(&self) -> Option<u64> {
        self.shared.connection.borrow().body_left()
    }

    /// The response is no longer read. The task goes on.
    pub(super) fn into_driver(self) -> Driver {
        self.shared.wake_sender();
        self.driver
    }
}

impl Shared {
    fn wake_sender(&self) {
        self.sender.take().iter().for_each(Waker::wake_by_ref);
    }

    fn poll_rest(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut connection = self.connection.borrow_mut();
        let polled = connection.poll_rest(cx);
        if polled.is_pending() {
            *self.sender.borrow_mut() = Some(cx.waker().clone());
        }
        if ready!(polled).is_err() {
            connection.break_off();
            self.reader.take().iter().for_each(Waker::wake_by_ref);
        }
        Poll::Ready(())
    }
}
