//! A client that speaks HTTP/2.

use std::collections::VecDeque;
use std::rc::Rc;

use super::h2::{CANCEL, Came, Connection, REFUSED_STREAM};
use super::hpack::Field;
use super::http1::{body, is_pattern};
use super::net::{Event, Network, Side};
use super::record::{Records, Seen};
use super::scenario::{ClientPlan, Ends, Ms, Reads};
use super::wire::{PeerRead, Wire};
use super::world::Peer;

/// A stream window that was used up is opened again by this much at least.
const REFILL: u32 = 16_000;

/// See the module.
pub(crate) struct Client {
    number: usize,
    plan: ClientPlan,
    requests: Vec<usize>,
    records: Records,
    net: Rc<Network>,
    wire: Rc<Wire>,
    h2: Connection,
    streams: Vec<Stream>,
    next: usize,
    not_before: Ms,
    began: Ms,
    /// Bytes of bodies received so far.
    received: usize,
    /// Offsets of the output that end the beginning, or the whole, of a request.
    marks: VecDeque<(u64, usize, bool)>,
    was_told_to_go: bool,
    is_over: bool,
}

/// A request under way.
struct Stream {
    id: u32,
    request: usize,
    /// The body that is still to be sent, and how much was sent.
    body: Vec<u8>,
    sent: usize,
    sends_again: Option<Ms>,
    awaits_continue: bool,
    cancels_at: Option<Ms>,
    /// The response is over, and so is the request.
    is_answered: bool,
    is_sent: bool,
    /// Bytes that the window is to be opened by, and when.
    owed: u32,
    pays_at: Ms,
}

impl Client {
    pub(crate) fn new(
        number: usize,
        plan: ClientPlan,
        requests: Vec<usize>,
        records: &Records,
        net: &Rc<Network>,
        wire: Rc<Wire>,
    ) -> Self {
        let now = net.now();
        if let Ends::Resets { after } = plan.ends {
            net.at(now + after, Event::Peer(number));
        }
        let not_before = now + plan.requests[0].pause;
        net.at(not_before, Event::Peer(number));
        Self {
            number,
            h2: Connection::client(plan.window, 1_000_000),
            plan,
            requests,
            records: Rc::clone(records),
            net: Rc::clone(net),
            wire,
            streams: Vec::new(),
            next: 0,
            not_before,
            began: now,
            received: 0,
            marks: VecDeque::new(),
            was_told_to_go: false,
            is_over: false,
        }
    }

    fn later(&self, at: Ms) {
        self.net.at(at, Event::Peer(self.number));
    }

    fn read(&mut self) {
        loop {
            match self.wire.peer_reads(usize::MAX) {
                PeerRead::Nothing => break,
                PeerRead::Bytes(bytes) => self.h2.feed(&bytes),
                PeerRead::End | PeerRead::Reset => {
                    self.take();
                    self.net.mark("client sees the end", self.number, 2);
                    return self.finish();
                }
            }
        }
        self.take();
    }

    fn take(&mut self) {
        while let Some(came) = self.h2.next() {
            match came {
                Came::Headers { stream, fields, ends } => self.headers(stream, &fields, ends),
                Came::Data { stream, bytes, ends } => self.data(stream, &bytes, ends),
                Came::Reset { stream, code } => self.reset(stream, code),
                Came::GoAway { last, code } => self.go_away(last, code),
                Came::Broken(why) => return self.net.violated("a malformed response", why),
            }
        }
    }

    fn headers(&mut self, stream: u32, fields: &[Field], ends: bool) {
        let Some(at) = self.streams.iter().position(|known| known.id == stream) else {
            return self.net.violated("a response to no request", format!("stream {stream}"));
        };
        let request = self.streams[at].request;
        let field = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let number = |name: &str| field(name).and_then(|value| value.parse::<usize>().ok());
        let status = number(":status").unwrap_or(0);
        self.net.mark("client has head", request, status as u64);
        self.streams[at].awaits_continue &= (101..200).contains(&status);
        let mut records = self.records.borrow_mut();
        let record = &mut records[request];
        if status == 103 {
            self.net.reached("HTTP/2: an early hint");
            return record.hinted(request, &self.net, field("x-hint"));
        }
        if (100..200).contains(&status) {
            self.net.reached("HTTP/2: told to continue");
            record.is_told |= status == 100;
            return;
        }
        record.has_trailers |= number("x-end") == Some(request);
        if record.seen == Seen::Nothing {
            record.seen = Seen::Head;
            record.touched = self.net.now();
            record.status = status as u16;
            record.cause = field("x-unstick-error").map(str::to_owned);
            record.attempt = number("x-attempt");
            if record.cause.is_none() && number("x-id") != Some(request) && !record.abandoned {
                self.net.violated("another response", format!("request {request} got {fields:?}"));
            }
        }
        drop(records);
        if ends {
            self.end(at);
        }
    }

