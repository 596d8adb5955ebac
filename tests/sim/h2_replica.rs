//! A replica's end of one connection of HTTP/2 in plain text.

use std::rc::Rc;

use super::h2::{Came, Connection, INTERNAL_ERROR, REFUSED_STREAM};
use super::hpack::Field;
use super::http1::{body, is_pattern};
use super::net::{Event, Network, Side};
use super::record::{Execution, Records, hint};
use super::scenario::{Fate, Method, Ms, PoolPlan, Reply};
use super::wire::{PeerRead, Wire};
use super::world::Peer;

/// Bytes of a part, while several streams have a part to send.
const PART_MAX: usize = 1000;

/// See the module.
pub(crate) struct Replica {
    number: usize,
    replica: usize,
    idle_close: Ms,
    records: Records,
    net: Rc<Network>,
    wire: Rc<Wire>,
    h2: Connection,
    streams: Vec<Stream>,
    /// The stream that has sent something last.
    turn: usize,
    last: u32,
    idle_since: Ms,
    /// The last stream that it takes, once it has said that it goes.
    goes_after: Option<u32>,
    is_over: bool,
}

/// A request under way.
struct Stream {
    id: u32,
    request: usize,
    execution: usize,
    reply: Reply,
    replies_at: Option<Ms>,
    /// Early hints that are still to be sent.
    hints: u8,
    /// The body of the reply, once it has begun, and how much of it was sent.
    body: Option<Vec<u8>>,
    sent: usize,
    has_trailers: bool,
    is_head: bool,
    request_is_whole: bool,
    reply_is_over: bool,
    was_reset: bool,
}

impl Replica {
    pub(crate) fn new(
        number: usize,
        replica: usize,
        pool: &PoolPlan,
        records: &Records,
        net: &Rc<Network>,
        wire: Rc<Wire>,
    ) -> Self {
        net.poke(number);
        Self {
            number,
            replica,
            idle_close: pool.idle_close,
            records: Rc::clone(records),
            net: Rc::clone(net),
            wire,
            h2: Connection::server(pool.streams),
            streams: Vec::new(),
            turn: 0,
            last: 0,
            idle_since: net.now(),
            goes_after: None,
            is_over: false,
        }
    }

    fn read(&mut self) {
        loop {
            match self.wire.peer_reads(usize::MAX) {
                PeerRead::Nothing => break,
                PeerRead::Bytes(bytes) => self.h2.feed(&bytes),
                PeerRead::End | PeerRead::Reset => {
                    self.is_over = true;
                    return self.wire.close(Side::Peer);
                }
            }
        }
        while let Some(came) = self.h2.next() {
            match came {
                Came::Headers { stream, fields, ends } => self.headers(stream, &fields, ends),
                Came::Data { stream, bytes, ends } => self.data(stream, &bytes, ends),
                Came::Reset { stream, .. } => {
                    if let Some(stream) = self.streams.iter_mut().find(|known| known.id == stream) {
                        self.net.mark("replica has reset", stream.request, stream.execution as u64);
                        stream.was_reset = true;
                    }
                }
                Came::GoAway { code: 0, .. } => {}
                Came::GoAway { code, .. } => {
                    let what = format!("replica {} is told error {code}", self.replica);
                    self.net.violated("a connection was ended with an error", what);
                }
                Came::Broken(why) => {
                    return self.net.violated("a malformed request", format!("wire {}: {why}", self.wire.id));
                }
            }
        }
    }

    fn headers(&mut self, id: u32, fields: &[Field], ends: bool) {
        let now = self.net.now();
        let field = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let Some(request) = field("x-id").and_then(|value| value.parse::<usize>().ok()) else {
            return self.trailers(id, field("x-end"));
        };
        if self.goes_after.is_some_and(|last| id > last) {
            return self.net.reached("HTTP/2: a stream was too late for a replica that goes");
        }
        self.last = self.last.max(id);
        let mut records = self.records.borrow_mut();
        let record = &mut records[request];
        let execution = record.executions.len();
        record.executions.push(Execution::new(self.replica, self.wire.id, now));
        self.net.mark("replica has head", request, execution as u64);
        if execution > 0 {
            self.net.reached("a request was repeated");
        }
        let reply = record.plan.reply(execution);
        record.executions[execution].was_broken = reply.fate != Fate::Whole;
        record.executions[execution].was_refused = reply.fate == Fate::Closed && reply.early && !reply.closes;
        let mut stream = Stream {
            id,
            request,
            execution,
            reply,
            replies_at: reply.early.then(|| now + reply.delay),
            hints: reply.hints,
            body: None,
            sent: 0,
            has_trailers: false,
            is_head: record.plan.method == Method::Head,
            request_is_whole: false,
            reply_is_over: false,
            was_reset: false,
        };
        drop(records);
        if reply.fate == Fate::Closed && reply.early && !reply.closes {
            self.net.reached("HTTP/2: a replica refused a stream");
            self.h2.reset(id, REFUSED_STREAM);
            (stream.was_reset, stream.reply_is_over) = (true, true);
        }
        if field("expect").is_some() && reply.tells && !reply.early {
            self.net.reached("HTTP/2: a replica was asked whether it wants a body");
            self.h2.send_headers(id, &[(":status", "100")], false);
        }
        stream.replies_at.into_iter().for_each(|at| self.net.at(at, Event::Peer(self.number)));
        self.streams.push(stream);
        if ends {
            self.request_ended(id);
        }
    }

