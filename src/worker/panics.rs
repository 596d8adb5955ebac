//! Panics of connections. The runtime catches them, so other connections go on.

use std::rc::Rc;

use crate::proxy::client::Proxy;

/// Counts a connection whose task panics.
pub(super) struct PanicCount(pub(super) Rc<Proxy>);

impl Drop for PanicCount {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.cell().panics.add(1);
        }
    }
}