    fn data(&mut self, stream: u32, bytes: &[u8], ends: bool) {
        let len = bytes.len() as u32;
        self.h2.allow(0, len);
        let Some(at) = self.streams.iter().position(|known| known.id == stream) else {
            return self.net.violated("a response to no request", format!("stream {stream}"));
        };
        self.received += bytes.len();
        let request = self.streams[at].request;
        {
            let mut records = self.records.borrow_mut();
            let record = &mut records[request];
            if record.cause.is_none() && !is_pattern(request * 2 + 1, record.received, bytes) {
                self.net.violated("other bytes", format!("the response of request {request}"));
            }
            record.received += bytes.len();
            record.touched = self.net.now();
        }
        self.net.mark("client has bytes", request, len.into());
        let now = self.net.now();
        let stream = &mut self.streams[at];
        match self.plan.reads {
            Reads::AtOnce => stream.owed += len,
            Reads::Slowly { pause, .. } => {
                stream.owed += len;
                stream.pays_at = stream.pays_at.max(now + pause);
                self.net.at(stream.pays_at, Event::Peer(self.number));
            }
            Reads::Until { bytes } if self.received <= bytes => stream.owed += len,
            Reads::Until { .. } => self.net.reached("HTTP/2: a window is opened no more"),
        }
        if ends {
            self.end(at);
        }
    }

    fn end(&mut self, at: usize) {
        let now = self.net.now();
        let stream = &mut self.streams[at];
        stream.is_answered = true;
        let mut records = self.records.borrow_mut();
        let record = &mut records[stream.request];
        record.seen = Seen::Whole;
        record.ended = Some(now);
        self.net.mark("client has all", stream.request, record.received as u64);
        drop(records);
        self.go_on();
    }

    /// The next request may begin after its pause.
    fn go_on(&mut self) {
        if let Some(next) = self.plan.requests.get(self.next) {
            self.not_before = self.not_before.max(self.net.now() + next.pause);
            self.later(self.not_before);
        }
    }

    fn reset(&mut self, stream: u32, code: u32) {
        let Some(at) = self.streams.iter().position(|known| known.id == stream) else { return };
        self.net.mark("client has reset", self.streams[at].request, code.into());
        let stream = &mut self.streams[at];
        let was_answered = std::mem::replace(&mut stream.is_answered, true);
        stream.is_sent = true;
        if !was_answered {
            let mut records = self.records.borrow_mut();
            let record = &mut records[stream.request];
            record.was_disowned = code == REFUSED_STREAM;
            record.ended = Some(self.net.now());
            drop(records);
            self.go_on();
        }
    }

    fn go_away(&mut self, last: u32, code: u32) {
        self.net.mark("client is told to go", self.number, (u64::from(code) << 32) + u64::from(last));
        self.was_told_to_go = true;
        if code != 0 {
            let what = format!("client {} is told error {code}", self.number);
            self.net.violated("a connection was ended with an error", what);
        }
        let mut records = self.records.borrow_mut();
        for stream in self.streams.iter_mut().filter(|stream| stream.id > last && !stream.is_answered) {
            records[stream.request].was_disowned = true;
            records[stream.request].ended = Some(self.net.now());
            stream.is_answered = true;
        }
    }

    fn finish(&mut self) {
        let now = self.net.now();
        let mut records = self.records.borrow_mut();
        for &request in &self.requests {
            let record = &mut records[request];
            record.ended = record.ended.or(record.begun.map(|_| now));
        }
        self.is_over = true;
        self.wire.close(Side::Peer);
    }

    fn begin_requests(&mut self) {
        while let Some(&request) = self.requests.get(self.next) {
            let now = self.net.now();
            let under_way = self.streams.iter().filter(|stream| !stream.is_answered).count();
            if under_way >= self.plan.depth || now < self.not_before || self.was_told_to_go {
                return;
            }
            if under_way > 0 {
                self.net.reached("HTTP/2: several streams");
            }
            let plan = &self.plan.requests[self.next];
            let id = self.next as u32 * 2 + 1;
            let (path, text) = (format!("/{request}"), request.to_string());
            let (key, length) = (format!("k{request}"), plan.body.to_string());
            let mut fields = vec![
                (":method", plan.method.name()),
                (":scheme", "http"),
                (":authority", "sim"),
                (":path", path.as_str()),
                ("x-id", text.as_str()),
            ];
            if plan.keyed {
                fields.push(("idempotency-key", key.as_str()));
            }
            if plan.trailers {
                fields.push(("te", "trailers"));
            }
            if plan.sends_trailers() {
                fields.push(("trailer", "x-end"));
            }
            if plan.expects {
                fields.push(("expect", "100-continue"));
            }
            if plan.body > 0 && !plan.chunked {
                fields.push(("content-length", length.as_str()));
            }
            let has_body = plan.body > 0;
            let before = self.h2.queued();
            self.h2.send_headers(id, &fields, !has_body);
            self.marks.push_back((before + 1, request, false));
            if !has_body {
                self.marks.push_back((self.h2.queued(), request, true));
            }
            let cancels_at = plan.cancels.map(|after| now + after);
            cancels_at.into_iter().for_each(|at| self.net.at(at, Event::Peer(self.number)));
            self.streams.push(Stream {
                id,
                request,
                body: body(request * 2, plan.body),
                sent: 0,
                sends_again: None,
                awaits_continue: plan.expects,
                cancels_at,
                is_answered: false,
                is_sent: !has_body,
                owed: 0,
                pays_at: 0,
            });
            let quiet_since = self.began.max(self.wire.proxy_wrote_at());
            self.records.borrow_mut()[request].idled = (under_way == 0).then(|| now - quiet_since);
            self.next += 1;
            if let Some(next) = self.plan.requests.get(self.next) {
                self.not_before = now + next.pause;
                self.later(self.not_before);
            }
        }
    }

