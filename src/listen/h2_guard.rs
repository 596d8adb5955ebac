//! Limits what an HTTP/2 client may send besides its requests.
//!
//! h2 bounds what a client makes it *keep*: streams, header lists, tiny DATA frames, streams reset before they are
//! accepted. It does not bound what a client makes it *do*: pings to acknowledge, frames to read and forget, requests
//! to begin and drop (rapid reset, CVE-2023-44487). [`Guard`] reads the heads of the frames on their way to h2, steps
//! over their payloads, and changes nothing. Each kind of frame spends from a token bucket that time and useful frames
//! fill; a client that spends more is cut off. None of these frames costs more than a plain request, so the limits can
//! be wide: clients at work never meet them, a flood does within milliseconds. Whether the frames are valid HTTP/2 is
//! for h2 to decide.

use tokio::time::Instant;

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD_BYTES: usize = 9;
const END_STREAM: u8 = 0x1;
/// With fewer open streams allowed, resets are limited as if it were this many: RFC 9113 section 6.5.2 advises no
/// fewer.
const STREAMS_MIN: u32 = 100;

/// Frame types (RFC 9113 section 6; the last one: RFC 9218). Any other type means nothing to a server.
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const PRIORITY: u8 = 0x2;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;
const PRIORITY_UPDATE: u8 = 0x10;

/// Why a client is cut off. Each kind has its bucket; the numbers are in [`LIMITS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Abuse {
    /// If each stream lives for a second, resets cannot come faster per second than streams may be open: that is the
    /// rate. The burst is Go's backlog of reset requests, 4 × the open streams; nghttp2 has 1,000 (33/s), Varnish
    /// 100/min, nginx 1,000 requests per connection. A response earns one: half of the streams may be reset at any
    /// speed (as with Envoy), and clients reset streams that were answered before the request was sent to its end.
    RapidReset,
    /// Keep-alive takes a few per minute. A client that measures bandwidth pings once per round trip, on a LAN
    /// thousands of times per second. grpc-go sends a WINDOW_UPDATE before each, to show proxies that it works, so a
    /// WINDOW_UPDATE earns one. Envoy, Go and nghttp2 bound only the acknowledgements that wait to be sent: 1,000,
    /// 10,000, 10,000.
    PingFlood,
    /// A client sends one at the start, an ACK for each of ours, and gRPC's new window sizes, up to ten per second.
    /// Each touches every open stream. nghttp2 takes 330 oddities per second of all kinds; HAProxy ("glitches") takes
    /// as many as it is configured to.
    SettingsFlood,
    /// Firefox begins with a tree of six, Chrome moves a few per request. Envoy permits 100 per stream.
    PriorityFlood,
    /// At 1 GB/s, two updates (stream, connection) per DATA frame of 16 KiB are 122,000 per second; Go may send them
    /// per 4 KiB. Envoy permits 20 per DATA frame sent, which is not seen here, and 2 per stream.
    WindowUpdateFlood,
    /// DATA without payload that does not end its stream. DATA with payload earns one, as some libraries flush that
    /// way. Envoy permits one in a row; h2 (since 0.4.16) 100 per connection, but only on open streams.
    EmptyFrames,
    /// 32 × 16 KiB are far more than any head may have. nghttp2 permits 8, h2 1.25 × the largest head.
    ContinuationFlood,
    /// Frames of unknown types, and GOAWAY and PUSH_PROMISE, which servers do not need. Chrome can send a made-up type
    /// (grease, RFC 8701) with each HEADERS and DATA, so these earn some. nginx bounds all bytes by 8 × those of
    /// payload and 8 MiB.
    UnknownFrames,
}

