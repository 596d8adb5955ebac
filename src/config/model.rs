//! The checked configuration: every value here has been proven to make sense.
//!
//! Nothing in this file knows about TOML. The only way to obtain a [`Config`] from outside the crate's own code is
//! [`super::load`], [`super::parse`] or [`super::from_flags`], so whoever holds one need not check anything again.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::address::Address;
pub use super::algorithm::Algorithm;

/// Everything one process needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Worker threads; `None` means one per available core. Cannot change live.
    pub workers: Option<NonZeroUsize>,
    /// Where clients connect. At least one.
    pub listeners: Vec<Listener>,
    /// Which pool serves which request. At least one.
    pub routes: Vec<Route>,
    /// Pools by name; every route names one of them.
    pub pools: BTreeMap<String, Pool>,
    /// Deadlines of every wait.
    pub timeouts: Timeouts,
    /// Bounds of every buffer, queue and table.
    pub limits: Limits,
    /// What is logged, where, in which form.
    pub log: Log,
    /// Address of the admin port; `None` when switched off. Cannot change live.
    pub admin: Option<SocketAddr>,
    /// Name servers asked for backend names; empty means those of the system.
    pub dns_servers: Vec<SocketAddr>,
}

/// One address that accepts client connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The `NAME` of `[listen.NAME]`.
    pub name: String,
    /// Address and port, or a Unix socket; port 0 asks the kernel for a free one.
    pub address: Address,
    /// Permissions of the Unix socket's file; `None` means those of the process's umask.
    pub unix_mode: Option<u32>,
    /// Peers whose `X-Forwarded-*`, `Forwarded` and `X-Request-Id` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// What is spoken here.
    pub protocols: Protocols,
    /// Certificates; `None` means plain text.
    pub tls: Option<Tls>,
    /// Whether the trusted proxies say whose connection it is before everything else.
    pub proxy_protocol: AcceptProxy,
    /// Every request is answered with a redirect to this port, by `https`.
    pub redirect_to_https: Option<u16>,
}

/// Whether a connection begins with a header of the PROXY protocol, version 1 or 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AcceptProxy {
    /// Never.
    #[default]
    Off,
    /// It may, if it comes from one of the trusted proxies.
    Accept,
    /// It must, and come from one of the trusted proxies.
    Require,
}

/// Version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    /// One line of text.
    V1,
    /// Binary.
    V2,
}

/// Which versions of HTTP a listener speaks; at least one.
///
/// With TLS the client chooses (ALPN, RFC 7301); without, it begins with HTTP/2 or it does not (RFC 9113 section 3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocols {
    /// HTTP/1.1 and HTTP/1.0.
    pub h1: bool,
    /// HTTP/2.
    pub h2: bool,
}

impl Default for Protocols {
    fn default() -> Self {
        Self { h1: true, h2: true }
    }
}

/// How a listener proves who it is, and what it wants its clients to prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The first one serves whoever asks for a name that none of them has. Never empty.
    pub certificates: Vec<CertificateFiles>,
    /// Who may sign the certificates of clients; `None` means that clients are not asked for one.
    pub client_ca: Option<ClientCa>,
}

/// A certificate on disk, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, followed by those between it and the root.
    pub cert: PathBuf,
    /// Its private key: PKCS #8, PKCS #1 or SEC1, not encrypted.
    pub key: PathBuf,
}

/// Who may sign the certificates of clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCa {
    /// Root certificates, in PEM.
    pub file: PathBuf,
    /// Whether a client without a certificate is refused.
    pub required: bool,
}

/// Sends the requests for one host and path to one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Which `Host` this route is for.
    pub host: HostPattern,
    /// Which path this route is for.
    pub path: PathPattern,
    /// Name of the pool in [`Config::pools`].
    pub pool: String,
}

/// Which hosts a route serves. Names are lower case, without port and trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostPattern {
    /// Any host.
    Any,
    /// This host only.
    Exact(String),
    /// Any host below this domain, written `*.example.com`; holds `example.com`.
    Below(String),
}

/// Which paths a route serves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathPattern {
    /// The path itself and all below it, by whole segments: `/api` serves `/api` and `/api/x`, not `/apix`.
    Prefix(String),
    /// This path only; written `=/x`.
    Exact(String),
}

/// Upper bound of [`Retry::attempts`].
pub const ATTEMPTS_MAX: usize = 10;