    fn serve_streams(&mut self) {
        let now = self.net.now();
        for at in 0..self.streams.len() {
            self.pay(at);
            let stream = &mut self.streams[at];
            if stream.cancels_at.is_some_and(|at| now >= at) {
                stream.cancels_at = None;
                if !stream.is_answered || !stream.is_sent {
                    self.net.reached("HTTP/2: a stream was cancelled");
                    (stream.is_answered, stream.is_sent) = (true, true);
                    self.records.borrow_mut()[stream.request].abandoned = true;
                    let id = stream.id;
                    self.h2.reset(id, CANCEL);
                    self.go_on();
                    continue;
                }
            }
            self.send_body(at);
        }
    }

    /// Opens the stream's window again.
    fn pay(&mut self, at: usize) {
        let now = self.net.now();
        let stream = &mut self.streams[at];
        if stream.owed > 0 && now >= stream.pays_at && !stream.is_answered {
            let owed = std::mem::take(&mut stream.owed);
            let low = self.h2.allowed(stream.id) + i64::from(owed) < i64::from(REFILL);
            self.h2.allow(stream.id, if low { owed.max(REFILL) } else { owed });
        }
    }

    fn send_body(&mut self, at: usize) {
        let now = self.net.now();
        while !self.streams[at].is_sent {
            let stream = &mut self.streams[at];
            if stream.awaits_continue {
                return;
            }
            let (hesitates, has_trailers) = {
                let plan = &self.records.borrow()[stream.request].plan;
                (plan.hesitates, plan.sends_trailers())
            };
            let half = stream.body.len() / 2;
            if hesitates > 0 && stream.sent == half && stream.sends_again.is_none() {
                stream.sends_again = Some(now + hesitates);
                self.net.at(now + hesitates, Event::Peer(self.number));
            }
            if stream.sends_again.is_some_and(|at| now < at) {
                return;
            }
            let until = if hesitates > 0 && stream.sent < half { half } else { stream.body.len() };
            let len = self.h2.may_send(stream.id).min(until - stream.sent);
            if len == 0 {
                return;
            }
            let part = stream.body[stream.sent..stream.sent + len].to_vec();
            stream.sent += len;
            stream.is_sent = stream.sent == stream.body.len();
            let (id, is_sent, request) = (stream.id, stream.is_sent, stream.request);
            self.h2.send_data(id, &part, is_sent && !has_trailers);
            if is_sent && has_trailers {
                self.h2.send_headers(id, &[("x-end", &request.to_string())], true);
            }
            if is_sent {
                self.marks.push_back((self.h2.queued(), request, true));
            }
        }
    }

    fn flush(&mut self) {
        loop {
            let out = self.h2.out();
            if out.is_empty() {
                break;
            }
            match self.wire.peer_writes(out.front()) {
                Some(len) if len > 0 => out.skip(len),
                _ => break,
            }
        }
        let flushed = self.h2.flushed();
        while let Some(&(offset, request, is_end)) = self.marks.front() {
            if flushed < offset {
                break;
            }
            self.marks.pop_front();
            let now = self.net.now();
            let record = &mut self.records.borrow_mut()[request];
            if is_end {
                record.sent = Some(now);
            } else {
                record.begun = Some(now);
                self.net.mark("client begins", request, 2);
            }
        }
    }

    fn end_as_planned(&mut self) {
        let is_done = |stream: &Stream| stream.is_answered && stream.is_sent;
        let all_over = self.streams.iter().all(is_done) && self.h2.out().is_empty();
        let all_begun = self.next == self.requests.len();
        match self.plan.ends {
            Ends::Resets { after } if self.net.now() >= self.began + after => {
                let mut records = self.records.borrow_mut();
                for &request in &self.requests {
                    records[request].abandoned |= records[request].seen != Seen::Whole;
                }
                drop(records);
                self.is_over = true;
                self.wire.peer_resets();
            }
            Ends::Closes | Ends::HalfCloses if all_over && (all_begun || self.was_told_to_go) => self.finish(),
            _ if all_over && self.was_told_to_go => self.finish(),
            _ => {}
        }
    }
}

impl Peer for Client {
    fn step(&mut self) {
        if self.is_over {
            return;
        }
        self.read();
        if !self.is_over {
            self.begin_requests();
            self.serve_streams();
            self.flush();
            self.end_as_planned();
        }
    }

    fn wire(&self) -> &Rc<Wire> {
        &self.wire
    }
}
