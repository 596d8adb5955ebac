//! One run of a scenario: the proxy, its clients and replicas, and what happens to them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::Poll;

use tokio::runtime::{Builder, LocalOptions};
use tokio::task::yield_now;
use tokio::time::sleep_until;
use unstick::config::address::Address;
use unstick::sim::{Connecting, Instance, install};

use super::dice::Dice;
use super::judge::{self, Facts};
use super::net::{Event, Network};
use super::record::{Record, Records};
use super::scenario::{Act, FaultKind, Ms, PoolPlan, ReplicaFault, Scenario, Speaks};
use super::wire::{ProxyEnd, Wire};
use super::{h1_client, h1_replica, h2_client, h2_replica};

/// The deadlines of the config, in milliseconds.
pub(crate) const CLIENT_IDLE: Ms = 8_000;
pub(crate) const DRAIN: Ms = 10_000;
const TIMEOUTS: &str = "request_head = \"3s\"\nrequest_body = \"3s\"\nconnect = \"1s\"\nresponse_head = \"4s\"
response_body = \"3s\"\nclient_write = \"3s\"\nclient_idle = \"8s\"\nh2_ping = \"5s\"\nupstream_idle = \"4s\"
tunnel_idle = \"15s\"
drain = \"10s\"\n";
/// When nothing has happened for so long, every wait must have ended: two of the longest deadlines in a row.
const QUIET: Ms = 20_000;
/// No run takes longer, in simulated time and in turns.
const RUN_MAX: Ms = 400_000;
const DRAINS_AT_LATEST: Ms = 300_000;
const TURNS_MAX: u64 = 300_000;

/// A client, or a replica's end of one connection.
pub(crate) trait Peer {
    /// Does what can be done now.
    fn step(&mut self);

    fn wire(&self) -> &Rc<Wire>;
}

/// A rule that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) kind: &'static str,
    pub(crate) what: String,
}

/// What came out of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) violations: Vec<Violation>,
    pub(crate) hash: u64,
    pub(crate) coverage: BTreeMap<&'static str, u64>,
    pub(crate) words: Vec<String>,
}

/// What the proxy's connections to replicas go through.
struct Connector {
    net: Rc<Network>,
    pool: PoolPlan,
    faults: Vec<ReplicaFault>,
    records: Records,
    peers: Peers,
    first_peer: usize,
    connections: Cell<usize>,
    lives: Rc<RefCell<Vec<bool>>>,
}

type Peers = Rc<RefCell<BTreeMap<usize, Box<dyn Peer>>>>;

impl unstick::sim::Network for Connector {
    fn connect(&self, _address: &Address) -> Connecting {
        let number = self.connections.get();
        self.connections.set(number + 1);
        let fault = self.faults.iter().find(|fault| fault.connection == number).map(|fault| fault.fault);
        let wire = Wire::new(&self.net, number, true, fault);
        wire.peer.set(self.first_peer + number);
        let address = _address.tcp().map_or(0, |address| match address.ip() {
            IpAddr::V4(ip) => usize::from(ip.octets()[3]),
            IpAddr::V6(_) => 0,
        });
        wire.replica.set(address);
        self.net.mark("connects to replica", address, number as u64);
        if fault.is_none_or(|fault| fault.kind != FaultKind::Lost) {
            let delay = Dice::new(self.net.seed, 77 + number as u64).below(self.net.plan.delay + 1);
            self.net.at(self.net.now() + delay, Event::Connects(wire.id));
        } else {
            wire.was_faulty.set(true);
            self.net.reached("a connection was never answered");
        }
        let end = ProxyEnd(Rc::clone(&wire));
        let mut end = Some(end);
        Box::pin(std::future::poll_fn(move |cx| match wire.connected.get() {
            None => {
                *wire.connector.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(false) => Poll::Ready(Err(ErrorKind::ConnectionRefused.into())),
            Some(true) => Poll::Ready(match end.take() {
                Some(end) => Ok(Box::new(end) as Box<dyn unstick::sim::Wire>),
                None => Err(ErrorKind::NotConnected.into()),
            }),
        }))
    }
}

impl Connector {
    /// A connection to a replica is established or refused.
    fn connects(&self, wire: &Rc<Wire>) {
        let number = wire.peer.get() - self.first_peer;
        let fault = self.faults.iter().find(|fault| fault.connection == number).map(|fault| fault.fault.kind);
        let replica = wire.replica.get();
        let is_alive = self.lives.borrow().get(replica).copied().unwrap_or(false);
        let is_refused = !is_alive || fault == Some(FaultKind::Refused);
        if is_refused {
            self.net.reached("a connection was refused");
            wire.was_faulty.set(true);
        } else {
            let peer = wire.peer.get();
            let (records, idle_close) = (&self.records, self.pool.idle_close);
            let replica: Box<dyn Peer> = match self.pool.speaks {
                Speaks::H1 => {
                    Box::new(h1_replica::Replica::new(peer, replica, idle_close, records, &self.net, Rc::clone(wire)))
                }
                Speaks::H2 => {
                    Box::new(h2_replica::Replica::new(peer, replica, &self.pool, records, &self.net, Rc::clone(wire)))
                }
            };
            self.peers.borrow_mut().insert(peer, replica);
        }
        wire.connected.set(Some(!is_refused));
        wire.connector.take().into_iter().for_each(std::task::Waker::wake);
    }
}

struct World<'a> {
    scenario: &'a Scenario,
    net: Rc<Network>,
    connector: Rc<Connector>,
    instance: Instance,
    present: Vec<bool>,
    listener_edits: usize,
    dice: Dice,
    facts: Facts,
}

