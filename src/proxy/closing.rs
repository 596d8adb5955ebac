//! Whether the client's connection ends after a response, which the response must say (RFC 9112 section 9.6): a client
//! that is not told sends its next request into the close, and that request is lost.

use http::header::{CONNECTION, HeaderMap, HeaderValue};
use http::{Response, Version};

use super::client::Client;
use super::rest::Rest;
use crate::config::model::Timeouts;
use crate::fields;
use crate::link::response::EndpointBody;

/// Whether the connection of this client ends after a response of the proxy. If the client is still sending the body of
/// its request, the connection stays if the rest can be read and discarded.
pub(super) fn is_last(client: &Client, timeouts: &Timeouts) -> bool {
    if client.is_stream() {
        // A stream of HTTP/2 is told by GOAWAY.
        return false;
    }
    match client.take_unread() {
        None => client.draining_since().is_some(),
        Some(upload) if client.draining_since().is_none() && client.ends_soon(&upload) => {
            client.leave_rest(Rest::discarded(upload, timeouts));
            false
        }
        Some(_) => true,
    }
}

/// Whether the connection of this client ends after this response of an endpoint. An endpoint that does not close its
/// connection goes on reading the body: then nothing is said of an end, even in a drain, because a client that is told
/// stops sending (RFC 9112 section 9.6). Behind the body its connection is idle, and ends as any other.
#[inline]
pub(super) fn is_last_of(client: &Client, response: &Response<EndpointBody>) -> bool {
    if client.is_stream() {
        client.is_read_on.set(reads_on(response));
        return false;
    }
    let is_draining = client.draining_since().is_some();
    let is_last = match client.take_unread() {
        Some(upload) => {
            client.is_read_on.set(reads_on(response) && !client.leaves_open(&upload));
            !client.is_read_on.get() && (is_draining || !client.ends_soon(&upload))
        }
        None => {
            // It may not have got all of the body yet.
            client.is_read_on.set(reads_on(response));
            is_draining
        }
    };
    client.is_told_to_close.set(is_last);
    is_last
}

/// Whether the endpoint goes on reading the body of a request to which it has responded already.
fn reads_on(response: &Response<EndpointBody>) -> bool {
    let says_close = || response.headers().get_all(CONNECTION).iter().any(|value| fields::has_token(value, "close"));
    response.body().can_read_on()
        && match response.version() {
            Version::HTTP_2 => true,
            version => version == Version::HTTP_11 && !says_close(),
        }
}

/// Says in the head of a response that the connection ends after it.
#[cold]
pub(super) fn close(headers: &mut HeaderMap) {
    // A 426 has a value there already.
    headers.append(CONNECTION, HeaderValue::from_static("close"));
}
