//! haproxy.cfg: what each section says, with what it takes over from `defaults`.
//!
//! HAProxy looks at its rules in their order, so each is a route with a priority of its own. unstick looks at the host
//! first; so a rule without a host is for every host that another rule names, too (`frontends::hosts`).

mod actions;
mod backends;
mod conditions;
mod edits;
mod fields;
mod frontends;
mod grammar;
mod ladder;
mod order;
mod pages;
mod sockets;
mod template;
mod test;
pub(crate) mod words;

use std::path::{Path, PathBuf};

use grammar::{Line, Section, parse};
use words::WORDS;

use crate::fate::{self, Fate};
use crate::files;
use crate::imported::{At, Imported, Keys, LeftOut, Unreadable};
use crate::nginx::units::shown;
use crate::value::reference;

/// Reads a haproxy.cfg. `base` is put in front of relative paths of files that unstick will read.
///
/// # Errors
/// A file that cannot be read or breaks the grammar. What cannot be translated is no error.
pub(super) fn import(path: &Path, base: Option<&Path>) -> Result<Imported, Unreadable> {
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let parsed = parse(&name, &files::read(path)?);
    let mut sections = parsed.map_err(|error| Unreadable { file: path.display().to_string(), ..error })?;
    set_variables(&mut sections);
    let proxies = proxies(&sections);
    let out = Imported::default();
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let mut importer = Importer { out, proxies: &proxies, made: Vec::new(), folder, base: base.map(Path::to_owned) };
    importer.run(&sections);
    Ok(importer.out)
}

/// A section with the lines that it takes over, those first.
struct Proxy<'t> {
    section: &'t Section,
    lines: Vec<&'t Line>,
}

impl<'t> Proxy<'t> {
    /// The lines of a keyword.
    fn all(&self, keyword: &str) -> Vec<&'t Line> {
        self.lines.iter().copied().filter(|line| line.keyword() == keyword).collect()
    }

    /// The last line of a keyword: it counts where there is one value.
    fn one(&self, keyword: &str) -> Option<&'t Line> {
        self.all(keyword).last().copied()
    }

    fn is_http(&self) -> bool {
        self.one("mode").is_some_and(|mode| mode.word(1) == "http")
    }
}

fn proxies(sections: &[Section]) -> Vec<Proxy<'_>> {
    let mut proxies = Vec::new();
    let mut defaults: Vec<&Section> = Vec::new();
    for section in sections {
        match section.kind() {
            "defaults" => defaults.push(section),
            "frontend" | "backend" | "listen" => {
                let from = section.head.words.iter().position(|word| word == "from");
                let named = from.map(|at| section.head.word(at + 1));
                let taken = match named {
                    Some(name) => defaults.iter().find(|defaults| defaults.name() == name).copied(),
                    None => defaults.last().copied(),
                };
                let lines = taken.iter().flat_map(|taken| &taken.lines).chain(&section.lines).collect();
                proxies.push(Proxy { section, lines });
            }
            _ => {}
        }
    }
    proxies
}

/// `setenv` of `global` has set a variable, whatever the environment has; `presetenv` has set a default.
fn set_variables(sections: &mut [Section]) {
    let global = sections.iter().filter(|section| section.kind() == "global").flat_map(|section| &section.lines);
    let set: Vec<(String, String, bool)> = global
        .filter(|line| matches!(line.word(0), "setenv" | "presetenv"))
        .map(|line| {
            (line.word(1).to_owned(), line.words.get(2..).unwrap_or_default().join(" "), line.word(0) == "setenv")
        })
        .collect();
    for (name, value, is_fixed) in set {
        let written = reference(&name, None);
        let becomes = if is_fixed { value } else { reference(&name, Some(&value)) };
        let lines = sections.iter_mut().flat_map(|section| &mut section.lines);
        for word in lines.flat_map(|line| &mut line.words).filter(|word| word.contains(&written)) {
            *word = word.replace(&written, &becomes);
        }
    }
}

/// Deadlines: HAProxy's word, ours, and whether a route may have its own.
const DEADLINES: [(&str, &[&str], bool); 6] = [
    ("timeout connect", &["connect"], true),
    ("timeout server", &["response_head", "response_body"], true),
    ("timeout tunnel", &["tunnel_idle"], true),
    ("timeout client", &["request_body", "client_write"], false),
    ("timeout http-request", &["request_head"], false),
    ("timeout http-keep-alive", &["client_idle"], false),
];

struct Importer<'t> {
    out: Imported,
    proxies: &'t [Proxy<'t>],
    /// The backends that were made: name, and the pool of their spare servers.
    made: Vec<(String, Option<String>)>,
    /// The folder of the file, where what it names is read.
    folder: PathBuf,
    base: Option<PathBuf>,
}

