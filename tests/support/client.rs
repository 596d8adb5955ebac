//! A client that shows exactly what came over the wire.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;

use super::{connect, read_until, text};

/// A response; its body is without its framing.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: String,
}

impl Response {
    /// The value of a field; `None` if it is missing.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        text(&self.body)
    }
}

/// The value of a field in a head.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .find_map(|(known, value)| known.eq_ignore_ascii_case(name).then(|| value.trim()))
}

/// Sends one GET on a fresh connection.
#[track_caller]
pub(crate) fn get(address: SocketAddr, path: &str) -> Response {
    let mut stream = connect(address);
    exchange(&mut stream, &format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"))
}

/// Sends `count` GETs, each on a fresh connection. Returns how many each replica responded to.
#[track_caller]
pub(crate) fn who(address: SocketAddr, path: &str, count: usize) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for _ in 0..count {
        let response = get(address, path);
        assert_eq!(response.status, 200, "{}", response.text());
        *names.entry(response.text()).or_default() += 1;
    }
    names
}

/// Writes a request and reads its response. The connection stays open.
#[track_caller]
pub(crate) fn exchange(stream: &mut (impl Read + Write), request: &str) -> Response {
    stream.write_all(request.as_bytes()).unwrap();
    read_response(stream, request.starts_with("HEAD "))
}

/// Reads one response.
#[track_caller]
pub(crate) fn read_response(stream: &mut impl Read, is_head: bool) -> Response {
    let head = text(&read_until(stream, b"\r\n\r\n"));
    let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut response = Response { status, head, body: Vec::new(), trailers: String::new() };
    if is_head || status == 204 || status == 304 || status < 200 {
        return response;
    }
    if response.field("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        (response.body, response.trailers) = read_chunks(stream);
    } else if let Some(length) = response.field("content-length") {
        response.body = vec![0; length.parse().unwrap()];
        let Response { body, head, .. } = &mut response;
        stream.read_exact(body).unwrap_or_else(|error| panic!("{error} within the body of {head}"));
    } else {
        stream.read_to_end(&mut response.body).unwrap();
    }
    response
}

fn read_chunks(stream: &mut impl Read) -> (Vec<u8>, String) {
    let mut body = Vec::new();
    loop {
        let line = text(&read_until(stream, b"\r\n"));
        let size = usize::from_str_radix(line.trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        let start = body.len();
        body.resize(start + size, 0);
        stream.read_exact(&mut body[start..]).unwrap();
        assert_eq!(read_until(stream, b"\r\n"), b"\r\n");
    }
    let mut trailers = String::new();
    loop {
        let line = text(&read_until(stream, b"\r\n"));
        if line == "\r\n" {
            return (body, trailers);
        }
        trailers.push_str(&line);
    }
}
