//! What is said of the body of a client's stream of HTTP/2 beside h2: by the one who reads it, the one who watches the
//! frames, and the one who sends the response.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct BodySignals {
    /// Whether the head has said how long the body is, and there is one.
    has_length: Cell<bool>,
    /// Whether the client holds it back until it is told to continue (RFC 9110 section 10.1.1).
    is_withheld: Cell<bool>,
    /// Whether somebody has asked for a body that is withheld.
    is_wanted: Cell<bool>,
    end: Cell<End>,
    /// Whether the response is over.
    is_answered: Cell<bool>,
    reader: RefCell<Option<Waker>>,
}

/// What h2 is told of the end of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum End {
    /// The truth.
    #[default]
    Told,
    /// Nothing, but the end has not come yet.
    Kept,
    /// Nothing, although the end has come. h2 has all that came before.
    Come,
}

impl BodySignals {
    /// The head has come, with the length of the body if that is known.
    pub(super) fn begin(&self, length: Option<u64>) {
        self.has_length.set(length.is_some_and(|length| length > 0));
    }

    /// The client holds the body back until it is told to continue.
    pub(crate) fn withhold(&self) {
        self.is_withheld.set(true);
    }

    /// A part of the body has come, so it is not withheld.
    pub(super) fn has_come(&self) {
        self.is_withheld.set(false);
    }

    /// Whether somebody has asked for a body that is withheld. It is said once.
    pub(crate) fn take_wanted(&self) -> bool {
        self.is_wanted.take()
    }

    /// Whether the head has said how long the body is.
    pub(crate) fn has_length(&self) -> bool {
        self.has_length.get()
    }

    /// From now on h2 does not hear of the end.
    pub(crate) fn keep_end(&self) {
        self.end.set(End::Kept);
    }

    /// The end has come.
    pub(crate) fn end(&self) {
        self.end.set(End::Come);
        self.wake();
    }

    /// The response is over.
    pub(crate) fn answered(&self) {
        self.is_answered.set(true);
        self.wake();
    }

    /// Whether the response is over.
    pub(super) fn is_answered(&self) -> bool {
        self.is_answered.get()
    }

    /// Whether the end has come, of which h2 has not heard.
    pub(super) fn has_ended(&self) -> bool {
        self.end.get() == End::Come
    }

    /// To be called by the reader when h2 has no more of the body. Ready when the end has come without h2.
    pub(super) fn poll_end(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_withheld.take() {
            self.is_wanted.set(true);
        }
        if self.end.get() == End::Told {
            return Poll::Pending;
        }
        *self.reader.borrow_mut() = Some(cx.waker().clone());
        if self.has_ended() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn wake(&self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}