impl<'t> Importer<'t> {
    fn run(&mut self, sections: &'t [Section]) {
        for section in sections {
            match section.kind() {
                "global" | "defaults" | "frontend" | "backend" | "listen" => {
                    let at = if section.kind() == "backend" { self.pool_at(section.name()) } else { At::Top };
                    self.note_left(&section.lines, &at);
                }
                "resolvers" | "peers" | "mailers" | "ring" | "traces" => {}
                _ => self.out.leave_out(left(&section.head, "this section has no translation", "see what it does")),
            }
        }
        self.deadlines();
        let proxies = self.proxies;
        for proxy in proxies.iter().filter(|proxy| proxy.section.kind() != "backend") {
            if proxy.is_http() {
                self.frontend(proxy);
            } else {
                let what_to_do = "keep HAProxy for this port, or write `mode http` if it is HTTP";
                self.out.leave_out(left(
                    &proxy.section.head,
                    "unstick balances HTTP only, and this is TCP",
                    what_to_do,
                ));
            }
        }
        self.out.forget_pools();
        for proxy in proxies.iter().filter(|proxy| proxy.section.kind() == "backend") {
            if !self.out.pools.iter().any(|pool| pool.name == proxy.section.name()) {
                let why = "no translated rule leads to this backend";
                self.out.leave_out(left(&proxy.section.head, why, "name it in the route that needs it, or forget it"));
            }
        }
        let (routes, pools) = (self.out.routes.len(), &self.out.pools);
        for left in &mut self.out.left_out {
            let is_nowhere = match &left.at {
                At::Route(index) => *index >= routes,
                At::Pool(name) => !pools.iter().any(|pool| pool.name == *name),
                _ => false,
            };
            if is_nowhere {
                left.at = At::Top;
            }
        }
        self.out.share_errors();
        self.out.escape();
        self.out.left_out.sort_by(|one, other| one.place.cmp(&other.place));
    }

    fn pool_at(&self, name: &str) -> At {
        At::Pool(name.to_owned())
    }

    /// Notes the lines that have no translation at all, or that nobody knows.
    fn note_left(&mut self, lines: &[Line], at: &At) {
        for line in lines {
            let (why, what_to_do) = match fate_of(line) {
                Some(Fate::Left(why, what_to_do) | Fate::Guard(why, what_to_do)) => (why, what_to_do),
                Some(_) => continue,
                None => ("the importer does not know this keyword", "see what it does, and whether unstick has it"),
            };
            self.out.leave_out(LeftOut { at: at.clone(), ..left(line, why, what_to_do) });
        }
    }

    /// The deadlines of the whole file: those that are said first.
    fn deadlines(&mut self) {
        let proxies = self.proxies;
        for (theirs, ours, is_of_routes) in DEADLINES {
            let lines: Vec<&Line> = proxies.iter().filter_map(|proxy| proxy.one(theirs)).collect();
            let Some(first) = lines.first() else { continue };
            match time(first.word(2)) {
                Some(time) => ours.iter().for_each(|ours| self.out.table("timeouts").set(*ours, time.as_str())),
                None => self.out.leave_out(left(first, "this is no time", "see [timeouts]")),
            }
            // Those of backends are in their routes.
            let others = proxies.iter().filter(|proxy| !is_of_routes || proxy.section.kind() != "backend");
            for line in others.filter_map(|proxy| proxy.one(theirs)).filter(|line| line.word(2) != first.word(2)) {
                let why = "another section has another value, and [timeouts] holds for all";
                self.out.leave_out(left(line, why, "write `timeouts` in the routes where it differs"));
            }
        }
    }

    /// The deadlines in which a backend differs from the whole file.
    fn own_deadlines(&self, backend: &Proxy<'t>, keys: &mut Keys) {
        for (theirs, ours, _) in DEADLINES.iter().filter(|(.., is_of_routes)| *is_of_routes) {
            let first = self.proxies.iter().find_map(|proxy| proxy.one(theirs));
            let Some(own) = backend.one(theirs).filter(|own| first.is_some_and(|first| first.word(2) != own.word(2)))
            else {
                continue;
            };
            if let Some(time) = time(own.word(2)) {
                ours.iter().for_each(|ours| keys.set_in("timeouts", ours, time.as_str()));
            }
        }
    }

    /// A path of a file that unstick will read.
    fn file(&self, written: &str) -> String {
        self.base.as_ref().map_or_else(|| written.to_owned(), |base| base.join(written).display().to_string())
    }
}

/// What was left out there. It is put in its place later.
fn left(line: &Line, why: impl Into<String>, what_to_do: impl Into<String>) -> LeftOut {
    LeftOut {
        place: line.place.clone(),
        directive: line.written(),
        why: why.into(),
        what_to_do: what_to_do.into(),
        at: At::Top,
    }
}

fn fate_of(line: &Line) -> Option<Fate> {
    fate::find(WORDS, &line.keyword()).or_else(|| fate::find(WORDS, line.word(0)))
}

/// A time; without a unit it is in milliseconds.
fn time(text: &str) -> Option<String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" | "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor).filter(|ms| *ms > 0).map(shown)
}
