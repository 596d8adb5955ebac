//! Regular expressions that look around, in a form that takes linear time.

/// The same without looking around, and whether it is exactly the same. Else it fits more: what is asked in addition
/// is left away. Nothing if neither can be said.
pub(super) fn linear(pattern: &str) -> Option<(String, bool)> {
    let exact = ended(pattern).filter(|exact| regex::Regex::new(exact).is_ok());
    let wider = || without(pattern).filter(|wider| regex::Regex::new(wider).is_ok());
    exact.map(|exact| (exact, true)).or_else(|| wider().map(|wider| (wider, false)))
}

/// `/\.(?!well-known)`: what does not go on with a text, at the end of an expression.
fn ended(pattern: &str) -> Option<String> {
    let (before, inner) = pattern.split_once("(?!")?;
    let (inner, after) = inner.split_once(')')?;
    let is_end = matches!(after, "" | ".*" | ".*$");
    // An alternative would end where the group does.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/-_".contains(c);
    let text: Vec<char> = inner.replace("\\/", "/").replace("\\-", "-").chars().collect();
    if !is_end || before.contains(['|', '(', '[']) || text.is_empty() || !text.iter().all(|c| is_plain(*c)) {
        return None;
    }
    // Either it ends there, or another character follows, or this one and then the same of the next.
    let rest = text.iter().rev().fold(String::new(), |rest, c| match rest.as_str() {
        "" => format!("$|[^{c}]"),
        rest => format!("$|[^{c}]|{c}({rest})"),
    });
    Some(format!("{before}({rest})"))
}

/// What does not begin with any of these texts, as a regular expression. Nothing if one has characters with a meaning,
/// or if everything begins so.
pub(super) fn not_beginning(texts: &[&str]) -> Option<String> {
    let is_plain = |text: &&str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_".contains(&b));
    if !texts.iter().all(is_plain) || texts.iter().any(|text| text.is_empty()) {
        return None;
    }
    let mut first: Vec<char> = texts.iter().filter_map(|text| text.chars().next()).collect();
    first.sort_unstable();
    first.dedup();
    let class: String = first.iter().map(|c| if *c == '-' { "\\-".to_owned() } else { c.to_string() }).collect();
    // Whoever begins like one of them goes on in another way.
    let others = first.iter().filter_map(|c| {
        let rests: Vec<&str> = texts.iter().filter_map(|text| text.strip_prefix(*c)).collect();
        not_beginning(&rests).map(|rest| format!("|{c}({rest})"))
    });
    Some(format!("$|[^{class}]{}", others.collect::<String>()))
}

/// Leaves away the groups that look around. Each of them asks for more, so the rest fits more.
fn without(pattern: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = pattern;
    let mut is_class = false;
    while let Some(c) = rest.chars().next() {
        let is_around = ["(?!", "(?=", "(?<!", "(?<="].iter().any(|start| rest.starts_with(start));
        if !is_class && is_around {
            rest = &rest[group(rest)?..];
            if rest.starts_with(['*', '+', '?', '{']) {
                return None;
            }
            continue;
        }
        let length = if c == '\\' { 1 + rest.chars().nth(1)?.len_utf8() } else { c.len_utf8() };
        is_class = (is_class || c == '[') && c != ']';
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    Some(out)
}

/// The length of the group that a text begins with.
fn group(text: &str) -> Option<usize> {
    let (mut depth, mut is_class, mut is_escaped) = (0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if std::mem::take(&mut is_escaped) => {}
            '\\' => is_escaped = true,
            '[' => is_class = true,
            ']' => is_class = false,
            '(' if !is_class => depth += 1,
            ')' if !is_class => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_begin_so_is_found() {
        let regex = not_beginning(&["/", "inistrator", "in-x"]).unwrap();
        let fits = regex::Regex::new(&format!("^/adm({regex})")).unwrap();
        for (path, expected) in [
            ("/adm", true),
            ("/admx", true),
            ("/admin", true),
            ("/admin-", true),
            ("/admin-x", false),
            ("/admin-xy", false),
            ("/adm/x", false),
            ("/administratorx", false),
            ("/administrato", true),
        ] {
            assert_eq!(fits.is_match(path), expected, "{path}: {regex}");
        }
        assert_eq!((not_beginning(&[""]), not_beginning(&["a.b"])), (None, None));
    }

    #[test]
    fn what_looks_around_fits_the_same_or_more() {
        for (pattern, expected) in [
            (r"/\.(?!ab)", r"= /\.($|[^a]|a($|[^b]))"),
            (r"/\.(?!ab).*$", r"= /\.($|[^a]|a($|[^b]))"),
            (r"/\.(?!a|b)", r"+ /\."),
            (r"^/(?!(a|[)])x)\w+(?<!\.js)$", r"+ ^/\w+$"),
            (r"[(?!]x(?=y)", "+ [(?!]x"),
            (r"/a(?!b)?c", "-"),
            (r"(a)\1", "-"),
        ] {
            let shown = match linear(pattern) {
                Some((found, is_exact)) => format!("{} {found}", if is_exact { '=' } else { '+' }),
                None => "-".to_owned(),
            };
            assert_eq!(shown, expected, "{pattern}");
        }
        let fits = regex::Regex::new(&linear(r"/\.(?!well-known)").unwrap().0).unwrap();
        for (path, expected) in [("/.git", true), ("/.", true), ("/.well-know", true), ("/.well-known/x", false)] {
            assert_eq!(fits.is_match(path), expected, "{path}");
        }
    }
}
