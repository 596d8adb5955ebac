//! A simulated TCP connection between the proxy and one peer.
//!
//! Each direction is a list of segments on their way and what has arrived. A close is as Linux does it: with unread
//! bytes, or when more bytes arrive afterwards, the other side gets a reset, and what was still on its way is lost.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future as _;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::ReadBuf;
use tokio::task::coop::{consume_budget, has_budget_remaining};

use super::dice::Dice;
use super::net::{Event, Network, Side};
use super::scenario::{Fault, FaultKind, Ms};

/// Units of budget that a task has at most. Outside of a task it has no bound.
const BUDGET_MAX: usize = 256;

/// See the module.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) id: usize,
    /// The peer at the other end.
    pub(crate) peer: Cell<usize>,
    pub(crate) is_upstream: bool,
    /// When it was begun.
    pub(crate) opened_at: Ms,
    /// The number of the replica at the other end.
    pub(crate) replica: Cell<usize>,
    net: Rc<Network>,
    dice: RefCell<Dice>,
    to_proxy: RefCell<Direction>,
    to_peer: RefCell<Direction>,
    proxy: End,
    far: End,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
    fault: Cell<Option<Fault>>,
    /// Whether the network broke it.
    pub(crate) was_faulty: Cell<bool>,
    /// Whether the connection is established; `Err` if it was refused.
    pub(crate) connected: Cell<Option<bool>>,
    pub(crate) connector: RefCell<Option<Waker>>,
}

/// One direction.
#[derive(Debug, Default)]
struct Direction {
    flight: VecDeque<Segment>,
    arrived: Queue,
    fin_sent: bool,
    fin_arrived: bool,
    last_due: Ms,
    flying: usize,
    written: u64,
    read: u64,
    /// When something was last written.
    written_at: Ms,
}

/// Bytes in order. It copies whole slices, since without optimisation one byte at a time is slow.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    bytes: Vec<u8>,
    start: usize,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn front(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Takes away `len` bytes.
    pub(crate) fn skip(&mut self, len: usize) {
        self.start += len;
        if self.start * 2 >= self.bytes.len() {
            self.bytes = self.bytes.split_off(self.start);
            self.start = 0;
        }
    }

    pub(crate) fn take(&mut self, len: usize) -> Vec<u8> {
        let taken = self.bytes[self.start..self.start + len].to_vec();
        self.skip(len);
        taken
    }
}

#[derive(Debug)]
struct Segment {
    due: Ms,
    bytes: Vec<u8>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Fin,
    Reset,
}

#[derive(Debug)]
struct End {
    is_open: Cell<bool>,
    is_deaf: Cell<bool>,
    resets: Cell<bool>,
    /// It has been reset by the other side: the error is still to be reported, or was.
    was_reset: Cell<bool>,
    was_told: Cell<bool>,
}

impl End {
    fn new() -> Self {
        Self {
            is_open: Cell::new(true),
            is_deaf: Cell::default(),
            resets: Cell::default(),
            was_reset: Cell::default(),
            was_told: Cell::default(),
        }
    }
}

impl Wire {
    /// `number` is that of the client, or of the connection to a replica.
    pub(crate) fn new(net: &Rc<Network>, number: usize, is_upstream: bool, fault: Option<Fault>) -> Rc<Self> {
        let id = net.wires.borrow().len();
        let wire = Rc::new(Self {
            id,
            peer: Cell::new(number),
            is_upstream,
            opened_at: net.now(),
            replica: Cell::default(),
            net: Rc::clone(net),
            dice: RefCell::new(Dice::new(net.seed, 1_000 + number as u64 * 2 + u64::from(is_upstream))),
            to_proxy: RefCell::default(),
            to_peer: RefCell::default(),
            proxy: End::new(),
            far: End::new(),
            reader: RefCell::default(),
            writer: RefCell::default(),
            fault: Cell::new(fault),
            was_faulty: Cell::default(),
            connected: Cell::default(),
            connector: RefCell::default(),
        });
        net.wires.borrow_mut().push(Rc::clone(&wire));
        wire
    }

    fn toward(&self, side: Side) -> &RefCell<Direction> {
        match side {
            Side::Proxy => &self.to_proxy,
            Side::Peer => &self.to_peer,
        }
    }

    fn end(&self, side: Side) -> &End {
        match side {
            Side::Proxy => &self.proxy,
            Side::Peer => &self.far,
        }
    }

    fn wake(&self, side: Side) {
        match side {
            Side::Proxy => {
                self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
            }
            Side::Peer => self.net.poke(self.peer.get()),
        }
    }

