//! The client side of a request: whoever sends one request after the other.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use crossbeam_utils::CachePadded;
use http::{Request, Response};
use tokio::time::Instant;

use super::connection::Connection;
use super::refusal::RefusedHead;
use super::rest::Rest;
use super::story::{Stories, Story};
use super::tunnel::Tunnel;
use crate::access_log::{AccessLog, AccessRecord};
use crate::deadlines::Deadlines;
use crate::link::client_body::ClientBody;
use crate::link::request_body::{Progress, Upload};
use crate::link::view::Viewer;
use crate::metrics::{PoolCell, WorkerCell};
use crate::net::outbox::Outbox;
use crate::pool::PoolShared;

/// What has come from a client.
#[expect(clippy::large_enum_variant, reason = "nearly all are requests")]
pub enum Received {
    /// A request.
    Request(Request<ClientBody>),
    /// A head that is none of a request.
    Refused(Box<RefusedHead>),
}

/// What all requests of one worker share.
#[derive(Debug)]
pub struct Proxy {
    /// The number of the worker.
    pub worker: usize,
    /// The worker's view of the current snapshot, with its connections to endpoints.
    pub viewer: Viewer,
    /// Messages that wait to be sent together.
    pub(crate) outbox: Rc<Outbox>,
    /// The access log, if one is written.
    pub access_log: Option<AccessLog>,
    /// What is noted of requests, so that it can be told what became of them.
    pub(crate) stories: Stories,
    /// The counters of all workers, by number.
    pub cells: Arc<[CachePadded<WorkerCell>]>,
    /// Whether the worker has ended: whatever is dropped now was not given up by its client.
    pub is_over: Cell<bool>,
}

impl Proxy {
    /// Writes a line of the access log, if there is one.
    pub(super) fn log_access(&self, record: AccessRecord) {
        if self.access_log.as_ref().is_some_and(|log| !log.submit(record)) {
            self.cell().access_log_dropped.add(1);
        }
    }

    /// This worker's counters of a pool.
    pub(super) fn cell_of<'p>(&self, pool: &'p PoolShared) -> &'p PoolCell {
        &pool.cells[self.worker]
    }

    /// Sends a story to the control thread.
    pub(super) fn tell(&self, story: Arc<Story>) {
        if !self.stories.send(story) {
            self.cell().stories_dropped.add(1);
        }
    }

    /// Sends the story of a traced request to whoever makes spans of it, unless too many came at once.
    pub(super) fn trace(&self, story: Arc<Story>) {
        if !self.stories.send_traced(story) {
            self.cell().traces_dropped.add(1);
        }
    }

    /// This worker's counters.
    pub fn cell(&self) -> &WorkerCell {
        &self.cells[self.worker]
    }
}

/// A client that sends one request after the other: a connection of HTTP/1, or one stream of HTTP/2.
#[derive(Debug)]
pub struct Client {
    /// The connection that carries the requests. The streams of one HTTP/2 connection share it.
    pub connection: Rc<Connection>,
    /// The deadlines of its waits.
    pub deadlines: Rc<Deadlines>,
    /// How far the body of the latest request has come. At the end it tells whether the client may still be sending.
    upload: RefCell<Option<Rc<Progress>>>,
    pub(super) is_busy: Cell<bool>,
    /// When the last response ended; `None` while none has.
    pub(super) idle_since: Cell<Option<Instant>>,
    /// Whether the latest response broke off.
    pub(super) was_cut: Cell<bool>,
    /// Whether the latest request got a whole response.
    pub(super) was_answered: Cell<bool>,
    /// Whether the client has sent the beginning of a head and still owes the rest.
    pub(super) in_head: Cell<bool>,
    /// Whether the client has closed its half of the connection.
    is_half_closed: Cell<bool>,
    /// Whether it is a stream of HTTP/2.
    is_stream: bool,
    /// The body of the present request: a client that gets an early response may go on sending. A connection forgets it
    /// when its response begins, and decides what becomes of it.
    pub(super) body: RefCell<Option<Rc<Upload>>>,
    /// Whether the endpoint that has responded to the latest request goes on reading its body.
    pub(super) is_read_on: Cell<bool>,
    /// Whether the response of an endpoint to the latest request said that the connection ends after it.
    pub(super) is_told_to_close: Cell<bool>,
    /// Whether the client sends the body of the present request when it is told to continue.
    pub(super) awaits_continue: Cell<bool>,
    /// Whether the client has sent nothing more of a body that an endpoint reads for too long.
    pub(super) is_given_up: Cell<bool>,
    /// How often something was read from it.
    pub(super) reads: Cell<u64>,
    /// The rests of bodies whose responses are over.
    pub(super) rests: RefCell<Vec<Rest>>,
    /// The tunnel that follows the response being sent, if one does.
    tunnel: RefCell<Option<Box<Tunnel>>>,
    /// How many interim responses the client of the present request may still be sent.
    pub(super) interims_left: Cell<u32>,
    /// Whether there are any of these.
    pub(super) has_interims: Cell<bool>,
    /// The interim responses that are to be sent.
    pub(super) interims: RefCell<Vec<Response<()>>>,
}

