//! How a worker accepts connections, and which of them it serves itself.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::sleep;

use super::{Closing, Command, Listening, Rest, WorkerThread};
use crate::listen::Accepting;
use crate::listen::conn::Accepted;
use crate::listen::permits::Permit;
use crate::listen::serve::Serving;
use crate::listen::socket::{Listener, StdStream};
use crate::net::{Stream, lacks_descriptors};

/// The pause after a failed `accept`, and between looks while the limit of connections is reached.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl WorkerThread {
    /// Accepts until told to stop, then takes the connections that the kernel has queued already, unless they are
    /// another process's, and closes the socket.
    pub(super) async fn accept(self: Rc<Self>, id: u64, listener: Listener, closing: Rc<Closing>, _counted: Accepting) {
        loop {
            let limit = self.proxy.viewer.current().snapshot.capacity.connections;
            if self.shares.loads.total() >= limit {
                tokio::select! { () = sleep(ACCEPT_PAUSE) => continue, () = closing.told.notified() => break }
            }
            let accepted = tokio::select! {
                biased;
                () = closing.told.notified() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.welcome(id, stream, peer),
                Err(error) if concerns_one_client(&error) => {}
                Err(error) => {
                    self.proxy.cell().accept_errors.add(1);
                    tracing::warn!(%error, "cannot accept connections, trying again");
                    if lacks_descriptors(&error) {
                        self.proxy.viewer.make_room();
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        if closing.rest.get() == Rest::Left {
            return;
        }
        for (stream, peer) in listener.into_rest() {
            self.obey(Command::Adopt { id, stream, peer, permit: None });
        }
    }

    /// Serves a fresh connection here, or hands it over to a worker with clearly fewer.
    pub(super) fn welcome(self: &Rc<Self>, id: u64, stream: Stream, peer: SocketAddr) {
        self.proxy.cell().accepted.add(1);
        let most = self.proxy.viewer.current().snapshot.limits.connections_per_address;
        // A client behind a trusted proxy is counted later, when the PROXY header has named it.
        let speaks_for_itself = |listening: &Listening| !listening.state.expects_header_of(peer.ip());
        let most = most.filter(|_| !matches!(stream, Stream::Unix(_)));
        let most = most.filter(|_| self.listeners.borrow().get(&id).is_none_or(speaks_for_itself));
        let permit = most.map(|most| self.shares.peers.admit(peer.ip(), most));
        let permit = match permit {
            Some(None) => {
                self.proxy.cell().connections_refused.add(1);
                tracing::debug!(%peer, "connection closed: its address has as many as it may have");
                return;
            }
            Some(permit) => permit,
            None => None,
        };
        if let Some(other) = self.shares.loads.better_than(self.number) {
            let Ok(stream) = StdStream::from_tokio(stream) else { return };
            match self.peers[other].try_send(Command::Adopt { id, stream, peer, permit }) {
                Ok(()) => self.proxy.cell().handed_over.add(1),
                Err(refused) => self.obey(refused.into_inner()),
            }
            return;
        }
        self.serve(id, stream, peer, permit);
    }

    pub(super) fn serve(self: &Rc<Self>, id: u64, stream: Stream, peer: SocketAddr, permit: Option<Permit>) {
        let Some(state) = self.listeners.borrow().get(&id).map(|listening| Rc::clone(&listening.state)) else {
            return;
        };
        if let Err(error) = stream.set_nodelay() {
            tracing::debug!(%peer, %error, "client gone before it was served");
            return;
        }
        let load = self.shares.loads.add(self.number);
        let registration = self.connections.register();
        let accepted = Accepted::new(peer, state, Rc::clone(&self.proxy), registration, permit);
        spawn_local(Serving::begin(stream, accepted, self.shares.peers.clone(), load));
    }
}

/// Whether `accept` failed because of one client, not because of this process.
fn concerns_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
