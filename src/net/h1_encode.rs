//! A message of HTTP/1.1 on its way out: its head, and its body in the framing that the head announces.
//!
//! What is small (the head, the lines of chunks, short parts of the body) is collected as text; a longer part of the
//! body is written from where it was read. At most one such part is held, so a message has only as much in hand as one
//! write takes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::header::TRAILER;
use http::{HeaderMap, HeaderName};
use http_body::Frame;
use tokio::io::AsyncWrite;

use super::h1_read::HEAD_READ;
use crate::fields::{LINE_END, NAME_END};

/// Room for the text of an ordinary head, in bytes.
pub(crate) const HEAD_ROOM: usize = 1024;

/// Parts of a body that are not longer are copied into the text, so that they leave with what precedes and follows
/// them. What comes with a head is among them.
const SHORT: usize = HEAD_READ;

/// With so much text in hand it is written before more of the body is asked for.
const TEXT_MAX: usize = 16 * 1024;

/// The last chunk, which has no data (RFC 9112 section 7.1), and the end of a chunk in front of one without trailers.
const LAST_CHUNK: &[u8] = b"0\r\n";
const LAST_END: &[u8] = b"\r\n0\r\n\r\n";

/// How a body is delimited (RFC 9112 section 6).
#[derive(Debug)]
pub(crate) enum Framing {
    /// So many bytes of it are still to come.
    Length(u64),
    Chunked {
        /// The fields that the head announces in `Trailer`. Others do not stand in the trailers.
        trailers: Box<[HeaderName]>,
    },
    /// It ends with the connection.
    UntilClose,
}

impl Default for Framing {
    fn default() -> Self {
        Self::Length(0)
    }
}

impl Framing {
    /// Chunks, with the trailers that a head with these fields announces.
    #[cold]
    pub(crate) fn chunked(headers: &HeaderMap) -> Self {
        let names = headers.get_all(TRAILER).iter().flat_map(|list| list.as_bytes().split(|&byte| byte == b','));
        let trailers = names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect();
        Self::Chunked { trailers }
    }
}

/// A body has another length than its head announces.
#[derive(Debug, thiserror::Error)]
#[error("the body has another length than was announced")]
pub(crate) struct WrongLength;

/// Messages that are being written, one after the other; see the module.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    text: Vec<u8>,
    /// How much of `text` has been taken.
    taken: usize,
    /// What follows `text`.
    data: Bytes,
    /// What follows `data`.
    end: &'static [u8],
    framing: Framing,
    /// Whether these hold the end of the message.
    is_last: bool,
    /// Whether the layer below has nothing left of what it has taken.
    is_flushed: bool,
}

impl Encoder {
    /// The text to which a head is appended. No part of a body may be held.
    pub(crate) fn text(&mut self) -> &mut Vec<u8> {
        if self.text.capacity() == 0 {
            self.text = Vec::with_capacity(HEAD_ROOM);
        }
        self.is_flushed = false;
        &mut self.text
    }

    /// Behind the head follows a body in this framing, or none.
    pub(crate) fn begin_body(&mut self, framing: Option<Framing>) {
        self.is_last = framing.is_none();
        self.framing = framing.unwrap_or_default();
    }

    /// Whether the whole message has been given.
    #[inline]
    pub(crate) fn is_last(&self) -> bool {
        self.is_last
    }

    /// Whether more of the body is to be given now.
    #[inline]
    pub(crate) fn wants_more(&self) -> bool {
        !self.is_last && self.data.is_empty() && self.end.is_empty() && self.text.len() < TEXT_MAX
    }

    /// Whether something waits to be written.
    #[inline]
    pub(crate) fn has_more(&self) -> bool {
        self.taken < self.text.len() || !self.data.is_empty() || !self.end.is_empty()
    }

    /// Whether the whole message is out.
    #[inline]
    pub(crate) fn is_out(&self) -> bool {
        self.is_last && self.is_flushed && !self.has_more()
    }

    /// Whether the layer below has nothing left of what it has taken.
    #[inline]
    pub(crate) fn is_flushed(&self) -> bool {
        self.is_flushed
    }

