//! A socket whose small messages go through the [`Outbox`] of its worker.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ahead::Ahead;
use super::outbox::Outbox;
use crate::net::Stream;

/// Longer writes are not queued: copying them into the queue would cost more than it saves.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Bytes read at once to find out whether there are any.
const LOOKED_AT: usize = 1024;

/// What a socket has said in the present turn of the task that reads it, see [`Socket::begin_turn`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// No turn is under way.
    None,
    /// There may be something to read.
    Begun,
    /// There is nothing to read, and the task will be woken when there is.
    Dry,
}

/// Who is asked whether the peer of an unused connection has closed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// The runtime, which knows what its last events have said. It costs no system call.
    Runtime,
    /// The kernel, which knows what has come.
    Kernel,
}

/// A socket whose small messages go through the [`Outbox`] of its worker.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: RefCell<Stream>,
    ahead: Ahead,
    outbox: Rc<Outbox>,
    turn: Cell<Turn>,
    /// The number of its messages in the outbox.
    queued: Cell<usize>,
    /// The part of the sent messages that the kernel has not taken yet.
    rest: RefCell<Vec<u8>>,
    failure: Cell<Option<io::ErrorKind>>,
    /// The task to wake when a queued message cannot be sent at once.
    task: RefCell<Option<Waker>>,
    bytes_written: Cell<u64>,
    /// Whether the peer has sent anything or has closed.
    was_heard: Cell<bool>,
    is_cancelled: Cell<bool>,
    /// Whether the next bytes may be sent only if the peer has neither closed nor sent anything, and who knows.
    look: Cell<Option<Look>>,
    /// Whether the kernel took only a part of the latest large write, so that its writer still holds the rest.
    is_short: Cell<bool>,
}

impl Socket {
    pub(crate) fn new(stream: Stream, outbox: Rc<Outbox>) -> Rc<Self> {
        Rc::new(Self {
            stream: RefCell::new(stream),
            ahead: Ahead::default(),
            outbox,
            turn: Cell::new(Turn::None),
            queued: Cell::default(),
            rest: RefCell::default(),
            failure: Cell::default(),
            task: RefCell::default(),
            bytes_written: Cell::default(),
            was_heard: Cell::default(),
            is_cancelled: Cell::default(),
            look: Cell::default(),
            is_short: Cell::default(),
        })
    }

