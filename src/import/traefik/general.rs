//! What holds for the whole file: deadlines, bounds and logs. Traefik has some of these for each entry point.

use super::node::Node;
use super::{Importer, text};
use crate::imported::At;
use crate::nginx::units::shown;
use crate::value::Value;

/// A key of entry points, the table and the key of unstick, and how its value is written.
type General = (&'static str, &'static str, &'static str, fn(&str) -> Option<Value>);

const OF_ENTRIES: &[General] = &[
    ("transport.respondingTimeouts.idleTimeout", "timeouts", "client_idle", some_time),
    ("transport.lifeCycle.graceTimeOut", "timeouts", "drain", any_time),
    ("transport.lifeCycle.requestAcceptGraceTimeout", "timeouts", "shutdown_delay", any_time),
    ("http.maxHeaderBytes", "limits", "request_head", head),
    ("http2.maxConcurrentStreams", "limits", "h2_streams", streams),
];

impl Importer<'_> {
    /// The tables of the top.
    pub(super) fn general(&mut self) {
        for general in OF_ENTRIES {
            self.of_entries(general);
        }
        let dynamic = self.dynamic;
        let transports = dynamic.get("http.serversTransports").map(Node::entries).unwrap_or_default();
        let own = self.fixed.get("serversTransport").into_iter().chain(transports.iter().map(|(_, node)| node));
        if let Some(node) = own.filter_map(|node| node.get("forwardingTimeouts.idleConnTimeout")).next()
            && let Some(value) = node.text().and_then(some_time)
        {
            self.out.table("timeouts").set("upstream_idle", value);
        }
        self.logs();
    }

    fn of_entries(&mut self, (theirs, table, ours, convert): &General) {
        let entries = self.entries.clone();
        let used = entries.iter().filter(|entry| entry.is_used);
        let named: Vec<(&str, &Node)> =
            used.filter_map(|entry| Some((&*entry.name, entry.node?.get(theirs)?))).collect();
        let Some((_, first)) = named.first() else { return };
        for (name, node) in &named {
            let said = format!("entryPoints.{name}.{theirs}");
            let at = At::Listener((*name).to_owned());
            let what_to_do = format!("see `{ours}` of [{table}]");
            match node.text().and_then(convert) {
                None => self.note(&node.place, said, "unstick has no such value", &what_to_do, &at),
                Some(_) if node.text() != first.text() => {
                    let why = "another entry point has another value, and it holds for all";
                    self.note(&node.place, said, why, &what_to_do, &at);
                }
                Some(value) => self.out.table(table).set(*ours, value),
            }
        }
    }

    fn logs(&mut self) {
        let fixed = self.fixed;
        if let Some(node) = fixed.get("accessLog").filter(|node| !node.is_off()) {
            let target = node.text_at("filePath").map_or_else(|| "stdout".to_owned(), |file| self.file(file));
            self.out.table("log").set("access", target);
            if !node.text_at("format").is_some_and(|format| format.eq_ignore_ascii_case("json")) {
                self.out.table("log").set("access_format", "common");
            }
        }
        let level = fixed.text_at("log.level").map(str::to_ascii_lowercase);
        let level = level.map(|level| if matches!(&*level, "fatal" | "panic") { "error".to_owned() } else { level });
        if let Some(level) = level.filter(|level| ["error", "warn", "info", "debug", "trace"].contains(&level.as_str()))
        {
            self.out.table("log").set("level", level);
        }
        if fixed.text_at("log.format").is_some_and(|format| format.eq_ignore_ascii_case("json")) {
            self.out.table("log").set("format", "json");
        }
    }
}

/// A time of at most a day, and not without end.
pub(super) fn some_time(written: &str) -> Option<Value> {
    text::time(written).filter(|ms| (1..=86_400_000).contains(ms)).map(|ms| shown(ms).into())
}

fn any_time(written: &str) -> Option<Value> {
    text::time(written).filter(|ms| *ms <= 86_400_000).map(|ms| shown(ms).into())
}

fn head(written: &str) -> Option<Value> {
    written
        .parse::<u64>()
        .ok()
        .filter(|bytes| (8 << 10..=1 << 20).contains(bytes))
        .map(|bytes| text::size(bytes).into())
}

fn streams(written: &str) -> Option<Value> {
    written.parse::<i64>().ok().filter(|streams| (1..=10_000).contains(streams)).map(Value::Number)
}