    /// Bytes that `from` may write now.
    fn room(&self, from: Side) -> usize {
        let direction = self.toward(from.other()).borrow();
        self.net.plan.room.saturating_sub(direction.flying + direction.arrived.len())
    }

    /// Puts bytes, or an end, on their way.
    fn launch(&self, from: Side, bytes: &[u8], kind: Kind) {
        let to = from.other();
        let mut dice = self.dice.borrow_mut();
        let mut direction = self.toward(to).borrow_mut();
        let mut rest = bytes;
        loop {
            let len = match rest.len() {
                0 => 0,
                len if !self.net.plan.torn => len.min(dice.between(200, 30_000) as usize),
                len if len < 2_000 => dice.between(1, len.min(64) as u64) as usize,
                len => dice.between(1, len.min(4_000) as u64) as usize,
            };
            let (part, others) = rest.split_at(len);
            rest = others;
            let due = direction.last_due.max(self.net.now() + dice.below(self.net.plan.delay + 1));
            direction.last_due = due;
            direction.flying += part.len();
            direction.flight.push_back(Segment { due, bytes: part.to_vec(), kind });
            self.net.at(due, Event::Arrives(self.id, to));
            if rest.is_empty() {
                break;
            }
        }
    }

    /// Lets what is due arrive at one end, as far as that end has room.
    pub(crate) fn arrive(&self, at: Side) {
        let now = self.net.now();
        loop {
            let mut direction = self.toward(at).borrow_mut();
            let is_due = direction.flight.front().is_some_and(|segment| segment.due <= now);
            if !is_due {
                return;
            }
            let Some(segment) = direction.flight.pop_front() else { return };
            direction.flying -= segment.bytes.len();
            self.net.note(if at == Side::Proxy { "to proxy" } else { "to peer" }, self.id, segment.bytes.len() as u64);
            match segment.kind {
                Kind::Reset => {
                    drop(direction);
                    self.take_reset(at);
                }
                Kind::Data if !self.end(at).is_open.get() => {
                    drop(direction);
                    self.net.reached("bytes arrived at a closed socket");
                    self.send_reset(at);
                }
                Kind::Data => {
                    direction.arrived.push(&segment.bytes);
                    drop(direction);
                    self.wake(at);
                }
                Kind::Fin => {
                    direction.fin_arrived = true;
                    drop(direction);
                    self.wake(at);
                }
            }
        }
    }

    /// The other side has reset the connection: what this one still had to send is gone.
    fn take_reset(&self, at: Side) {
        self.net.note("reset", self.id, u64::from(at == Side::Proxy));
        self.end(at).was_reset.set(true);
        let mut direction = self.toward(at.other()).borrow_mut();
        (direction.flying, direction.fin_sent) = (0, true);
        direction.flight.clear();
        drop(direction);
        self.wake(at);
    }

    /// Sends a reset. A part of what was still on its way is lost.
    fn send_reset(&self, from: Side) {
        {
            let mut direction = self.toward(from.other()).borrow_mut();
            let kept = self.dice.borrow_mut().below(direction.flight.len() as u64 + 1) as usize;
            if direction.flight.len() > kept && direction.flight.iter().skip(kept).any(|s| s.kind == Kind::Data) {
                self.net.reached("bytes were lost by a reset");
            }
            direction.flight.truncate(kept);
            direction.flying = direction.flight.iter().map(|segment| segment.bytes.len()).sum();
            direction.fin_sent = true;
        }
        self.launch(from, &[], Kind::Reset);
    }

    /// Closes one end.
    pub(crate) fn close(&self, side: Side) {
        let end = self.end(side);
        if !end.is_open.replace(false) || end.was_reset.get() {
            return;
        }
        let has_unread = !self.toward(side).borrow().arrived.is_empty();
        self.net.note(if side == Side::Proxy { "proxy closes" } else { "peer closes" }, self.id, has_unread.into());
        if end.resets.get() || has_unread {
            self.net.reached(if has_unread { "closed with unread bytes" } else { "closed by a reset" });
            self.send_reset(side);
        } else {
            self.end_writing(side);
        }
    }

    /// Closes the half that `side` writes to.
    pub(crate) fn end_writing(&self, side: Side) {
        let was_sent = std::mem::replace(&mut self.toward(side.other()).borrow_mut().fin_sent, true);
        if !was_sent {
            self.net.note("end of", self.id, u64::from(side == Side::Proxy));
            self.launch(side, &[], Kind::Fin);
        }
    }

