//! What both floors have in common: the one of epoll (`main.rs`) and the one of io_uring (`ring.rs`).

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

/// The most fields of a head.
const FIELDS_MAX: usize = 64;
/// The longest head.
const HEAD_MAX: usize = 32 * 1024;

/// The two arguments: where to listen, and the upstream.
///
/// # Errors
/// There are none, or they are no addresses.
pub fn addresses() -> io::Result<(SocketAddr, SocketAddr)> {
    let mut addresses = std::env::args().skip(1).map(|text| text.parse().map_err(io::Error::other));
    let (Some(listen), Some(upstream)) = (addresses.next(), addresses.next()) else {
        return Err(io::Error::other("LISTEN UPSTREAM"));
    };
    Ok((listen?, upstream?))
}

/// The field that names a client, and the end of the head.
#[must_use]
pub fn forwarded(client: SocketAddr) -> String {
    format!("X-Forwarded-For: {}\r\n\r\n", client.ip())
}

/// How long the head and the body of this message are, or `None` if the head is not whole.
///
/// # Errors
/// It is no message of HTTP/1.1, or its head is too long.
pub fn lengths(bytes: &[u8], is_request: bool) -> io::Result<Option<(usize, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let parsed = if is_request {
        httparse::Request::new(&mut fields).parse(bytes)
    } else {
        httparse::Response::new(&mut fields).parse(bytes)
    };
    let httparse::Status::Complete(head) = parsed.map_err(io::Error::other)? else {
        let is_short = bytes.len() < HEAD_MAX;
        return if is_short { Ok(None) } else { Err(ErrorKind::InvalidData.into()) };
    };
    let length = fields.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let Some(length) = length else { return Ok(Some((head, 0))) };
    let length = std::str::from_utf8(length.value).map_err(io::Error::other)?;
    Ok(Some((head, length.parse().map_err(io::Error::other)?)))
}
