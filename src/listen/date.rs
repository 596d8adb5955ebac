//! The time as responses tell it (RFC 9110 section 6.6.1), which is written once in a second.

use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

thread_local! {
    /// A second since the epoch, and its text.
    static LATEST: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// The last second of the year 9999: the format has no others, and none before 1970 in the crate that writes it.
const LAST: u64 = 253_402_300_799;

/// Calls `f` with the time of now.
pub(super) fn with<T>(f: impl FnOnce(&[u8]) -> T) -> T {
    let second = second_of(SystemTime::now());
    LATEST.with_borrow_mut(|(latest, text)| {
        if *latest != second || text.is_empty() {
            (*latest, *text) = (second, httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second)));
        }
        f(text.as_bytes())
    })
}

fn second_of(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().min(LAST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_wrong_is_no_reason_to_panic() {
        for (time, expected) in [
            (UNIX_EPOCH - Duration::from_secs(1), "Thu, 01 Jan 1970 00:00:00 GMT"),
            (UNIX_EPOCH + Duration::from_secs(LAST + 1), "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            let second = UNIX_EPOCH + Duration::from_secs(second_of(time));
            assert_eq!(httpdate::fmt_http_date(second), expected);
        }
        with(|now| assert!(now.ends_with(b" GMT")));
    }
}
