//! One client connection from its first byte to its last: what precedes HTTP, then HTTP/1.1 or HTTP/2.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::conn::{Accepted, Opened};
use super::listener::Speaks;
use super::parked::{Parked, ParkedEnd};
use super::permits::Peers;
use super::{LoadGuard, h1, h2};
use crate::net::Stream;
use crate::net::socket::Socket;
use crate::proxy::client::Proxy;

/// A connection that is served, as its task polls it. It is small, because most connections of a busy proxy wait for
/// their next request: what serves requests is boxed, and freed while the connection is parked.
pub(crate) struct Serving {
    stage: Stage,
    proxy: Rc<Proxy>,
    _load: LoadGuard,
}

enum Stage {
    /// It is opened, or its requests are served. It ends with a connection to be parked, unless that is over.
    Busy(Pin<Box<dyn Future<Output = Option<Parked>>>>),
    /// The next request is awaited.
    Parked(Parked),
    /// The connection is over.
    Over,
}

impl Serving {
    /// Serves `stream` until either side closes it. `peers` counts the clients that PROXY headers name, `load` the
    /// connections of this worker.
    pub(crate) fn begin(stream: Stream, accepted: Accepted, peers: Peers, load: LoadGuard) -> Self {
        let proxy = Rc::clone(&accepted.proxy);
        Self { stage: Stage::Busy(Box::pin(open(stream, accepted, peers))), proxy, _load: load }
    }
}

impl Future for Serving {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let _panics = PanicCount(&this.proxy);
        loop {
            this.stage = match &mut this.stage {
                Stage::Busy(busy) => ready!(busy.as_mut().poll(cx)).map_or(Stage::Over, Stage::Parked),
                Stage::Parked(parked) => match ready!(parked.poll(cx)) {
                    ParkedEnd::Heard => this.stage.resumed(),
                    ParkedEnd::Silent => Stage::Over,
                },
                Stage::Over => return Poll::Ready(()),
            }
        }
    }
}

impl Stage {
    /// A parked connection is served again.
    fn resumed(&mut self) -> Self {
        match std::mem::replace(self, Self::Over) {
            Self::Parked(parked) => Self::Busy(Box::pin(h1::resume(parked))),
            other => other,
        }
    }
}

async fn open(stream: Stream, mut accepted: Accepted, peers: Peers) -> Option<Parked> {
    let socket = Socket::new(stream, Rc::clone(&accepted.proxy.outbox));
    // Boxed, as HTTP/2 is below: an HTTP/1.1 connection should need little room.
    let Opened { transport, is_h2, proof } = Box::pin(accepted.open(socket, &peers)).await?;
    if is_h2 {
        let connection = accepted.connection(&transport.socket, Speaks::Http2, proof);
        Box::pin(h2::serve(accepted, transport, connection)).await;
        return None;
    }
    let connection = accepted.connection(&transport.socket, Speaks::Http1, proof);
    h1::serve(accepted, transport, connection, None).await
}

/// Counts a connection whose task panics. The runtime catches panics, so other connections go on.
struct PanicCount<'a>(&'a Proxy);

impl Drop for PanicCount<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.cell().panics.add(1);
        }
    }
}
