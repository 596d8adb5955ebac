//! Templates with named places.

/// Replaces each `{{name}}` by `value(name)`, in one pass: what a value contains is not looked at again.
pub(super) fn fill(template: &str, value: impl Fn(&str) -> String) -> String {
    let mut filled = String::with_capacity(template.len() + 1024);
    let mut rest = template;
    while let Some((before, (name, after))) = rest.split_once("{{").and_then(|(b, r)| Some((b, r.split_once("}}")?))) {
        filled.push_str(before);
        filled.push_str(&value(name));
        rest = after;
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filling_is_one_pass() {
        let value = |name: &str| if name == "a" { "{{b}}".to_owned() } else { format!("<{name}>") };
        for (template, filled) in
            [("", ""), ("x", "x"), ("{{a}}{{b}}", "{{b}}<b>"), ("1{{b}}2{{", "1<b>2{{"), ("}}{{b}}", "}}<b>")]
        {
            assert_eq!(fill(template, value), filled);
        }
    }
}
