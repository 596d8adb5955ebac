//! The body behind the latest head, as whoever wants it reads it.

use std::cell::RefMut;
use std::fmt;
use std::mem::take;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{Incoming, Input, Stage, follow};
use crate::link::client_body::Http1Body;
use crate::link::request_body::BodyFailure;
use crate::net::give_way;
use crate::net::h1_decode::Next;

/// Parts of a body that are taken from what was read before others have their turn.
const PARTS_IN_A_ROW: usize = 2048;

/// The most parts of a body that are read over because nobody wants them.
const DRAINED_PARTS_MAX: usize = 4;

impl Incoming {
    /// Whether the latest head has a body that has not ended.
    pub(in crate::listen) fn is_in_body(&self) -> bool {
        matches!(self.stage, Stage::Body { .. })
    }

    /// Whether somebody may still read the body.
    pub(in crate::listen) fn is_body_wanted(&self) -> bool {
        matches!(self.stage, Stage::Body { is_wanted: true, .. })
    }

    /// Reads the next part of the body.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        if self.in_a_row == PARTS_IN_A_ROW {
            self.in_a_row = 0;
            give_way(cx);
            return Poll::Pending;
        }
        let Poll::Ready(polled) = self.poll_part(cx) else {
            self.in_a_row = 0;
            follow(&mut self.reader, cx);
            return Poll::Pending;
        };
        self.in_a_row += 1;
        if !self.is_in_body() {
            self.wake(cx);
        }
        Poll::Ready(polled.map_err(|_| BodyFailure::Client).transpose())
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, ()>> {
        loop {
            let decoder = match &mut self.stage {
                Stage::Head => return Poll::Ready(Ok(None)),
                Stage::Broken => return Poll::Ready(Err(())),
                Stage::Body { decoder, is_held, .. } => {
                    if take(is_held) {
                        self.wants_continue = true;
                    }
                    decoder
                }
            };
            let next = decoder.next(&mut self.read.bytes);
            let most = decoder.left().and_then(|left| usize::try_from(left).ok()).unwrap_or(usize::MAX);
            if decoder.is_over() {
                self.stage = Stage::Head;
            }
            match next {
                Ok(Next::Data(data)) => return Poll::Ready(Ok(Some(Frame::data(data)))),
                Ok(Next::Trailers(fields)) => return Poll::Ready(Ok(Some(Frame::trailers(fields)))),
                Ok(Next::End) => return Poll::Ready(Ok(None)),
                Ok(Next::Unread) if self.wants_continue => self.wake(cx),
                Ok(Next::Unread) => {}
                Err(_) => return Poll::Ready(self.break_off()),
            }
            let Some(io) = self.io.as_mut().filter(|_| !self.is_over) else { return Poll::Ready(self.break_off()) };
            if !matches!(ready!(self.read.poll_more(io, cx, most)), Ok(1..)) {
                return Poll::Ready(self.break_off());
            }
        }
    }

    fn break_off<T>(&mut self) -> Result<T, ()> {
        self.stage = Stage::Broken;
        Err(())
    }

    /// Reads over what has come of a body that nobody wants, if that is little.
    pub(in crate::listen) fn drain(&mut self, cx: &mut Context<'_>) {
        for _ in 0..DRAINED_PARTS_MAX {
            if !self.is_in_body() || !matches!(self.poll_part(cx), Poll::Ready(Ok(Some(_)))) {
                return;
            }
        }
    }

    /// Whether the client is to be told now that it may send the body.
    pub(in crate::listen) fn take_wanted_continue(&mut self) -> bool {
        take(&mut self.wants_continue)
    }

    /// No more is read from the client: a body that has not ended breaks off behind what was read of it.
    pub(in crate::listen) fn end_body(&mut self) {
        self.is_over = true;
        self.reader.take().into_iter().for_each(Waker::wake);
    }
}

/// Whoever reads the body behind a head.
pub(super) struct Reader {
    input: Input,
    /// The number of the head.
    head: u64,
    /// Whether the head tells the length.
    has_length: bool,
}

impl Reader {
    /// Reads the body behind the head of this number.
    pub(super) fn new(input: &Input, head: u64, has_length: bool) -> Self {
        Self { input: input.clone(), head, has_length }
    }

    /// The connection, as long as the body has not ended.
    fn incoming(&self) -> Option<RefMut<'_, Incoming>> {
        let incoming = self.input.0.borrow_mut();
        (incoming.heads == self.head && !incoming.is_at_head()).then_some(incoming)
    }
}

