//! The directives of a block in the order in which Caddy runs them, each with its matcher.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;

use super::matchers::{Matcher, Named, define};
use super::tree::Line;
use super::words::is_guard;
use crate::imported::Unreadable;

/// The order of Caddy's documentation. Directives of modules are in it only if `order` says so.
const ORDER: [&str; 38] = [
    "tracing",
    "map",
    "vars",
    "fs",
    "root",
    "log_append",
    "skip_log",
    "log_skip",
    "log_name",
    "header",
    "copy_response_headers",
    "request_body",
    "timeouts",
    "redir",
    "method",
    "rewrite",
    "uri",
    "try_files",
    "basicauth",
    "basic_auth",
    "forward_auth",
    "request_header",
    "encode",
    "push",
    "intercept",
    "templates",
    "invoke",
    "handle",
    "route",
    "abort",
    "error",
    "copy_response",
    "respond",
    "metrics",
    "reverse_proxy",
    "php_fastcgi",
    "file_server",
    "acme_server",
];

/// The most directives of one block.
const LINES_MAX: usize = 3_000;
/// The most of a whole file: named routes are there once for every `invoke`.
const STEPS_MAX: usize = 30_000;
/// How deeply named routes may invoke each other.
const DEPTH_MAX: usize = 16;

/// A directive with what it asks for.
#[derive(Debug)]
pub(super) struct Step<'t> {
    pub(super) line: &'t Line,
    /// `handle_path` counts as `handle`.
    pub(super) name: &'t str,
    /// Nothing if it is for every request.
    pub(super) matcher: Option<Matcher>,
    /// The arguments behind the matcher.
    pub(super) args: &'t [String],
    /// The directives of its block, if it has directives in its block.
    pub(super) within: Option<Vec<Rc<Step<'t>>>>,
    /// The prefix that `handle_path` strips.
    pub(super) strip: Option<String>,
    /// Whether the next one has the same matcher. Caddy makes one route of both, so that it is asked once.
    pub(super) is_joined: bool,
}

/// What the whole file says of orders.
#[derive(Debug)]
pub(super) struct Order<'t> {
    names: Vec<&'t str>,
    /// The named routes, by name.
    routes: Vec<(&'t str, &'t [Line])>,
    /// How many steps were made.
    count: Cell<usize>,
}

impl<'t> Order<'t> {
    /// The order with what the `order` lines of the global options change.
    pub(super) fn new(options: &'t [Line], routes: Vec<(&'t str, &'t [Line])>) -> Self {
        let mut names: Vec<&'t str> = ORDER.to_vec();
        for line in options.iter().filter(|line| line.name == "order") {
            names.retain(|name| *name != line.arg(0));
            let other = names.iter().position(|name| *name == line.arg(2));
            let at = match (line.arg(1), other) {
                ("first", _) => 0,
                ("before", Some(other)) => other,
                ("after", Some(other)) => other + 1,
                _ => names.len(),
            };
            names.insert(at, line.arg(0));
        }
        Self { names, routes, count: Cell::new(0) }
    }

    fn place(&self, name: &str) -> usize {
        // What has no place comes first: Caddy refuses it, and it may keep somebody out.
        self.names.iter().position(|known| *known == name).map_or(0, |at| at + 1)
    }

    /// The steps of a block, in their order.
    ///
    /// # Errors
    /// There are too many.
    pub(super) fn steps(&self, lines: &'t [Line], named: &Named) -> Result<Vec<Rc<Step<'t>>>, Unreadable> {
        self.block(lines, named, Sorting::ByOrder, 0)
    }

    fn block(
        &self,
        lines: &'t [Line],
        named: &Named,
        sorting: Sorting,
        depth: usize,
    ) -> Result<Vec<Rc<Step<'t>>>, Unreadable> {
        self.count.set(self.count.get() + lines.len());
        let is_over = depth > DEPTH_MAX || self.count.get() > STEPS_MAX;
        if let Some(line) = lines.get(LINES_MAX).or(lines.first().filter(|_| is_over)) {
            let message = format!("more than {LINES_MAX} directives in one block, or {STEPS_MAX} with each `invoke`");
            return Err(Unreadable { file: line.place.file.to_string(), at: Some((line.place.line, 1)), message });
        }
        let mut named = Cow::Borrowed(named);
        lines.iter().filter(|line| line.name.starts_with('@')).for_each(|line| define(line, named.to_mut()));
        let mut steps: Vec<Step<'t>> = Vec::new();
        for line in lines.iter().filter(|line| !line.name.starts_with('@')) {
            let step = self.step(line, &named, depth)?;
            // Caddy's comparison is no total order, so this sorts as Caddy does: each is put before what it precedes.
            let before = steps.iter().rev().take_while(|other| self.precedes(&step, other)).count();
            let at = if sorting == Sorting::ByOrder { steps.len() - before } else { steps.len() };
            steps.insert(at, step);
        }
        join(&mut steps);
        Ok(steps.into_iter().map(Rc::new).collect())
    }

