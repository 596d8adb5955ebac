//! What a request asks for, as far as routes look at it.

use std::borrow::Cow;

use http::header::HOST;
use http::{HeaderMap, HeaderName, Method};

use crate::config::model::{Expected, Route, Test};
use crate::fields::looks_like;

/// What routes look at.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Name of the listener that it came to.
    pub listener: &'a str,
    /// Its host as the client wrote it, with its port.
    pub host: &'a str,
    /// Its path as the client wrote it.
    pub path: &'a str,
    /// Its query, without the question mark.
    pub query: Option<&'a str>,
    /// Its method.
    pub method: &'a Method,
    /// Its header fields.
    pub headers: &'a HeaderMap,
}

impl Asked<'_> {
    /// Whether it meets the conditions of a route, besides host and path.
    pub(super) fn meets(&self, route: &Route) -> bool {
        (route.listen.is_empty() || route.listen.iter().any(|name| name == self.listener))
            && (route.method.is_empty() || route.method.contains(self.method))
            && route.header.iter().all(|test| self.has_field(test))
            && route.query.iter().all(|test| self.has_parameter(test))
    }

    /// Of a field with several lines, one must have the value. `X_Canary` counts as `X-Canary`, as it does to many
    /// applications. The host may stand elsewhere than in its field: in `:authority` of HTTP/2, or in the target.
    fn has_field(&self, Test { name, value }: &Test<HeaderName>) -> bool {
        let is_host = *name == HOST && !self.host.is_empty();
        let host = is_host.then_some(Cow::Borrowed(self.host));
        let alike = |(known, _): &(&HeaderName, _)| *known == name || looks_like(known.as_str(), name.as_str());
        let written = self.headers.iter().filter(alike).filter(|_| !is_host);
        let mut lines = host.into_iter().chain(written.map(|(_, line)| String::from_utf8_lossy(line.as_bytes())));
        match value {
            Expected::Present => lines.next().is_some(),
            Expected::Absent => lines.next().is_none(),
            Expected::Equal(value) => lines.any(|line| line == *value),
            Expected::Fits(pattern) => lines.any(|line| pattern.is_in(&line)),
        }
    }

    /// Names and values are decoded as those of a form. Of several parameters of a name, one must have the value.
    fn has_parameter(&self, Test { name, value }: &Test<String>) -> bool {
        let pairs = form_urlencoded::parse(self.query.unwrap_or_default().as_bytes());
        let mut values = pairs.filter(|(known, _)| known == name).map(|(_, value)| value);
        match value {
            Expected::Present => values.next().is_some(),
            Expected::Absent => values.next().is_none(),
            Expected::Equal(value) => values.any(|found| found == *value),
            Expected::Fits(pattern) => values.any(|found| pattern.is_in(&found)),
        }
    }
}
