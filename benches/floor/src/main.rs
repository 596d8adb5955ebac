//! The floor: the least that an HTTP/1.1 proxy does, with raw sockets, epoll and httparse on one thread.
//!
//! `floor LISTEN UPSTREAM` takes an unused connection to its one upstream for each request, adds `X-Forwarded-For`, and
//! keeps the connection afterwards. Bodies have a `Content-Length`; requests are not pipelined. There are no deadlines,
//! retries or counters, and a mistake of either side closes both: it is there to be measured, not to be used.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use floor::{addresses, forwarded, lengths};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);
/// How much is read at once.
const CHUNK: usize = 64 * 1024;

fn main() -> io::Result<()> {
    let (listen, upstream) = addresses()?;
    Proxy::new(listen, upstream)?.run()
}

/// One connection, to a client or to the upstream.
struct Side {
    stream: TcpStream,
    /// For a client: the field that names it.
    forwarded: Option<String>,
    /// The other side of the request under way.
    peer: Option<usize>,
    /// The beginning of a head of which more must come.
    head: Vec<u8>,
    /// What is still to come of the message that is being read.
    left: usize,
    /// What the socket did not take yet.
    out: Vec<u8>,
}

impl Side {
    fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if self.out.is_empty() {
            bytes = &bytes[unless_blocked(self.stream.write(bytes))?..];
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether all is sent.
    fn flush(&mut self) -> io::Result<bool> {
        if !self.out.is_empty() {
            let sent = unless_blocked(self.stream.write(&self.out))?;
            self.out.drain(..sent);
        }
        Ok(self.out.is_empty())
    }
}

struct Proxy {
    poll: Poll,
    listener: TcpListener,
    upstream: SocketAddr,
    sides: Slab<Side>,
    /// Connections to the upstream without a request.
    idle: Vec<usize>,
}

impl Proxy {
    fn new(listen: SocketAddr, upstream: SocketAddr) -> io::Result<Self> {
        let (poll, mut listener) = (Poll::new()?, TcpListener::bind(listen)?);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self { poll, listener, upstream, sides: Slab::new(), idle: Vec::new() })
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut chunk = vec![0; CHUNK];
        loop {
            self.poll.poll(&mut events, None)?;
            for event in &events {
                if event.token() == LISTENER {
                    self.accept()?;
                } else if self.serve(event.token().0, &mut chunk).is_err() {
                    self.close(event.token().0);
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        while let Ok((stream, address)) = self.listener.accept() {
            self.add(stream, Some(forwarded(address)))?;
        }
        Ok(())
    }

    fn add(&mut self, mut stream: TcpStream, forwarded: Option<String>) -> io::Result<usize> {
        stream.set_nodelay(true)?;
        let (place, both) = (self.sides.vacant_entry(), Interest::READABLE | Interest::WRITABLE);
        self.poll.registry().register(&mut stream, Token(place.key()), both)?;
        let index = place.key();
        place.insert(Side { stream, forwarded, peer: None, head: Vec::new(), left: 0, out: Vec::new() });
        Ok(index)
    }

    /// Sends what waits for this socket, lets its peer go on that waited meanwhile, and reads.
    fn serve(&mut self, index: usize, chunk: &mut [u8]) -> io::Result<()> {
        let Some(side) = self.sides.get_mut(index) else { return Ok(()) };
        if !side.out.is_empty()
            && side.flush()?
            && let Some(peer) = side.peer
        {
            self.pump(peer, chunk)?;
        }
        self.pump(index, chunk)
    }

    /// Reads until the socket is empty, or until the peer takes no more.
    fn pump(&mut self, index: usize, chunk: &mut [u8]) -> io::Result<()> {
        loop {
            let Some(side) = self.sides.get_mut(index) else { return Ok(()) };
            let peer = side.peer;
            if peer.and_then(|peer| self.sides.get(peer)).is_some_and(|peer| !peer.out.is_empty()) {
                return Ok(());
            }
            let Some(side) = self.sides.get_mut(index) else { return Ok(()) };
            let count = match side.stream.read(chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                read => read?,
            };
            self.forward(index, &chunk[..count])?;
            if count < chunk.len() {
                return Ok(());
            }
        }
    }

    /// Sends on what was read, with the field added, and ends the request with the last byte of its response.
    fn forward(&mut self, index: usize, bytes: &[u8]) -> io::Result<()> {
        let Some(side) = self.sides.get_mut(index) else { return Ok(()) };
        if side.left > 0 {
            side.left = side.left.checked_sub(bytes.len()).ok_or(ErrorKind::InvalidData)?;
            return self.pass(index, bytes);
        }
        let mut joined = std::mem::take(&mut side.head);
        let bytes = if joined.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            &joined
        };
        let Some((head, body)) = lengths(bytes, side.forwarded.is_some())? else {
            side.head = bytes.to_vec();
            return Ok(());
        };
        side.left = (head + body).checked_sub(bytes.len()).ok_or(ErrorKind::InvalidData)?;
        let Some(forwarded) = &side.forwarded else { return self.pass(index, bytes) };
        let request = [&bytes[..head - 2], forwarded.as_bytes(), &bytes[head..]].concat();
        let upstream = match self.idle.pop() {
            Some(upstream) => upstream,
            None => self.connect()?,
        };
        self.pair(index, Some(upstream));
        self.pair(upstream, Some(index));
        self.pass(index, &request)
    }

    fn pass(&mut self, from: usize, bytes: &[u8]) -> io::Result<()> {
        let Some(side) = self.sides.get(from) else { return Ok(()) };
        let (is_end, peer) = (side.forwarded.is_none() && side.left == 0, side.peer.ok_or(ErrorKind::InvalidData)?);
        self.sides.get_mut(peer).ok_or(ErrorKind::NotConnected)?.send(bytes)?;
        if is_end {
            self.pair(peer, None);
            self.pair(from, None);
            self.idle.push(from);
        }
        Ok(())
    }

    fn connect(&mut self) -> io::Result<usize> {
        let stream = std::net::TcpStream::connect(self.upstream)?;
        stream.set_nonblocking(true)?;
        self.add(TcpStream::from_std(stream), None)
    }

    fn pair(&mut self, index: usize, peer: Option<usize>) {
        if let Some(side) = self.sides.get_mut(index) {
            side.peer = peer;
        }
    }

    fn close(&mut self, index: usize) {
        let peer = self.sides.try_remove(index).and_then(|side| side.peer);
        peer.and_then(|peer| self.sides.try_remove(peer));
        self.idle.retain(|idle| *idle != index);
    }
}

/// What was written, which is nothing if the socket takes nothing now.
fn unless_blocked(written: io::Result<usize>) -> io::Result<usize> {
    match written {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        written => written,
    }
}
