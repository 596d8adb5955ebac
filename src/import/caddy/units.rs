//! Times and sizes as Caddy writes them.

use crate::nginx::units::shown;

/// A time: `30s`, `1h30m`, `500ms`, `1.5s`, `1d`.
pub(super) fn time(text: &str) -> Option<String> {
    let (mut rest, mut total) = (text.trim(), 0_f64);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let factor = match unit {
            "ns" => 1e-6,
            "us" | "µs" => 1e-3,
            "ms" => 1.0,
            "s" => 1e3,
            "m" => 6e4,
            "h" => 3.6e6,
            "d" => 8.64e7,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    // A day and more is no deadline: unstick has 24 h at most for some.
    (total.is_finite() && (0.0..=1e12).contains(&total)).then(|| shown((total.ceil() as u64).min(86_400_000)))
}

/// A size: `10MB`, `1MiB`, `512`.
pub(super) fn size(text: &str) -> Option<String> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let unit = match lower[digits..].trim() {
        "" | "b" => "B",
        "k" | "kb" => "KB",
        "m" | "mb" => "MB",
        "g" | "gb" => "GB",
        "ki" | "kib" => "KiB",
        "mi" | "mib" => "MiB",
        "gi" | "gib" => "GiB",
        _ => return None,
    };
    let number: u64 = lower[..digits].parse().ok()?;
    Some(if number == 0 { "0B".to_owned() } else { format!("{number}{unit}") })
}

/// The bytes of a size.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let written = size(text)?;
    let digits = written.find(|c: char| !c.is_ascii_digit()).unwrap_or(written.len());
    let factor = match &written[digits..] {
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => 1,
    };
    written[..digits].parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        for (text, expected) in
            [("30s", "30s"), ("1h30m", "90m"), ("1.5s", "1500ms"), ("100us", "1ms"), ("1d", "24h"), ("0s", "0s")]
        {
            assert_eq!(time(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!((time("30"), time("x"), time(""), time("1y")), (None, None, None, None));
        for (text, expected) in [("10MB", "10MB"), ("1mib", "1MiB"), ("512", "512B"), ("0", "0B")] {
            assert_eq!(size(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!((size("x"), size("1.5MB")), (None, None));
        assert_eq!((bytes("10kb"), bytes("1MiB"), bytes("x")), (Some(10_000), Some(1 << 20), None));
    }
}
