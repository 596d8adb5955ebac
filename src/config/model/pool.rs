//! A pool: interchangeable replicas, and the settings they have in common.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::{Backend, CertificateFiles, HealthCheck};
pub use crate::algorithm::Algorithm;

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
    /// If an edit replaces all endpoints, whether the old ones serve until a new one passes its check.
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
    /// TLS towards them.
    pub tls: UpstreamTls,
    /// Header that tells an endpoint the client's address; each connection then serves one client only.
    pub proxy_protocol: Option<ProxyVersion>,
    /// Whether requests to endpoints name this proxy in `Via`.
    pub via: bool,
}

/// A pool that has no backends yet.
impl Default for Pool {
    fn default() -> Self {
        Self {
            balance: Algorithm::default(),
            backends: Vec::new(),
            health: None,
            fail_open_below: 50,
            reload_guard: true,
            retry: Retry::default(),
            max_requests: None,
            queue: Queue::default(),
            eject: Eject::default(),
            slow_start: Duration::from_secs(10),
            protocol: Protocol::default(),
            tls: UpstreamTls::default(),
            proxy_protocol: None,
            via: true,
        }
    }
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

/// Version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    /// One line of text.
    V1,
    /// Binary.
    V2,
}

/// TLS towards endpoints. Their certificates are always verified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpstreamTls {
    /// Root certificates, in PEM; `None` means those of the system.
    pub ca: Option<PathBuf>,
    /// The name that the certificate must be for; `None` means the backend's as written.
    pub server_name: Option<String>,
    /// The certificate that we present; `None` means none.
    pub certificate: Option<CertificateFiles>,
}

/// Requests that wait for an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// How many may wait at one time, over all workers.
    pub size: usize,
    /// How long each may wait.
    pub timeout: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Self { size: 100, timeout: Duration::from_secs(1) }
    }
}

/// When failures in live traffic take an endpoint out, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eject {
    /// Failures in a row, connect failures counted twice; 0 means never.
    pub failures: u32,
    /// For how long the first time.
    pub duration: Duration,
    /// The longest time; each ejection doubles it until then.
    pub max_duration: Duration,
    /// Endpoints of a pool that may be ejected at one time, in percent (0-100).
    pub share: u8,
}

impl Default for Eject {
    fn default() -> Self {
        Self { failures: 5, duration: Duration::from_secs(10), max_duration: Duration::from_secs(300), share: 50 }
    }
}

/// When a failed attempt is followed by another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Attempts per request, the first included.
    pub attempts: NonZeroUsize,
    /// From the start of an attempt to the response head; `None` (written `"0s"`) means no deadline but those of the
    /// phases.
    pub attempt_timeout: Option<Duration>,
    /// Statuses of a response that count as a failure; of 502, 503 and 504.
    pub on_status: Vec<u16>,
    /// Repeated requests of which an earlier attempt may have reached a replica, in percent of all requests (0-100).
    pub budget: u8,
    /// Such requests per second that the budget allows on top.
    pub budget_per_second: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: NonZeroUsize::new(3).expect("three is not zero"),
            attempt_timeout: None,
            on_status: Vec::new(),
            budget: 20,
            budget_per_second: 10,
        }
    }
}
