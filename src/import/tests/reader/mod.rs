//! What the config reader says of what was written.

/// The problems of a config.
pub(crate) fn problems(toml: &str) -> Vec<String> {
    let Err(problems) = unstick_config::parse("unstick.toml", toml) else { return Vec::new() };
    let text = problems.to_string();
    text.lines().filter_map(|line| line.strip_prefix("error: ")).map(str::to_owned).collect()
}
