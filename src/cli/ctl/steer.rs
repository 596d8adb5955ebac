//! `unstick ctl drain`, `ready`, `down`, `weight` and `reload`: what changes the running proxy.

use serde_json::{Value, json};

use super::door::Door;
use super::status::list;
use super::words::text;
use super::{Trouble, print};

/// The most endpoints that are named when the one that was meant is not clear.
const NEAR_MAX: usize = 5;

/// `verb` is the last segment of the path.
pub(super) fn set_state(door: &Door, endpoint: &str, verb: &str) -> Result<(), Trouble> {
    post(door, &format!("{}/{verb}", path(door, endpoint)?), &json!({}))
}

pub(super) fn set_weight(door: &Door, endpoint: &str, weight: u32) -> Result<(), Trouble> {
    post(door, &format!("{}/weight", path(door, endpoint)?), &json!({ "weight": weight }))
}

pub(super) fn reload(door: &Door) -> Result<(), Trouble> {
    post(door, "/v1/reload", &json!({}))
}

fn post(door: &Door, path: &str, body: &Value) -> Result<(), Trouble> {
    let done = door.post(path, body)?;
    print(&format!("{}\n", text(&done["did"])))
}

/// The path of the endpoint that was named.
fn path(door: &Door, named: &str) -> Result<String, Trouble> {
    let status = door.status()?;
    let (pool, endpoint) = find(&status, named).map_err(Trouble::Usage)?;
    Ok(format!("/v1/pools/{}/endpoints/{}", encoded(&pool), encoded(&endpoint)))
}

/// A segment of a path.
pub(super) fn encoded(segment: &str) -> String {
    let mut text = String::new();
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// The pool and the address of the endpoint that is meant.
fn find(status: &Value, named: &str) -> Result<(String, String), String> {
    let mut all = Vec::new();
    let raw = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for pool in list(&status["pools"]) {
        for endpoint in list(&pool["endpoints"]) {
            all.push((raw(&pool["name"]), raw(&endpoint["address"]), raw(&endpoint["backend"])));
        }
        // Something may still be set of an address that is not there now. A name means those that are.
        for absent in list(&pool["absent"]) {
            all.push((raw(&pool["name"]), raw(&absent["address"]), raw(&absent["address"])));
        }
    }
    let is_meant = |(pool, address, backend): &&(String, String, String)| {
        [address, backend].iter().any(|name| *name == named || format!("{pool}/{name}") == named)
    };
    let meant: Vec<_> = all.iter().filter(is_meant).collect();
    match meant[..] {
        [(pool, address, _)] => return Ok((pool.clone(), address.clone())),
        [] if all.is_empty() => return Err("no pool has an endpoint now".to_owned()),
        [] => {}
        _ => {
            let names: Vec<String> = meant.iter().map(|(pool, address, _)| format!("{pool}/{address}")).collect();
            return Err(format!("`{named}` is several endpoints: write {}", listed(names, " or ")));
        }
    }
    let mut names: Vec<String> = all.iter().map(|(pool, address, _)| format!("{pool}/{address}")).collect();
    // One that was named without its pool is compared without it.
    let near = |name: &String| {
        let bare = name.split_once('/').map_or(name.as_str(), |(_, bare)| bare);
        distance(name, named).min(distance(bare, named))
    };
    names.sort_by_cached_key(near);
    Err(format!("no pool has the endpoint `{named}`; near it: {}", listed(names, ", ")))
}

fn listed(mut names: Vec<String>, between: &str) -> String {
    let more = names.len().saturating_sub(NEAR_MAX);
    names.truncate(NEAR_MAX);
    let names = text(&names.join(between).into());
    if more > 0 { format!("{names} and {more} more (unstick ctl status)") } else { names }
}

/// How many characters have to be changed, added or left out (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, c) in one.chars().enumerate() {
        let mut corner = at;
        let mut left = at + 1;
        for (d, above) in other.iter().zip(row.iter_mut().skip(1)) {
            let next = (corner + usize::from(c != *d)).min(*above + 1).min(left + 1);
            (corner, left) = (*above, next);
            *above = next;
        }
        row.iter_mut().take(1).for_each(|first| *first = at + 1);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Value {
        let endpoint = |address: &str, backend: &str| json!({ "address": address, "backend": backend });
        json!({ "pools": [
            { "name": "app", "endpoints": [
                endpoint("10.0.0.11:3000", "10.0.0.11:3000"),
                endpoint("10.0.0.12:3000", "10.0.0.12:3000"),
                endpoint("10.1.0.1:80", "web.test:80"),
            ], "absent": [endpoint("10.1.0.2:80", "web.test:80")] },
            { "name": "api", "endpoints": [
                endpoint("10.0.0.12:3000", "10.0.0.12:3000"),
                endpoint("unix:/run/api/a.sock", "unix:/run/api/a.sock"),
            ] },
        ] })
    }

    #[test]
    fn an_endpoint_is_found_by_its_name_if_that_is_clear() {
        for (named, pool, address) in [
            ("app/10.0.0.11:3000", "app", "10.0.0.11:3000"),
            ("10.0.0.11:3000", "app", "10.0.0.11:3000"),
            ("api/10.0.0.12:3000", "api", "10.0.0.12:3000"),
            ("web.test:80", "app", "10.1.0.1:80"),
            ("10.1.0.2:80", "app", "10.1.0.2:80"),
            ("unix:/run/api/a.sock", "api", "unix:/run/api/a.sock"),
            ("api/unix:/run/api/a.sock", "api", "unix:/run/api/a.sock"),
        ] {
            assert_eq!(find(&status(), named), Ok((pool.to_owned(), address.to_owned())), "{named}");
        }
    }

    #[test]
    fn one_that_is_not_clear_is_not_guessed() {
        let why = find(&status(), "10.0.0.12:3000").unwrap_err();
        assert_eq!(why, "`10.0.0.12:3000` is several endpoints: write app/10.0.0.12:3000 or api/10.0.0.12:3000");
        let why = find(&status(), "app/10.0.0.21:3000").unwrap_err();
        assert!(
            why.starts_with("no pool has the endpoint `app/10.0.0.21:3000`; near it: app/10.0.0.11:3000, "),
            "{why}"
        );
        assert_eq!(find(&json!({}), "a").unwrap_err(), "no pool has an endpoint now");
    }

    #[test]
    fn a_distance_counts_single_changes() {
        for (one, other, expected) in [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3)] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn a_segment_holds_no_slash() {
        assert_eq!(encoded("unix:/run/a b.sock"), "unix:%2Frun%2Fa%20b.sock");
        assert_eq!(encoded("[::1]:80"), "[::1]:80");
    }
}
