//! How a connection to an endpoint is opened: with the protocol that the pool has, and with what it begins with.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use http::uri::Scheme;
use rustls::AlertDescription;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use super::error::{self, LinkError};
use super::h1::{Preamble, UpstreamConnection};
use super::record::Record;
use super::timing::{self, Timing};
use super::wishes::{Sharing, Upgrade, Wishes};
use super::{Link, WorkerEndpoint};
use crate::net::Stream;
use crate::net::socket::Socket;
use crate::pool::protocol::{Agreed, ClientTls, ConnectSettings, Offer, PoolProtocol, Session};

/// How an endpoint says in TLS that it speaks none of the protocols that it was offered.
const NO_PROTOCOL: rustls::Error = rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol);

impl WorkerEndpoint {
    /// Opens a connection, or gets a stream on one that is being opened. If an upgrade is wanted, it is HTTP/1.1; with
    /// a `preamble`, it begins with that header. A private one is HTTP/1.1 unless the endpoint speaks only HTTP/2.
    pub(super) async fn connect(
        &self,
        wishes: &Wishes<'_>,
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
