//! What precedes HTTP on a client connection: a PROXY header, the TLS handshake, the first bytes that tell HTTP/2 from
//! HTTP/1.1.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::{Duration, SystemTime};

use rustls::server::Acceptor;
use tokio::io::ReadBuf;
use tokio::time::Instant;
use tokio_rustls::LazyConfigAcceptor;

use super::Registration;
use super::client_io::ClientTransport;
use super::listener::{ListenerState, Speaks};
use super::permits::{Peers, Permit};
use super::tls::ServerTls;
use crate::config::model::{AcceptProxy, Protocols};
use crate::deadlines::{Alarm, Deadlines, Wait};
use crate::net::pem::ALPN_H2;
use crate::net::proxy_protocol::{self, Parsed};
use crate::net::socket::Socket;
use crate::net::socket_io::SocketIo;
use crate::proxy::client::Proxy;
use crate::proxy::connection::{Arrival, Connection};
use crate::proxy::{Identity, Proof};

/// The client connection preface: every HTTP/2 client sends it first (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// This many bytes rule out every HTTP/1.1 method.
const PREFACE_TOLD: usize = 4;

/// Bytes per read while it is not yet known which protocol the rest belongs to.
const AHEAD: usize = 1024;

/// What holds for a client connection from its beginning to its end: the client, its listener, and what serves it.
pub(crate) struct Accepted {
    pub(super) peer: SocketAddr,
    /// Whether a PROXY header of a trusted proxy named no client address. Such a client is not trusted, though its peer
    /// is.
    pub(super) is_anonymous: bool,
    pub(super) listener: Rc<ListenerState>,
    pub(super) proxy: Rc<Proxy>,
    pub(super) registration: Registration,
    /// Counts it among the connections of its client.
    permit: Option<Permit>,
}

/// What a PROXY header says about the client.
enum Announced {
    /// The address of the client.
    Client(SocketAddr),
    /// No address: the client's is not known, or the connection is the proxy's own.
    Nobody,
    /// There was no header.
    Nothing,
}

/// A connection that is ready for its first request.
pub(super) struct Opened {
    pub(super) transport: ClientTransport,
    pub(super) is_h2: bool,
    pub(super) proof: Proof,
}

impl Accepted {
    /// A connection of `peer`, which may be counted by `permit`, or is counted when its PROXY header has named the
    /// client.
    pub(crate) fn new(
        peer: SocketAddr,
        listener: Rc<ListenerState>,
        proxy: Rc<Proxy>,
        registration: Registration,
        permit: Option<Permit>,
    ) -> Self {
        Self { peer, is_anonymous: false, listener, proxy, registration, permit }
    }

    /// What its requests need to know of it.
    pub(super) fn connection(&self, socket: &Rc<Socket>, speaks: Speaks, proof: Proof) -> Rc<Connection> {
        Connection::new(Arrival {
            peer: self.peer,
            socket: Rc::downgrade(socket),
            is_anonymous: self.is_anonymous,
            is_tls: self.listener.settings.tls.is_some(),
            proof,
            rules: Rc::clone(&self.listener.rules),
            draining_since: Rc::clone(self.listener.since(speaks)),
        })
    }

    /// Does everything that precedes HTTP. `None` means that the connection is over; the reason is in the debug log.
    /// A client for which a proxy in front speaks is counted only here.
    pub(super) async fn open(&mut self, socket: Rc<Socket>, peers: &Peers) -> Option<Opened> {
        let peer = self.peer;
        let opened = self.try_open(socket, peers).await;
        opened.inspect_err(|error| tracing::debug!(%peer, %error, "client connection not opened")).ok()
    }

    async fn try_open(&mut self, socket: Rc<Socket>, peers: &Peers) -> io::Result<Opened> {
        let view = self.proxy.viewer.current();
        let (tls_handshake, request_head) = (view.snapshot.timeouts.tls_handshake, view.snapshot.timeouts.request_head);
        let most = view.snapshot.limits.connections_per_address;
        drop(view);
        let config = &*self.listener.settings.config;
        let (proxy_protocol, protocols) = (config.proxy_protocol, config.protocols);
        if proxy_protocol != AcceptProxy::Off {
            // A client that speaks for itself was counted when it was accepted.
            let was_counted = !self.listener.rules.trusts(self.peer.ip());
            match self.within(&socket, request_head, self.client_of(&socket)).await? {
                Announced::Client(client) => self.peer = client,
                Announced::Nobody => self.is_anonymous = true,
                Announced::Nothing => {}
            }
            if let Some(most) = most.filter(|_| !was_counted) {
                let Some(admitted) = peers.admit(self.peer.ip(), most) else {
                    self.proxy.cell().connections_refused.add(1);
                    return Err(io::Error::other("its address has as many connections as it may have"));
                };
                self.permit = Some(admitted);
            }
        }
        match (&self.listener.settings.tls, protocols) {
            (Some(tls), protocols) => {
                // Boxed: a connection without TLS needs no room for it.
                let shaking_hands = Box::pin(handshake(Rc::clone(&socket), tls, protocols));
                self.within(&socket, tls_handshake, shaking_hands).await
            }
            (None, Protocols { h1: true, h2: true }) => {
                let is_h2 = self.within(&socket, request_head, tell(&socket)).await?;
                Ok(plain(socket, is_h2))
            }
            (None, Protocols { h2, .. }) => Ok(plain(socket, h2)),
        }
    }

