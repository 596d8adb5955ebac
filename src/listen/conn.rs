//! One client connection from its first byte to its last: what comes before HTTP, and who speaks it then.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use hyper::rt::ReadBuf;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::client_io::{Session, Transport};
use super::tls::ServerTls;
use super::{ListenerState, Registration, h1, h2};
use crate::config::model::Protocols;
use crate::deadlines::{Alarm, Deadlines, Wait};
use crate::outbox::{Socket, SocketIo};
use crate::pem::ALPN_H2;
use crate::proxy::{Arrival, Connection, Identity, Proxy};

/// How long a connection that has not had its first request may wait for it when its listener drains.
pub(super) const FIRST_REQUEST_WHEN_DRAINING: Duration = Duration::from_secs(1);

/// What every client that speaks HTTP/2 sends first (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// So much of it tells it from any method of HTTP/1.1.
const PREFACE_TOLD: usize = 4;

/// Who came, where, and who serves.
pub(super) struct Visit {
    pub(super) peer: SocketAddr,
    pub(super) listener: Rc<ListenerState>,
    pub(super) proxy: Rc<Proxy>,
    pub(super) registration: Registration,
}

/// Serves `stream` until either side closes it.
pub(crate) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    listener: Rc<ListenerState>,
    proxy: Rc<Proxy>,
    registration: Registration,
) {
    let socket = Socket::new(stream, Rc::clone(&proxy.outbox));
    let visit = Visit { peer, listener, proxy, registration };
    let Some(Opened { transport, is_h2, identity }) = visit.open(socket).await else { return };
    let listener = &visit.listener;
    let trusted = listener.trusts(peer.ip());
    let connection = Connection::new(Arrival {
        peer: peer.ip(),
        trusted,
        is_tls: listener.tls.is_some(),
        identity,
        redirect_to_https: listener.redirect_to_https,
        draining_since: Rc::clone(&listener.draining_since),
    });
    if is_h2 { h2::serve(visit, transport, connection).await } else { h1::serve(visit, transport, connection).await }
}

/// A connection that is ready for its first request.
struct Opened {
    transport: Transport,
    is_h2: bool,
    identity: Option<Identity>,
}

impl Visit {
    /// What comes before HTTP; `None` if that is the end.
    async fn open(&self, socket: Rc<Socket>) -> Option<Opened> {
        let timeouts = &self.proxy.viewer.current().snapshot.timeouts;
        let (tls_handshake, request_head) = (timeouts.tls_handshake, timeouts.request_head);
        let opened = match (&self.listener.tls, self.listener.protocols) {
            (Some(tls), protocols) => self.within(tls_handshake, handshake(socket, tls, protocols)).await,
            (None, Protocols { h1: true, h2: true }) => {
                let told = self.within(request_head, tell(&socket)).await;
                told.map(|(ahead, is_h2)| plain(socket, ahead, is_h2))
            }
            (None, Protocols { h2, .. }) => Ok(plain(socket, Vec::new(), h2)),
        };
        opened.inspect_err(|error| tracing::debug!(peer = %self.peer, %error, "client connection not opened")).ok()
    }

    /// Waits for what comes before the first request: for `timeout`, and not much longer once the listener drains.
    async fn within<T>(&self, timeout: Duration, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let deadlines = Deadlines::default();
        deadlines.arm_in(Wait::Client, timeout);
        let (mut step, mut alarm) = (pin!(step), pin!(Alarm::default()));
        let (mut is_registered, mut is_hurried) = (false, false);
        poll_fn(|cx| {
            if !std::mem::replace(&mut is_registered, true) {
                self.registration.set_waker(cx.waker());
            }
            if let Poll::Ready(result) = step.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            if self.listener.is_draining() && !std::mem::replace(&mut is_hurried, true) {
                deadlines.arm_in(Wait::Client, FIRST_REQUEST_WHEN_DRAINING);
            }
            ready!(alarm.as_mut().poll_ring(&deadlines, cx));
            Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
        })
        .await
    }
}

fn plain(socket: Rc<Socket>, ahead: Vec<u8>, is_h2: bool) -> Opened {
    Opened { transport: Transport { socket, session: None, ahead }, is_h2, identity: None }
}

/// Reads until it is clear whether the client begins with HTTP/2; what was read is part of it.
async fn tell(socket: &Socket) -> io::Result<(Vec<u8>, bool)> {
    let mut ahead = Vec::new();
    loop {
        poll_fn(|cx| {
            let mut space = [0; PREFACE.len()];
            let mut read = ReadBuf::new(&mut space[ahead.len()..]);
            ready!(socket.poll_read(cx, read.unfilled()))?;
            if read.filled().is_empty() {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof)));
            }
            ahead.extend_from_slice(read.filled());
            Poll::Ready(Ok(()))
        })
        .await?;
        let told = ahead.len().min(PREFACE_TOLD);
        if ahead[..told] != PREFACE[..told] {
            return Ok((ahead, false));
        }
        if ahead.len() >= PREFACE_TOLD {
            return Ok((ahead, true));
        }
    }
}

async fn handshake(socket: Rc<Socket>, tls: &ServerTls, protocols: Protocols) -> io::Result<Opened> {
    let acceptor = TlsAcceptor::from(tls.config());
    let session: Session = acceptor.accept(TokioIo::new(SocketIo(Rc::clone(&socket)))).await?;
    let (_, state) = session.get_ref();
    let is_h2 = state.alpn_protocol() == Some(ALPN_H2) || !protocols.h1;
    let identity = state.peer_certificates().and_then(|chain| Identity::of(chain.first()?));
    let session = Some(Box::new(TokioIo::new(session)));
    Ok(Opened { transport: Transport { socket, session, ahead: Vec::new() }, is_h2, identity })
}
