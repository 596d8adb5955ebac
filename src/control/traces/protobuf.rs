//! Protocol Buffers, as far as spans need them: what is written, field by field.

/// A message that is being written.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

/// How the value of a field is written (the wire type).
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;
const FIXED32: u32 = 5;

impl Message {
    /// A number, unless it is 0, which is what a reader takes for granted.
    pub(super) fn number(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.tag(field, VARINT);
            varint(value, &mut self.0);
        }
    }

    /// A number, also if it is 0: one of several fields, of which one is always there.
    pub(super) fn chosen_number(&mut self, field: u32, value: i64) {
        self.tag(field, VARINT);
        varint(value.cast_unsigned(), &mut self.0);
    }

    /// Eight bytes.
    pub(super) fn fixed64(&mut self, field: u32, value: u64) {
        self.tag(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Four bytes.
    pub(super) fn fixed32(&mut self, field: u32, value: u32) {
        self.tag(field, FIXED32);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Text, or bytes.
    pub(super) fn bytes(&mut self, field: u32, value: &[u8]) {
        self.tag(field, LENGTH);
        varint(value.len() as u64, &mut self.0);
        self.0.extend_from_slice(value);
    }

    /// Another message.
    pub(super) fn message(&mut self, field: u32, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.bytes(field, &inner.0);
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Fields that were written before.
    pub(super) fn append(&mut self, fields: &Self) {
        self.0.extend_from_slice(&fields.0);
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn tag(&mut self, field: u32, wire: u32) {
        varint(u64::from(field << 3 | wire), &mut self.0);
    }
}

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The value of a field of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message that others have written, as far as it can be read. A field of four or eight bytes has no
/// value here.
pub(super) fn fields(mut message: &[u8]) -> impl Iterator<Item = (u64, Value<'_>)> {
    std::iter::from_fn(move || {
        loop {
            let tag = read_varint(&mut message)?;
            let skipped = match (tag & 7) as u32 {
                VARINT => return Some((tag >> 3, Value::Number(read_varint(&mut message)?))),
                LENGTH => {
                    let length = usize::try_from(read_varint(&mut message)?).ok()?;
                    let (value, rest) = message.split_at_checked(length)?;
                    message = rest;
                    return Some((tag >> 3, Value::Bytes(value)));
                }
                FIXED64 => 8,
                FIXED32 => 4,
                _ => return None,
            };
            message = message.get(skipped..)?;
        }
    })
}

fn read_varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_as_the_encoding_says() {
        let mut message = Message::default();
        message.number(1, 150);
        message.number(2, 0);
        message.bytes(2, b"testing");
        message.message(3, |inner| inner.number(1, 150));
        message.chosen_number(3, -1);
        message.fixed64(7, 1);
        message.fixed32(16, 0x101);
        // The first three are the examples of https://protobuf.dev/programming-guides/encoding/.
        let expected = [
            &[0x08, 0x96, 0x01][..],
            &[0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67],
            &[0x1a, 0x03, 0x08, 0x96, 0x01],
            &[0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x39, 1, 0, 0, 0, 0, 0, 0, 0],
            &[0x85, 0x01, 1, 1, 0, 0],
        ];
        assert_eq!(message.into_bytes(), expected.concat());
    }

    proptest! {
        #[test]
        fn numbers_are_read_back(numbers in prop::collection::vec(1..u64::MAX, 0..8)) {
            let mut message = Message::default();
            numbers.iter().for_each(|number| message.number(5, *number));
            message.bytes(6, b"end");
            let bytes = message.into_bytes();
            let mut expected: Vec<_> = numbers.iter().map(|number| (5, Value::Number(*number))).collect();
            expected.push((6, Value::Bytes(b"end")));
            prop_assert_eq!(fields(&bytes).collect::<Vec<_>>(), expected);
        }

        #[test]
        fn nothing_that_is_read_is_too_much(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(fields(&bytes).count() <= bytes.len());
        }
    }
}
