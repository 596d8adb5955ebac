//! Collects the small messages of a worker and sends them together.
//!
//! A head with a short body is a few hundred bytes. If each is sent as soon as it is made, each wakes its reader
//! separately, which is much of what a small exchange costs in the kernel. Here such messages wait until every task
//! that was ready has had its turn, and are then sent one after the other. The readers find many messages at once, and
//! so do we when their responses arrive. The first message wakes the sending task, so that task is in the run queue
//! behind every task that was ready by then. No message waits for longer.
//!
//! For HTTP a queued message counts as written. For [`Socket::bytes_written`] it does not count until the kernel has
//! it, so *provably unsent* stays exact. A large write goes to the kernel at once, behind what is queued for the same
//! socket.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::IoSlice;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::socket::Socket;

/// When this many messages are queued, they are sent at once.
pub(super) const MESSAGES_MAX: usize = 64;

/// The messages of one worker that wait to be sent.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: RefCell<Unsent>,
    sender: RefCell<Option<Waker>>,
}

#[derive(Debug, Default)]
struct Unsent {
    /// The bytes of all messages, one after the other. One buffer is used again and again, so that queueing allocates
    /// nothing.
    bytes: Vec<u8>,
    /// The socket of each message, and where the message ends in `bytes`.
    messages: Vec<(Rc<Socket>, usize)>,
}

impl Outbox {
    /// Sends what is queued whenever this task is polled. Never ends.
    pub(crate) async fn run(self: Rc<Self>) {
        poll_fn(|cx| {
            self.flush();
            *self.sender.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Sends everything that is queued.
    pub(crate) fn flush(&self) {
        let Unsent { mut bytes, mut messages } = self.queue.take();
        let mut start = 0;
        for (socket, end) in messages.drain(..) {
            socket.send(&bytes[start..end]);
            start = end;
        }
        bytes.clear();
        *self.queue.borrow_mut() = Unsent { bytes, messages };
    }

    pub(super) fn push(&self, socket: Rc<Socket>, slices: &[IoSlice<'_>]) {
        let mut queue = self.queue.borrow_mut();
        let Unsent { bytes, messages } = &mut *queue;
        slices.iter().for_each(|slice| bytes.extend_from_slice(slice));
        messages.push((socket, bytes.len()));
        match messages.len() {
            1 => {
                if let Some(sender) = self.sender.take() {
                    sender.wake();
                }
            }
            MESSAGES_MAX.. => {
                drop(queue);
                self.flush();
            }
            _ => {}
        }
    }
}
