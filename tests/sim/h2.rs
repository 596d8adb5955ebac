//! One side of an HTTP/2 connection (RFC 9113): frames, settings, pings, and flow control to the byte, in both
//! directions.

use std::collections::BTreeMap;

use super::hpack::{self, Decoder, Field};
use super::wire::Queue;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const INTERNAL_ERROR: u32 = 2;
/// The window of a connection, and of a stream, before anything is said about it.
const WINDOW: i64 = 65_535;
/// The largest frame that is written.
const FRAME_MAX: usize = 16_384;
/// Bytes of frames that wait for the socket.
const OUT_MAX: usize = 32_768;

/// What came from the other side.
#[derive(Debug)]
pub(crate) enum Came {
    Headers { stream: u32, fields: Vec<Field>, ends: bool },
    Data { stream: u32, bytes: Vec<u8>, ends: bool },
    Reset { stream: u32, code: u32 },
    GoAway { last: u32, code: u32 },
    Broken(String),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Connection {
    buffer: Queue,
    /// Bytes of the other side's preface that are still to come.
    preface: usize,
    decoder: Decoder,
    out: Queue,
    /// Bytes that were put into `out` so far.
    queued: u64,
    /// What may be sent, and what may be received: on the connection, and per stream.
    send: i64,
    send_at_first: i64,
    sends: BTreeMap<u32, i64>,
    receive: i64,
    receive_at_first: i64,
    receives: BTreeMap<u32, i64>,
    headers: Option<(u32, Vec<u8>, bool)>,
    /// Streams that the other side allows.
    pub(crate) streams_max: u32,
}

impl Connection {
    /// A client's side, which allows windows of this size.
    pub(crate) fn client(window: u32, connection_window: u32) -> Self {
        let mut connection = Self::new(window);
        connection.put(PREFACE);
        connection.frame(SETTINGS, 0, 0, &settings(&[(1, 0), (2, 0), (4, window)]));
        connection.allow(0, connection_window);
        connection
    }

    /// A server's side, which allows so many streams.
    pub(crate) fn server(streams: u32) -> Self {
        let mut connection = Self { preface: PREFACE.len(), ..Self::new(WINDOW as u32) };
        connection.frame(SETTINGS, 0, 0, &settings(&[(1, 0), (3, streams)]));
        connection
    }

