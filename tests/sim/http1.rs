//! An incremental reader of HTTP/1.1 messages that forgives nothing. It shares no code with the proxy.

use super::wire::Queue;

/// Which messages are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    Requests,
    Responses,
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Head(Head),
    Body(Vec<u8>),
    /// The message is whole.
    End,
    Broken(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Head {
    pub(crate) start: String,
    /// Names in lower case.
    pub(crate) fields: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn number(&self, name: &str) -> Option<usize> {
        self.field(name).and_then(|value| value.parse().ok())
    }

    /// The status of a response.
    pub(crate) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
    }

    /// Whether it says that the connection ends.
    pub(crate) fn closes(&self) -> bool {
        self.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Head,
    Length(usize),
    ChunkSize,
    Chunk(usize),
    ChunkEnd,
    Trailers,
    /// A body that ends with the connection.
    UntilClose,
    /// Another protocol.
    Tunnel,
    End,
    Broken,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Reader {
    reads: Reads,
    buffer: Queue,
    at: At,
    /// The next response is one to HEAD.
    pub(crate) is_bodiless: bool,
    /// The fields after the last chunk.
    pub(crate) trailers: Vec<(String, String)>,
}

impl Reader {
    pub(crate) fn new(reads: Reads) -> Self {
        Self { reads, buffer: Queue::default(), at: At::Head, is_bodiless: false, trailers: Vec::new() }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.push(bytes);
    }

    /// Whether it is between two messages, and nothing of the next one has come.
    pub(crate) fn is_between(&self) -> bool {
        self.at == At::Head && self.buffer.is_empty()
    }

    /// Whether the end of the connection would be the end of the message.
    pub(crate) fn ends_with_connection(&self) -> bool {
        self.at == At::UntilClose
    }

    /// The next piece, if it has come.
    pub(crate) fn next(&mut self) -> Option<Piece> {
        match self.at {
            At::Head => self.head(),
            At::Length(0) | At::End => {
                self.at = At::Head;
                Some(Piece::End)
            }
            At::Length(left) => self.body(left).map(|body| {
                self.at = At::Length(left - body.len());
                Piece::Body(body)
            }),
            At::UntilClose | At::Tunnel => self.body(usize::MAX).map(Piece::Body),
            At::Chunk(0) => {
                self.at = At::ChunkEnd;
                self.next()
            }
            At::Chunk(left) => self.body(left).map(|body| {
                self.at = At::Chunk(left - body.len());
                Piece::Body(body)
            }),
            At::ChunkSize => {
                let line = self.line()?;
                match usize::from_str_radix(&line, 16) {
                    Ok(0) => self.at = At::Trailers,
                    Ok(size) => self.at = At::Chunk(size),
                    Err(_) => return Some(self.broken(format!("chunk size {line:?}"))),
                }
                self.next()
            }
            At::ChunkEnd => {
                let line = self.line()?;
                if !line.is_empty() {
                    return Some(self.broken(format!("{line:?} after a chunk")));
                }
                self.at = At::ChunkSize;
                self.next()
            }
            At::Trailers => {
                let line = self.line()?;
                match line.split_once(':') {
                    Some((name, value)) => self.trailers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
                    None if line.is_empty() => self.at = At::End,
                    None => return Some(self.broken(format!("trailer {line:?}"))),
                }
                self.next()
            }
            At::Broken => None,
        }
    }

    fn broken(&mut self, why: String) -> Piece {
        self.at = At::Broken;
        Piece::Broken(why)
    }

    fn body(&mut self, most: usize) -> Option<Vec<u8>> {
        let len = self.buffer.len().min(most);
        if len == 0 { None } else { Some(self.buffer.take(len)) }
    }

    fn line(&mut self) -> Option<String> {
        let bytes = self.buffer.front();
        let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
        let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
        self.buffer.skip(end + 2);
        Some(line)
    }

    fn head(&mut self) -> Option<Piece> {
        let bytes = self.buffer.front();
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
        self.buffer.skip(end + 4);
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let mut fields = Vec::new();
        for line in lines {
            let Some((name, value)) = line.split_once(':') else {
                return Some(self.broken(format!("field {line:?}")));
            };
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let head = Head { start, fields };
        self.trailers.clear();
        match self.framing(&head) {
            Ok(at) => self.at = at,
            Err(why) => return Some(self.broken(why)),
        }
        Some(Piece::Head(head))
    }

    fn framing(&self, head: &Head) -> Result<At, String> {
        let is_valid = match self.reads {
            Reads::Requests => head.start.ends_with(" HTTP/1.1"),
            Reads::Responses => head.start.starts_with("HTTP/1.1 ") && (100..600).contains(&head.status()),
        };
        if !is_valid {
            return Err(format!("start line {:?}", head.start));
        }
        let is_chunked = head.field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        let length = head.field("content-length");
        if self.reads == Reads::Responses && head.status() == 101 {
            return Ok(At::Tunnel);
        }
        match (is_chunked, length) {
            (true, Some(_)) => Err("both framings".to_owned()),
            _ if self.reads == Reads::Responses
                && (head.status() < 200 || head.status() == 204 || self.is_bodiless) =>
            {
                Ok(At::End)
            }
            (true, None) => Ok(At::ChunkSize),
            (false, Some(length)) => length.parse().map(At::Length).map_err(|_| format!("length {length:?}")),
            (false, None) if self.reads == Reads::Requests => Ok(At::Length(0)),
            (false, None) => Ok(At::UntilClose),
        }
    }
}

/// Bodies are parts of this many bytes of chance.
const CHANCE: usize = 65_521;

fn chance() -> &'static [u8] {
    static BYTES: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    BYTES.get_or_init(|| {
        let mut dice = super::dice::Dice::new(1, 1);
        (0..CHANCE).map(|_| dice.next() as u8).collect()
    })
}

/// Where body number `id` begins.
fn offset(id: usize, at: usize) -> usize {
    (id * 7_919 + at) % CHANCE
}

/// The first `len` bytes of body number `id`. Requests have even numbers, replies odd ones.
pub(crate) fn body(id: usize, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let part = &chance()[offset(id, bytes.len())..];
        bytes.extend_from_slice(&part[..part.len().min(len - bytes.len())]);
    }
    bytes
}

/// Whether these are the bytes at `start` of body number `id`.
pub(crate) fn is_pattern(id: usize, start: usize, bytes: &[u8]) -> bool {
    let (mut at, mut rest) = (start, bytes);
    while !rest.is_empty() {
        let part = &chance()[offset(id, at)..];
        let len = part.len().min(rest.len());
        if part[..len] != rest[..len] {
            return false;
        }
        (at, rest) = (at + len, &rest[len..]);
    }
    true
}
