//! What an `if` tests, in unstick's conditions.

use super::grammar::Directive;
use crate::imported::Keys;
use crate::value::one_or_more;

/// What an `if` asks for.
#[derive(Debug, Default)]
pub(super) struct Condition {
    pub(super) host: Vec<String>,
    /// A regular expression for the host, and whether those who fit go on.
    pub(super) host_pattern: Option<(String, bool)>,
    /// Whether the connection is TLS.
    pub(super) tls: Option<bool>,
    pub(super) path: Option<String>,
    pub(super) keys: Keys,
    /// The hosts or methods that go on: everybody else is meant.
    pub(super) but_hosts: Vec<String>,
    pub(super) but_methods: Vec<String>,
    /// Whether unstick answers all that fits before it looks for a route.
    pub(super) never: bool,
    /// The table and the name of what may be empty, too: that is another route.
    pub(super) or_empty: Option<(&'static str, String)>,
    /// The header or the argument of those that go on: table, name and what is expected.
    pub(super) but_field: Option<(&'static str, String, String)>,
}

impl Condition {
    /// Which of the hosts of a server a pattern means.
    ///
    /// # Errors
    /// Why that is not known.
    pub(super) fn with_hosts(mut self, hosts: &[String]) -> Result<Self, String> {
        let Some((pattern, goes_on)) = self.host_pattern.take() else { return Ok(self) };
        if hosts.is_empty() || hosts.iter().any(|host| host.starts_with('*')) {
            return Err("a host of a route is a name, and this server has any".to_owned());
        }
        let regex = regex::Regex::new(&pattern).map_err(|error| error.to_string())?;
        let (fitting, others): (Vec<String>, Vec<String>) =
            hosts.iter().cloned().partition(|host| regex.is_match(host));
        self.host = if goes_on { others } else { fitting };
        self.never = self.host.is_empty();
        Ok(self)
    }

    /// Whether it says who goes on.
    pub(super) fn is_inverse(&self) -> bool {
        !self.but_hosts.is_empty() || !self.but_methods.is_empty() || self.but_field.is_some()
    }

    /// Whether it tests an argument.
    pub(super) fn has_query(&self) -> bool {
        self.keys.get("query").is_some() || self.but_field.as_ref().is_some_and(|(table, ..)| *table == "query")
    }
}

/// What the words of an `if` ask for.
pub(super) fn condition(words: &[String], is_server: bool) -> Result<Condition, String> {
    let (variable, operator, value) = match words {
        [variable] => (variable.as_str(), "", ""),
        [test, _] if test.trim_start_matches('!').starts_with('-') => return Err(NO_FILES.to_owned()),
        [variable, operator, value] => (variable.as_str(), operator.as_str(), value.as_str()),
        _ => return Err("this test is not understood".to_owned()),
    };
    let Some(name) = variable.strip_prefix('$') else {
        return Err(NO_FILES.to_owned());
    };
    if value.contains('$') && !operator.contains('~') {
        return Err("unstick compares nothing with a variable".to_owned());
    }
    match name {
        "host" | "http_host" | "server_name" if matches!(operator, "=" | "!=") => of_host(name, operator, value),
        "host" if matches!(operator, "~" | "~*" | "!~" | "!~*") => {
            // nginx has it in lower case.
            let found = pattern(operator.trim_start_matches('!'), value)?;
            Ok(Condition { host_pattern: Some((found, operator.starts_with('!'))), ..Condition::default() })
        }
        "scheme" | "https" if matches!(operator, "=" | "!=") => {
            let is_https = value == if name == "https" { "on" } else { "https" };
            Ok(Condition { tls: Some(is_https == (operator == "=")), ..Condition::default() })
        }
        "request_method" => of_method(operator, value),
        "uri" | "request_uri" | "document_uri" if is_server => of_path(name, operator, value),
        _ => of_field(name, operator, value),
    }
}

const NO_FILES: &str = "unstick tests no files; what is switched by one is `maintenance = true` in its routes";

fn of_host(name: &str, operator: &str, value: &str) -> Result<Condition, String> {
    let host = vec![value.to_ascii_lowercase()];
    match operator {
        _ if value.contains(':') => Err("a host of a route has no port".to_owned()),
        "=" => Ok(Condition { host, ..Condition::default() }),
        _ if name == "server_name" => Err(format!("unstick does not test ${name}")),
        _ => Ok(Condition { but_hosts: host, ..Condition::default() }),
    }
}

fn of_method(operator: &str, value: &str) -> Result<Condition, String> {
    let is_exact = matches!(operator, "=" | "~" | "~*");
    let named = match operator {
        "=" | "!=" => vec![value.to_owned()],
        "~" | "!~" => methods(value, is_exact)?,
        // Methods in small letters are refused by nginx.
        "~*" | "!~*" => methods(&value.to_ascii_uppercase(), is_exact)?,
        _ => return Err("unstick has no such test of a method".to_owned()),
    };
    let served: Vec<String> = named.into_iter().filter(|method| !REFUSED.contains(&method.as_str())).collect();
    let mut found = Condition::default();
    if is_exact {
        found.never = served.is_empty();
        found.keys.set("method", one_or_more(&served));
    } else if served.is_empty() {
        return Err("unstick answers 405 to this method".to_owned());
    } else {
        found.but_methods = served;
    }
    Ok(found)
}

fn of_path(name: &str, operator: &str, value: &str) -> Result<Condition, String> {
    let path = match operator {
        "~" | "~*" => {
            let pattern = pattern(operator, value)?;
            if name == "request_uri" && pattern.contains("\\?") {
                return Err("the path of a route has no query".to_owned());
            }
            format!("~{pattern}")
        }
        "=" if name != "document_uri" && !value.contains('?') => format!("={value}"),
        _ => return Err(format!("unstick does not test ${name}")),
    };
    Ok(Condition { path: Some(path), ..Condition::default() })
}

/// A header, an argument or a cookie.
fn of_field(name: &str, operator: &str, value: &str) -> Result<Condition, String> {
    let (table, name) = match (name.strip_prefix("http_"), name.strip_prefix("arg_")) {
        (Some(header), _) => ("header", header.replace('_', "-")),
        (_, Some(argument)) => ("query", argument.to_owned()),
        _ => match (name.strip_prefix("cookie_"), operator) {
            (Some(cookie), "=" | "!=") if !value.is_empty() => {
                return Ok(expecting("header", "cookie".to_owned(), operator, cookie_is(cookie, value, false)));
            }
            _ => return Err(format!("unstick does not test ${name}")),
        },
    };
    let is_plain = !value.starts_with(['~', '*', '!']);
    let mut found = Condition::default();
    let expected = match (operator, value) {
        // An empty value and "0" are false.
        ("", _) => "~^([^0]|0.)".to_owned(),
        ("!=", "") => "~.".to_owned(),
        ("=", "") => {
            found.or_empty = Some((table, name.clone()));
            "!".to_owned()
        }
        ("=" | "!=", value) if is_plain => return Ok(expecting(table, name, operator, value.to_owned())),
        ("~" | "~*" | "!~" | "!~*", _) => {
            let found = format!("~{}", pattern(operator.trim_start_matches('!'), value)?);
            return Ok(expecting(table, name, operator, found));
        }
        _ => return Err(format!("unstick has no `{operator}` for a {table}")),
    };
    found.keys.set_in(table, &name, expected);
    Ok(found)
}

/// The condition that a field is what is expected, or that it is not.
fn expecting(table: &'static str, name: String, operator: &str, expected: String) -> Condition {
    let mut found = Condition::default();
    if operator.starts_with('!') {
        found.but_field = Some((table, name, expected));
    } else {
        found.keys.set_in(table, &name, expected);
    }
    found
}

/// The value of a `Cookie` field in which a cookie has this value. nginx takes its name in any case.
pub(super) fn cookie_is(name: &str, value: &str, is_caseless: bool) -> String {
    let (name, value) = (regex::escape(name), regex::escape(value));
    let value = if is_caseless { format!("(?i:{value})") } else { value };
    format!("~(?:^|[;,] *)(?i:{name}) *= *{value}(?:;|$)")
}

fn pattern(operator: &str, value: &str) -> Result<String, String> {
    let pattern = if operator == "~*" { format!("(?i){value}") } else { value.to_owned() };
    let is_linear = regex::Regex::new(&pattern).is_ok();
    is_linear.then_some(pattern).ok_or_else(|| "this regular expression has no equal that takes linear time".to_owned())
}

/// The methods of `^(GET|HEAD)$`. Without the anchors it finds these in longer names too: clients have one such.
fn methods(pattern: &str, is_exact: bool) -> Result<Vec<String>, String> {
    let inner = pattern.strip_prefix('^').and_then(|inner| inner.strip_suffix('$'));
    let is_anchored = inner.is_some();
    let inner = inner.unwrap_or(pattern);
    let group = inner.strip_prefix('(').and_then(|group| group.strip_suffix(')'));
    let group = group.map(|group| group.strip_prefix("?:").unwrap_or(group));
    let mut methods: Vec<String> = group.unwrap_or(inner).split('|').map(str::to_owned).collect();
    let is_method = |method: &String| !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase());
    // `^GET|POST$` is something else, and so is a part of a name.
    let is_whole = !is_anchored || group.is_some() || methods.len() == 1;
    let is_known = |method: &String| is_anchored || METHODS.contains(&method.as_str());
    if !is_whole || !methods.iter().all(|method| is_method(method) && is_known(method)) {
        return Err("these are no plain methods, as ^(GET|POST)$ has them".to_owned());
    }
    if is_exact && !is_anchored && methods.iter().any(|method| method == "PATCH") {
        methods.push("PROPPATCH".to_owned());
    }
    Ok(methods)
}

/// Methods that unstick answers 405 to, whatever a route says.
const REFUSED: [&str; 2] = ["TRACE", "CONNECT"];

/// Methods that clients have.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// The words of an `if`, without its parentheses.
pub(super) fn words(item: &Directive) -> Vec<String> {
    let mut words = item.args.clone();
    if let Some(first) = words.first_mut() {
        *first = first.strip_prefix('(').unwrap_or(first).to_owned();
    }
    if let Some(last) = words.last_mut() {
        *last = last.strip_suffix(')').unwrap_or(last).to_owned();
    }
    if words.first().is_some_and(String::is_empty) {
        words.remove(0);
    }
    // `= ""` is a word too, so an empty one stays unless the parenthesis stood alone.
    if words.last().is_some_and(String::is_empty) && item.args.last().is_some_and(|last| last == ")") {
        words.pop();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::super::grammar;
    use super::*;

    #[test]
    fn tests_become_conditions() {
        for (text, expected) in [
            ("($host = www.A.test)", "host www.a.test"),
            ("( $scheme != \"https\" )", "tls false"),
            ("($request_method = POST)", "method = \"POST\""),
            ("($request_method ~ ^(GET|HEAD)$)", "method = [\"GET\", \"HEAD\"]"),
            ("($request_method !~ ^(GET|HEAD)$ )", "but [\"GET\", \"HEAD\"]"),
            ("($http_user_agent ~* (bot|crawl))", "header = { user-agent = \"~(?i)(bot|crawl)\" }"),
            ("($http_x_key = \"\")", "header = { x-key = \"!\" }"),
            ("($arg_v = 2)", "query = { v = \"2\" }"),
            ("($http_x_key)", "header = { x-key = \"~^([^0]|0.)\" }"),
            ("($http_x_key != \"\")", "header = { x-key = \"~.\" }"),
            ("($request_method ~ ^(TRACE|TRACK)$)", "method = \"TRACK\""),
            ("($http_host = a.test:80)", "? a host of a route has no port"),
            ("($request_method ~ ^P)", "? these are no plain methods, as ^(GET|POST)$ has them"),
            ("($request_method ~ PUT|DELETE)", "method = [\"PUT\", \"DELETE\"]"),
            ("($request_method ~ (PATCH))", "method = [\"PATCH\", \"PROPPATCH\"]"),
            ("($request_method ~* ^(put|delete)$)", "method = [\"PUT\", \"DELETE\"]"),
            ("($request_method ~ ^GET|POST$)", "? these are no plain methods, as ^(GET|POST)$ has them"),
            ("($request_method !~ ^P)", "? these are no plain methods, as ^(GET|POST)$ has them"),
            ("($request_method !~ (GET|HEAD))", "but [\"GET\", \"HEAD\"]"),
            ("($cookie_x = 1)", "header = { cookie = \"~(?:^|[;,] *)(?i:x) *= *1(?:;|$)\" }"),
            (
                "(-f $document_root/x)",
                "? unstick tests no files; what is switched by one is `maintenance = true` in its routes",
            ),
            ("($http_x != 1)", "but header x 1"),
            ("($http_x !~* a|b)", "but header x ~(?i)a|b"),
            ("($http_x < 1)", "? unstick has no `<` for a header"),
        ] {
            let tree = grammar::parse("x", &format!("if {text} {{ }}")).unwrap();
            let shown = match condition(&words(&tree[0]), true) {
                Err(why) => format!("? {why}"),
                Ok(found) if !found.host.is_empty() => format!("host {}", found.host.join(" ")),
                Ok(Condition { tls: Some(tls), .. }) => format!("tls {tls}"),
                Ok(found) if !found.but_methods.is_empty() => format!("but {:?}", found.but_methods),
                Ok(Condition { but_field: Some((table, name, expected)), .. }) => {
                    format!("but {table} {name} {expected}")
                }
                Ok(found) => found.keys.0.iter().map(|(key, value)| format!("{key} = {value}")).collect(),
            };
            assert_eq!(shown, expected, "{text}");
        }
    }
}