/// For each [`Abuse`], in order: its name, how many frames may come at once, how many more per second, and how many
/// more for each stream begun. The numbers of the first are multiplied by the number of streams that may be open.
const LIMITS: [(Abuse, &str, f64, f64, f64); 8] = [
    (Abuse::RapidReset, "rapid-reset", 4.0, 1.0, 0.0),
    (Abuse::PingFlood, "ping-flood", 1_000.0, 1_000.0, 1.0),
    (Abuse::SettingsFlood, "settings-flood", 100.0, 50.0, 0.0),
    (Abuse::PriorityFlood, "priority-flood", 1_000.0, 100.0, 10.0),
    (Abuse::WindowUpdateFlood, "window-update-flood", 300_000.0, 300_000.0, 2.0),
    (Abuse::EmptyFrames, "empty-frames", 100.0, 10.0, 0.0),
    (Abuse::ContinuationFlood, "continuation-flood", 32.0, 0.0, 32.0),
    (Abuse::UnknownFrames, "unknown-frames", 100.0, 10.0, 2.0),
];

impl Abuse {
    /// The name for logs and metrics.
    pub(crate) fn name(self) -> &'static str {
        LIMITS[self as usize].1
    }
}

/// Inspects the frames of one client connection; see the module.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Guard {
    stage: Stage,
    /// Bytes that are still missing to complete the stage.
    missing: usize,
    head: [u8; HEAD_BYTES],
    /// The highest stream identifier that the client has begun.
    newest: u32,
    buckets: [Bucket; LIMITS.len()],
}

/// What is being read. After the preface, head and payload alternate. `Foreign` and `Caught` are final.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    Preface,
    Head,
    Payload,
    /// The connection did not begin with the preface, so its bytes are not frames.
    Foreign,
    Caught(Abuse),
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Bucket {
    tokens: f64,
    filled: Instant,
    burst: f64,
    per_second: f64,
}

impl Guard {
    /// A guard for a new connection. `streams_max` is how many streams the client may have open at once.
    pub(crate) fn new(now: Instant, streams_max: u32) -> Self {
        let buckets = LIMITS.map(|(abuse, _, burst, per_second, _)| {
            let factor = if abuse == Abuse::RapidReset { f64::from(streams_max.max(STREAMS_MIN)) } else { 1.0 };
            Bucket { tokens: burst * factor, filled: now, burst: burst * factor, per_second: per_second * factor }
        });
        Self { stage: Stage::Preface, missing: PREFACE.len(), head: [0; HEAD_BYTES], newest: 0, buckets }
    }

    /// Inspects bytes from the client: in order, from the preface on, in parts of any size. For each empty DATA frame
    /// that ends its stream, `ended` is called with the stream and with the place in `bytes` where the frame ends.
    ///
    /// # Errors
    /// The abuse of which the client was caught. Every later call fails with it too.
    pub(crate) fn inspect(
        &mut self,
        bytes: &[u8],
        now: Instant,
        mut ended: impl FnMut(u32, usize),
    ) -> Result<(), Abuse> {
        let mut rest = bytes;
        loop {
            let count = rest.len().min(self.missing);
            let (part, after) = rest.split_at(count);
            match self.stage {
                Stage::Preface if !PREFACE[PREFACE.len() - self.missing..].starts_with(part) => {
                    self.stage = Stage::Foreign;
                }
                Stage::Head => self.head[HEAD_BYTES - self.missing..][..count].copy_from_slice(part),
                Stage::Preface | Stage::Payload => {}
                Stage::Foreign => return Ok(()),
                Stage::Caught(abuse) => return Err(abuse),
            }
            self.missing -= count;
            rest = after;
            if self.missing > 0 {
                return Ok(());
            }
            (self.stage, self.missing) = match self.stage {
                Stage::Head => match self.judge(now) {
                    Ok(payload) => {
                        if let [0, 0, 0, DATA, flags, id @ ..] = self.head
                            && flags & END_STREAM != 0
                        {
                            ended(u32::from_be_bytes(id) & !(1 << 31), bytes.len() - rest.len());
                        }
                        (Stage::Payload, payload)
                    }
                    Err(abuse) => (Stage::Caught(abuse), 0),
                },
                Stage::Preface | Stage::Payload => (Stage::Head, HEAD_BYTES),
                last @ (Stage::Foreign | Stage::Caught(_)) => (last, 0),
            };
        }
    }

