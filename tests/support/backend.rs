//! Replicas that do exactly what a test tells them, byte by byte.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use super::client::field;
use super::{SOON, send, text};

/// A request as a replica received it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// The number of the connection, counted from 0.
    pub(crate) connection: usize,
}

impl Seen {
    /// The value of a field; `None` if it is missing.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    /// The request line.
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }
}

/// A listening socket. Each connection is given to a script in a thread of its own. Probes of `/healthz` get their
/// response before the script sees them. Dropping it closes everything.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    is_closing: AtomicBool,
    is_healthy: AtomicBool,
    connections: AtomicUsize,
    ended: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
    /// Open connections by their numbers.
    streams: Mutex<BTreeMap<usize, TcpStream>>,
}

/// One connection that a script controls.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    pub(crate) number: usize,
    shared: Arc<Shared>,
    /// Bytes that were read and belong to the next message.
    pub(crate) ahead: Vec<u8>,
}

impl Backend {
    /// Runs `script` for each connection.
    pub(crate) fn start(script: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), script)
    }

    /// The same, at a given address.
    pub(crate) fn start_at(address: SocketAddr, script: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        let listener = bind_again(address);
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            is_closing: AtomicBool::new(false),
            is_healthy: AtomicBool::new(true),
            connections: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            seen: Mutex::default(),
            streams: Mutex::default(),
        });
        let (accepting, script) = (Arc::clone(&shared), Arc::new(script));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.is_closing.load(Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                stream.set_nodelay(true).ok();
                let number = accepting.connections.fetch_add(1, Relaxed);
                accepting.streams.lock().unwrap().extend(stream.try_clone().ok().map(|stream| (number, stream)));
                let (shared, script) = (Arc::clone(&accepting), Arc::clone(&script));
                thread::spawn(move || {
                    script(&mut Peer { stream, number, shared: Arc::clone(&shared), ahead: Vec::new() });
                    shared.ended.fetch_add(1, Relaxed);
                });
            }
        });
        Self { address, shared }
    }

    /// Responds to every request with its name, on connections that are kept alive.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::start(move |peer| peer.serve(move |_| answer(name)))
    }

    /// The same, at a given address.
    pub(crate) fn named_at(address: SocketAddr, name: &'static str) -> Self {
        Self::start_at(address, move |peer| peer.serve(move |_| answer(name)))
    }

    /// The requests so far, without probes.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// The number of connections accepted so far, including probes.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Relaxed)
    }

    /// The number of scripts that have ended, including those of probes.
    pub(crate) fn ended(&self) -> usize {
        self.shared.ended.load(Relaxed)
    }

    /// Waits until the script of every connection has ended.
    #[track_caller]
    pub(crate) fn wait_for_scripts(&self) {
        super::eventually("all scripts have ended", || self.shared.ended.load(Relaxed) == self.connections());
    }

    /// Sets the response to `/healthz` from now on.
    pub(crate) fn set_healthy(&self, is_healthy: bool) {
        self.shared.is_healthy.store(is_healthy, Relaxed);
    }

    /// Closes the port and every connection, as a crash does.
    pub(crate) fn kill(self) {}
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.is_closing.store(true, Relaxed);
        // Wakes the accepting thread, which then closes the port.
        TcpStream::connect(self.address).ok();
        for stream in std::mem::take(&mut *self.shared.streams.lock().unwrap()).into_values() {
            stream.shutdown(std::net::Shutdown::Both).ok();
        }
        super::eventually("a port is closed", || TcpStream::connect(self.address).is_err());
    }
}

/// Binds even if connections of a former listener linger.
fn bind_again(address: SocketAddr) -> TcpListener {
    let mut listener = TcpListener::bind(address);
    if address.port() != 0 {
        super::eventually("a port can be bound again", || {
            listener.is_ok() || {
                listener = TcpListener::bind(address);
                listener.is_ok()
            }
        });
    }
    listener.unwrap()
}

impl Peer {
    /// Responds to requests until the peer closes.
    pub(crate) fn serve(&mut self, answer: impl Fn(&Seen) -> Vec<u8>) {
        while let Some(seen) = self.next() {
            let bytes = answer(&seen);
            if self.stream.write_all(&bytes).is_err() {
                return;
            }
        }
    }