    fn write(&self, from: Side, bytes: &[u8]) -> Result<usize, ErrorKind> {
        if self.end(from).was_reset.get() {
            let was_told = self.end(from).was_told.replace(true);
            return Err(if was_told { ErrorKind::BrokenPipe } else { ErrorKind::ConnectionReset });
        }
        if self.toward(from.other()).borrow().fin_sent {
            return Err(ErrorKind::BrokenPipe);
        }
        let len = bytes.len().min(self.room(from));
        if len > 0 {
            self.launch(from, &bytes[..len], Kind::Data);
            let mut direction = self.toward(from.other()).borrow_mut();
            direction.written += len as u64;
            direction.written_at = self.net.now();
        }
        Ok(len)
    }

    /// Takes what has arrived: `Some(0)` is the end.
    fn read(&self, at: Side, most: usize) -> Result<Option<Vec<u8>>, ErrorKind> {
        let mut direction = self.toward(at).borrow_mut();
        let len = direction.arrived.len().min(most);
        if len > 0 {
            let bytes = direction.arrived.take(len);
            direction.read += len as u64;
            drop(direction);
            self.wake_writer(at.other());
            return Ok(Some(bytes));
        }
        let end = self.end(at);
        if end.was_reset.get() && !end.was_told.replace(true) {
            return Err(ErrorKind::ConnectionReset);
        }
        let is_over = direction.fin_arrived || end.was_reset.get() || end.is_deaf.get();
        Ok(is_over.then(Vec::new))
    }

    fn wake_writer(&self, side: Side) {
        match side {
            Side::Proxy => self.writer.take().into_iter().for_each(Waker::wake),
            Side::Peer => self.net.poke(self.peer.get()),
        }
    }

    /// Breaks it at both ends.
    pub(crate) fn break_now(&self) {
        self.was_faulty.set(true);
        for side in [Side::Proxy, Side::Peer] {
            self.take_reset(side);
        }
    }

    // What the peer does.

    /// Writes as much as fits; `None` if the connection is over.
    pub(crate) fn peer_writes(&self, bytes: &[u8]) -> Option<usize> {
        self.write(Side::Peer, bytes).ok()
    }

    /// Reads up to `most` bytes: nothing yet, bytes, or the end.
    pub(crate) fn peer_reads(&self, most: usize) -> PeerRead {
        match self.read(Side::Peer, most) {
            Err(_) => PeerRead::Reset,
            Ok(None) => PeerRead::Nothing,
            Ok(Some(bytes)) if bytes.is_empty() => PeerRead::End,
            Ok(Some(bytes)) => PeerRead::Bytes(bytes),
        }
    }

    pub(crate) fn peer_resets(&self) {
        self.far.resets.set(true);
        self.close(Side::Peer);
    }

    /// Whether the proxy still holds its end.
    pub(crate) fn proxy_holds(&self) -> bool {
        self.proxy.is_open.get()
    }

    pub(crate) fn peer_holds(&self) -> bool {
        self.far.is_open.get()
    }

    /// Whether the proxy has closed the half that it writes to.
    pub(crate) fn proxy_has_ended(&self) -> bool {
        self.to_peer.borrow().fin_sent
    }

    /// When the proxy last wrote something.
    pub(crate) fn proxy_wrote_at(&self) -> Ms {
        self.to_peer.borrow().written_at
    }

    /// Bytes that the proxy has written, and those that it has read.
    pub(crate) fn proxy_bytes(&self) -> (u64, u64) {
        (self.to_peer.borrow().written, self.to_proxy.borrow().read)
    }
}

/// What a peer finds when it reads.
#[derive(Debug)]
pub(crate) enum PeerRead {
    Nothing,
    Bytes(Vec<u8>),
    End,
    Reset,
}

/// The proxy's end; see [`unstick::sim::Wire`].
#[derive(Debug)]
pub(crate) struct ProxyEnd(pub(crate) Rc<Wire>);

impl Drop for ProxyEnd {
    fn drop(&mut self) {
        if !self.0.net.closes_later(self.0.id) {
            self.0.close(Side::Proxy);
        }
    }
}

impl ProxyEnd {
    /// Fails if the fault of the wire is due with this call.
    fn call(&self) -> io::Result<()> {
        let wire = &*self.0;
        let Some(fault) = wire.fault.get() else { return Ok(()) };
        if fault.call > 0 {
            wire.fault.set(Some(Fault { call: fault.call - 1, ..fault }));
            return Ok(());
        }
        wire.fault.set(None);
        wire.net.note("fault", wire.id, fault.kind as u64);
        wire.net.reached("an error of a call");
        wire.break_now();
        wire.proxy.was_told.set(true);
        Err(if fault.kind == FaultKind::TimedOut { ErrorKind::TimedOut } else { ErrorKind::ConnectionReset }.into())
    }

