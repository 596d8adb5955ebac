//! What becomes of the requests of a route, with everything looked up that can be.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::ranges::Ranges;
use super::split::Split;
use crate::config::model::{PathPattern, Redirect, Rewrite, RouteRetry, Template, Timeouts};
use crate::config::path::has_prefix;
use crate::fields::{self, X_FORWARDED_PREFIX, push_line};
use crate::rate::Limiter;

/// The contents of the files that routes respond with.
pub type Pages = HashMap<PathBuf, Bytes>;

/// What the proxy's own error responses contain, by their status.
pub type ErrorResponses = HashMap<u16, Local>;

/// What the proxy's own error responses contain, besides those of routes.
#[derive(Debug, Default)]
pub struct Errors {
    /// For all.
    pub general: ErrorResponses,
    /// For the clients of a listener, by its name.
    pub listeners: HashMap<String, ErrorResponses>,
}

impl Errors {
    /// What a response with this status contains. What is said nearest to the request counts: that of its route, else
    /// of its listener, else for all.
    pub fn page<'p>(&'p self, status: StatusCode, route: Option<&'p More>, listener: &str) -> Option<&'p Local> {
        let own = [route.map(|more| &more.errors), self.listeners.get(listener)];
        own.into_iter().flatten().chain([&self.general]).find_map(|pages| pages.get(&status.as_u16()))
    }
}

/// What becomes of the requests of a route.
#[derive(Debug)]
pub enum Plan {
    /// They go to this pool, by its index, and nothing else is done.
    Pool(usize),
    /// There is more to do.
    More(Box<More>),
}

/// What a route may want besides a pool.
#[derive(Debug)]
pub struct More {
    /// Who responds.
    pub target: Destination,
    /// The pool that takes over while that of the target has no healthy endpoint.
    pub fallback: Option<usize>,
    /// Who may ask; `None` means everybody.
    pub admission: Option<Admission>,
    /// How often they may ask.
    pub rate: Option<Arc<Limiter>>,
    /// Whether every request gets a 503.
    pub maintenance: bool,
    /// What becomes of the path.
    pub rewrite: Option<Rewriting>,
    /// What becomes of the header fields of requests.
    pub request: Edits,
    /// What becomes of the header fields of responses.
    pub response: Edits,
    /// What error responses contain, where that differs from those of the listener.
    pub errors: ErrorResponses,
    /// All deadlines, as they hold for its requests.
    pub timeouts: Timeouts,
    /// The most bytes of a request body; `None` means no limit.
    pub body_max: Option<u64>,
    /// The most bytes of a request body that are kept.
    pub replay: usize,
    /// Retries that differ from those of the pool.
    pub retry: RouteRetry,
    /// Whether its requests are in the access log.
    pub access_log: bool,
}

impl More {
    /// Whether anything may be made of the host that the client asked for.
    pub fn wants_host(&self) -> bool {
        let is_redirect = matches!(self.target, Destination::Redirect(_));
        is_redirect || self.request.has_templates || self.response.has_templates
    }
}

/// Who responds.
#[derive(Debug)]
pub enum Destination {
    /// This pool, by its index.
    Pool(usize),
    /// One of several pools.
    Split(Split),
    /// The proxy, with the same response for everybody.
    Respond(Local),
    /// The proxy, by sending the client elsewhere.
    Redirect(Redirect),
}

/// A response of the proxy.
#[derive(Debug, Clone)]
pub struct Local {
    /// Its status.
    pub status: StatusCode,
    /// Its content.
    pub body: Bytes,
    /// Its header fields.
    pub headers: HeaderMap,
}

impl Local {
    /// A response with this content, of this media type.
    pub fn new(status: StatusCode, body: Bytes, content_type: &str) -> Self {
        let media_type = HeaderValue::try_from(content_type).ok().filter(|_| !body.is_empty());
        let headers = media_type.map(|media_type| (CONTENT_TYPE, media_type)).into_iter().collect();
        Self { status, body, headers }
    }
}

/// Who may ask.
#[derive(Debug)]
pub struct Admission {
    /// Only these, if there are any.
    pub allow: Option<Ranges>,
    /// Not these.
    pub deny: Ranges,
}

