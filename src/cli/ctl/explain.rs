//! `unstick ctl explain`: what became of a request, as a story.

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::door::Door;
use super::status::list;
use super::steer::encoded;
use super::table::{Side, Table};
use super::words::{NOTHING, Paint, Tone, count, grouped, number, text};
use super::{Trouble, paint, print, print_json};

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// Its X-Request-Id, which the response page, the access log and the replica have
    #[arg(value_name = "ID", required_unless_present = "last", conflicts_with = "last")]
    id: Option<String>,
    /// The latest request that failed, was slow or was retried, or of the sample
    #[arg(long, value_name = "KIND")]
    last: Option<Kind>,
    /// Print the JSON of the admin port
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Failed,
    Slow,
    Retried,
    Sampled,
    Any,
}

impl Kind {
    /// As the admin port calls it, and as people do.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Failed => ("failed", "no request has failed"),
            Self::Slow => ("slow", "no request was slow"),
            Self::Retried => ("retried", "no request was retried"),
            Self::Sampled => ("sampled", "no request was sampled"),
            Self::Any => ("any", "no request is kept"),
        }
    }
}

pub(super) fn run(door: &Door, explain: &Explain) -> Result<(), Trouble> {
    let id = match (&explain.id, explain.last) {
        (Some(id), _) => id.clone(),
        (None, kind) => latest(door, kind.unwrap_or(Kind::Any))?,
    };
    let story = door.get(&format!("/v1/requests/{}", encoded(&id)), &["id"])?;
    if explain.json { print_json(&story) } else { print(&(told(&story, paint()).join("\n") + "\n")) }
}

fn latest(door: &Door, kind: Kind) -> Result<String, Trouble> {
    let (name, nothing) = kind.names();
    let found = door.get(&format!("/v1/requests?kind={name}&limit=1"), &["requests"])?;
    let id = found["requests"][0]["id"].as_str();
    id.map(str::to_owned).ok_or_else(|| {
        let why = if number(&found["keep"]) == 0 { "explain.keep is 0" } else { "among those that are kept" };
        Trouble::Refused(format!("{nothing} ({why})"))
    })
}

/// The story.
fn told(story: &Value, paint: Paint) -> Vec<String> {
    let heading = |title: &str| paint.with(Tone::Strong, title);
    let mut lines = summary(story, paint);
    lines.extend([String::new(), heading("Route"), route(story)]);
    if story["candidates"].is_object() {
        lines.extend([String::new(), heading("Candidates")]);
        lines.extend(candidates(&story["candidates"], paint));
    }
    let attempts = list(&story["attempts"]);
    if !attempts.is_empty() {
        lines.extend([String::new(), heading("Attempts, in µs from the request head")]);
        lines.extend(attempts.iter().enumerate().flat_map(|(at, one)| attempt(at + 1, one, paint)));
        let untold = number(&story["attempts_made"]).saturating_sub(attempts.len() as u64);
        lines.extend((untold > 0).then(|| format!("  and {}", count(untold, "more attempt"))));
    }
    lines.extend([String::new(), heading("Phases, in µs from the request head"), phases(&story["phases"])]);
    lines
}

fn summary(story: &Value, paint: Paint) -> Vec<String> {
    let kinds: Vec<String> = list(&story["kinds"]).iter().map(text).collect();
    let end = match (story["status"].as_u64(), story["outcome"].as_str()) {
        (Some(status), Some("answered")) => format!("{status} by {}", origin(story)),
        (Some(status), Some("cut")) => format!("{status} by {}, and the response broke off", origin(story)),
        (Some(status), _) => format!("{status} by {}, and the client left", origin(story)),
        (None, _) => "no response: the client left".to_owned(),
    };
    let is_bad = kinds.iter().any(|kind| kind == "failed");
    let url = format!("{} {}{}", text(&story["method"]), text(&story["host"]), text(&story["path"]));
    let tone = if is_bad { Tone::Bad } else { Tone::Good };
    let mut lines = vec![
        format!("{}  ->  {}", paint.with(Tone::Strong, &url), paint.with(tone, &end)),
        format!("request  {}  at {}  ({})", text(&story["id"]), text(&story["at"]), kinds.join(", ")),
        format!(
            "client   {}, {}, listener {}",
            text(&story["client"]),
            text(&story["version"]),
            text(&story["listener"])
        ),
        format!(
            "took     {} µs, of which {} µs waiting for an endpoint with room; {} of body",
            us(&story["duration_us"]),
            us(&story["queue_us"]),
            count(number(&story["bytes"]), "byte")
        ),
    ];
    for (title, key) in [("cause", "cause"), ("rule", "rule"), ("that is", "explanation"), ("error", "error")] {
        lines.extend(story[key].is_string().then(|| format!("{title:8} {}", text(&story[key]))));
    }
    lines
}

