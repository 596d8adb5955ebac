//! A client connection that speaks HTTP/1.1 or HTTP/1.0.
//!
//! hyper speaks the protocol. This file adds what it leaves out: the deadlines (see [`crate::deadlines`]), the end when
//! the listener drains, and a close that does not destroy a response the client has not read yet.

use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};

use super::client_io::{ClientIo, ClientTransport};
use super::conn::{Accepted, FIRST_REQUEST_WHEN_DRAINING};
use super::{ListenerState, refused};
use crate::config::model::{Limits, Timeouts};
use crate::deadlines::{Alarm, Wait};
use crate::link::request_body::ClientBody;
use crate::net::outbox::Socket;
use crate::proxy;
use crate::proxy::body::ResponseBody;
use crate::proxy::client::{Client, Connection, Proxy};

/// Header fields of a request that hyper holds without an allocation: its own default for `max_headers`.
const FIELDS_INLINE: usize = 100;

/// A connection without a request for this long is parked: its buffers are freed, and allocated again for the next
/// request.
const PARK_AFTER: Duration = Duration::from_secs(1);

/// Serves requests until either side closes.
pub(super) async fn serve(accepted: Accepted, transport: ClientTransport, connection: Rc<Connection>) {
    let Accepted { peer, listener, proxy, registration, .. } = accepted;
    let view = proxy.viewer.current();
    let Timeouts { request_head, client_write, client_idle, .. } = view.snapshot.timeouts;
    let builder = builder(&view.snapshot.limits);
    drop(view);
    let client = Rc::new(Client::new(connection));
    let socket = Rc::clone(&transport.socket);
    let io = ClientIo::h1(transport, Rc::clone(&client), request_head, client_write);
    let worker = Rc::clone(&proxy);
    let service = service_fn({
        let client = Rc::clone(&client);
        move |request: Request<Incoming>| {
            proxy::handle(Rc::clone(&proxy), Rc::clone(&client), request.map(ClientBody::Http1))
        }
    });
    // Boxed, so that a parked connection does not even keep room for it.
    let mut connection = Box::new(builder.serve_connection(io, service));
    // Dropped before the connection, whose drop ends the request under way. So the guard still sees whether there is
    // one.
    let guard = ResetUnlessWhole { socket, client: Rc::clone(&client) };
    let mut lifecycle =
        Lifecycle { listener, client_idle, is_draining: false, is_hurried: false, alarm: Alarm::default() };
    let end = loop {
        let end = poll_fn(|cx| {
            registration.follow(cx);
            lifecycle.poll(Pin::new(&mut *connection), &client, cx)
        })
        .await;
        match end {
            End::Over(Err(error)) if client.was_refused_below() => {
                let (io, service) = refused::substitute(connection, &error, &client);
                connection = Box::new(builder.serve_connection(io, service));
                continue;
            }
            End::Idle => {}
            end => break end,
        }
        let (io, service) = take_apart(connection);
        let parked = Parked::begin(&worker);
        let end = poll_fn(|cx| lifecycle.poll_parked(&io, &client, cx)).await;
        drop(parked);
        match end {
            ParkedEnd::Heard => connection = Box::new(builder.serve_connection(io, service)),
            ParkedEnd::Silent => {
                tracing::debug!(%peer, "client connection closed: the client was silent for too long");
                return;
            }
        }
    };
    match end {
        End::Over(result) => {
            result.inspect_err(|error| tracing::debug!(%peer, %error, "client connection ended")).ok();
            if let Some(tunnel) = client.take_tunnel() {
                let parts = connection.into_parts();
                // Boxed: most connections never become a tunnel, and their tasks need no room for one.
                Box::pin(tunnel.run(parts.io, parts.read_buf, &client)).await;
            }
        }
        End::Silent | End::Idle => {
            tracing::debug!(%peer, "client connection closed: the client was silent for too long");
        }
    }
    drop(guard);
}

/// Why polling a connection came to an end.
enum End {
    /// hyper has finished the connection.
    Over(hyper::Result<()>),
    /// The client was silent until its deadline passed.
    Silent,
    /// There was no request for [`PARK_AFTER`]: the connection is to be parked.
    Idle,
}

/// Why a parked connection is parked no more.
enum ParkedEnd {
    /// There is something to read, or its listener drains.
    Heard,
    /// The client was silent until its deadline passed.
    Silent,
}

