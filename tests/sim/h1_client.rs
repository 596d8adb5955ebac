//! A client that speaks HTTP/1.1.

use std::collections::VecDeque;
use std::rc::Rc;

use super::http1::{Head, Piece, Reader, Reads, body, is_pattern};
use super::net::{Event, Network};
use super::record::{Record, Records, Seen};
use super::scenario::{ClientPlan, Ends, Method, Ms, Reads as Reading, RequestPlan};
use super::tunnel::{Sending, Tunnel};
use super::wire::{PeerRead, Wire};
use super::world::{CLIENT_IDLE, Peer};

/// A slow reader takes its bytes in so many steps at most.
const STEPS_MAX: usize = 40;

/// Bytes of a response's head at most, with the hints before it.
const HEAD: usize = 600;

/// See the module.
pub(crate) struct Client {
    number: usize,
    plan: ClientPlan,
    /// The numbers of its requests.
    requests: Vec<usize>,
    records: Records,
    net: Rc<Network>,
    wire: Rc<Wire>,
    out: VecDeque<Part>,
    tunnel: Option<Tunnel>,
    /// The latest request that was told to send its body.
    continued: Option<usize>,
    /// The next request to begin, and the one whose response is awaited.
    next: usize,
    awaited: usize,
    /// Before this moment the next request does not begin.
    not_before: Ms,
    reader: Reader,
    bytes_read: usize,
    reads_again: Ms,
    writes_again: Ms,
    began: Ms,
    /// Whether the response that is being read says that the connection ends.
    closes: bool,
    is_over: bool,
}

