//! Targets with bytes that no URL may contain, but that clients send all the same; see [`crate::config::percent`].
//! hyper would refuse most of them. They are percent-encoded before it reads them, each by itself: what becomes of a
//! target must not depend on the pieces it comes in, or on what came before it.
//!
//! So it must be known where a head begins. Nearly always one head comes in a read of its own: then only its first line
//! is looked at, and where its blank line is, where it lies in hyper's own buffer; nothing is copied. How long its body
//! is, hyper has said when it reads on. If anything comes with the head, its fields say how long its body is. Where
//! they leave that open (another protocol is asked for, or they say it in two ways), hyper does not get what comes
//! behind the head until it has read that and asks for more.

use std::io::BufRead as _;

use bytes::Bytes;
use tokio::io::ReadBuf;

use super::chunks::Chunks;
use super::head_fields::{Length, of_line};
use crate::config::percent;

/// The end of nearly every head.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// What is known of the latest request that hyper has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Latest {
    /// Whether it is being served.
    pub(super) is_busy: bool,
    /// The length of its body, in bytes; `None` if it is chunked.
    pub(super) body_length: Option<u64>,
    /// Whether it has a body and asks for another protocol: behind that body a tunnel may begin.
    pub(super) may_become_tunnel: bool,
}

/// Where the next byte belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A head begins with it, or blank lines before one.
    Start,
    /// The method goes on.
    Method,
    /// The first line of a head goes on behind the method.
    Target,
    /// A line of the fields of a head goes on.
    Fields(Line),
    /// A head has ended. What follows it, hyper says when it has read that.
    Behind,
    /// To a body that goes on for this many bytes.
    Sized(u64),
    Chunked(Chunks),
    /// The body of a request that asks for another protocol has ended. As long as that is being served, what comes may
    /// belong to a tunnel.
    BehindBody,
}

/// What has come of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Nothing,
    /// A CR, with which a blank line may begin.
    Cr,
    Something,
}

/// Follows what hyper reads; see the module.
#[derive(Debug)]
pub(super) struct RequestLines {
    place: Place,
    /// The length of the body, as far as the fields have told of it.
    length: Length,
    /// Whether a body has ended.
    has_ended_body: bool,
    /// Whether the body that is followed is of a request that asks for another protocol.
    may_become_tunnel: bool,
}

/// What is to be done with bytes that were read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Followed {
    /// How many of them hyper may have now.
    taken: usize,
    /// What it gets in their place, if there is anything to encode.
    encoded: Option<Vec<u8>>,
}

/// What is left of a read.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// Bytes that have not fitted into the buffer any more, to be read next.
    pub(super) encoded: Bytes,
    /// Bytes that are to be passed when hyper reads on.
    pub(super) held: Bytes,
}

impl RequestLines {
    /// For a connection of which nothing was read, or whose buffer has been given back.
    pub(super) fn new() -> Self {
        Self { place: Place::Start, length: Length::Zero, has_ended_body: false, may_become_tunnel: false }
    }

    /// Whether what was read ends with a body, or within the head that follows it.
    pub(super) fn is_behind_body(&self) -> bool {
        let is_in_head = matches!(self.place, Place::Start | Place::Method | Place::Target | Place::Fields(_));
        self.has_ended_body && (is_in_head || self.place == Place::BehindBody)
    }

    /// Follows what was read into `buf` behind `before`, and encodes what is part of a target.
    #[inline(always)]
    pub(super) fn pass(&mut self, buf: &mut ReadBuf<'_>, before: usize, latest: Latest) -> Option<Left> {
        let read = buf.filled().get(before..).unwrap_or_default();
        if matches!(self.place, Place::Behind | Place::BehindBody) {
            self.read_on(latest);
        }
        if self.place == Place::Start && is_plain_head(read) {
            self.place = Place::Behind;
            return None;
        }
        let followed = self.follow(read);
        if followed.taken == read.len() && followed.encoded.is_none() {
            return None;
        }
        let held = Bytes::copy_from_slice(read.get(followed.taken..).unwrap_or_default());
        buf.set_filled(before + followed.taken);
        let encoded = followed.encoded.map_or_else(Bytes::new, |encoded| {
            buf.set_filled(before);
            put(encoded.into(), buf)
        });
        Some(Left { encoded, held })
    }

    /// As [`Self::pass`], of `bytes` that were read before. It returns how many of them were taken, and what has not
    /// fitted into `buf`.
    #[cold]
    pub(super) fn pass_ahead(&mut self, bytes: &[u8], buf: &mut ReadBuf<'_>, latest: Latest) -> (usize, Bytes) {
        if matches!(self.place, Place::Behind | Place::BehindBody) {
            self.read_on(latest);
        }
        let bytes = bytes.get(..bytes.len().min(buf.remaining())).unwrap_or_default();
        let Followed { taken, encoded } = self.follow(bytes);
        match encoded {
            Some(encoded) => (taken, put(encoded.into(), buf)),
            None => {
                buf.put_slice(bytes.get(..taken).unwrap_or_default());
                (taken, Bytes::new())
            }
        }
    }

    /// hyper has read a head or a body, and what is read now belongs to its body, to the next head, or to a tunnel: of
    /// that it remains unknown.
    #[inline]
    fn read_on(&mut self, latest: Latest) {
        self.place = match (self.place, latest.body_length) {
            (Place::BehindBody, _) => return self.leave_body(latest.is_busy),
            (_, Some(0)) if latest.is_busy => Place::Behind,
            (_, Some(0)) => Place::Start,
            (_, Some(bytes)) => Place::Sized(bytes),
            (_, None) => Place::Chunked(Chunks::START),
        };
        self.may_become_tunnel = latest.may_become_tunnel;
    }