    /// A request got its whole response, so the client may reset one more.
    pub(crate) fn answered(&mut self) {
        self.earn(Abuse::RapidReset, 1.0);
    }

    /// Counts the frame whose head is complete. It returns the number of payload bytes that follow; h2 refuses wrong
    /// lengths.
    fn judge(&mut self, now: Instant) -> Result<usize, Abuse> {
        let [high, middle, low, kind, flags, id @ ..] = self.head;
        let payload = u32::from_be_bytes([0, high, middle, low]) as usize;
        let stream = u32::from_be_bytes(id) & !(1 << 31);
        let spent = match kind {
            DATA if payload > 0 => {
                self.earn(Abuse::EmptyFrames, 1.0);
                self.earn(Abuse::UnknownFrames, 1.0);
                return Ok(payload);
            }
            DATA if flags & END_STREAM == 0 => Abuse::EmptyFrames,
            HEADERS if stream > self.newest => {
                self.newest = stream;
                LIMITS.iter().for_each(|&(abuse, .., per_stream)| self.earn(abuse, per_stream));
                return Ok(payload);
            }
            DATA | HEADERS => return Ok(payload),
            PRIORITY | PRIORITY_UPDATE => Abuse::PriorityFlood,
            RST_STREAM => Abuse::RapidReset,
            SETTINGS => Abuse::SettingsFlood,
            PING => Abuse::PingFlood,
            WINDOW_UPDATE => {
                self.earn(Abuse::PingFlood, 1.0);
                Abuse::WindowUpdateFlood
            }
            CONTINUATION => Abuse::ContinuationFlood,
            _ => Abuse::UnknownFrames,
        };
        if self.buckets[spent as usize].take(now) { Ok(payload) } else { Err(spent) }
    }

    fn earn(&mut self, abuse: Abuse, tokens: f64) {
        self.buckets[abuse as usize].tokens += tokens;
    }
}

impl Bucket {
    /// Takes a token, and returns whether there was one. No more than `burst` is ever saved up. Below zero the client
    /// is cut off for good.
    fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = self.filled.max(now);
        self.tokens = (self.tokens + elapsed * self.per_second).min(self.burst) - 1.0;
        self.tokens >= 0.0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const GREASE: u8 = 0xb;

    fn frame(kind: u8, flags: u8, stream: u32, payload: usize) -> Vec<u8> {
        let [_, length @ ..] = (payload as u32).to_be_bytes();
        [&length[..], &[kind, flags], &stream.to_be_bytes(), &vec![0xff; payload]].concat()
    }

    impl Guard {
        fn look(&mut self, bytes: &[u8], now: Instant) -> Result<(), Abuse> {
            self.inspect(bytes, now, |_, _| ())
        }
    }

    /// A guard that has seen the preface.
    fn opened(now: Instant, streams_max: u32) -> Guard {
        Guard { stage: Stage::Head, missing: HEAD_BYTES, ..Guard::new(now, streams_max) }
    }

    /// How many of these frames pass before the guard reports this abuse.
    fn passed(guard: &Guard, frame: &[u8], abuse: Abuse, now: Instant) -> usize {
        let mut guard = guard.clone();
        (0..1_000_000).take_while(|_| guard.look(frame, now) != Err(abuse)).count()
    }