    fn new(window: u32) -> Self {
        Self {
            buffer: Queue::default(),
            preface: 0,
            decoder: Decoder::new(),
            out: Queue::default(),
            queued: 0,
            send: WINDOW,
            send_at_first: WINDOW,
            sends: BTreeMap::new(),
            receive: WINDOW,
            receive_at_first: window.into(),
            receives: BTreeMap::new(),
            headers: None,
            streams_max: 100,
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.out.push(bytes);
        self.queued += bytes.len() as u64;
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let len = (payload.len() as u32).to_be_bytes();
        self.put(&[len[1], len[2], len[3], kind, flags]);
        self.put(&stream.to_be_bytes());
        self.put(payload);
    }

    /// Bytes for the socket.
    pub(crate) fn out(&mut self) -> &mut Queue {
        &mut self.out
    }

    /// The number of bytes that the socket has taken so far.
    pub(crate) fn flushed(&self) -> u64 {
        self.queued - self.out.len() as u64
    }

    pub(crate) fn queued(&self) -> u64 {
        self.queued
    }

    pub(crate) fn send_headers(&mut self, stream: u32, fields: &[(&str, &str)], ends: bool) {
        self.sends.entry(stream).or_insert(self.send_at_first);
        self.receives.entry(stream).or_insert(self.receive_at_first);
        let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
        self.frame(HEADERS, flags, stream, &hpack::encode(fields));
    }

    /// How many bytes of data could be sent now on this stream.
    pub(crate) fn may_send(&self, stream: u32) -> usize {
        if self.out.len() >= OUT_MAX {
            return 0;
        }
        let own = self.sends.get(&stream).copied().unwrap_or(self.send_at_first);
        usize::try_from(own.min(self.send)).unwrap_or(0).min(FRAME_MAX)
    }

    /// Whether more frames may wait for the socket.
    pub(crate) fn has_room(&self) -> bool {
        self.out.len() < OUT_MAX
    }

    /// Sends data; not more than [`Self::may_send`].
    pub(crate) fn send_data(&mut self, stream: u32, bytes: &[u8], ends: bool) {
        let len = bytes.len() as i64;
        self.send -= len;
        *self.sends.entry(stream).or_insert(self.send_at_first) -= len;
        self.frame(DATA, if ends { END_STREAM } else { 0 }, stream, bytes);
    }

    /// Allows so many more bytes, on a stream or (0) on the connection.
    pub(crate) fn allow(&mut self, stream: u32, bytes: u32) {
        if bytes == 0 {
            return;
        }
        match stream {
            0 => self.receive += i64::from(bytes),
            _ => *self.receives.entry(stream).or_insert(self.receive_at_first) += i64::from(bytes),
        }
        self.frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
    }

    /// What the other side may still send on this stream.
    pub(crate) fn allowed(&self, stream: u32) -> i64 {
        self.receives.get(&stream).copied().unwrap_or(self.receive_at_first)
    }

    pub(crate) fn reset(&mut self, stream: u32, code: u32) {
        self.frame(RST_STREAM, 0, stream, &code.to_be_bytes());
    }

    pub(crate) fn go_away(&mut self, last: u32) {
        self.frame(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat());
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let skipped = self.preface.min(bytes.len());
        self.preface -= skipped;
        self.buffer.push(&bytes[skipped..]);
    }

    /// The next thing that came.
    pub(crate) fn next(&mut self) -> Option<Came> {
        loop {
            let head = self.buffer.front().get(..9)?;
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let (kind, flags) = (head[3], head[4]);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
            if self.buffer.len() < 9 + len {
                return None;
            }
            self.buffer.skip(9);
            let payload = self.buffer.take(len);
            if len > FRAME_MAX {
                return Some(Came::Broken(format!("a frame of {len} bytes")));
            }
            if let Some(came) = self.take(kind, flags, stream, payload) {
                return Some(came);
            }
        }
    }

    fn take(&mut self, kind: u8, flags: u8, stream: u32, mut payload: Vec<u8>) -> Option<Came> {
        let number = |at: usize| {
            payload.get(at..at + 4).map_or(0, |four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]))
        };
        match kind {
            DATA => Some(self.data(flags, stream, payload)),
            HEADERS => {
                if flags & (PADDED | PRIORITY) != 0 {
                    payload.drain(..if flags & PRIORITY != 0 { 5 } else { 0 });
                }
                self.headers = Some((stream, payload, flags & END_STREAM != 0));
                self.end_headers(flags)
            }
            CONTINUATION => {
                if let Some((_, block, _)) = &mut self.headers {
                    block.extend(payload);
                }
                self.end_headers(flags)
            }
            RST_STREAM => Some(Came::Reset { stream, code: number(0) }),
            GOAWAY => Some(Came::GoAway { last: number(0) & 0x7fff_ffff, code: number(4) }),
            SETTINGS if flags & ACK == 0 => {
                self.settings(&payload);
                None
            }
            PING if flags & ACK == 0 => {
                self.frame(PING, ACK, 0, &payload);
                None
            }
            WINDOW_UPDATE => {
                let more = i64::from(number(0) & 0x7fff_ffff);
                match stream {
                    0 => self.send += more,
                    _ => *self.sends.entry(stream).or_insert(self.send_at_first) += more,
                }
                None
            }
            _ => None,
        }
    }

    fn data(&mut self, flags: u8, stream: u32, bytes: Vec<u8>) -> Came {
        let len = bytes.len() as i64;
        self.receive -= len;
        let own = self.receives.entry(stream).or_insert(self.receive_at_first);
        *own -= len;
        if *own < 0 || self.receive < 0 {
            return Came::Broken(format!("more bytes than the window of stream {stream} allows"));
        }
        Came::Data { stream, bytes, ends: flags & END_STREAM != 0 }
    }

    fn end_headers(&mut self, flags: u8) -> Option<Came> {
        if flags & END_HEADERS == 0 {
            return None;
        }
        let (stream, block, ends) = self.headers.take()?;
        Some(match self.decoder.decode(&block) {
            Some(fields) => Came::Headers { stream, fields, ends },
            None => Came::Broken("header block".to_owned()),
        })
    }

    fn settings(&mut self, payload: &[u8]) {
        for six in payload.chunks_exact(6) {
            let value = u32::from_be_bytes([six[2], six[3], six[4], six[5]]);
            match u16::from_be_bytes([six[0], six[1]]) {
                3 => self.streams_max = value,
                4 => {
                    let more = i64::from(value) - self.send_at_first;
                    self.send_at_first += more;
                    self.sends.values_mut().for_each(|window| *window += more);
                }
                _ => {}
            }
        }
        self.frame(SETTINGS, ACK, 0, &[]);
    }
}

fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    pairs.iter().flat_map(|(key, value)| [&key.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect()
}
