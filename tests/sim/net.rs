//! The simulated network: its clock, what is due, and what was seen.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;

use tokio::sync::Notify;
use tokio::time::{Duration, Instant};

use super::scenario::{self, Ms};
use super::wire::Wire;
use super::world::Violation;

/// What happens at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// The next segment arrives at one end of a wire.
    Arrives(usize, Side),
    /// The proxy's reader, or its writer, is woken.
    WakesReader(usize),
    WakesWriter(usize),
    /// A connection to a replica is established, or refused.
    Connects(usize),
    /// A peer goes on.
    Peer(usize),
    /// Act number n of the scenario.
    Act(usize),
}

/// One end of a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Proxy,
    Peer,
}

impl Side {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Proxy => Self::Peer,
            Self::Peer => Self::Proxy,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) seed: u64,
    pub(crate) plan: scenario::Net,
    started: Instant,
    due: RefCell<BinaryHeap<Reverse<(Ms, u64, Event)>>>,
    sequence: Cell<u64>,
    pub(crate) changed: Notify,
    pub(crate) wires: RefCell<Vec<Rc<Wire>>>,
    /// The peers that have something to do.
    poked: RefCell<Vec<usize>>,
    hash: Cell<u64>,
    /// The events in words, if they are wanted.
    pub(crate) words: Option<RefCell<Vec<String>>>,
    pub(crate) coverage: RefCell<BTreeMap<&'static str, u64>>,
    /// When something happened last, apart from the passing of time.
    pub(crate) active_at: Cell<Ms>,
    frozen: Cell<Option<Ms>>,
    /// The wires whose ends the runtime has dropped, while it is being dropped.
    closing: RefCell<Option<Vec<usize>>>,
    pub(crate) violations: RefCell<Vec<Violation>>,
}

impl Network {
    pub(crate) fn new(seed: u64, plan: scenario::Net, wants_words: bool) -> Rc<Self> {
        Rc::new(Self {
            seed,
            plan,
            started: Instant::now(),
            due: RefCell::default(),
            sequence: Cell::default(),
            changed: Notify::new(),
            wires: RefCell::default(),
            poked: RefCell::default(),
            hash: Cell::new(0xcbf2_9ce4_8422_2325),
            words: wants_words.then(RefCell::default),
            coverage: RefCell::default(),
            active_at: Cell::default(),
            frozen: Cell::default(),
            closing: RefCell::default(),
            violations: RefCell::default(),
        })
    }

    /// Simulated time since the start.
    pub(crate) fn now(&self) -> Ms {
        if let Some(frozen) = self.frozen.get() {
            return frozen;
        }
        let elapsed = self.started.elapsed();
        elapsed.as_secs() * 1_000 + u64::from(elapsed.subsec_millis())
    }

    pub(crate) fn instant(&self, at: Ms) -> Instant {
        self.started + Duration::from_millis(at)
    }

    pub(crate) fn at(&self, at: Ms, event: Event) {
        let sequence = self.sequence.get() + 1;
        self.sequence.set(sequence);
        self.due.borrow_mut().push(Reverse((at, sequence, event)));
        self.changed.notify_one();
    }

    /// Takes out the next event that is due.
    pub(crate) fn take_due(&self) -> Option<Event> {
        let mut due = self.due.borrow_mut();
        let is_due = due.peek().is_some_and(|Reverse((at, _, _))| *at <= self.now());
        if is_due { due.pop().map(|Reverse((_, _, event))| event) } else { None }
    }

    /// When the next event is due.
    pub(crate) fn next_due(&self) -> Option<Ms> {
        self.due.borrow().peek().map(|Reverse((at, _, _))| *at)
    }

    /// This peer has something to do.
    pub(crate) fn poke(&self, peer: usize) {
        let mut poked = self.poked.borrow_mut();
        if !poked.contains(&peer) {
            poked.push(peer);
            self.changed.notify_one();
        }
    }

    pub(crate) fn take_poked(&self) -> Vec<usize> {
        self.poked.take()
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.poked.borrow().is_empty()
    }

    pub(crate) fn wire(&self, id: usize) -> Rc<Wire> {
        Rc::clone(&self.wires.borrow()[id])
    }

    /// Notes an event that shows that the run goes on.
    pub(crate) fn mark(&self, what: &'static str, who: usize, how_much: u64) {
        self.active_at.set(self.now());
        self.note(what, who, how_much);
    }

    /// A rule does not hold.
    pub(crate) fn violated(&self, kind: &'static str, what: String) {
        self.say(|| format!("VIOLATION {kind}: {what}"));
        self.violations.borrow_mut().push(Violation { kind, what });
    }

    /// From now on time passes only from event to event: the runtime, and its clock, end. What it drops is closed when
    /// it is gone, see [`Self::close_all`].
    pub(crate) fn freeze(&self) {
        self.frozen.set(Some(self.now()));
        *self.closing.borrow_mut() = Some(Vec::new());
    }

    /// Whether the runtime is being dropped, and this wire's end is closed by [`Self::close_all`].
    pub(crate) fn closes_later(&self, wire: usize) -> bool {
        self.closing.borrow_mut().as_mut().map(|closing| closing.push(wire)).is_some()
    }

    /// Closes what the runtime has dropped, in the order in which it began. tokio drops tasks in an order that depends
    /// on their numbers, and these on all that the process has run before.
    pub(crate) fn close_all(&self) {
        let mut closing = self.closing.take().unwrap_or_default();
        closing.sort_unstable();
        closing.into_iter().for_each(|wire| self.wire(wire).close(Side::Proxy));
    }

    /// Takes out the next event, and lets time pass until it is due.
    pub(crate) fn take_next(&self) -> Option<Event> {
        let Reverse((at, _, event)) = self.due.borrow_mut().pop()?;
        self.frozen.set(Some(at.max(self.now())));
        Some(event)
    }

    /// Notes an event for the hash of the trace, and in words if these are wanted.
    pub(crate) fn note(&self, what: &'static str, who: usize, how_much: u64) {
        let now = self.now();
        let mut hash = self.hash.get();
        // Plain loops, since without optimisation iterators over bytes are slow.
        let (name, mut at) = (what.as_bytes(), 0);
        while at < name.len() {
            hash = eaten(hash, u64::from(name[at]));
            at += 1;
        }
        self.hash.set(eaten(eaten(eaten(hash, now), who as u64), how_much));
        self.say(|| format!("{now:>7} ms  {what} {who}: {how_much}"));
    }

    pub(crate) fn say(&self, words: impl FnOnce() -> String) {
        if let Some(log) = &self.words {
            log.borrow_mut().push(words());
        }
    }

    /// Counts a kind of situation that was reached.
    pub(crate) fn reached(&self, kind: &'static str) {
        *self.coverage.borrow_mut().entry(kind).or_default() += 1;
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash.get()
    }
}

/// The next hash of a trace.
fn eaten(hash: u64, word: u64) -> u64 {
    let mixed = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}
