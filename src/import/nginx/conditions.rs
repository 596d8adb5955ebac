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
}

/// What the words of an `if` ask for.
pub(super) fn condition(words: &[String], is_server: bool) -> Result<Condition, String> {
    let mut found = Condition::default();
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
        ("host" | "http_host" | "server_name", "=") => found.host = vec![value.to_ascii_lowercase()],
        ("host" | "http_host", "!=") => found.but_hosts = vec![value.to_ascii_lowercase()],
        ("scheme", "=") => found.tls = Some(value == "https"),
        ("scheme", "!=") => found.tls = Some(value != "https"),
        ("https", "=") => found.tls = Some(value == "on"),
        ("https", "!=") => found.tls = Some(value != "on"),
        ("request_method", "=") => found.keys.set("method", value),
        ("request_method", "!=") => found.but_methods = vec![value.to_owned()],
        ("request_method", "~" | "~*") => found.keys.set("method", one_or_more(&methods(value)?)),
        ("request_method", "!~" | "!~*") => found.but_methods = methods(value)?,
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
                ("", _) | ("!=", "") => "*".to_owned(),
                ("=", "") => "!".to_owned(),
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

/// The methods of `^(GET|HEAD)$`.
fn methods(pattern: &str) -> Result<Vec<String>, String> {
    let inner = pattern.trim_start_matches(['^', '(']).trim_end_matches(['$', ')']);
    let methods: Vec<String> = inner.split('|').map(str::to_owned).collect();
    let is_method = |method: &String| !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase());
    if methods.iter().all(is_method) { Ok(methods) } else { Err("these are no plain methods".to_owned()) }
}

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
            ("($http_x_key)", "header = { x-key = \"*\" }"),
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
