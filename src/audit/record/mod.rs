//! Writes a journey while somebody clicks through an application: a small proxy in front of one replica.
//!
//! What passes goes the way of an HTTP Archive ([`from_recorded`]), so a recording and what a browser saves become the
//! same journey: static files are left out, values that come back in later requests are captured, and what a person
//! must look at is marked for review.
//!
//! | file | what it is |
//! |---|---|
//! | `serve` | connections of browsers, and WebSockets after their handshake |
//! | `forward` | one request to the application, and its response |
//! | `rewrite` | the application sees its own address, the browser that of the recorder |
//! | `tap`, `messages` | what goes by in bodies and on WebSockets |
//! | `log`, `archive` | what was kept, within bounds, and its form for the import |
//!
//! # What is changed on the way
//! To the application go `Host`, `Origin` and `Referer` with its own address in them, and no `Accept-Encoding` nor
//! conditions on what is cached, because a compressed body or a 304 tells nothing. No `X-Forwarded-...` is added.
//! Compression of a WebSocket is not offered. To the browser go redirects that lead to the recorder, cookies without
//! `Domain` and `Secure` (but for those whose name wants it: browsers keep those on localhost), and `Cache-Control:
//! no-store`, so that it asks again. The recording has what the application sent.

mod archive;
mod forward;
mod log;
mod messages;
mod rewrite;
mod serve;
mod tap;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use self::forward::Shared;
use self::log::{Exchange, Log, Side};
use self::rewrite::Names;
use crate::journey::{Act, Imported, Journey, Remarks, from_recorded};
use crate::play::{Connector, Trust};
use crate::replicas::Origin;

/// Of a longer body nothing is kept. It passes all the same.
pub const BODY_KEPT_MAX: usize = 4 << 20;

/// When all bodies together are longer, nothing is kept of further ones.
pub const KEPT_MAX: usize = 64 << 20;

/// Of further exchanges nothing is kept. Most of them are static files, which make no steps.
pub const EXCHANGES_MAX: usize = 5_000;

/// How long the application may take to begin a response. Long-polling takes a minute at times.
const RESPONSE_DEADLINE: Duration = Duration::from_secs(180);

/// How a step says what it awaits.
const RECEIVE: &str = "receive = { until = \"regex:...\", within = \"5s\" }";

/// Letters that are shown of a message.
const EXCERPT_MAX: usize = 60;

/// How many lines may wait to be shown.
const LINES_MAX: usize = 64;

/// What is recorded, and where browsers find it.
#[derive(Debug, Clone)]
pub struct Options {
    /// The replica.
    pub backend: Origin,
    /// Where the recorder listens.
    pub listen: SocketAddr,
    /// Which certificates of the replica are believed.
    pub trust: Trust,
}

/// Why there is no recording.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The port is taken, or may not be used.
    #[error("cannot listen on {address}: {source}\n  Choose another address with --listen.")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Nobody is there to be recorded.
    #[error("no application is at {backend}: {why}\n  Start it first, or correct --backend.")]
    Unreachable {
        /// Its address.
        backend: String,
        /// Why.
        why: String,
    },
    /// The TLS library cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// No request came.
    #[error("nothing was recorded: no request came to {0}\n  Open it in a browser, and click through the application.")]
    Nothing(String),
    /// What came makes no journey.
    #[error("what was recorded makes no journey: only static files, or requests without a response, were seen")]
    NoStep,
}

/// A recorder that listens.
pub struct Recorder {
    listener: TcpListener,
    connector: Connector,
    backend: Origin,
    address: SocketAddr,
}