    fn trailers(&mut self, id: u32, end: Option<&str>) {
        if let Some(stream) = self.streams.iter_mut().find(|known| known.id == id) {
            stream.has_trailers = end == Some(stream.request.to_string().as_str());
        }
        self.request_ended(id);
    }

    fn data(&mut self, id: u32, bytes: &[u8], ends: bool) {
        let len = bytes.len() as u32;
        self.h2.allow(0, len);
        if !ends {
            self.h2.allow(id, len);
        }
        // What comes on a stream that was reset is of no interest.
        let Some(stream) = self.streams.iter().find(|known| known.id == id) else { return };
        let mut records = self.records.borrow_mut();
        let execution = &mut records[stream.request].executions[stream.execution];
        if !is_pattern(stream.request * 2, execution.body, bytes) {
            self.net.violated("other bytes", format!("the body of request {}", stream.request));
        }
        execution.body += bytes.len();
        execution.touched = self.net.now();
        self.net.mark("replica has bytes", stream.request, len.into());
        drop(records);
        if ends {
            self.request_ended(id);
        }
    }

    fn request_ended(&mut self, id: u32) {
        let Some(stream) = self.streams.iter_mut().find(|known| known.id == id) else { return };
        stream.request_is_whole = true;
        let mut records = self.records.borrow_mut();
        let record = &mut records[stream.request];
        let whole = record.plan.body;
        let execution = &mut record.executions[stream.execution];
        execution.is_whole = true;
        if record.plan.sends_trailers() {
            self.net.reached("HTTP/2: trailers of a request");
            if !stream.has_trailers && !stream.was_reset {
                self.net.violated("trailers were lost", format!("request {}", stream.request));
            }
        }
        self.net.mark("replica has all", stream.request, execution.body as u64);
        if execution.body != whole && !stream.was_reset {
            let what = format!("request {}: {} of {whole}", stream.request, execution.body);
            self.net.violated("a part passed for the whole", what);
        }
        if stream.replies_at.is_none() {
            let at = self.net.now() + stream.reply.delay;
            stream.replies_at = Some(at);
            self.net.at(at, Event::Peer(self.number));
        } else if !stream.reply_is_over {
            self.net.reached("a reply before the end of its request");
        }
    }

    /// Its streams send by turns, so that none waits for a long one.
    fn reply(&mut self) {
        for stream in &mut self.streams {
            if stream.replies_at.is_some() && !stream.reply_is_over && !stream.was_reset {
                for number in 0..std::mem::take(&mut stream.hints) {
                    let [link, hint] = hint(stream.request, stream.execution, number);
                    let fields = [(":status", "103"), (link.0, link.1.as_str()), (hint.0, hint.1.as_str())];
                    self.h2.send_headers(stream.id, &fields, false);
                }
            }
        }
        let mut in_vain = 0;
        while !self.is_over && in_vain < self.streams.len() {
            self.turn = (self.turn + 1) % self.streams.len();
            let has_sent = self.is_due(self.turn) && self.reply_on(self.turn);
            in_vain = if has_sent { 0 } else { in_vain + 1 };
        }
    }

    fn is_due(&self, at: usize) -> bool {
        let stream = &self.streams[at];
        let is_open = !stream.reply_is_over && !stream.was_reset;
        is_open && stream.replies_at.is_some_and(|at| self.net.now() >= at)
    }

