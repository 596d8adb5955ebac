//! One side of a tunnel: it sends its bytes part by part, closes its half after the last one, and closes the rest when
//! the other half has ended too.

use super::net::{Event, Network, Side};
use super::scenario::Ms;
use super::wire::Wire;

/// See the module.
#[derive(Debug)]
pub(crate) struct Tunnel {
    body: Vec<u8>,
    sent: usize,
    part: usize,
    pause: Ms,
    again: Ms,
    has_shut: bool,
    /// The other half has ended, in order.
    pub(crate) has_end: bool,
}

/// How far the sending has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sending {
    GoesOn,
    /// Everything was sent, and the half is closed.
    Over,
    Broken,
}

impl Tunnel {
    pub(crate) fn new(body: Vec<u8>, part: usize, pause: Ms) -> Self {
        Self { body, sent: 0, part: part.max(1), pause, again: 0, has_shut: false, has_end: false }
    }

    /// Sends what is due.
    pub(crate) fn send(&mut self, net: &Network, wire: &Wire, peer: usize) -> Sending {
        while self.sent < self.body.len() {
            if net.now() < self.again {
                return Sending::GoesOn;
            }
            let end = (self.sent - self.sent % self.part + self.part).min(self.body.len());
            match wire.peer_writes(&self.body[self.sent..end]) {
                None => return Sending::Broken,
                Some(0) => return Sending::GoesOn,
                Some(len) => self.sent += len,
            }
            if self.sent == end && self.pause > 0 {
                self.again = net.now() + self.pause;
                net.at(self.again, Event::Peer(peer));
            }
        }
        if !std::mem::replace(&mut self.has_shut, true) {
            net.reached(if self.has_end {
                "a tunnel: a half is closed last"
            } else {
                "a tunnel: a half is closed first"
            });
            wire.end_writing(Side::Peer);
        }
        Sending::Over
    }
}
