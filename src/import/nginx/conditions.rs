//! What an `if` tests, in unstick's conditions.

use super::grammar::Directive;
use crate::imported::Keys;
use crate::value::one_or_more;

/// What an `if` asks for.
#[derive(Debug, Default)]
pub(super) struct Condition {
    pub(super) host: Vec<String>,
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
}

/// What the words of an `if` ask for.
pub(super) fn condition(words: &[String], is_server: bool) -> Result<Condition, String> {
    let mut found = Condition::default();
    let served = |methods: Vec<String>| -> Vec<String> {
        methods.into_iter().filter(|method| !REFUSED.contains(&method.as_str())).collect()
    };
    let (variable, operator, value) = match words {
        [variable] => (variable.as_str(), "", ""),
        [variable, operator, value] => (variable.as_str(), operator.as_str(), value.as_str()),
        _ => return Err("this test is not understood".to_owned()),
    };
    let Some(name) = variable.strip_prefix('$') else {
        return Err("unstick tests no files".to_owned());
    };
    if value.contains('$') && !operator.contains('~') {
        return Err("unstick compares nothing with a variable".to_owned());
    }
    match (name, operator) {
        ("host" | "http_host" | "server_name", "=" | "!=") if value.contains(':') => {
            return Err("a host of a route has no port".to_owned());
        }
        ("host" | "http_host" | "server_name", "=") => found.host = vec![value.to_ascii_lowercase()],
        ("host" | "http_host", "!=") => found.but_hosts = vec![value.to_ascii_lowercase()],
        ("scheme", "=") => found.tls = Some(value == "https"),
        ("scheme", "!=") => found.tls = Some(value != "https"),
        ("https", "=") => found.tls = Some(value == "on"),
        ("https", "!=") => found.tls = Some(value != "on"),
        ("request_method", "=" | "~" | "~*") => {
            let methods = served(if operator == "=" { vec![value.to_owned()] } else { methods(value, true)? });
            found.never = methods.is_empty();
            found.keys.set("method", one_or_more(&methods));
        }
        ("request_method", "!=" | "!~" | "!~*") => {
            let methods = served(if operator == "!=" { vec![value.to_owned()] } else { methods(value, false)? });
            if methods.is_empty() {
                return Err("unstick answers 405 to this method".to_owned());
            }
            found.but_methods = methods;
        }
        ("uri" | "request_uri" | "document_uri", "~" | "~*") if is_server => {
            let pattern = pattern(operator, value)?;
            if name == "request_uri" && pattern.contains("\\?") {
                return Err("the path of a route has no query".to_owned());
            }
            found.path = Some(format!("~{pattern}"));
        }
        ("uri" | "request_uri", "=") if is_server && !value.contains('?') => found.path = Some(format!("={value}")),
        _ => {
            let (table, name) = match (name.strip_prefix("http_"), name.strip_prefix("arg_")) {
                (Some(header), _) => ("header", header.replace('_', "-")),
                (_, Some(argument)) => ("query", argument.to_owned()),
                _ => return Err(format!("unstick does not test ${name}")),
            };
            let expected = match (operator, value) {
                // An empty value and "0" are false.
                ("", _) => "~^([^0]|0.)".to_owned(),
                ("!=", "") => "~.".to_owned(),
                ("=", "") => {
                    found.or_empty = Some((table, name.clone()));
                    "!".to_owned()
                }
                ("=", value) if !value.starts_with(['~', '*', '!']) => value.to_owned(),
                ("~" | "~*", _) => format!("~{}", pattern(operator, value)?),
                _ => return Err(format!("unstick has no `{operator}` for a {table}")),
            };
            found.keys.set_in(table, &name, expected);
        }
    }
    Ok(found)
}

fn pattern(operator: &str, value: &str) -> Result<String, String> {
    let pattern = if operator == "~*" { format!("(?i){value}") } else { value.to_owned() };
    let is_linear = regex::Regex::new(&pattern).is_ok();
    is_linear.then_some(pattern).ok_or_else(|| "this regular expression has no equal that takes linear time".to_owned())
}

/// The methods of `^(GET|HEAD)$`. Without the anchors it finds more; who keeps all others out may leave them away.
fn methods(pattern: &str, is_exact: bool) -> Result<Vec<String>, String> {
    let inner = pattern.strip_prefix('^').and_then(|inner| inner.strip_suffix('$'));
    let is_anchored = inner.is_some();
    let inner = inner.unwrap_or(pattern);
    let group = inner.strip_prefix('(').and_then(|group| group.strip_suffix(')'));
    let group = group.map(|group| group.strip_prefix("?:").unwrap_or(group));
    let methods: Vec<String> = group.unwrap_or(inner).split('|').map(str::to_owned).collect();
    let is_method = |method: &String| !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase());
    // `^GET|POST$` is something else, and so is a part of a name.
    let is_whole = if is_anchored { group.is_some() || methods.len() == 1 } else { !is_exact };
    let is_known = |method: &String| is_anchored || METHODS.contains(&method.as_str());
    if is_whole && methods.iter().all(|method| is_method(method) && is_known(method)) {
        Ok(methods)
    } else {
        Err("these are no plain methods, as ^(GET|POST)$ has them".to_owned())
    }
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
            ("($request_method ~ PUT|DELETE)", "? these are no plain methods, as ^(GET|POST)$ has them"),
            ("($request_method ~ ^GET|POST$)", "? these are no plain methods, as ^(GET|POST)$ has them"),
            ("($request_method !~ ^P)", "? these are no plain methods, as ^(GET|POST)$ has them"),
            ("($request_method !~ (GET|HEAD))", "but [\"GET\", \"HEAD\"]"),
            ("($cookie_x = 1)", "? unstick does not test $cookie_x"),
            ("(-f $document_root/x)", "? this test is not understood"),
            ("($http_x != 1)", "? unstick has no `!=` for a header"),
        ] {
            let tree = grammar::parse("x", &format!("if {text} {{ }}")).unwrap();
            let shown = match condition(&words(&tree[0]), true) {
                Err(why) => format!("? {why}"),
                Ok(found) if !found.host.is_empty() => format!("host {}", found.host.join(" ")),
                Ok(Condition { tls: Some(tls), .. }) => format!("tls {tls}"),
                Ok(found) if !found.but_methods.is_empty() => format!("but {:?}", found.but_methods),
                Ok(found) => found.keys.0.iter().map(|(key, value)| format!("{key} = {value}")).collect(),
            };
            assert_eq!(shown, expected, "{text}");
        }
    }
}
