//! The rules that hold for every run, whatever happens. They are those of ARCHITECTURE.md, "When something fails".

use std::collections::BTreeMap;

use unstick::sim::Gauges;

use super::net::Network;
use super::record::{Record, Seen};
use super::scenario::{ClientPlan, Ends, Fate, Method, Ms, Reads, Scenario, Speaks};
use super::world::{CLIENT_IDLE, DRAIN};

/// Rules that do not hold yet. A mend takes its rule out of this list.
pub(crate) const NOT_YET: [&str; 0] = [];

/// `limits.replay`: a longer body cannot be sent again.
const REPLAY: usize = 64 * 1024;
/// `retry.attempts`.
const ATTEMPTS: usize = 3;
/// `timeouts.drain_idle` and `timeouts.half_closed`.
const DRAIN_IDLE: Ms = 5_000;
const HALF_CLOSED: Ms = 5_000;
/// `timeouts.client_write`.
const CLIENT_WRITE: Ms = 3_000;
/// `timeouts.connect` and `timeouts.response_head`.
const CONNECT: Ms = 1_000;
const RESPONSE_HEAD: Ms = 4_000;
/// The longest time between two parts of a body that arrives.
const ARRIVES_WITHIN: Ms = 1_000;
/// A client that hesitates for so long runs into a deadline.
const HESITATES_TOO_LONG: Ms = 3_000;
/// How exact moments are.
const SLACK: Ms = 200;

/// What is known of a run besides the records.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// When SIGTERM came, if the scenario has it.
    pub(crate) terminated_at: Option<Ms>,
    /// Whether that was SIGINT.
    pub(crate) was_interrupted: bool,
    /// When draining began, by SIGTERM or because the run was over.
    pub(crate) drained_at: Option<Ms>,
    pub(crate) ended_at: Option<Ms>,
    pub(crate) was_removed: Vec<bool>,
    pub(crate) was_killed: Vec<bool>,
    pub(crate) client_wires: BTreeMap<usize, usize>,
    pub(crate) gauges_at_end: Gauges,
    pub(crate) panics: u64,
}

impl Facts {
    pub(crate) fn new(replicas: usize) -> Self {
        Self { was_removed: vec![false; replicas], was_killed: vec![false; replicas], ..Self::default() }
    }
}

/// Nothing has happened for longer than any wait may last: nothing may be left.
pub(crate) fn at_rest(net: &Network, gauges: Gauges) {
    if gauges != Gauges::default() {
        net.violated("something is held for ever", format!("{gauges:?}"));
    }
    for wire in net.wires.borrow().iter().filter(|wire| wire.proxy_holds()) {
        let whose = if wire.is_upstream { "to a replica" } else { "of a client" };
        net.violated("a connection is held for ever", format!("wire {} {whose}", wire.id));
    }
}

/// Judges a run that is over.
pub(crate) fn judge(scenario: &Scenario, net: &Network, records: &[Record], facts: &Facts) {
    if facts.panics > 0 {
        net.violated("a panic", format!("{} tasks", facts.panics));
    }
    let took = facts.ended_at.zip(facts.drained_at).map(|(end, begin)| end - begin);
    if took.is_none_or(|took| took > DRAIN + SLACK) {
        net.violated("the end comes too late", format!("{took:?} ms"));
    }
    let wires = net.wires.borrow();
    let is_faulty = |wire: usize| wires[wire].was_faulty.get();
    let any_faulty = wires.iter().any(|wire| wire.is_upstream && wire.was_faulty.get());
    let broken: Vec<Broken> = wires
        .iter()
        .filter(|wire| wire.is_upstream && wire.was_faulty.get())
        .map(|wire| Broken { wire: wire.id, opened: wire.opened_at })
        .collect();
    for (number, record) in records.iter().enumerate() {
        let case =
            Case { scenario, facts, records, number, record, any_faulty, broken: &broken, is_faulty: &is_faulty };
        for (kind, what) in case.violations() {
            net.violated(kind, format!("request {number}: {what}"));
        }
        case.count(net);
    }
}

/// A connection to a replica that the network broke or refused.
struct Broken {
    wire: usize,
    opened: Ms,
}

struct Case<'a> {
    scenario: &'a Scenario,
    facts: &'a Facts,
    records: &'a [Record],
    number: usize,
    record: &'a Record,
    /// Whether any connection to a replica was broken by replica or network.
    any_faulty: bool,
    broken: &'a [Broken],
    is_faulty: &'a dyn Fn(usize) -> bool,
}

