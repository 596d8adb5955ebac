//! A client connection that speaks HTTP/1.1 or HTTP/1.0.
//!
//! [`super::h1_server`] speaks the protocol. This file and [`super::lifecycle`] add what surrounds it: the deadlines
//! (see [`crate::deadlines`]), the end when the listener drains, and a close that does not destroy a response the
//! client has not read yet.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::rc::Rc;

use tokio::time::Instant;

use super::client_io::{ClientIo, ClientTransport};
use super::conn::Accepted;
use super::h1_input::Input;
use super::h1_request::HeadLimits;
use super::h1_server::Server;
use super::lifecycle::{End, Lifecycle};
use super::listener::Speaks;
use super::parked::Parked;
use super::reset::ResetUnlessWhole;
use crate::deadlines::Alarm;
use crate::proxy;
use crate::proxy::client::Client;
use crate::proxy::connection::Connection;

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
    let proxy = Rc::clone(&accepted.proxy);
    let client = Rc::new(Client::new(connection));
    client.set_idle_since(idle_since);
    let socket = Rc::clone(&transport.socket);
    let input = Input::new(ClientIo::new(transport, Rc::clone(&client), Rc::clone(&proxy), Speaks::Http1));
    let limits = head_limits(&proxy);
    // Boxed, so that a parked connection does not even keep room for it.
    let server = Server::new(input.clone(), Rc::clone(&proxy), Rc::clone(&client), limits, proxy::respond);
    let mut server = Box::new(server);
    // Dropped before the server, whose drop ends the request under way. So the guard still sees whether there is one.
    let guard = ResetUnlessWhole::new(Rc::clone(&socket), Rc::clone(&client));
    let lifecycle = Lifecycle {
        peer: accepted.peer,
        listener: Rc::clone(&accepted.listener),
        worker: proxy,
        client: Rc::clone(&client),
        socket: Rc::clone(&socket),
        input,
        written: Cell::default(),
        began: Instant::now(),
        heard_at: Cell::default(),
    };
    let mut alarm = Alarm::default();
    let end = loop {
        let end = poll_fn(|cx| {
            accepted.registration.follow(cx);
            lifecycle.poll(&mut alarm, &mut server, cx)
        })
        .await;
        let End::Idle = end else { break end };
        let transport = lifecycle.input.borrow().take_transport();
        if let Some(transport) = transport {
            let connection = Rc::clone(&client.connection);
            return Some(Parked::begin(accepted, transport, connection, client.idle_since()));
        }
    };
    lifecycle.finish(end, server, &mut alarm, guard).await;
    drop((lifecycle, socket));
    if client.keeps_passing() {
        Box::pin(client.pass_rests_on(&mut |cx| accepted.registration.follow(cx))).await;
    }
    None
}

/// The bounds of a head. They hold for as long as a connection is not parked.
fn head_limits(proxy: &proxy::client::Proxy) -> HeadLimits {
    let limits = &proxy.viewer.current().snapshot.limits;
    HeadLimits { bytes: limits.request_head, fields: limits.request_fields }
}
