//! Bytes of a socket that were read and given back.

use std::cell::{Cell, RefCell};

use tokio::io::ReadBuf;

/// What is read before everything else.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    bytes: RefCell<Vec<u8>>,
    is_there: Cell<bool>,
}

impl Ahead {
    /// Whether there is anything.
    #[inline]
    pub(super) fn is_there(&self) -> bool {
        self.is_there.get()
    }

    /// Puts `bytes` in front of what is there.
    pub(super) fn unread(&self, bytes: Vec<u8>) {
        let mut ahead = self.bytes.borrow_mut();
        let rest = std::mem::replace(&mut *ahead, bytes);
        ahead.extend(rest);
        self.is_there.set(!ahead.is_empty());
    }

    /// Reads as much of it as `buf` takes.
    #[cold]
    pub(super) fn read(&self, buf: &mut ReadBuf<'_>) {
        let mut ahead = self.bytes.take();
        let rest = ahead.split_off(ahead.len().min(buf.remaining()));
        buf.put_slice(&ahead);
        self.is_there.set(!rest.is_empty());
        *self.bytes.borrow_mut() = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_last_is_read_first() {
        let ahead = Ahead::default();
        let read = |len: usize| {
            let mut space = [0; 8];
            let mut buf = ReadBuf::new(&mut space[..len]);
            ahead.read(&mut buf);
            buf.filled().to_vec()
        };
        assert!(!ahead.is_there());
        ahead.unread(b"cdef".to_vec());
        ahead.unread(b"ab".to_vec());
        assert!(ahead.is_there());
        assert_eq!((read(3), read(2)), (b"abc".to_vec(), b"de".to_vec()));
        assert!(ahead.is_there());
        assert_eq!((read(8), ahead.is_there()), (b"f".to_vec(), false));
    }
}
