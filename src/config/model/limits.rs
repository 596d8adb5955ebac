//! Deadlines and bounds.

use std::num::NonZeroUsize;
use std::time::Duration;

/// Deadlines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a TLS handshake is done.
    pub tls_handshake: Duration,
    /// From the first byte of a request to the end of its head.
    pub request_head: Duration,
    /// Between two reads of a request body.
    pub request_body: Duration,
    /// How long a client that has closed its half of the connection waits for its response to begin or to go on.
    pub half_closed: Duration,
    /// Until a connection to an endpoint is established.
    pub connect: Duration,
    /// From the last byte of the request to the end of the response head.
    pub response_head: Duration,
    /// Between two reads of a response body.
    pub response_body: Duration,
    /// Between two writes to a client that does not read.
    pub client_write: Duration,
    /// How long a client connection may wait for its next request.
    pub client_idle: Duration,
    /// How long an HTTP/2 client may send nothing until it is pinged, and how long it may take to acknowledge the ping.
    pub h2_ping: Duration,
    /// The same for endpoints that speak HTTP/2, while a response is awaited; `None` (written `"0s"`) means no pings.
    pub upstream_h2_ping: Option<Duration>,
    /// How long an unused connection to an endpoint is kept.
    pub upstream_idle: Duration,
    /// How long nothing may pass through a WebSocket or another tunnel.
    pub tunnel_idle: Duration,
    /// How long a tunnel may last; `None` (written `"0s"`) means no limit.
    pub tunnel: Option<Duration>,
    /// From the request head to the response head, all attempts together; `None` (written `"0s"`) means no deadline.
    pub request: Option<Duration>,
    /// How long a stopping process goes on accepting after its readiness has failed; zero means not at all.
    pub shutdown_delay: Duration,
    /// How long a stop, or a draining endpoint or listener, waits for requests under way.
    pub drain: Duration,
    /// How long a client connection without a request may bring its next one when its listener drains.
    pub drain_idle: Duration,
    /// How long a process that is to take over may take until it can serve.
    pub upgrade: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tls_handshake: Duration::from_secs(10),
            request_head: Duration::from_secs(10),
            request_body: Duration::from_secs(30),
            half_closed: Duration::from_secs(5),
            connect: Duration::from_secs(2),
            response_head: Duration::from_secs(60),
            response_body: Duration::from_secs(60),
            client_write: Duration::from_secs(60),
            client_idle: Duration::from_secs(75),
            h2_ping: Duration::from_secs(20),
            upstream_h2_ping: None,
            upstream_idle: Duration::from_secs(4),
            tunnel_idle: Duration::from_secs(3600),
            tunnel: None,
            request: None,
            shutdown_delay: Duration::ZERO,
            drain: Duration::from_secs(25),
            drain_idle: Duration::from_secs(5),
            upgrade: Duration::from_secs(30),
        }
    }
}

/// Bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Client connections at one time, over all listeners and workers; `None` (written 0) means as many as the memory
    /// limit of the process has room for.
    pub connections: Option<usize>,
    /// Client connections at one time per IPv4 address or IPv6 /64; `None` (written 0) means any number.
    pub connections_per_address: Option<NonZeroUsize>,
    /// Bytes of a request head.
    pub request_head: usize,
    /// Fields of a request head.
    pub request_fields: usize,
    /// Streams that an HTTP/2 client may have open; `None` (written 0) means that the memory limit decides.
    pub h2_streams: Option<u32>,
    /// Bytes that an HTTP/2 client may send on a stream before any of them were passed on.
    pub h2_window: u32,
    /// Bytes of a request body; `None` (written `"0B"`) means no limit.
    pub request_body: Option<u64>,
    /// Bytes of a request body that are kept so that it can be sent again; 0 means none.
    pub replay: usize,
    /// Unused connections kept per endpoint and worker.
    pub idle_per_endpoint: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: None,
            connections_per_address: None,
            request_head: 64 * 1024,
            request_fields: 100,
            h2_streams: None,
            h2_window: 64 * 1024,
            request_body: None,
            replay: 64 * 1024,
            idle_per_endpoint: 1024,
        }
    }
}
