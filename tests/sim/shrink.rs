//! Makes a failing scenario smaller, as long as the same rule does not hold.

use super::scenario::{Act, Ends, Fate, Framing, Reads, Reply, Scenario};
use super::world;

/// Runs that one search may take.
const RUNS_MAX: usize = 600;

/// A scenario that cannot be made smaller in one step.
#[derive(Debug)]
pub(crate) struct Smallest {
    pub(crate) scenario: Scenario,
    pub(crate) kind: &'static str,
    pub(crate) what: String,
    /// The events of its run.
    pub(crate) events: usize,
    pub(crate) events_before: usize,
}

/// Shrinks `scenario`, in which a rule of this `kind` does not hold.
pub(crate) fn shrink(scenario: Scenario, kind: &'static str) -> Smallest {
    let mut budget = RUNS_MAX;
    let mut fails = |candidate: &Scenario| {
        budget = budget.saturating_sub(1);
        budget > 0 && world::run(candidate, false).violations.iter().any(|violation| violation.kind == kind)
    };
    let events_before = events(&scenario);
    let mut best = scenario;
    let mut is_smaller = true;
    while std::mem::take(&mut is_smaller) {
        let (mut at, mut tried) = (0, candidates(&best));
        while at < tried.len() {
            if tried[at] != best && fails(&tried[at]) {
                best = tried.swap_remove(at);
                tried = candidates(&best);
                is_smaller = true;
            } else {
                at += 1;
            }
        }
    }
    let outcome = world::run(&best, true);
    let what = outcome.violations.iter().find(|violation| violation.kind == kind);
    let what = what.map(|violation| violation.what.clone()).unwrap_or_default();
    Smallest { events: outcome.words.len(), events_before, scenario: best, kind, what }
}

fn events(scenario: &Scenario) -> usize {
    world::run(scenario, true).words.len()
}

/// What is printed of it: a script for `--script`.
pub(crate) fn told(smallest: &Smallest) -> String {
    let script = serde_json::to_string(&smallest.scenario).expect("it is plain data");
    let Smallest { kind, what, events, events_before, .. } = smallest;
    format!("{kind}: {what}\n{events} events, {events_before} before shrinking\n{script}")
}

/// Smaller scenarios, the much smaller ones first.
fn candidates(scenario: &Scenario) -> Vec<Scenario> {
    let mut found = Vec::new();
    for client in 0..scenario.clients.len() {
        if scenario.clients.len() > 1 {
            found.push(changed(scenario, |s| _ = s.clients.remove(client)));
        }
    }
    for act in 0..scenario.acts.len() {
        found.push(changed(scenario, |s| _ = s.acts.remove(act)));
    }
    for fault in 0..scenario.faults.len() {
        found.push(changed(scenario, |s| _ = s.faults.remove(fault)));
    }
    for client in 0..scenario.clients.len() {
        for request in 0..scenario.clients[client].requests.len() {
            if scenario.clients[client].requests.len() > 1 {
                found.push(changed(scenario, |s| _ = s.clients[client].requests.remove(request)));
            }
        }
    }
    found.extend(calmer(scenario));
    for client in 0..scenario.clients.len() {
        found.extend(simpler_client(scenario, client));
    }
    found
}

fn changed(scenario: &Scenario, change: impl FnOnce(&mut Scenario)) -> Scenario {
    let mut next = scenario.clone();
    change(&mut next);
    next
}

/// A quieter network and a smaller pool.
fn calmer(scenario: &Scenario) -> Vec<Scenario> {
    vec![
        changed(scenario, |s| s.net.torn = false),
        changed(scenario, |s| s.net.not_now = 0),
        changed(scenario, |s| s.net.spends_budget = 0),
        changed(scenario, |s| s.net.delay = 0),
        changed(scenario, |s| s.net.room = 200_000),
        changed(scenario, |s| s.net.event_interval = 61),
        changed(scenario, |s| s.pool.max_requests = 0),
        changed(scenario, |s| s.pool.idle_close = 0),
        changed(scenario, |s| s.pool.streams = 100),
        changed(scenario, |s| {
            let is_used = |act: &Act| matches!(act, Act::Remove { .. } | Act::Add { .. } | Act::Rename { .. });
            if s.pool.replicas > 1 && !s.acts.iter().any(|(_, act)| is_used(act)) {
                s.pool.replicas -= 1;
                let replicas = s.pool.replicas;
                for (_, act) in &mut s.acts {
                    if let Act::Kill { replica } | Act::Revive { replica } = act {
                        *replica %= replicas;
                    }
                }
            }
        }),
    ]
}

/// The same with simpler requests and replies of one client.
fn simpler_client(scenario: &Scenario, client: usize) -> Vec<Scenario> {
    let mut found = vec![
        changed(scenario, |s| s.clients[client].fault = None),
        changed(scenario, |s| s.clients[client].at = 0),
        changed(scenario, |s| s.clients[client].depth = 1),
        changed(scenario, |s| s.clients[client].reads = Reads::AtOnce),
        changed(scenario, |s| s.clients[client].ends = Ends::Closes),
        changed(scenario, |s| s.clients[client].window = 65_535),
    ];
    for request in 0..scenario.clients[client].requests.len() {
        let at = |change: &dyn Fn(&mut super::scenario::RequestPlan)| {
            changed(scenario, |s| change(&mut s.clients[client].requests[request]))
        };
        found.extend([
            at(&|plan| plan.body = 0),
            at(&|plan| plan.body /= 2),
            at(&|plan| plan.body -= plan.body / 4),
            at(&|plan| plan.pause = 0),
            at(&|plan| plan.pause /= 2),
            at(&|plan| plan.hesitates = 0),
            at(&|plan| plan.cancels = None),
            at(&|plan| plan.chunked = false),
            at(&|plan| plan.keyed = false),
            at(&|plan| plan.expects = false),
            at(&|plan| plan.trailers = false),
            at(&|plan| plan.tunnel = None),
            at(&|plan| plan.tunnel.iter_mut().for_each(|tunnel| tunnel.up /= 2)),
            at(&|plan| plan.tunnel.iter_mut().for_each(|tunnel| tunnel.down /= 2)),
            at(&|plan| plan.tunnel.iter_mut().for_each(|tunnel| tunnel.up_pause = 0)),
            at(&|plan| plan.tunnel.iter_mut().for_each(|tunnel| tunnel.down_pause = 0)),
            at(&|plan| plan.replies.truncate(1)),
        ]);
        for reply in 0..scenario.clients[client].requests[request].replies.len() {
            let at = |change: &dyn Fn(&mut Reply)| {
                changed(scenario, |s| change(&mut s.clients[client].requests[request].replies[reply]))
            };
            found.extend([
                at(&|reply| reply.body = 0),
                at(&|reply| reply.body /= 2),
                at(&|reply| reply.body -= reply.body / 4),
                at(&|reply| reply.delay = 0),
                at(&|reply| reply.early = false),
                at(&|reply| reply.closes = false),
                at(&|reply| reply.trailers = false),
                at(&|reply| reply.hints = 0),
                at(&|reply| reply.framing = Framing::Length),
                at(&|reply| reply.fate = Fate::Whole),
                at(&|reply| reply.part = 16_000),
                at(&|reply| reply.status = 200),
            ]);
        }
    }
    found
}
