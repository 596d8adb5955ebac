//! The floor on io_uring: multishot accept and receive into registered buffers, fixed descriptors, and one system call
//! per turn for all that a turn has to send.
//!
//! `floor-ring LISTEN UPSTREAM` does what `floor` does on epoll, so what it takes less is what io_uring could save a
//! proxy at most. It asks for Linux 6.1. What one side sends faster than the other reads is held without a bound: it is
//! there to be measured with small messages, not to be used.
#![allow(unsafe_code)] // the ring takes addresses of buffers, which live as long as what is sent from them

use std::alloc::{Layout, alloc_zeroed};
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::sync::atomic::{AtomicU16, Ordering::Release};

use floor::{addresses, forwarded, lengths};
use io_uring::types::{BufRingEntry, Fd, Fixed};
use io_uring::{IoUring, cqueue, opcode, squeue};
use slab::Slab;

/// Entries of the queue of what is wanted. It is submitted earlier when it is full.
const ENTRIES: u32 = 4096;
/// The most connections.
const SIDES_MAX: u32 = 16 * 1024;
/// Buffers to receive into, a power of two, and the size of each.
const BUFFERS: u16 = 1024;
const BUFFER: usize = 16 * 1024;
const GROUP: u16 = 0;

const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1;
const SEND: u64 = 2;

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
    /// What is being sent. It stays where it is until that is done.
    sending: Vec<u8>,
    /// What is sent after that.
    queued: Vec<u8>,
    is_receiving: bool,
    is_closed: bool,
}

/// Buffers that the kernel receives into, and the ring of those that it may take.
struct Buffers {
    entries: *mut BufRingEntry,
    memory: Vec<u8>,
    tail: u16,
}

impl Buffers {
    fn new(ring: &IoUring) -> io::Result<Self> {
        let layout = Layout::from_size_align(usize::from(BUFFERS) * size_of::<BufRingEntry>(), 4096);
        // SAFETY: the size is not zero. It is never freed, so the kernel may use it as long as the process lives.
        let entries = unsafe { alloc_zeroed(layout.map_err(io::Error::other)?) }.cast::<BufRingEntry>();
        if entries.is_null() {
            return Err(ErrorKind::OutOfMemory.into());
        }
        // SAFETY: it has room for so many entries, and begins with a page.
        unsafe { ring.submitter().register_buf_ring_with_flags(entries as u64, BUFFERS, GROUP, 0)? };
        let mut buffers = Self { entries, memory: vec![0; usize::from(BUFFERS) * BUFFER], tail: 0 };
        (0..BUFFERS).for_each(|id| buffers.give(id));
        Ok(buffers)
    }

    fn get(&self, id: u16, length: usize) -> &[u8] {
        let begin = usize::from(id) * BUFFER;
        &self.memory[begin..begin + length]
    }

    /// Gives a buffer back to the kernel.
    fn give(&mut self, id: u16) {
        // SAFETY: the index is below the number of entries, and this thread is the only one that writes them.
        let entry = unsafe { &mut *self.entries.add(usize::from(self.tail % BUFFERS)) };
        entry.set_addr(self.memory.as_ptr() as u64 + u64::from(id) * BUFFER as u64);
        entry.set_len(BUFFER as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail lies within the first entry, is aligned, and is read by the kernel alone.
        let tail = unsafe { &*BufRingEntry::tail(self.entries).cast::<AtomicU16>() };
        tail.store(self.tail, Release);
    }
}

struct Proxy {
    ring: IoUring,
    buffers: Buffers,
    listener: TcpListener,
    upstream: SocketAddr,
    sides: Slab<Side>,
    /// Connections to the upstream without a request.
    idle: Vec<usize>,
}

impl Proxy {
    fn new(listen: SocketAddr, upstream: SocketAddr) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        let ring = builder.setup_single_issuer().setup_defer_taskrun().setup_cqsize(4 * ENTRIES).build(ENTRIES)?;
        ring.submitter().register_files_sparse(SIDES_MAX)?;
        let (buffers, listener) = (Buffers::new(&ring)?, TcpListener::bind(listen)?);
        let mut proxy = Self { ring, buffers, listener, upstream, sides: Slab::new(), idle: Vec::new() };
        proxy.want_connections()?;
        Ok(proxy)
    }

