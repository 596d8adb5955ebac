//! The beginning of a request body, kept so that another attempt can send it again.
//!
//! Large parts, and the first one, are kept as references to what was read from the client. Small parts are copied
//! behind each other: each reference would keep the buffer that it was read into (8 KiB), so a client that sends byte
//! by byte would make us hold a thousand times what it sent. So only bytes need a bound, not parts: how a body is torn
//! says nothing about whether it is kept.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;

/// Parts smaller than this many bytes are copied, except the first.
const COPIED_BELOW: usize = 2048;

/// Copied parts lie behind each other in pieces of at most so many bytes. It bounds what is copied when one grows.
const COPIED_TOGETHER: usize = 16 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Replay {
    parts: Vec<Part>,
    bytes: usize,
    /// Whether the beginning was larger than may be kept, and was dropped.
    pub(super) is_too_much: bool,
}

#[derive(Debug)]
enum Part {
    Data(Bytes),
    /// Small parts, one behind the other.
    Copied(BytesMut),
    Trailers(HeaderMap),
}

/// How much of what is kept an attempt has read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    part: usize,
    /// Bytes of that part.
    bytes: usize,
}

impl Part {
    /// Bytes of data.
    fn len(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Copied(data) => data.len(),
            Self::Trailers(_) => 0,
        }
    }

    /// What [`Position::bytes`] is behind it.
    fn extent(&self) -> usize {
        if let Self::Trailers(_) = self { 1 } else { self.len() }
    }

    /// The rest of it, from byte `start` on. A copied part may grow while this is under way, so it is copied once more.
    fn rest(&self, start: usize) -> Option<Frame<Bytes>> {
        match self {
            Self::Data(data) => (start < data.len()).then(|| Frame::data(data.slice(start..))),
            Self::Copied(data) => {
                let rest = data.get(start..).filter(|rest| !rest.is_empty())?;
                Some(Frame::data(Bytes::copy_from_slice(rest)))
            }
            Self::Trailers(trailers) => (start == 0).then(|| Frame::trailers(trailers.clone())),
        }
    }
}

impl Replay {
    /// Keeps a part, or drops everything if that is more than `bytes_max`.
    pub(super) fn keep(&mut self, frame: &Frame<Bytes>, bytes_max: usize) {
        if self.is_too_much {
            return;
        }
        if let Some(trailers) = frame.trailers_ref() {
            return self.parts.push(Part::Trailers(trailers.clone()));
        }
        let Some(data) = frame.data_ref().filter(|data| !data.is_empty()) else { return };
        self.bytes = self.bytes.saturating_add(data.len());
        if self.bytes > bytes_max {
            *self = Self { is_too_much: true, ..Self::default() };
            return;
        }
        match self.parts.last_mut() {
            Some(Part::Copied(last)) if data.len() < COPIED_BELOW && last.len() + data.len() <= COPIED_TOGETHER => {
                last.extend_from_slice(data);
            }
            Some(_) if data.len() < COPIED_BELOW => self.parts.push(Part::Copied(BytesMut::from(&data[..]))),
            _ => self.parts.push(Part::Data(data.clone())),
        }
    }

    /// What is kept behind `position`, part by part, which is moved on.
    pub(super) fn next(&self, position: &mut Position) -> Option<Frame<Bytes>> {
        while let Some(part) = self.parts.get(position.part) {
            let rest = part.rest(position.bytes);
            if rest.is_some() {
                position.bytes = part.extent();
                return rest;
            }
            if position.part + 1 == self.parts.len() {
                break;
            }
            *position = Position { part: position.part + 1, bytes: 0 };
        }
        None
    }

    /// Behind everything that is kept.
    pub(super) fn end(&self) -> Position {
        let last = self.parts.len().saturating_sub(1);
        Position { part: last, bytes: self.parts.last().map_or(0, Part::extent) }
    }

