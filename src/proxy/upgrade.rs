//! Another protocol in place of HTTP: `Upgrade` of HTTP/1.1 (RFC 9110 section 7.8), and WebSockets over HTTP/2 (RFC
//! 8441).
//!
//! The request goes to an endpoint like any other, always as an `Upgrade` of HTTP/1.1. If the endpoint agrees, the
//! client is told so, and once that is sent, the [`Tunnel`] takes over both connections.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use h2::ext::Protocol;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, TE, UPGRADE,
};
use http::{Method, Request, Response, StatusCode, Version};

use super::body::ResponseBody;
use super::busy::Busy;
use super::cause::Cause;
use super::exchange::Exchange;
use super::headers::{self, FieldsSeen};
use super::tunnel::Tunnel;
use crate::fields;
use crate::link::response::EndpointBody;

const WEBSOCKET: &str = "websocket";

/// What a WebSocket server appends to the key to prove that it has read it (RFC 6455 section 1.3).
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The protocol that a client asks for in place of HTTP.
#[derive(Debug)]
pub(super) struct Wanted {
    protocol: HeaderValue,
    /// For a stream of HTTP/2: the `Sec-WebSocket-Accept` that the endpoint must send for the key that was made up
    /// here.
    stream: Option<HeaderValue>,
}

impl Wanted {
    /// The protocol that this request asks for, if any. A request over HTTP/2 is turned into what HTTP/1.1 would say.
    ///
    /// # Errors
    /// The protocol is not one that can be tunnelled from HTTP/2.
    pub(super) fn of<B: http_body::Body>(
        request: &mut Request<B>,
        seen: FieldsSeen,
    ) -> Result<Option<Box<Self>>, Cause> {
        if request.version() == Version::HTTP_2 {
            return Self::of_stream(request);
        }
        let headers = request.headers();
        let asks = seen.upgrade
            && request.version() == Version::HTTP_11
            && headers.get_all(CONNECTION).iter().any(|value| fields::has_token(value, "upgrade"));
        let protocol = if asks { headers.get(UPGRADE).cloned() } else { None };
        let wanted = protocol.filter(|protocol| is_tunnelled(protocol.as_bytes()) && !has_more(headers));
        let wanted = wanted.map(|protocol| Box::new(Self { protocol, stream: None }));
        // Others may be asked for by any method, and with a body (docker exec). A handshake of WebSocket is a GET (RFC
        // 6455 section 4.1).
        let is_handshake = request.method() == Method::GET && request.body().is_end_stream();
        Ok(wanted.filter(|wanted| is_handshake || !wanted.is_websocket()))
    }

    /// Whether it asks for a WebSocket.
    pub(super) fn is_websocket(&self) -> bool {
        self.protocol.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes())
    }

    fn of_stream<B>(request: &mut Request<B>) -> Result<Option<Box<Self>>, Cause> {
        let Some(protocol) = request.extensions().get::<Protocol>() else { return Ok(None) };
        if protocol.as_str() != WEBSOCKET {
            return Err(Cause::UnknownProtocol);
        }
        *request.method_mut() = Method::GET;
        let key = BASE64_STANDARD.encode(fastrand::u128(..).to_be_bytes());
        let accept = BASE64_STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{KEY_SUFFIX}").as_bytes()));
        let (key, accept) = (HeaderValue::try_from(key), HeaderValue::try_from(accept));
        let (Ok(key), Ok(accept)) = (key, accept) else { return Err(Cause::UnknownProtocol) };
        request.headers_mut().insert(SEC_WEBSOCKET_KEY, key);
        request.headers_mut().remove(CONTENT_LENGTH);
        Ok(Some(Box::new(Self { protocol: HeaderValue::from_static(WEBSOCKET), stream: Some(accept) })))
    }

    /// Whether the client would mistake this status for success. Endpoints accept with 101 only; a client of extended
    /// CONNECT reads any 2xx as acceptance (RFC 8441 section 5).
    pub(super) fn is_misled_by(&self, status: StatusCode) -> bool {
        self.stream.is_some() && status.is_success()
    }

    /// Asks the endpoint for the protocol.
    pub(super) fn ask(&self, headers: &mut HeaderMap) {
        headers.remove(TE);
        self.announce(headers);
    }

    fn announce(&self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, self.protocol.clone());
    }

    /// Whether the endpoint agrees to exactly this protocol.
    fn is_granted(&self, headers: &HeaderMap) -> bool {
        let protocol = headers.get(UPGRADE).map(HeaderValue::as_bytes);
        let is_right = protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case(self.protocol.as_bytes()));
        is_right && self.stream.as_ref().is_none_or(|accept| headers.get(SEC_WEBSOCKET_ACCEPT) == Some(accept))
    }
}

