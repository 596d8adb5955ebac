//! A worker within the runtime of its caller, for the simulator.

use std::net::SocketAddr;
use std::rc::Rc;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_local};

use super::{COMMANDS_MAX, Command, Shares, WorkerThread};
use crate::net::Stream;

/// See the module.
pub(crate) struct LocalWorker {
    worker: Rc<WorkerThread>,
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
}

impl LocalWorker {
    /// Starts the only worker. It must be called within a local runtime.
    pub(crate) fn start(shares: Shares) -> Self {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let worker = WorkerThread::new(0, shares, vec![commands.clone()]);
        let task = spawn_local(Rc::clone(&worker).run(receiver));
        Self { worker, commands, task }
    }

    /// Queues a command.
    pub(crate) fn tell(&self, command: Command) {
        self.commands.try_send(command).ok();
    }

    /// Does what follows after a connection was accepted for listener number `id`.
    pub(crate) fn welcome(&self, id: u64, stream: Stream, peer: SocketAddr) {
        self.worker.welcome(id, stream, peer);
    }

    /// Whether it knows listener number `id`.
    pub(crate) fn knows(&self, id: u64) -> bool {
        self.worker.listeners.borrow().contains_key(&id)
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.task.is_finished()
    }
}
