//! The books of one request. They are opened when its head has been read, and closed exactly once, however it ends.
//!
//! An [`Exchange`] travels with the request: first inside the future that makes the attempts, then inside the response
//! body. Dropping it unfinished means that the client left, or that the worker has ended.

mod telling;

use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::access::{AccessDraft, Ending, Origin};
use super::cause::Cause;
use super::client::{Client, Proxy};
use super::planned::Planned;
use super::story::{Chosen, Draft};
use crate::config::model::Timeouts;
use crate::link::added::Added;
use crate::link::h1::UpstreamConnection;
use crate::link::view::View;
use crate::link::{InFlight, WorkerEndpoint};
use crate::metrics::{Outcome, PoolCell};
use crate::pool::pick::Acquired;
use crate::pool::{Pool, Tried};
use crate::snapshot::plan::{Local, More};

/// The share of the drain time by which everything that drains has been ended. The rest is for the ends to be written
/// and noticed: a process that stops gives up when all of it has passed, and then says that something was cut.
pub(crate) const ENDED_BY: f64 = 0.95;

/// The books of one request; see the module.
#[derive(Debug)]
pub(crate) struct Exchange {
    proxy: Rc<Proxy>,
    client: Rc<Client>,
    view: Rc<View>,
    pool: usize,
    /// What the route wants besides its pool.
    planned: Option<Box<Planned>>,
    /// What is added to the fields of the request.
    pub(super) added: Added,
    pub(super) started: Instant,
    in_flight: Option<InFlight>,
    status: StatusCode,
    origin: Option<Origin>,
    error: Option<Box<str>>,
    bytes: u64,
    attempts: u32,
    is_open: bool,
    access: Option<Box<AccessDraft>>,
    /// What is noted for the story of the request.
    story: Option<Box<Draft>>,
}

impl Exchange {
    /// Opens the books.
    pub(super) fn open(
        proxy: &Rc<Proxy>,
        client: &Rc<Client>,
        view: Rc<View>,
        (pool, planned, added): (usize, Option<Box<Planned>>, Added),
        started: Instant,
        (access, story): (Option<Box<AccessDraft>>, Option<Box<Draft>>),
    ) -> Self {
        Self {
            proxy: Rc::clone(proxy),
            client: Rc::clone(client),
            view,
            pool,
            planned,
            added,
            started,
            in_flight: None,
            status: StatusCode::OK,
            origin: None,
            error: None,
            bytes: 0,
            attempts: 0,
            is_open: true,
            access,
            story,
        }
    }

    pub(super) fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    pub(super) fn client(&self) -> &Rc<Client> {
        &self.client
    }

    /// What the route wants besides its pool, if anything.
    #[inline]
    pub(super) fn planned(&self) -> Option<&Planned> {
        self.planned.as_deref()
    }

    #[inline]
    pub(super) fn more(&self) -> Option<&More> {
        self.planned().and_then(Planned::more)
    }

    /// The deadlines that hold for this request.
    #[inline]
    pub(super) fn timeouts(&self) -> &Timeouts {
        self.more().map_or(&self.view.snapshot.timeouts, |more| &more.timeouts)
    }

    /// What an error response with this status contains, if the config says so.
    pub(super) fn page(&self, status: StatusCode) -> Option<&Local> {
        self.view.snapshot.errors.page(status, self.more(), &self.client.connection.rules.listener())
    }

    /// `timeouts.drain` as it is now. What drains may have begun long before the latest edit, and the rest of the
    /// process goes by the present value.
    pub(super) fn drain(&self) -> Duration {
        self.proxy.viewer.timeout(|timeouts| timeouts.drain)
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.view.snapshot.pools[self.pool]
    }

    /// Goes over to the current snapshot, in which an edit may have changed the pool since the request came. What the
    /// request was `tried` on is kept. It returns whether the pool is still there.
    pub(super) fn renew(&mut self, tried: &mut Tried) -> bool {
        let view = self.proxy.viewer.current();
        if Rc::ptr_eq(&view, &self.view) {
            return true;
        }
        let pool = self.pool();
        let Some(next) = view.snapshot.pools.iter().position(|next| next.name == pool.name) else { return false };
        *tried = tried.moved(pool, &view.snapshot.pools[next]);
        self.note_renewal();
        (self.view, self.pool) = (view, next);
        true
    }