fn origin(story: &Value) -> String {
    if story["origin"] == "replica" { "the replica".to_owned() } else { "unstick itself".to_owned() }
}

fn route(story: &Value) -> String {
    let pool = match &story["pool"] {
        Value::String(_) => format!("to pool {}", text(&story["pool"])),
        _ => "to no pool".to_owned(),
    };
    match &story["route"] {
        Value::Null => format!("  none, {pool}"),
        route => format!("  {}: {}, {pool}", text(&route["place"]), text(&route["conditions"])),
    }
}

fn candidates(candidates: &Value, paint: Paint) -> Vec<String> {
    let as_of = match candidates["as_of"].as_str() {
        Some("pick") => "right before the first pick",
        Some("failure") => "right after the first failure",
        _ => "at the end of the request",
    };
    let mut lines = vec![format!(
        "  pool {}, {}, {}; as they were {as_of}",
        text(&candidates["pool"]),
        text(&candidates["balance"]),
        text(&candidates["mode"])
    )];
    let mut table = Table::new(&[
        ("ENDPOINT", Side::Left),
        ("STATE", Side::Left),
        ("ADMISSION", Side::Left),
        ("WANTED", Side::Left),
        ("WEIGHT", Side::Right),
        ("IN FLIGHT", Side::Right),
        ("FAILURE LOAD", Side::Right),
        ("LATENCY µs", Side::Right),
        ("TRIED", Side::Left),
    ]);
    for one in list(&candidates["endpoints"]) {
        let tone = |key: &str, well: &str| if one[key] == well { Tone::Plain } else { Tone::Warning };
        table.add(vec![
            (text(&one["endpoint"]), Tone::Plain),
            (text(&one["state"]), tone("state", "healthy")),
            (text(&one["admission"]), tone("admission", "full")),
            (text(&one["wanted"]), tone("wanted", "ready")),
            (text(&one["weight"]), Tone::Plain),
            (text(&one["in_flight"]), Tone::Plain),
            (text(&one["failure_load"]), Tone::Plain),
            (us(&one["latency_us"]), Tone::Plain),
            (if one["tried"] == true { "before".to_owned() } else { String::new() }, Tone::Plain),
        ]);
    }
    lines.extend(table.lines(paint, usize::MAX));
    let omitted = number(&candidates["omitted"]);
    lines.extend((omitted > 0).then(|| format!("  and {}", count(omitted, "more endpoint"))));
    lines
}

/// What was tried, why there, and how it ended.
fn attempt(place: usize, attempt: &Value, paint: Paint) -> Vec<String> {
    let why = match attempt["chosen"].as_str() {
        Some("balance") => "chosen by the algorithm",
        Some("own-connection") => "the client has a connection of its own to it",
        Some("again") => "once more, because its kept connection had been closed before anything was sent",
        Some("queue") => "it had room when it was the turn of the request",
        _ => "chosen",
    };
    let connection = match attempt["connection"].as_str() {
        Some("new") => format!("a new connection, {}", text(&attempt["protocol"])),
        Some("kept") => format!("a kept connection, {}", text(&attempt["protocol"])),
        Some("joined") => format!("a connection that another request was opening, {}", text(&attempt["protocol"])),
        _ => "no connection".to_owned(),
    };
    let steps = [
        ("began", "began_us"),
        ("connected", "connected_us"),
        ("sent", "sent_us"),
        ("response head", "head_us"),
        ("over", "end_us"),
    ];
    let mut lines = vec![
        format!("  {place}. {} (pool {}): {why}; {connection}", text(&attempt["endpoint"]), text(&attempt["pool"])),
        format!("     {}{}", steps_of(attempt, &steps), opening(attempt)),
    ];
    lines.push(match &attempt["failure"] {
        Value::Null => paint.with(Tone::Good, &format!("     status {}", shown(&attempt["status"]))),
        failure => paint.with(Tone::Bad, &format!("     {}", failed(failure))),
    });
    lines
}

/// How long it took to open the connection.
fn opening(attempt: &Value) -> String {
    let steps = [("connect", "connect_us"), ("TLS", "tls_us")];
    let taken: Vec<String> = steps
        .iter()
        .filter(|(_, key)| attempt[*key].is_u64())
        .map(|(name, key)| format!("{name} took {}", us(&attempt[*key])))
        .collect();
    if taken.is_empty() { String::new() } else { format!(" ({})", taken.join(", ")) }
}

