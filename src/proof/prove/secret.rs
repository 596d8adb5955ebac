//! What nobody else may see: passwords in URLs, and the variables of the environment that hold them.

use std::process::Command;

/// Variables that hold what `prove` and its replicas need, and nobody else does, begin with this.
const OURS: &str = "UNSTICK_PROVE_";
/// What stands for a password.
const MASK: &str = "***";

/// Has a process that runs as another user, or that is not ours, inherit none of our secrets.
pub(super) fn forget(command: &mut Command) {
    let ours = std::env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| name.to_string_lossy().starts_with(OURS)) {
        command.env_remove(name);
    }
}

/// The URL of a server without its password: `scheme://user:***@host/`, and `password=***` in a list or a query.
pub(super) fn masked(url: &str) -> String {
    let url = match url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?))) {
        Some((scheme, (by, rest))) => {
            let user = by.split_once(':').map_or(by, |(user, _)| user);
            let password = if by.contains(':') { format!(":{MASK}") } else { String::new() };
            format!("{scheme}://{user}{password}@{}", without_values(rest))
        }
        // Somebody has forgotten the scheme.
        None => match url.rsplit_once('@').and_then(|(by, rest)| Some((by.split_once(':')?.0, rest))) {
            Some((user, rest)) => format!("{}:{MASK}@{}", without_values(user), without_values(rest)),
            None => without_values(url),
        },
    };
    url.replace(char::is_control, "?")
}

/// Without what `pass=` or `password=` says, up to what ends it.
fn without_values(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    // The first that is there, and of several at one place the longest.
    let found = ["password", "passwd", "pass"].iter().filter_map(|name| Some((lower.find(name)?, name.len())));
    let Some((at, length)) = found.min_by_key(|(at, length)| (*at, std::cmp::Reverse(*length))) else {
        return text.to_owned();
    };
    let (before, rest) = text.split_at(at + length);
    let Some(value) = rest.trim_start().strip_prefix('=').map(str::trim_start) else {
        return format!("{before}{}", without_values(rest));
    };
    let after = match value.strip_prefix('\'') {
        // A quote inside is `\'`.
        Some(quoted) => {
            let mut is_escaped = false;
            let end = quoted.find(|c: char| {
                let ends = c == '\'' && !is_escaped;
                is_escaped = c == '\\' && !is_escaped;
                ends
            });
            end.map_or("", |end| &quoted[end + 1..])
        }
        None => value.find(|c: char| c == '&' || c.is_whitespace()).map_or("", |end| &value[end..]),
    };
    format!("{before}={MASK}{}", without_values(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_url_shows_its_password() {
        for (url, shown) in [
            ("me:secret@db:6379", "me:***@db:6379"),
            ("me@db:6379", "me@db:6379"),
            ("127.0.0.1:11211", "127.0.0.1:11211"),
            ("redis://127.0.0.1:6379", "redis://127.0.0.1:6379"),
            ("redis://:secret@db:6379/2", "redis://:***@db:6379/2"),
            ("redis://me:se/c@ret@db:6379", "redis://me:***@db:6379"),
            ("redis+unix:///a/b.sock?db=1&pass=secret&user=me", "redis+unix:///a/b.sock?db=1&pass=***&user=me"),
            ("http://ACCESS:secret@127.0.0.1:8333/shop", "http://ACCESS:***@127.0.0.1:8333/shop"),
            ("postgres://me@db/shop", "postgres://me@db/shop"),
            ("postgres://me:secret@db/shop?password=secret", "postgres://me:***@db/shop?password=***"),
            ("host=db user=me password=secret dbname=shop", "host=db user=me password=*** dbname=shop"),
            ("host=db Password = 'a \\' secret' dbname=shop", "host=db Password=*** dbname=shop"),
            ("password='secret", "password=***"),
            ("host=db passfile=/x password=secret", "host=db passfile=/x password=***"),
            ("secret@x", "secret@x"),
            ("127.0.0.1:11211", "127.0.0.1:11211"),
        ] {
            assert_eq!(masked(url), shown);
        }
        assert_eq!(masked("redis://db\x1b[2J"), "redis://db?[2J");
    }

    #[test]
    fn nobody_inherits_our_secrets() {
        let mut command = Command::new("true");
        command.env("UNSTICK_PROVE_X", "secret").env("OTHER", "1");
        forget(&mut command);
        // What is set for this process by name stays; what the environment of the tests holds is none of ours.
        assert!(command.get_envs().all(|(name, value)| value.is_some() || name.to_string_lossy().starts_with(OURS)));
    }
}