    /// What is left of the message, which has been given as a whole; `None` if it has not.
    pub(crate) fn into_rest(self) -> Option<Bytes> {
        if !self.is_last {
            return None;
        }
        let mut text = self.text;
        text.extend_from_slice(&self.data);
        text.extend_from_slice(self.end);
        Some(Bytes::from(text).slice(self.taken..))
    }

    /// Writes what is there. Ready when all of it has been taken.
    ///
    /// # Errors
    /// The connection has failed.
    #[inline]
    pub(crate) fn poll_write(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.has_more() {
            let parts = [&self.text[self.taken..], &self.data, self.end].map(IoSlice::new);
            let parts = if self.data.is_empty() && self.end.is_empty() { &parts[..1] } else { &parts[..] };
            let taken = ready!(Pin::new(&mut *io).poll_write_vectored(cx, parts))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.take(taken);
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when the layer below has nothing left of what it has taken.
    ///
    /// # Errors
    /// The connection has failed.
    #[inline]
    pub(crate) fn poll_flush(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let flushed = Pin::new(io).poll_flush(cx);
        self.is_flushed = matches!(flushed, Poll::Ready(Ok(())));
        flushed
    }

    /// So many bytes have been taken. Memory that is no longer needed is given back: the next message is as well off
    /// with what another one has just used.
    fn take(&mut self, bytes: usize) {
        self.is_flushed = false;
        let of_text = bytes.min(self.text.len() - self.taken);
        self.taken += of_text;
        let of_data = (bytes - of_text).min(self.data.len());
        self.data.advance(of_data);
        self.end = self.end.get(bytes - of_text - of_data..).unwrap_or_default();
        if self.taken == self.text.len() {
            (self.text, self.taken) = (Vec::new(), 0);
        }
        if self.data.is_empty() {
            self.data = Bytes::new();
        }
    }

    /// Takes in what comes next of the body, behind which it may end.
    ///
    /// # Errors
    /// It has another length than was announced.
    pub(crate) fn add(&mut self, frame: Frame<Bytes>, is_end: bool) -> Result<(), WrongLength> {
        match frame.into_data() {
            Ok(data) => self.add_data(data)?,
            Err(frame) => return self.end(frame.into_trailers().ok()),
        }
        if is_end { self.end(None) } else { Ok(()) }
    }

    fn add_data(&mut self, data: Bytes) -> Result<(), WrongLength> {
        if data.is_empty() {
            // A chunk without data would be the last.
            return Ok(());
        }
        let end = match &mut self.framing {
            // More than was announced would be read as another message.
            Framing::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(WrongLength)?;
                &[]
            }
            Framing::UntilClose => &[],
            Framing::Chunked { .. } => {
                write_size(&mut self.text, data.len());
                LINE_END.as_bytes()
            }
        };
        if data.len() <= SHORT {
            self.text.extend_from_slice(&data);
            self.text.extend_from_slice(end);
        } else {
            (self.data, self.end) = (data, end);
        }
        Ok(())
    }

    /// The body ends.
    ///
    /// # Errors
    /// It is shorter than was announced.
    pub(crate) fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), WrongLength> {
        match &mut self.framing {
            Framing::Length(0) | Framing::UntilClose => {}
            Framing::Length(_) => return Err(WrongLength),
            // Often the last data wait too. Then everything leaves at once.
            Framing::Chunked { .. } if !self.end.is_empty() => self.end = LAST_END,
            Framing::Chunked { trailers: announced } => {
                self.text.extend_from_slice(LAST_CHUNK);
                for (name, value) in trailers.iter().flatten().filter(|(name, _)| announced.contains(name)) {
                    write_line(&mut self.text, name.as_str(), value.as_bytes());
                }
                self.text.extend_from_slice(LINE_END.as_bytes());
            }
        }
        self.is_last = true;
        Ok(())
    }
}

/// Appends a field.
#[inline]
pub(crate) fn write_line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(NAME_END.as_bytes());
    out.extend_from_slice(value);
    out.extend_from_slice(LINE_END.as_bytes());
}

