//! Journeys as lists of requests. `{{name}}` in a request stands for a value that an earlier response of the same run
//! has brought, `{{unique}}` for one that no other run has. Pure.

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{HeaderName, HeaderValue, Method, Request, Response};

/// The name of the value that is different in every run.
pub const UNIQUE: &str = "unique";

/// Shorter values may stand in a response by chance, so they are not recognised there.
const RECOGNISED_MIN: usize = 6;

/// Requests, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journey {
    /// In order.
    pub steps: Vec<Ask>,
}

/// One request with gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// What it does, in words: steps that do the same bear the same.
    pub action: String,
    /// Its method.
    pub method: Method,
    /// Its target, in origin form.
    pub target: String,
    /// Its fields, without `Host`.
    pub fields: Vec<(HeaderName, String)>,
    /// Its body.
    pub body: String,
    /// What is taken from its response, and the name under which later requests use it. What a response does not bring
    /// stays as it was.
    pub takes: Vec<(String, Source)>,
}

/// Where a value stands in a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In a `Set-Cookie` field: the value of the cookie of this name.
    Cookie(String),
    /// In the first field of this name.
    Field(HeaderName),
    /// In the body: a string or a number at this JSON pointer (RFC 6901).
    Json(String),
}

/// Why a request could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unmade {
    /// No response has brought this value.
    #[error("no response has brought {0}")]
    Missing(String),
    /// With these values it is no request.
    #[error("no request: {0}")]
    Invalid(String),
}

/// The values of one run: name and value, the latest last.
#[derive(Debug, Clone)]
pub struct Values(Vec<(String, String)>);

impl Values {
    /// Those of a run that has just begun.
    pub fn of_run(unique: &str) -> Self {
        Self(vec![(UNIQUE.to_owned(), unique.to_owned())])
    }

    /// Takes from a response what the request says.
    pub fn take(&mut self, ask: &Ask, response: &Response<Bytes>) {
        for (name, source) in &ask.takes {
            self.0.extend(source.find(response).map(|value| (name.clone(), value)));
        }
    }

    /// A value that a response has brought.
    pub fn set(&mut self, name: &str, value: String) {
        self.0.push((name.to_owned(), value));
    }

    /// The latest value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A text with the values in its gaps.
    fn fill(&self, template: &str) -> Result<String, Unmade> {
        let mut text = String::with_capacity(template.len());
        let mut rest = template;
        while let Some((before, behind)) = rest.split_once("{{") {
            let Some((name, after)) = behind.split_once("}}") else { break };
            let value = self.get(name).ok_or_else(|| Unmade::Missing(name.to_owned()))?;
            text.push_str(before);
            text.push_str(value);
            rest = after;
        }
        text.push_str(rest);
        Ok(text)
    }

    /// A text with names where values of this run stand: two runs are then compared by what they say, not by how the
    /// values were called.
    pub fn unfill(&self, text: &str) -> String {
        let mut known: Vec<&(String, String)> =
            self.0.iter().filter(|(_, value)| value.len() >= RECOGNISED_MIN).collect();
        // A value may contain another one.
        known.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
        known.iter().fold(text.to_owned(), |text, (name, value)| text.replace(value, &format!("{{{{{name}}}}}")))
    }
}

impl Source {
    fn find(&self, response: &Response<Bytes>) -> Option<String> {
        match self {
            Self::Cookie(name) => {
                let fields = response.headers().get_all(SET_COOKIE).iter().filter_map(|field| field.to_str().ok());
                let pairs = fields.filter_map(|field| field.split(';').next()?.trim().split_once('='));
                pairs.rev().find(|(known, _)| known == name).map(|(_, value)| value.to_owned())
            }
            Self::Field(name) => response.headers().get(name)?.to_str().ok().map(str::to_owned),
            Self::Json(pointer) => {
                let body: serde_json::Value = serde_json::from_slice(response.body()).ok()?;
                match body.pointer(pointer)? {
                    serde_json::Value::String(text) => Some(text.clone()),
                    serde_json::Value::Number(number) => Some(number.to_string()),
                    _ => None,
                }
            }
        }
    }
}

impl Ask {
    /// The request, without `Host`.
    ///
    /// # Errors
    /// A value is missing, or does not fit where it stands.
    pub fn request(&self, values: &Values) -> Result<Request<Bytes>, Unmade> {
        let invalid = |error: &dyn std::error::Error| Unmade::Invalid(error.to_string());
        let mut request = Request::builder().method(&self.method).uri(values.fill(&self.target)?);
        for (name, value) in &self.fields {
            let value = HeaderValue::try_from(values.fill(value)?).map_err(|error| invalid(&error))?;
            request = request.header(name, value);
        }
        request.body(Bytes::from(values.fill(&self.body)?)).map_err(|error| invalid(&error))
    }
}

#[cfg(test)]
mod tests {
    use http::header::{COOKIE, LOCATION};

    use super::*;

    fn ask() -> Ask {
        Ask {
            action: "writes".into(),
            method: Method::POST,
            target: "/of/{{unique}}?page={{page}}".into(),
            fields: vec![(COOKIE, "session={{session}}".into())],
            body: "{{unique}} {{ and {{next}}".into(),
            takes: vec![
                ("session".into(), Source::Cookie("session".into())),
                ("next".into(), Source::Field(LOCATION)),
                ("page".into(), Source::Json("/pages/0".into())),
            ],
        }
    }

    fn response() -> Response<Bytes> {
        let response =
            Response::builder().header(SET_COOKIE, "a=1; Path=/").header(SET_COOKIE, "session=abcdef; Secure");
        response.header(LOCATION, "/next").body(Bytes::from(r#"{"pages":[7]}"#)).unwrap()
    }

    #[test]
    fn values_of_responses_stand_in_later_requests() {
        let mut values = Values::of_run("123456");
        assert_eq!(ask().request(&values).unwrap_err(), Unmade::Missing("page".into()));
        values.take(&ask(), &response());
        let request = Ask { body: "{{unique}} and {{next}}".into(), ..ask() }.request(&values).unwrap();
        assert_eq!(request.uri(), "/of/123456?page=7");
        assert_eq!(request.headers()[COOKIE], "session=abcdef");
        assert_eq!(request.body(), "123456 and /next");
        values.take(&ask(), &Response::new(Bytes::new()));
        assert!(ask().request(&values).is_err(), "a gap without an end is a name that nobody knows");
        let request = Ask { body: "} {{ x".into(), ..ask() }.request(&values).unwrap();
        assert_eq!(request.body().as_ref(), b"} {{ x");
        assert_eq!(request.headers()[COOKIE], "session=abcdef", "it stays as it was");
        let broken = Ask { fields: vec![(COOKIE, "\n".into())], body: String::new(), ..ask() };
        assert!(matches!(broken.request(&values), Err(Unmade::Invalid(_))));
    }

    #[test]
    fn values_of_a_run_are_recognised_in_its_responses() {
        let mut values = Values::of_run("123456");
        values.take(&ask(), &response());
        for (text, expected) in [
            ("hello 123456, abcdef", "hello {{unique}}, {{session}}"),
            ("7 is too short to be told from any other 7", "7 is too short to be told from any other 7"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(values.unfill(text), expected);
        }
        values.0.push(("session".into(), "abcdefgh".into()));
        assert_eq!(values.unfill("abcdefgh abcdef"), "{{session}} {{session}}", "the old one is known as well");
    }
}
