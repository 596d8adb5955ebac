//! The kinds of values that only routes have.

use std::fmt::Display;

use http::Method;
use unstick_reading::{Section, Value};

use super::key::{Kind, Shown};
use super::kinds::{list, quoted};
use super::model::{Expected, Pattern, Test};

/// A string that a function makes sense of, or a list of such strings.
pub(super) struct OneOrMore<V>(pub(super) fn(&str) -> Result<V, String>);

/// The priority of a route.
pub(super) const PRIORITY: Signed = Signed(1_000_000);

/// A whole number from `-most` to `most`.
pub(super) struct Signed(i64);

/// The methods of a route.
pub(super) struct Methods;

/// A table of conditions, by the names of what they are about.
pub(super) struct Tests<N>(pub(super) fn(&str) -> Result<N, String>);

impl<V: Display> Kind<Vec<V>> for OneOrMore<V> {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<Vec<V>> {
        one_or_more(&section.get(key)?, self.0)
    }

    fn show(&self, key: &str, values: &Vec<V>, shown: &mut Shown) {
        show_one_or_more(key, values, shown);
    }
}

/// The elements, if all of them are valid. An empty list would fit nothing.
fn one_or_more<V>(value: &Value<'_>, parse: fn(&str) -> Result<V, String>) -> Option<Vec<V>> {
    if !value.value.is_array() {
        return value.parsed(parse).map(|value| vec![value]);
    }
    let elements = value.array()?;
    if elements.is_empty() {
        value.report(format!("{} is empty", value.key), Some("name at least one, or leave it out for all".into()));
        return None;
    }
    // All of them, so that every mistake is told.
    let values: Vec<Option<V>> = elements.iter().map(|element| element.parsed(parse)).collect();
    values.into_iter().collect()
}

fn show_one_or_more(key: &str, values: &[impl Display], shown: &mut Shown) {
    match values {
        [] => {}
        [one] => shown.add(key, quoted(&one.to_string())),
        more => shown.add(key, list(more.iter().map(|value| quoted(&value.to_string())))),
    }
}

impl Kind<i64> for Signed {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<i64> {
        let value = section.get(key)?;
        if !value.is_integer() {
            value.wrong_type("a whole number");
            return None;
        }
        let number = value.integer().filter(|number| (-self.0..=self.0).contains(number));
        if number.is_none() {
            value.report(format!("{} must be from -{1} to {1}", value.key, self.0), None);
        }
        number
    }

    fn show(&self, key: &str, value: &i64, shown: &mut Shown) {
        shown.add(key, value.to_string());
    }
}

impl Kind<Vec<Method>> for Methods {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<Vec<Method>> {
        one_or_more(&section.get(key)?, method)
    }

    fn show(&self, key: &str, value: &Vec<Method>, shown: &mut Shown) {
        show_one_or_more(key, value, shown);
    }
}

/// A method. They are case-sensitive (RFC 9110 section 9.1), and nobody means `get`.
fn method(text: &str) -> Result<Method, String> {
    let method = Method::from_bytes(text.as_bytes()).map_err(|_| format!("`{text}` is not a method; write \"GET\""))?;
    match method {
        Method::CONNECT | Method::TRACE => Err(format!("`{text}` is refused for every route; leave it out")),
        _ if text.bytes().any(|byte| byte.is_ascii_lowercase()) => {
            Err(format!("methods are written in capitals: `{text}`; write \"{}\"", text.to_ascii_uppercase()))
        }
        method => Ok(method),
    }
}

impl<N: Display> Kind<Vec<Test<N>>> for Tests<N> {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<Vec<Test<N>>> {
        let mut tests = Vec::new();
        for (name, value) in section.get(key)?.entries()? {
            let name = value.checked((self.0)(name));
            let expected = value.parsed(expected);
            tests.extend(name.zip(expected).map(|(name, value)| Test { name, value }));
        }
        Some(tests)
    }

    fn show(&self, key: &str, tests: &Vec<Test<N>>, shown: &mut Shown) {
        shown.within(key, |shown| {
            for Test { name, value } in tests {
                shown.add(&name.to_string(), quoted(&value.to_string()));
            }
        });
    }
}

/// `*` for any value, `!` for none, `~...` for a regular expression, otherwise this value.
fn expected(text: &str) -> Result<Expected, String> {
    match (text, text.strip_prefix('~')) {
        ("*", _) => Ok(Expected::Present),
        ("!", _) => Ok(Expected::Absent),
        (_, Some(pattern)) => Pattern::new(pattern).map(Expected::Fits),
        (text, None) if text.chars().any(char::is_control) => Err("no value has a control character".to_owned()),
        (text, None) => Ok(Expected::Equal(text.to_owned())),
    }
}