/// Runs a scenario.
pub(crate) fn run(scenario: &Scenario, wants_words: bool) -> Outcome {
    fastrand::seed(scenario.seed);
    let mut builder = Builder::new_current_thread();
    builder.enable_time().start_paused(true).event_interval(scenario.net.event_interval);
    let runtime = builder.build_local(LocalOptions::default()).expect("a runtime");
    let (net, connector, facts) = runtime.block_on(async {
        let net = Network::new(scenario.seed, scenario.net.clone(), wants_words);
        let mut world = World::new(scenario, &net);
        world.live().await;
        world.facts.gauges_at_end = world.instance.gauges();
        world.facts.panics = world.instance.panics();
        net.freeze();
        let World { connector, instance, facts, .. } = world;
        drop(instance);
        (net, connector, facts)
    });
    // The process ends: its sockets are closed. What the kernel has goes on.
    drop(runtime);
    net.close_all();
    install(None);
    afterlife(&net, &connector);
    judge::judge(scenario, &net, &connector.records.borrow(), &facts);
    let (violations, coverage) = (net.violations.take(), net.coverage.take());
    let words = net.words.as_ref().map(RefCell::take).unwrap_or_default();
    // Peers and wires refer to each other.
    connector.peers.borrow_mut().clear();
    let hash = net.hash();
    net.wires.borrow_mut().clear();
    Outcome { violations, hash, coverage, words }
}

/// Lets everything arrive that was on its way when the process ended.
fn afterlife(net: &Network, connector: &Connector) {
    for _ in 0..TURNS_MAX {
        match net.take_next() {
            Some(Event::Arrives(wire, side)) => net.wire(wire).arrive(side),
            Some(Event::Peer(peer)) => net.poke(peer),
            Some(_) => {}
            None if net.is_quiet() => return,
            None => {}
        }
        step_peers(net, &connector.peers);
    }
    net.violated("no end", "after the process has ended".to_owned());
}

