//! A replica whose health the test decides probe by probe.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::backend::{Backend, Seen, answer};
use super::{SOON, send};

/// Responds with its name to everything but `/probe`. Each probe waits for its response from the test.
pub(crate) struct Probed {
    pub(crate) backend: Backend,
    asked: Receiver<Seen>,
    statuses: Sender<u16>,
}

impl Probed {
    /// The keys of a health check that fits it.
    pub(crate) const CHECK: &str = "[pool.app.health]\npath = \"/probe\"\ninterval = \"20ms\"\ntimeout = \"1h\"\n";

    /// Starts a replica with this name.
    pub(crate) fn named(name: &'static str) -> Self {
        let ((asking, asked), (statuses, received)) = (channel(), channel());
        let (asking, received) = (Mutex::new(asking), Mutex::new(received));
        let backend = Backend::start(move |peer| {
            while let Some(seen) = peer.next() {
                if !seen.line().contains(" /probe ") {
                    send(&mut peer.stream, answer(name));
                    continue;
                }
                asking.lock().unwrap().send(seen).ok();
                let Ok(status) = received.lock().unwrap().recv() else { return };
                let head = format!("HTTP/1.1 {status} Probed\r\nContent-Length: 0\r\n\r\n");
                send(&mut peer.stream, head);
            }
        });
        Self { backend, asked, statuses }
    }

    /// Waits for the next probe. By then the verdict of the previous one is in force.
    #[track_caller]
    pub(crate) fn asked(&self) -> Seen {
        self.asked.recv_timeout(SOON).expect("a probe comes")
    }

    /// Sends the response to the waiting probe.
    pub(crate) fn say(&self, status: u16) {
        self.statuses.send(status).unwrap();
    }
}
