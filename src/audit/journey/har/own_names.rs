//! Names that are taken when somebody signs up: an application takes them once, so they get a `{{unique}}`, wherever
//! they are sent.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::body::decode;
use super::replace::{Spot, each};
use super::values::Exchange;
use crate::journey::target::{TargetPart, encode_in};
use crate::journey::template::gaps;
use crate::journey::{Act, Content, Request, Step};

/// Parts of paths where people sign up, in small letters, without other marks.
const SIGN_UPS: [&str; 6] = ["signup", "register", "registration", "createaccount", "newaccount", "join"];

/// Names of what belongs to one account only, likewise.
const OWN: [&str; 6] = ["user", "username", "login", "email", "mail", "nickname"];

/// The fewest letters of a name that is made unique: a shorter one is met by chance.
const LENGTH_MIN: usize = 3;

/// Puts `{{unique}}` into names that belong to an account which a step makes. Says which, by the place of that step.
pub(super) fn make_unique(exchanges: &mut [Exchange]) -> BTreeMap<usize, Vec<String>> {
    let mut remarks = BTreeMap::<usize, Vec<String>>::new();
    for place in 0..exchanges.len() {
        let taken = exchanges.get(place).map(|exchange| taken(&exchange.step)).unwrap_or_default();
        for (name, old) in taken {
            let new = Unique::of(&old);
            exchanges.iter_mut().for_each(|exchange| new.put(&mut exchange.step, &old));
            let line =
                format!("review: `{name}` is {} now, wherever it is sent: it may be taken only once", new.plain());
            remarks.entry(place).or_default().push(line);
        }
    }
    remarks
}

/// The names that a step takes, if it makes an account.
fn taken(step: &Step) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let Act::Request(Request { method, target, content, .. }) = &step.act else { return found };
    let path = target.split('?').next().unwrap_or_default();
    if method.is_safe() || !path.split('/').any(|part| SIGN_UPS.contains(&bare(part).as_str())) {
        return found;
    }
    let mut note = |name: &str, value: &str| {
        let is_name = value.len() >= LENGTH_MIN && gaps(value).next().is_none();
        if is_name && OWN.contains(&last_word(name).as_str()) && found.iter().all(|(_, known)| known != value) {
            found.push((name.to_owned(), value.to_owned()));
        }
    };
    match content {
        Content::None | Content::Text(_) | Content::Bytes(_) => {}
        Content::Form(form) => form.iter().for_each(|(name, value)| note(name, value)),
        Content::Multipart(parts) => parts.iter().for_each(|part| note(&part.name, &part.content)),
        Content::Json(json) => in_json("", json, &mut note),
    }
    found
}

fn in_json(name: &str, json: &Json, note: &mut dyn FnMut(&str, &str)) {
    match json {
        Json::String(text) => note(name, text),
        Json::Array(elements) => elements.iter().for_each(|element| in_json(name, element, note)),
        Json::Object(map) => map.iter().for_each(|(key, inner)| in_json(key, inner, note)),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// Letters and digits only, small.
fn bare(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Of `user[email]` and `profile.email` it is `email`.
fn last_word(name: &str) -> String {
    let mut words = name.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-');
    bare(words.rfind(|word| !word.is_empty()).unwrap_or_default())
}

/// A name that is another one in each run: `ada-{{unique}}`, `ada-{{unique}}@example.com`.
struct Unique {
    before: String,
    after: String,
}

impl Unique {
    fn of(old: &str) -> Self {
        let at = old.find('@').unwrap_or(old.len());
        let (before, after) = old.split_at(at);
        Self { before: format!("{before}-"), after: after.to_owned() }
    }

    fn plain(&self) -> String {
        format!("{}{{{{unique}}}}{}", self.before, self.after)
    }

    /// As a part of a target.
    fn encoded(&self) -> String {
        let encoded = |text| encode_in(text, TargetPart::Query).replace('?', "%3F");
        format!("{}{{{{unique}}}}{}", encoded(&self.before), encoded(&self.after))
    }

    /// In the place of a text that is the old name; in a target of a part of it.
    fn put(&self, step: &mut Step, old: &str) {
        each(step, &mut |spot, text| {
            if spot == Spot::Plain && text == old {
                *text = self.plain();
            } else if spot == Spot::Target {
                *text = self.in_target(text, old);
            }
        });
    }

    fn in_target(&self, target: &str, old: &str) -> String {
        let marks = ['/', '?', '&', '='];
        let parts = target.split_inclusive(marks).map(|part| {
            let end = part.trim_end_matches(marks).len();
            let (value, mark) = part.split_at(end);
            if decode(value).as_deref() == Some(old) { format!("{}{mark}", self.encoded()) } else { part.to_owned() }
        });
        parts.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::origin::Seen;
    use super::*;
    use crate::journey::{Journey, Remarks, read, write};

    /// The journey after its names were made unique, and what was said.
    fn unique(text: &str) -> (String, Vec<String>) {
        let Journey { name, steps } = read("x.toml", text).unwrap_or_else(|problems| panic!("{problems}")).journey;
        let mut exchanges: Vec<_> = steps.into_iter().map(|step| Exchange { step, seen: Seen::default() }).collect();
        let remarks = make_unique(&mut exchanges);
        let steps = exchanges.into_iter().map(|exchange| exchange.step).collect();
        let text = write(&Journey { name, steps }, &Remarks::default());
        assert!(read("x.toml", &text).is_ok(), "{text}");
        (text, remarks.into_values().flatten().collect())
    }

    #[test]
    fn an_account_is_another_one_in_each_run() {
        let (text, remarks) = unique(
            r#"name = "n"
[[step]]
name = "taken?"
request = "GET /check/ada?name=ada&x=adam&mail=ada%40example.com"
[[step]]
name = "make"
request = "POST /users/sign_up"
form = { "user[email]" = "ada@example.com", username = "ada", "user[password]" = "pw", city = "Ada", no = "ad" }
[[step]]
name = "login"
request = "POST /login"
json = { login = "ada@example.com", a = ["ada", "adam"], remember = true }
"#,
        );
        for part in [
            "GET /check/ada-{{unique}}?name=ada-{{unique}}&x=adam&mail=ada-{{unique}}@example.com\"",
            "\"user[email]\" = \"ada-{{unique}}@example.com\"",
            "username = \"ada-{{unique}}\"",
            "city = \"Ada\"",
            "login = \"ada-{{unique}}@example.com\"",
            "a = [\"ada-{{unique}}\", \"adam\"]",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        let expected = [("user[email]", "ada-{{unique}}@example.com"), ("username", "ada-{{unique}}")];
        let line =
            |(name, new)| format!("review: `{name}` is {new} now, wherever it is sent: it may be taken only once");
        assert_eq!(remarks, expected.map(line));
    }

    #[test]
    fn an_account_that_is_there_stays() {
        for step in [
            "request = 'POST /login'\nform = { user = 'ada' }",
            "request = 'GET /register?user=ada'",
            "request = 'POST /register'\nform = { user = 'a', city = 'ada', email = '' }",
            "request = 'POST /registered'\njson = { user = 'ada' }",
            "request = 'POST /register'\nform = { user = '{{unique}}' }",
        ] {
            let (text, remarks) = unique(&format!("name = 'n'\n[[step]]\n{step}"));
            assert!(remarks.is_empty() && !text.contains("-{{unique}}"), "{text}");
        }
    }
}
