//! What becomes of the requests that a route is for.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, StatusCode};

use super::{Template, Timeouts};

/// Who responds.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// The endpoints of this pool.
    Pool(String),
    /// Those of several pools, each with its share.
    Split(Vec<Share>),
    /// The proxy itself.
    Respond(Respond),
    /// The proxy, by sending the client elsewhere.
    Redirect(Redirect),
}

/// A route that leads nowhere yet.
impl Default for Target {
    fn default() -> Self {
        Self::Pool(String::new())
    }
}

impl Target {
    /// The pools that it names.
    pub fn pools(&self) -> impl Iterator<Item = &str> {
        let (one, several) = match self {
            Self::Pool(name) => (Some(name.as_str()), &[][..]),
            Self::Split(shares) => (None, shares.as_slice()),
            Self::Respond(_) | Self::Redirect(_) => (None, &[][..]),
        };
        one.into_iter().chain(several.iter().map(|share| share.pool.as_str()))
    }
}

/// A pool's share of the requests of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Name of the pool.
    pub pool: String,
    /// Its part of the sum of all weights. 0 means none.
    pub weight: u32,
}

/// A response of the proxy.
#[derive(Debug, Clone, PartialEq)]
pub struct Respond {
    /// Its status.
    pub status: StatusCode,
    /// Its content.
    pub content: Content,
    /// The media type of its content.
    pub content_type: String,
}

/// Where the content of a response comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// It is this.
    Text(String),
    /// It is in this file, which is read when the config is.
    File(PathBuf),
}

/// What the proxy's own error responses with these statuses contain.
pub type ErrorPages = BTreeMap<u16, Page>;

/// The content of an error response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The content itself.
    pub content: Content,
    /// Its media type.
    pub content_type: String,
}

/// Sends the client elsewhere (RFC 9110 section 15.4).
#[derive(Debug, Clone, PartialEq)]
pub struct Redirect {
    /// Where to.
    pub to: Template,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
}

/// How often clients may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate {
    /// What is counted together.
    pub per: RatePer,
    /// So many requests ...
    pub requests: NonZeroU32,
    /// ... in this time.
    pub within: Duration,
    /// How many may come at once.
    pub burst: NonZeroU32,
}

/// What a rate counts together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RatePer {
    /// All requests of the route.
    Route,
    /// Those of one IPv4 address, or one IPv6 /64.
    Address,
    /// Those with the same value of this field; by address where it is missing.
    Header(HeaderName),
}

/// Replaces the beginning of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// The prefix that is replaced, by whole segments.
    pub from: String,
    /// What stands in its place; `/` means nothing.
    pub to: String,
}

/// What is done to the header fields of a message, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldEdits {
    /// These are removed.
    pub remove: Vec<HeaderName>,
    /// These get one value in place of all that they have.
    pub set: Vec<(HeaderName, Template)>,
    /// These get a value more.
    pub add: Vec<(HeaderName, Template)>,
}

impl FieldEdits {
    /// Whether nothing is done.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

/// The deadlines of a route that differ from those of [`Timeouts`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteTimeouts {
    /// Instead of [`Timeouts::request_body`].
    pub request_body: Option<Duration>,
    /// Instead of [`Timeouts::connect`].
    pub connect: Option<Duration>,
    /// Instead of [`Timeouts::response_head`].
    pub response_head: Option<Duration>,
    /// Instead of [`Timeouts::response_body`].
    pub response_body: Option<Duration>,
    /// Instead of [`Timeouts::tunnel_idle`].
    pub tunnel_idle: Option<Duration>,
    /// Instead of [`Timeouts::tunnel`].
    pub tunnel: Option<Option<Duration>>,
    /// Instead of [`Timeouts::request`].
    pub request: Option<Option<Duration>>,
}

impl RouteTimeouts {
    /// The deadlines that hold for the requests of the route.
    #[must_use]
    pub fn over(&self, general: &Timeouts) -> Timeouts {
        let Self { request_body, connect, response_head, response_body, tunnel_idle, tunnel, request } = *self;
        Timeouts {
            request_body: request_body.unwrap_or(general.request_body),
            connect: connect.unwrap_or(general.connect),
            response_head: response_head.unwrap_or(general.response_head),
            response_body: response_body.unwrap_or(general.response_body),
            tunnel_idle: tunnel_idle.unwrap_or(general.tunnel_idle),
            tunnel: tunnel.unwrap_or(general.tunnel),
            request: request.unwrap_or(general.request),
            ..general.clone()
        }
    }
}

/// The bounds of a route that differ from those of [`super::Limits`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteLimits {
    /// Instead of [`super::Limits::request_body`].
    pub request_body: Option<Option<u64>>,
    /// Instead of [`super::Limits::replay`].
    pub replay: Option<usize>,
}

/// When a request of a route is sent again, where that differs from [`super::Retry`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteRetry {
    /// Instead of [`super::Retry::attempts`].
    pub attempts: Option<std::num::NonZeroUsize>,
    /// Instead of [`super::Retry::attempt_timeout`].
    pub attempt_timeout: Option<Option<Duration>>,
    /// Instead of [`super::Retry::on_status`].
    pub on_status: Option<Vec<u16>>,
}
