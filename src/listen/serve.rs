//! One client connection from its first byte to its last: what precedes HTTP, then HTTP/1.1 or HTTP/2.

use std::net::SocketAddr;
use std::rc::Rc;

use super::conn::{Accepted, Opened};
use super::listener::{ListenerState, Speaks};
use super::permits::Peers;
use super::{Registration, h1, h2};
use crate::net::Stream;
use crate::net::socket::Socket;
use crate::proxy::client::Proxy;
use crate::proxy::connection::{Arrival, Connection};

/// Serves `stream` until either side closes it. `peers` counts the clients that PROXY headers name.
pub(crate) async fn serve(
    stream: Stream,
    peer: SocketAddr,
    listener: Rc<ListenerState>,
    proxy: Rc<Proxy>,
    peers: Peers,
    registration: Registration,
) {
    let socket = Socket::new(stream, Rc::clone(&proxy.outbox));
    let mut accepted = Accepted { peer, is_anonymous: false, listener, proxy, registration };
    // Boxed, as HTTP/2 is below: an HTTP/1.1 connection that waits for its next request should need little room.
    let Some((opened, _permit)) = Box::pin(accepted.open(socket, &peers)).await else { return };
    let Opened { transport, is_h2, proof } = opened;
    let listener = &accepted.listener;
    let connection = Connection::new(Arrival {
        peer: accepted.peer,
        socket: Rc::downgrade(&transport.socket),
        is_anonymous: accepted.is_anonymous,
        is_tls: listener.settings.tls.is_some(),
        proof,
        rules: Rc::clone(&listener.rules),
        draining_since: Rc::clone(listener.since(if is_h2 { Speaks::Http2 } else { Speaks::Http1 })),
    });
    if is_h2 {
        Box::pin(h2::serve(accepted, transport, connection)).await;
    } else {
        h1::serve(accepted, transport, connection).await;
    }
}