    /// Whether the call says "not now" for no reason. The task is woken soon.
    fn is_put_off(&self, wakes: Event) -> bool {
        let wire = &*self.0;
        let is_put_off = wire.dice.borrow_mut().happens(wire.net.plan.not_now);
        if is_put_off {
            wire.net.reached("not now for no reason");
            let delay = wire.dice.borrow_mut().below(wire.net.plan.delay + 1);
            wire.net.at(wire.net.now() + delay, wakes);
        }
        is_put_off
    }

    /// As tokio does after each success: one unit of the task's budget is used up, or, if the dice say so, all of it,
    /// as after a hundred such calls.
    fn spend(&self, cx: &mut Context<'_>) {
        let wire = &*self.0;
        let spends_all = wire.dice.borrow_mut().happens(wire.net.plan.spends_budget);
        let units = if spends_all { BUDGET_MAX } else { 1 };
        for _ in 0..units {
            if !has_budget_remaining() {
                break;
            }
            // It is ready, since there is budget.
            let _ready = pin!(consume_budget()).poll(cx);
        }
        if spends_all {
            wire.net.reached("a task without budget");
        }
    }

    fn cap(&self) -> usize {
        let wire = &*self.0;
        if wire.net.plan.torn { wire.dice.borrow_mut().pick(&[1, 9, 500, 70_000]) as usize } else { usize::MAX }
    }
}

/// Ready if the task has budget left; else it is woken for its next turn, as tokio's sockets do.
fn poll_budget(cx: &mut Context<'_>) -> Poll<()> {
    if has_budget_remaining() { Poll::Ready(()) } else { pin!(consume_budget()).poll(cx) }
}

impl unstick::sim::Wire for ProxyEnd {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(poll_budget(cx));
        self.call()?;
        let wire = &*self.0;
        if self.is_put_off(Event::WakesReader(wire.id)) {
            *wire.reader.borrow_mut() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        match wire.read(Side::Proxy, buf.remaining().min(self.cap())) {
            Err(kind) => Poll::Ready(Err(kind.into())),
            Ok(None) => {
                *wire.reader.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
            Ok(Some(bytes)) => {
                wire.net.note("proxy reads", wire.id, bytes.len() as u64);
                buf.put_slice(&bytes);
                self.spend(cx);
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_write(&self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        ready!(poll_budget(cx));
        self.call()?;
        let wire = &*self.0;
        if self.is_put_off(Event::WakesWriter(wire.id)) {
            *wire.writer.borrow_mut() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let most = self.cap().min(wire.room(Side::Proxy));
        let bytes = bufs.iter().fold(Vec::new(), |mut all, buf| {
            all.extend_from_slice(&buf[..buf.len().min(most - all.len())]);
            all
        });
        match wire.write(Side::Proxy, &bytes) {
            Err(kind) => Poll::Ready(Err(kind.into())),
            Ok(0) if bufs.iter().any(|buf| !buf.is_empty()) => {
                wire.net.reached(if wire.is_upstream { "a replica does not read" } else { "a client does not read" });
                *wire.writer.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
            Ok(len) => {
                wire.net.note("proxy writes", wire.id, len as u64);
                self.spend(cx);
                Poll::Ready(Ok(len))
            }
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.call()?;
        let wire = &*self.0;
        if wire.dice.borrow_mut().happens(wire.net.plan.not_now) {
            return Err(ErrorKind::WouldBlock.into());
        }
        match wire.write(Side::Proxy, &bytes[..bytes.len().min(self.cap())]) {
            Err(kind) => Err(kind.into()),
            Ok(0) if !bytes.is_empty() => Err(ErrorKind::WouldBlock.into()),
            Ok(len) => {
                wire.net.note("proxy sends", wire.id, len as u64);
                Ok(len)
            }
        }
    }

    fn poll_shutdown(&self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.end_writing(Side::Proxy);
        Poll::Ready(Ok(()))
    }

    fn is_silent(&self) -> bool {
        let direction = self.0.to_proxy.borrow();
        direction.arrived.is_empty() && !direction.fin_arrived && !self.0.proxy.was_reset.get()
    }

    fn reset_when_closed(&self) {
        self.0.proxy.resets.set(true);
    }

    fn shut_down(&self) {
        self.0.end_writing(Side::Proxy);
        self.0.proxy.is_deaf.set(true);
        self.0.wake(Side::Proxy);
    }
}

impl Wire {
    /// Wakes the proxy's reader, or writer, after a "not now".
    pub(crate) fn wakes(&self, event: Event) {
        let waker = if matches!(event, Event::WakesReader(_)) { self.reader.take() } else { self.writer.take() };
        waker.into_iter().for_each(Waker::wake);
    }
}