impl Recorder {
    /// Listens, after a look at whether the application is there.
    ///
    /// # Errors
    /// It is not, or the recorder cannot listen.
    pub fn bind(options: Options) -> BoxFuture<'static, Result<Self, RecordError>> {
        Box::pin(async move {
            let Options { backend, listen, trust } = options;
            let connector = Connector::new(trust)?;
            let unreachable = |why| RecordError::Unreachable { backend: backend.to_string(), why };
            drop(connector.stream(&backend).await.map_err(unreachable)?);
            let cannot = |source| RecordError::Listen { address: listen, source };
            let listener = TcpListener::bind(listen).await.map_err(cannot)?;
            let address = listener.local_addr().map_err(cannot)?;
            Ok(Self { listener, connector, backend, address })
        })
    }

    /// Where browsers find it.
    pub fn url(&self) -> String {
        if self.address.ip().is_loopback() || self.address.ip().is_unspecified() {
            return format!("http://localhost:{}", self.address.port());
        }
        format!("http://{}", self.address)
    }

    /// The `Host` that the application is asked for. Asked for the same in an audit, it makes the same links, and an
    /// `Origin` that was recorded fits.
    pub fn host(&self) -> String {
        Names::of(&self.backend, self.address).host
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Records until `stop` is ready. `on_exchange` hears a line for each response, without what a query has in it.
    ///
    /// # Errors
    /// Nothing was recorded that makes a journey.
    pub fn record<'a>(
        self,
        stop: BoxFuture<'a, ()>,
        on_exchange: &'a (dyn Fn(&str) + Sync),
    ) -> BoxFuture<'a, Result<(Journey, Remarks), RecordError>> {
        Box::pin(self.recorded(stop, on_exchange))
    }

    async fn recorded(
        self,
        stop: BoxFuture<'_, ()>,
        on_exchange: &(dyn Fn(&str) + Sync),
    ) -> Result<(Journey, Remarks), RecordError> {
        let url = self.url();
        let Self { listener, connector, backend, address } = self;
        let (say, lines) = mpsc::channel(LINES_MAX);
        let (log, names) = (Log::default(), Names::of(&backend, address));
        let shared = Shared { connector, backend: backend.clone(), names: names.clone(), log: log.clone(), say };
        serve::serve(listener, shared, stop, lines, on_exchange).await;
        let (exchanges, mut notes) = log.take();
        if exchanges.is_empty() {
            return Err(RecordError::Nothing(url));
        }
        let heard: Vec<_> = exchanges.iter().filter_map(Heard::of).collect();
        let (recorded, more) = archive::recorded(exchanges);
        notes.extend(more);
        let imported = from_recorded("recording", &names.host, recorded).ok_or(RecordError::NoStep)?;
        Ok(finished(imported, &backend, notes, &heard))
    }
}

/// What came over a WebSocket.
struct Heard {
    count: usize,
    last: String,
}

impl Heard {
    fn of(exchange: &Exchange) -> Option<Self> {
        let is_open = exchange.is_websocket && exchange.response.is_some();
        let came = || exchange.messages.iter().filter(|message| message.from == Side::Response);
        let last = || came().filter_map(|message| message.text.as_deref()).next_back().unwrap_or_default();
        is_open.then(|| Self { count: came().count(), last: last().chars().take(EXCERPT_MAX).collect() })
    }

    fn line(&self) -> String {
        let last = if self.last.is_empty() { String::new() } else { format!(" (the last one: {})", self.last) };
        format!("review: {} messages came back{last}; say which is awaited: {RECEIVE}", self.count)
    }
}

/// The journey with its comments.
fn finished(imported: Imported, backend: &Origin, notes: Vec<String>, heard: &[Heard]) -> (Journey, Remarks) {
    let Imported { mut journey, mut remarks, host, .. } = imported;
    journey.name = format!("recorded at {host}");
    let first = format!("recorded at {backend} by `unstick audit record`; look at each line that says review");
    let fit = format!("play it with --host {host}: what it sends and captures has this host in it");
    let head = [first, fit].into_iter().chain(notes);
    // The first line of the import says less than this one.
    remarks.head = head.chain(remarks.head.into_iter().skip(1)).collect();
    let opened = journey.steps.iter().enumerate().filter(|(_, step)| matches!(step.act, Act::WebSocket(..)));
    for ((place, _), heard) in opened.zip(heard) {
        let lines = remarks.steps.entry(place).or_default();
        lines.retain(|line| !line.contains(RECEIVE));
        lines.push(heard.line());
    }
    (journey, remarks)
}
