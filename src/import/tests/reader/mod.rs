//! What the config reader says of what was written.

/// Keys and values that the reader gets later. A problem with one of these is none.
const LATER: [&str; 1] = ["unknown key `errors`"];

/// The problems of a config.
pub(crate) fn problems(toml: &str) -> Vec<String> {
    let Err(problems) = unstick_config::parse("unstick.toml", toml) else { return Vec::new() };
    let text = problems.to_string();
    let found = text.lines().filter_map(|line| line.strip_prefix("error: ")).map(str::to_owned);
    found.filter(|problem| !LATER.iter().any(|later| problem.contains(later))).collect()
}