    #[cold]
    fn leave_body(&mut self, is_busy: bool) {
        if !is_busy {
            self.place = Place::Start;
        }
    }

    #[cold]
    fn follow(&mut self, read: &[u8]) -> Followed {
        let is_open = |place| matches!(place, Place::Behind | Place::BehindBody);
        if is_open(self.place) {
            return Followed { taken: read.len(), encoded: None };
        }
        if !matches!(self.place, Place::Start) {
            // Its earlier fields are not here any more.
            self.length = Length::Unknown;
        }
        let (mut at, mut copied, mut encoded) = (0, 0, None::<Vec<u8>>);
        while let Some(rest) = read.get(at..).filter(|rest| !rest.is_empty() && !is_open(self.place)) {
            let place = self.place;
            let used = self.advance(rest);
            if let Some(odd) = odd_part(place, rest.get(..used).unwrap_or_default()) {
                let into = encoded.get_or_insert_with(|| Vec::with_capacity(read.len() + 16));
                into.extend_from_slice(read.get(copied..at + odd).unwrap_or_default());
                percent::encode(read.get(at + odd..at + used).unwrap_or_default(), into);
                copied = at + used;
            }
            at += used;
        }
        if let Some(encoded) = &mut encoded {
            encoded.extend_from_slice(read.get(copied..at).unwrap_or_default());
        }
        Followed { taken: at, encoded }
    }

    /// Goes on with the line, or the part of a body, that these bytes begin with, and returns its length.
    fn advance(&mut self, bytes: &[u8]) -> usize {
        match &mut self.place {
            Place::Start => self.begin(bytes),
            Place::Method | Place::Target | Place::Fields(_) => self.advance_line(bytes),
            Place::Sized(left) => {
                let now = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left = left.saturating_sub(now as u64);
                if *left == 0 {
                    self.end_body();
                }
                now
            }
            Place::Chunked(chunks) => {
                let now = chunks.follow(bytes);
                if *chunks == Chunks::End {
                    self.end_body();
                }
                now
            }
            Place::Behind | Place::BehindBody => bytes.len(),
        }
    }

    fn begin(&mut self, bytes: &[u8]) -> usize {
        let blank = bytes.iter().take_while(|byte| b"\r\n".contains(byte)).count();
        if blank < bytes.len() {
            self.place = Place::Method;
            self.length = if bytes.get(blank..).is_some_and(|head| head.starts_with(b"CONNECT ")) {
                Length::Unknown
            } else {
                Length::Zero
            };
        }
        blank
    }

    fn advance_line(&mut self, bytes: &[u8]) -> usize {
        let line = first_line(bytes);
        let has_ended = line.len() < bytes.len();
        if let Place::Fields(before) = self.place {
            let line_now = match (before, line) {
                (before, []) => before,
                (Line::Nothing, [b'\r']) => Line::Cr,
                _ => Line::Something,
            };
            self.place = Place::Fields(line_now);
            if has_ended && line_now != Line::Something {
                self.end_head(line.len() + 1 < bytes.len());
                return line.len() + 1;
            }
            self.length = of_line(self.length, line);
        } else if self.place == Place::Method && line.contains(&b' ') {
            self.place = Place::Target;
        }
        if has_ended {
            self.place = Place::Fields(Line::Nothing);
        }
        line.len() + usize::from(has_ended)
    }

    fn end_head(&mut self, is_followed: bool) {
        // Where its fields are known, they ask for no other protocol.
        self.may_become_tunnel = false;
        self.place = match self.length {
            _ if !is_followed => Place::Behind,
            Length::Zero => Place::Start,
            Length::Sized(0) => Place::Start,
            Length::Sized(bytes) => Place::Sized(bytes),
            Length::Chunked => Place::Chunked(Chunks::START),
            Length::Unknown => Place::Behind,
        };
    }

    fn end_body(&mut self) {
        self.place = if self.may_become_tunnel { Place::BehindBody } else { Place::Start };
        self.has_ended_body = true;
    }
}

/// Whether this is one whole head, without anything to encode.
#[inline]
fn is_plain_head(read: &[u8]) -> bool {
    let Some(head) = read.strip_suffix(HEAD_END) else { return false };
    let blank = |(end, next): (&u8, &u8)| (*end == b'\n') & (*next <= b'\r');
    // Without a branch per byte, so that several are looked at in one step.
    let pairs = head.iter().zip(head.get(1..).unwrap_or_default());
    let has_blank = pairs.fold(false, |found, pair| found | blank(pair));
    let line = first_line(head);
    let has_blank = has_blank || head.ends_with(b"\n");
    !has_blank && line.first().is_some_and(|byte| *byte > b'\r') && !percent::has_odd(line)
}

/// The first line, as far as it has come, without its LF.
#[inline]
fn first_line(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    // Several bytes are looked at in one step. Reading from memory does not fail.
    let line = rest.skip_until(b'\n').unwrap_or_default();
    let line = bytes.get(..line).unwrap_or_default();
    line.strip_suffix(b"\n").unwrap_or(line)
}

/// Where the part of a line begins that is to be encoded, if any is. The method, which is the first word of a line, may
/// contain a backtick.
fn odd_part(place: Place, line: &[u8]) -> Option<usize> {
    let begin = match place {
        Place::Target => 0,
        Place::Method => line.iter().position(|&byte| byte == b' ')?,
        _ => return None,
    };
    line.get(begin..).is_some_and(percent::has_odd).then_some(begin)
}

/// Puts as much of these bytes into `buf` as there is room for, and returns the rest.
fn put(mut bytes: Bytes, buf: &mut ReadBuf<'_>) -> Bytes {
    buf.put_slice(&bytes.split_to(bytes.len().min(buf.remaining())));
    bytes
}

#[cfg(test)]
mod tests;