    /// How many bytes of data are kept behind `position`.
    pub(super) fn bytes_behind(&self, position: Position) -> u64 {
        let parts = self.parts.get(position.part..).unwrap_or_default();
        let all: usize = parts.iter().map(Part::len).sum();
        all.saturating_sub(position.bytes) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(parts: &[Bytes], bytes_max: usize) -> Replay {
        let mut kept = Replay::default();
        parts.iter().for_each(|part| kept.keep(&Frame::data(part.clone()), bytes_max));
        kept
    }

    /// The lengths of the parts that another attempt reads, and all their bytes.
    fn read(kept: &Replay, position: &mut Position) -> (Vec<usize>, Vec<u8>) {
        let (mut lengths, mut bytes) = (Vec::new(), Vec::new());
        while let Some(frame) = kept.next(position) {
            let data = frame.into_data().unwrap_or_default();
            lengths.push(data.len());
            bytes.extend_from_slice(&data);
        }
        (lengths, bytes)
    }

    #[test]
    fn small_parts_do_not_pin_the_buffers_they_came_in() {
        let buffers: Vec<Bytes> = [8192, 8192, 8192].map(|size| Bytes::from(vec![b'x'; size])).into();
        let parts: Vec<Bytes> = buffers.iter().zip([10, 1, 4096]).map(|(buffer, len)| buffer.slice(..len)).collect();
        let kept = kept(&parts, 64 * 1024);
        drop(parts);
        assert_eq!(kept.parts.len(), 3);
        let is_pinned: Vec<bool> = buffers.iter().map(|buffer| !buffer.is_unique()).collect();
        assert_eq!(is_pinned, [true, false, true], "the first, and large ones, are kept as they are");
    }

    #[test]
    fn what_is_kept_is_bounded_by_its_bytes_and_not_by_how_it_was_torn() {
        for (len, replay_max) in [(1, 65_536), (1, 1_000), (100, 1_000), (2_048, 20_480), (1_001, 1_000)] {
            let fitting = replay_max / len;
            let parts: Vec<Bytes> = (0..=fitting).map(|at| Bytes::from(vec![at as u8; len])).collect();
            let all = kept(&parts[..fitting], replay_max);
            assert!(!all.is_too_much, "{fitting} parts of {len}");
            let (lengths, bytes) = read(&all, &mut Position::default());
            assert_eq!(bytes, parts[..fitting].concat(), "{fitting} parts of {len}");
            assert!(lengths.len() <= replay_max / 1024 + 2, "{} parts", lengths.len());
            let too_many = kept(&parts, replay_max);
            assert!(too_many.is_too_much && too_many.parts.is_empty(), "{len}: too much is nothing");
        }
    }

    #[test]
    fn an_attempt_reads_on_where_it_was_while_parts_grow() {
        let bytes: Vec<u8> = (0..40_000u32).map(|at| (at % 251) as u8).collect();
        let mut all = Replay::default();
        let (mut read_first, mut position, mut start) = (Vec::new(), Position::default(), 0);
        for len in [1, 0, 5, 3_000, 7, 2_000, 2_000, 2_048, 30].into_iter().cycle() {
            let end = (start + len).min(bytes.len());
            all.keep(&Frame::data(Bytes::copy_from_slice(&bytes[start..end])), usize::MAX);
            assert_eq!(all.bytes_behind(position), (end - read_first.len()) as u64);
            // It reads now and then, as one that was late.
            if start % 3 == 0 {
                read_first.extend(read(&all, &mut position).1);
                assert_eq!((all.bytes_behind(position), position), (0, all.end()));
            }
            start = end;
            if start == bytes.len() {
                break;
            }
        }
        read_first.extend(read(&all, &mut position).1);
        assert_eq!(read_first, bytes);
        assert_eq!(read(&all, &mut Position::default()).1, bytes);
    }

    #[test]
    fn trailers_come_last_and_once() {
        let trailers = HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("x"))]);
        for parts in [&[][..], &[Bytes::from_static(b"body")]] {
            let mut kept = kept(parts, 100);
            kept.keep(&Frame::trailers(trailers.clone()), 100);
            let mut position = Position::default();
            let frames: Vec<bool> = std::iter::from_fn(|| kept.next(&mut position)).map(|f| f.is_trailers()).collect();
            assert_eq!(frames.iter().filter(|is_trailers| **is_trailers).count(), 1);
            assert_eq!((frames.last(), frames.len()), (Some(&true), parts.len() + 1));
            assert_eq!((position, kept.bytes_behind(position)), (kept.end(), 0));
        }
    }
}
