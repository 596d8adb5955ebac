//! As much of WebSocket (RFC 6455 section 5) as it takes to end a connection between two frames, not within one.

/// The longest head of a frame: two bytes, eight of length, four of mask.
const HEAD_BYTES_MAX: usize = 14;

/// The status code of a server that goes down (RFC 6455 section 7.4.1).
const GOING_AWAY: u16 = 1001;

/// The first byte of a close frame: FIN, opcode 8.
const CLOSE: u8 = 0x88;
const OPCODE: u8 = 0x0f;

/// Follows the frames of one direction.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; HEAD_BYTES_MAX],
    /// Bytes of the head that have arrived.
    held: usize,
    /// Bytes of the payload that are still missing.
    payload: u64,
    has_closed: bool,
}

impl Frames {
    /// Whether a close frame has begun. No frame follows it.
    pub(super) fn has_closed(&self) -> bool {
        self.has_closed
    }

    /// Whether the next byte begins a frame.
    pub(super) fn is_between(&self) -> bool {
        self.held == 0 && self.payload == 0
    }

    /// Takes in bytes up to the end of the present frame, or of the next one if none is under way. It returns how many.
    fn take_frame(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while self.payload == 0 {
            let Some(&byte) = bytes.get(taken) else { return taken };
            self.head[self.held] = byte;
            self.held += 1;
            taken += 1;
            if let Some(payload) = payload_of(&self.head[..self.held]) {
                self.held = 0;
                self.has_closed |= self.head[0] & OPCODE == CLOSE & OPCODE;
                self.payload = payload;
                if payload == 0 {
                    return taken;
                }
            }
        }
        let rest = u64::try_from(bytes.len() - taken).unwrap_or(u64::MAX).min(self.payload);
        self.payload -= rest;
        taken + usize::try_from(rest).unwrap_or(usize::MAX)
    }

    /// Takes in bytes that are passed on.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[self.take_frame(bytes)..];
        }
    }

    /// Takes in the bytes that belong to the frame under way, and returns how many.
    pub(super) fn pass_rest(&mut self, bytes: &[u8]) -> usize {
        if self.is_between() { 0 } else { self.take_frame(bytes) }
    }
}

/// The number of payload bytes, if the head is complete.
fn payload_of(head: &[u8]) -> Option<u64> {
    let second = *head.get(1)?;
    let (extended, mask) = (usize::from(second & 0x7f), if second & 0x80 != 0 { 4 } else { 0 });
    let length = match extended {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    if head.len() < 2 + length + mask {
        return None;
    }
    let bytes = &head[2..2 + length];
    Some(if length == 0 { extended as u64 } else { bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)) })
}

/// A close frame from server to client.
pub(super) fn close() -> Vec<u8> {
    let [high, low] = GOING_AWAY.to_be_bytes();
    vec![CLOSE, 2, high, low]
}

/// A close frame from client to server, which is masked (RFC 6455 section 5.3).
pub(super) fn masked_close(mask: [u8; 4]) -> Vec<u8> {
    let [high, low] = GOING_AWAY.to_be_bytes();
    let mut frame = vec![CLOSE, 0x80 | 2];
    frame.extend(mask);
    frame.extend([high ^ mask[0], low ^ mask[1]]);
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame with this many bytes of payload.
    fn frame(length: usize, is_masked: bool) -> Vec<u8> {
        let mask = if is_masked { 0x80 } else { 0 };
        let mut bytes = vec![0x82];
        match length {
            0..126 => bytes.push(mask | length as u8),
            126..65_536 => {
                bytes.push(mask | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(mask | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend(vec![0; length + if is_masked { 4 } else { 0 }]);
        bytes
    }

    proptest! {
        /// Wherever a stream is cut, the cut is between two frames exactly if a frame ends there.
        #[test]
        fn frames_end_where_they_end(
            frames in prop::collection::vec((0usize..70_000, any::<bool>()), 1..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let frames: Vec<_> = frames.into_iter().map(|(length, is_masked)| frame(length, is_masked)).collect();
            let all = frames.concat();
            let cut = cut.index(all.len() + 1);
            let mut ends = vec![0];
            frames.iter().for_each(|frame| ends.push(ends[ends.len() - 1] + frame.len()));
            let mut seen = Frames::default();
            seen.pass(&all[..cut]);
            prop_assert_eq!(seen.is_between(), ends.contains(&cut));
            let rest = seen.pass_rest(&all[cut..]);
            prop_assert!(seen.is_between());
            prop_assert!(ends.contains(&(cut + rest)));
        }

        #[test]
        fn rubbish_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut seen = Frames::default();
            seen.pass(&bytes);
            let rest = seen.pass_rest(&bytes);
            prop_assert!(rest <= bytes.len());
        }
    }

    #[test]
    fn a_masked_close_says_the_same() {
        let mask = [1, 2, 3, 4];
        let frame = masked_close(mask);
        let code = [frame[6] ^ mask[0], frame[7] ^ mask[1]];
        assert_eq!((u16::from_be_bytes(code), &close()[2..]), (1001, &code[..]));
        for (bytes, expected) in [(frame, true), (close(), true), (vec![0x81, 0], false), (vec![0x89, 1, 0x88], false)]
        {
            let mut seen = Frames::default();
            seen.pass(&bytes);
            assert_eq!(seen.has_closed(), expected, "{bytes:?}");
        }
    }
}