/// Interchangeable replicas and how requests are spread over them.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Algorithm that picks an endpoint for each attempt.
    pub balance: Algorithm,
    /// The replicas as written; a name becomes one endpoint per resolved address. Never empty.
    pub backends: Vec<Backend>,
    /// Active health check; `None` means every endpoint counts as healthy.
    pub health: Option<HealthCheck>,
    /// Share of checked endpoints, in percent (0-100), that must be healthy; below it all of them get traffic.
    pub fail_open_below: u8,
    /// Keep removed endpoints serving until one of those that replace them all passes its check.
    pub reload_guard: bool,
    /// When a failed attempt is followed by another one.
    pub retry: Retry,
    /// Requests under way that an endpoint may have, over all workers; `None` (written 0) means any number.
    pub max_requests: Option<u32>,
    /// Requests that may wait until an endpoint has fewer.
    pub queue: Queue,
    /// When failures in live traffic take an endpoint out.
    pub eject: Eject,
    /// How long the share of a new or returning endpoint grows; zero means it has its full share at once.
    pub slow_start: Duration,
    /// What endpoints speak.
    pub protocol: Protocol,
    /// How they are spoken to in TLS.
    pub tls: UpstreamTls,
    /// Header that tells endpoints whose connection it is; each connection is then used for one client only.
    pub proxy_protocol: Option<ProxyVersion>,
}

/// What endpoints speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// HTTP/1.1 in plain text.
    #[default]
    Http1,
    /// HTTP/2 in plain text.
    H2c,
    /// HTTP/2 or HTTP/1.1 in TLS, as the endpoint chooses.
    Https,
}

/// How endpoints are spoken to in TLS. Their certificates are always verified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpstreamTls {
    /// Root certificates, in PEM; `None` means those of the system.
    pub ca: Option<PathBuf>,
    /// The name that the certificate must be for; `None` means the backend's as written.
    pub server_name: Option<String>,
    /// What we prove to be.
    pub certificate: Option<CertificateFiles>,
}

/// Requests that wait for an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// How many at one time, over all workers.
    pub size: usize,
    /// How long each.
    pub timeout: Duration,
}

/// When failures in live traffic take an endpoint out, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eject {
    /// Failures in a row, connect failures counted twice; 0 means never.
    pub failures: u32,
    /// The first time.
    pub duration: Duration,
    /// At most, after doubling each time.
    pub max_duration: Duration,
    /// Endpoints of a pool that may be out by this at one time, in percent (0-100).
    pub share: u8,
}

/// When a failed attempt is followed by another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Attempts per request, the first included.
    pub attempts: NonZeroUsize,
    /// From the attempt's begin to the answer's head; `None` (written `"0s"`) means no deadline but those of the
    /// phases.
    pub attempt_timeout: Option<Duration>,
    /// Statuses of an answer that are taken for a failure; of 502, 503 and 504.
    pub on_status: Vec<u16>,
    /// Repeated requests that may have reached a replica before, in percent of all requests (0-100).
    pub budget: u8,
    /// The same per second, on top.
    pub budget_per_second: u32,
}

/// One entry of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Where it listens.
    pub address: BackendAddress,
    /// Share of the traffic relative to the other backends, 1-256.
    pub weight: u16,
    /// What the operator wants of it.
    pub state: BackendState,
}

/// Host and port of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BackendAddress {
    /// An IP address: one endpoint.
    Socket(SocketAddr),
    /// A Unix socket: one endpoint.
    Unix(Arc<Path>),
    /// A name: one endpoint per A/AAAA record.
    Name {
        /// DNS name, lower case.
        host: String,
        /// TCP port.
        port: u16,
    },
}

/// What the operator wants of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BackendState {
    /// Gets requests when healthy.
    #[default]
    Ready,
    /// Finishes what it has, gets nothing new, is still probed.
    Drain,
    /// Gets nothing and is not probed.
    Down,
}

/// How an endpoint is probed.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthCheck {
    /// What a probe does.
    pub probe: Probe,
    /// Mean time between two probes.
    pub interval: Duration,
    /// Deadline of one probe.
    pub timeout: Duration,
    /// Passes in a row that make an unhealthy endpoint healthy.
    pub rise: u32,
    /// Failures in a row that make a healthy endpoint unhealthy.
    pub fall: u32,
}

