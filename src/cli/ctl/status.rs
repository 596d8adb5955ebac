//! `unstick ctl status`: what is up and what is not, for people.

use std::time::SystemTime;

use serde_json::Value;

use super::door::Door;
use super::table::{Cell, Side, Table, cut};
use super::words::{
    self, NOTHING, Paint, Tone, age, clean, clock, count, grouped, milliseconds, number, percent, text,
};
use super::{Trouble, paint, print, print_json};

/// So wide is what is not cut.
const BOUNDLESS: usize = usize::MAX;

pub(super) fn run(door: &Door, json: bool) -> Result<(), Trouble> {
    let status = door.status()?;
    if json {
        return print_json(&status);
    }
    let mut lines = head(&status, now(), paint(), BOUNDLESS);
    for pool in list(&status["pools"]) {
        lines.push(String::new());
        lines.push(paint().with(Tone::Strong, &title(pool)));
        lines.extend(endpoints(pool, now()).lines(paint(), BOUNDLESS));
        lines.extend(draining(pool));
        lines.extend(absent(pool));
    }
    print(&(lines.join("\n") + "\n"))
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The elements of an array; none if it is something else.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// What concerns the whole process.
pub(super) fn head(status: &Value, now: i64, paint: Paint, width: usize) -> Vec<String> {
    let (ready, tone) = if status["ready"] == true { ("ready", Tone::Good) } else { ("not ready", Tone::Bad) };
    let up = age(&status["started"], now);
    let connections = count(number(&status["connections"]), "connection");
    let first = cut(&format!("unstick {}  {ready}  up {up}  {connections}", text(&status["version"])), width);
    let mut lines = vec![first.replacen(ready, &paint.with(tone, ready), 1)];
    for listener in list(&status["listeners"]) {
        lines.push(cut(&format!("listens  {} on {}", text(&listener["name"]), text(&listener["address"])), width));
    }
    let reloads = &status["reloads"];
    let (applied, refused) = (number(&reloads["applied"]), number(&reloads["refused"]));
    let last = list(&reloads["recent"]).iter().max_by_key(|reload| text(&reload["at"]));
    if let Some(last) = last {
        let word = if last["ok"] == true { "applied" } else { "refused" };
        let line = format!(
            "reloads  {applied} applied, {refused} refused; the last one at {} by {}, {word}: {}",
            clock(&last["at"]),
            text(&last["trigger"]),
            text(&last["message"])
        );
        let tone = if reloads["config_refused"] == true { Tone::Bad } else { Tone::Plain };
        lines.push(paint.with(tone, &cut(&line, width)));
    }
    if reloads["config_refused"] == true {
        let line = "config   the file on disk was refused: the one before it is in use";
        lines.push(paint.with(Tone::Bad, &cut(line, width)));
    }
    for file in list(&status["config"]["detached"]) {
        let line = format!("config   edits of {} cannot be seen: {}", text(file), text(&status["config"]["advice"]));
        lines.push(paint.with(Tone::Warning, &cut(&line, width)));
    }
    lines
}

/// One line about a pool.
fn title(pool: &Value) -> String {
    let requests = &pool["requests"];
    let of = |names: &[&str]| -> u64 { names.iter().map(|name| number(&requests[name])).sum() };
    let (all, failed) = (of(&["1xx", "2xx", "3xx", "4xx", "5xx", "cut", "client_gone"]), of(&["5xx", "cut"]));
    let share = if all == 0 { None } else { Some(failed as f64 / all as f64) };
    let mut parts = vec![
        format!("pool {}", text(&pool["name"])),
        text(&pool["balance"]),
        count(all, "request"),
        format!("{} failed ({})", grouped(failed), percent(share)),
    ];
    let waiting = number(&pool["waiting"]);
    if waiting > 0 {
        parts.push(format!("{waiting} waiting"));
    }
    if pool["mode"] == "fail-open" {
        parts.push("too few are healthy: all get requests".to_owned());
    }
    parts.join("  ")
}

fn endpoints(pool: &Value, now: i64) -> Table {
    let mut table = Table::new(&[
        ("ENDPOINT", Side::Left),
        ("STATE", Side::Left),
        ("SINCE", Side::Right),
        ("WEIGHT", Side::Right),
        ("FAIR", Side::Right),
        ("IN FLIGHT", Side::Right),
        ("REQUESTS", Side::Right),
        ("FAILED", Side::Right),
        ("5XX", Side::Right),
        ("LATENCY", Side::Right),
        ("WHY", Side::Left),
    ]);
    for endpoint in list(&pool["endpoints"]) {
        let plain = |text: String| (text, Tone::Plain);
        let total = |name: &str| plain(grouped(number(&endpoint[name])));
        let [address, state, since] = identity(pool, endpoint, now);
        table.add(vec![
            address,
            state,
            since,
            plain(text(&endpoint["weight"])),
            plain(percent(endpoint["fair_share"].as_f64())),
            total("in_flight"),
            total("requests"),
            total("failures"),
            total("responses_5xx"),
            plain(latency(endpoint)),
            plain(reason(endpoint)),
        ]);
    }
    table
}

/// Endpoints that are no part of the pool any more.
fn draining(pool: &Value) -> Vec<String> {
    let one = |gone: &Value| {
        format!("  {} is removed, {} to finish", text(&gone["address"]), count(number(&gone["in_flight"]), "request"))
    };
    list(&pool["draining"]).iter().map(one).collect()
}

/// What is set of addresses that are no endpoints now, because a name has lost them. It holds when they come back.
fn absent(pool: &Value) -> Vec<String> {
    let one = |gone: &Value| format!("  {} is not there now: {}", text(&gone["address"]), reason(gone));
    list(&pool["absent"]).iter().map(one).collect()
}

/// The address of an endpoint, its state, and since when.
pub(super) fn identity(pool: &Value, endpoint: &Value, now: i64) -> [Cell; 3] {
    let (state, tone, since) = state(pool, endpoint);
    let since = since.map_or_else(|| NOTHING.to_owned(), |since| age(since, now));
    [(text(&endpoint["address"]), Tone::Plain), (state.to_owned(), tone), (since, Tone::Plain)]
}

/// The one word that says whether it gets requests, and since when that is so.
fn state<'v>(pool: &Value, endpoint: &'v Value) -> (&'static str, Tone, Option<&'v Value>) {
    let set = Some(&endpoint["override"]["since"]).filter(|_| endpoint["override"]["state"].is_string());
    let since = Some(&endpoint["since"]).filter(|since| since.is_string());
    match endpoint["wanted"].as_str() {
        Some("down") => return ("down", Tone::Warning, set),
        Some("drain") => return ("draining", Tone::Warning, set),
        Some("held") => return ("held", Tone::Warning, None),
        _ => {}
    }
    match (endpoint["state"].as_str(), endpoint["admission"].as_str()) {
        (Some("unhealthy"), _) => ("unhealthy", Tone::Bad, since),
        (_, Some("ejected")) => ("ejected", Tone::Bad, Some(&endpoint["ejection"]["since"])),
        (_, Some("returning")) => ("returning", Tone::Warning, None),
        (Some("healthy"), _) => ("healthy", Tone::Good, since),
        _ if pool["health_check"] == true => ("unchecked", Tone::Warning, None),
        _ => ("unchecked", Tone::Plain, None),
    }
}