    /// The next request with its body, without probes. `None` when the peer has closed.
    pub(crate) fn next(&mut self) -> Option<Seen> {
        loop {
            let head = self.next_head()?;
            if head.starts_with("GET /healthz ") {
                let status = if self.shared.is_healthy.load(Relaxed) { "200 OK" } else { "503 Sick" };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok");
                self.stream.write_all(answer.as_bytes()).ok()?;
                continue;
            }
            if field(&head, "expect").is_some() {
                self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
            }
            let body = self.body(&head)?;
            let seen = Seen { head, body, connection: self.number };
            self.shared.seen.lock().unwrap().push(seen.clone());
            return Some(seen);
        }
    }

    /// The head of the next request; the body stays unread.
    pub(crate) fn next_head(&mut self) -> Option<String> {
        let end = self.fill_until(b"\r\n\r\n")?;
        Some(text(&self.ahead.drain(..end).collect::<Vec<_>>()))
    }

    fn body(&mut self, head: &str) -> Option<Vec<u8>> {
        if let Some(length) = field(head, "content-length") {
            let length: usize = length.parse().unwrap();
            while self.ahead.len() < length {
                self.fill()?;
            }
            return Some(self.ahead.drain(..length).collect());
        }
        if field(head, "transfer-encoding").is_none() {
            return Some(Vec::new());
        }
        // A chunked body is kept as it came, including trailers.
        let mut body = Vec::new();
        loop {
            let end = self.fill_until(b"\r\n")?;
            let line: Vec<u8> = self.ahead.drain(..end).collect();
            let size = usize::from_str_radix(text(&line).trim(), 16).unwrap();
            body.extend(line);
            if size == 0 {
                break;
            }
            while self.ahead.len() < size + 2 {
                self.fill()?;
            }
            body.extend(self.ahead.drain(..size + 2));
        }
        loop {
            let end = self.fill_until(b"\r\n")?;
            let line: Vec<u8> = self.ahead.drain(..end).collect();
            body.extend(&line);
            if line == b"\r\n" {
                return Some(body);
            }
        }
    }

    fn fill_until(&mut self, end: &[u8]) -> Option<usize> {
        loop {
            if let Some(at) = self.ahead.windows(end.len()).position(|window| window == end) {
                return Some(at + end.len());
            }
            self.fill()?;
        }
    }

    pub(crate) fn fill(&mut self) -> Option<()> {
        let mut buffer = [0u8; 65536];
        match self.stream.read(&mut buffer) {
            Ok(0) | Err(_) => None,
            Ok(n) => {
                self.ahead.extend(&buffer[..n]);
                Some(())
            }
        }
    }

    /// Leaves the connection to the script alone, which closes it by ending. Otherwise it is kept until the backend is
    /// dropped.
    pub(crate) fn own(&self) {
        self.shared.streams.lock().unwrap().remove(&self.number);
    }

    /// Waits until the peer closes or resets.
    pub(crate) fn wait_for_close(&mut self) {
        while self.fill().is_some() {}
    }
}

/// A short response with a length.
pub(crate) fn answer(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A signal from a script to its test.
pub(crate) fn signal() -> (Arc<Mutex<Sender<()>>>, Signal) {
    let (sender, receiver) = channel();
    (Arc::new(Mutex::new(sender)), Signal(receiver))
}

/// The receiving end of [`signal`].
pub(crate) struct Signal(Receiver<()>);

impl Signal {
    /// Waits for the signal.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str) {
        self.0.recv_timeout(SOON).unwrap_or_else(|_| panic!("not in time: {what}"));
    }
}

/// A replica that reports each request, and responds when it is told to.
pub(crate) fn patient() -> (Backend, Receiver<()>, Sender<()>) {
    let ((asked, was_asked), (go, may_go)) = (channel(), channel());
    let (asked, may_go) = (Mutex::new(asked), Arc::new(Mutex::new(may_go)));
    let backend = Backend::start(move |peer| {
        while peer.next().is_some() {
            asked.lock().unwrap().send(()).ok();
            if may_go.lock().unwrap().recv().is_err() {
                return;
            }
            send(&mut peer.stream, answer("a"));
        }
    });
    (backend, was_asked, go)
}