/// How an attempt failed, and what was decided.
fn failed(failure: &Value) -> String {
    let decision = match failure["decision"].as_str() {
        Some("again") => "so there was another attempt".to_owned(),
        Some("attempts-used-up") => "and there was no further attempt: retry.attempts are used up".to_owned(),
        Some("may-have-been-executed") => {
            "and there was no further attempt: it may have been executed, and its method is not idempotent".to_owned()
        }
        Some("not-kept") => "and there was no further attempt: its body was not kept (limits.replay)".to_owned(),
        Some("budget-used-up") => "and there was no further attempt: the retry budget was used up".to_owned(),
        Some("not-the-endpoint") => "and there was no further attempt: no other would have done better".to_owned(),
        _ => text(&failure["decision"]),
    };
    let (cause, error, request) = (text(&failure["cause"]), text(&failure["error"]), text(&failure["request"]));
    format!("{cause}: {error}; the request was {request}, {decision}")
}

fn phases(phases: &Value) -> String {
    let steps = [
        ("routed", "routed_us"),
        ("endpoint picked", "picked_us"),
        ("connected", "connected_us"),
        ("sent", "sent_us"),
        ("response head", "head_us"),
        ("end", "end_us"),
    ];
    format!("  {}", steps_of(phases, &steps))
}

/// The steps that were reached, each with its time.
fn steps_of(value: &Value, steps: &[(&str, &str)]) -> String {
    let reached = steps.iter().filter(|(_, key)| value[*key].is_u64());
    reached.map(|(name, key)| format!("{name} {}", us(&value[*key]))).collect::<Vec<_>>().join(" · ")
}

fn us(value: &Value) -> String {
    value.as_u64().map_or_else(|| NOTHING.to_owned(), grouped)
}

fn shown(value: &Value) -> String {
    if value.is_null() { NOTHING.to_owned() } else { text(value) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_failure_is_told_from_the_request_to_its_end() {
        let story = json!({
            "id": "6f0d", "at": "2026-11-28T16:15:22.000001Z", "kinds": ["failed", "retried"], "listener": "web",
            "client": "10.1.2.3", "method": "GET", "host": "shop.test", "path": "/\u{1b}[2J", "version": "HTTP/1.1",
            "route": { "place": 2, "conditions": "shop.test /" }, "pool": "app", "status": 502, "outcome": "answered",
            "origin": "unstick", "cause": "connect-failed", "rule": null, "explanation": "Nobody listens.",
            "error": "refused", "bytes": 1, "duration_us": 12345, "queue_us": 0,
            "phases": { "routed_us": null, "picked_us": 10, "connected_us": null, "end_us": 12345 },
            "candidates": { "as_of": "failure", "pool": "app", "mode": "healthy", "balance": "p2c", "omitted": 3,
                "endpoints": [{ "endpoint": "10.0.0.11:3000", "state": "healthy", "admission": "full",
                    "wanted": "ready", "weight": 1, "in_flight": 2, "failure_load": 0, "latency_us": 1500,
                    "tried": true }] },
            "attempts_made": 2, "attempts": [{ "endpoint": "10.0.0.11:3000", "pool": "app", "chosen": "balance",
                "connection": null, "protocol": null, "began_us": 10, "connect_us": 1100, "end_us": 1200,
                "failure": { "cause": "connect-failed", "error": "refused", "request": "unsent",
                    "decision": "again" } }],
        });
        let text = told(&story, Paint::Plain).join("\n");
        for part in [
            "GET shop.test/?[2J  ->  502 by unstick itself\n",
            "request  6f0d  at 2026-11-28T16:15:22.000001Z  (failed, retried)\n",
            "took     12,345 µs, of which 0 µs waiting for an endpoint with room; 1 byte of body\n",
            "that is  Nobody listens.\n",
            "  2: shop.test /, to pool app\n",
            "  pool app, p2c, healthy; as they were right after the first failure\n",
            "  and 3 more endpoints\n",
            "  1. 10.0.0.11:3000 (pool app): chosen by the algorithm; no connection\n",
            "     began 10 · over 1,200 (connect took 1,100)\n",
            "     connect-failed: refused; the request was unsent, so there was another attempt\n",
            "  and 1 more attempt\n",
            "  endpoint picked 10 · end 12,345",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
        assert!(!text.contains('\u{1b}'));
    }
}
