//! Who asks: a client connection, and within it who sends one request after the other.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_utils::CachePadded;
use tokio::time::Instant;

use super::headers::Forwarding;
use super::identity::Proof;
use super::tunnel::Tunnel;
use crate::access_log::AccessLog;
use crate::deadlines::{Deadlines, Wait};
use crate::link::request_body::{Progress, Upload};
use crate::link::view::Viewer;
use crate::metrics::WorkerCell;
use crate::net::outbox::{Outbox, Socket};

/// What all requests of one worker share.
#[derive(Debug)]
pub struct Proxy {
    /// Number of the worker.
    pub worker: usize,
    /// The current snapshot, with the worker's connections.
    pub viewer: Viewer,
    /// What waits to be sent.
    pub(crate) outbox: Rc<Outbox>,
    /// Where finished requests are logged, if they are.
    pub access_log: Option<AccessLog>,
    /// Counters of all workers.
    pub cells: Arc<[CachePadded<WorkerCell>]>,
}

impl Proxy {
    /// This worker's counters.
    pub fn cell(&self) -> &WorkerCell {
        &self.cells[self.worker]
    }
}

/// What all requests of one client connection share.
#[derive(Debug)]
pub struct Connection {
    /// Address of the client.
    pub peer: IpAddr,
    pub(super) forwarding: Forwarding,
    source: SocketAddr,
    socket: Weak<Socket>,
    /// Every request is sent to this port by `https`.
    pub(super) redirect_to_https: Option<u16>,
    /// Since when its listener has been going, if it is.
    draining_since: Rc<Cell<Option<Instant>>>,
}

/// How a client came.
#[derive(Debug)]
pub struct Arrival {
    /// Its address.
    pub peer: SocketAddr,
    /// Its connection.
    pub(crate) socket: Weak<Socket>,
    /// Whether it is one of the listener's `trusted_proxies`.
    pub trusted: bool,
    /// Whether it speaks TLS.
    pub is_tls: bool,
    /// What it has proven to be.
    pub proof: Proof,
    /// Where its listener sends everybody, if it does.
    pub redirect_to_https: Option<u16>,
    /// Since when its listener has been going, if it is.
    pub draining_since: Rc<Cell<Option<Instant>>>,
}

impl Connection {
    /// Takes note of a client.
    pub fn new(arrival: Arrival) -> Rc<Self> {
        let Arrival { peer: source, socket, trusted, is_tls, proof, redirect_to_https, draining_since } = arrival;
        let peer = source.ip().to_canonical();
        let forwarding = Forwarding::new(peer, trusted, is_tls, proof);
        Rc::new(Self { peer, forwarding, source, socket, redirect_to_https, draining_since })
    }

    /// Where the connection comes from; and both ends of it, as far as it has any: over a Unix socket only somebody in front can
    /// have named the first.
    pub(super) fn addresses(&self) -> (SocketAddr, Option<(SocketAddr, SocketAddr)>) {
        let unspecified: IpAddr = match self.source {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let local = self.socket.upgrade().and_then(|socket| socket.local_addr());
        let nowhere = (self.source.port() != 0).then_some(SocketAddr::new(unspecified, 0));
        (self.source, local.or(nowhere).map(|local| (self.source, local)))
    }
}

/// Who sends one request after the other: a connection of HTTP/1, or one stream of HTTP/2.
#[derive(Debug)]
pub struct Client {
    /// The connection.
    pub connection: Rc<Connection>,
    /// Until when each wait may last.
    pub deadlines: Rc<Deadlines>,
    /// How far the body of the latest request got; tells at the end whether the client may still be sending.
    upload: RefCell<Option<Rc<Progress>>>,
    pub(super) is_busy: Cell<bool>,
    /// When the last answer ended.
    pub(super) idle_since: Cell<Option<Instant>>,
    /// Whether the latest answer broke off.
    pub(super) was_cut: Cell<bool>,
    /// Whether the latest request was answered whole.
    pub(super) was_answered: Cell<bool>,
    /// Whether what is awaited of the client is the rest of a head.
    pub(super) in_head: Cell<bool>,
    /// For a stream, how long the client may take to read each part of the answer; who has a socket of its own sees it there.
    read_within: Option<Duration>,
    /// For a stream, the body of its request: who is answered early may go on sending.
    rest: RefCell<Option<Rc<Upload>>>,
    /// What follows the answer that is being sent.
    tunnel: RefCell<Option<Box<Tunnel>>>,
}

impl Client {
    /// The client of a connection.
    pub fn new(connection: Rc<Connection>) -> Self {
        Self {
            connection,
            deadlines: Rc::default(),
            upload: RefCell::default(),
            is_busy: Cell::new(false),
            idle_since: Cell::default(),
            was_cut: Cell::new(false),
            was_answered: Cell::new(false),
            in_head: Cell::new(false),
            read_within: None,
            rest: RefCell::default(),
            tunnel: RefCell::default(),
        }
    }

