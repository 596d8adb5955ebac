//! One worker's connections to one endpoint.
//!
//! A connection is a value, not a task: the request that uses it also drives it ([`UpstreamConnection::poll_drive`]),
//! within the task of its client connection. That saves two task switches and a queue per request, and cancelling needs
//! no message: when the client leaves, the value is dropped, and the connection is closed. An unused connection lies in
//! a list and costs nothing. Whether it was closed meanwhile is looked at right before the first byte of a request is
//! sent.
//!
//! The most recently used connection is taken first, so that surplus ones grow old and are closed.

pub mod added;
pub mod client_body;
pub mod driver;
pub mod error;
pub mod framing;
pub mod h1;
mod h2;
mod h2_attempt;
mod h2_end;
mod h2_io;
mod hold;
mod in_flight;
mod interim;
pub mod private;
mod quiet;
pub mod record;
mod replay;
pub mod request_body;
pub mod response;
pub mod send;
mod sending;
mod slot;
pub mod timing;
mod unused;
pub mod view;
pub mod waits;
mod written_head;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Scheme;
use rustls::AlertDescription;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use crate::config::model::ProxyVersion;
use crate::metrics::PoolCell;
use crate::net::Stream;
use crate::net::outbox::Outbox;
use crate::net::socket::Socket;
use crate::pool::PoolShared;
use crate::pool::endpoint::{Endpoint, EndpointCell};
use crate::pool::protocol::{Agreed, ClientTls, ConnectSettings, Offer, PoolProtocol, Session};
use error::LinkError;
use h1::{Look, Preamble, UpstreamConnection};
use h2::{Lease, Multiplexed};
pub use in_flight::InFlight;
use record::Record;
use send::{Sharing, Upgrade, Wishes};
use timing::Timing;

/// How an endpoint says in TLS that it speaks none of the protocols that it was offered.
const NO_PROTOCOL: rustls::Error = rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol);

/// A connection, or a part of one, that can carry a request to an endpoint.
#[derive(Debug)]
enum Link {
    /// An HTTP/1.1 connection for this request alone.
    Own(Box<UpstreamConnection>),
    /// A stream on an HTTP/2 connection.
    Multiplexed(Box<Lease>),
}

/// An endpoint as one worker sees it: its connections, and how it is spoken to.
#[derive(Debug)]
pub struct WorkerEndpoint {
    /// The part that all workers share.
    pub endpoint: Arc<Endpoint>,
    worker: usize,
    outbox: Rc<Outbox>,
    /// The state of its pool that outlives a reload.
    pool: Arc<PoolShared>,
    /// The protocol, TLS settings and PROXY version in use.
    settings: RefCell<ConnectSettings>,
    /// How often `settings` has changed. Connections of an earlier epoch get no new requests.
    epoch: Cell<u64>,
    /// The last TLS failure; empty since TLS was last established.
    last_tls_error: RefCell<String>,
    /// Whether the endpoint chose HTTP/1.1 when it was offered both.
    prefers_h1: Cell<bool>,
    /// Whether it has let the time pass by in which it should have said whether it wants a request body. The next 100
    /// (Continue) takes that back.
    ignores_expect: Cell<bool>,
    multiplexed: Multiplexed,
    #[expect(
        clippy::vec_box,
        reason = "the boxes come from and go to requests; moving the connections would cost more"
    )]
    idle: RefCell<Vec<Box<UpstreamConnection>>>,
    idle_max: Cell<usize>,
    draining_since: Cell<Option<Instant>>,
}

impl WorkerEndpoint {
    /// An endpoint without connections. At most `idle_max` unused ones will be kept.
    pub(crate) fn new(
        endpoint: Arc<Endpoint>,
        worker: usize,
        outbox: Rc<Outbox>,
        pool: Arc<PoolShared>,
        settings: ConnectSettings,
        idle_max: usize,
    ) -> Self {
        Self {
            endpoint,
            worker,
            outbox,
            pool,
            settings: RefCell::new(settings),
            epoch: Cell::default(),
            last_tls_error: RefCell::default(),
            prefers_h1: Cell::default(),
            ignores_expect: Cell::default(),
            multiplexed: Multiplexed::default(),
            idle: RefCell::default(),
            idle_max: Cell::new(idle_max),
            draining_since: Cell::default(),
        }
    }

    /// This worker's counters of the endpoint.
    pub fn cell(&self) -> &EndpointCell {
        self.endpoint.cell(self.worker)
    }

