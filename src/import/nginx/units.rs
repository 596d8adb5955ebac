//! Times, sizes and rates as nginx writes them.

/// A time: `30`, `30s`, `1m`, `1h 30m`, `500ms`.
pub(super) fn time(text: &str) -> Option<String> {
    let (mut rest, mut total) = (text.trim(), 0_u64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let factor = match unit {
            "ms" => 1,
            "" | "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
        rest = after.trim_start();
    }
    Some(shown(total))
}

/// A time in milliseconds as unstick writes it.
pub(crate) fn shown(ms: u64) -> String {
    match ms {
        ms if ms % 3_600_000 == 0 && ms > 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 && ms > 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

/// A size: `0`, `512`, `8k`, `10m`, `1g`.
pub(super) fn size(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(['k', 'm', 'g']);
    let unit = match &lower[digits.len()..] {
        "" => "B",
        "k" => "KiB",
        "m" => "MiB",
        "g" => "GiB",
        _ => return None,
    };
    let number: u64 = digits.parse().ok()?;
    Some(if number == 0 { "0B".to_owned() } else { format!("{number}{unit}") })
}

/// A rate: `10r/s`, `300r/m`.
pub(super) fn rate(text: &str) -> Option<(i64, &'static str)> {
    let (number, unit) = text.split_once("r/")?;
    let number = number.parse().ok().filter(|number| *number > 0)?;
    match unit {
        "s" => Some((number, "1s")),
        "m" => Some((number, "1m")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        for (text, expected) in [("30", "30s"), ("90s", "90s"), ("1h 30m", "90m"), ("500ms", "500ms"), ("1d", "24h")] {
            assert_eq!(time(text).as_deref(), Some(expected));
        }
        assert_eq!((time("1y"), time("x")), (None, None));
        for (text, expected) in [("0", "0B"), ("512", "512B"), ("8k", "8KiB"), ("10M", "10MiB"), ("1g", "1GiB")] {
            assert_eq!(size(text).as_deref(), Some(expected));
        }
        assert_eq!(size("x"), None);
        assert_eq!((rate("10r/s"), rate("300r/m"), rate("10")), (Some((10, "1s")), Some((300, "1m")), None));
    }
}