impl Http1Body for Reader {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        self.incoming().map_or(Poll::Ready(None), |mut incoming| incoming.poll_body(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming().is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.incoming().as_deref() {
            // A body in chunks stays one when its length is known: it may have trailers.
            _ if !self.has_length => SizeHint::default(),
            Some(Incoming { stage: Stage::Body { decoder, .. }, .. }) => {
                SizeHint::with_exact(decoder.left().unwrap_or(0))
            }
            Some(Incoming { stage: Stage::Broken | Stage::Head, .. }) => SizeHint::default(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("head", &self.head).finish_non_exhaustive()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(mut incoming) = self.incoming() else { return };
        if let Stage::Body { is_wanted, .. } = &mut incoming.stage {
            *is_wanted = false;
            incoming.task.take().into_iter().for_each(Waker::wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::pin::Pin;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use http_body::Body as _;

    use super::super::{READ_BYTES_MAX, ReadBuffer};
    use super::*;
    use crate::link::client_body::ClientBody;
    use crate::net::h1_decode::{ChunkLimits, Decoder};

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A connection that has brought this much, and nothing more.
    fn input(read: &str, decoder: Decoder) -> Input {
        let mut buffer = ReadBuffer::new(READ_BYTES_MAX);
        buffer.bytes.extend_from_slice(read.as_bytes());
        let stage = Stage::Body { decoder, is_wanted: true, is_held: false };
        Input(Rc::new(RefCell::new(Incoming { read: buffer, stage, ..Incoming::closed() })))
    }

    fn next(body: &mut ClientBody, cx: &mut Context<'_>) -> Option<Result<Bytes, BodyFailure>> {
        let Poll::Ready(polled) = Pin::new(body).poll_frame(cx) else { panic!("it is pending") };
        polled.map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default()))
    }

    #[test]
    fn the_task_of_the_connection_hears_of_the_end_of_a_body_if_another_one_reads_it() {
        let chunked = || Decoder::chunked(ChunkLimits::OF_ENDPOINTS);
        for (read, decoder) in [("abcGET", Decoder::Length(3)), ("3\r\nabc\r\n0\r\nX: 1\r\n\r\nGET", chunked())] {
            let (own, other) = (Arc::<Woken>::default(), Arc::<Woken>::default());
            let (own_waker, other_waker) = (Arc::clone(&own).into(), other.into());
            let input = input(read, decoder);
            let mut body = input.body();
            input.borrow().follow(&Context::from_waker(&own_waker));
            assert!(!body.is_end_stream());
            let mut cx = Context::from_waker(&other_waker);
            assert_eq!(next(&mut body, &mut cx), Some(Ok(Bytes::from_static(b"abc"))));
            while next(&mut body, &mut cx).is_some() {}
            assert!(body.is_end_stream() && input.borrow().is_at_head() && input.borrow().holds_unread());
            assert_eq!(own.0.load(Ordering::Relaxed), 1, "{read:?}");
            drop(body);
            assert_eq!(own.0.load(Ordering::Relaxed), 1, "the end is told once");
        }
    }

    #[test]
    fn the_task_of_the_connection_hears_that_nobody_wants_the_rest() {
        let own = Arc::<Woken>::default();
        let waker = Arc::clone(&own).into();
        let input = input("", Decoder::Length(3));
        let body = input.body();
        input.borrow().follow(&Context::from_waker(&waker));
        assert!(input.borrow().is_body_wanted());
        drop(body);
        assert_eq!((own.0.load(Ordering::Relaxed), input.borrow().is_body_wanted()), (1, false));
    }

    #[test]
    fn a_body_breaks_off_behind_what_was_read_of_it() {
        let input = input("ab", Decoder::Length(3));
        let (mut body, mut cx) = (input.body(), Context::from_waker(Waker::noop()));
        input.borrow().close();
        assert_eq!(next(&mut body, &mut cx), Some(Ok(Bytes::from_static(b"ab"))));
        for _ in 0..2 {
            assert_eq!(next(&mut body, &mut cx), Some(Err(BodyFailure::Client)), "for every reader");
        }
        assert!(!body.is_end_stream());
    }

    /// A client that has sent much does not hold up the others.
    #[test]
    fn many_parts_are_not_taken_in_one_turn() {
        let input = input(&"1\r\nx\r\n".repeat(2 * PARTS_IN_A_ROW), Decoder::chunked(ChunkLimits::OF_ENDPOINTS));
        let (mut body, woken) = (input.body(), Arc::<Woken>::default());
        let waker = Arc::clone(&woken).into();
        let mut cx = Context::from_waker(&waker);
        let parts = std::iter::from_fn(|| Pin::new(&mut body).poll_frame(&mut cx).is_ready().then_some(())).count();
        assert_eq!((parts, woken.0.load(Ordering::Relaxed)), (PARTS_IN_A_ROW, 1));
    }
}