    /// This worker's counters of its pool.
    fn pool_cell(&self) -> &PoolCell {
        &self.pool.cells[self.worker]
    }

    /// A stream on a connection that other requests use as well, if there is one.
    fn lease(&self) -> Option<Box<Lease>> {
        self.multiplexed.lease()
    }

    /// The PROXY version, if connections to it begin with a PROXY header and so serve one client only.
    fn proxy_protocol(&self) -> Option<ProxyVersion> {
        self.settings.borrow().proxy_protocol
    }

    /// Sets how it is spoken to from now on. If that has changed, present connections get no new requests.
    pub(crate) fn reconnect_with(&self, settings: ConnectSettings) {
        if !self.settings.borrow().is_same(&settings) {
            *self.settings.borrow_mut() = settings;
            self.epoch.set(self.epoch.get() + 1);
            self.prefers_h1.set(false);
            self.idle.borrow_mut().clear();
            self.multiplexed.clear();
        }
    }

    /// Closes unused connections that are older than `idle_timeout` or were closed by the endpoint.
    pub fn reap(&self, idle_timeout: Duration, now: Instant) {
        let idle_limit = self.endpoint.idle_limit();
        let idle_timeout = idle_limit.at_most(idle_timeout, now);
        self.multiplexed.reap(idle_timeout, self.idle_max.get(), now);
        self.idle.borrow_mut().retain_mut(|connection| match connection.look(now) {
            Look::Open => {
                let age = connection.idle_for(now);
                age < idle_timeout && !connection.is_spent(age)
            }
            Look::Closed { known_open_for } => {
                idle_limit.observed(known_open_for, now);
                false
            }
        });
    }

    /// Sets whether it is draining: drained, down, or no longer part of its pool. The first such time is kept.
    pub fn set_draining(&self, is_draining: bool, now: Instant) {
        let since = self.draining_since.get().unwrap_or(now);
        self.draining_since.set(is_draining.then_some(since));
        self.endpoint.set_draining(is_draining);
    }

    /// When it began to drain, if it is draining.
    pub fn draining_since(&self) -> Option<Instant> {
        // An endpoint that came back may have a new worker's half by now, but responses begun earlier still hold this
        // one.
        self.draining_since.get().filter(|_| self.endpoint.is_draining())
    }

    /// Keeps at most `idle_max` unused connections from now on. It is 0 when the endpoint has left its pool.
    pub fn limit_idle(&self, idle_max: usize) {
        self.idle_max.set(idle_max);
        self.idle.borrow_mut().truncate(idle_max);
        if idle_max == 0 {
            self.multiplexed.clear();
        }
    }

    /// Opens a connection, or gets a stream on one that is being opened. If an upgrade is wanted, it is HTTP/1.1; with
    /// a `preamble`, it begins with that header. A private one is HTTP/1.1 unless the endpoint speaks only HTTP/2.
    async fn connect(
        &self,
        wishes: Wishes<'_>,
        h2_ping: Option<Duration>,
        preamble: Option<Box<Preamble>>,
    ) -> Result<Link, LinkError> {
        let ConnectSettings { protocol, backend, .. } = self.settings.borrow().clone();
        let (wants_upgrade, sharing) = (wishes.upgrade == Upgrade::Wanted, wishes.sharing);
        let timing = wishes.timing;
        let only_h1 = wants_upgrade || preamble.is_some();
        let link = match protocol {
            PoolProtocol::Http1 => self.open_h1(preamble, None, timing).await,
            PoolProtocol::H2c if wants_upgrade => return Err(LinkError::NoUpgrade),
            PoolProtocol::H2c => self.share(None, h2_ping, sharing, timing).await,
            PoolProtocol::Tls(tls) if only_h1 => self.open_h1(preamble, Some((&tls, &backend)), timing).await,
            PoolProtocol::Tls(tls) => {
                let tls = (&*tls, &*backend);
                let own = match sharing {
                    Sharing::Private => Some(self.open_h1(None, Some(tls), timing).await),
                    Sharing::Shared => None,
                };
                match own {
                    Some(Err(error)) if !speaks_only_h2(&error) => Err(error),
                    Some(Ok(link)) => Ok(link),
                    _ => self.share(Some(tls), h2_ping, sharing, timing).await,
                }
            }
        };
        link.map_err(|error| match LinkError::opening(error) {
            LinkError::Tls(NO_PROTOCOL) if only_h1 => LinkError::NoUpgrade,
            why => why,
        })
    }

