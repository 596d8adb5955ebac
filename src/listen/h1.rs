//! A client connection that speaks HTTP/1.1 or HTTP/1.0.
//!
//! hyper speaks; this file adds what it leaves out: the deadlines (see [`crate::deadlines`]), the end when the listener drains,
//! and a close that does not destroy an answer the client has not read yet.

use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;

use super::client_io::{ClientIo, Transport};
use super::conn::{FIRST_REQUEST_WHEN_DRAINING, Visit};
use crate::config::model::{Limits, Timeouts};
use crate::deadlines::{Alarm, Wait};
use crate::outbox::Socket;
use crate::proxy::{self, Client, Connection};

/// What hyper holds of a request head without looking for it on the heap.
const FIELDS_INLINE: usize = 100;

/// Serves until either side closes.
pub(super) async fn serve(visit: Visit, transport: Transport, connection: Rc<Connection>) {
    let Visit { peer, listener, proxy, registration } = visit;
    let view = proxy.viewer.current();
    let Timeouts { request_head, client_write, client_idle, .. } = view.snapshot.timeouts;
    let builder = builder(&view.snapshot.limits);
    drop(view);
    let client = Rc::new(Client::new(connection));
    let socket = Rc::clone(&transport.socket);
    let io = ClientIo::h1(transport, Rc::clone(&client), request_head, client_write);
    let service = service_fn({
        let client = Rc::clone(&client);
        move |request| proxy::handle(Rc::clone(&proxy), Rc::clone(&client), request)
    });
    let mut connection = builder.serve_connection(io, service);
    // Dropped before the connection, which ends what is under way.
    let guard = ResetUnlessWhole { socket, client: Rc::clone(&client) };
    let mut is_over = false;
    let mut alarm = pin!(Alarm::default());
    let (mut is_draining, mut is_hurried, mut is_registered) = (false, false, false);
    poll_fn(|cx| {
        if !std::mem::replace(&mut is_registered, true) {
            registration.set_waker(cx.waker());
        }
        loop {
            if let Poll::Ready(result) = Pin::new(&mut connection).poll(cx) {
                result.inspect_err(|error| tracing::debug!(%peer, %error, "client connection ended")).ok();
                is_over = true;
                return Poll::Ready(());
            }
            if listener.is_draining() && !is_draining {
                // hyper would close a connection that has not had its first request, which may be on its way already.
                if client.is_fresh() {
                    if !std::mem::replace(&mut is_hurried, true) {
                        client.deadlines.arm_in(Wait::Client, FIRST_REQUEST_WHEN_DRAINING);
                    }
                } else {
                    is_draining = true;
                    Pin::new(&mut connection).graceful_shutdown();
                    continue;
                }
            }
            let is_writing = client.deadlines.is_armed(Wait::ClientWrite);
            if !client.is_busy() && !is_writing && !client.deadlines.is_armed(Wait::Client) {
                client.deadlines.arm(Wait::Client, client.idle_since() + client_idle);
            }
            ready!(alarm.as_mut().poll_ring(&client.deadlines, cx));
            if client.deadlines.expired(Wait::ClientWrite) {
                client.cut();
            }
            if client.deadlines.expired(Wait::Client) || client.deadlines.expired(Wait::ClientWrite) {
                tracing::debug!(%peer, "client connection closed: the client was silent for too long");
                return Poll::Ready(());
            }
        }
    })
    .await;
    if is_over && let Some(tunnel) = client.take_tunnel() {
        let parts = connection.into_parts();
        tunnel.run(parts.io, parts.read_buf, &client, |waker| registration.set_waker(waker)).await;
    }
    drop(guard);
}

/// Resets a connection that ends in the middle of an answer, however that comes about: closed in order, an answer without a length would
/// look whole.
struct ResetUnlessWhole {
    socket: Rc<Socket>,
    client: Rc<Client>,
}

impl Drop for ResetUnlessWhole {
    fn drop(&mut self) {
        let is_answering = self.client.is_busy() || self.client.deadlines.is_armed(Wait::ClientWrite);
        if is_answering || self.client.was_cut() {
            self.socket.reset_when_closed();
        }
    }
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(limits.request_head.max(64 * 1024)).max_header_size(limits.request_head);
    // Up to its own default hyper keeps the fields on the stack; any other bound makes it allocate for each request.
    if limits.request_fields != FIELDS_INLINE {
        builder.max_headers(limits.request_fields);
    }
    // Deadlines are kept outside of hyper, see `Deadlines`.
    builder.header_read_timeout(None::<Duration>);
    builder
}