fn step_peers(net: &Network, peers: &Peers) {
    for number in net.take_poked() {
        // Out of the map meanwhile, since it may lead to another one.
        let peer = peers.borrow_mut().remove(&number);
        if let Some(mut peer) = peer {
            peer.step();
            peers.borrow_mut().insert(number, peer);
        }
    }
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, net: &Rc<Network>) -> Self {
        let mut records = Vec::new();
        for (client, plan) in scenario.clients.iter().enumerate() {
            records.extend(plan.requests.iter().map(|request| Record::new(request.clone(), client)));
        }
        let connector = Rc::new(Connector {
            net: Rc::clone(net),
            pool: scenario.pool.clone(),
            faults: scenario.faults.clone(),
            records: Rc::new(RefCell::new(records)),
            peers: Rc::default(),
            first_peer: scenario.clients.len(),
            connections: Cell::default(),
            lives: Rc::new(RefCell::new(vec![true; scenario.pool.replicas])),
        });
        install(Some(Rc::clone(&connector) as Rc<dyn unstick::sim::Network>));
        let present = vec![true; scenario.pool.replicas];
        let mut instance = Instance::start(&config(&scenario.pool, &present, 0)).expect("a valid config");
        instance.resolved("app.sim", &by_name(&present));
        for (number, plan) in scenario.clients.iter().enumerate() {
            net.at(plan.at, Event::Peer(number));
        }
        for (number, (at, _)) in scenario.acts.iter().enumerate() {
            net.at(*at, Event::Act(number));
        }
        let facts = Facts::new(scenario.pool.replicas);
        let (net, dice) = (Rc::clone(net), Dice::new(scenario.seed, 3));
        Self { scenario, net, connector, instance, present, listener_edits: 0, dice, facts }
    }

    /// Runs until nothing happens any more, then until the proxy has ended.
    async fn live(&mut self) {
        // The worker hears of its listener before anybody connects.
        while !self.instance.is_listening() {
            yield_now().await;
        }
        for _ in 0..TURNS_MAX {
            self.turn();
            let now = self.net.now();
            if self.instance.has_ended() {
                self.facts.ended_at = Some(now);
                return;
            }
            if self.facts.drained_at.is_some_and(|at| now >= at + DRAIN) {
                self.instance.stop();
            }
            let is_quiet = now >= self.net.active_at.get() + QUIET && self.facts.drained_at.is_none();
            if is_quiet {
                judge::at_rest(&self.net, self.instance.gauges());
                self.drain();
            }
            if now > DRAINS_AT_LATEST && self.facts.drained_at.is_none() {
                // Somebody reads very slowly.
                self.drain();
            }
            if now > RUN_MAX {
                break;
            }
            self.wait().await;
        }
        self.net.violated("no end", "the run goes on and on".to_owned());
    }

    async fn wait(&mut self) {
        let now = self.net.now();
        let next = self.net.next_due();
        if !self.net.is_quiet() || next.is_some_and(|at| at <= now) {
            return yield_now().await;
        }
        let quiet_at = self.net.active_at.get() + QUIET;
        let limit = match self.facts.drained_at {
            Some(at) if now < at + DRAIN => at + DRAIN,
            Some(_) => now + 20,
            None => quiet_at.max(now + 1),
        };
        let until = self.net.instant(next.map_or(limit, |next| next.min(limit)));
        let net = Rc::clone(&self.net);
        tokio::select! {
            biased;
            () = net.changed.notified() => {}
            () = sleep_until(until) => {}
        }
    }

    /// Some of what is due happens.
    fn turn(&mut self) {
        let most = self.dice.between(1, 6);
        for _ in 0..most {
            let Some(event) = self.net.take_due() else { break };
            match event {
                Event::Arrives(wire, side) => self.net.wire(wire).arrive(side),
                Event::WakesReader(wire) | Event::WakesWriter(wire) => self.net.wire(wire).wakes(event),
                Event::Connects(wire) => self.connector.connects(&self.net.wire(wire)),
                Event::Peer(peer) if peer < self.scenario.clients.len() => self.client(peer),
                Event::Peer(peer) => self.net.poke(peer),
                Event::Act(act) => self.act(self.scenario.acts[act].1),
            }
        }
        step_peers(&self.net, &self.connector.peers);
    }

    /// A client goes on, or connects.
    fn client(&mut self, number: usize) {
        if self.connector.peers.borrow().contains_key(&number) {
            return self.net.poke(number);
        }
        if self.facts.drained_at.is_some() {
            // Nobody listens any more.
            return;
        }
        let plan = self.scenario.clients[number].clone();
        let wire = Wire::new(&self.net, number, false, plan.fault);
        self.net.mark("client connects", number, 0);
        self.facts.client_wires.insert(number, wire.id);
        let peer = SocketAddr::from(([10, 9, 0, number as u8], 40_000));
        self.instance.accept(Box::new(ProxyEnd(Rc::clone(&wire))), peer);
        let first: usize = self.scenario.clients[..number].iter().map(|client| client.requests.len()).sum();
        let requests = (first..first + plan.requests.len()).collect();
        let records = &self.connector.records;
        let client: Box<dyn Peer> = match plan.speaks {
            Speaks::H1 => Box::new(h1_client::Client::new(number, plan, requests, records, &self.net, wire)),
            Speaks::H2 => Box::new(h2_client::Client::new(number, plan, requests, records, &self.net, wire)),
        };
        self.connector.peers.borrow_mut().insert(number, client);
    }

    fn act(&mut self, act: Act) {
        self.net.mark("act", 0, 0);
        self.net.say(|| format!("{act:?}"));
        let now = self.net.now();
        match act {
            Act::EditListener => {
                self.net.reached(if self.instance.gauges().in_flight > 0 {
                    "a listener was edited during a request"
                } else {
                    "a listener was edited"
                });
                self.listener_edits += 1;
                self.edit();
            }
            Act::Remove { replica } => self.set_present(replica, false),
            Act::Add { replica } => self.set_present(replica, true),
            Act::Rename { without } => {
                let is_present = self.present[without];
                self.set_present(without, !is_present);
            }
            Act::Kill { replica } => {
                self.net.reached("a replica was killed");
                self.connector.lives.borrow_mut()[replica] = false;
                self.facts.was_killed[replica] = true;
                let wires = self.net.wires.borrow().clone();
                for wire in wires.iter().filter(|wire| wire.is_upstream && wire.replica.get() == replica) {
                    if wire.peer_holds() {
                        wire.was_faulty.set(true);
                        wire.peer_resets();
                        self.connector.peers.borrow_mut().remove(&wire.peer.get());
                    }
                }
            }
            Act::Revive { replica } => self.connector.lives.borrow_mut()[replica] = true,
            Act::Terminate | Act::Interrupt if self.facts.drained_at.is_none() => {
                if self.instance.gauges().in_flight > 0 {
                    let is_gentle = act == Act::Terminate;
                    self.net.reached(if is_gentle { "SIGTERM during a request" } else { "SIGINT during a request" });
                }
                self.facts.terminated_at = Some(now);
                self.facts.was_interrupted = act == Act::Interrupt;
                self.drain();
            }
            Act::Terminate | Act::Interrupt => {}
        }
    }

    fn drain(&mut self) {
        self.facts.drained_at = Some(self.net.now());
        self.net.mark("drain", 0, 0);
        if self.facts.was_interrupted {
            self.instance.interrupt();
        } else {
            self.instance.drain();
        }
    }

    fn set_present(&mut self, replica: usize, is_present: bool) {
        self.present[replica] = is_present;
        if !is_present {
            self.facts.was_removed[replica] = true;
            self.net.reached("a replica was removed");
        }
        if replica.is_multiple_of(2) {
            self.instance.resolved("app.sim", &by_name(&self.present));
        }
        self.edit();
    }

    fn edit(&mut self) {
        let config = config(&self.scenario.pool, &self.present, self.listener_edits);
        self.instance.edit(&config).expect("a valid config");
    }
}

/// The addresses of the replicas that are found by name: those with an even number.
fn by_name(present: &[bool]) -> Vec<IpAddr> {
    let found = present.iter().enumerate().filter(|(replica, present)| **present && replica.is_multiple_of(2));
    found.map(|(replica, _)| IpAddr::from([10, 1, 0, replica as u8])).collect()
}

fn config(pool: &PoolPlan, present: &[bool], listener_edits: usize) -> String {
    let mut backends = vec!["\"app.sim:80\"".to_owned()];
    let listed = present.iter().enumerate().filter(|(replica, present)| **present && !replica.is_multiple_of(2));
    backends.extend(listed.map(|(replica, _)| format!("\"10.1.0.{replica}:80\"")));
    let protocol = if pool.speaks == Speaks::H2 { "h2c" } else { "http1" };
    format!(
        "[listen.web]\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"10.8.0.{listener_edits}\"]\n[pool.app]\n\
         backends = [{}]\nmax_requests = {}\nprotocol = \"{protocol}\"\n[pool.app.retry]\nbudget_per_second = 1000\n\
         [pool.app.eject]\nfailures = 0\n[timeouts]\n{TIMEOUTS}",
        backends.join(", "),
        pool.max_requests
    )
}