    #[test]
    fn each_abuse_is_caught_just_above_its_limit() {
        use Abuse::*;
        let (begin, data, update) = (frame(HEADERS, 4, 1, 9), frame(DATA, 0, 1, 1), frame(WINDOW_UPDATE, 0, 1, 4));
        let with_trailers = [&begin[..], &frame(HEADERS, 5, 1 | 1 << 31, 9)].concat();
        // The frame that is sent, how many pass at once and how many a second later, which bytes earn more, and how
        // many more.
        let table = [
            (RapidReset, RST_STREAM, 4, 512, 128, &begin, 0),
            (PingFlood, PING, 8, 1_000, 1_000, &update, 1),
            (PingFlood, PING, 8, 1_000, 1_000, &begin, 1),
            (SettingsFlood, SETTINGS, 6, 100, 50, &begin, 0),
            (PriorityFlood, PRIORITY, 5, 1_000, 100, &begin, 10),
            (PriorityFlood, PRIORITY_UPDATE, 9, 1_000, 100, &with_trailers, 10),
            (WindowUpdateFlood, WINDOW_UPDATE, 4, 300_000, 300_000, &begin, 2),
            (EmptyFrames, DATA, 0, 100, 10, &data, 1),
            (ContinuationFlood, CONTINUATION, 9, 32, 0, &begin, 32),
            (UnknownFrames, GREASE, 300, 100, 10, &begin, 2),
            (UnknownFrames, 0x7, 8, 100, 10, &data, 1), // GOAWAY
        ];
        for (abuse, kind, payload, burst, per_second, earning, earned) in table {
            assert_eq!(LIMITS[abuse as usize].0, abuse);
            let (now, name, bad) = (Instant::now(), abuse.name(), frame(kind, 0, 1, payload));
            let later = now + Duration::from_secs(1);
            let mut guard = opened(now, 128);
            assert_eq!(passed(&guard, &bad, abuse, now), burst, "{name} at once");
            assert_eq!(guard.look(&bad.repeat(burst), now), Ok(()));
            assert_eq!(passed(&guard, &bad, abuse, later), per_second, "{name} a second later");
            assert_eq!(guard.look(earning, now), Ok(()));
            assert_eq!(passed(&guard, &bad, abuse, now), earned, "{name} earned");
            assert_eq!(guard.look(&bad.repeat(earned + 1), now), Err(abuse));
            assert_eq!(guard.look(earning, later), Err(abuse), "once caught, always caught");
        }
    }

    #[test]
    fn resets_depend_on_streams_and_answers() {
        let (now, reset) = (Instant::now(), frame(RST_STREAM, 0, 1, 4));
        for (streams_max, before, burst, after) in [(1, 0, 400, 0), (128, 9_999, 512, 0), (200, 0, 800, 7)] {
            let mut guard = opened(now, streams_max);
            (0..before).for_each(|_| guard.answered());
            assert_eq!(passed(&guard, &reset, Abuse::RapidReset, now), burst, "nothing is saved up");
            assert_eq!(guard.look(&reset.repeat(burst), now), Ok(()));
            (0..after).for_each(|_| guard.answered());
            assert_eq!(passed(&guard, &reset, Abuse::RapidReset, now), after);
        }
    }

    #[test]
    fn where_reads_end_does_not_matter() {
        let begin = [frame(SETTINGS, 0, 0, 18), frame(WINDOW_UPDATE, 0, 0, 4), frame(PRIORITY, 0, 3, 5)].concat();
        let head = [frame(HEADERS, 0x0, 5, 40), frame(CONTINUATION, 0x4, 5, 70), frame(GREASE, 9, 5, 3)].concat();
        let body = [frame(DATA, 0, 5, 300), frame(DATA, 0, 5, 0), frame(DATA, END_STREAM, 5, 0)].concat();
        let end = [frame(PING, 0, 0, 8), frame(RST_STREAM, 0, 5, 4), frame(0x7, 0, 0, 8)].concat();
        let (now, legit) = (Instant::now(), [PREFACE, &begin[..], &head, &body, &end].concat());
        let abusive = [&legit[..], &frame(SETTINGS, 0, 0, 0).repeat(102)].concat();
        for (bytes, expected) in [(legit, Ok(())), (abusive, Err(Abuse::SettingsFlood))] {
            let fed = |parts: &[&[u8]]| {
                let mut guard = Guard::new(now, 128);
                (parts.iter().try_for_each(|part| guard.look(part, now)), guard)
            };
            let whole = fed(&[&bytes]);
            assert_eq!(whole.0, expected);
            assert_eq!(fed(&bytes.chunks(1).collect::<Vec<_>>()), whole);
            for (before, after) in (0..=bytes.len()).map(|at| bytes.split_at(at)) {
                assert_eq!(fed(&[before, after]), whole, "{}", before.len());
            }
        }
    }

