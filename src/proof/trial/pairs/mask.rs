//! Compares two responses, but for what differs between two runs on one replica, and for what belongs to the connection
//! or to the clock. Pure.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use http::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::body::{BodyDifference, Noise};
use super::journey::Values;

/// Fields that say nothing of the application: those of the connection and of the framing (RFC 9110 section 7.6.1;
/// bodies are compared themselves), and those of the clock.
const NEVER_COMPARED: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "content-length",
    "date",
    "age",
];

/// What came of a request, with names where values of its run stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A response.
    Response {
        /// Its status.
        status: u16,
        /// Its fields that can be compared.
        fields: BTreeMap<String, Vec<String>>,
        /// Its body; if it is no text, its length and a hash.
        body: String,
    },
    /// No response, or half of one: why.
    Failed(String),
}

/// Where responses differ that should be the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mask {
    /// Names of fields.
    fields: BTreeSet<String>,
    body: Noise,
}

/// A place in a response, and what stands there in one and in the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The place.
    pub at: String,
    /// What stands there in the first one.
    pub one: String,
    /// What stands there in the second one.
    pub other: String,
}

impl Outcome {
    /// What can be compared of a response. Fields in `ignored` cannot.
    pub fn of(response: &Response<Bytes>, values: &Values, ignored: &[&str]) -> Self {
        let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in response.headers() {
            if !NEVER_COMPARED.contains(&name.as_str()) && !ignored.contains(&name.as_str()) {
                let value = values.unfill(&String::from_utf8_lossy(value.as_bytes()));
                fields.entry(name.as_str().to_owned()).or_default().push(value);
            }
        }
        let body = match std::str::from_utf8(response.body()) {
            Ok(text) => named(text, values),
            Err(_) => digest(response.body()),
        };
        Self::Response { status: response.status().as_u16(), fields, body }
    }

    /// Its status, or why there is none.
    pub fn status(&self) -> String {
        match self {
            Self::Response { status, .. } => status.to_string(),
            Self::Failed(why) => format!("failed ({why})"),
        }
    }
}

/// A text with names where values of the run stand. In JSON a number that is a value becomes a name as well, in quotes.
pub fn named(text: &str, values: &Values) -> String {
    match serde_json::from_str(text) {
        Ok(mut json @ (Value::Object(_) | Value::Array(_))) => {
            name_values(&mut json, values);
            json.to_string()
        }
        _ => values.unfill(text),
    }
}