    /// The local address; `None` for a Unix socket.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        self.stream.borrow().local_addr()
    }

    /// The number of bytes that the kernel has taken.
    pub(crate) fn bytes_written(&self) -> u64 {
        self.bytes_written.get()
    }

    /// Whether the peer has sent anything so far, or closed.
    pub(crate) fn was_heard(&self) -> bool {
        self.was_heard.get()
    }

    /// Whether the kernel has not taken everything that was written.
    pub(crate) fn has_unsent(&self) -> bool {
        self.queued.get() > 0 || self.is_short.get() || !self.rest.borrow().is_empty()
    }

    /// Whether a write has failed. Nothing can be sent any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.get().is_some()
    }

    /// The same after the outbox has sent what it could.
    pub(crate) fn holds_unsent(&self) -> bool {
        self.outbox.flush();
        self.has_unsent()
    }

    /// The next bytes are the beginning of a request on a connection that was unused. They are sent only if the peer
    /// is not known to have closed it meanwhile; otherwise the write fails, and nothing was sent.
    pub(crate) fn look_before_sending(&self, look: Look) {
        self.look.set(Some(look));
    }

    /// Whether the peer is found to have closed, when that is to be looked at.
    #[inline]
    fn is_stale(&self) -> bool {
        match self.look.take() {
            None => false,
            Some(Look::Runtime) => !self.is_silent_so_far(),
            Some(Look::Kernel) => !self.is_silent(),
        }
    }

    /// Whether the peer has neither closed nor sent anything. It asks the kernel, which knows before the runtime does.
    pub(crate) fn is_silent(&self) -> bool {
        self.stream.borrow().is_silent()
    }

    /// The same, as far as the runtime knows. It costs no system call as long as nothing has come.
    pub(crate) fn is_silent_so_far(&self) -> bool {
        self.stream.borrow().is_silent_so_far()
    }

    /// Makes closing it send a reset (TCP RST). Queued messages are not sent.
    pub(crate) fn reset_when_closed(&self) {
        self.cancel();
        self.stream.borrow().reset_when_closed();
    }

    /// Shuts down both directions, even if others still hold the socket. Queued messages are not sent.
    pub(crate) fn shut_down(&self) {
        self.cancel();
        self.stream.borrow().shut_down();
    }

    /// Cancels the queued messages: they will not be sent.
    pub(crate) fn cancel(&self) {
        self.is_cancelled.set(true);
    }

    /// Called by the outbox to send one message.
    pub(super) fn send(&self, message: &[u8]) {
        self.queued.set(self.queued.get() - 1);
        if self.is_cancelled.get() || self.failure.get().is_some() {
            return;
        }
        if self.is_stale() {
            self.failure.set(Some(io::ErrorKind::ConnectionAborted));
            self.wake();
            return;
        }
        let mut rest = self.rest.borrow_mut();
        let sent = if rest.is_empty() { self.stream.borrow().try_write(message) } else { Ok(0) };
        match sent {
            Ok(n) => {
                self.bytes_written.set(self.bytes_written.get() + n as u64);
                rest.extend_from_slice(&message[n..]);
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                rest.extend_from_slice(message);
            }
            Err(error) => {
                self.failure.set(Some(error.kind()));
                self.wake();
            }
        }
        if !rest.is_empty() {
            self.wake();
        }
    }

    /// The task that has written last is not to be woken any more: another one may have the connection.
    pub(crate) fn forget_task(&self) {
        self.task.take();
    }

    /// The kernel reports an error once. Whoever reads after that would see an orderly end.
    #[cold]
    fn fail(&self, error: &io::Error) {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        // An aborted connection is one to which nothing was sent, see `is_stale`; a broken pipe says less than a read.
        let kind = if error.kind() == ConnectionAborted { ConnectionReset } else { error.kind() };
        self.failure.set(self.failure.get().filter(|known| *known != BrokenPipe).or(Some(kind)));
    }

    fn wake(&self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    /// Ready when the kernel has taken the rest of the sent messages.
    #[inline]
    fn poll_rest(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.failure.get() {
            return Poll::Ready(Err(error.into()));
        }
        let mut rest = self.rest.borrow_mut();
        while !rest.is_empty() {
            let written = ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_write(cx, &rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.bytes_written.set(self.bytes_written.get() + written as u64);
            rest.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when the kernel has taken everything that was written. Sends the whole outbox if it holds a message of
    /// this socket.
    pub(crate) fn poll_all(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.queued.get() > 0 {
            self.outbox.flush();
        }
        self.poll_rest(cx)
    }

    /// Gives back bytes that were read but belong to another reader. They are read before everything else.
    pub(crate) fn unread(&self, bytes: Vec<u8>) {
        self.ahead.unread(bytes);
    }

    /// One task reads until [`Self::end_turn`], with the same waker. It may look several times in a turn whether there
    /// is something to read. The runtime learns of more only between turns, so once there is nothing, the rest of the
    /// turn need not ask it again.
    #[inline]
    pub(crate) fn begin_turn(&self) {
        self.turn.set(Turn::Begun);
    }

    /// Ends the turn.
    #[inline]
    pub(crate) fn end_turn(&self) {
        self.turn.set(Turn::None);
    }

    /// See [`AsyncRead::poll_read`].
    #[inline(always)]
    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_there() {
            self.ahead.read(buf);
            return Poll::Ready(Ok(()));
        }
        let turn = self.turn.get();
        if turn == Turn::Dry {
            return Poll::Pending;
        }
        if self.failure.get() == Some(io::ErrorKind::ConnectionAborted) {
            // Nothing was sent, so nothing that is there is said to it.
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, buf);
        if let Poll::Ready(result) = &polled {
            self.was_heard.set(true);
            if let Err(error) = result {
                self.fail(error);
                return polled;
            }
            // A reset is reported once, and if a write has heard of it, what follows only looks like an orderly end. A
            // pipe that is broken had its end before.
            if let Some(failure) = self.failure.get().filter(|failure| *failure != io::ErrorKind::BrokenPipe)
                && buf.filled().len() == before
            {
                return Poll::Ready(Err(failure.into()));
            }
        } else if turn == Turn::Begun {
            self.turn.set(Turn::Dry);
        }
        polled
    }

    /// Ready when there is something to read, or the end. The bytes that it reads for that are given back.
    pub(crate) fn poll_heard(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut space = [MaybeUninit::uninit(); LOOKED_AT];
        let mut read = ReadBuf::uninit(&mut space);
        // The next read meets an error again, see `fail`.
        ready!(self.poll_read(cx, &mut read)).ok();
        self.unread(read.filled().to_vec());
        Poll::Ready(())
    }

    /// See [`AsyncWrite::poll_write_vectored`].
    pub(crate) fn poll_write(self: &Rc<Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let len: usize = bufs.iter().map(|buf| buf.len()).sum();
        if len > MESSAGE_BYTES_MAX {
            self.is_short.set(true);
            ready!(self.poll_all(cx))?;
            if self.is_stale() {
                self.failure.set(Some(io::ErrorKind::ConnectionAborted));
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            let written = ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_write_vectored(cx, bufs))?;
            self.is_short.set(written < len);
            self.bytes_written.set(self.bytes_written.get() + written as u64);
            return Poll::Ready(Ok(written));
        }
        ready!(self.poll_rest(cx))?;
        self.is_short.set(false);
        self.will_wake(cx);
        self.queued.set(self.queued.get() + 1);
        self.outbox.push(Rc::clone(self), bufs);
        Poll::Ready(Ok(len))
    }

    /// See [`AsyncWrite::poll_flush`]. A queued message counts as flushed, because the outbox will send it.
    #[inline]
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.queued.get() > 0 {
            self.will_wake(cx);
        }
        self.poll_rest(cx)
    }

    /// Remembers the task to wake when a queued message cannot be sent at once.
    fn will_wake(&self, cx: &Context<'_>) {
        let mut task = self.task.borrow_mut();
        if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            *task = Some(cx.waker().clone());
        }
    }

    /// See [`AsyncWrite::poll_shutdown`]. Sends what is queued first.
    pub(crate) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_all(cx))?;
        Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::net::outbox::MESSAGES_MAX;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    async fn pair() -> (Rc<Socket>, Rc<Outbox>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let outbox = Rc::<Outbox>::default();
        (Socket::new(Stream::Tcp(ours), Rc::clone(&outbox)), outbox, listener.accept().await.unwrap().0)
    }

    async fn write(socket: &Rc<Socket>, bytes: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| socket.poll_write(cx, &[IoSlice::new(bytes)])).await
    }

    /// And behind the turn there is.
    #[tokio::test]
    async fn what_comes_within_a_turn_is_read_in_the_next_one() {
        use tokio::io::AsyncWriteExt as _;
        let (socket, _outbox, mut peer) = pair().await;
        let read = |cx: &mut Context<'_>| {
            let mut space = [0; 8];
            let mut buf = ReadBuf::new(&mut space);
            socket.poll_read(cx, &mut buf).map(|result| result.map(|()| buf.filled().len()).unwrap())
        };
        poll_fn(|cx| {
            socket.begin_turn();
            assert!(read(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        peer.write_all(b"abc").await.unwrap();
        while socket.is_silent() {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
        assert!(poll_fn(|cx| Poll::Ready(read(cx).is_pending())).await, "the turn lasts");
        socket.end_turn();
        assert_eq!(poll_fn(read).await, 3);
    }

    #[tokio::test]
    async fn a_message_counts_as_written_when_the_kernel_has_it() {
        let (socket, outbox, mut peer) = pair().await;
        assert_eq!(write(&socket, b"one ").await.unwrap(), 4);
        assert_eq!(write(&socket, b"two").await.unwrap(), 3);
        assert!(socket.has_unsent() && socket.bytes_written() == 0);
        outbox.flush();
        assert!(!socket.has_unsent() && socket.bytes_written() == 7);
        let mut got = [0; 7];
        peer.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"one two");
    }

    #[tokio::test]
    async fn a_cancelled_message_is_never_sent() {
        let (socket, outbox, mut peer) = pair().await;
        write(&socket, b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        socket.cancel();
        outbox.flush();
        assert_eq!(socket.bytes_written(), 0);
        drop(socket);
        assert_eq!(peer.read(&mut [0; 9]).await.unwrap(), 0, "only the end of the connection");
    }

    #[tokio::test]
    async fn nothing_is_sent_to_a_peer_that_has_closed_meanwhile() {
        for large in [false, true] {
            let (socket, outbox, peer) = pair().await;
            let message = vec![b'x'; if large { 4 * MESSAGE_BYTES_MAX } else { 10 }];
            assert_eq!(write(&socket, b"an earlier request").await.unwrap(), 18);
            outbox.flush();
            socket.look_before_sending(Look::Kernel);
            drop(peer);
            while socket.is_silent() {
                tokio::task::yield_now().await;
            }
            let written = write(&socket, &message).await;
            outbox.flush();
            let flushed = poll_fn(|cx| socket.poll_flush(cx)).await;
            assert_eq!(written.is_err(), large);
            assert!(flushed.is_err() && socket.bytes_written() == 18);
        }
        // One that is still there gets it.
        let (socket, outbox, _peer) = pair().await;
        socket.look_before_sending(Look::Kernel);
        write(&socket, b"x").await.unwrap();
        outbox.flush();
        assert_eq!(socket.bytes_written(), 1);
    }

    #[tokio::test]
    async fn the_runtime_knows_of_a_close_when_it_has_had_its_events() {
        for has_heard in [false, true] {
            let (socket, outbox, peer) = pair().await;
            drop(peer);
            while socket.is_silent() {
                std::hint::spin_loop();
            }
            // Its driver has its turn when all tasks have had theirs many times.
            for _ in 0..if has_heard { 200 } else { 0 } {
                tokio::task::yield_now().await;
            }
            socket.look_before_sending(Look::Runtime);
            write(&socket, b"x").await.unwrap();
            outbox.flush();
            assert_eq!(socket.bytes_written(), u64::from(!has_heard));
        }
    }

    #[tokio::test]
    async fn a_full_outbox_is_sent_at_once() {
        let (socket, _outbox, _peer) = pair().await;
        for _ in 0..MESSAGES_MAX - 1 {
            write(&socket, b"x").await.unwrap();
        }
        assert_eq!(socket.bytes_written(), 0);
        write(&socket, b"x").await.unwrap();
        assert_eq!(socket.bytes_written(), MESSAGES_MAX as u64);
    }

    #[tokio::test]
    async fn order_holds_over_small_large_and_blocked_writes() {
        let (socket, _outbox, mut peer) = pair().await;
        let reader = async {
            let mut got = Vec::new();
            peer.read_to_end(&mut got).await.unwrap();
            got
        };
        let writer = async {
            let mut expected = Vec::new();
            for round in 0..2_000u32 {
                // Small and large messages by turns, several megabytes in all. The kernel refuses some of both kinds.
                let message = vec![round as u8; if round % 3 == 0 { 20_000 } else { 700 }];
                expected.extend_from_slice(&message);
                let mut rest = &message[..];
                while !rest.is_empty() {
                    rest = &rest[write(&socket, rest).await.unwrap()..];
                }
            }
            poll_fn(|cx| socket.poll_shutdown(cx)).await.unwrap();
            assert_eq!(socket.bytes_written(), expected.len() as u64);
            expected
        };
        let (got, expected) = tokio::join!(reader, writer);
        assert!(got == expected);
    }

    /// The kernel tells of a reset once, and then of an end.
    #[tokio::test]
    async fn a_reset_is_met_by_every_read() {
        let (socket, outbox, peer) = pair().await;
        socket2::SockRef::from(&peer).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(peer);
        poll_fn(|cx| socket.poll_heard(cx)).await;
        for _ in 0..3 {
            let mut space = [0; 8];
            let read = poll_fn(|cx| socket.poll_read(cx, &mut ReadBuf::new(&mut space))).await;
            assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        }
        write(&socket, b"x").await.unwrap_err();
        outbox.flush();
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_is_an_error_of_the_next_flush() {
        let (socket, outbox, peer) = pair().await;
        socket2::SockRef::from(&peer).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(peer);
        let failed = tokio::time::timeout(std::time::Duration::from_secs(5), async {
            loop {
                write(&socket, b"x").await?;
                outbox.flush();
                poll_fn(|cx| socket.poll_flush(cx)).await?;
                tokio::task::yield_now().await;
            }
        });
        let failed: io::Result<()> = failed.await.unwrap();
        assert!(failed.is_err());
    }
}