    #[test]
    fn garbage_is_survived_and_other_protocols_are_left_alone() {
        let (now, mut seed) = (Instant::now(), 1_u64);
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        };
        for _ in 0..5_000 {
            // Mostly zeros, so that most lengths are short and many frames are complete.
            let bytes: Vec<u8> = (0..2_000).map(|_| if random() % 64 == 0 { random() as u8 } else { 0 }).collect();
            let mut guard = opened(now, 128);
            let _either = guard.look(&bytes, now + Duration::from_nanos(random()));
        }
        let other = [b"PRI * HTTP/1.1\r\nhost:a\r\n", &frame(SETTINGS, 0, 0, 0).repeat(999)[..]].concat();
        assert_eq!(Guard::new(now, 128).look(&other, now), Ok(()));
    }

    #[test]
    fn clients_at_work_are_never_cut_off() {
        let updates = [frame(WINDOW_UPDATE, 0, 0, 4), frame(WINDOW_UPDATE, 0, 1, 4)].concat();
        let measured = [&updates[..], &frame(PING, 0, 0, 8)].concat();
        let request = |stream| frame(HEADERS, 0x5, stream, 30);
        let cancelled = |stream| [request(stream), frame(RST_STREAM, 0, stream, 4)].concat();
        let page = [(PRIORITY, 5), (PRIORITY, 5), (PRIORITY_UPDATE, 9), (GREASE, 7), (HEADERS, 30)];
        let page = |stream| page.map(|(kind, payload)| frame(kind, 0x4, stream, payload)).concat();
        let half = |stream| if stream % 4 == 1 { cancelled(stream) } else { request(stream) };
        // Each profile runs for 10 s: ticks per second, streams per tick, the bytes sent on each stream, and how many
        // get a response.
        type Profile<'a> = (&'a str, u32, u32, &'a dyn Fn(u32) -> Vec<u8>, u32);
        let profiles: [Profile; 11] = [
            ("gRPC, 1 GB/s down, a ping per 32 KiB", 100, 1, &|_| measured.repeat(306), 0),
            ("1 GB/s down, two updates per 16 KiB", 100, 1, &|_| updates.repeat(611), 0),
            ("keep-alive, however eager", 1_000, 1, &|_| frame(PING, 0, 0, 8), 0),
            ("100 MB/s up", 100, 1, &|_| frame(DATA, 0, 1, 16_384).repeat(61), 0),
            ("h2load -m 128, 100,000/s", 1_000, 100, &request, 100),
            ("a browser with priorities and grease", 10, 128, &page, 128),
            ("another page each second", 1, 128, &cancelled, 0),
            ("zooming in a map", 100, 2, &|stream| if stream < 1_200 { cancelled(stream) } else { vec![] }, 0),
            ("every second request hedged", 100, 200, &half, 100),
            ("answered before the upload's end", 100, 100, &cancelled, 100),
            ("curl", 1, 1, &|stream| [frame(SETTINGS, stream as u8 & 1, 0, 0), request(stream)].concat(), 1),
        ];
        for (name, per_second, streams, sent, answered) in profiles {
            let start = Instant::now();
            let mut guard = opened(start, 128);
            for tick in 0..10 * per_second {
                let now = start + Duration::from_secs(1) * tick / per_second;
                for number in tick * streams..(tick + 1) * streams {
                    assert_eq!(guard.look(&sent(number * 2 + 1), now), Ok(()), "{name}, tick {tick}");
                }
                (0..answered).for_each(|_| guard.answered());
            }
        }
    }
}
