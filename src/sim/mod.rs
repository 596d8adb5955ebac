//! An instance of one worker within the runtime of its caller, for the simulator in `tests/sim`.
//!
//! The worker runs the same code as in the real program. What the control thread does to it (edits, new addresses of a
//! name, SIGTERM) is done here by the same functions, without files, signals and listening sockets.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

use crate::config::{self, Config};
use crate::control::reload;
use crate::listen::Loads;
use crate::listen::listener::{Idle, Settings};
use crate::listen::permits::Peers;
use crate::listen::tls::ServerTls;
use crate::metrics;
use crate::net::Stream;
pub use crate::net::sim::{Connecting, Network, Wire, install};
use crate::pool::PoolShared;
use crate::proxy::story;
use crate::snapshot::Snapshot;
use crate::worker::sim::LocalWorker;
use crate::worker::{Command, Shares};

/// The number of the only listener.
const LISTENER: u64 = 0;

/// See the module.
pub struct Instance {
    control: reload::Instance,
    worker: LocalWorker,
    shares: Shares,
    settings: Settings,
    /// Every snapshot so far.
    snapshots: Vec<Weak<Snapshot>>,
    /// The state of every pool so far.
    pools: Vec<Arc<PoolShared>>,
}

/// What must come back to zero when nothing happens any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gauges {
    /// Requests in flight, over all endpoints.
    pub in_flight: u32,
    /// Requests that wait in the queue of a pool.
    pub queued: usize,
    /// Client connections.
    pub connections: usize,
    /// Client connections that wait with nothing but a socket.
    pub parked: u64,
    /// Snapshots that are still referred to, besides the current one.
    pub old_snapshots: usize,
}

impl Instance {
    /// Starts it with the text of a config that has one listener. It must be called within a local runtime.
    ///
    /// # Errors
    /// The config is not valid.
    pub fn start(config: &str) -> Result<Self, String> {
        let config = parse(config)?;
        let settings = settings(&config)?;
        let control = reload::Instance::simulated(config)?;
        let shares = Shares {
            shared: Arc::clone(&control.shared),
            loads: Loads::new(1),
            cells: metrics::cells(1).into(),
            access_log: None,
            stories: story::channel().0,
            peers: Peers::default(),
            accepting: Arc::default(),
        };
        let worker = LocalWorker::start(shares.clone());
        worker.tell(Command::Update { id: LISTENER, settings: settings.clone() });
        let mut instance = Self { control, worker, shares, settings, snapshots: Vec::new(), pools: Vec::new() };
        instance.remember();
        Ok(instance)
    }

    /// Whether clients may connect: the worker has heard of the listener.
    pub fn is_listening(&self) -> bool {
        self.worker.knows(LISTENER)
    }

    /// A client has connected.
    pub fn accept(&self, wire: Box<dyn Wire>, peer: SocketAddr) {
        self.worker.welcome(LISTENER, Stream::Sim(wire), peer);
    }

    /// Applies another config, as a reload does.
    ///
    /// # Errors
    /// The config is not valid.
    pub fn edit(&mut self, config: &str) -> Result<(), String> {
        let config = parse(config)?;
        let settings = settings(&config)?;
        self.control.config = config;
        self.rebuild();
        if settings.config != self.settings.config {
            self.worker.tell(Command::Update { id: LISTENER, settings: settings.clone() });
            self.settings = settings;
        }
        Ok(())
    }

    /// A name server has new addresses of `name`.
    pub fn resolved(&mut self, name: &str, addresses: &[IpAddr]) {
        self.control.resolve(name, addresses);
        self.rebuild();
    }

    /// Begins to drain, as SIGTERM does.
    pub fn drain(&self) {
        self.worker.tell(Command::Drain { idle: Idle::MayAsk, left: Arc::default() });
    }

    /// Begins to drain, as SIGINT does.
    pub fn interrupt(&self) {
        self.worker.tell(Command::Drain { idle: Idle::IsClosed, left: Arc::default() });
    }

    /// Ends what is left, as the end of the time to drain does.
    pub fn stop(&self) {
        self.worker.tell(Command::Stop);
    }

    /// Whether the worker has ended.
    pub fn has_ended(&self) -> bool {
        self.worker.has_ended()
    }

    /// What is in use now.
    pub fn gauges(&self) -> Gauges {
        let current = self.control.shared.load();
        let members = current.pools.iter().flat_map(|pool| pool.members.iter());
        let left = self.pools.iter().flat_map(|pool| pool.draining());
        let in_flight = members.map(|member| member.endpoint.in_flight()).chain(left.map(|(_, count)| count)).sum();
        let is_old =
            |snapshot: &&Weak<Snapshot>| snapshot.upgrade().is_some_and(|snapshot| !Arc::ptr_eq(&snapshot, &current));
        Gauges {
            in_flight,
            queued: self.pools.iter().map(|pool| pool.queue.waiting()).sum(),
            connections: self.shares.loads.total(),
            parked: self.shares.cells[0].parked.value(),
            old_snapshots: self.snapshots.iter().filter(is_old).count(),
        }
    }

    /// How many tasks have panicked.
    pub fn panics(&self) -> u64 {
        self.shares.cells[0].panics.value()
    }

    fn rebuild(&mut self) {
        self.control.rebuild();
        self.remember();
    }

    fn remember(&mut self) {
        let current = self.control.shared.load();
        for pool in &current.pools {
            if !self.pools.iter().any(|known| Arc::ptr_eq(known, &pool.shared)) {
                self.pools.push(Arc::clone(&pool.shared));
            }
        }
        self.snapshots.push(Arc::downgrade(&current));
    }
}

fn parse(text: &str) -> Result<Config, String> {
    config::parse("sim.toml", text).map_err(|problems| problems.to_string())
}

fn settings(config: &Config) -> Result<Settings, String> {
    let listener = config.listeners.first().ok_or("there is no listener")?;
    let tls = listener.tls.as_ref().map(|tls| ServerTls::load(tls, listener.protocols).map(Arc::new));
    Ok(Settings { config: Arc::new(listener.clone()), tls: tls.transpose()? })
}