/// Appends the size of a chunk, which is not empty.
fn write_size(out: &mut Vec<u8>, size: usize) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digits = size.checked_ilog(16).unwrap_or(0) + 1;
    out.extend((0..digits).rev().map(|place| DIGITS[size >> (4 * place) & 15]));
    out.extend_from_slice(LINE_END.as_bytes());
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// What is written of `encoder` if so much is taken at once.
    fn wire(encoder: &mut Encoder, at_once: usize) -> Vec<u8> {
        let mut wire = Vec::new();
        while encoder.has_more() {
            let parts = [&encoder.text[encoder.taken..], &encoder.data, encoder.end].concat();
            let taken = at_once.min(parts.len());
            wire.extend_from_slice(&parts[..taken]);
            encoder.take(taken);
        }
        wire
    }

    #[test]
    fn a_body_is_written_in_its_framing_however_little_is_taken_at_once() {
        let long = "x".repeat(9000);
        let chunked = || Framing::Chunked { trailers: ["x-sum".parse().unwrap()].into() };
        let trailers = HeaderMap::from_iter([
            ("x-sum".parse().unwrap(), HeaderValue::from_static("1")),
            ("x-other".parse().unwrap(), HeaderValue::from_static("2")),
        ]);
        for at_once in [1, 2, 7, 100, 5000] {
            for (framing, parts, trailers, expected) in [
                (Framing::Length(6), vec!["abc", "", "def"], None, "abcdef".to_owned()),
                (Framing::Length(9000), vec![&long], None, long.clone()),
                (Framing::Length(0), vec![], None, String::new()),
                (chunked(), vec![], None, "0\r\n\r\n".into()),
                (chunked(), vec!["abc", &long], None, format!("3\r\nabc\r\n2328\r\n{long}\r\n0\r\n\r\n")),
                // What the head has not announced does not stand in the trailers.
                (chunked(), vec!["abc"], Some(&trailers), "3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n".into()),
            ] {
                let mut encoder = Encoder { framing, ..Encoder::default() };
                let mut written = Vec::new();
                for part in &parts {
                    encoder.add_data(Bytes::copy_from_slice(part.as_bytes())).unwrap();
                    written.extend(wire(&mut encoder, at_once));
                }
                encoder.end(trailers.cloned()).unwrap();
                written.extend(wire(&mut encoder, at_once));
                assert_eq!(String::from_utf8(written).unwrap(), expected, "{at_once} at once");
                assert!(encoder.is_last && encoder.text.capacity() == 0, "nothing is kept");
            }
        }
    }

    #[test]
    fn the_end_leaves_with_the_last_data() {
        let mut encoder = Encoder { framing: Framing::Chunked { trailers: Box::default() }, ..Encoder::default() };
        encoder.add_data(Bytes::from(vec![b'x'; SHORT + 1])).unwrap();
        encoder.end(None).unwrap();
        assert!(wire(&mut encoder, usize::MAX).ends_with(b"x\r\n0\r\n\r\n"));
    }

    #[test]
    fn a_body_of_another_length_than_was_announced_breaks_off() {
        let mut longer = Encoder { framing: Framing::Length(2), ..Encoder::default() };
        assert!(longer.add_data(Bytes::from_static(b"abc")).is_err());
        let mut shorter = Encoder { framing: Framing::Length(2), ..Encoder::default() };
        shorter.add_data(Bytes::from_static(b"a")).unwrap();
        assert!(shorter.end(None).is_err() && !shorter.is_last);
    }

    #[test]
    fn sizes_are_hexadecimal() {
        for (size, expected) in [(1, "1"), (15, "F"), (16, "10"), (255, "FF"), (65_536, "10000")] {
            let mut out = Vec::new();
            write_size(&mut out, size);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{expected}\r\n"));
        }
    }

    #[test]
    fn what_is_left_is_all_of_it() {
        let mut encoder = Encoder::default();
        encoder.text().extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
        encoder.begin_body(None);
        encoder.take(4);
        assert_eq!(encoder.into_rest().unwrap(), "/ HTTP/1.1\r\n\r\n");
        assert!(Encoder { framing: Framing::Length(2), ..Encoder::default() }.into_rest().is_none());
    }
}