impl Admission {
    /// Whether this client may ask.
    pub fn admits(&self, client: IpAddr) -> bool {
        self.allow.as_ref().is_none_or(|allow| allow.contains(client)) && !self.deny.contains(client)
    }
}

/// Replaces the beginning of a path. The root is empty.
#[derive(Debug)]
pub struct Rewriting {
    /// The prefix that is replaced, by whole segments, without a final slash.
    pub from: Box<str>,
    /// What stands in its place.
    pub to: Box<str>,
    /// What the replica is told of it.
    pub told: Option<HeaderValue>,
    /// The same as a line of HTTP/1.1.
    pub line: Bytes,
    /// Whether every normal path of the route begins so.
    pub is_sure: bool,
}

impl Rewriting {
    /// What the config says, for a route of these paths.
    pub fn of(Rewrite { from, to }: &Rewrite, paths: &PathPattern) -> Self {
        let [from, to] = [from, to].map(|path| Box::<str>::from(path.trim_end_matches('/')));
        let told = HeaderValue::try_from(&*from).ok().filter(|told| !told.is_empty());
        let is_sure = match paths {
            PathPattern::Exact(path) | PathPattern::Prefix(path) => !from.is_empty() && has_prefix(path, &from),
            PathPattern::Regex(_) => false,
        };
        let mut line = Vec::new();
        told.iter().for_each(|told| push_line(&mut line, &X_FORWARDED_PREFIX, told));
        Self { from, to, told, line: line.into(), is_sure }
    }
}

/// What is done to the header fields of a message.
#[derive(Debug, Default)]
pub struct Edits {
    /// These are removed, before anything else.
    pub remove: Box<[HeaderName]>,
    /// These get a value, in this order.
    pub values: Box<[Edit]>,
    /// Whether any of the values is made for each request.
    pub has_templates: bool,
    /// The fields of which nothing is left that the message had.
    pub names: Arc<[HeaderName]>,
    /// Whether all fields that it concerns are for the application alone. Then nothing here looks at them, and what
    /// is added can be added last.
    pub is_inert: bool,
    /// The values of an edit that is inert, as lines of HTTP/1.1; empty with templates.
    pub lines: Bytes,
    /// The lengths of [`Self::names`], one bit each.
    lengths: u64,
}

impl Edits {
    /// Removes these, and then gives values to those.
    pub fn new(remove: Box<[HeaderName]>, values: Box<[Edit]>) -> Self {
        let has_templates = values.iter().any(|edit| matches!(edit.value, FieldValue::Of(_)));
        let replaced = values.iter().filter(|edit| edit.replaces).map(|edit| &edit.name);
        let names: Arc<[HeaderName]> = remove.iter().chain(replaced).cloned().collect();
        let lengths = names.iter().fold(0, |lengths, name| lengths | bit(name.as_str().len()));
        let is_inert = names.iter().chain(values.iter().map(|edit| &edit.name)).all(fields::is_for_application);
        let mut lines = Vec::new();
        for edit in values.iter().filter(|_| is_inert && !has_templates) {
            if let FieldValue::Fixed(value) = &edit.value {
                push_line(&mut lines, &edit.name, value);
            }
        }
        Self { remove, values, has_templates, names, is_inert, lines: lines.into(), lengths }
    }

    /// Whether one of [`Self::names`] may have a name of this length.
    pub fn has_name_of(&self, length: usize) -> bool {
        self.lengths & bit(length) != 0
    }
}

/// The bit of a length. Longer ones share it with shorter ones.
fn bit(length: usize) -> u64 {
    1 << (length % 64)
}

/// A field that gets a value.
#[derive(Debug)]
pub struct Edit {
    /// Its name.
    pub name: HeaderName,
    /// Whether the value takes the place of all that it has.
    pub replaces: bool,
    /// The value.
    pub value: FieldValue,
}

/// A value of a header field.
#[derive(Debug, Clone)]
pub enum FieldValue {
    /// The same for every request.
    Fixed(HeaderValue),
    /// Made for each request.
    Of(Template),
}
