//! A replica whose health is decided probe by probe.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::backend::{Backend, Seen, answer};
use super::{SOON, send};

/// Answers its name to everything but `/probe`; each probe waits for the test to answer it.
pub(crate) struct Probed {
    pub(crate) backend: Backend,
    asked: Receiver<Seen>,
    statuses: Sender<u16>,
}

impl Probed {
    /// The keys of a health check that suits it.
    pub(crate) const CHECK: &str = "[pool.app.health]\npath = \"/probe\"\ninterval = \"20ms\"\ntimeout = \"1h\"\n";

    /// Starts it.
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

    /// Waits for the next probe; by then the verdict of the one before has been taken in.
    #[track_caller]
    pub(crate) fn asked(&self) -> Seen {
        self.asked.recv_timeout(SOON).expect("a probe comes")
    }

    /// Answers the probe that came.
    pub(crate) fn say(&self, status: u16) {
        self.statuses.send(status).unwrap();
    }
}