/// A part of a request, and the pause before it.
struct Part {
    request: usize,
    bytes: Vec<u8>,
    pause: Ms,
    /// Whether it is sent when the client is told to continue.
    awaits_continue: bool,
    /// Whether it is the end of its request.
    is_last: bool,
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
            plan,
            requests,
            records: Rc::clone(records),
            net: Rc::clone(net),
            wire,
            out: VecDeque::new(),
            tunnel: None,
            continued: None,
            next: 0,
            awaited: 0,
            not_before,
            reader: Reader::new(Reads::Responses),
            bytes_read: 0,
            reads_again: 0,
            writes_again: 0,
            began: now,
            closes: false,
            is_over: false,
        }
    }

    fn later(&self, at: Ms) {
        self.net.at(at, Event::Peer(self.number));
    }

    /// How much it reads at most now.
    fn appetite(&self) -> usize {
        match self.plan.reads {
            Reading::AtOnce => usize::MAX,
            Reading::Slowly { .. } if self.net.now() < self.reads_again => 0,
            Reading::Slowly { bytes, .. } => {
                let reply = |plan: &RequestPlan| plan.replies.iter().map(|reply| reply.body).max().unwrap_or(0);
                let down = |plan: &RequestPlan| HEAD + reply(plan) + plan.tunnel.map_or(0, |tunnel| tunnel.down);
                let all: usize = self.plan.requests.iter().map(down).sum();
                bytes.max(all / STEPS_MAX + 1)
            }
            Reading::Until { bytes } => bytes.saturating_sub(self.bytes_read),
        }
    }

    fn read(&mut self) {
        loop {
            let most = self.appetite();
            if most == 0 || self.is_over || self.tunnel.as_ref().is_some_and(|tunnel| tunnel.has_end) {
                return;
            }
            match self.wire.peer_reads(most) {
                PeerRead::Nothing => return,
                PeerRead::Bytes(bytes) => {
                    self.net.mark("client reads", self.number, bytes.len() as u64);
                    self.bytes_read += bytes.len();
                    self.reader.feed(&bytes);
                    self.take();
                    if let Reading::Slowly { pause, .. } = self.plan.reads {
                        self.reads_again = self.net.now() + pause;
                        self.later(self.reads_again);
                    }
                }
                PeerRead::End => return self.ended(true),
                PeerRead::Reset => return self.ended(false),
            }
        }
    }

    fn take(&mut self) {
        loop {
            let plan = self.plan.requests.get(self.awaited);
            self.reader.is_bodiless = plan.is_some_and(|plan| plan.method == Method::Head);
            let Some(piece) = self.reader.next() else { return };
            let Some(&request) = self.requests.get(self.awaited) else {
                return self.net.violated("a response to no request", format!("client {}", self.number));
            };
            match piece {
                Piece::Head(head) => self.head(request, &head),
                Piece::Body(bytes) => self.body(request, &bytes),
                Piece::End => self.end(request),
                Piece::Broken(why) => return self.net.violated("a malformed response", format!("{request}: {why}")),
            }
        }
    }

    fn head(&mut self, request: usize, head: &Head) {
        let status = head.status();
        self.net.mark("client has head", request, status.into());
        let mut records = self.records.borrow_mut();
        let record = &mut records[request];
        if status == 100 || status >= 200 {
            self.continued = Some(request);
        }
        if status == 100 {
            self.net.reached("told to continue");
            record.is_told = true;
        }
        if status == 103 {
            self.net.reached("an early hint");
            record.hinted(request, &self.net, head.field("x-hint"));
        }
        if status == 101 {
            self.net.reached("a tunnel");
            self.tunnel = tunnel(record, request);
        } else if status < 200 {
            return;
        }
        record.seen = Seen::Head;
        record.touched = self.net.now();
        record.status = status;
        record.cause = head.field("x-unstick-error").map(str::to_owned);
        record.attempt = head.number("x-attempt");
        self.closes = head.closes();
        record.said_close = self.closes;
        if record.begun.is_none() {
            self.net.violated("a response to no request", format!("request {request}"));
        }
        if record.cause.is_none() && head.number("x-id") != Some(request) {
            self.net.violated("another response", format!("request {request} got {head:?}"));
        }
    }

    fn body(&mut self, request: usize, bytes: &[u8]) {
        let mut records = self.records.borrow_mut();
        let record = &mut records[request];
        if record.cause.is_none() && !is_pattern(request * 2 + 1, record.received, bytes) {
            self.net.violated("other bytes", format!("the response of request {request}"));
        }
        record.received += bytes.len();
        record.touched = self.net.now();
        self.net.mark("client has bytes", request, bytes.len() as u64);
    }

    /// The response is whole, as far as its framing says.
    fn end(&mut self, request: usize) {
        let now = self.net.now();
        let mut records = self.records.borrow_mut();
        let record = &mut records[request];
        if record.status < 200 && record.seen == Seen::Nothing {
            // An interim response.
            return;
        }
        record.seen = Seen::Whole;
        record.has_trailers = self.reader.trailers == [("x-end".to_owned(), request.to_string())];
        record.ended = Some(now);
        self.net.mark("client has all", request, record.received as u64);
        drop(records);
        self.awaited += 1;
        if let Some(next) = self.plan.requests.get(self.next) {
            self.not_before = self.not_before.max(now + next.pause);
            self.later(self.not_before);
        }
        if self.closes {
            self.finish();
        }
    }

    /// The proxy has closed, in order or by a reset.
    fn ended(&mut self, in_order: bool) {
        self.net.mark("client sees the end", self.number, in_order.into());
        if in_order && self.reader.ends_with_connection() {
            self.end(self.requests[self.awaited]);
        }
        match &mut self.tunnel {
            Some(tunnel) if in_order => {
                tunnel.has_end = true;
                self.end(self.requests[self.awaited]);
            }
            _ => self.finish(),
        }
    }

    /// Closes its end.
    fn finish(&mut self) {
        let now = self.net.now();
        let mut records = self.records.borrow_mut();
        for &request in &self.requests {
            let record = &mut records[request];
            record.ended = record.ended.or(record.begun.map(|_| now));
        }
        self.is_over = true;
        self.wire.close(super::net::Side::Peer);
    }

    fn begin_requests(&mut self) {
        while let Some(&request) = self.requests.get(self.next) {
            let now = self.net.now();
            let under_way = self.next - self.awaited;
            if under_way >= self.plan.depth || now < self.not_before || self.closes {
                return;
            }
            if under_way > 0 {
                self.net.reached("pipelined requests");
            }
            let plan = &self.plan.requests[self.next];
            self.out.extend(parts(request, plan));
            let mut records = self.records.borrow_mut();
            // To the proxy, responses that the client has not read yet are over. It is silent for so long only then.
            let idled = now - self.began.max(self.wire.proxy_wrote_at());
            let is_alone = under_way == 0 || self.wire.proxy_has_ended() || idled >= CLIENT_IDLE;
            records[request].idled = is_alone.then_some(idled);
            self.next += 1;
            if let Some(next) = self.plan.requests.get(self.next) {
                self.not_before = now + next.pause;
                self.later(self.not_before);
            }
        }
    }

    fn write(&mut self) {
        while let Some(part) = self.out.front_mut() {
            let now = self.net.now();
            if part.pause > 0 {
                // The pause begins when all before it is sent.
                self.writes_again = now + std::mem::take(&mut part.pause);
                self.net.at(self.writes_again, Event::Peer(self.number));
            }
            let is_told = self.continued.is_some_and(|told| told >= part.request);
            if now < self.writes_again || (part.awaits_continue && !is_told) {
                return;
            }
            let Some(len) = self.wire.peer_writes(&part.bytes) else { return };
            let mut records = self.records.borrow_mut();
            let record = &mut records[part.request];
            if len > 0 && record.begun.is_none() {
                record.begun = Some(now);
                self.net.mark("client begins", part.request, 0);
            }
            part.bytes = part.bytes.split_off(len);
            if !part.bytes.is_empty() {
                return;
            }
            if part.is_last {
                record.sent = Some(now);
            }
            self.out.pop_front();
        }
    }

    /// Sends what is due in a tunnel.
    fn send_in_tunnel(&mut self) {
        let Some(tunnel) = &mut self.tunnel else { return };
        match tunnel.send(&self.net, &self.wire, self.number) {
            Sending::GoesOn => {}
            Sending::Over if tunnel.has_end => self.finish(),
            Sending::Over => {}
            Sending::Broken => self.finish(),
        }
    }

    /// Does what the plan says once nothing is under way any more.
    fn end_as_planned(&mut self) {
        let all_sent = self.next == self.plan.requests.len() && self.out.is_empty();
        let all_answered = self.awaited == self.plan.requests.len();
        let is_asked = self.plan.requests.iter().any(|plan| plan.tunnel.is_some());
        let may_be_tunnel = is_asked && (!all_answered || self.tunnel.is_some());
        match self.plan.ends {
            Ends::Resets { after } if self.net.now() >= self.began + after => {
                let mut records = self.records.borrow_mut();
                for &request in &self.requests {
                    // A tunnel whose other half has ended looks whole, but is under way.
                    let record = &mut records[request];
                    record.abandoned |= record.seen != Seen::Whole || record.status == 101;
                }
                drop(records);
                self.is_over = true;
                self.wire.peer_resets();
            }
            Ends::HalfCloses if all_sent && !may_be_tunnel => self.wire.end_writing(super::net::Side::Peer),
            Ends::Closes if all_answered && self.tunnel.is_none() => self.finish(),
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
            self.write();
            self.send_in_tunnel();
        }
        if !self.is_over {
            self.end_as_planned();
        }
    }

    fn wire(&self) -> &Rc<Wire> {
        &self.wire
    }
}

