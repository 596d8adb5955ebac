//! Numbers, times and states, as people read them.

use serde_json::Value;

/// Whether text has colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Colours,
    Plain,
}

/// How good something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Strong,
    Good,
    Warning,
    Bad,
    Faint,
}

impl Paint {
    /// The text in the colour of this tone.
    pub(super) fn with(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Strong => 1,
            Tone::Good => 32,
            Tone::Warning => 33,
            Tone::Bad => 31,
            Tone::Faint => 2,
        };
        match self {
            Self::Colours => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}

/// Stands for what is not known.
pub(super) const NOTHING: &str = "-";

/// The text without what a terminal would obey: names and paths come from files and clients.
pub(super) fn clean(text: &str) -> String {
    let is_odd = |c: char| {
        c.is_control() || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if is_odd(c) { '?' } else { c }).collect()
}

/// A text of the JSON; empty if it is not there.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => clean(text),
        Value::Null => String::new(),
        other => clean(&other.to_string()),
    }
}

/// A whole number of the JSON; 0 if it is not there.
pub(super) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// A whole number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number per second.
pub(super) fn rate(value: Option<f64>) -> String {
    match value {
        None => NOTHING.to_owned(),
        Some(value) if value >= 1e6 => format!("{:.1}M", value / 1e6),
        Some(value) if value >= 1e4 => format!("{:.1}k", value / 1e3),
        Some(value) if value >= 100.0 || value == 0.0 => format!("{value:.0}"),
        Some(value) => format!("{value:.1}"),
    }
}

/// A duration in milliseconds.
pub(super) fn milliseconds(value: Option<f64>) -> String {
    match value {
        None => NOTHING.to_owned(),
        Some(value) if value >= 1e4 => format!("{:.0} s", value / 1e3),
        Some(value) if value >= 1e3 => format!("{:.1} s", value / 1e3),
        Some(value) if value > 0.0 && value < 10.0 => format!("{value:.1} ms"),
        Some(value) => format!("{value:.0} ms"),
    }
}

/// A share of one.
pub(super) fn percent(share: Option<f64>) -> String {
    match share {
        None => NOTHING.to_owned(),
        Some(share) if share > 0.0 && share < 0.1 => format!("{:.1} %", share * 100.0),
        Some(share) => format!("{:.0} %", share * 100.0),
    }
}

/// A span of time.
pub(super) fn span(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// Seconds since 1970 of a time as the admin port writes it, `2026-11-28T16:15:22Z`, with or without fractions.
pub(super) fn seconds(at: &str) -> Option<i64> {
    let (date, time) = at.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, between: char| -> Option<[i64; 3]> {
        let parts: Vec<i64> = text.split(between).map(|part| part.parse().ok()).collect::<Option<_>>()?;
        parts.try_into().ok()
    };
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(time.split('.').next()?, ':')?;
    let is_date = (1970..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    let is_time = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..61).contains(&second);
    if !is_date || !is_time {
        return None;
    }
    // Years begin in March here, so that the day of a leap year is the last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719_469;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// How long ago that was, if it is a time.
pub(super) fn age(at: &Value, now: i64) -> String {
    let at = at.as_str().and_then(seconds);
    at.map_or_else(|| NOTHING.to_owned(), |at| span(now.saturating_sub(at)))
}

/// The time of day, in UTC.
pub(super) fn clock(at: &Value) -> String {
    let time = at.as_str().and_then(|at| at.split_once('T')).map(|(_, time)| time.split('.').next().unwrap_or(time));
    time.map_or_else(|| NOTHING.to_owned(), |time| format!("{}Z", clean(time.trim_end_matches('Z'))))
}

/// So many of something.
pub(super) fn count(number: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_understood() {
        for (at, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00Z", Some(951_825_600)),
            ("2026-11-28T16:15:22Z", Some(1_795_882_522)),
            ("2026-11-28T16:15:22.123456Z", Some(1_795_882_522)),
            ("2026-11-28 16:15:22", None),
            ("2026-13-28T16:15:22Z", None),
            ("99999999999999999999-01-01T00:00:00Z", None),
        ] {
            assert_eq!(seconds(at), expected, "{at}");
        }
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let rates = [None, Some(0.0), Some(0.4), Some(812.3), Some(12_345.0), Some(2.5e6)].map(rate);
        assert_eq!(rates, ["-", "0", "0.4", "812", "12.3k", "2.5M"]);
        let times = [None, Some(0.0), Some(1.24), Some(80.4), Some(1500.0), Some(20_000.0)].map(milliseconds);
        assert_eq!(times, ["-", "0 ms", "1.2 ms", "80 ms", "1.5 s", "20 s"]);
        assert_eq!([-5, 119, 120, 7200, 200_000].map(span), ["0 s", "119 s", "2 min", "2 h", "2 days"]);
    }

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        assert_eq!(clean("a\x1b[2Jb\u{9b}c\u{202e}d\ne"), "a?[2Jb?c?d?e");
        assert_eq!(clean("größer 大"), "größer 大");
    }
}
