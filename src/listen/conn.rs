//! One client connection from its first byte to its last.
//!
//! hyper speaks HTTP; this file adds what it leaves out: the deadlines (see [`crate::deadlines`]), the end when the listener
//! drains, and a close that does not destroy an answer the client has not read yet.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::{ListenerState, Registration};
use crate::config::model::{Limits, Timeouts};
use crate::deadlines::{Deadlines, Wait};
use crate::outbox::Socket;
use crate::proxy::{self, Client, Proxy};

/// How long a closed connection goes on discarding what the client still sends. Closing at once would make the kernel answer
/// with a reset, and the client might never read the answer it was sent.
const LINGER: Duration = Duration::from_secs(2);

/// How much of it is discarded at most: who goes on for longer does not want to know.
const LINGER_BYTES_MAX: usize = 8 << 20;

/// How long a connection that has not had its first request may wait for it when its listener drains.
const FIRST_REQUEST_WHEN_DRAINING: Duration = Duration::from_secs(1);

/// What hyper holds of a request head without looking for it on the heap.
const FIELDS_INLINE: usize = 100;

/// Serves `stream` until either side closes it.
pub(crate) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    listener: Rc<ListenerState>,
    proxy: Rc<Proxy>,
    registration: Registration,
) {
    let view = proxy.viewer.current();
    let Timeouts { request_head, client_write, client_idle, .. } = view.snapshot.timeouts;
    let builder = builder(&view.snapshot.limits);
    drop(view);
    let client = Rc::new(Client::new(peer.ip(), listener.trusts(peer.ip())));
    let socket = Socket::new(stream, Rc::clone(&proxy.outbox));
    let io = ClientIo::new(Rc::clone(&socket), Rc::clone(&client), request_head, client_write);
    let service = service_fn({
        let client = Rc::clone(&client);
        move |request| proxy::handle(Rc::clone(&proxy), Rc::clone(&client), request)
    });
    let mut connection = builder.serve_connection(io, service);
    // Dropped before the connection, which ends what is under way.
    let guard = ResetUnlessWhole { socket, client: Rc::clone(&client) };
    let mut alarm = pin!(Alarm::default());
    let (mut is_draining, mut is_hurried, mut is_registered) = (false, false, false);
    poll_fn(|cx| {
        if !std::mem::replace(&mut is_registered, true) {
            registration.set_waker(cx.waker());
        }
        loop {
            if let Poll::Ready(result) = Pin::new(&mut connection).poll(cx) {
                result.inspect_err(|error| tracing::debug!(%peer, %error, "client connection ended")).ok();
                return Poll::Ready(());
            }
            if listener.draining.get() && !is_draining {
                client.begin_draining();
                // hyper would close a connection that has not had its first request, which may be on its way already.
                if client.is_fresh() {
                    if !std::mem::replace(&mut is_hurried, true) {
                        client.deadlines.arm_in(Wait::Client, FIRST_REQUEST_WHEN_DRAINING);
                    }
                } else {
                    is_draining = true;
                    Pin::new(&mut connection).graceful_shutdown();
                    continue;
                }
            }
            let is_writing = client.deadlines.is_armed(Wait::ClientWrite);
            if !client.is_busy() && !is_writing && !client.deadlines.is_armed(Wait::Client) {
                client.deadlines.arm(Wait::Client, client.idle_since() + client_idle);
            }
            ready!(alarm.as_mut().poll_ring(&client.deadlines, cx));
            if client.deadlines.expired(Wait::ClientWrite) {
                client.cut();
            }
            if client.deadlines.expired(Wait::Client) || client.deadlines.expired(Wait::ClientWrite) {
                tracing::debug!(%peer, "client connection closed: the client was silent for too long");
                return Poll::Ready(());
            }
        }
    })
    .await;
    drop(guard);
}

/// Resets a connection that ends in the middle of an answer, however that comes about: closed in order, an answer without a length would
/// look whole.
struct ResetUnlessWhole {
    socket: Rc<Socket>,
    client: Rc<Client>,
}

