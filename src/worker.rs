//! One worker: a thread with a runtime of its own, its listening sockets, and its share of the client connections.
//!
//! A worker shares only the current snapshot and some atomics, so its futures need neither `Send` nor locks. The kernel
//! spreads new connections over the workers by hash, which is uneven when they are few. A worker that holds clearly
//! more than the least loaded one hands a fresh connection over before reading from it.

mod accept;
#[cfg(feature = "sim")]
pub(crate) mod sim;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_utils::CachePadded;
use rustix::thread::gettid;
use tokio::runtime::{self, LocalOptions};
use tokio::sync::{Notify, mpsc};
use tokio::task::spawn_local;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::access_log::AccessLog;
use crate::link::view::Viewer;
use crate::listen::listener::{Idle, ListenerState, Settings};
use crate::listen::permits::{Peers, Permit};
use crate::listen::socket::{Listener, StdListener, StdStream};
use crate::listen::{Accepting, Connections, Loads};
use crate::metrics::WorkerCell;
use crate::net::outbox::Outbox;
use crate::proxy::client::Proxy;
use crate::proxy::story::{Outlet, Stories};
use crate::snapshot::SharedSnapshot;
use crate::sync::AtomicUsize;

/// How many commands and handed-over connections may wait for a worker.
const COMMANDS_MAX: usize = 1024;
/// How many tasks run before the kernel is asked for new events. A whole round of ready connections is served first:
/// asking in between finds little, and the peers are woken for single messages instead of for a batch.
const EVENT_INTERVAL: u32 = 1024;
/// How often unused connections are checked, and closed if they are old or were closed by the endpoint.
const HOUSEKEEPING: Duration = Duration::from_millis(500);
/// How long a removed listener is remembered, for connections that other workers handed over just before.
const CLOSED_LISTENER_KEPT: Duration = Duration::from_secs(10);

/// The commands that a worker obeys.
#[derive(Debug)]
pub(crate) enum Command {
    /// Accept connections for listener number `id`. Its settings must have come before. A listener may have several
    /// sockets here.
    Listen { id: u64, socket: StdListener },
    /// Take over a connection that another worker accepted for listener number `id`.
    Adopt { id: u64, stream: StdStream, peer: SocketAddr, permit: Option<Permit> },
    /// New settings of listener number `id`. Present connections have them from their next request on. Those that
    /// cannot have them drain.
    /// Every worker gets the first settings before any worker may accept, so that it knows the listener of every
    /// connection that is handed over to it.
    Update { id: u64, settings: Settings },
    /// Stop accepting for this listener and let its connections finish.
    Unlisten { id: u64 },
    /// Do the same for all listeners, then end. It can be said again, to close idle connections at once.
    /// What the kernel has queued on the listeners of `left` is another process's, which accepts from the same sockets.
    Drain { idle: Idle, left: Arc<[u64]> },
    /// End now.
    Stop,
}

/// What all workers are given at their start.
#[derive(Debug, Clone)]
pub(crate) struct Shares {
    pub(crate) shared: Arc<SharedSnapshot>,
    pub(crate) loads: Loads,
    pub(crate) cells: Arc<[CachePadded<WorkerCell>]>,
    pub(crate) access_log: Option<AccessLog>,
    pub(crate) stories: Outlet,
    /// The number of client connections per address, over all workers.
    pub(crate) peers: Peers,
    /// The number of listening sockets from which some worker still takes connections. It may hand these to any other
    /// worker.
    pub(crate) accepting: Arc<AtomicUsize>,
}

/// The control thread's handle of a worker.
#[derive(Debug)]
pub(crate) struct Worker {
    commands: mpsc::Sender<Command>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Queues a command, and waits if the queue is full. A command for a worker that has ended is dropped.
    pub(crate) async fn tell(&self, command: Command) {
        self.commands.send(command).await.ok();
    }

    /// Whether its thread has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Starts `count` workers.
///
/// # Errors
/// The system refuses a thread.
pub(crate) fn spawn_all(count: usize, shares: &Shares) -> io::Result<Vec<Worker>> {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::channel(COMMANDS_MAX)).unzip();
    let spawn = |(number, receiver): (usize, mpsc::Receiver<Command>)| {
        let (shares, peers) = (shares.clone(), senders.clone());
        let commands = senders[number].clone();
        let thread = std::thread::Builder::new().name(format!("unstick-{number}")).spawn(move || {
            let mut builder = runtime::Builder::new_current_thread();
            match builder.enable_all().event_interval(EVENT_INTERVAL).build_local(LocalOptions::default()) {
                Ok(runtime) => runtime.block_on(WorkerThread::new(number, shares, peers).run(receiver)),
                Err(error) => tracing::error!(worker = number, %error, "no runtime for a worker"),
            }
        })?;
        Ok(Worker { commands, thread })
    };
    receivers.into_iter().enumerate().map(spawn).collect()
}

/// A worker as its own thread sees it.
struct WorkerThread {
    number: usize,
    shares: Shares,
    peers: Vec<mpsc::Sender<Command>>,
    proxy: Rc<Proxy>,
    connections: Rc<Connections>,
    listeners: RefCell<HashMap<u64, Listening>>,
    /// The number of renewals of the view at the time when the connections were last woken for one.
    renewals_seen: Cell<u64>,
}

struct Listening {
    state: Rc<ListenerState>,
    /// One for each of its sockets.
    sockets: Vec<Rc<Closing>>,
    closed_at: Option<Instant>,
}

/// Tells whoever accepts from a socket that it is to be closed.
#[derive(Debug, Default)]
struct Closing {
    told: Notify,
    rest: Cell<Rest>,
}

