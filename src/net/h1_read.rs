//! What was read of a connection of HTTP/1.1 and not used yet.

use std::future::Future as _;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::give_way;

/// Bytes that are read at once of a head. A short message comes as a whole.
pub(crate) const HEAD_READ: usize = 8 * 1024;

/// Bytes that are read at once of a body, at first. A read that fills its memory doubles it.
const BODY_READ_MIN: usize = 16 * 1024;

/// Bytes that are read of a connection before others have their turn: some peers send faster than they can be served.
const TURN_BYTES_MAX: usize = 1 << 20;

/// The last bytes of a head may have come with the bytes before: an end of a line and the empty line.
const END_MAX: usize = 3;

/// See the module.
#[derive(Debug)]
pub(crate) struct ReadBuffer {
    pub(crate) bytes: BytesMut,
    /// Bytes to read next at once, and at most.
    at_once: usize,
    most: usize,
    /// Bytes of the present message that were read since there was nothing to read.
    in_turn: usize,
}

impl ReadBuffer {
    /// An empty one, for which at most so many bytes are read at once.
    pub(crate) fn new(most: usize) -> Self {
        Self { bytes: BytesMut::new(), at_once: BODY_READ_MIN, most, in_turn: 0 }
    }

    /// A new message begins. What came of those before does not count any more.
    #[inline]
    pub(crate) fn begin_message(&mut self) {
        self.in_turn = 0;
    }

    /// Reads more, `most` bytes at most, behind what was read and not used. It returns how much that was. It is pending
    /// too when others are to have their turn.
    pub(crate) fn poll_more(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        if self.in_turn >= TURN_BYTES_MAX {
            self.in_turn = 0;
            give_way(cx);
            return Poll::Pending;
        }
        // One byte more: a read that is cut short tells the runtime that there is no more, without another one.
        let room = self.at_once.min(most.saturating_add(1));
        self.bytes.reserve(room);
        let Poll::Ready(read) = pin!(io.take(room as u64).read_buf(&mut self.bytes)).poll(cx)? else {
            self.in_turn = 0;
            return Poll::Pending;
        };
        self.in_turn += read;
        if read == self.at_once {
            self.at_once = (2 * self.at_once).min(self.most);
        } else if most > room && read < self.at_once / 4 {
            self.at_once = (self.at_once / 2).max(BODY_READ_MIN);
        }
        Poll::Ready(Ok(read))
    }
}

/// Whether a head may be whole of which the first `before` bytes were known, and were not: whether an empty line has
/// come. So one that comes byte by byte is not parsed for each of them.
pub(crate) fn may_be_whole(bytes: &[u8], before: usize) -> bool {
    let new = bytes.get(before.saturating_sub(END_MAX)..).unwrap_or_default();
    let is_empty_line = |at: usize| matches!(new.get(at..), Some([b'\n', b'\n', ..] | [b'\n', b'\r', b'\n', ..]));
    (0..new.len()).any(is_empty_line)
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Whatever becomes of what is read: little of it may be data.
    #[test]
    fn a_peer_that_sends_without_end_does_not_hold_up_the_others() {
        let (mut buffer, mut endless) = (ReadBuffer::new(64 * 1024), tokio::io::repeat(b' '));
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            let mut read = 0;
            while let Poll::Ready(more) = buffer.poll_more(&mut endless, &mut cx, usize::MAX) {
                read += more.unwrap();
                buffer.bytes.clear();
            }
            assert!((TURN_BYTES_MAX..TURN_BYTES_MAX + 64 * 1024).contains(&read), "{read}");
        }
    }

    #[test]
    fn a_head_that_comes_in_pieces_is_looked_at_when_its_end_may_have_come() {
        for head in [
            "HTTP/1.1 200 Fine\r\nContent-Length: 5\r\nX-Empty:\r\n\r\n",
            "HTTP/1.1 200 OK\n\n",
            "HTTP/1.1 200 OK\nA: b\n\r\n",
        ] {
            let bytes = head.as_bytes();
            for before in 0..bytes.len() {
                assert!(may_be_whole(bytes, before), "{head:?} {before}");
                assert!(!may_be_whole(&bytes[..before], 0), "{head:?} {before}");
            }
        }
    }
}
