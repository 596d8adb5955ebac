//! Leaves empty DATA frames out of what h2 reads.
//!
//! h2 ends a connection with its hundredth empty DATA frame, counted over the connection's whole life. Peers send such
//! frames when an application flushes nothing. They carry no byte and end no stream, so they are left out here, before
//! h2 counts them.

const HEAD_BYTES: usize = 9;

/// What a client sends before its first frame (RFC 9113 section 3.4).
const PREFACE_BYTES: usize = 24;

/// The head of an empty DATA frame, up to its flags (RFC 9113 section 6.1): no length, type 0.
const EMPTY_DATA: [u8; 4] = [0; 4];
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_STREAM: u8 = 0x1;
const PADDED: u8 = 0x8;

/// The most bytes of a frame that holds only padding: its length, and the padding.
const PADDING_MAX: u32 = 256;

/// How many empty frames may have reached h2 until a connection gets no new streams.
pub(crate) const EMPTY_MAX: u32 = 50;

/// Follows frames, and leaves out the empty ones.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    head: [u8; HEAD_BYTES],
    /// The bytes of `head` that have come.
    head_len: usize,
    /// The bytes of the payload that are still to come.
    payload: usize,
    /// The stream of the latest HEADERS or CONTINUATION frame of which the latest bytes hold anything.
    latest_head: u32,
}

impl Filter {
    /// For what a client sends.
    pub(crate) fn behind_preface() -> Self {
        Self { payload: PREFACE_BYTES, ..Self::default() }
    }

    /// Removes empty DATA frames from `bytes`, which follow what came before. It returns how many bytes are left, and
    /// how many such frames had to stay.
    pub(crate) fn pass(&mut self, bytes: &mut [u8]) -> (usize, u32) {
        let (mut read, mut kept, mut stayed) = (0, 0, 0);
        if self.payload == 0 || !self.is_of_head() {
            self.latest_head = 0;
        }
        while read < bytes.len() {
            if self.payload > 0 {
                let part = self.payload.min(bytes.len() - read);
                if kept < read {
                    bytes.copy_within(read..read + part, kept);
                }
                (read, kept, self.payload) = (read + part, kept + part, self.payload - part);
                continue;
            }
            let part = (HEAD_BYTES - self.head_len).min(bytes.len() - read);
            self.head[self.head_len..self.head_len + part].copy_from_slice(&bytes[read..read + part]);
            self.head_len += part;
            let is_empty = self.head_len == HEAD_BYTES && self.is_empty_data();
            if is_empty && part == HEAD_BYTES {
                read += part;
            } else {
                stayed += u32::from(is_empty || self.head_len == HEAD_BYTES && self.may_be_padding());
                bytes.copy_within(read..read + part, kept);
                (read, kept) = (read + part, kept + part);
            }
            if self.head_len == HEAD_BYTES {
                let [high, middle, low, _, _, id @ ..] = self.head;
                self.payload = u32::from_be_bytes([0, high, middle, low]) as usize;
                self.head_len = 0;
                if self.is_of_head() {
                    self.latest_head = u32::from_be_bytes(id) & !(1 << 31);
                }
            }
        }
        (kept, stayed)
    }

    /// The stream of the latest head, or part of one, among the bytes that have just passed; 0 if there was none.
    pub(crate) fn latest_head(&self) -> u32 {
        self.latest_head
    }

    fn is_of_head(&self) -> bool {
        matches!(self.head[3], HEADERS | CONTINUATION)
    }

    /// Whether it may be a DATA frame of nothing but padding, which h2 counts as empty too.
    fn may_be_padding(&self) -> bool {
        let [high, middle, low, kind, flags, ..] = self.head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        kind == DATA && flags & PADDED != 0 && flags & END_STREAM == 0 && length <= PADDING_MAX
    }

    fn is_empty_data(&self) -> bool {
        self.head.starts_with(&EMPTY_DATA) && self.head[EMPTY_DATA.len()] & END_STREAM == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let [_, length @ ..] = (payload as u32).to_be_bytes();
        [&length[..], &[kind, flags, 0, 0, 0, 1], &vec![kind; payload]].concat()
    }

    #[test]
    fn the_latest_head_is_known_wherever_it_is_cut() {
        let (data, mut head, mut rest) = (frame(DATA, 0, 30), frame(HEADERS, 0, 20), frame(CONTINUATION, 4, 20));
        (head[8], rest[8]) = (3, 3);
        let sent = [&data[..], &head, &rest, &data].concat();
        let (begin, end) = (data.len(), data.len() + head.len() + rest.len());
        for at in 0..=sent.len() {
            let mut filter = Filter::default();
            let mut seen = |part: &[u8]| {
                filter.pass(&mut part.to_vec());
                filter.latest_head()
            };
            let (before, after) = (seen(&sent[..at]), seen(&sent[at..]));
            assert_eq!(before, if at >= begin + HEAD_BYTES { 3 } else { 0 }, "{at}");
            assert_eq!(after, if at < end { 3 } else { 0 }, "{at}");
        }
    }

    #[test]
    fn empty_frames_are_left_out_and_nothing_else_is_changed() {
        let (empty, settings, ping) = (frame(0, 0, 0), frame(4, 0, 0), frame(6, 1, 8));
        let (data, end) = (frame(0, 0, 300), frame(0, END_STREAM, 0));
        let sent = [&settings[..], &empty, &empty, &data, &empty, &ping, &data, &empty, &end, &empty].concat();
        let expected = [&settings[..], &data, &ping, &data, &end].concat();
        let pass = |filter: &mut Filter, part: &[u8]| {
            let mut bytes = part.to_vec();
            let (kept, stayed) = filter.pass(&mut bytes);
            bytes.truncate(kept);
            (bytes, stayed)
        };
        assert_eq!(pass(&mut Filter::default(), &sent), (expected.clone(), 0));
        // Cut anywhere: at most the one frame stays whose head came in two parts.
        for at in 0..=sent.len() {
            let mut filter = Filter::default();
            let ((first, some), (second, more)) = (pass(&mut filter, &sent[..at]), pass(&mut filter, &sent[at..]));
            let stayed = some + more;
            let got = [first, second].concat();
            assert!(stayed <= 1, "{at}");
            assert_eq!(got.len(), expected.len() + HEAD_BYTES * stayed as usize, "{at}");
            assert!(stayed == 1 || got == expected, "{at}");
        }
    }
}
