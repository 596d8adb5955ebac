//! How the endpoints of a pool are probed.

use std::time::Duration;

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

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            probe: Probe::default(),
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
        }
    }
}

/// What a probe does.
#[derive(Debug, Clone, PartialEq)]
pub enum Probe {
    /// `GET path`; passes on an expected status and, if set, a body that contains a text.
    Http {
        /// Request target in origin form.
        path: String,
        /// `Host` field; `None` sends the address of the backend as written.
        host: Option<String>,
        /// Accepted status codes.
        status: StatusRanges,
        /// Text the first 64 KiB of the body must contain.
        body: Option<String>,
    },
    /// Passes when the connection is accepted.
    Tcp,
    /// Calls `grpc.health.v1.Health/Check`; passes on SERVING.
    Grpc {
        /// The service whose health is asked for; empty means the whole replica.
        service: String,
    },
}

impl Probe {
    /// The path that a probe asks for by default.
    pub(crate) const PATH: &str = "/";
}

impl Default for Probe {
    fn default() -> Self {
        Self::Http { path: Self::PATH.to_owned(), host: None, status: StatusRanges::default(), body: None }
    }
}

/// Accepted status codes as inclusive ranges within 100-599. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusRanges(pub Vec<(u16, u16)>);

impl Default for StatusRanges {
    fn default() -> Self {
        Self(vec![(200, 399)])
    }
}

impl StatusRanges {
    /// Whether `status` is one of the accepted codes.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|&(low, high)| (low..=high).contains(&status))
    }
}