    /// One of nobody in particular.
    #[cfg(test)]
    pub(super) fn test() -> Self {
        Self::new(Connection::new(Arrival {
            peer: ([127, 0, 0, 1], 1).into(),
            socket: Weak::new(),
            trusted: false,
            is_tls: false,
            proof: Proof::NotAskedFor,
            redirect_to_https: None,
            draining_since: Rc::default(),
        }))
    }

    /// A stream of a connection, whose client must read each part of the answer within `read_within`.
    pub fn of_stream(connection: Rc<Connection>, read_within: Duration) -> Self {
        Self { read_within: Some(read_within), ..Self::new(connection) }
    }

    /// Whether the latest request was answered whole.
    pub fn was_answered(&self) -> bool {
        self.was_answered.get()
    }

    /// A request has come, with this body if it has one.
    pub(super) fn begin_upload(&self, upload: Option<&Rc<Upload>>) {
        *self.upload.borrow_mut() = upload.map(|upload| Rc::clone(upload.progress()));
        if self.read_within.is_some() {
            *self.rest.borrow_mut() = upload.cloned();
        }
    }

    /// Says whether a request is being served.
    pub fn set_busy(&self, is_busy: bool) {
        self.is_busy.set(is_busy);
    }

    /// What the client of a stream is still sending although it has been answered, unless somebody still wants it.
    pub(crate) fn take_rest(&self) -> Option<Rc<Upload>> {
        let rest = self.rest.take()?;
        (self.was_answered() && self.may_still_send() && Rc::strong_count(&rest) == 1).then_some(rest)
    }

    pub(super) fn leave_tunnel(&self, tunnel: Tunnel) {
        *self.tunnel.borrow_mut() = Some(Box::new(tunnel));
    }

    /// What follows when HTTP has ended, if anything does.
    pub fn take_tunnel(&self) -> Option<Box<Tunnel>> {
        self.tunnel.take()
    }

    /// A part of an answer goes to the client.
    pub(super) fn part_begins(&self) {
        if let Some(within) = self.read_within {
            self.deadlines.arm_in(Wait::ClientWrite, within);
        }
    }

    /// The client has read it.
    pub(super) fn part_ended(&self) {
        if self.read_within.is_some() {
            self.deadlines.disarm(Wait::ClientWrite);
        }
    }

    /// Whether a request is being served; otherwise the client's next one is awaited.
    pub fn is_busy(&self) -> bool {
        self.is_busy.get()
    }

    /// Whether there was no request yet.
    pub fn is_fresh(&self) -> bool {
        !self.is_busy.get() && self.idle_since.get().is_none()
    }

    /// Notes whether what is awaited of the client is the rest of a head; returns whether it was.
    pub fn set_in_head(&self, in_head: bool) -> bool {
        self.in_head.replace(in_head)
    }

    /// Whether it is in the middle of a head.
    pub fn is_in_head(&self) -> bool {
        self.in_head.get()
    }

    /// The next request is awaited from now on.
    pub fn begin_idling(&self) {
        self.idle_since.set(Some(Instant::now()));
    }

    /// From when on the client's next request is awaited.
    pub fn idle_since(&self) -> Instant {
        self.idle_since.get().unwrap_or_else(Instant::now)
    }

    /// The answer broke off: the connection must not end as if it were whole.
    pub fn cut(&self) {
        self.was_cut.set(true);
    }

    /// Whether the latest answer broke off.
    pub fn was_cut(&self) -> bool {
        self.was_cut.get()
    }

    /// Since when its listener has been going, if it is.
    pub fn draining_since(&self) -> Option<Instant> {
        self.connection.draining_since.get()
    }

    /// Whether the client is in the middle of a request: the latest one was answered before its body had arrived whole, or its head
    /// was refused.
    pub fn may_still_send(&self) -> bool {
        self.in_head.get() || self.upload.borrow().as_ref().is_some_and(|progress| !progress.ended.get())
    }
}

/// Marks a client as busy until it is dropped; travels with the request and its answer.
#[derive(Debug)]
pub(crate) struct Turn(Rc<Client>);

impl Turn {
    pub(super) fn begin(client: &Rc<Client>) -> Self {
        client.is_busy.set(true);
        client.in_head.set(false);
        // Whoever ends the turn without an exchange sets it.
        client.idle_since.set(None);
        // What the request before waited for, if it ended while something was still under way, is nobody's concern any more.
        for wait in [Wait::Client, Wait::RequestBody, Wait::Upstream, Wait::Request, Wait::Drain, Wait::Park] {
            client.deadlines.disarm(wait);
        }
        Self(Rc::clone(client))
    }
}

impl Turn {
    pub(super) fn client(&self) -> &Client {
        &self.0
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.is_busy.set(false);
        if self.0.idle_since.get().is_none() {
            self.0.idle_since.set(Some(Instant::now()));
        }
    }
}