    /// Opens an HTTP/1.1 connection.
    async fn open_h1(
        &self,
        preamble: Option<Box<Preamble>>,
        tls: Option<(&ClientTls, &str)>,
        timing: Option<&Timing>,
    ) -> io::Result<Link> {
        let began = Instant::now();
        let record = self.stream(preamble, timing).await?;
        let session = match tls {
            Some(tls) => Some(self.handshake(tls, &record, Offer::Http1, timing).await?.0),
            None => None,
        };
        let connection = UpstreamConnection::open(record, session).await?;
        self.pool_cell().connect.record(began.elapsed());
        Ok(Link::Own(connection))
    }

    /// Establishes TLS over a connection that has just been opened.
    async fn handshake(
        &self,
        (tls, backend): (&ClientTls, &str),
        record: &Record,
        offer: Offer,
        timing: Option<&Timing>,
    ) -> io::Result<(Session, Agreed)> {
        let began = Instant::now();
        let established = tls.connect(record.io(), backend, offer).await?;
        self.pool_cell().tls_handshake.record(began.elapsed());
        timing::note(timing, |timing| &timing.secured);
        Ok(established)
    }

    /// Opens a connection that requests can share, or waits for one being opened. In TLS the endpoint may choose
    /// HTTP/1.1.
    async fn share(
        &self,
        tls: Option<(&ClientTls, &str)>,
        h2_ping: Option<Duration>,
        sharing: Sharing,
        timing: Option<&Timing>,
    ) -> io::Result<Link> {
        let is_private = sharing == Sharing::Private;
        while !is_private && !self.prefers_h1.get() && self.multiplexed.wait_for_other().await {
            if let Some(lease) = self.lease() {
                return Ok(Link::Multiplexed(lease));
            }
        }
        let opens_alone = is_private || self.prefers_h1.get();
        let opening = if opens_alone { None } else { Some(self.multiplexed.begin_opening()) };
        let (epoch, began) = (self.epoch.get(), Instant::now());
        let record = self.stream(None, timing).await?;
        let (session, scheme) = match tls {
            Some(tls) => {
                let (session, agreed) = self.handshake(tls, &record, Offer::Any, timing).await?;
                if agreed == Agreed::Http1 {
                    self.prefers_h1.set(epoch == self.epoch.get());
                    drop(opening);
                    let connection = UpstreamConnection::open(record, Some(session)).await?;
                    self.pool_cell().connect.record(began.elapsed());
                    return Ok(Link::Own(connection));
                }
                (Some(session), Scheme::HTTPS)
            }
            None => (None, Scheme::HTTP),
        };
        let lease = self.multiplexed.open(record.over(session).await?, scheme, h2_ping).await?;
        self.pool_cell().connect.record(began.elapsed());
        if is_private {
            // No other request gets a stream on it.
            lease.suspect();
        }
        self.prefers_h1.set(false);
        if epoch != self.epoch.get() {
            self.multiplexed.clear();
        }
        Ok(Link::Multiplexed(lease))
    }

    /// Whether TLS fails for another reason than before. The log need not repeat the same one for each request.
    fn is_news(&self, error: &str) -> bool {
        let mut known = self.last_tls_error.borrow_mut();
        let is_news = *known != error;
        error.clone_into(&mut known);
        is_news
    }

    /// TLS was established, so the next failure is news.
    fn clear_tls_error(&self) {
        self.last_tls_error.borrow_mut().clear();
    }

    async fn stream(&self, preamble: Option<Box<Preamble>>, timing: Option<&Timing>) -> io::Result<Rc<Record>> {
        self.cell().connects.add(1);
        let mut stream = Stream::connect(&self.endpoint.address).await?;
        timing::note(timing, |timing| &timing.connected);
        let client = match preamble {
            Some(preamble) => {
                stream.write_all(&preamble.header).await?;
                Some(preamble.client)
            }
            None => None,
        };
        Ok(Rc::new(Record::new(Socket::new(stream, Rc::clone(&self.outbox)), client, self.epoch.get())))
    }
}

/// Whether an endpoint that was offered HTTP/1.1 alone has refused it.
fn speaks_only_h2(error: &io::Error) -> bool {
    error::tls_error(error) == Some(NO_PROTOCOL)
}

#[cfg(test)]
mod models;