/// What a probe does.
#[derive(Debug, Clone, PartialEq)]
pub enum Probe {
    /// `GET path`; passes on an expected status and, if set, a body that contains a text.
    Http {
        /// Request target in origin form.
        path: String,
        /// `Host` field; `None` sends the backend's address as written.
        host: Option<String>,
        /// Accepted status codes.
        status: StatusRanges,
        /// Text the first 64 KiB of the body must contain.
        body: Option<String>,
    },
    /// Passes when the connection is accepted.
    Tcp,
    /// Asks as `grpc.health.v1.Health/Check` says; passes on SERVING.
    Grpc {
        /// Whose health is asked for; empty means that of the whole replica.
        service: String,
    },
}

/// Accepted status codes as inclusive ranges within 100-599. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusRanges(pub Vec<(u16, u16)>);

impl StatusRanges {
    /// Whether `status` is one of the accepted codes.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|&(low, high)| (low..=high).contains(&status))
    }
}

/// Deadlines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a TLS handshake is done.
    pub tls_handshake: Duration,
    /// From the first byte of a request to the end of its head.
    pub request_head: Duration,
    /// Between two reads of a request body.
    pub request_body: Duration,
    /// Until a TCP connection to an endpoint stands.
    pub connect: Duration,
    /// From the request's last byte to the end of the answer's head.
    pub response_head: Duration,
    /// Between two reads of an answer's body.
    pub response_body: Duration,
    /// Between two writes to a client that does not read.
    pub client_write: Duration,
    /// How long a client connection may wait for its next request.
    pub client_idle: Duration,
    /// How often the other side of an HTTP/2 connection with open streams is asked whether it is there, and how long it
    /// may take to answer.
    pub h2_ping: Duration,
    /// How long an unused connection to an endpoint is kept.
    pub upstream_idle: Duration,
    /// How long nothing may pass through a WebSocket or another tunnel.
    pub tunnel_idle: Duration,
    /// How long a tunnel may last; `None` (written `"0s"`) means no limit.
    pub tunnel: Option<Duration>,
    /// From the request's head to the answer's head, all attempts together; `None` (written `"0s"`) means no deadline.
    pub request: Option<Duration>,
    /// How long stopping, or a removed endpoint or listener, waits for what still runs.
    pub drain: Duration,
}

/// Bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Client connections at one time, over all listeners and workers.
    pub connections: usize,
    /// Client connections at one time per IPv4 address or IPv6 /64; `None` (written 0) means any number.
    pub connections_per_address: Option<NonZeroUsize>,
    /// Bytes of a request head.
    pub request_head: usize,
    /// Fields of a request head.
    pub request_fields: usize,
    /// Streams that an HTTP/2 client may have open.
    pub h2_streams: u32,
    /// Bytes that an HTTP/2 client may send on a stream before some of them were passed on.
    pub h2_window: u32,
    /// Bytes of a request body; `None` (written `"0B"`) means no limit.
    pub request_body: Option<u64>,
    /// Bytes of a request body that are kept for the case that it must be sent again; 0 means none.
    pub replay: usize,
    /// Unused connections kept per endpoint and worker.
    pub idle_per_endpoint: usize,
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Least severe level that is written to stderr.
    pub level: Level,
    /// Form of the lines on stderr. Cannot change live.
    pub format: LogFormat,
    /// The access log; `None` when switched off. Cannot change live.
    pub access: Option<AccessLog>,
}

/// Severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Failures a person must act on.
    Error,
    /// Things that went wrong and were survived.
    Warn,
    /// Start, reload, health changes, stop.
    Info,
    /// Connections and attempts.
    Debug,
    /// Everything.
    Trace,
}

/// Form of the lines on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where and how finished requests are logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Destination.
    pub to: AccessLogTarget,
    /// Form of a line.
    pub format: AccessLogFormat,
    /// Lines waiting to be written; more are dropped and counted.
    pub queue: usize,
}

/// Destination of the access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLogTarget {
    /// Standard output.
    Stdout,
    /// A file that is appended to, opened again on SIGUSR1.
    File(PathBuf),
}

/// Form of an access-log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// One JSON object.
    Json,
    /// NCSA common log format.
    Common,
}

impl fmt::Display for BackendAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Unix(file) => Address::Unix(Arc::clone(file)).fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(path) => f.write_str(path),
            Self::Exact(path) => write!(f, "={path}"),
        }
    }
}