    /// Goes over to the fallback of the route, if every endpoint of the pool has been tried.
    fn fall_back(&mut self, tried: &mut Tried) {
        let Some(name) = self.planned().and_then(Planned::fallback) else { return };
        let Some(fallback) = self.view.snapshot.pools.iter().position(|pool| pool.name == *name) else { return };
        if fallback != self.pool && !self.pool().has_untried(tried) {
            (self.pool, *tried) = (fallback, Tried::default());
        }
    }

    /// Begins an attempt on an endpoint that can take the request now, if there is one, and adds it to what was
    /// `tried`. The attempt before has ended. A client that has a connection of its own comes back to it with its next
    /// request: it may be in the middle of authenticating itself. A repetition may be meant for the `same` endpoint.
    pub(super) fn attempt(
        &mut self,
        tried: &mut Tried,
        same: Option<Rc<WorkerEndpoint>>,
    ) -> Option<Rc<WorkerEndpoint>> {
        if self.attempts > 0 {
            if !self.renew(tried) {
                return None;
            }
            self.fall_back(tried);
        }
        self.note_candidates(tried);
        let view = Rc::clone(&self.view);
        let pool = &view.snapshot.pools[self.pool];
        let private = &self.client.connection.private;
        let endpoints = &view.endpoints[self.pool];
        let (own, chosen) = match same {
            Some(same) => (endpoints.iter().position(|endpoint| Rc::ptr_eq(endpoint, &same)), Chosen::Again),
            None if tried.is_empty() => (private.endpoint_among(endpoints), Chosen::OwnConnection),
            None => (None, Chosen::Balance),
        };
        let acquired = match own.and_then(|index| pool.acquire_at(index)) {
            Some(acquired) => (acquired, chosen),
            None => (pool.acquire(tried)?, Chosen::Balance),
        };
        Some(self.attempt_on(acquired, tried))
    }

    /// As [`Self::attempt`], for a request that has reached the head of the queue.
    pub(super) fn attempt_in_turn(&mut self, tried: &mut Tried) -> Option<Rc<WorkerEndpoint>> {
        let view = Rc::clone(&self.view);
        let acquired = view.snapshot.pools[self.pool].acquire_in_turn(tried)?;
        Some(self.attempt_on((acquired, Chosen::Queue), tried))
    }

    fn attempt_on(&mut self, (acquired, chosen): (Acquired<'_>, Chosen), tried: &mut Tried) -> Rc<WorkerEndpoint> {
        self.note_choice(chosen);
        tried.add(acquired.index());
        let endpoint = Rc::clone(&self.view.endpoints[self.pool][acquired.index()]);
        endpoint.cell().attempts.add(1);
        self.attempts += 1;
        self.in_flight = Some(InFlight::adopt(acquired, Rc::clone(&endpoint)));
        endpoint
    }

    /// Returns to the response that `endpoint` gave before another attempt was made, and counts the request there
    /// again.
    pub(super) fn back_to(&mut self, endpoint: Rc<WorkerEndpoint>) {
        self.in_flight = Some(InFlight::begin(endpoint));
    }

    /// This worker's counters of the pool.
    pub(super) fn pool_cell(&self) -> &PoolCell {
        self.proxy.cell_of(&self.pool().shared)
    }

    /// The endpoint of the present attempt.
    pub(super) fn endpoint(&self) -> Option<&Rc<WorkerEndpoint>> {
        self.in_flight.as_ref().map(InFlight::endpoint)
    }

    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// `endpoint` has sent the response head at `now`, and `took` that long for it.
    pub(super) fn began_to_answer(&self, endpoint: &WorkerEndpoint, took: Duration, now: Instant) {
        endpoint.endpoint.latency().record(took, now);
        endpoint.cell().first_byte.record(took);
        self.pool_cell().first_byte.record(took);
    }

    /// The endpoint sent a whole response. That is a success unless the pool takes its status for a failure.
    pub(super) fn answered_whole(&self) {
        let is_unwell = self.is_unwell(self.status);
        if let Some(endpoint) = self.endpoint()
            && !is_unwell
        {
            endpoint.endpoint.passive().succeeded();
        }
    }

    /// Counts a failure of the endpoint; `points` is its weight towards an ejection.
    pub(super) fn endpoint_failed(&self, points: u32) {
        let Some(endpoint) = self.endpoint() else { return };
        endpoint.cell().failures.add(1);
        if let Some(duration) = self.pool().failed(&endpoint.endpoint, points, Instant::now()) {
            let (pool, address) = (&endpoint.endpoint.pool, &endpoint.endpoint.address);
            tracing::warn!(%pool, endpoint = %address, "endpoint ejected for {duration:?}: too many failures in a row");
        }
    }

    /// Notes the status that the client gets from the endpoint.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = status;
        self.origin = Some(Origin::Replica);
        if status.is_server_error()
            && let Some(endpoint) = self.endpoint()
        {
            endpoint.cell().errors.add(1);
        }
    }

