//! A request body that its client holds back until it is told to continue (RFC 9110 section 10.1.1).
//!
//! Whether the body is wanted is the endpoint's decision: it says 100 (Continue), or responds instead. Nobody reads the
//! body until then, so the client is not told anything either.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use crate::deadlines::{Deadlines, Wait};

/// How long the endpoint may take for its decision. It owes one at once, but many never say 100: applications of
/// HTTP/1.0, and most libraries of HTTP/2. Clients do not wait for ever either; curl waits as long as this.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// See the module. By default the body is not held.
#[derive(Debug, Default)]
pub(super) struct Hold {
    state: Cell<State>,
    /// Who has asked for the body meanwhile.
    reader: RefCell<Option<Waker>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// The body may be read.
    #[default]
    Open,
    /// No endpoint has decided yet. One that was asked has time until then.
    Held(Option<Instant>),
    /// The body may be read, because the present endpoint has said so.
    Told,
    /// The body may be read, because the present endpoint has said nothing in time.
    Ignored,
}

/// What an endpoint has said to a request that asked whether its body is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Continue,
    Nothing,
}

impl Hold {
    /// The body is held from now on.
    pub(super) fn close(&self) {
        self.state.set(State::Held(None));
    }

    /// Whether the body must not be read.
    #[inline]
    pub(super) fn is_held(&self) -> bool {
        matches!(self.state.get(), State::Held(_))
    }

    /// An endpoint is asked, and gets this much time. Without any the body may be read.
    pub(super) fn ask(&self, patience: Option<Duration>) {
        if self.is_held() {
            self.state.set(patience.map_or(State::Ignored, |patience| State::Held(Some(Instant::now() + patience))));
        }
    }

    /// The endpoint has said 100 (Continue).
    pub(super) fn tell(&self) {
        if self.is_held() || self.state.get() == State::Ignored {
            self.open(State::Told);
        }
    }

    /// Sets the deadline of the endpoint that was asked. If that is over, the body may be read.
    pub(super) fn look(&self, now: Instant, deadlines: &Deadlines) {
        match self.state.get() {
            State::Held(Some(until)) if now < until => deadlines.arm(Wait::RequestBody, until),
            State::Held(Some(_)) => self.open(State::Ignored),
            _ => {}
        }
    }

    /// The attempt is over: what its endpoint has said, if anything is known. A body that is still held stays so.
    pub(super) fn settle(&self) -> Option<Said> {
        match self.state.get() {
            State::Open => None,
            State::Held(_) => {
                self.close();
                None
            }
            State::Told => {
                self.state.set(State::Open);
                Some(Said::Continue)
            }
            State::Ignored => {
                self.state.set(State::Open);
                Some(Said::Nothing)
            }
        }
    }

    /// Ready when the body may be read.
    #[inline]
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_held() {
            return Poll::Ready(());
        }
        self.wait(cx);
        Poll::Pending
    }

    #[cold]
    fn wait(&self, cx: &mut Context<'_>) {
        *self.reader.borrow_mut() = Some(cx.waker().clone());
    }

    fn open(&self, state: State) {
        self.state.set(state);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}
