//! Heads that hyper refuses by itself. It would answer with a bare status, below the place where responses get their
//! name, their line in the access log and their counter.
//!
//! [`super::client_io::ClientIo`] does not let such an answer out. Instead the connection is made again, and reads a
//! head that stands for the refused one: the proxy answers that one as it answers everything else that it refuses.

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper_util::rt::TokioIo;

use super::shared_io::SharedIo;
use crate::proxy::body::ResponseBody;
use crate::proxy::client::Client;
use crate::proxy::refusal::RefusedHead;

/// What is read in the place of a refused head.
const SUBSTITUTE: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\n\r\n";

/// Takes apart a connection whose next head was refused, so that it can be made again.
#[expect(clippy::boxed_local, reason = "the box shall go too")]
pub(super) fn substitute<S>(
    connection: Box<http1::Connection<TokioIo<SharedIo>, S>>,
    error: &hyper::Error,
    client: &Client,
) -> (SharedIo, S)
where
    S: HttpService<Incoming, ResBody = ResponseBody, Error = std::convert::Infallible>,
{
    let http1::Parts { io, read_buf, service, .. } = connection.into_parts();
    let io = io.into_inner();
    client.refuse_head(Box::new(RefusedHead::of(error, &read_buf)));
    io.go_on_with(SUBSTITUTE);
    (io, service)
}
