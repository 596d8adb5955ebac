//! The collector: how it is found, connected to, and asked to take a batch (OTLP over HTTP).

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::uri::Scheme;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};

use super::batch::rejected;
use crate::config::address::{self, Address};
use crate::config::model::{BackendAddress, Dns, Protocol, Traces, UpstreamTls};
use crate::control::files::Files;
use crate::control::names::{Family, Finding};
use crate::control::probes::{Io, exchange};
use crate::control::rationed::{BODY_BYTES_MAX, Rationed};
use crate::control::resolver::{Directory, Heard, SystemFiles};
use crate::net::Stream;
use crate::pool::protocol::{Agreed, Offer, PoolProtocol};

/// The `User-Agent` of batches.
const USER_AGENT_SENT: &str = concat!("unstick/", env!("CARGO_PKG_VERSION"));

/// For how long the addresses of a name are used.
const ADDRESSES_MIN: Duration = Duration::from_secs(1);
const ADDRESSES_MAX: Duration = Duration::from_secs(30);

/// The longest time that a collector can ask for before it gets a batch again.
const LATER_MAX: Duration = Duration::from_secs(30);

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// It was taken, but for these spans.
    Taken(Option<(u64, String)>),
    /// It may be taken if it is sent again, after this time if the collector says so.
    Later(String, Option<Duration>),
    /// It will never be taken.
    Never(String),
}

/// What is known of the collector.
#[derive(Debug, Default)]
pub(super) struct Collector {
    files: Files,
    protocol: Option<PoolProtocol>,
    /// The addresses of a name, and until when they are used.
    found: Option<(BackendAddress, Vec<SocketAddr>, Instant)>,
}

impl Collector {
    /// Sends a batch, within the time that the config allows. Each has a connection of its own.
    pub(super) async fn send(&mut self, traces: &Traces, dns: &Dns, message: Bytes) -> Reply {
        match timeout(traces.timeout, self.post(traces, dns, message)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(why)) => Reply::Later(why, None),
            Err(_) => Reply::Later(format!("no response within {:?}", traces.timeout), None),
        }
    }

    async fn post(&mut self, traces: &Traces, dns: &Dns, message: Bytes) -> Result<Reply, String> {
        let collector = traces.endpoint.as_ref().ok_or("there is no collector")?;
        let backend = collector.address.to_string();
        let mut request = Request::post(&*collector.path)
            .header(HOST, &*address::host_field(&backend))
            .header(USER_AGENT, USER_AGENT_SENT)
            .header(CONTENT_TYPE, "application/x-protobuf");
        for (name, value) in &traces.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(message)).map_err(|error| format!("cannot ask: {error}"))?;
        let stream = Rationed::new(self.connect(&collector.address, dns).await?);
        let (io, agreed): (Box<dyn Io>, _) = match self.protocol(traces).await? {
            PoolProtocol::Tls(tls) => {
                let session = tls.connect(stream, &backend, Offer::Any).await;
                let (session, agreed) = session.map_err(|error| format!("TLS: {error}"))?;
                (Box::new(session), agreed)
            }
            _ => (Box::new(stream), Agreed::Http1),
        };
        let scheme = if collector.is_tls { Scheme::HTTPS } else { Scheme::HTTP };
        exchange(io, agreed, scheme, request, judge).await
    }

    /// How the collector is spoken to. Files are read again when they have changed.
    async fn protocol(&mut self, traces: &Traces) -> Result<PoolProtocol, String> {
        if traces.endpoint.as_ref().is_none_or(|collector| !collector.is_tls) {
            return Ok(PoolProtocol::Http1);
        }
        let settings = UpstreamTls { ca: traces.ca.clone(), ..UpstreamTls::default() };
        let before = self.protocol.clone();
        let load = move || PoolProtocol::load(Protocol::Https, &settings, before.as_ref());
        let protocol = self.files.read(load).await??;
        Ok(self.protocol.insert(protocol).clone())
    }

    /// Connects to the first address that lets us.
    async fn connect(&mut self, address: &BackendAddress, dns: &Dns) -> Result<Stream, String> {
        let mut why = "it has no address".to_owned();
        for address in self.addresses(address, dns).await? {
            match Stream::connect(&Address::Tcp(address)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => why = format!("connect to {address}: {error}"),
            }
        }
        self.found = None;
        Err(why)
    }

    async fn addresses(&mut self, address: &BackendAddress, dns: &Dns) -> Result<Vec<SocketAddr>, String> {
        let (host, port) = match address {
            BackendAddress::Name { host, port } => (host, *port),
            BackendAddress::Socket(address) => return Ok(vec![*address]),
            BackendAddress::Unix(_) => return Err("it has no IP address".to_owned()),
        };
        if let Some((of, addresses, until)) = &self.found
            && of == address
            && Instant::now() < *until
        {
            return Ok(addresses.clone());
        }
        let directory = Directory::new(&dns.servers, &self.files.read(SystemFiles::read).await?);
        let (mut addresses, mut until, mut why) = (Vec::new(), ADDRESSES_MAX, None);
        for family in Family::all(dns.families) {
            let Heard { finding, lives_for } = directory.ask(host, *family).await;
            match finding {
                Finding::Addresses(found) => {
                    addresses.extend(found.into_iter().map(|ip| SocketAddr::new(ip, port)));
                    until = until.min(lives_for.unwrap_or(ADDRESSES_MIN));
                }
                Finding::Denied => {}
                Finding::Unknown(error) => why = Some(error),
            }
        }
        if addresses.is_empty() {
            let why = why.unwrap_or_else(|| "the name does not exist, or has no addresses".to_owned());
            return Err(format!("cannot resolve {host}: {why}"));
        }
        let until = Instant::now() + until.max(ADDRESSES_MIN);
        self.found = Some((address.clone(), addresses.clone(), until));
        Ok(addresses)
    }
}

/// What a response means (OTLP, "OTLP/HTTP Response").
async fn judge(response: Response<Incoming>) -> Result<Reply, String> {
    let status = response.status();
    let after = response.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.trim().parse().ok());
    let after = after.map(|seconds| Duration::from_secs(seconds).min(LATER_MAX));
    let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let said = || {
        let text = String::from_utf8_lossy(&body);
        let is_plain = |c: &char| !c.is_control() && *c != char::REPLACEMENT_CHARACTER;
        let text: String = text.chars().filter(is_plain).collect();
        format!("status {}{}{}", status.as_u16(), if text.is_empty() { "" } else { ": " }, text.trim())
    };
    Ok(match status {
        status if status.is_success() => Reply::Taken(rejected(&body)),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Reply::Later(said(), after),
        _ => Reply::Never(said()),
    })
}