    /// Notes the status that the client gets from the proxy, and why.
    pub(super) fn answered_here(&mut self, status: StatusCode, cause: Option<Cause>, error: Option<Box<str>>) {
        self.status = status;
        self.origin = Some(Origin::Unstick(cause));
        self.error = error;
    }

    /// Notes why the response breaks off.
    pub(super) fn breaks_off(&mut self, why: &dyn std::fmt::Display) {
        if self.access.is_some() || self.story.is_some() {
            self.error = Some(why.to_string().into());
        }
    }

    /// Counts bytes of the response body.
    pub(super) fn passed_on(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// When the endpoint or the client's listener began to drain, if one of them drains; the earlier time counts.
    pub(super) fn draining_since(&self) -> Option<Instant> {
        let by_endpoint = self.endpoint().and_then(|endpoint| endpoint.draining_since());
        by_endpoint.into_iter().chain(self.client.draining_since()).min()
    }

    /// Closes the books after a whole response, and returns the time.
    pub(super) fn finish_answered(&mut self) -> Instant {
        self.finish(Outcome::Answered(self.status.as_u16()))
    }

    /// Closes the books, and returns the time. A second call only notes the client's state again.
    pub(super) fn finish(&mut self, outcome: Outcome) -> Instant {
        let now = Instant::now();
        self.client.idle_since.set(Some(now));
        self.client.was_answered.set(matches!(outcome, Outcome::Answered(_)));
        if !std::mem::replace(&mut self.is_open, false) {
            return now;
        }
        let duration = now.saturating_duration_since(self.started);
        self.pool_cell().finished(outcome, duration);
        if let Some(draft) = self.story.take() {
            self.tell(draft, outcome, now);
        }
        if let Some(draft) = self.access.take() {
            let error = self.error.take();
            let endpoint = self.endpoint().map(|endpoint| &endpoint.endpoint.address);
            let has_begun = outcome != Outcome::ClientGone && self.origin.is_some();
            let status = has_begun.then_some(self.status);
            let pool = Some(&self.view.snapshot.pools[self.pool].name);
            let Self { bytes, attempts, origin, .. } = *self;
            let ending = Ending { pool, endpoint, status, outcome, bytes, duration, attempts, origin, error };
            draft.finish(ending).into_iter().for_each(|record| self.proxy.log_access(record));
        }
        now
    }

    /// Gives the connection back to its endpoint, or to the client to which it belongs.
    pub(super) fn checkin(&self, connection: Box<UpstreamConnection>, now: Instant) {
        match self.endpoint() {
            Some(endpoint) if connection.is_private() => {
                self.client.connection.private.keep(endpoint, connection, now);
            }
            Some(endpoint) => endpoint.checkin(connection, now),
            None => {}
        }
    }

    /// The count of the request on its endpoint, which still works on it although the response is over.
    pub(super) fn take_in_flight(&mut self) -> Option<InFlight> {
        self.in_flight.take()
    }

    /// The endpoint no longer works on this request, so it is no longer counted there.
    pub(super) fn release(&mut self) {
        self.in_flight = None;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.is_open {
            self.client.deadlines.disarm(crate::deadlines::Wait::Upstream);
            if self.proxy.is_over.get() {
                self.breaks_off(&"unstick stopped before it was over");
                self.finish(Outcome::Cut);
            } else {
                self.finish(Outcome::ClientGone);
            }
        }
    }
}
