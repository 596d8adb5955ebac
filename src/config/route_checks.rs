//! Keys of a route that do not go together.

use unstick_reading::Section;

use super::model::{PathPattern, Route, Target};
use super::path::has_prefix;

/// Reports keys of a route that have no effect beside others of it.
pub(super) fn check(section: &Section<'_>, route: &Route) {
    if let (Target::Respond(_) | Target::Redirect(_), None) = (&route.target, section.get("pool")) {
        for key in ["fallback", "strip_prefix", "replace_prefix", "request_headers", "timeouts", "limits", "retry"] {
            if let Some(value) = section.get(key) {
                let help = "leave it out: the proxy responds itself, and no replica gets the request";
                value.report(format!("{} has no effect here", value.key), Some(help.to_owned()));
            }
        }
    }
    if let Some(value) = section.get("allow").filter(|value| value.value.as_array().is_some_and(|all| all.is_empty())) {
        let help = "name those who may ask; deny = [\"0.0.0.0/0\", \"::/0\"] lets nobody in";
        value.report(format!("{} is empty", value.key), Some(help.to_owned()));
    }
    let paths = match &route.path {
        PathPattern::Exact(path) | PathPattern::Prefix(path) => Some(path),
        PathPattern::Regex(_) => None,
    };
    if let (Some(rewrite), Some(path)) = (&route.rewrite, paths)
        && !has_prefix(path, &rewrite.from)
        && let Some(value) = section.get("strip_prefix").or_else(|| section.get("replace_prefix"))
    {
        let help = format!("the route is for paths below {path}: write that, or the beginning of it");
        value.report(format!("no path of this route begins with {}", rewrite.from), Some(help));
    }
    let pools: Vec<&str> = route.target.pools().collect();
    if let (Some(fallback), Some(value)) = (&route.fallback, section.get("fallback"))
        && pools.contains(&&**fallback)
    {
        value.report(format!("{} is the pool that it stands in for", value.key), Some("name another pool".to_owned()));
    }
}