/// The bytes of a request, with the pause in the middle of its body.
fn parts(request: usize, plan: &RequestPlan) -> Vec<Part> {
    let mut head = format!("{} /{request} HTTP/1.1\r\nhost: sim\r\nx-id: {request}\r\n", plan.method.name());
    if plan.keyed {
        head.push_str(&format!("idempotency-key: k{request}\r\n"));
    }
    if plan.tunnel.is_some() {
        head.push_str("connection: upgrade\r\nupgrade: sim\r\n");
    } else if plan.trailers {
        head.push_str("connection: te\r\nte: trailers\r\n");
    }
    if plan.sends_trailers() {
        head.push_str("trailer: x-end\r\n");
    }
    if plan.expects {
        head.push_str("expect: 100-continue\r\n");
    }
    let mut bytes = body(request * 2, plan.body);
    let mut cut = 0;
    if !matches!(plan.method, Method::Get | Method::Head) {
        if plan.chunked {
            head.push_str("transfer-encoding: chunked\r\n");
            bytes = chunks(&bytes, 3_000, plan.sends_trailers().then_some(request));
        } else {
            head.push_str(&format!("content-length: {}\r\n", plan.body));
        }
    }
    if plan.hesitates > 0 {
        cut = bytes.len() / 2;
    }
    if plan.expects {
        cut = 0;
    }
    let rest = bytes.split_off(cut);
    let first = [head.as_bytes(), b"\r\n", &bytes].concat();
    let mut parts = vec![Part { request, bytes: first, pause: 0, awaits_continue: false, is_last: rest.is_empty() }];
    if !rest.is_empty() {
        let pause = if cut > 0 { plan.hesitates } else { 0 };
        parts.push(Part { request, bytes: rest, pause, awaits_continue: plan.expects, is_last: true });
    }
    parts
}

/// The client's side of the tunnel that it has asked for.
fn tunnel(record: &Record, request: usize) -> Option<Tunnel> {
    let plan = record.plan.tunnel?;
    Some(Tunnel::new(body(request * 2, plan.up), plan.part, plan.up_pause))
}

/// A body as chunks of this size, with its end, and the trailers of this message.
pub(crate) fn chunks(bytes: &[u8], size: usize, trailers: Option<usize>) -> Vec<u8> {
    let mut framed = Vec::with_capacity(bytes.len() + 64);
    for part in bytes.chunks(size) {
        framed.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        framed.extend_from_slice(part);
        framed.extend_from_slice(b"\r\n");
    }
    framed.extend_from_slice(b"0\r\n");
    if let Some(number) = trailers {
        framed.extend_from_slice(format!("x-end: {number}\r\n").as_bytes());
    }
    framed.extend_from_slice(b"\r\n");
    framed
}
