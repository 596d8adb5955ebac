//! Requests that go on while processes take over from each other.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;

use super::GET;
use crate::support::{eventually, try_connect};

/// Clients that send requests all the time, on connections that are kept and on fresh ones.
pub(super) struct Load {
    is_over: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<io::Result<()>>>,
}

impl Load {
    pub(super) fn begin(address: SocketAddr, socket: &Path) -> Self {
        let (is_over, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let clients = (0..6).map(|nth| {
            let (is_over, sent, socket) = (Arc::clone(&is_over), Arc::clone(&sent), socket.to_owned());
            std::thread::spawn(move || {
                while !is_over.load(Relaxed) {
                    match nth {
                        0 => ask(UnixStream::connect(&socket)?, 3, &sent)?,
                        1 | 2 => ask(try_connect(address)?, 1, &sent)?,
                        _ => ask(try_connect(address)?, 1000, &sent)?,
                    }
                }
                Ok(())
            })
        });
        Self { clients: clients.collect(), is_over, sent }
    }

    /// Waits until so many more requests were responded to.
    pub(super) fn wait_for(&self, more: usize) {
        let goal = self.sent.load(Relaxed) + more;
        let is_broken = || self.clients.iter().any(JoinHandle::is_finished);
        eventually("there are responses", || self.sent.load(Relaxed) >= goal || is_broken());
    }

    #[track_caller]
    pub(super) fn end(self) -> usize {
        self.is_over.store(true, Relaxed);
        let failed: Vec<io::Error> =
            self.clients.into_iter().filter_map(|client| client.join().unwrap().err()).collect();
        assert!(failed.is_empty(), "lost after {} requests: {failed:?}", self.sent.load(Relaxed));
        self.sent.load(Relaxed)
    }
}

/// Sends at most so many requests, until the proxy says that it closes.
fn ask(mut stream: impl io::Read + io::Write, most: usize, sent: &AtomicUsize) -> io::Result<()> {
    for _ in 0..most {
        stream.write_all(GET.as_bytes())?;
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\na") {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        if !head.starts_with(b"HTTP/1.1 200") {
            return Err(io::Error::other(String::from_utf8_lossy(&head)));
        }
        sent.fetch_add(1, Relaxed);
        if head.windows(17).any(|part| part.eq_ignore_ascii_case(b"connection: close")) {
            break;
        }
    }
    Ok(())
}
