//! Which rules there are, in the order in which HAProxy asks them, and what each asks for.

use super::Proxy;
use super::actions::track;
use super::conditions::{Known, expression, negated};
use super::grammar::Line;
use super::ladder::Act;
use super::test::{PathTest, Test};

/// The rules that come before a backend is chosen, in the order in which HAProxy looks at them.
pub(super) fn ordered<'t>(proxy: &Proxy<'t>) -> Vec<&'t Line> {
    let of = |is_meant: &dyn Fn(&str) -> bool| {
        let lines = proxy.lines.iter().copied();
        lines.filter(|line| is_meant(&line.keyword())).collect::<Vec<_>>()
    };
    let connections = of(&|keyword| matches!(keyword, "tcp-request connection" | "tcp-request content"));
    [
        of(&|keyword| keyword == "monitor-uri"),
        connections,
        of(&|keyword| keyword.starts_with("http-request ")),
        of(&|keyword| keyword == "block"),
        of(&|keyword| keyword == "redirect"),
    ]
    .concat()
}

/// What a rule asks for.
///
/// # Errors
/// Why it cannot be said.
pub(super) fn tests(proxy: &Proxy<'_>, line: &Line, known: Known<'_>) -> Result<Vec<Test>, String> {
    let tests = expression(split(line).1, known)?;
    let written = written(proxy, line);
    let is_asked = |test: &Test| {
        test.header.iter().any(|(name, _)| written.contains(name))
            || !test.host.is_empty() && written.iter().any(|name| name == "host")
    };
    if tests.iter().any(|test| is_asked(test) || test.but.iter().any(is_asked)) {
        return Err("an earlier rule writes this header, and unstick looks at what the client has sent".to_owned());
    }
    if line.words.iter().any(|word| word == "unless") { negated(&tests) } else { Ok(tests) }
}

/// The headers of requests that rules before a line edit.
fn written(proxy: &Proxy<'_>, line: &Line) -> Vec<String> {
    let is_it = |other: &&Line| std::ptr::eq(*other, line);
    let place = match line.word(0) {
        "http-request" => proxy.lines.iter().position(is_it),
        "tcp-request" | "monitor-uri" => Some(0),
        _ => None,
    };
    let before = &proxy.lines[..place.unwrap_or(proxy.lines.len())];
    let is_edit = |line: &&&Line| {
        line.word(0) == "http-request" && matches!(line.word(1), "set-header" | "add-header" | "del-header")
    };
    before.iter().filter(is_edit).map(|line| line.word(2).to_ascii_lowercase()).collect()
}

/// Those whom `http-request allow` does not let through; nobody, if it lets all through.
pub(super) fn exempt(going_on: &Test, allowed: &[Test]) -> Result<Option<Test>, String> {
    match &negated(allowed)?[..] {
        [rest] => going_on.and(rest),
        _ => Ok(None),
    }
}

/// What a rule asks for, with what its action does. A rule of http-request holds for those only whom none has let
/// through.
pub(super) fn asked(
    proxy: &Proxy<'_>,
    line: &Line,
    act: &Act,
    tests: Vec<Test>,
    going_on: &Test,
    known: Known<'_>,
) -> Result<Vec<Test>, String> {
    let going_on = if line.word(0) == "http-request" { going_on.clone() } else { Test::default() };
    let paths = match act {
        // A pattern with `/?` takes the prefix itself, too.
        Act::Rewrite { from, .. } if from != "/" => {
            let is_whole = line.words.iter().any(|word| word.contains("/?,") || word.contains("/?("));
            let whole = is_whole.then(|| PathTest::Exact(from.clone()));
            whole.into_iter().chain([PathTest::Begins(slashed(from))]).map(Some).collect()
        }
        Act::End(_) if line.word(0) == "monitor-uri" => vec![Some(PathTest::Exact(line.word(1).to_owned()))],
        _ => vec![None],
    };
    let mut all = Vec::new();
    for test in tests {
        let test = counted_test(proxy, test, known)?;
        for path in &paths {
            let also = going_on.and(&Test { path: path.clone(), ..Test::default() })?;
            all.extend(also.map(|also| test.and(&also)).transpose()?.flatten());
        }
    }
    Ok(all)
}

fn slashed(prefix: &str) -> String {
    format!("{}/", prefix.trim_end_matches('/'))
}

/// A test of a counter holds for what is counted only.
fn counted_test(proxy: &Proxy<'_>, test: Test, known: Known<'_>) -> Result<Test, String> {
    let Some(excess) = &test.excess else { return Ok(test) };
    let Some(track) = track(proxy, excess) else { return Ok(test) };
    match &tests(proxy, track, known)?[..] {
        [counted] => Ok(test.and(counted)?.unwrap_or(test)),
        _ => Err("what is counted here has several conditions".to_owned()),
    }
}

/// Whether a rule asks how much somebody does: what it protects is not limited, rather than closed.
pub(super) fn is_counted(line: &Line) -> bool {
    line.words.iter().any(|word| ["_rate", "_cnt", "conn_cur", "_gpc"].iter().any(|part| word.contains(part)))
}

/// The words of a rule, and those of its condition.
pub(super) fn split(line: &Line) -> (&[String], &[String]) {
    let at = line.words.iter().position(|word| word == "if" || word == "unless");
    match at {
        Some(at) => (&line.words[..at], &line.words[at + 1..]),
        None => (&line.words, &[]),
    }
}
