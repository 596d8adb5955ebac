//! One of the streams that an HTTP/2 connection may have at one time.

use std::cell::Cell;
use std::rc::Rc;

/// A stream that counts as open until the response and the request body have both ended. Dropping it frees the stream.
#[derive(Debug)]
pub(super) struct Slot(Rc<Cell<usize>>);

impl Slot {
    /// Counts one more stream in `taken`.
    pub(super) fn take(taken: &Rc<Cell<usize>>) -> Self {
        taken.set(taken.get() + 1);
        Self(Rc::clone(taken))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
