//! A client connection, as far as its requests need to know it.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::{Rc, Weak};

use http::HeaderMap;
use tokio::time::Instant;

use super::client_address::ClientAddresses;
use super::forwarding::Forwarding;
use super::identity::Proof;
use super::rules::Rules;
use crate::link::private::PrivateConnections;
use crate::net::socket::Socket;
use crate::rate::{HashedAddress, Limiter};

/// What all requests of one client connection share.
#[derive(Debug)]
pub struct Connection {
    /// The address of the peer, or the one that a PROXY header named. An IPv4-mapped address is given as IPv4.
    pub peer: IpAddr,
    pub(super) forwarding: Forwarding,
    source: SocketAddr,
    socket: Weak<Socket>,
    /// Whether a PROXY header of a trusted proxy named no client address. Such a client is never trusted.
    is_anonymous: bool,
    pub(super) rules: Rc<Rules>,
    /// Which renewal of the rules `forwarding` follows.
    renewal: Cell<u64>,
    /// When its listener began to drain, if it drains.
    pub(super) draining_since: Rc<Cell<Option<Instant>>>,
    /// The hash of `peer` for rates, once one has asked for it.
    rate_hash: Cell<Option<HashedAddress>>,
    /// Connections to endpoints that it alone may use.
    pub(super) private: PrivateConnections,
}

/// What is known about a client when its connection is ready for the first request.
#[derive(Debug)]
pub struct Arrival {
    /// Its address: that of the peer, or the one that a PROXY header named.
    pub peer: SocketAddr,
    /// Its socket. The reference is weak, so that the socket closes when it is no longer served.
    pub(crate) socket: Weak<Socket>,
    /// Whether a PROXY header of a trusted proxy named no client address. Such a client is not trusted, though its peer
    /// is.
    pub is_anonymous: bool,
    /// Whether the connection is TLS.
    pub is_tls: bool,
    /// The certificate it has presented, if it was asked for one.
    pub proof: Proof,
    /// The settings of its listener that hold for each request.
    pub rules: Rc<Rules>,
    /// When its listener began to drain, if it drains.
    pub draining_since: Rc<Cell<Option<Instant>>>,
}

impl Connection {
    /// Prepares what is the same for all requests of the connection.
    pub fn new(arrival: Arrival) -> Rc<Self> {
        let Arrival { peer: source, socket, is_anonymous, is_tls, proof, rules, draining_since } = arrival;
        let peer = source.ip().to_canonical();
        let forwarding = Forwarding::new(peer, !is_anonymous && rules.trusts(peer), is_tls, proof);
        let renewal = Cell::new(rules.renewals());
        let (private, rate_hash) = (PrivateConnections::default(), Cell::new(None));
        Rc::new(Self {
            peer,
            forwarding,
            source,
            socket,
            is_anonymous,
            rules,
            renewal,
            draining_since,
            rate_hash,
            private,
        })
    }

    /// Whether it tells nothing but what its [`Arrival`] told: the client has proven nothing, and has no connections of
    /// its own to endpoints.
    pub(crate) fn can_be_made_again(&self) -> bool {
        !self.forwarding.verifies && !self.private.is_used()
    }

    /// A connection for tests.
    #[cfg(test)]
    pub(super) fn test() -> Rc<Self> {
        Self::new(Arrival {
            peer: ([127, 0, 0, 1], 1).into(),
            socket: Weak::new(),
            is_anonymous: false,
            is_tls: false,
            proof: Proof::NotAskedFor,
            rules: Rc::default(),
            draining_since: Rc::default(),
        })
    }

    /// Believes the peer, or not.
    #[cfg(test)]
    pub(super) fn set_trusted(&self, is_trusted: bool) {
        self.forwarding.trusted.set(is_trusted);
    }

    /// Follows an edit of the listener, if there was one since the last request.
    #[inline]
    pub(super) fn follow_rules(&self) {
        if self.renewal.get() != self.rules.renewals() {
            self.renewal.set(self.rules.renewals());
            self.forwarding.trusted.set(!self.is_anonymous && self.rules.trusts(self.peer));
        }
    }

    /// Whether what the peer says of its clients is believed.
    pub(super) fn is_trusted(&self) -> bool {
        self.forwarding.trusted.get()
    }

    /// The address of the client that sent a request with these fields, as they came: that of the peer, unless the peer
    /// is trusted and names another, see [`super::client_address`].
    #[inline]
    pub(super) fn client_addresses(&self, headers: &HeaderMap) -> ClientAddresses {
        if self.is_trusted() { self.rules.clients_behind(self.peer, headers) } else { self.peer.into() }
    }

    /// The hash of a client's address, which is kept if it is that of the peer.
    #[inline]
    pub(super) fn hashed(&self, address: IpAddr, rate: &Limiter) -> HashedAddress {
        if address != self.peer {
            return rate.hashed(address);
        }
        self.rate_hash.get().unwrap_or_else(|| {
            let hash = rate.hashed(address);
            self.rate_hash.set(Some(hash));
            hash
        })
    }

    /// The one of [`Self::client_addresses`] that counts.
    #[inline]
    pub(super) fn client_address(&self, headers: &HeaderMap) -> IpAddr {
        self.client_addresses(headers).address
    }

    /// `http` or `https`, as the client speaks to this proxy.
    pub(super) fn scheme(&self) -> &str {
        self.forwarding.scheme()
    }

    /// The bytes that the client's socket has taken so far.
    pub(crate) fn bytes_written(&self) -> u64 {
        self.socket.upgrade().map_or(0, |socket| socket.bytes_written())
    }

    /// The client's address, and both ends of the connection where known. A Unix socket has none; only a PROXY header
    /// can name the client.
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
