//! Short texts that a worker makes for its requests, many of them in one piece of memory.
//!
//! A text of its own would take an allocation, and another one as soon as it is shared. A piece is free again when the
//! last of its texts is gone, so a request that lasts may keep one of them, and no more.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};

/// The size of a piece, in bytes. A longer text has a piece of its own.
const PIECE: usize = 1024;

/// Makes texts out of parts.
#[derive(Debug, Default)]
pub struct Texts(RefCell<BytesMut>);

impl Texts {
    /// One text of these parts.
    #[inline]
    pub fn join<const N: usize>(&self, parts: [&str; N]) -> Bytes {
        let length = parts.iter().map(|part| part.len()).sum();
        let mut piece = self.0.borrow_mut();
        if piece.capacity() < length {
            if length > PIECE {
                return parts.concat().into();
            }
            // It takes the same piece again if no text of it is left.
            piece.reserve(PIECE);
        }
        // Many parts are empty.
        parts.iter().filter(|part| !part.is_empty()).for_each(|part| piece.extend_from_slice(part.as_bytes()));
        piece.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_keep_their_bytes_and_share_their_memory() {
        let texts = Texts::default();
        let long = "c".repeat(PIECE + 1);
        let made: Vec<Bytes> = (0..200).map(|number| texts.join(["/", &format!("a{number}"), "?b"])).collect();
        for (number, text) in made.iter().enumerate() {
            assert_eq!(text, format!("/a{number}?b").as_bytes());
        }
        let follows = |pair: &[Bytes]| pair[0].as_ptr_range().end == pair[1].as_ptr();
        assert!(made.windows(2).filter(|pair| follows(pair)).count() > 190, "many lie in one piece");
        assert_eq!(texts.join(["", &long, ""]), long.as_bytes());
        assert_eq!(texts.join(["", "", ""]), "");
    }

    #[test]
    fn a_piece_without_texts_is_used_again() {
        let texts = Texts::default();
        let first = texts.join(["x"]).as_ptr();
        let seen = (0..10 * PIECE).filter(|_| texts.join(["/abc"]).as_ptr() == first).count();
        assert!(seen > 1, "{seen}");
    }
}
