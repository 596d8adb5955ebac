//! The end of an HTTP/1.1 client connection that ends in the middle of a response.

use std::rc::Rc;

use crate::deadlines::Wait;
use crate::net::socket::Socket;
use crate::proxy::client::Client;

/// Resets a connection that ends in the middle of a response, for whatever reason. With an orderly close, a response
/// without a length would look complete.
pub(super) struct ResetUnlessWhole {
    socket: Rc<Socket>,
    client: Rc<Client>,
}

impl ResetUnlessWhole {
    pub(super) fn new(socket: Rc<Socket>, client: Rc<Client>) -> Self {
        Self { socket, client }
    }
}

impl Drop for ResetUnlessWhole {
    fn drop(&mut self) {
        let is_answering = self.client.is_busy() || self.client.deadlines.is_armed(Wait::ClientWrite);
        if is_answering || self.client.was_cut() {
            self.socket.reset_when_closed();
        }
        // A tunnel that never started is dropped. It holds the client, and the client holds it: the cycle must be
        // broken.
        drop(self.client.take_tunnel());
    }
}