pub(super) fn latency(endpoint: &Value) -> String {
    milliseconds(endpoint["latency_ms"].as_f64().filter(|latency| *latency > 0.0))
}

/// Why an endpoint is in its state, and who has set what.
pub(super) fn reason(endpoint: &Value) -> String {
    let mut parts = Vec::new();
    if endpoint["reason"].is_string() {
        parts.push(text(&endpoint["reason"]));
    }
    if endpoint["ejection"].is_object() {
        parts.push(format!("failed under live traffic, out until {}", clock(&endpoint["ejection"]["until"])));
    }
    let set = &endpoint["override"];
    if set.is_object() {
        let what = [("state", ""), ("weight", "weight ")];
        let what = what.iter().filter(|(key, _)| !set[*key].is_null());
        let what: Vec<String> = what.map(|(key, name)| format!("{name}{}", text(&set[*key]))).collect();
        parts.push(format!("{} set at {} by {}", what.join(", "), clock(&set["since"]), text(&set["by"])));
    }
    clean(&parts.join("; "))
}

/// The share of the traffic of its pool that follows from its weight.
pub(super) fn share(endpoint: &Value) -> String {
    words::percent(endpoint["fair_share"].as_f64())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_795_882_522;

    #[test]
    fn the_state_is_the_reason_why_it_gets_nothing() {
        let pool = json!({ "health_check": true });
        let since = "2026-11-28T16:15:12Z";
        for (endpoint, word, age) in [
            (json!({ "wanted": "ready", "state": "healthy", "admission": "full", "since": since }), "healthy", "10 s"),
            (
                json!({ "wanted": "ready", "state": "unhealthy", "admission": "full", "since": since }),
                "unhealthy",
                "10 s",
            ),
            (json!({ "wanted": "ready", "admission": "ejected", "ejection": { "since": since } }), "ejected", "10 s"),
            (json!({ "wanted": "drain", "state": "unhealthy", "since": since }), "draining", "-"),
            (json!({ "wanted": "down", "override": { "state": "down", "since": since } }), "down", "10 s"),
            (json!({ "wanted": "ready", "state": "unchecked", "admission": "full" }), "unchecked", "-"),
        ] {
            let [_, (state, _), (since, _)] = identity(&pool, &endpoint, NOW);
            assert_eq!((state.as_str(), since.as_str()), (word, age), "{endpoint}");
        }
    }

    #[test]
    fn what_an_operator_has_set_is_said() {
        let set = json!({ "state": "drain", "weight": 3, "since": "2026-11-28T16:15:12Z", "by": "unix" });
        assert_eq!(reason(&json!({ "override": &set })), "drain, weight 3 set at 16:15:12Z by unix");
        assert_eq!(reason(&json!({ "override": null, "reason": "refused\x1b[2J" })), "refused?[2J");
        let pool = json!({ "absent": [{ "address": "10.1.0.2:80", "backend": "web.test:80", "override": set }] });
        assert_eq!(absent(&pool), ["  10.1.0.2:80 is not there now: drain, weight 3 set at 16:15:12Z by unix"]);
    }
}
