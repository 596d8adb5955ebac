//! What is noted of a request, so that it can be told what became of it, and what the log says of one that broke off.

use tokio::time::Instant;

use super::Exchange;
use crate::link::timing::Timing;
use crate::metrics::Outcome;
use crate::pool::Tried;
use crate::proxy::story::{AsOf, Chosen, Draft, Due, End, Failed, Kinds};

impl Exchange {
    /// An endpoint was chosen for an attempt, which began at `now`.
    #[inline]
    pub(in crate::proxy) fn note_attempt(&mut self, now: Instant) {
        if let Some(draft) = &mut self.story {
            draft.attempt(now);
        }
        if let Some(trace) = &mut self.added.trace {
            trace.begin_attempt();
        }
    }

    /// Why the endpoint was chosen.
    #[inline]
    pub(super) fn note_choice(&mut self, chosen: Chosen) {
        if let Some(draft) = &mut self.story {
            draft.chosen = chosen;
        }
    }

    /// Looks at the candidates before the first pick of a request of the sample.
    #[inline]
    pub(super) fn note_candidates(&mut self, tried: &Tried) {
        if let Some(draft) = &mut self.story
            && draft.wants_candidates()
        {
            draft.see(&self.view.snapshot.pools[self.pool], tried, AsOf::Pick);
        }
    }

    /// The snapshot is left with which the request began.
    pub(super) fn note_renewal(&mut self) {
        if let Some(draft) = &mut self.story {
            draft.leave(&self.view.snapshot.routes);
        }
    }

    /// Where the steps of the present attempt are noted.
    #[inline]
    pub(in crate::proxy) fn timing(&self) -> Option<&Timing> {
        self.story.as_ref().map(|draft| &draft.timing)
    }

    /// The request begins to wait for an endpoint with room.
    pub(in crate::proxy) fn note_queueing(&mut self, now: Instant) {
        if let Some(draft) = &mut self.story {
            draft.queue(now);
        }
    }

    /// The wait is over.
    pub(in crate::proxy) fn note_turn(&mut self) {
        if let Some(draft) = &mut self.story {
            draft.leave_queue(Instant::now());
        }
    }

    /// The head of a response has come at `now`. The whole request had been `sent` before.
    #[inline]
    pub(in crate::proxy) fn note_response(&mut self, now: Instant, sent: Option<Instant>) {
        if let Some(draft) = &mut self.story {
            draft.respond(now, sent);
        }
    }

    /// The response may last, however quickly it began.
    pub(in crate::proxy) fn note_lasting(&mut self) {
        if let Some(draft) = &mut self.story {
            draft.is_lasting = true;
        }
    }

    /// A tunnel follows the response.
    pub(in crate::proxy) fn note_tunnel(&mut self) {
        self.note_lasting();
        if let Some(draft) = &mut self.story {
            draft.outlive_head();
        }
    }

    /// The present attempt has failed at `now`.
    pub(in crate::proxy) fn note_failure(&mut self, now: Instant, tried: &Tried, failed: Failed<'_>) {
        if !self.proxy.stories.has_room(now)
            && let Some(draft) = self.story.take_if(|draft| draft.trace.is_none())
        {
            self.tell_nothing(draft);
        }
        let (Some(draft), Some(in_flight)) = (&mut self.story, &self.in_flight) else { return };
        draft.fail(self.started, now, &in_flight.endpoint().endpoint, failed);
        draft.see(&self.view.snapshot.pools[self.pool], tried, AsOf::Failure);
    }

    /// Tells what became of the request, if it is worth that.
    #[inline]
    pub(super) fn tell(&mut self, draft: Box<Draft>, outcome: Outcome, now: Instant) {
        let slow = self.view.snapshot.explain.slow;
        // What lasts is slow only if it took long to begin.
        let until = if draft.is_lasting { draft.head.unwrap_or(now) } else { now };
        let kinds = Kinds {
            failed: outcome == Outcome::Cut || self.origin.is_some() && self.status.is_server_error(),
            retried: self.attempts > 1,
            slow: until.saturating_duration_since(self.started) > slow,
            sampled: draft.is_sampled,
        };
        if kinds.any() || draft.trace.is_some() {
            self.tell_whole(draft, kinds, outcome, now);
        } else {
            self.proxy.stories.take_back(draft);
        }
    }

    /// There are too many to tell of.
    #[cold]
    fn tell_nothing(&self, draft: Box<Draft>) {
        self.proxy.cell().stories_dropped.add(1);
        self.proxy.stories.take_back(draft);
    }

    #[cold]
    fn tell_whole(&self, mut draft: Box<Draft>, kinds: Kinds, outcome: Outcome, now: Instant) {
        let is_told = kinds.any() && self.view.snapshot.explain.keep > 0;
        let due = Due { is_told, is_traced: draft.trace.is_some() }.with_room(now, &self.proxy);
        if !due.any() {
            return self.proxy.stories.take_back(draft);
        }
        let story = draft.tell(End {
            started: self.started,
            now,
            kinds,
            listener: &self.client.connection.rules.listener(),
            routes: &self.view.snapshot.routes,
            pool: self.pool(),
            endpoint: self.endpoint().map(|endpoint| &*endpoint.endpoint),
            status: self.origin.map(|_| self.status.as_u16()),
            outcome,
            origin: self.origin,
            error: self.error.as_deref(),
            bytes: self.bytes,
            attempts: self.attempts,
        });
        due.send(story, &self.proxy);
        self.proxy.stories.take_back(draft);
    }

    /// Logs that a response was ended because its endpoint or listener drains.
    pub(in crate::proxy) fn log_drained(&self) {
        let Some(endpoint) = self.endpoint() else { return };
        let (pool, address, bytes) = (&endpoint.endpoint.pool, &endpoint.endpoint.address, self.bytes);
        tracing::info!(%pool, endpoint = %address, bytes, "response ended: the time to drain is over");
    }

    /// Logs that a response broke off after its head.
    pub(in crate::proxy) fn log_cut(&self, why: &dyn std::fmt::Display) {
        let Some(endpoint) = self.endpoint() else { return };
        tracing::warn!(
            pool = %endpoint.endpoint.pool,
            endpoint = %endpoint.endpoint.address,
            status = self.status.as_u16(),
            bytes = self.bytes,
            "response cut short, the client's connection is reset: {why}"
        );
    }
}
