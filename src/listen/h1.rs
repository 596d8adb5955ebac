//! A client connection that speaks HTTP/1.1 or HTTP/1.0.
//!
//! hyper speaks the protocol. This file and [`super::lifecycle`] add what it leaves out: the deadlines (see
//! [`crate::deadlines`]), the end when the listener drains, and a close that does not destroy a response the client has
//! not read yet.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::client_io::{ClientIo, ClientTransport};
use super::conn::Accepted;
use super::lifecycle::{End, Lifecycle};
use super::listener::Speaks;
use super::parked::{Parked, take_apart};
use super::refused;
use super::reset::ResetUnlessWhole;
use super::shared_io::SharedIo;
use crate::config::model::Limits;
use crate::deadlines::Alarm;
use crate::link::client_body::ClientBody;
use crate::proxy;
use crate::proxy::body::ResponseBody;
use crate::proxy::client::Client;
use crate::proxy::connection::Connection;

/// Header fields of a request that hyper holds without an allocation: its own default for `max_headers`.
const FIELDS_INLINE: usize = 100;

/// Serves requests again. What only a parked connection needs is dropped before.
pub(super) fn resume(mut parked: Parked) -> impl Future<Output = Option<Parked>> {
    let connection = parked.take_connection();
    let Parked { accepted, transport, idle_since, .. } = parked;
    serve(accepted, transport, connection, Some(idle_since))
}

/// Serves requests until either side closes, or until the connection is to be parked. Its next request is awaited since
/// `idle_since`, unless it is the first.
pub(super) async fn serve(
    accepted: Accepted,
    transport: ClientTransport,
    connection: Rc<Connection>,
    idle_since: Option<Instant>,
) -> Option<Parked> {
    let (peer, proxy) = (accepted.peer, Rc::clone(&accepted.proxy));
    let view = proxy.viewer.current();
    let builder = builder(&view.snapshot.limits);
    drop(view);
    let client = Rc::new(Client::new(connection));
    client.set_idle_since(idle_since);
    let socket = Rc::clone(&transport.socket);
    let io = SharedIo::new(ClientIo::new(transport, Rc::clone(&client), Rc::clone(&proxy), Speaks::Http1));
    let worker = Rc::clone(&proxy);
    let service = service_fn({
        let client = Rc::clone(&client);
        move |request: Request<Incoming>| {
            client.take_head(&request);
            proxy::handle(Rc::clone(&proxy), Rc::clone(&client), request.map(ClientBody::Http1))
        }
    });
    // Boxed, so that a parked connection does not even keep room for it.
    let mut connection = Box::new(builder.serve_connection(TokioIo::new(io.clone()), service));
    // Dropped before the connection, whose drop ends the request under way. So the guard still sees whether there is
    // one.
    let guard = ResetUnlessWhole::new(Rc::clone(&socket), Rc::clone(&client));
    let lifecycle = Lifecycle {
        peer,
        listener: Rc::clone(&accepted.listener),
        worker: Rc::clone(&worker),
        client: Rc::clone(&client),
        socket: Rc::clone(&socket),
        io,
        written: Cell::default(),
        began: Instant::now(),
        heard_at: Cell::default(),
    };
    let mut alarm = Alarm::default();
    let end = loop {
        let end = poll_fn(|cx| {
            accepted.registration.follow(cx);
            lifecycle.poll(&mut alarm, Pin::new(&mut *connection), cx)
        })
        .await;
        match end {
            End::Over(Err(error)) if client.was_refused_below() => {
                let (io, service) = refused::substitute(connection, &error, &client);
                connection = Box::new(builder.serve_connection(TokioIo::new(io), service));
                continue;
            }
            End::Whole => {
                let (io, service) = take_apart(connection);
                connection = Box::new(builder.serve_connection(TokioIo::new(io), service));
                continue;
            }
            End::Idle => {
                let (io, service) = take_apart(connection);
                if io.holds_nothing() {
                    let (transport, connection) = (io.take_transport(), Rc::clone(&client.connection));
                    return Some(Parked::begin(accepted, transport, connection, client.idle_since()));
                }
                // A part of the next head came together with the latest request. Then its rest is awaited.
                connection = Box::new(builder.serve_connection(TokioIo::new(io), service));
            }
            end => break end,
        }
    };
    finish(end, connection, &lifecycle, &mut alarm, guard).await;
    drop((lifecycle, socket));
    if client.keeps_passing() {
        Box::pin(client.pass_rests_on(&mut |cx| accepted.registration.follow(cx))).await;
    }
    None
}

/// What follows when hyper has finished, or was given up: the tunnel, or a goodbye. Then `guard` is dropped, still
/// before the connection.
async fn finish<S>(
    end: End,
    connection: Box<http1::Connection<TokioIo<SharedIo>, S>>,
    lifecycle: &Lifecycle,
    alarm: &mut Alarm,
    guard: ResetUnlessWhole,
) where
    S: HttpService<Incoming, ResBody = ResponseBody, Error = Infallible>,
{
    let (client, peer) = (&lifecycle.client, lifecycle.peer);
    match end {
        End::Over(result) => {
            let result = result.inspect_err(|error| tracing::debug!(%peer, %error, "client connection ended"));
            if let Some(tunnel) = client.take_tunnel() {
                let parts = connection.into_parts();
                // Boxed: most connections never become a tunnel, and their tasks need no room for one.
                Box::pin(tunnel.run(parts.io.into_inner(), parts.read_buf, client)).await;
            } else if result.is_ok() && !lifecycle.io.is_shut() {
                Box::pin(lifecycle.shut(alarm)).await;
            }
        }
        End::GivenUp => {
            tracing::debug!(%peer, "client connection closed: the client sent no more of its body");
            // hyper says then that the body breaks off. The client may still read its response.
            drop((guard, connection));
            return Box::pin(lifecycle.shut(alarm)).await;
        }
        End::Gone(error) => tracing::debug!(%peer, %error, "client connection ended"),
        End::Silent | End::Idle | End::Whole => {
            tracing::debug!(%peer, "client connection closed: the client was silent for too long");
            lifecycle.say_goodbye().await;
        }
    }
    drop(guard);
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(limits.request_head.max(64 * 1024)).max_header_size(limits.request_head);
    // Up to its own default hyper keeps the fields on the stack. With any other bound it allocates for each request.
    if limits.request_fields != FIELDS_INLINE {
        builder.max_headers(limits.request_fields);
    }
    // Deadlines are kept outside of hyper, see [`crate::deadlines`]. So is the watch for a client that leaves: hyper
    // would take one that has closed only its half for gone.
    builder.header_read_timeout(None::<Duration>).half_close(true);
    builder
}