/// The state of a connection that outlives its parking.
struct Lifecycle {
    listener: Rc<ListenerState>,
    client_idle: Duration,
    is_draining: bool,
    is_hurried: bool,
    alarm: Alarm,
}

impl Lifecycle {
    fn poll<S>(
        &mut self,
        mut connection: Pin<&mut http1::Connection<ClientIo, S>>,
        client: &Client,
        cx: &mut Context<'_>,
    ) -> Poll<End>
    where
        S: HttpService<Incoming, ResBody = ResponseBody, Error = Infallible>,
    {
        let Self { listener, client_idle, is_draining, is_hurried, alarm } = self;
        let deadlines = &client.deadlines;
        alarm.poll_step(deadlines, cx, |cx| {
            if deadlines.expired(Wait::ClientWrite) {
                client.cut();
                return Poll::Ready(End::Silent);
            }
            if deadlines.expired(Wait::Client) {
                return Poll::Ready(End::Silent);
            }
            if deadlines.expired(Wait::Park) {
                deadlines.disarm(Wait::Park);
                let is_writing = deadlines.is_armed(Wait::ClientWrite);
                if !client.is_busy() && !is_writing && !client.is_in_head() && !*is_draining {
                    return Poll::Ready(End::Idle);
                }
            }
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                return Poll::Ready(End::Over(result));
            }
            if listener.is_draining() && !*is_draining {
                // hyper would close a connection that has not had its first request. That request may be on its way
                // already.
                if !client.is_fresh() {
                    *is_draining = true;
                    connection.as_mut().graceful_shutdown();
                    if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                        return Poll::Ready(End::Over(result));
                    }
                } else if !std::mem::replace(is_hurried, true) {
                    deadlines.arm_in(Wait::Client, FIRST_REQUEST_WHEN_DRAINING);
                }
            }
            let is_writing = deadlines.is_armed(Wait::ClientWrite);
            if !client.is_busy() && !is_writing && !deadlines.is_armed(Wait::Client) {
                deadlines.arm(Wait::Client, client.idle_since() + *client_idle);
                deadlines.arm(Wait::Park, client.idle_since() + PARK_AFTER);
            }
            Poll::Pending
        })
    }

    /// Waits for the next request of a parked connection, with nothing but the socket.
    fn poll_parked(&mut self, io: &ClientIo, client: &Client, cx: &mut Context<'_>) -> Poll<ParkedEnd> {
        let Self { listener, alarm, .. } = self;
        alarm.poll_step(&client.deadlines, cx, |cx| {
            if io.poll_heard(cx).is_ready() || listener.is_draining() {
                return Poll::Ready(ParkedEnd::Heard);
            }
            if client.deadlines.expired(Wait::Client) { Poll::Ready(ParkedEnd::Silent) } else { Poll::Pending }
        })
    }
}

/// Reduces a connection to what is needed to make it again. This is a function of its own because a future would keep
/// room for its variables across every await.
#[expect(clippy::boxed_local, reason = "the box shall go too")]
fn take_apart<S>(connection: Box<http1::Connection<ClientIo, S>>) -> (ClientIo, S)
where
    S: HttpService<Incoming, ResBody = ResponseBody, Error = Infallible>,
{
    let http1::Parts { mut io, read_buf, service, .. } = connection.into_parts();
    io.unread(&read_buf);
    (io, service)
}

/// Counts a connection while it is parked.
struct Parked<'a>(&'a Proxy);

impl<'a> Parked<'a> {
    fn begin(worker: &'a Proxy) -> Self {
        worker.cell().parked.raise();
        Self(worker)
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.cell().parked.lower();
    }
}

/// Resets a connection that ends in the middle of a response, for whatever reason. With an orderly close, a response
/// without a length would look complete.
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
        // A tunnel that never started is dropped. It holds the client, and the client holds it: the cycle must be
        // broken.
        drop(self.client.take_tunnel());
    }
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(limits.request_head.max(64 * 1024)).max_header_size(limits.request_head);
    // Up to its own default hyper keeps the fields on the stack. With any other bound it allocates for each request.
    if limits.request_fields != FIELDS_INLINE {
        builder.max_headers(limits.request_fields);
    }
    // Deadlines are kept outside of hyper, see [`crate::deadlines`].
    builder.header_read_timeout(None::<Duration>);
    builder
}
