//! Whether the client's connection ends after a response, which the response must say (RFC 9112 section 9.6): a client
//! that is not told sends its next request into the close, and that request is lost.

use http::header::{CONNECTION, HeaderMap, HeaderValue};

use super::client::Client;

/// Whether the connection of this client ends after the response that is being made.
#[inline]
pub(super) fn is_last(client: &Client) -> bool {
    // A stream of HTTP/2 is told by GOAWAY.
    client.draining_since().is_some() && !client.is_stream()
}

/// Says in the head of a response that the connection ends after it.
#[cold]
pub(super) fn close(headers: &mut HeaderMap) {
    // A 426 has a value there already.
    headers.append(CONNECTION, HeaderValue::from_static("close"));
}
