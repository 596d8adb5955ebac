//! What goes on with a request beside its response, and after it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::task::{JoinHandle, spawn_local};

use super::h2::Lease;
use super::h2_end::wait_for_end;
use crate::net::h2::ReceivedBody;

/// A task that drives a connection, or sends a request body. Dropping this ends the task.
#[derive(Debug)]
pub struct Driver {
    task: JoinHandle<()>,
    /// The share in a connection of HTTP/2 that it needs as long as it works.
    lease: Option<Box<Lease>>,
    /// The end of the response, if that has not come. While a stream is read, h2 writes what it was given for it.
    end: Option<ReceivedBody>,
}

impl Driver {
    /// Starts the task.
    pub(super) fn spawn(task: impl Future<Output = ()> + 'static) -> Self {
        Self { task: spawn_local(task), lease: None, end: None }
    }

    /// The response is over but for its end.
    pub(super) fn keep_end(&mut self, end: ReceivedBody) {
        self.end = Some(end);
    }

    /// As it goes on when the response is over.
    pub(super) fn with(mut self, lease: Box<Lease>) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Ready when the connection is over: the endpoint has the whole request, or takes no more of it.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        _ = ready!(Pin::new(&mut self.task).poll(cx));
        if let (Some(end), Some(lease)) = (self.end.take(), self.lease.take()) {
            wait_for_end(end, lease);
        }
        Poll::Ready(())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
    }
}