type Found = (&'static str, String);

impl Case<'_> {
    fn client(&self) -> &ClientPlan {
        &self.scenario.clients[self.record.client]
    }

    fn violations(&self) -> Vec<Found> {
        let record = self.record;
        let mut found = Vec::new();
        let executed = record.executions.iter().filter(|execution| !execution.was_refused).count();
        if executed > 1 && !record.plan.is_repeatable() {
            found.push(("executed twice", format!("{} times", executed)));
        }
        // A stale connection that was kept costs no attempt.
        if executed > ATTEMPTS + 1 {
            found.push(("executed too often", format!("{} times", executed)));
        }
        found.extend(self.half_tunnel());
        if record.begun.is_none() || record.abandoned {
            return found;
        }
        match (record.seen, &record.cause) {
            _ if record.status == 101 => found.extend(self.tunnel()),
            (Seen::Whole, None) => found.extend(self.whole()),
            (Seen::Whole, Some(cause)) => found.extend(self.own(cause)),
            (Seen::Nothing, _) => found.extend(self.lost()),
            (Seen::Head, _) => found.extend(self.cut()),
        }
        found
    }

    /// A response that the client takes for whole: it is the one that a replica sent, all of it.
    fn whole(&self) -> Option<Found> {
        let record = self.record;
        let reply = record.plan.reply(record.attempt?);
        let is_right = record.status == reply.status && record.received == record.plan.due(reply);
        let what = format!("{} with {} bytes of {reply:?}", record.status, record.received);
        if record.plan.trailers && record.plan.gets_trailers(reply) && !record.has_trailers && is_right {
            return Some(("trailers were lost", what));
        }
        (!is_right).then_some(("a part passed for the whole", what))
    }

    /// A tunnel of which the replica has seen the end: it has every byte, or else it has seen a break.
    fn half_tunnel(&self) -> Option<Found> {
        let plan = self.record.plan.tunnel?;
        let execution = self.record.executions.iter().find(|execution| execution.tunnel_ended)?;
        let what = format!("{} bytes of {} in a tunnel", execution.body, plan.up);
        (execution.body != plan.up).then_some(("a part passed for the whole", what))
    }

    /// A tunnel: every byte has arrived at both ends, or there was a reason, and the end was no orderly one.
    fn tunnel(&self) -> Option<Found> {
        let (record, plan) = (self.record, self.record.plan.tunnel?);
        let (has_end, received) = (record.seen == Seen::Whole, record.received);
        if has_end && received != plan.down {
            return Some(("a part passed for the whole", format!("{received} bytes of {} in a tunnel", plan.down)));
        }
        let execution = record.executions.get(record.attempt?)?;
        let (is_killed, was_removed) =
            (self.facts.was_killed[execution.replica], self.facts.was_removed[execution.replica]);
        // When the client had all that it gets, the other half was open still.
        let over = if has_end { execution.tunnel_over } else { record.ended };
        let is_draining = self.facts.drained_at.is_some_and(|at| over.is_none_or(|over| over + SLACK >= at));
        let is_broken = (self.is_faulty)(execution.wire) || is_killed || was_removed || is_draining;
        let is_whole = has_end && execution.tunnel_ended;
        let what = format!("{received} bytes of {}, and {} of {}", plan.down, execution.body, plan.up);
        (!is_whole && !is_broken && !self.is_client_to_blame()).then_some(("a tunnel was cut", what))
    }

    /// A response of the proxy itself.
    fn own(&self, cause: &str) -> Option<Found> {
        let (record, plan) = (self.record, &self.record.plan);
        let broken = |at: usize| {
            let execution = &record.executions[at];
            execution.was_broken || (self.is_faulty)(execution.wire) || self.facts.was_killed[execution.replica]
        };
        let broken_count = (0..record.executions.len()).filter(|at| broken(*at)).count();
        let is_allowed = match cause {
            "connect-failed" | "connect-timeout" => self.connection_failed(),
            "upstream-timeout" if self.was_still_coming() => true,
            "upstream-closed" | "upstream-timeout" => {
                // A replica of HTTP/2 gives back what crosses the end of its unused connection, but not a long body.
                let is_gone = self.scenario.pool.idle_close > 0 && plan.body > REPLAY;
                let has_reason =
                    if record.executions.is_empty() { self.any_faulty || is_gone } else { broken_count > 0 };
                let is_kept = plan.is_repeatable() && plan.body <= REPLAY && plan.hesitates == 0;
                // A connection that broke while nothing of the request had come costs an attempt too.
                has_reason && (!is_kept || broken_count >= ATTEMPTS || self.any_faulty)
            }
            "request-body-timeout" => self.hesitates_too_long(record) || self.comes_behind_others(),
            "overloaded" => self.scenario.pool.max_requests > 0,
            "no-endpoint" => self.facts.was_removed.iter().any(|removed| *removed),
            _ => false,
        };
        (!is_allowed).then(|| ("an error without a cause", format!("{cause}, {:?}", record.executions)))
    }

    /// A connection to a replica broke, or was not established, before it carried any request, while this one waited.
    fn connection_failed(&self) -> bool {
        let carried = |wire| self.records.iter().flat_map(|record| &record.executions).any(|on| on.wire == wire);
        let (begun, ended) = (self.record.begun.unwrap_or_default(), self.record.ended.unwrap_or(Ms::MAX));
        let is_of_time = |broken: &&Broken| broken.opened + CONNECT + SLACK >= begun && broken.opened <= ended;
        self.broken.iter().filter(is_of_time).any(|broken| !carried(broken.wire))
    }

    /// The time for the response was over while the body was still arriving over a slow connection. It counts from when
    /// the client had sent it.
    fn was_still_coming(&self) -> bool {
        let record = self.record;
        let is_due = record.sent.zip(record.ended).is_some_and(|(sent, ended)| ended + SLACK >= sent + RESPONSE_HEAD);
        let last = record.executions.last().zip(record.ended);
        is_due && last.is_some_and(|(last, ended)| !last.is_whole && last.touched + ARRIVES_WITHIN >= ended)
    }

    /// No response at all.
    fn lost(&self) -> Option<Found> {
        // Its reply broke off when the head was on its way to the client.
        let broke_off = self.record.executions.last().is_some_and(|last| {
            let fate = self.record.plan.reply(self.record.executions.len() - 1).fate;
            let is_begun = matches!(fate, Fate::Cut { .. } | Fate::Stalls { .. });
            is_begun || (self.is_faulty)(last.wire) || self.facts.was_killed[last.replica]
        });
        let is_end = self.follows_an_end() || self.precedes_a_break() || self.comes_too_late();
        if broke_off || self.is_client_to_blame() || is_end {
            return None;
        }
        let is_first = self.before().next().is_none();
        let kind = match self.client().ends {
            // One that asks for a tunnel does not.
            Ends::HalfCloses if self.record.plan.tunnel.is_none() => {
                "a client that has closed its half gets no response"
            }
            _ if !self.record.executions.is_empty() => "a response was lost",
            _ if self.record.idled.is_some() && !is_first => "an idle connection was closed under a request",
            _ => "a request without a response",
        };
        Some((kind, format!("{:?}", self.brief())))
    }

    /// A response that broke off.
    fn cut(&self) -> Option<Found> {
        let record = self.record;
        let last = record.executions.get(record.attempt.unwrap_or(usize::MAX));
        let by_replica = last.is_some_and(|last| {
            let was_removed = self.facts.was_removed[last.replica];
            last.was_broken || (self.is_faulty)(last.wire) || self.facts.was_killed[last.replica] || was_removed
        });
        let is_answered = last.is_some_and(|last| last.answered.is_some());
        let waited = record.ended.map(|ended| ended - record.touched);
        // Over HTTP/2 the socket may have taken something of another stream in the meantime.
        let patience = if self.client().speaks == Speaks::H2 { CLIENT_WRITE * 2 } else { CLIENT_WRITE * 3 / 2 };
        if is_answered && !by_replica && waited.is_some_and(|waited| waited > patience + SLACK) {
            return Some(("a client that does not read is waited for", format!("{waited:?} ms")));
        }
        let is_allowed = by_replica || self.precedes_a_break() || self.is_client_to_blame() || self.is_past_drain();
        (!is_allowed).then(|| ("a response was cut", format!("{:?}", self.brief())))
    }

    fn is_client_to_blame(&self) -> bool {
        let client = self.client();
        let wire = self.facts.client_wires.get(&self.record.client);
        let hesitates = self.before().any(|record| self.hesitates_too_long(record));
        wire.is_none_or(|wire| (self.is_faulty)(*wire))
            || matches!(client.reads, Reads::Until { .. })
            || hesitates
            || self.record.was_disowned
            || self.hesitates_too_long(self.record)
    }

    /// Whether the body of a request of this client was kept back until a deadline was over. Over HTTP/1.1 a client
    /// that reads slowly is told to continue when it has read what comes before.
    fn hesitates_too_long(&self, record: &Record) -> bool {
        let client = self.client();
        let is_told_late = record.plan.expects
            && (client.speaks, matches!(client.reads, Reads::Slowly { .. })) == (Speaks::H1, true)
            && record.begun.zip(record.sent).is_none_or(|(begun, sent)| sent - begun >= HESITATES_TOO_LONG);
        record.plan.hesitates >= HESITATES_TOO_LONG || is_told_late
    }

    /// Over HTTP/2 a body may come behind those of other streams, for as long as these take. Its deadline is its own.
    fn comes_behind_others(&self) -> bool {
        let is_other =
            |(number, record): &(usize, &Record)| *number != self.number && record.client == self.record.client;
        let mut others = self.records.iter().enumerate().filter(is_other).map(|(_, record)| record);
        let begun = self.record.begun.unwrap_or_default();
        let is_under_way = |other: &Record| other.sent.is_none_or(|sent| sent >= begun + HESITATES_TOO_LONG - SLACK);
        self.client().speaks == Speaks::H2 && others.any(|other| other.plan.body > 0 && is_under_way(other))
    }

    /// The requests of this connection up to this one.
    fn before(&self) -> impl Iterator<Item = &Record> {
        self.records[..self.number].iter().filter(|record| record.client == self.record.client)
    }

    /// HTTP/1.1: the connection ended, as it was said, with an earlier response.
    fn follows_an_end(&self) -> bool {
        self.client().speaks == Speaks::H1
            && self.before().any(|record| record.seen != Seen::Whole || record.said_close)
    }

    /// HTTP/1.1: the response to a later request in the same row broke off, so the connection was reset, and the reset
    /// overtook this response.
    fn precedes_a_break(&self) -> bool {
        self.client().speaks == Speaks::H1
            && self.records[self.number + 1..].iter().any(|record| {
                let last = record.executions.last();
                let is_broken = last.is_some_and(|last| {
                    last.was_broken || (self.is_faulty)(last.wire) || self.facts.was_killed[last.replica]
                });
                record.client == self.record.client && is_broken
            })
    }

    fn comes_too_late(&self) -> bool {
        let record = self.record;
        let begun = record.begun.unwrap_or_default();
        let idles_out = record.idled.is_some_and(|idled| idled + SLACK >= CLIENT_IDLE);
        let patience = if self.facts.was_interrupted { 0 } else { DRAIN_IDLE };
        let drains_out = self.facts.drained_at.is_some_and(|at| begun + SLACK >= at + patience);
        let waits = record.sent.zip(record.ended).map(|(sent, ended)| ended - sent);
        let is_cancelled =
            self.client().ends == Ends::HalfCloses && waits.is_none_or(|waits| waits + SLACK >= HALF_CLOSED);
        idles_out || drains_out || is_cancelled || self.is_past_drain()
    }

    /// Whether it was still under way when the time to drain was nearly over.
    fn is_past_drain(&self) -> bool {
        let ended = self.record.ended.unwrap_or(Ms::MAX);
        self.facts.drained_at.is_some_and(|at| ended.saturating_add(SLACK) >= at + DRAIN * 3 / 4)
    }

    fn brief(&self) -> (Option<Ms>, Option<Ms>, Option<Ms>, Option<Ms>, Seen, usize) {
        let record = self.record;
        (record.idled, record.begun, record.sent, record.ended, record.seen, record.executions.len())
    }

    fn count(&self, net: &Network) {
        let record = self.record;
        if record.plan.method == Method::Head && record.seen == Seen::Whole {
            net.reached("a response to HEAD");
        }
        if record.has_trailers {
            net.reached("trailers of a response");
        }
        net.reached(match (record.begun, record.seen, &record.cause) {
            (None, ..) => "outcome: not begun",
            (_, Seen::Whole, None) => "outcome: a response",
            (_, Seen::Whole, Some(_)) => "outcome: an error of the proxy",
            (_, Seen::Head, _) => "outcome: a response that broke off",
            (_, Seen::Nothing, _) => "outcome: nothing",
        });
    }
}
