//! Reads the messages of a WebSocket (RFC 6455 section 5) from the bytes that pass in one direction. The bytes are not
//! changed, so nothing that is missed here is missed by the application.

use std::io::Cursor;

use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::log::{Message, Side};

/// A longer message is not kept.
const MESSAGE_MAX: usize = 256 << 10;

/// See the module.
pub(super) struct Messages {
    from: Side,
    /// What has come of a frame that is not whole.
    buffer: Vec<u8>,
    /// Bytes of a frame that go by unread.
    skip: u64,
    /// The message that is coming; `None` within if it is not kept.
    message: Option<Option<Vec<u8>>>,
    /// What comes is no WebSocket.
    is_lost: bool,
}

impl Messages {
    pub(super) fn new(from: Side) -> Self {
        Self { from, buffer: Vec::new(), skip: 0, message: None, is_lost: false }
    }

    /// Reads on, and shows each message that is whole.
    pub(super) fn read(&mut self, mut bytes: &[u8], show: &mut dyn FnMut(Message)) {
        if self.skip > 0 {
            let skipped = bytes.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            self.skip -= skipped as u64;
            bytes = bytes.get(skipped..).unwrap_or_default();
        }
        if self.is_lost || bytes.is_empty() {
            return;
        }
        self.buffer.extend_from_slice(bytes);
        while self.frame(show) {}
    }

    /// Takes one frame from the buffer, if it is whole.
    fn frame(&mut self, show: &mut dyn FnMut(Message)) -> bool {
        let mut cursor = Cursor::new(self.buffer.as_slice());
        let (header, length) = match FrameHeader::parse(&mut cursor) {
            Ok(Some(found)) => found,
            Ok(None) => return false,
            Err(_) => {
                self.is_lost = true;
                return false;
            }
        };
        let start = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
        let is_kept = length <= MESSAGE_MAX as u64;
        let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
        if is_kept && end > self.buffer.len() {
            return false;
        }
        let payload = is_kept.then(|| unmasked(self.buffer.get(start..end).unwrap_or_default(), header.mask));
        let taken = end.min(self.buffer.len());
        self.skip = length - (taken - start) as u64;
        self.buffer.drain(..taken);
        self.part(&header, payload, show);
        true
    }

    /// A frame is a message, or a part of one. Control frames may stand between the parts (section 5.4).
    fn part(&mut self, header: &FrameHeader, payload: Option<Vec<u8>>, show: &mut dyn FnMut(Message)) {
        match header.opcode {
            OpCode::Data(Data::Text) => self.message = Some(Some(Vec::new())),
            OpCode::Data(Data::Binary) => self.message = Some(None),
            OpCode::Data(Data::Continue) => {}
            OpCode::Data(Data::Reserved(_)) | OpCode::Control(_) => return,
        }
        let Some(message) = &mut self.message else { return };
        let fits = |text: &Vec<u8>, more: &Vec<u8>| text.len() + more.len() <= MESSAGE_MAX;
        *message = match (message.take(), payload) {
            (Some(mut text), Some(more)) if fits(&text, &more) => {
                text.extend(more);
                Some(text)
            }
            _ => None,
        };
        if header.is_final {
            let text = self.message.take().flatten().and_then(|text| String::from_utf8(text).ok());
            show(Message { from: self.from, text });
        }
    }
}

fn unmasked(payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mask = mask.unwrap_or_default();
    payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
        let mut bytes = vec![first];
        let flag = if mask.is_some() { 0x80 } else { 0 };
        match payload.len() {
            short @ 0..126 => bytes.push(flag | short as u8),
            middle @ 126..65536 => {
                bytes.push(flag | 126);
                bytes.extend((middle as u16).to_be_bytes());
            }
            long => {
                bytes.push(flag | 127);
                bytes.extend((long as u64).to_be_bytes());
            }
        }
        bytes.extend(mask.into_iter().flatten());
        bytes.extend(unmasked(payload, mask));
        bytes
    }

    #[test]
    fn messages_are_read_however_their_bytes_come() {
        let mask = Some([1, 2, 3, 250]);
        let long = vec![b'y'; MESSAGE_MAX + 1];
        let middle = "é".repeat(200);
        let bytes = [
            frame(0x81, b"hello", mask),
            frame(0x01, b"in ", None),
            frame(0x89, b"ping", mask),
            frame(0x80, b"parts", mask),
            frame(0x82, &[0, 255], mask),
            frame(0x81, &long, mask),
            frame(0x81, &[0xff, 0xfe], None),
            frame(0x81, middle.as_bytes(), mask),
            frame(0x88, &[], mask),
        ]
        .concat();
        let expected = [Some("hello"), Some("in parts"), None, None, None, Some(middle.as_str())];
        for size in [1, 7, 4096, bytes.len()] {
            let (mut messages, mut found) = (Messages::new(Side::Request), Vec::new());
            for piece in bytes.chunks(size) {
                messages.read(piece, &mut |message| found.push(message.text));
            }
            let found: Vec<_> = found.iter().map(Option::as_deref).collect();
            assert_eq!(found, expected, "in pieces of {size}");
            assert!(messages.buffer.capacity() < 4 * MESSAGE_MAX, "in pieces of {size}");
        }
    }
}
