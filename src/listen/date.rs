//! The time as responses tell it (RFC 9110 section 6.6.1), which is written once in a second.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

thread_local! {
    /// A second since the epoch, and its text.
    static LATEST: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// Calls `f` with the time of now.
pub(super) fn with<T>(f: impl FnOnce(&[u8]) -> T) -> T {
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    LATEST.with_borrow_mut(|(latest, text)| {
        if *latest != second || text.is_empty() {
            (*latest, *text) = (second, httpdate::fmt_http_date(now));
        }
        f(text.as_bytes())
    })
}
