//! What a connection of HTTP/1.1 becomes while it is parked, and how many are.

use std::convert::Infallible;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper_util::rt::TokioIo;

use super::shared_io::SharedIo;
use crate::proxy::body::ResponseBody;
use crate::proxy::client::Proxy;

/// Counts a connection while it is parked.
pub(super) struct Parked<'a>(&'a Proxy);

impl<'a> Parked<'a> {
    pub(super) fn begin(worker: &'a Proxy) -> Self {
        worker.cell().parked.raise();
        Self(worker)
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.cell().parked.lower();
    }
}

/// Why a parked connection is parked no more.
pub(super) enum ParkedEnd {
    /// There is something to read.
    Heard,
    /// The client was silent until its deadline passed.
    Silent,
}

/// Reduces a connection to what is needed to make it again. This is a function of its own because a future would keep
/// room for its variables across every await.
#[expect(clippy::boxed_local, reason = "the box shall go too")]
pub(super) fn take_apart<S>(connection: Box<http1::Connection<TokioIo<SharedIo>, S>>) -> (SharedIo, S)
where
    S: HttpService<Incoming, ResBody = ResponseBody, Error = Infallible>,
{
    let http1::Parts { io, read_buf, service, .. } = connection.into_parts();
    let io = io.into_inner();
    io.unread(&read_buf);
    (io, service)
}
