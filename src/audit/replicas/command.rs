//! What is filled into a command, and the keys among it.

/// Digits of a key, each of four bits.
const KEY_DIGITS: usize = 64;

/// Fills words in braces. Words that are not among the values stay as they are; what is filled in is not looked at
/// again.
pub(super) fn fill(command: &str, values: &[(&str, &str)]) -> String {
    let (mut filled, mut rest) = (String::with_capacity(command.len()), command);
    while let Some(start) = rest.find('{') {
        let (before, from) = rest.split_at(start);
        filled.push_str(before);
        let known = values.iter().find_map(|(name, value)| {
            let after = from.strip_prefix('{')?.strip_prefix(name)?.strip_prefix('}')?;
            Some((*value, after))
        });
        let (value, after) = known.unwrap_or_else(|| from.split_at(1));
        filled.push_str(value);
        rest = after;
    }
    filled + rest
}

/// What a replica is given that nobody else knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Secrets {
    /// The value of `{key}`.
    pub(super) key: String,
    /// Variables and their values.
    pub(super) variables: Vec<(String, String)>,
}

impl Secrets {
    /// New ones.
    pub(super) fn random(variables: &[String]) -> Self {
        let variables = variables.iter().map(|name| (name.clone(), random_hex(KEY_DIGITS))).collect();
        Self { key: random_hex(KEY_DIGITS), variables }
    }
}

/// Random digits. They are good enough for a key that lives as long as an audit on this machine.
pub(super) fn random_hex(digits: usize) -> String {
    std::iter::repeat_with(|| char::from_digit(fastrand::u32(..16), 16).unwrap_or('0')).take(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_words_are_filled_and_others_stay() {
        let values = [("port", "80"), ("n", "{key}"), ("key", "k"), ("dir", "/d")];
        let table = [
            ("app {port}", "app 80"),
            ("{port}{port}", "8080"),
            ("{dir}/s {n} {key}", "/d/s {key} k"),
            (r#"app '{"port":{port},"n":{}}'"#, r#"app '{"port":80,"n":{}}'"#),
            ("{unknown} {ports} { port } {{port}}", "{unknown} {ports} { port } {80}"),
            ("${HOME} {", "${HOME} {"),
            ("", ""),
        ];
        for (command, filled) in table {
            assert_eq!(fill(command, &values), filled, "{command}");
        }
    }

    #[test]
    fn secrets_differ() {
        let names = ["SECRET".to_owned(), "SALT".to_owned()];
        let (one, other) = (Secrets::random(&names), Secrets::random(&names));
        assert_ne!(one.key, other.key);
        assert_eq!(one.variables[0].0, "SECRET");
        assert_ne!(one.variables[0].1, one.variables[1].1);
        assert_eq!(one.key.len(), KEY_DIGITS);
    }
}