    fn step(&self, line: &'t Line, named: &Named, depth: usize) -> Result<Step<'t>, Unreadable> {
        let name = if line.name == "handle_path" { "handle" } else { line.name.as_str() };
        let is_for_all = matches!(name, "tls" | "bind" | "log" | "handle_errors" | "rewrite" | "root" | "try_files");
        let first = line.arg(0);
        let has_matcher = match name {
            "rewrite" | "root" => line.args.len() > 1,
            _ => !is_for_all && (first == "*" || first.starts_with(['/', '@'])),
        };
        let matcher = match first {
            _ if !has_matcher => None,
            "*" => None,
            path if path.starts_with('/') => Some(Matcher::of_path(path)),
            name => Some(named.get(name).cloned().unwrap_or_else(|| Matcher::missing(name))),
        };
        let args = if has_matcher { &line.args[1..] } else { &line.args[..] };
        let within = match name {
            "handle" => Some(self.block(line.lines(), named, Sorting::ByOrder, depth)?),
            "route" => Some(self.block(line.lines(), named, Sorting::AsWritten, depth)?),
            "invoke" => {
                let route = self.routes.iter().find(|(name, _)| args.first().is_some_and(|arg| arg == name));
                let lines = route.map_or(&[][..], |(_, lines)| lines);
                Some(self.block(lines, named, Sorting::ByOrder, depth + 1)?)
            }
            _ => None,
        };
        let strip = (line.name == "handle_path").then(|| {
            let path = first.strip_suffix('*').unwrap_or(first);
            path.strip_suffix('/').filter(|_| first.ends_with("/*")).unwrap_or(path).to_owned()
        });
        Ok(Step { line, name, matcher, args, within, strip, is_joined: false })
    }

    /// Whether a step is run before another one that was written before it.
    fn precedes(&self, step: &Step<'t>, other: &Step<'t>) -> bool {
        let (own, others) = (self.place(step.name), self.place(other.name));
        if own != others {
            return own < others;
        }
        let path = |step: &Step<'t>| step.matcher.as_ref().and_then(|matcher| matcher.path.clone());
        let is_first = match (path(step), path(other)) {
            (Some(path), Some(other)) => {
                let (bare, bare_other) = (path.trim_end_matches('*'), other.trim_end_matches('*'));
                if bare == bare_other {
                    path.len() < other.len()
                } else if bare.len() == bare_other.len() {
                    bare < bare_other
                } else {
                    bare.len() > bare_other.len()
                }
            }
            _ => step.matcher.is_some() && other.matcher.is_none(),
        };
        // Of `vars` the last one wins, so the most general comes first. They are not translated.
        is_first && step.name == other.name
    }
}

/// Marks the steps that have the matcher of the next one. Those of which only one is run are joined among themselves.
fn join(steps: &mut [Step<'_>]) {
    let is_group = steps.iter().filter(|step| step.name == "handle").count() > 1;
    let group = |step: &Step<'_>| match step.name {
        "handle" if is_group => 1,
        "rewrite" => 2,
        _ => 0,
    };
    for at in 1..steps.len() {
        let (one, next) = (&steps[at - 1], &steps[at]);
        // Without a matcher nothing is asked twice, but of a group both are run.
        let matters = one.matcher.is_some() || group(one) != 0;
        let is_same = one.matcher == next.matcher && group(one) == group(next);
        steps[at - 1].is_joined = matters && is_same;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sorting {
    ByOrder,
    AsWritten,
}

impl<'t> Step<'t> {
    pub(super) fn arg(&self, index: usize) -> &'t str {
        self.args.get(index).map_or("", String::as_str)
    }

    /// The same step for every request.
    pub(super) fn for_all(&self) -> Self {
        let Self { line, name, matcher: _, args, within, strip, is_joined } = self;
        Self { line, name, matcher: None, args, within: within.clone(), strip: strip.clone(), is_joined: *is_joined }
    }

    /// The same step for what has met its matcher already. It is no alternative to others.
    pub(super) fn joined(&self) -> Self {
        let name = if self.within.is_some() { "route" } else { self.name };
        Self { name, is_joined: false, ..self.for_all() }
    }

    /// The status of a fixed response or an error.
    pub(super) fn status(&self) -> i64 {
        let is_status = |text: &&String| text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        let default = if self.name == "error" { 500 } else { 200 };
        match self.args {
            [only] => Some(only).filter(is_status).and_then(|text| text.parse().ok()).unwrap_or(default),
            [_, status, ..] => status.parse().unwrap_or(default),
            [] => default,
        }
    }

    /// Whether whoever meets its matcher is kept out.
    pub(super) fn refuses(&self) -> bool {
        match (self.name, &self.within) {
            ("respond" | "error", _) => (400..500).contains(&self.status()),
            ("abort", _) => true,
            (_, Some(within)) => {
                let first = within.iter().find(|step| step.ends() || step.refuses());
                first.is_some_and(|step| step.matcher.is_none() && step.refuses())
            }
            (name, None) => is_guard(name),
        }
    }

    /// Whether it or something in it keeps somebody out.
    pub(super) fn guards(&self) -> bool {
        let within = self.within.as_deref().unwrap_or_default();
        self.refuses() || within.iter().any(|step| step.guards())
    }

    /// Whether a request that passes it by may get in where it would be kept out: by something in it, or because it
    /// is an alternative to what comes next and goes on behind that.
    pub(super) fn may_keep_out(&self) -> bool {
        self.guards() || self.within.is_some() && !self.ends()
    }

    /// Whether nothing comes after it.
    pub(super) fn ends(&self) -> bool {
        match &self.within {
            Some(within) => within.iter().any(|step| step.matcher.is_none() && step.ends()),
            None => matches!(
                self.name,
                "abort"
                    | "error"
                    | "respond"
                    | "redir"
                    | "metrics"
                    | "reverse_proxy"
                    | "php_fastcgi"
                    | "file_server"
                    | "acme_server"
            ),
        }
    }
}
