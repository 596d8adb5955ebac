//! The beginning of a request body, kept so that another attempt can send it again.

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

/// The most parts of a body that are kept.
const PARTS_MAX: usize = 256;

/// Parts smaller than this many bytes are copied, except the first. Each reference keeps the buffer that it was read
/// into (8 KiB), so a client that sends byte by byte would make us hold a thousand times what it sent.
const COPIED_BELOW: usize = 2048;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) parts: Vec<Part>,
    bytes: usize,
    /// Whether the beginning was larger than may be kept, and was dropped.
    pub(super) is_too_much: bool,
}

/// One part of a body, as it came.
#[derive(Debug, Clone)]
pub(super) enum Part {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Replay {
    /// Keeps a part, or drops everything if that is more than `bytes_max`.
    pub(super) fn keep(&mut self, frame: &Frame<Bytes>, bytes_max: usize) {
        if self.is_too_much {
            return;
        }
        let part = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) if data.len() < COPIED_BELOW && !self.parts.is_empty() => {
                Part::Data(Bytes::copy_from_slice(data))
            }
            (Some(data), _) => Part::Data(data.clone()),
            (_, Some(trailers)) => Part::Trailers(trailers.clone()),
            _ => return,
        };
        self.bytes = self.bytes.saturating_add(frame.data_ref().map_or(0, Bytes::len));
        if self.bytes > bytes_max || self.parts.len() == PARTS_MAX {
            *self = Self { is_too_much: true, ..Self::default() };
        } else {
            self.parts.push(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_parts_do_not_pin_the_buffers_they_came_in() {
        let mut kept = Replay::default();
        let buffers: Vec<Bytes> = [8192, 8192, 8192].map(|size| Bytes::from(vec![b'x'; size])).into();
        for (buffer, len) in buffers.iter().zip([10, 1, 4096]) {
            kept.keep(&Frame::data(buffer.slice(..len)), 64 * 1024);
        }
        assert_eq!(kept.parts.len(), 3);
        let is_pinned: Vec<bool> = buffers.iter().map(|buffer| !buffer.is_unique()).collect();
        assert_eq!(is_pinned, [true, false, true], "the first, and large ones, are kept as they are");
    }

    #[test]
    fn what_is_kept_has_bounds() {
        for (len, replay_max, kept_parts) in [(1, 1000, PARTS_MAX), (100, 1000, 10), (1001, 1000, 0)] {
            let mut kept = Replay::default();
            let part = Bytes::from(vec![b'x'; len]);
            (0..kept_parts).for_each(|_| kept.keep(&Frame::data(part.clone()), replay_max));
            assert_eq!((kept.parts.len(), kept.is_too_much), (kept_parts, false), "{len}");
            kept.keep(&Frame::data(part), replay_max);
            assert!(kept.is_too_much && kept.parts.is_empty(), "{len}: too much is nothing");
        }
    }
}
