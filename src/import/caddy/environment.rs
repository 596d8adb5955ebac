//! `{$NAME:default}`: Caddy puts the value there before it reads the file, unstick when it reads its strings.

/// A reference with its name and its default.
pub(super) struct Reference<'a> {
    pub(super) name: &'a str,
    pub(super) default: Option<&'a str>,
    /// The text that follows it.
    pub(super) rest: &'a str,
}

/// The first reference in a text, with the text before it.
pub(super) fn first(text: &str) -> Option<(&str, Reference<'_>)> {
    let (before, after) = text.split_once("{$")?;
    let (inner, rest) = after.split_once('}')?;
    let (name, default) = inner.split_once(':').map_or((inner, None), |(name, default)| (name, Some(default)));
    Some((before, Reference { name, default, rest }))
}

/// Whether there is a reference in a text.
pub(super) fn has_any(text: &str) -> bool {
    first(text).is_some()
}

/// The text with a default in place of every reference that would be more than one word, or is no name of a variable.
/// Nothing of it can be written as a reference.
pub(super) fn split(text: &str) -> String {
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let is_word = |text: &str| !text.contains(|c: char| c.is_whitespace() || "{}\"`$#".contains(c));
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, found)) = first(rest) {
        out.push_str(before);
        match found.default {
            _ if found.name.is_empty() => out.push_str(&rest[before.len()..rest.len() - found.rest.len()]),
            default if is_name(found.name) && default.is_none_or(is_word) => {
                out.push_str(&rest[before.len()..rest.len() - found.rest.len()]);
            }
            default => out.push_str(&std::env::var(found.name).unwrap_or(default.unwrap_or_default().to_owned())),
        }
        rest = found.rest;
    }
    out.push_str(rest);
    out
}

/// The text with defaults in place of all references; nothing if one has none.
pub(super) fn defaults(text: &str) -> Option<String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, found)) = first(rest) {
        out.push_str(before);
        out.push_str(found.default?);
        rest = found.rest;
    }
    out.push_str(rest);
    Some(out)
}

/// The text as unstick writes it: `${NAME:-default}`, and what looks like that is escaped.
pub(super) fn written(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, found)) = first(rest) {
        out.push_str(&before.replace("${", "$${"));
        match found.default {
            Some(default) => out.push_str(&format!("${{{}:-{default}}}", found.name)),
            None => out.push_str(&format!("${{{}}}", found.name)),
        }
        rest = found.rest;
    }
    out.push_str(&rest.replace("${", "$${"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_those_of_unstick() {
        for (text, expected) in [
            ("a{$B}c", "a${B}c"),
            ("{$B:x:1}", "${B:-x:1}"),
            ("{$B:}${c}", "${B:-}$${c}"),
            ("{$B:two words}", "two words"),
            ("{$b-c:x}", "x"),
            ("{$B", "{$B"),
        ] {
            assert_eq!(written(&split(text)), expected, "{text}");
        }
        assert_eq!(defaults("{$A:b}:{$C:1}").as_deref(), Some("b:1"));
        assert_eq!(defaults("{$A:b}:{$C}"), None);
    }
}
