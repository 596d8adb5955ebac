//! `/v1/requests`: what became of recent requests, as JSON. The names of the fields are those of docs/operations.md.

mod whole;

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;
use serde_json::json;

use crate::access_log::rfc3339;
use crate::config::address::Address;
use crate::control::requests::{KINDS, is_of};
use crate::control::status::Status;
use crate::metrics::Outcome;
use crate::proxy::cause::Cause;
use crate::proxy::story::{Kinds, Story};
use whole::Whole;

/// How many requests are listed unless `limit` says something else, and at most.
const LIMIT: usize = 50;
const LIMIT_MAX: usize = 1000;

/// The response to a request for the list, or for one of them by its identifier.
pub(super) fn answer(status: &Status, id: Option<&str>, query: Option<&str>) -> (StatusCode, String) {
    status.gather_requests();
    let found = match id {
        Some(id) => one(status, &decoded(id)),
        None => list(status, query.unwrap_or_default()),
    };
    let refusal = |(code, error)| (code, serde_json::to_string_pretty(&json!({ "error": error })));
    let (code, json) = found.map_or_else(refusal, |json| (StatusCode::OK, Ok(json)));
    (code, json.unwrap_or_default() + "\n")
}

/// The JSON, or the status and the sentence of an error.
type Found = Result<String, (StatusCode, String)>;

fn list(status: &Status, query: &str) -> Found {
    let (mut kind, mut limit) = (None, LIMIT);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let wrong = |what: &str| (StatusCode::BAD_REQUEST, format!("{name}={value}: {what}"));
        match &*name {
            "kind" if value == "any" => kind = None,
            "kind" => {
                let known = KINDS.iter().position(|known| *known == value);
                kind = Some(known.ok_or_else(|| wrong("a kind is one of failed, retried, slow, sampled, any"))?);
            }
            "limit" => {
                let number = value.parse().ok().filter(|number| (1..=LIMIT_MAX).contains(number));
                limit = number.ok_or_else(|| wrong("the limit is a number from 1 to 1000"))?;
            }
            _ => return Err(wrong("there is no such parameter; known are kind and limit")),
        }
    }
    let explain = status.shared.load().explain;
    let stories = status.requests.latest(kind, limit);
    print(&Listed {
        requests: stories.iter().map(Summary::of).collect(),
        kept: KINDS.into_iter().zip(status.requests.counts()).collect(),
        dropped: status.total(|cell| &cell.stories_dropped),
        keep: explain.keep,
        sample: explain.sample,
        slow_us: whole::us(explain.slow),
    })
}

fn one(status: &Status, id: &str) -> Found {
    match status.requests.find(id) {
        Some(story) => print(&Whole::of(&story)),
        None if status.shared.load().explain.keep == 0 => {
            Err((StatusCode::NOT_FOUND, "no requests are kept: explain.keep is 0".to_owned()))
        }
        None => {
            let why = format!(
                "request `{id}` is not known: only the latest are kept of those that failed, were retried or were \
                 slow, and a sample of the others; /v1/requests lists them"
            );
            Err((StatusCode::NOT_FOUND, why))
        }
    }
}

fn print(value: &impl Serialize) -> Found {
    serde_json::to_string_pretty(value).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// A segment of a path without its percent-encoding.
pub(super) fn decoded(segment: &str) -> String {
    let pair = format!("id={}", segment.replace('+', "%2B").replace('&', "%26"));
    form_urlencoded::parse(pair.as_bytes()).next().map(|(_, id)| id.into_owned()).unwrap_or_default()
}

/// The list of requests.
#[derive(Debug, Serialize)]
struct Listed {
    requests: Vec<Summary>,
    /// How many are kept of each kind. One that is of several kinds counts for the first.
    kept: std::collections::BTreeMap<&'static str, usize>,
    /// How many could not be kept, because too many came at once.
    dropped: u64,
    keep: usize,
    sample: u32,
    slow_us: u64,
}

/// One of them in short.
#[derive(Debug, Serialize)]
struct Summary {
    id: String,
    at: String,
    kinds: Vec<&'static str>,
    client: String,
    method: String,
    host: String,
    path: String,
    pool: Option<String>,
    /// The endpoint of the last attempt.
    endpoint: Option<Address>,
    status: Option<u16>,
    outcome: &'static str,
    cause: Option<&'static str>,
    attempts_made: u32,
    duration_us: u64,
}

impl Summary {
    fn of(story: &Arc<Story>) -> Self {
        Self {
            id: story.id.to_string(),
            at: began(story),
            kinds: kinds(story.kinds),
            client: story.client.to_string(),
            method: story.method.to_string(),
            host: story.host.to_string(),
            path: story.path.to_string(),
            pool: story.pool.as_ref().map(|pool| pool.to_string()),
            endpoint: story.attempts.last().map(|attempt| attempt.endpoint.clone()),
            status: story.status,
            outcome: outcome(story.outcome),
            cause: story.cause.map(Cause::name),
            attempts_made: story.attempts_made,
            duration_us: whole::us(story.ended),
        }
    }
}

/// When it began, to the microsecond.
fn began(story: &Story) -> String {
    let since = story.began.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    rfc3339(std::time::UNIX_EPOCH + std::time::Duration::from_micros(whole::us(since)))
}

fn kinds(kinds: Kinds) -> Vec<&'static str> {
    KINDS.into_iter().enumerate().filter(|(kind, _)| is_of(kinds, *kind)).map(|(_, name)| name).collect()
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Answered(_) => "answered",
        Outcome::Cut => "cut",
        Outcome::ClientGone => "client-gone",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_may_have_any_bytes() {
        for (segment, expected) in [("0af3", "0af3"), ("a%2Fb%20c", "a/b c"), ("a+b&c=d", "a+b&c=d"), ("", "")] {
            assert_eq!(decoded(segment), expected);
        }
    }
}
