//! A replica's end of one connection of HTTP/1.1.

use std::rc::Rc;

use super::h1_client::chunks;
use super::http1::{Head, Piece, Reader, Reads, body, is_pattern};
use super::net::{Event, Network, Side};
use super::record::{Execution, Records, hint};
use super::scenario::{Fate, Framing, Method, Ms, Reply, TunnelPlan};
use super::tunnel::{Sending, Tunnel};
use super::wire::{PeerRead, Queue, Wire};
use super::world::Peer;

/// See the module.
pub(crate) struct Replica {
    number: usize,
    replica: usize,
    idle_close: Ms,
    records: Records,
    net: Rc<Network>,
    wire: Rc<Wire>,
    reader: Reader,
    doing: Option<Doing>,
    idle_since: Ms,
    is_over: bool,
}

/// The request under way.
struct Doing {
    request: usize,
    execution: usize,
    reply: Reply,
    /// When the reply begins, once that is known.
    replies_at: Option<Ms>,
    out: Queue,
    /// Early hints that are still to be sent.
    hints: u8,
    began: bool,
    is_head: bool,
    trailers: bool,
    granted: Option<TunnelPlan>,
    tunnel: Option<Tunnel>,
    /// What follows when `out` is empty.
    then: Then,
    request_is_whole: bool,
    reply_is_whole: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    GoesOn,
    Closes,
    Resets,
    /// Nothing ever.
    Stalls,
}

impl Replica {
    pub(crate) fn new(
        number: usize,
        replica: usize,
        idle_close: Ms,
        records: &Records,
        net: &Rc<Network>,
        wire: Rc<Wire>,
    ) -> Self {
        Self {
            number,
            replica,
            idle_close,
            records: Rc::clone(records),
            net: Rc::clone(net),
            wire,
            reader: Reader::new(Reads::Requests),
            doing: None,
            idle_since: net.now(),
            is_over: false,
        }
    }

    fn read(&mut self) {
        if self.doing.as_ref().is_some_and(|doing| doing.tunnel.is_some()) {
            return self.read_in_tunnel();
        }
        loop {
            match self.wire.peer_reads(usize::MAX) {
                PeerRead::Nothing => break,
                PeerRead::Bytes(bytes) => self.reader.feed(&bytes),
                PeerRead::End | PeerRead::Reset => {
                    self.is_over = true;
                    return self.wire.close(Side::Peer);
                }
            }
        }
        while !self.is_over && self.doing.as_ref().is_none_or(|doing| !doing.request_is_whole) {
            let Some(piece) = self.reader.next() else { break };
            match piece {
                Piece::Head(head) => self.head(&head),
                Piece::Body(bytes) => self.body(&bytes),
                Piece::End => self.end(),
                Piece::Broken(why) => {
                    return self.net.violated("a malformed request", format!("wire {}: {why}", self.wire.id));
                }
            }
        }
    }

    fn read_in_tunnel(&mut self) {
        let is_open = |doing: &Doing| doing.tunnel.as_ref().is_some_and(|tunnel| !tunnel.has_end);
        while self.doing.as_ref().is_some_and(is_open) {
            match self.wire.peer_reads(usize::MAX) {
                PeerRead::Nothing => return,
                PeerRead::Bytes(bytes) => self.body(&bytes),
                PeerRead::End => {
                    self.net.mark("replica sees the end", self.replica, 1);
                    let Some(doing) = &mut self.doing else { return };
                    let execution = &mut self.records.borrow_mut()[doing.request].executions[doing.execution];
                    (execution.tunnel_ended, execution.tunnel_over) = (true, Some(self.net.now()));
                    doing.tunnel.iter_mut().for_each(|tunnel| tunnel.has_end = true);
                }
                PeerRead::Reset => {
                    self.net.mark("replica sees the end", self.replica, 0);
                    if let Some(doing) = &self.doing {
                        let over = Some(self.net.now());
                        self.records.borrow_mut()[doing.request].executions[doing.execution].tunnel_over = over;
                    }
                    self.is_over = true;
                    return self.wire.close(Side::Peer);
                }
            }
        }
    }

