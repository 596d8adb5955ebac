//! Durations, sizes and shares with their units, as people write them.

use std::time::Duration;

/// Parses `"500ms"`, `"10s"`, `"1m30s"`, `"1h"`.
///
/// # Errors
/// What is expected instead; after `; `, what to write.
pub fn duration(text: &str) -> Result<Duration, String> {
    let expected =
        || format!("`{text}` is not a duration; write a number and ms, s, m or h, such as \"500ms\" or \"1m30s\"");
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(expected());
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let letters = after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, after) = after.split_at(letters);
        let number: u64 = number.parse().map_err(|_| expected())?;
        let milliseconds = match unit {
            "ms" => Some(number),
            "s" => number.checked_mul(1000),
            "m" | "min" => number.checked_mul(60_000),
            "h" => number.checked_mul(3_600_000),
            _ => None,
        };
        total = total.checked_add(Duration::from_millis(milliseconds.ok_or_else(expected)?)).ok_or_else(expected)?;
        rest = after.trim_start();
    }
    Ok(total)
}

/// Parses `"0B"`, `"64KiB"`, `"10MB"`.
///
/// # Errors
/// What is expected instead; after `; `, what to write.
pub fn size(text: &str) -> Result<u64, String> {
    let expected = || format!("`{text}` is not a size; write a whole number and B, KiB, MiB or GiB, such as \"64KiB\"");
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "B" => 1,
        "kB" | "KB" => 1000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return Err(expected()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(expected)
}

/// Parses `"50%"`.
///
/// # Errors
/// What is expected instead; after `; `, what to write.
pub fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').and_then(|number| number.trim().parse().ok()).filter(|number| *number <= 100);
    number.ok_or_else(|| format!("`{text}` is not a share; write \"50%\", from 0% to 100%"))
}

/// The shortest way to write a duration.
pub fn show_duration(duration: Duration) -> String {
    match duration.as_millis() {
        ms if ms % 3_600_000 == 0 && ms > 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 && ms > 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

/// The shortest way to write a size.
pub fn show_size(bytes: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >= 1 << shift && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in
            [("500ms", 500), ("10s", 10_000), ("1m30s", 90_000), ("1h", 3_600_000), ("0s", 0), ("2min", 120_000)]
        {
            let expected = Some(Duration::from_millis(ms));
            assert_eq!(duration(text).ok(), expected, "{text:?}");
        }
        for text in ["", "10", "s", "-1s", "1.5s", "1d", "99999999999999999999s", "18446744073709551615h", "1é"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("0B", 0), ("64KiB", 65_536), ("10 MB", 10_000_000), ("1GiB", 1 << 30), ("2kB", 2000)] {
            assert_eq!(size(text), Ok(bytes), "{text:?}");
        }
        for text in ["", "64", "KiB", "-1B", "1.5MiB", "1TiB", "99999999999GiB"] {
            assert!(size(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn shares() {
        assert_eq!((percent("50%"), percent("0%"), percent("100%")), (Ok(50), Ok(0), Ok(100)));
        assert!(percent("50").is_err() && percent("101%").is_err() && percent("-1%").is_err());
    }

    #[test]
    fn what_is_shown_can_be_read() {
        for ms in [0, 1, 500, 1000, 1500, 60_000, 3_600_000, 86_400_000] {
            let value = Duration::from_millis(ms);
            assert_eq!(duration(&show_duration(value)), Ok(value));
        }
        for bytes in [0, 1, 1023, 1024, 65_536, 1 << 20, (1 << 30) + 1] {
            assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }
    }
}