    /// Sends the next part of a reply. It returns whether there was any.
    fn reply_on(&mut self, at: usize) -> bool {
        let others = (0..self.streams.len()).any(|other| other != at && self.is_due(other));
        let stream = &mut self.streams[at];
        let Reply { body: len, part, closes, fate, .. } = stream.reply;
        let has_trailers = self.records.borrow()[stream.request].plan.gets_trailers(stream.reply);
        let sends = match fate {
            _ if stream.is_head && !matches!(fate, Fate::Silent | Fate::Closed) => 0,
            Fate::Silent => return false,
            Fate::Closed => {
                self.break_off(at);
                return true;
            }
            Fate::Whole => len,
            Fate::Cut { at } | Fate::Stalls { at } => at.min(len),
        };
        let id = stream.id;
        let begins = stream.body.is_none();
        if begins {
            self.reply_head(at, sends, has_trailers);
            if fate == Fate::Whole && sends == 0 {
                self.reply_ended(at);
                return true;
            }
        }
        let (sent, part) = (self.streams[at].sent, if others { part.min(PART_MAX) } else { part });
        if let Some(whole) = &self.streams[at].body
            && sent < sends
        {
            let len = self.h2.may_send(id).min(part.max(1)).min(sends - sent);
            if len == 0 {
                return begins;
            }
            let bytes = whole[sent..sent + len].to_vec();
            let ends = fate == Fate::Whole && sent + len == sends;
            self.streams[at].sent += len;
            self.h2.send_data(id, &bytes, ends && !has_trailers);
            if ends && has_trailers {
                self.h2.send_headers(id, &[("x-end", &self.streams[at].request.to_string())], true);
            }
            if sent + len < sends {
                return true;
            }
        }
        match fate {
            Fate::Whole => {
                if closes {
                    self.go_away();
                }
                self.reply_ended(at);
            }
            Fate::Cut { .. } => self.break_off(at),
            _ => return begins || sent < sends,
        }
        true
    }

    fn reply_head(&mut self, at: usize, sends: usize, has_trailers: bool) {
        let stream = &mut self.streams[at];
        let Reply { status, body: len, fate, framing, .. } = stream.reply;
        let (status, request) = (status.to_string(), stream.request.to_string());
        let (execution, length) = (stream.execution.to_string(), len.to_string());
        let mut fields = vec![
            (":status", status.as_str()),
            ("date", "now"),
            ("x-id", request.as_str()),
            ("x-attempt", execution.as_str()),
        ];
        if framing == super::scenario::Framing::Length {
            fields.push(("content-length", length.as_str()));
        }
        if has_trailers {
            fields.push(("trailer", "x-end"));
        }
        self.net.mark("replica replies", stream.request, sends as u64);
        stream.body = Some(body(stream.request * 2 + 1, sends));
        self.h2.send_headers(stream.id, &fields, fate == Fate::Whole && sends == 0);
    }

    fn go_away(&mut self) {
        if self.goes_after.is_none() {
            self.goes_after = Some(self.last);
            self.h2.go_away(self.last);
        }
    }

    fn reply_ended(&mut self, at: usize) {
        let stream = &mut self.streams[at];
        stream.reply_is_over = true;
        self.records.borrow_mut()[stream.request].executions[stream.execution].answered = Some(self.net.now());
    }

    /// Ends a stream, or the whole connection, without the rest of the reply.
    fn break_off(&mut self, at: usize) {
        let stream = &mut self.streams[at];
        stream.reply_is_over = true;
        stream.was_reset = true;
        if stream.reply.closes {
            self.net.reached("HTTP/2: a replica broke a connection");
            self.wire.was_faulty.set(true);
            self.is_over = true;
            self.wire.close(Side::Peer);
        } else {
            let id = stream.id;
            self.h2.reset(id, INTERNAL_ERROR);
        }
    }

    fn go_on(&mut self) {
        let now = self.net.now();
        let was_busy = !self.streams.is_empty();
        self.streams.retain(|stream| !(stream.was_reset || stream.request_is_whole && stream.reply_is_over));
        if !self.streams.is_empty() || !self.h2.out().is_empty() {
            return;
        }
        if was_busy {
            self.idle_since = now;
            if self.idle_close > 0 {
                self.net.at(now + self.idle_close, Event::Peer(self.number));
            }
        }
        let is_idle = self.idle_close > 0 && now >= self.idle_since + self.idle_close && self.last > 0;
        if is_idle && self.goes_after.is_none() {
            self.net.reached("HTTP/2: a replica ended an unused connection");
            self.go_away();
            self.flush();
        }
        if self.goes_after.is_some() && self.h2.out().is_empty() {
            self.wire.end_writing(Side::Peer);
        }
    }

    fn flush(&mut self) {
        loop {
            let out = self.h2.out();
            if out.is_empty() {
                return;
            }
            match self.wire.peer_writes(out.front()) {
                Some(len) if len > 0 => out.skip(len),
                _ => return,
            }
        }
    }
}

impl Peer for Replica {
    fn step(&mut self) {
        if self.is_over {
            return;
        }
        self.read();
        if self.is_over {
            return;
        }
        self.reply();
        if !self.is_over {
            self.flush();
            self.reply();
            self.flush();
            self.go_on();
        }
    }

    fn wire(&self) -> &Rc<Wire> {
        &self.wire
    }
}