    /// Reads the PROXY header, if the peer may or must send one. It fails if a required header is missing or a header
    /// is malformed.
    async fn client_of(&self, socket: &Socket) -> io::Result<Announced> {
        let is_required = self.listener.settings.config.proxy_protocol == AcceptProxy::Require;
        let refuse = |why| Err(io::Error::new(io::ErrorKind::InvalidData, why));
        if !self.listener.rules.trusts(self.peer.ip()) {
            return match is_required {
                true => refuse("a PROXY header is required of a trusted proxy"),
                false => Ok(Announced::Nothing),
            };
        }
        let (mut ahead, parsed) = read_ahead(socket, |ahead| match proxy_protocol::parse(ahead) {
            Parsed::Incomplete => None,
            parsed => Some(parsed),
        })
        .await?;
        match parsed {
            Parsed::Header(length, client) => {
                socket.unread(ahead.split_off(length));
                Ok(client.map_or(Announced::Nobody, Announced::Client))
            }
            Parsed::Other if !is_required => {
                socket.unread(ahead);
                Ok(Announced::Nothing)
            }
            Parsed::Other => refuse("there is no PROXY header"),
            Parsed::Incomplete | Parsed::Invalid => refuse("the PROXY header is broken"),
        }
    }

    /// Waits for one step before the first request, for `timeout` at most. Once the listener drains, a client that has
    /// sent nothing yet gets only as long as one that has no request; one in the middle of a step may finish it.
    async fn within<T>(
        &self,
        socket: &Socket,
        timeout: Duration,
        step: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        let (deadlines, began) = (Deadlines::default(), Instant::now());
        let (mut step, mut alarm) = (pin!(step), Alarm::default());
        poll_fn(|cx| {
            self.registration.follow(cx);
            alarm.poll_step(&deadlines, cx, |cx| {
                if deadlines.expired(Wait::Client) {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                if let Poll::Ready(result) = step.as_mut().poll(cx) {
                    return Poll::Ready(result);
                }
                let until = if socket.was_heard() { None } else { self.draining_until(began) };
                deadlines.arm(Wait::Client, until.map_or(began + timeout, |until| until.min(began + timeout)));
                Poll::Pending
            })
        })
        .await
    }

    /// How long a connection may wait that was accepted at `began` and has sent nothing, if its listener drains.
    fn draining_until(&self, began: Instant) -> Option<Instant> {
        // Which version it will speak is not known yet.
        let speaks = if self.listener.settings.config.protocols.h1 { Speaks::Http1 } else { Speaks::Http2 };
        if !self.listener.is_draining(speaks) {
            return None;
        }
        self.listener.idle_until(speaks, began, true, &self.proxy.viewer.current().snapshot.timeouts)
    }
}

fn plain(socket: Rc<Socket>, is_h2: bool) -> Opened {
    Opened { transport: ClientTransport::new(socket, None), is_h2, proof: Proof::NotAskedFor }
}

/// Reads until `decide` recognises what was sent. The bytes are returned too: the caller uses them or gives them back.
async fn read_ahead<T>(socket: &Socket, decide: impl Fn(&[u8]) -> Option<T>) -> io::Result<(Vec<u8>, T)> {
    let mut ahead = Vec::new();
    loop {
        poll_fn(|cx| {
            let mut space = [0; AHEAD];
            let mut read = ReadBuf::new(&mut space);
            ready!(socket.poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof)));
            }
            ahead.extend_from_slice(read.filled());
            Poll::Ready(Ok(()))
        })
        .await?;
        if let Some(told) = decide(&ahead) {
            return Ok((ahead, told));
        }
    }
}

/// Whether the client speaks HTTP/2: it begins with the preface. The bytes are given back to the socket.
async fn tell(socket: &Socket) -> io::Result<bool> {
    let (ahead, is_h2) = read_ahead(socket, |ahead| {
        let told = ahead.len().min(PREFACE_TOLD);
        if ahead[..told] != PREFACE[..told] {
            return Some(false);
        }
        (ahead.len() >= PREFACE_TOLD).then_some(true)
    })
    .await?;
    socket.unread(ahead);
    Ok(is_h2)
}

async fn handshake(socket: Rc<Socket>, tls: &ServerTls, protocols: Protocols) -> io::Result<Opened> {
    let hello = Box::pin(LazyConfigAcceptor::new(Acceptor::default(), SocketIo(Rc::clone(&socket)))).await?;
    let config = tls.config(hello.client_hello().cipher_suites());
    let session = hello.into_stream(config).await?;
    let (_, state) = session.get_ref();
    let is_h2 = state.alpn_protocol() == Some(ALPN_H2) || !protocols.h1;
    let refuse = |why| io::Error::new(io::ErrorKind::InvalidData, why);
    let proof = match state.peer_certificates().and_then(|chain| chain.first()) {
        Some(leaf) => {
            let identity = Identity::of(leaf).ok_or_else(|| refuse("the client's certificate cannot be read"))?;
            // A client that resumes with a ticket is not verified again, and its certificate may have expired since.
            if identity.has_ended(SystemTime::now()) {
                return Err(refuse("the client's certificate has expired"));
            }
            Proof::Given(identity)
        }
        None if tls.asks_for_certificates() => Proof::None,
        None => Proof::NotAskedFor,
    };
    Ok(Opened { transport: ClientTransport::new(socket, Some(session)), is_h2, proof })
}
