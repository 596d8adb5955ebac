//! Which requests go where, and what is done to them on the way.

use std::fmt;

use http::{HeaderName, Method};
use ipnet::IpNet;

use super::{ErrorPages, FieldEdits, Pattern, Rate, Rewrite, RouteLimits, RouteRetry, RouteTimeouts, Target};

/// What becomes of the requests that fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Names of the listeners whose requests it is for; empty means all.
    pub listen: Vec<String>,
    /// Which hosts it is for: any of these. Never empty.
    pub host: Vec<HostPattern>,
    /// Which paths it is for.
    pub path: PathPattern,
    /// Which methods it is for; empty means all.
    pub method: Vec<Method>,
    /// What must be true of the header fields: all of these.
    pub header: Vec<Test<HeaderName>>,
    /// What must be true of the query: all of these.
    pub query: Vec<Test<String>>,
    /// Of the routes of a host that fit, one of higher priority comes first, whatever the paths are.
    pub priority: i64,
    /// Clients that may ask; empty means all. Others get a 403.
    pub allow: Vec<IpNet>,
    /// Clients that may not, although they are among `allow`.
    pub deny: Vec<IpNet>,
    /// How often they may ask. What is over it gets a 429.
    pub rate: Option<Rate>,
    /// Who responds. Every pool is one of [`super::Config::pools`].
    pub target: Target,
    /// The pool that takes over while that of `target` has no healthy endpoint.
    pub fallback: Option<String>,
    /// What becomes of the path.
    pub rewrite: Option<Rewrite>,
    /// What becomes of the header fields of requests.
    pub request_headers: FieldEdits,
    /// What becomes of the header fields of responses, those of the proxy included.
    pub response_headers: FieldEdits,
    /// What error responses of the proxy contain, where that differs from the general ones.
    pub errors: ErrorPages,
    /// Deadlines that differ from the general ones.
    pub timeouts: RouteTimeouts,
    /// Bounds that differ from the general ones.
    pub limits: RouteLimits,
    /// Retries that differ from those of the pool.
    pub retry: RouteRetry,
    /// Whether its requests are in the access log, if there is one.
    pub access_log: bool,
    /// Whether every request gets a 503.
    pub maintenance: bool,
}

/// A route for everything, which leads nowhere yet and does nothing else.
impl Default for Route {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            host: vec![HostPattern::Any],
            path: PathPattern::Prefix("/".to_owned()),
            method: Vec::new(),
            header: Vec::new(),
            query: Vec::new(),
            priority: 0,
            allow: Vec::new(),
            deny: Vec::new(),
            rate: None,
            target: Target::default(),
            fallback: None,
            rewrite: None,
            request_headers: FieldEdits::default(),
            response_headers: FieldEdits::default(),
            errors: ErrorPages::new(),
            timeouts: RouteTimeouts::default(),
            limits: RouteLimits::default(),
            retry: RouteRetry::default(),
            access_log: true,
            maintenance: false,
        }
    }
}

impl Route {
    /// A route for everything that leads to this pool.
    pub fn to_pool(name: &str) -> Self {
        Self { target: Target::Pool(name.to_owned()), ..Self::default() }
    }

    /// The pools that its requests may go to.
    pub fn pools(&self) -> impl Iterator<Item = &str> {
        self.target.pools().chain(self.fallback.as_deref())
    }

    /// How many conditions it has besides host and path. Of two routes for the same path, the one with more is tried
    /// first.
    pub fn conditions(&self) -> usize {
        usize::from(!self.listen.is_empty())
            + usize::from(!self.method.is_empty())
            + self.header.len()
            + self.query.len()
    }
}

/// Its conditions, as messages name it: `shop.example.com /api method GET header x-canary=1`.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", joined(&self.host, "|"), word(self.path.to_string(), ""))?;
        if !self.listen.is_empty() {
            let names: Vec<String> = self.listen.iter().map(|name| word(name.clone(), "|")).collect();
            write!(f, " listen {}", names.join("|"))?;
        }
        if !self.method.is_empty() {
            write!(f, " method {}", joined(&self.method, "|"))?;
        }
        self.header.iter().try_for_each(|Test { name, value }| write!(f, " header {name}={}", word(value, "")))?;
        self.query
            .iter()
            .try_for_each(|Test { name, value }| write!(f, " query {}={}", word(name, "="), word(value, "")))?;
        if self.priority != 0 {
            write!(f, " priority {}", self.priority)?;
        }
        Ok(())
    }
}

/// A word of the operator, in quotes if it has a space, or one of `others`: no two routes may look alike.
fn word(text: impl ToString, others: &str) -> String {
    let text = text.to_string();
    let is_odd = |c: char| c.is_whitespace() || c == '"' || others.contains(c);
    if text.is_empty() || text.contains(is_odd) { format!("{text:?}") } else { text }
}

fn joined(parts: &[impl fmt::Display], separator: &str) -> String {
    parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator)
}

/// Which hosts a route serves. Names are lower case, without port and trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// Any host.
    Any,
    /// This host only.
    Exact(String),
    /// Any host below this domain, written `*.example.com`; holds `example.com`.
    Below(String),
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

/// Which paths a route serves. Paths are normal, see [`crate::path::normal`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathPattern {
    /// This path only; written `=/x`.
    Exact(String),
    /// Every path in which this is found; written `~^/v[12]/`.
    Regex(Pattern),
    /// The path itself and all below it, by whole segments: `/api` serves `/api` and `/api/x`, not `/apix`.
    Prefix(String),
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "={path}"),
            Self::Regex(pattern) => write!(f, "~{pattern}"),
            Self::Prefix(path) => f.write_str(path),
        }
    }
}

/// A condition on something that has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test<N> {
    /// The name of the field, or of the parameter.
    pub name: N,
    /// What its value must be.
    pub value: Expected,
}

/// What the value of something must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Any; written `*`.
    Present,
    /// It must not be there; written `!`.
    Absent,
    /// This one.
    Equal(String),
    /// One in which this is found; written `~...`.
    Fits(Pattern),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present => f.write_str("*"),
            Self::Absent => f.write_str("!"),
            Self::Equal(value) => f.write_str(value),
            Self::Fits(pattern) => write!(f, "~{pattern}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rates are found again by the name of their route.
    #[test]
    fn no_two_routes_look_alike() {
        let query = |name: &str, value: &str| Test { name: name.to_owned(), value: Expected::Equal(value.to_owned()) };
        let header = |value: &str| {
            let test = Test { name: HeaderName::from_static("x"), value: Expected::Equal(value.to_owned()) };
            Route { header: vec![test], ..Route::default() }
        };
        let fits = |text: &str| PathPattern::Regex(Pattern::new(text).unwrap());
        let routes = [
            Route { query: vec![query("a", "b=c")], ..Route::default() },
            Route { query: vec![query("a=b", "c")], ..Route::default() },
            Route { query: vec![query("a", "b query c=d")], ..Route::default() },
            Route { query: vec![query("a", "b"), query("c", "d")], ..Route::default() },
            header("1 priority 2"),
            Route { priority: 2, ..header("1") },
            Route { listen: vec!["a|b".to_owned()], ..Route::default() },
            Route { listen: vec!["a".to_owned(), "b".to_owned()], ..Route::default() },
            Route { path: fits("(?x) listen a"), ..Route::default() },
            Route { path: fits("(?x)"), listen: vec!["a".to_owned()], ..Route::default() },
        ];
        let mut names: Vec<String> = routes.iter().map(ToString::to_string).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), routes.len(), "{names:#?}");
    }
}