impl Client {
    /// The client of a connection.
    pub fn new(connection: Rc<Connection>) -> Self {
        Self {
            connection,
            deadlines: Rc::default(),
            upload: RefCell::default(),
            is_busy: Cell::new(false),
            idle_since: Cell::default(),
            was_cut: Cell::new(false),
            was_answered: Cell::new(false),
            in_head: Cell::new(false),
            is_half_closed: Cell::new(false),
            is_stream: false,
            body: RefCell::default(),
            is_read_on: Cell::new(false),
            is_told_to_close: Cell::new(false),
            awaits_continue: Cell::new(false),
            is_given_up: Cell::new(false),
            reads: Cell::new(0),
            rests: RefCell::default(),
            tunnel: RefCell::default(),
            interims_left: Cell::new(0),
            has_interims: Cell::new(false),
            interims: RefCell::default(),
        }
    }

    /// A client for tests.
    #[cfg(test)]
    pub(super) fn test() -> Self {
        Self::new(Connection::test())
    }

    /// A stream of a connection.
    pub fn of_stream(connection: Rc<Connection>) -> Self {
        Self { is_stream: true, ..Self::new(connection) }
    }

    /// Whether the latest request got a whole response.
    pub fn was_answered(&self) -> bool {
        self.was_answered.get()
    }

    /// A request has begun, with this body if it has one.
    pub(super) fn begin_upload(&self, upload: Option<&Rc<Upload>>, awaits_continue: bool) {
        *self.upload.borrow_mut() = upload.map(|upload| Rc::clone(upload.progress()));
        *self.body.borrow_mut() = upload.cloned();
        self.awaits_continue.set(awaits_continue);
        self.is_given_up.set(false);
    }

    /// The body of the latest request has come whole, whoever has read its end.
    #[inline]
    pub fn has_read_body(&self) {
        if self.owes_body() {
            *self.upload.borrow_mut() = None;
        }
    }

    /// Sets whether a request is being served.
    pub fn set_busy(&self, is_busy: bool) {
        self.is_busy.set(is_busy);
    }

    /// The rest of the request body, if the client of a stream is still sending it after its response and no other
    /// reader is left.
    pub(crate) fn take_rest(&self) -> Option<Rc<Upload>> {
        let rest = self.body.take()?;
        (self.was_answered() && self.may_still_send() && Rc::strong_count(&rest) == 1).then_some(rest)
    }

    pub(super) fn leave_tunnel(&self, tunnel: Tunnel) {
        *self.tunnel.borrow_mut() = Some(Box::new(tunnel));
    }

    /// Takes the tunnel that follows when HTTP has ended, if there is one.
    pub fn take_tunnel(&self) -> Option<Box<Tunnel>> {
        self.tunnel.take()
    }

    /// Whether it is a stream of HTTP/2, not a connection.
    pub(super) fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// The client has closed its half of the connection.
    pub fn set_half_closed(&self) {
        self.is_half_closed.set(true);
    }

    /// Whether the client has closed its half of the connection.
    pub fn is_half_closed(&self) -> bool {
        self.is_half_closed.get()
    }

    /// Whether a request is being served. Otherwise the next one is awaited.
    pub fn is_busy(&self) -> bool {
        self.is_busy.get()
    }

    /// Whether there has been no request yet.
    pub fn is_fresh(&self) -> bool {
        !self.is_busy.get() && self.idle_since.get().is_none()
    }

    /// Sets whether the rest of a head is awaited, and returns whether it was before.
    pub fn set_in_head(&self, in_head: bool) -> bool {
        self.in_head.replace(in_head)
    }

    /// Whether the rest of a head is awaited.
    pub fn is_in_head(&self) -> bool {
        self.in_head.get()
    }

    /// The wait for the next request begins now.
    pub fn begin_idling(&self) {
        self.idle_since.set(Some(Instant::now()));
    }

    /// The wait for the next request began then, unless there was no request yet.
    pub fn set_idle_since(&self, idle_since: Option<Instant>) {
        self.idle_since.set(idle_since);
    }

    /// When the wait for the next request began; now, if no response has ended yet.
    pub fn idle_since(&self) -> Instant {
        self.idle_since.get().unwrap_or_else(Instant::now)
    }

    /// The response broke off: the connection must not end as if it were complete.
    pub fn cut(&self) {
        self.was_cut.set(true);
    }

    /// Whether the latest response broke off.
    pub fn was_cut(&self) -> bool {
        self.was_cut.get()
    }

    /// When its listener began to drain, if it drains.
    pub fn draining_since(&self) -> Option<Instant> {
        self.connection.draining_since.get()
    }

    /// Whether the client is in the middle of a request: the latest one got its response before its body had arrived
    /// whole, or its head was refused.
    pub fn may_still_send(&self) -> bool {
        self.in_head.get() || self.owes_body()
    }

    /// Whether the client has been silent for too long within a body that an endpoint still reads. Its connection is to
    /// end: then the endpoint hears that the body breaks off.
    pub(crate) fn is_given_up(&self) -> bool {
        self.is_given_up.get()
    }

    /// Something has come from a client that was given up.
    pub(crate) fn take_up_again(&self) {
        self.is_given_up.set(false);
    }

    /// Something was read from the client, whatever it belongs to.
    pub(crate) fn note_read(&self) {
        self.reads.set(self.reads.get().wrapping_add(1));
    }

    /// Whether the body of the latest request has not arrived whole.
    pub fn owes_body(&self) -> bool {
        self.upload.borrow().as_ref().is_some_and(|progress| !progress.ended.get())
    }
}
