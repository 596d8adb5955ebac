//! Traces: which requests are traced, and where their spans go.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::{BackendAddress, Sample};

/// Which requests are traced, and where their spans go.
#[derive(Debug, Clone, PartialEq)]
pub struct Traces {
    /// Who takes the spans. `None` switches all of it off: the fields of traces are passed on as they come.
    pub endpoint: Option<Collector>,
    /// The share of requests that are traced, of those about which no trusted proxy has decided.
    pub sample: Sample,
    /// The name of the service in the spans.
    pub service: String,
    /// The fields that the collector gets with every batch.
    pub headers: Vec<(String, String)>,
    /// The certificates that are believed instead of the system's.
    pub ca: Option<PathBuf>,
    /// How long the collector may take for one batch.
    pub timeout: Duration,
}

impl Default for Traces {
    fn default() -> Self {
        Self {
            endpoint: None,
            sample: Sample { millionths: 10_000 },
            service: "unstick".to_owned(),
            headers: Vec::new(),
            ca: None,
            timeout: Duration::from_secs(5),
        }
    }
}

/// A collector that takes spans by OTLP over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    /// Whether it is spoken to over TLS.
    pub is_tls: bool,
    /// Where it is.
    pub address: BackendAddress,
    /// The path to which batches are posted.
    pub path: String,
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.address, self.path)
    }
}