/// What becomes of the connections that the kernel has queued on a socket when it is closed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// They are accepted, since they would be reset.
    #[default]
    Taken,
    /// Another process accepts them from the same socket.
    Left,
}

/// Bytes of an allocation that makes the allocator return memory to the system: so large that it gets a page of its
/// own, which is freed with it.
const GIVEN_BACK_BY: usize = 1024 * 1024;

/// Bytes of h2's read buffers.
const READ_BUFFER: usize = 8192;

impl WorkerThread {
    fn new(number: usize, shares: Shares, peers: Vec<mpsc::Sender<Command>>) -> Rc<Self> {
        let outbox = Rc::<Outbox>::default();
        let proxy = Rc::new(Proxy {
            worker: number,
            viewer: Viewer::new(Arc::clone(&shares.shared), number, Rc::clone(&outbox)),
            outbox,
            access_log: shares.access_log.clone(),
            stories: Stories::new(shares.stories.clone()),
            cells: Arc::clone(&shares.cells),
            is_over: Cell::default(),
        });
        Rc::new(Self {
            number,
            shares,
            peers,
            proxy,
            connections: Rc::default(),
            listeners: RefCell::default(),
            renewals_seen: Cell::new(0),
        })
    }

    async fn run(self: Rc<Self>, mut commands: mpsc::Receiver<Command>) {
        self.proxy.cell().thread.add(gettid().as_raw_pid().unsigned_abs().into());
        let mut housekeeping = interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_draining = false;
        // With few connections the allocator would give the page of read buffers back and take it again, all the time.
        let _kept = std::hint::black_box(Vec::<u8>::with_capacity(READ_BUFFER));
        spawn_local(Rc::clone(&self.proxy.outbox).run());
        loop {
            tokio::select! {
                // No order that is drawn. The clock comes first: it is due seldom, so commands never wait for long.
                biased;
                _ = housekeeping.tick() => self.keep_house(),
                command = commands.recv() => match command {
                    Some(Command::Drain { idle, left }) => {
                        is_draining = true;
                        self.unlisten(None, idle, &left);
                    }
                    Some(Command::Stop) | None => break,
                    Some(command) => self.obey(command),
                },
                () = self.connections.emptied(&self.shares.accepting), if is_draining => match commands.try_recv() {
                    // A connection that another worker handed over before it stopped accepting.
                    Ok(Command::Stop) | Err(_) => break,
                    Ok(command) => self.obey(command),
                },
            }
        }
        self.proxy.outbox.flush();
        self.proxy.is_over.set(true);
    }

    fn keep_house(&self) {
        self.proxy.cell().beats.add(1);
        // The allocator returns memory to the system only when it is asked for some, and an idle worker asks for none.
        std::hint::black_box(Vec::<u8>::with_capacity(GIVEN_BACK_BY));
        let now = Instant::now();
        self.proxy.viewer.current().reap_idle(now);
        self.proxy.viewer.make_room_for_others();
        let renewals = self.proxy.viewer.renewals();
        if self.renewals_seen.replace(renewals) != renewals {
            // Some endpoint may be draining now. The responses that it is sending look for that when they are woken.
            self.connections.wake_all();
        }
        let mut listeners = self.listeners.borrow_mut();
        listeners.retain(|_, listening| listening.closed_at.is_none_or(|at| now < at + CLOSED_LISTENER_KEPT));
    }

    fn obey(self: &Rc<Self>, command: Command) {
        match command {
            Command::Listen { id, socket } => {
                match (Listener::from_std(socket), self.listeners.borrow_mut().get_mut(&id)) {
                    (Ok(listener), Some(listening)) => {
                        let closing = Rc::<Closing>::default();
                        listening.sockets.push(Rc::clone(&closing));
                        let accepting = Accepting::begin(&self.shares.accepting);
                        spawn_local(Rc::clone(self).accept(id, listener, closing, accepting));
                    }
                    (Err(error), _) => tracing::error!(%error, "cannot listen"),
                    (Ok(_), None) => {}
                }
            }
            Command::Adopt { id, stream, peer, permit } => match stream.into_tokio() {
                Ok(stream) => self.serve(id, stream, peer, permit),
                Err(error) => tracing::warn!(%peer, %error, "cannot take over a connection"),
            },
            Command::Update { id, settings } => {
                match self.listeners.borrow_mut().entry(id) {
                    Entry::Vacant(new) => {
                        let state = ListenerState::new(&settings);
                        new.insert(Listening { state, sockets: Vec::new(), closed_at: None });
                    }
                    Entry::Occupied(mut known) => {
                        let next = known.get().state.renewed(&settings);
                        known.get_mut().state = next;
                    }
                }
                self.connections.wake_all();
            }
            Command::Unlisten { id } => self.unlisten(Some(id), Idle::MayAsk, &[]),
            // `run` handles these itself.
            Command::Drain { .. } | Command::Stop => {}
        }
    }

    fn unlisten(&self, id: Option<u64>, idle: Idle, left: &[u64]) {
        let mut listeners = self.listeners.borrow_mut();
        for (known, listening) in listeners.iter_mut().filter(|(known, _)| id.is_none_or(|id| id == **known)) {
            listening.closed_at.get_or_insert_with(Instant::now);
            for closing in &listening.sockets {
                closing.rest.set(if left.contains(known) { Rest::Left } else { Rest::Taken });
                closing.told.notify_one();
            }
            listening.state.drain(idle);
        }
        self.connections.wake_all();
    }
}