    fn head(&mut self, head: &Head) {
        let now = self.net.now();
        let Some(request) = head.number("x-id") else {
            return self.net.violated("another request", format!("{head:?}"));
        };
        let mut records = self.records.borrow_mut();
        let record = &mut records[request];
        let execution = record.executions.len();
        record.executions.push(Execution::new(self.replica, self.wire.id, now));
        self.net.mark("replica has head", request, execution as u64);
        if execution > 0 {
            self.net.reached("a request was repeated");
        }
        let reply = record.plan.reply(execution);
        let granted = record.plan.granted(reply);
        let ends_by_close = reply.framing == Framing::Close && record.plan.method != Method::Head;
        let then = match reply.fate {
            _ if granted.is_some() => Then::GoesOn,
            Fate::Whole if reply.closes || ends_by_close => Then::Closes,
            Fate::Whole => Then::GoesOn,
            Fate::Cut { .. } => Then::Resets,
            Fate::Closed => Then::Closes,
            Fate::Stalls { .. } | Fate::Silent => Then::Stalls,
        };
        record.executions[execution].was_broken = reply.fate != Fate::Whole;
        let replies_at = reply.early.then(|| now + reply.delay);
        let mut out = Queue::default();
        if head.field("expect").is_some() && reply.tells && !reply.early {
            self.net.reached("a replica was asked whether it wants a body");
            out.push(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        self.doing = Some(Doing {
            request,
            execution,
            reply,
            replies_at,
            out,
            hints: reply.hints,
            began: false,
            is_head: record.plan.method == Method::Head,
            trailers: record.plan.gets_trailers(reply),
            granted,
            tunnel: None,
            then,
            request_is_whole: false,
            reply_is_whole: false,
        });
        replies_at.into_iter().for_each(|at| self.net.at(at, Event::Peer(self.number)));
    }

    fn body(&mut self, bytes: &[u8]) {
        let Some(doing) = &self.doing else { return };
        let mut records = self.records.borrow_mut();
        let execution = &mut records[doing.request].executions[doing.execution];
        if !is_pattern(doing.request * 2, execution.body, bytes) {
            self.net.violated("other bytes", format!("the body of request {}", doing.request));
        }
        execution.body += bytes.len();
        execution.touched = self.net.now();
        self.net.mark("replica has bytes", doing.request, bytes.len() as u64);
    }

    fn end(&mut self) {
        let Some(doing) = &mut self.doing else { return };
        let mut records = self.records.borrow_mut();
        let record = &mut records[doing.request];
        let execution = &mut record.executions[doing.execution];
        execution.is_whole = true;
        doing.request_is_whole = true;
        self.net.mark("replica has all", doing.request, execution.body as u64);
        if record.plan.sends_trailers() {
            self.net.reached("trailers of a request");
            if self.reader.trailers != [("x-end".to_owned(), doing.request.to_string())] {
                let what = format!("request {}: {:?}", doing.request, self.reader.trailers);
                self.net.violated("trailers were lost", what);
            }
        }
        if execution.body != record.plan.body {
            let (has, whole) = (execution.body, record.plan.body);
            self.net.violated("a part passed for the whole", format!("request {}: {has} of {whole}", doing.request));
        }
        if doing.replies_at.is_none() {
            let at = self.net.now() + doing.reply.delay;
            doing.replies_at = Some(at);
            self.net.at(at, Event::Peer(self.number));
        } else if !doing.reply_is_whole {
            self.net.reached("a reply before the end of its request");
        }
    }

    fn reply(&mut self) {
        let now = self.net.now();
        let Some(doing) = &mut self.doing else { return };
        if doing.replies_at.is_some() {
            doing.hint();
        }
        if doing.replies_at.is_some_and(|at| now >= at) && !doing.began {
            doing.began = true;
            doing.out.push(&doing.bytes());
            self.net.mark("replica replies", doing.request, doing.out.len() as u64);
        }
        while !doing.out.is_empty() {
            let Some(len) = self.wire.peer_writes(doing.out.front()) else { return };
            if len == 0 {
                return;
            }
            doing.out.skip(len);
        }
        if !doing.began {
            return;
        }
        if let Some(plan) = doing.granted {
            return self.tunnel(plan);
        }
        if doing.reply_is_whole || doing.then == Then::Stalls {
            return;
        }
        doing.reply_is_whole = true;
        if doing.reply.fate == Fate::Whole {
            self.records.borrow_mut()[doing.request].executions[doing.execution].answered = Some(now);
        }
        match doing.then {
            Then::Resets => {
                self.is_over = true;
                self.wire.peer_resets();
            }
            Then::Closes => self.wire.end_writing(Side::Peer),
            Then::GoesOn | Then::Stalls => {}
        }
    }

    /// What is sent after the head that agrees to another protocol.
    fn tunnel(&mut self, plan: TunnelPlan) {
        let Some(doing) = &mut self.doing else { return };
        let bytes = || body(doing.request * 2 + 1, plan.down);
        let tunnel = doing.tunnel.get_or_insert_with(|| Tunnel::new(bytes(), plan.part, plan.down_pause));
        match tunnel.send(&self.net, &self.wire, self.number) {
            Sending::Over if tunnel.has_end => {}
            Sending::Broken => {}
            Sending::GoesOn | Sending::Over => return,
        }
        self.is_over = true;
        self.wire.close(Side::Peer);
    }

    /// Goes on to the next request when this one is over in both directions.
    fn go_on(&mut self) {
        let now = self.net.now();
        let is_done = |doing: &Doing| doing.request_is_whole && doing.reply_is_whole;
        if self.doing.as_ref().is_some_and(is_done) {
            self.doing = None;
            self.idle_since = now;
            if self.idle_close > 0 {
                self.net.at(now + self.idle_close, Event::Peer(self.number));
            }
            self.net.poke(self.number);
        }
        if self.doing.is_none()
            && self.idle_close > 0
            && now >= self.idle_since + self.idle_close
            && self.reader.is_between()
        {
            self.net.reached("a replica closed an unused connection");
            self.wire.was_faulty.set(true);
            self.is_over = true;
            self.wire.close(Side::Peer);
        }
    }
}

impl Peer for Replica {
    fn step(&mut self) {
        if self.is_over {
            return;
        }
        self.read();
        if !self.is_over {
            self.reply();
            self.go_on();
        }
    }

    fn wire(&self) -> &Rc<Wire> {
        &self.wire
    }
}

impl Doing {
    /// Sends early hints, once.
    fn hint(&mut self) {
        for number in 0..std::mem::take(&mut self.hints) {
            let fields = hint(self.request, self.execution, number);
            let fields = fields.map(|(name, value)| format!("{name}: {value}\r\n"));
            self.out.push(format!("HTTP/1.1 103 Early Hints\r\n{}\r\n", fields.concat()).as_bytes());
        }
    }

    /// The bytes of the reply, as far as they will be sent.
    fn bytes(&self) -> Vec<u8> {
        let Reply { status, body: len, framing, part, closes, fate, .. } = self.reply;
        let (request, execution) = (self.request, self.execution);
        let ids = format!("x-id: {request}\r\nx-attempt: {execution}\r\n");
        if self.granted.is_some() {
            return format!("HTTP/1.1 101 Yes\r\nconnection: upgrade\r\nupgrade: sim\r\n{ids}\r\n").into_bytes();
        }
        let sent = match fate {
            Fate::Closed | Fate::Silent => return Vec::new(),
            Fate::Whole => len,
            // A head without a body would be a whole reply.
            Fate::Cut { .. } | Fate::Stalls { .. } if len == 0 || self.is_head => return Vec::new(),
            Fate::Cut { at } | Fate::Stalls { at } => at.min(len - 1),
        };
        let mut head = format!("HTTP/1.1 {status} Yes\r\ndate: now\r\n{ids}");
        if self.trailers {
            head.push_str("trailer: x-end\r\n");
        }
        if closes {
            head.push_str("connection: close\r\n");
        }
        let mut bytes = body(request * 2 + 1, sent);
        match framing {
            Framing::Length => head.push_str(&format!("content-length: {len}\r\n")),
            Framing::Chunked => {
                head.push_str("transfer-encoding: chunked\r\n");
                bytes = chunks(&bytes, part, self.trailers.then_some(request));
                if fate != Fate::Whole {
                    // Without the end of the body.
                    let end = chunks(&[], 1, self.trailers.then_some(request));
                    bytes.truncate(bytes.len() - end.len());
                }
            }
            Framing::Close => {}
        }
        if self.is_head {
            bytes.clear();
        }
        [head.as_bytes(), b"\r\n", &bytes].concat()
    }
}
