//! What tells a replica how a request came: `Forwarded`, the `X-Forwarded` fields, `Via`, and `X-Request-Id`.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::net::IpAddr;

use bytes::Bytes;
use http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue, VIA};

use super::headers::FieldsSeen;
use super::identity::{Identity, Proof};
use crate::fields::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, X_REQUEST_ID, push_line};
use crate::link::added::RequestId;

/// The longest `X-Request-Id` that is kept, in bytes.
pub(super) const REQUEST_ID_BYTES_MAX: usize = 128;

/// The host of a request and what was made for it.
#[derive(Debug)]
struct Last {
    host: HeaderValue,
    made: Made,
}

#[derive(Debug)]
enum Made {
    /// The lines of [`crate::link::added::Added`], with this `Via`.
    Lines(Option<&'static str>, Bytes),
    /// The `Forwarded` element, for a client that is trusted.
    Element(HeaderValue),
}

impl Last {
    fn new(host: &HeaderValue, made: Made) -> Option<Self> {
        // A clone would keep the whole read buffer of the request in memory for as long as the connection lasts.
        HeaderValue::from_bytes(host.as_bytes()).ok().map(|host| Self { host, made })
    }
}

/// What is the same for all requests of a client connection, ready-made: the hot path only clones it.
#[derive(Debug)]
pub(super) struct Forwarding {
    /// Whether the peer is one of the listener's `trusted_proxies`.
    pub trusted: Cell<bool>,
    /// Whether the listener asks its clients for certificates. Then not even a trusted proxy may name the client by
    /// header field.
    pub(super) verifies: bool,
    pub(super) peer: HeaderValue,
    proto: HeaderValue,
    pub(super) identity: Option<Identity>,
    /// `for=...;proto=http;host=` without the host.
    forwarded_prefix: String,
    /// What was made for the last host: a client rarely changes it within a connection.
    last: RefCell<Option<Last>>,
}

impl Forwarding {
    /// Prepares the values for a client at `peer`.
    pub(super) fn new(peer: IpAddr, trusted: bool, is_tls: bool, proof: Proof) -> Self {
        let proto = if is_tls { "https" } else { "http" };
        let peer = peer.to_canonical();
        let node = if peer.is_ipv6() { format!("\"[{peer}]\"") } else { peer.to_string() };
        Self {
            trusted: Cell::new(trusted),
            verifies: !matches!(proof, Proof::NotAskedFor),
            peer: own_text(peer.to_string()),
            proto: HeaderValue::from_static(proto),
            identity: if let Proof::Given(identity) = proof { Some(identity) } else { None },
            forwarded_prefix: format!("for={node};proto={proto};host="),
            last: RefCell::default(),
        }
    }

    /// `http` or `https`.
    pub(super) fn scheme(&self) -> &str {
        self.proto.to_str().unwrap_or_default()
    }

    /// The lines that tell a replica how a request to `host` came, if nobody is believed who has told it before.
    pub(super) fn lines(&self, host: &HeaderValue, via: Option<&'static str>) -> Bytes {
        let mut last = self.last.borrow_mut();
        match last.as_ref() {
            Some(Last { host: known, made: Made::Lines(as_via, lines) }) if known == host && *as_via == via => {
                return lines.clone();
            }
            _ => {}
        }
        let mut lines = Vec::new();
        let as_via = via.map(|via| (VIA, HeaderValue::from_static(via)));
        let fields = [
            (X_FORWARDED_FOR, self.peer.clone()),
            (FORWARDED, self.element(host)),
            (X_FORWARDED_PROTO, self.proto.clone()),
            (X_FORWARDED_HOST, host.clone()),
        ];
        as_via.iter().chain(&fields).for_each(|(name, value)| push_line(&mut lines, name, value));
        let lines = Bytes::from(lines);
        *last = Last::new(host, Made::Lines(via, lines.clone()));
        lines
    }

    /// Goes on with what a trusted client says of how a request came.
    pub(super) fn go_on(
        &self,
        headers: &mut HeaderMap,
        seen: FieldsSeen,
        via: Option<&'static str>,
        host: &HeaderValue,
    ) {
        if let Some(via) = via {
            headers.append(VIA, HeaderValue::from_static(via));
        }
        add_to_list(headers, X_FORWARDED_FOR, self.peer.clone());
        let mut last = self.last.borrow_mut();
        let element = match last.as_ref() {
            Some(Last { host: known, made: Made::Element(element) }) if known == host => element.clone(),
            _ => {
                let element = self.element(host);
                *last = Last::new(host, Made::Element(element.clone()));
                element
            }
        };
        add_to_list(headers, FORWARDED, element);
        headers.entry(X_FORWARDED_PROTO).or_insert_with(|| self.proto.clone());
        headers.entry(X_FORWARDED_HOST).or_insert_with(|| host.clone());
        let is_good = |id: &&HeaderValue| !id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX;
        let known = if seen.request_id { headers.get(X_REQUEST_ID).filter(is_good) } else { None };
        // Also in the place of several.
        let id = known.cloned().unwrap_or_else(|| RequestId::random().value());
        headers.insert(X_REQUEST_ID, id);
    }

    /// The `Forwarded` element for a request to `host`.
    pub(super) fn element(&self, host: &HeaderValue) -> HeaderValue {
        let mut text = self.forwarded_prefix.clone();
        // A value that is not a token must be quoted (RFC 7239 section 4). A host contains neither quotes nor
        // backslashes.
        match host.to_str() {
            Ok(host) if host.bytes().all(is_token_byte) => text.push_str(host),
            Ok(host) => write!(text, "\"{host}\"").unwrap_or_default(),
            Err(_) => {}
        }
        own_text(text)
    }
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A field value from text of visible ASCII that was made here.
fn own_text(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// Adds to a list field. The field is one line then: some applications read only the first, others only the last of
/// several.
fn add_to_list(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
    let before: Vec<&[u8]> = headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
    let list = match before.is_empty() {
        true => value,
        false => {
            HeaderValue::from_bytes(&[&before[..], &[value.as_bytes()]].concat().join(&b", "[..])).unwrap_or(value)
        }
    };
    headers.insert(name, list);
}