impl Drop for ResetUnlessWhole {
    fn drop(&mut self) {
        let is_answering = self.client.is_busy() || self.client.deadlines.is_armed(Wait::ClientWrite);
        if is_answering || self.client.was_cut() {
            self.socket.reset_when_closed();
        }
    }
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(limits.request_head.max(64 * 1024)).max_header_size(limits.request_head);
    // Up to its own default hyper keeps the fields on the stack; any other bound makes it allocate for each request.
    if limits.request_fields != FIELDS_INLINE {
        builder.max_headers(limits.request_fields);
    }
    // Deadlines are kept outside of hyper, see `Deadlines`.
    builder.header_read_timeout(None);
    builder
}

/// The one timer of a connection.
#[derive(Default)]
struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    /// When `sleep` rings; never after the earliest deadline.
    rings_at: Option<Instant>,
}

impl Alarm {
    /// Ready when a deadline has run out (and is marked so).
    fn poll_ring(mut self: Pin<&mut Self>, deadlines: &Deadlines, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(next) = deadlines.next() else { return Poll::Pending };
            if self.rings_at.is_none_or(|rings_at| rings_at > next) {
                match &mut self.sleep {
                    Some(sleep) => sleep.as_mut().reset(next),
                    None => self.sleep = Some(Box::pin(tokio::time::sleep_until(next))),
                }
                self.rings_at = Some(next);
                // Only here: the task is woken without being polled for it again.
                if let Some(sleep) = &mut self.sleep {
                    ready!(sleep.as_mut().poll(cx));
                }
            } else if self.sleep.as_ref().is_some_and(|sleep| !sleep.is_elapsed()) {
                return Poll::Pending;
            }
            self.rings_at = None;
            if deadlines.expire(Instant::now()) {
                return Poll::Ready(());
            }
        }
    }
}

/// The client's socket, with the waits that only the socket sees.
struct ClientIo {
    socket: Rc<Socket>,
    client: Rc<Client>,
    head_timeout: Duration,
    write_timeout: Duration,
    /// Whether our half has been closed.
    is_shut: bool,
    /// What was discarded since then.
    discarded: usize,
}

impl ClientIo {
    fn new(socket: Rc<Socket>, client: Rc<Client>, head_timeout: Duration, write_timeout: Duration) -> Self {
        // A fresh connection owes us a head at once.
        client.deadlines.arm_in(Wait::Client, head_timeout);
        Self { socket, client, head_timeout, write_timeout, is_shut: false, discarded: 0 }
    }

    /// Notes that the client wrote something.
    fn heard(&self) {
        if !self.client.is_busy() && !self.client.set_in_head(true) {
            self.client.deadlines.arm_in(Wait::Client, self.head_timeout);
        }
    }

    /// Notes how writing went.
    fn wrote<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let deadlines = &self.client.deadlines;
        match &result {
            Poll::Pending if !deadlines.is_armed(Wait::ClientWrite) => {
                if !self.client.is_busy() {
                    // The answer is out of the proxy's hands but not at the client: it is not idle yet.
                    deadlines.disarm(Wait::Client);
                }
                deadlines.arm_in(Wait::ClientWrite, self.write_timeout);
            }
            Poll::Pending => {}
            Poll::Ready(_) if deadlines.is_armed(Wait::ClientWrite) => {
                deadlines.disarm(Wait::ClientWrite);
                if !self.client.is_busy() {
                    self.client.begin_idling();
                }
            }
            Poll::Ready(_) => {}
        }
        result
    }

    /// Discards what the client still sends until it closes its half too.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0u8; 8192];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(self.socket.poll_read(cx, buffer.unfilled()))?;
            self.discarded += buffer.filled().len();
            if buffer.filled().is_empty() || self.discarded > LINGER_BYTES_MAX {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl Read for ClientIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let result = self.socket.poll_read(cx, buf);
        if result.is_ready() {
            self.heard();
        }
        result
    }
}

impl Write for ClientIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.wrote(self.socket.poll_write(cx, &[io::IoSlice::new(buf)]))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.wrote(self.socket.poll_write(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wrote(self.socket.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(self.wrote(self.socket.poll_shutdown(cx)))?;
            self.is_shut = true;
            if self.client.may_still_send() {
                self.client.deadlines.arm_in(Wait::Client, LINGER);
            }
        }
        if self.client.may_still_send() { self.poll_linger(cx) } else { Poll::Ready(Ok(())) }
    }
}