/// Whether a client may have this protocol in place of HTTP. Other versions of HTTP and TLS are excluded: the replica
/// would accept requests from within the tunnel that were not routed, checked or limited here.
fn is_tunnelled(protocol: &[u8]) -> bool {
    let name = protocol.split(|&byte| byte == b'/').next().unwrap_or_default();
    let is_token = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(byte));
    let is_http = [&b"http"[..], b"h2", b"h2c", b"h3", b"tls"].iter().any(|other| name.eq_ignore_ascii_case(other));
    is_token && !is_http
}

/// Whether the request asks for several protocols.
fn has_more(headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(UPGRADE).iter();
    fields.next().is_some_and(|field| field.as_bytes().contains(&b',')) || fields.next().is_some()
}

/// Tells the client that the endpoint agrees. The tunnel is left for when that has been sent.
pub(super) fn accept(
    mut exchange: Exchange,
    response: Response<EndpointBody>,
    wanted: Wanted,
    busy: Busy,
) -> Response<ResponseBody> {
    let is_granted = wanted.is_granted(response.headers());
    let (head, body) = response.into_parts();
    let upstream = if is_granted { body.into_raw() } else { None };
    let Some((upstream, ahead)) = upstream else { return refuse(exchange, busy) };
    let mut response = Response::from_parts(head, ResponseBody::local(Bytes::new(), busy));
    exchange.answered(response.status());
    exchange.note_tunnel();
    headers::prepare_response(response.headers_mut());
    let is_websocket = wanted.is_websocket();
    if wanted.stream.is_some() {
        // RFC 8441 section 5: over HTTP/2 there is no switch, and acceptance is a 200.
        *response.status_mut() = StatusCode::OK;
        response.headers_mut().remove(SEC_WEBSOCKET_ACCEPT);
        response.headers_mut().remove(CONTENT_LENGTH);
    } else {
        wanted.announce(response.headers_mut());
    }
    if let Some(planned) = exchange.planned() {
        planned.edit_response(response.headers_mut());
    }
    let client = exchange.client().clone();
    client.leave_tunnel(Tunnel { exchange, upstream, ahead, is_websocket });
    response
}

/// The endpoint's response to the upgrade is not acceptable: it counts as a failure of the endpoint.
pub(super) fn refuse(mut exchange: Exchange, busy: Busy) -> Response<ResponseBody> {
    exchange.endpoint_failed(1);
    super::refusal::fail(&mut exchange, Cause::UpstreamInvalid, None, &HeaderMap::new(), busy)
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;

    use super::*;

    #[test]
    fn what_asks_for_another_protocol() {
        for (method, version, fields, expected) in [
            ("GET", Version::HTTP_11, &[("connection", "Upgrade"), ("upgrade", "websocket")][..], Some("websocket")),
            ("GET", Version::HTTP_11, &[("connection", "keep-alive, upgrade"), ("upgrade", "X/1")], Some("X/1")),
            ("GET", Version::HTTP_11, &[("upgrade", "websocket")], None),
            ("GET", Version::HTTP_11, &[("connection", "upgrade, http2-settings"), ("upgrade", "h2c")], None),
            ("GET", Version::HTTP_11, &[("connection", "upgrade"), ("upgrade", "TLS/1.0")], None),
            ("GET", Version::HTTP_11, &[("connection", "upgrade"), ("upgrade", "HTTP/2.0")], None),
            ("GET", Version::HTTP_11, &[("connection", "upgrade"), ("upgrade", "h2c, websocket")], None),
            ("GET", Version::HTTP_11, &[("connection", "upgrade"), ("upgrade", "a b")], None),
            ("GET", Version::HTTP_11, &[("connection", "upgrade")], None),
            ("GET", Version::HTTP_10, &[("connection", "upgrade"), ("upgrade", "websocket")], None),
            ("POST", Version::HTTP_11, &[("connection", "upgrade"), ("upgrade", "websocket")], None),
            ("POST", Version::HTTP_11, &[("connection", "Upgrade"), ("upgrade", "tcp")], Some("tcp")),
            ("POST", Version::HTTP_11, &[("connection", "Upgrade"), ("upgrade", "SPDY/3.1")], Some("SPDY/3.1")),
            ("POST", Version::HTTP_11, &[("connection", "Upgrade"), ("upgrade", "h2c")], None),
            ("GET", Version::HTTP_2, &[("connection", "upgrade"), ("upgrade", "websocket")], None),
        ] {
            let mut request = Request::builder().method(method).version(version);
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            let mut request = request.body(Empty::<Bytes>::new()).unwrap();
            let seen = FieldsSeen::of(request.headers());
            let wanted = Wanted::of(&mut request, seen).unwrap();
            let protocol = wanted.as_ref().map(|wanted| wanted.protocol.to_str().unwrap());
            assert_eq!(protocol, expected, "{method} {version:?} {fields:?}");
        }
    }
}
