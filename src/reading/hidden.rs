//! What a snippet shows of a file that a token was written into by mistake.

/// The key whose value is shown to nobody.
const KEY: &str = "token";

/// The text with stars in place of what follows the key, as many as it has bytes, so that places stay what they are.
/// It goes by the words, because the text may be no TOML.
pub(crate) fn without_tokens(text: &str) -> String {
    let mut hidden = text.as_bytes().to_vec();
    for (at, _) in text.match_indices(KEY) {
        let Some(value) = value(&text[..at], &text[at + KEY.len()..]) else { continue };
        let start = text.len() - value.len();
        let mark = [r#"""""#, "'''"].into_iter().find(|mark| value.starts_with(mark));
        let length = match mark {
            Some(mark) => value[3..].find(mark).map(|end| end + 6),
            None => value.find('\n'),
        };
        let length = length.unwrap_or(value.len());
        if !is_reference(&value[..length]) {
            let bytes = hidden.iter_mut().skip(start).take(length);
            bytes.filter(|byte| !b"\r\n".contains(byte)).for_each(|byte| *byte = b'*');
        }
    }
    String::from_utf8(hidden).unwrap_or_default()
}

/// What follows if the word between these two is the key, up to the end of the text.
fn value<'t>(before: &str, after: &'t str) -> Option<&'t str> {
    let is_of_word = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    if before.ends_with(is_of_word) || after.starts_with(is_of_word) {
        return None;
    }
    let rest = after.strip_prefix(['"', '\'']).unwrap_or(after).trim_start_matches([' ', '\t']);
    let line = before.rsplit('\n').next().unwrap_or_default();
    // Whoever forgets the sign is shown the line, too.
    let is_first = matches!(line.trim_matches([' ', '\t', '"', '\'']), "" | "admin.");
    (rest.starts_with('=') || is_first).then(|| rest.trim_start_matches(['=', ' ', '\t']))
}

/// Whether what is written is one reference to a place outside of the file, without a default.
pub(crate) fn is_reference(written: &str) -> bool {
    let written = written.trim().trim_matches(['"', '\'']);
    let inner = written.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    inner.is_some_and(|inner| !inner.contains(['{', '}']) && !inner.contains(":-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_shown_however_it_is_written() {
        for (text, expected) in [
            ("[admin]\ntoken = \"abc\" # x\nhosts = []", "[admin]\ntoken = *********\nhosts = []"),
            ("token = é", "token = **"),
            ("token=abc\r\n", "token=***\r\n"),
            ("token 'abc'", "token *****"),
            ("admin.token = \"abc", "admin.token = ****"),
            ("\"token\" = 1", "\"token\" = *"),
            ("admin = { token = 'a' }", "admin = { token = *****"),
            ("token = \"\"\"\na\"\"\"\nb = 1", "token = ***\n****\nb = 1"),
            ("token = '''\na", "token = ***\n*"),
            ("token = \"${A:-abc}\"", "token = ***********"),
            ("token = \"${A}abc\"", "token = *********"),
            ("token = \"${A}${B}\"", "token = **********"),
            ("token = \"${file:/a}\"\n", "token = \"${file:/a}\"\n"),
            ("token =", "token ="),
            ("tokens = 1", "tokens = 1"),
            ("path = \"/token\"", "path = \"/token\""),
            ("name = \"x-token\" # token", "name = \"x-token\" # token"),
        ] {
            assert_eq!(without_tokens(text), expected);
        }
    }
}