fn name_values(json: &mut Value, values: &Values) {
    match json {
        Value::Object(map) => map.values_mut().for_each(|value| name_values(value, values)),
        Value::Array(all) => all.iter_mut().for_each(|value| name_values(value, values)),
        Value::String(text) => *text = values.unfill(text),
        Value::Number(number) => {
            let (text, name) = (number.to_string(), values.unfill(&number.to_string()));
            if text != name {
                *json = Value::String(name);
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn digest(body: &[u8]) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    format!("{} bytes, {:016x}", body.len(), hasher.finish())
}

impl Mask {
    /// What differs between two runs on one replica. `None`: they do not even have the same status, so that nothing can
    /// be said of this step, nor of those behind it.
    pub fn between(one: &Outcome, again: &Outcome) -> Option<Self> {
        let (Outcome::Response { status, fields, body }, Outcome::Response { status: s, fields: f, body: b }) =
            (one, again)
        else {
            return None;
        };
        let names = fields.keys().chain(f.keys()).filter(|name| fields.get(*name) != f.get(*name));
        (status == s).then(|| Self { fields: names.cloned().collect(), body: Noise::between(body, b) })
    }

    /// Whether anything in the body differs.
    pub fn has_body(&self) -> bool {
        self.body != Noise::None
    }

    /// Adds what differs elsewhere between steps that do the same.
    pub fn add(&mut self, other: &Self) {
        self.fields.extend(other.fields.iter().cloned());
        self.body.add(&other.body);
    }

    /// The first difference between two outcomes that is not masked.
    pub fn difference(&self, one: &Outcome, other: &Outcome) -> Option<Difference> {
        let (Outcome::Response { status, fields, body }, Outcome::Response { status: s, fields: f, body: b }) =
            (one, other)
        else {
            return (one != other).then(|| Difference::of_status(one, other));
        };
        if status != s {
            return Some(Difference::of_status(one, other));
        }
        let names: BTreeSet<&String> = fields.keys().chain(f.keys()).collect();
        let differs = |name: &&&String| fields.get(**name) != f.get(**name) && !self.fields.contains(**name);
        if let Some(name) = names.iter().find(differs) {
            let of = |fields: &BTreeMap<String, Vec<String>>| {
                fields.get(*name).map_or("nothing".into(), |all| all.join(", "))
            };
            return Some(Difference { at: format!("field {name}"), one: of(fields), other: of(f) });
        }
        let BodyDifference { at, one, other } = self.body.difference(body, b)?;
        Some(Difference { at: format!("body {at}").trim_end().to_owned(), one, other })
    }
}

impl Difference {
    fn of_status(one: &Outcome, other: &Outcome) -> Self {
        Self { at: "status".into(), one: one.status(), other: other.status() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: u16, fields: &[(&str, &str)], body: &str) -> Outcome {
        let mut response = Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        let response = response.body(Bytes::copy_from_slice(body.as_bytes())).unwrap();
        Outcome::of(&response, &Values::of_run("123456"), &["x-replica"])
    }

    #[test]
    fn responses_are_compared_but_for_noise() {
        let plain = || outcome(200, &[("x-a", "1")], "cart: 5");
        let failed = || Outcome::Failed("no response in time".into());
        for (one, again, other, expected) in [
            (plain(), plain(), plain(), None),
            (plain(), plain(), outcome(401, &[("x-a", "1")], "cart: 5"), Some("status")),
            (plain(), plain(), outcome(200, &[("x-a", "2")], "cart: 5"), Some("field x-a")),
            (plain(), plain(), outcome(200, &[], "cart: 5"), Some("field x-a")),
            (plain(), plain(), outcome(200, &[("x-a", "1"), ("x-a", "1")], "cart: 5"), Some("field x-a")),
            (plain(), plain(), outcome(200, &[("x-a", "1"), ("x-b", "1")], "cart: 5"), Some("field x-b")),
            (plain(), plain(), outcome(200, &[("x-a", "1")], "cart: 6"), Some("body word 2")),
            (plain(), plain(), failed(), Some("status")),
            (failed(), failed(), failed(), None),
            // What differs on one replica.
            (plain(), outcome(200, &[("x-a", "2")], "cart: 5"), outcome(200, &[("x-a", "3")], "cart: 5"), None),
            (plain(), outcome(200, &[], "cart: 5"), outcome(200, &[("x-a", "3")], "cart: 6"), Some("body word 2")),
            (plain(), outcome(200, &[("x-a", "1")], "cart: 6"), outcome(200, &[("x-a", "1")], "cart: 7"), None),
            // What is never compared.
            (
                plain(),
                plain(),
                outcome(200, &[("x-a", "1"), ("date", "now"), ("connection", "close")], "cart: 5"),
                None,
            ),
            (plain(), plain(), outcome(200, &[("x-a", "1"), ("x-replica", "b")], "cart: 5"), None),
        ] {
            let mask = Mask::between(&one, &again).unwrap_or_default();
            let found = mask.difference(&one, &other).map(|difference| difference.at);
            assert_eq!(found.as_deref(), expected, "{one:?} {again:?} {other:?}");
        }
    }

    #[test]
    fn without_the_same_status_twice_nothing_can_be_said() {
        let ok = outcome(200, &[], "");
        assert_eq!(Mask::between(&ok, &outcome(500, &[], "")), None);
        assert_eq!(Mask::between(&ok, &Outcome::Failed("x".into())), None);
        assert!(Mask::between(&ok, &ok).is_some());
    }

    #[test]
    fn values_of_the_run_do_not_differ_between_runs() {
        let of_run = |unique: &str| {
            let response =
                Response::builder().header("x-user", unique).body(Bytes::from(format!("hi {unique}"))).unwrap();
            Outcome::of(&response, &Values::of_run(unique), &[])
        };
        assert_eq!(of_run("123456"), of_run("654321"));
    }

    #[test]
    fn json_stays_json_when_its_numbers_get_names() {
        let body = r#"{"id":123456,"all":["of 123456",7]}"#;
        let Outcome::Response { body, .. } = outcome(200, &[], body) else { panic!() };
        assert_eq!(body, r#"{"all":["of {{unique}}",7],"id":"{{unique}}"}"#);
    }

    #[test]
    fn bodies_that_are_no_text_are_compared_as_well() {
        let of = |body: &'static [u8]| Outcome::of(&Response::new(Bytes::from_static(body)), &Values::of_run("1"), &[]);
        let (one, other) = (of(b"\xff\x00"), of(b"\xff\x01"));
        assert_eq!(Mask::default().difference(&one, &one), None);
        assert!(Mask::default().difference(&one, &other).is_some());
    }

    #[test]
    fn noise_of_other_steps_counts() {
        let (one, other) = (outcome(200, &[("etag", "1")], ""), outcome(200, &[("etag", "2")], ""));
        let mut mask = Mask::between(&one, &one).unwrap();
        assert!(mask.difference(&one, &other).is_some());
        mask.add(&Mask::between(&one, &other).unwrap());
        assert_eq!(mask.difference(&one, &other), None);
    }
}
