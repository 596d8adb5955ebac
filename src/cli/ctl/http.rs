//! As much of HTTP/1.1 as it takes to ask the admin port. Every wait has a deadline, every length a bound.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tokio::time::Instant;

/// The most bytes of a head, of a body, and of the line before a part of a body.
const HEAD_MAX: u64 = 64 * 1024;
const BODY_MAX: u64 = 256 << 20;
const LINE_MAX: u64 = 1024;
/// The most fields of a head.
const FIELDS_MAX: usize = 64;

/// A connection to the admin port.
#[derive(Debug)]
pub(super) enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Wire {
    fn wait_at_most(&self, time: Duration) -> io::Result<()> {
        let time = Some(time);
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(time).and_then(|()| stream.set_write_timeout(time)),
            Self::Unix(stream) => stream.set_read_timeout(time).and_then(|()| stream.set_write_timeout(time)),
        }
    }
}

/// A connection whose reads and writes are over by a deadline.
#[derive(Debug)]
struct Timed {
    wire: Wire,
    deadline: Instant,
}

impl Timed {
    fn wait(&self) -> io::Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.wire.wait_at_most(left)
    }
}

impl Read for Timed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.wait()?;
        let read = match &mut self.wire {
            Wire::Tcp(stream) => stream.read(buf),
            Wire::Unix(stream) => stream.read(buf),
        };
        read.map_err(late)
    }
}

impl Write for Timed {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.wait()?;
        let written = match &mut self.wire {
            Wire::Tcp(stream) => stream.write(buf),
            Wire::Unix(stream) => stream.write(buf),
        };
        written.map_err(late)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The kernel says that an operation would block when its time is over.
fn late(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// So many bytes are left.
    Length(u64),
    /// So many bytes of the present part are left.
    Chunks(u64),
    UntilClose,
    Ended,
}

/// A response whose body is read as it comes.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    reader: BufReader<Timed>,
    framing: Framing,
}

/// Sends a request, and reads the head of its response.
///
/// # Errors
/// The connection fails, a deadline is over, or what comes is no response.
pub(super) fn ask(wire: Wire, request: &[u8], within: Duration) -> io::Result<Response> {
    let mut reader = BufReader::new(Timed { wire, deadline: Instant::now() + within });
    // A proxy that refuses may close before it has read everything; its response is there nevertheless.
    let sent = reader.get_mut().write_all(request);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let before = head.len();
        let left = HEAD_MAX.saturating_sub(before as u64);
        reader.by_ref().take(left).read_until(b'\n', &mut head)?;
        if head.len() == before {
            sent?;
            return Err(invalid("it closed the connection without a response"));
        }
    }
    let (status, framing) = understand(&head)?;
    Ok(Response { status, reader, framing })
}

fn understand(head: &[u8]) -> io::Result<(u16, Framing)> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response.parse(head).map_err(|_| invalid("what it says is not HTTP"))?;
    let (true, Some(status)) = (parsed.is_complete(), response.code) else {
        return Err(invalid("what it says is not HTTP"));
    };
    let field = |name: &str| response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
    let framing = match (field("transfer-encoding"), field("content-length")) {
        (Some(coding), _) if coding.value.eq_ignore_ascii_case(b"chunked") => Framing::Chunks(0),
        (Some(_), _) => return Err(invalid("its response is in an unknown coding")),
        (None, Some(length)) => {
            let length = std::str::from_utf8(length.value).ok().and_then(|length| length.parse().ok());
            Framing::Length(length.ok_or_else(|| invalid("its response has no valid length"))?)
        }
        (None, None) => Framing::UntilClose,
    };
    Ok((status, framing))
}

impl Response {
    /// The whole body.
    pub(super) fn body(mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        self.by_ref().take(BODY_MAX).read_to_end(&mut body)?;
        if body.len() as u64 == BODY_MAX {
            return Err(invalid("its response is too long"));
        }
        Ok(body)
    }

    /// From now on, what is read has to come within this time.
    pub(super) fn wait_at_most(&mut self, time: Duration) {
        self.reader.get_mut().deadline = Instant::now() + time;
    }

    /// The length of the next part of a body; 0 at its end.
    fn next_part(&mut self) -> io::Result<u64> {
        let mut line = String::new();
        self.reader.by_ref().take(LINE_MAX).read_line(&mut line)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        u64::from_str_radix(size, 16).map_err(|_| invalid("a part of its response has no valid length"))
    }

    /// Reads what is behind a part.
    fn end_part(&mut self) -> io::Result<()> {
        let mut end = [0; 2];
        self.reader.read_exact(&mut end)?;
        if &end == b"\r\n" { Ok(()) } else { Err(invalid("a part of its response does not end where it should")) }
    }
}

impl Read for Response {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Framing::Chunks(0) = self.framing {
            let size = self.next_part()?;
            self.framing = if size == 0 { Framing::Ended } else { Framing::Chunks(size) };
        }
        let left = match self.framing {
            Framing::Ended | Framing::Length(0) => return Ok(0),
            Framing::UntilClose => return self.reader.read(buf),
            Framing::Length(left) | Framing::Chunks(left) => left,
        };
        let most = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = self.reader.read(buf.get_mut(..most).unwrap_or_default())?;
        if read == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let left = left.saturating_sub(read as u64);
        if let Framing::Chunks(_) = self.framing {
            if left == 0 {
                self.end_part()?;
            }
            self.framing = Framing::Chunks(left);
        } else {
            self.framing = Framing::Length(left);
        }
        Ok(read)
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The status and the body of what a server says, or the error.
    fn told(response: &'static [u8]) -> Result<(u16, String), String> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(response).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let response = ask(Wire::Unix(ours), b"GET / HTTP/1.1\r\n\r\n", Duration::from_secs(30));
        let response = response.map_err(|error| error.to_string())?;
        let status = response.status;
        response.body().map(|body| (status, String::from_utf8(body).unwrap())).map_err(|error| error.to_string())
    }

    #[test]
    fn a_body_ends_where_its_head_says() {
        let cases: [(&[u8], &str); 4] = [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef", "abc"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", "abcde"),
            (b"HTTP/1.0 200 OK\r\n\r\nabc", "abc"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
        ];
        for (response, body) in cases {
            assert_eq!(told(response), Ok((200, body.to_owned())));
        }
    }

    #[test]
    fn what_is_no_whole_response_is_an_error() {
        let cases: [&[u8]; 8] = [
            b"",
            b"SSH-2.0-x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
            b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcde\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        ];
        for response in cases {
            assert!(told(response).is_err(), "{:?}", String::from_utf8_lossy(response));
        }
    }

    #[test]
    fn a_server_that_says_nothing_is_given_up() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let error = ask(Wire::Unix(ours), b"GET / HTTP/1.1\r\n\r\n", Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
