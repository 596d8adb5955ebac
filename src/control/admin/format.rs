//! In which of the two text formats of Prometheus a scraper gets the metrics, and the older of them.

use std::fmt::Write as _;

use http::header::{ACCEPT, HeaderMap};

/// A text format of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// OpenMetrics 1.0, only for who asks for it by name.
    OpenMetrics,
    /// Version 0.0.4, which everything reads.
    Text,
}

impl Format {
    /// What a request prefers (RFC 9110 section 12.5.1).
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let (mut open_metrics, mut text) = (0.0, None);
        let mut rank = 0;
        let fields = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        for range in fields.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut weight, mut version) = (1.0, "");
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim() {
                    "q" | "Q" => weight = value.trim().parse().unwrap_or(0.0),
                    "version" => version = value.trim().trim_matches('"'),
                    _ => {}
                }
            }
            match kind.as_str() {
                "application/openmetrics-text" if matches!(version, "" | "0.0.1" | "1.0.0") => {
                    open_metrics = f32::max(open_metrics, weight);
                }
                // The most specific range counts.
                "text/plain" | "text/*" | "*/*" => {
                    let specific = kind.bytes().filter(|byte| *byte != b'*').count();
                    if text.is_none() || specific > rank {
                        (text, rank) = (Some(weight), specific);
                    } else if specific == rank {
                        text = text.map(|known| f32::max(known, weight));
                    }
                }
                _ => {}
            }
        }
        let asks = open_metrics > 0.0 && open_metrics >= text.unwrap_or(0.0);
        if asks { Self::OpenMetrics } else { Self::Text }
    }

    /// The value of `Content-Type`.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// A page of OpenMetrics in this format.
    pub(super) fn written(self, page: String) -> String {
        match self {
            Self::OpenMetrics => page,
            Self::Text => text(&page),
        }
    }
}

/// A page of OpenMetrics in the older format. That describes a counter by the name of its sample, and has neither units
/// nor an end.
fn text(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    let mut help = None;
    for line in page.lines() {
        let Some(about) = line.strip_prefix("# ") else {
            text.extend([line, "\n"]);
            continue;
        };
        match (about.split_once(' '), about) {
            (Some(("HELP", rest)), _) => help = rest.split_once(' '),
            (Some(("TYPE", rest)), _) => {
                let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
                let end = if kind == "counter" { "_total" } else { "" };
                if let Some((_, help)) = help.take() {
                    writeln!(text, "# HELP {name}{end} {}", help.replace("\\\"", "\"")).ok();
                }
                writeln!(text, "# TYPE {name}{end} {kind}").ok();
            }
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;

    use super::*;

    #[test]
    fn a_scraper_gets_the_format_that_it_asks_for() {
        use Format::{OpenMetrics, Text};
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,text/plain;version=0.0.4;\
            q=0.3,*/*;q=0.2";
        for (accept, expected) in [
            (None, Text),
            (Some("*/*"), Text),
            (Some(""), Text),
            (Some(prometheus), OpenMetrics),
            (Some("application/openmetrics-text"), OpenMetrics),
            (Some("application/openmetrics-text; version=\"1.0.0\"; charset=utf-8"), OpenMetrics),
            (Some("Application/OpenMetrics-Text, */*"), OpenMetrics),
            (Some("application/openmetrics-text;q=0.3, text/plain;q=0.9"), Text),
            (Some("application/openmetrics-text;q=0.3, text/plain;q=0.2, */*"), OpenMetrics),
            (Some("application/openmetrics-text;q=0, */*"), Text),
            (Some("application/openmetrics-text;q=x"), Text),
            (Some("application/openmetrics-text;version=2.0.0"), Text),
            (Some("text/plain;version=0.0.4"), Text),
            (Some("text/html,application/xhtml+xml,*/*;q=0.8"), Text),
            (Some("application/json"), Text),
        ] {
            let value = accept.map(|accept| (ACCEPT, HeaderValue::from_static(accept)));
            assert_eq!(Format::of(&value.into_iter().collect()), expected, "{accept:?}");
        }
    }

    #[test]
    fn the_older_format_names_counters_by_their_samples() {
        let page = "# HELP a_b Requests \\\"x\\\".\n# TYPE a_b counter\na_b_total{c=\"d\"} 1\n# HELP t Time.\n\
                    # TYPE t histogram\n# UNIT t seconds\nt_sum 1\nt_count 1\nt_bucket{le=\"+Inf\"} 1\n# EOF\n";
        let expected = "# HELP a_b_total Requests \"x\".\n# TYPE a_b_total counter\na_b_total{c=\"d\"} 1\n\
                        # HELP t Time.\n# TYPE t histogram\nt_sum 1\nt_count 1\nt_bucket{le=\"+Inf\"} 1\n";
        assert_eq!(text(page), expected);
    }
}
