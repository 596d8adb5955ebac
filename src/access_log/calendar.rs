//! The second in which lines end, as they write it. It is made once for all lines of that second.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{rfc3339, utc};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Calendar {
    second: Option<u64>,
    /// As RFC 3339 writes it, without the `Z`.
    rfc3339: String,
    common: String,
}

impl Calendar {
    /// A moment as RFC 3339 writes it, as [`rfc3339`] does: it is to be followed by the digits of the second's
    /// fraction and a `Z`.
    pub(super) fn rfc3339(&mut self, at: SystemTime) -> (&str, Fraction) {
        let nanos = self.turn_to(at);
        (&self.rfc3339, Fraction::of(nanos))
    }

    /// A moment as the common log format writes it.
    pub(super) fn common(&mut self, at: SystemTime) -> &str {
        self.turn_to(at);
        &self.common
    }

    /// Returns the nanoseconds that belong to no whole second.
    fn turn_to(&mut self, at: SystemTime) -> u32 {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = since.subsec_nanos();
        if self.second != Some(since.as_secs()) {
            let whole = at.checked_sub(std::time::Duration::from_nanos(nanos.into())).unwrap_or(UNIX_EPOCH);
            self.second = Some(since.as_secs());
            self.rfc3339 = rfc3339(whole);
            self.rfc3339.pop();
            let at = utc(whole);
            let (day, month, year, (hour, minute, second)) = (at.day(), at.month(), at.year(), at.to_hms());
            self.common.clear();
            write!(self.common, "{day:02}/{month:.3}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000").ok();
        }
        nanos
    }
}

/// The digits of a second's fraction behind their point, as many as are not zero; nothing for a whole second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fraction {
    digits: [u8; 10],
    length: usize,
}

impl Fraction {
    fn of(nanos: u32) -> Self {
        let (mut digits, mut left, mut length) = ([b'.'; 10], nanos, 0);
        for at in (1..digits.len()).rev() {
            let digit = left % 10;
            left /= 10;
            digits[at] = b'0' + digit as u8;
            if digit != 0 && length == 0 {
                length = at + 1;
            }
        }
        Self { digits, length }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.digits[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn moments_are_written_as_they_are_one_by_one() {
        let mut calendar = Calendar::default();
        let second = Duration::from_secs(1_709_210_096);
        let written = |calendar: &mut Calendar, at: SystemTime| {
            let (second, fraction) = calendar.rfc3339(at);
            format!("{second}{}Z", str::from_utf8(fraction.as_bytes()).unwrap())
        };
        for nanos in [0, 1, 10, 120_000, 999_999_999, 100_000_000, 5_000] {
            let at = UNIX_EPOCH + second + Duration::from_nanos(nanos);
            assert_eq!(written(&mut calendar, at), rfc3339(at), "{nanos}");
        }
        let later = UNIX_EPOCH + second + Duration::from_millis(1_500);
        assert_eq!(written(&mut calendar, later), "2024-02-29T12:34:57.5Z");
        assert_eq!(calendar.common(later), "29/Feb/2024:12:34:57 +0000");
        // Clocks are set back.
        assert_eq!(written(&mut calendar, UNIX_EPOCH + second), "2024-02-29T12:34:56Z");
        assert_eq!(written(&mut calendar, UNIX_EPOCH - second), "1970-01-01T00:00:00Z");
    }
}
