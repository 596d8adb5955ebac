//! A reader of HTTP/1.1 messages that forgives nothing (RFC 9112). It judges what the proxy has passed on, so it shares
//! no code with the proxy.

/// A message as it was on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// The start line without its end.
    pub(crate) start: String,
    /// Names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    /// The body without its framing.
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// The values of all fields of this name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Word number `nth` of the start line, counted from 0.
    pub(crate) fn word(&self, nth: usize) -> &str {
        self.start.split(' ').nth(nth).unwrap_or_default()
    }
}

/// Why there is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// More bytes may make it whole.
    Unfinished,
    /// No further bytes can make it whole.
    Wrong(&'static str),
}

use Trouble::{Unfinished, Wrong};

/// Reads one request. Returns it with its length in bytes.
pub(crate) fn request(bytes: &[u8]) -> Result<(Message, usize), Trouble> {
    let (mut message, end) = head(bytes)?;
    let [method, target, version] = message.start.split(' ').collect::<Vec<_>>()[..] else {
        return Err(Wrong("a request line of other than three words"));
    };
    if method.is_empty() || !method.bytes().all(is_token) {
        return Err(Wrong("the method is no token"));
    }
    if target.is_empty() || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Wrong("the target"));
    }
    if version != "HTTP/1.1" {
        return Err(Wrong("the version"));
    }
    if message.all("host").count() != 1 {
        return Err(Wrong("not one host"));
    }
    let length = framing(&message)?.unwrap_or(Framing::Length(0));
    let (body, used) = body(&bytes[end..], length)?;
    message.body = body;
    Ok((message, end + used))
}

/// Reads one final response to `method` and the interim ones before it. With `is_closed` nothing follows `bytes`.
/// Returns the response with its length in bytes.
pub(crate) fn response(bytes: &[u8], method: &str, is_closed: bool) -> Result<(Message, usize), Trouble> {
    let (mut message, end) = head(bytes)?;
    let mut words = message.start.splitn(3, ' ');
    if !matches!(words.next(), Some("HTTP/1.1" | "HTTP/1.0")) {
        return Err(Wrong("the version"));
    }
    let status = words.next().unwrap_or_default();
    let Ok(status @ 100..=999) = status.parse::<u16>() else { return Err(Wrong("the status")) };
    if words.next().is_none() {
        return Err(Wrong("no space after the status"));
    }
    let framing = framing(&message)?;
    if (100..200).contains(&status) && status != 101 {
        let (message, used) = response(&bytes[end..], method, is_closed)?;
        return Ok((message, end + used));
    }
    if method == "HEAD" || matches!(status, 101 | 204 | 304) {
        return Ok((message, end));
    }
    let rest = &bytes[end..];
    let (body, used) = match framing {
        Some(framing) => body(rest, framing)?,
        None if is_closed => (rest.to_vec(), rest.len()),
        None => return Err(Unfinished),
    };
    message.body = body;
    Ok((message, end + used))
}

fn head(bytes: &[u8]) -> Result<(Message, usize), Trouble> {
    let mut rest = bytes;
    let start = line(&mut rest)?;
    let mut message = Message { start, fields: Vec::new(), body: Vec::new() };
    loop {
        let text = line(&mut rest)?;
        if text.is_empty() {
            return Ok((message, bytes.len() - rest.len()));
        }
        message.fields.push(field(&text)?);
    }
}

fn field(line: &str) -> Result<(String, String), Trouble> {
    let (name, value) = line.split_once(':').ok_or(Wrong("a field without a colon"))?;
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(Wrong("the name of a field"));
    }
    Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
}

/// Takes one line, each byte as a character. Refuses anything but tabs and visible characters.
fn line(rest: &mut &[u8]) -> Result<String, Trouble> {
    let Some(at) = rest.iter().position(|byte| *byte != b'\t' && byte.is_ascii_control()) else {
        return Err(Unfinished);
    };
    match rest[at..] {
        [b'\r', b'\n', ..] => {
            let text = rest[..at].iter().map(|byte| char::from(*byte)).collect();
            *rest = &rest[at + 2..];
            Ok(text)
        }
        [b'\r'] => Err(Unfinished),
        _ => Err(Wrong("a control character")),
    }
}

enum Framing {
    Length(usize),
    Chunked,
}

fn framing(message: &Message) -> Result<Option<Framing>, Trouble> {
    let codings: Vec<&str> = message.all("transfer-encoding").collect();
    let lengths: Vec<&str> = message.all("content-length").collect();
    match (&codings[..], &lengths[..]) {
        ([], []) => Ok(None),
        ([coding], []) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
        ([], [length]) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            length.parse().map(|length| Some(Framing::Length(length))).map_err(|_| Wrong("the length"))
        }
        _ => Err(Wrong("the framing")),
    }
}

fn body(bytes: &[u8], framing: Framing) -> Result<(Vec<u8>, usize), Trouble> {
    match framing {
        Framing::Length(length) => Ok((bytes.get(..length).ok_or(Unfinished)?.to_vec(), length)),
        Framing::Chunked => chunks(bytes),
    }
}

fn chunks(bytes: &[u8]) -> Result<(Vec<u8>, usize), Trouble> {
    let (mut body, mut rest) = (Vec::new(), bytes);
    loop {
        let text = line(&mut rest)?;
        let digits = text.split(';').next().unwrap_or_default();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Wrong("the size of a chunk"));
        }
        let size = usize::from_str_radix(digits, 16).map_err(|_| Wrong("the size of a chunk"))?;
        if size == 0 {
            break;
        }
        body.extend(rest.get(..size).ok_or(Unfinished)?);
        rest = &rest[size..];
        match rest {
            [b'\r', b'\n', ..] => rest = &rest[2..],
            [] | [b'\r'] => return Err(Unfinished),
            _ => return Err(Wrong("the end of a chunk")),
        }
    }
    loop {
        let text = line(&mut rest)?;
        if text.is_empty() {
            return Ok((body, bytes.len() - rest.len()));
        }
        field(&text)?;
    }
}

/// Whether the byte may be part of a token (RFC 9110 section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[test]
fn the_reader_forgives_nothing() {
    for (bytes, expected) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", Ok(27)),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nabc", Ok(49)),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\nT: 1\r\n\r\n", Ok(75)),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nab", Err(Unfinished)),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r", Err(Unfinished)),
        ("GET / HTTP/1.1\nHost: x\r\n\r\n", Err(Wrong("a control character"))),
        ("GET / HTTP/1.1\r\nHost : x\r\n\r\n", Err(Wrong("the name of a field"))),
        ("GET / HTTP/1.1\r\n\r\n", Err(Wrong("not one host"))),
        ("P / HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\nab", Err(Wrong("the framing"))),
        ("P / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", Err(Wrong("the size of a chunk"))),
    ] {
        assert_eq!(request(bytes.as_bytes()).map(|(_, used)| used), expected, "{bytes:?}");
    }
    let closed = "HTTP/1.1 103 Early\r\n\r\nHTTP/1.0 200 \r\n\r\nall";
    assert_eq!(response(closed.as_bytes(), "GET", true).unwrap().0.body, b"all");
    assert_eq!(response(closed.as_bytes(), "GET", false), Err(Unfinished));
}