    fn run(mut self) -> io::Result<()> {
        let mut done = Vec::new();
        loop {
            match self.ring.submit_and_wait(1) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                waited => waited?,
            };
            done.extend(self.ring.completion());
            for event in done.drain(..) {
                let (kind, index) = (event.user_data() >> 32, event.user_data() as u32 as usize);
                let served = match kind {
                    ACCEPT => Ok(self.accept(&event)?),
                    RECEIVE => self.receive(index, &event),
                    _ => self.sent(index, event.result()),
                };
                if served.is_err() {
                    self.close(index);
                }
            }
        }
    }

    fn push(&mut self, entry: squeue::Entry, kind: u64, index: usize) -> io::Result<()> {
        let entry = entry.user_data(kind << 32 | index as u64);
        // SAFETY: what an entry points to is the memory of a side, which is removed when nothing is under way.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.ring.submit()?;
        }
        Ok(())
    }

    fn want_connections(&mut self) -> io::Result<()> {
        let entry = opcode::AcceptMulti::new(Fd(self.listener.as_raw_fd())).build();
        self.push(entry, ACCEPT, 0)
    }

    fn accept(&mut self, event: &cqueue::Entry) -> io::Result<()> {
        if let Ok(descriptor) = u32::try_from(event.result()) {
            // SAFETY: the kernel has just given it to nobody else.
            let stream = unsafe { TcpStream::from_raw_fd(descriptor as i32) };
            if let Ok(address) = stream.peer_addr() {
                self.add(stream, Some(forwarded(address)))?;
            }
        }
        if cqueue::more(event.flags()) { Ok(()) } else { self.want_connections() }
    }

    fn add(&mut self, stream: TcpStream, forwarded: Option<String>) -> io::Result<usize> {
        stream.set_nodelay(true)?;
        let descriptor = stream.as_raw_fd();
        let index = self.sides.insert(Side {
            stream,
            forwarded,
            peer: None,
            head: Vec::new(),
            left: 0,
            sending: Vec::new(),
            queued: Vec::new(),
            is_receiving: false,
            is_closed: false,
        });
        self.ring.submitter().register_files_update(index as u32, &[descriptor])?;
        self.want_bytes(index)?;
        Ok(index)
    }

    fn want_bytes(&mut self, index: usize) -> io::Result<()> {
        let Some(side) = self.sides.get_mut(index) else { return Ok(()) };
        side.is_receiving = true;
        self.push(opcode::RecvMulti::new(Fixed(index as u32), GROUP).build(), RECEIVE, index)
    }

    /// Sends on what came.
    fn receive(&mut self, index: usize, event: &cqueue::Entry) -> io::Result<()> {
        let has_more = cqueue::more(event.flags());
        let Some(side) = self.sides.get_mut(index) else { return Ok(()) };
        side.is_receiving = has_more;
        let is_closed = side.is_closed;
        let came = usize::try_from(event.result()).unwrap_or(0);
        let passed = match cqueue::buffer_select(event.flags()) {
            Some(id) if came > 0 => {
                let passed = if is_closed { Ok(()) } else { self.forward(index, id, came) };
                self.buffers.give(id);
                passed
            }
            _ if -event.result() == libc::ENOBUFS => Ok(()),
            _ => Err(ErrorKind::UnexpectedEof.into()),
        };
        passed?;
        if has_more || is_closed { Ok(()) } else { self.want_bytes(index) }
    }

    /// Sends on what was received, with the field added, and ends the request with the last byte of its response.
    fn forward(&mut self, index: usize, id: u16, length: usize) -> io::Result<()> {
        let Some(side) = self.sides.get_mut(index) else { return Ok(()) };
        let bytes = self.buffers.get(id, length);
        if side.left > 0 {
            side.left = side.left.checked_sub(length).ok_or(ErrorKind::InvalidData)?;
            let bytes = bytes.to_vec();
            return self.pass(index, bytes);
        }
        let mut joined = std::mem::take(&mut side.head);
        joined.extend_from_slice(bytes);
        let Some((head, body)) = lengths(&joined, side.forwarded.is_some())? else {
            side.head = joined;
            return Ok(());
        };
        side.left = (head + body).checked_sub(joined.len()).ok_or(ErrorKind::InvalidData)?;
        let Some(forwarded) = &side.forwarded else { return self.pass(index, joined) };
        let request = [&joined[..head - 2], forwarded.as_bytes(), &joined[head..]].concat();
        let upstream = match self.idle.pop() {
            Some(upstream) => upstream,
            None => self.add(TcpStream::connect(self.upstream)?, None)?,
        };
        self.pair(index, Some(upstream));
        self.pair(upstream, Some(index));
        self.pass(index, request)
    }

    fn pass(&mut self, from: usize, bytes: Vec<u8>) -> io::Result<()> {
        let Some(side) = self.sides.get(from) else { return Ok(()) };
        let (is_end, peer) = (side.forwarded.is_none() && side.left == 0, side.peer.ok_or(ErrorKind::InvalidData)?);
        let other = self.sides.get_mut(peer).ok_or(ErrorKind::NotConnected)?;
        if other.sending.is_empty() {
            other.sending = bytes;
            self.send(peer)?;
        } else {
            other.queued.extend_from_slice(&bytes);
        }
        if is_end {
            self.pair(peer, None);
            self.pair(from, None);
            self.idle.push(from);
        }
        Ok(())
    }

    fn send(&mut self, index: usize) -> io::Result<()> {
        let Some(side) = self.sides.get(index) else { return Ok(()) };
        let (begin, length) = (side.sending.as_ptr(), side.sending.len() as u32);
        // The kernel sends all of it, or fails.
        let entry = opcode::Send::new(Fixed(index as u32), begin, length).flags(libc::MSG_WAITALL).build();
        self.push(entry, SEND, index)
    }

    /// Sends what has waited for what was sent.
    fn sent(&mut self, index: usize, result: i32) -> io::Result<()> {
        let Some(side) = self.sides.get_mut(index) else { return Ok(()) };
        let is_whole = usize::try_from(result).is_ok_and(|sent| sent == side.sending.len());
        side.sending.clear();
        if !is_whole || side.is_closed {
            return Err(ErrorKind::WriteZero.into());
        }
        if side.queued.is_empty() {
            return Ok(());
        }
        side.sending = std::mem::take(&mut side.queued);
        self.send(index)
    }

    fn pair(&mut self, index: usize, peer: Option<usize>) {
        if let Some(side) = self.sides.get_mut(index) {
            side.peer = peer;
        }
    }

    /// Closes a side and its peer. Each is removed once nothing of it is under way.
    fn close(&mut self, index: usize) {
        let Some(side) = self.sides.get_mut(index) else { return };
        let peer = side.peer.take();
        if !std::mem::replace(&mut side.is_closed, true) {
            side.stream.shutdown(Shutdown::Both).ok();
            self.idle.retain(|idle| *idle != index);
        }
        if !side.is_receiving && side.sending.is_empty() {
            self.sides.remove(index);
            self.ring.submitter().register_files_update(index as u32, &[-1]).ok();
        }
        peer.into_iter().for_each(|peer| self.close(peer));
    }
}
