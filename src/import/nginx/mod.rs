//! nginx.conf, with all that it includes.
//!
//! Read in the order of what nginx does with a request: `listeners` and `servers` find the server, `rewriting` runs its
//! `if`, `return` and `rewrite`, `locations` finds the location, `contents` says what is done there.

mod access;
mod branches;
mod conditions;
mod contents;
mod fields;
mod grammar;
mod include;
mod listeners;
mod locations;
mod lookaround;
mod maps;
mod methods;
mod options;
mod pages;
mod pools;
mod proxying;
mod rates;
mod rewriting;
mod scope;
mod servers;
mod tails;
mod text;
pub(crate) mod units;
pub(crate) mod words;

use std::path::{Path, PathBuf};

use grammar::Directive;
use listeners::Socket;
use scope::Scope;
use words::WORDS;

use crate::fate::{self, Fate};
use crate::imported::{At, Imported, LeftOut, Route, Unreadable};

/// Reads an nginx.conf. `base` is put in front of relative paths of files that unstick will read.
///
/// # Errors
/// A file that cannot be read or breaks the grammar. What cannot be translated is no error.
pub(super) fn import(path: &Path, base: Option<&Path>) -> Result<Imported, Unreadable> {
    let mut out = Imported::default();
    let tree = include::read(path, &mut out)?;
    let (main, http) = split(tree);
    let mut importer = Importer {
        out,
        main: &main,
        http: &http,
        sockets: Vec::new(),
        names: Vec::new(),
        told: Vec::new(),
        bare: Vec::new(),
        pools: Vec::new(),
        base: base.map(Path::to_owned),
    };
    importer.note_left(&main, &At::Top);
    importer.note_left(&http, &At::Top);
    importer.run();
    Ok(importer.out)
}

/// The directives outside `http`, and those of `http`. A file of `conf.d/` is all `http`.
fn split(tree: Vec<Directive>) -> (Vec<Directive>, Vec<Directive>) {
    let has_http = tree.iter().any(|item| item.name == "http");
    if !has_http {
        return (Vec::new(), tree);
    }
    let (mut main, mut http) = (Vec::new(), Vec::new());
    for item in tree {
        match item.block {
            Some(block) if item.name == "http" => http.extend(block),
            _ => main.push(item),
        }
    }
    (main, http)
}

/// What is being made of a tree.
struct Importer<'t> {
    out: Imported,
    /// The directives outside `http`.
    main: &'t [Directive],
    /// The directives of `http`.
    http: &'t [Directive],
    sockets: Vec<Socket>,
    /// The hosts that servers have on a listener: name of the listener, host.
    names: Vec<(String, String)>,
    /// What was told once already.
    told: Vec<&'static str>,
    /// Prefixes that end within a segment, with where they are written.
    bare: Vec<(LeftOut, String)>,
    /// The pools that were made: what identifies them, and their names.
    pools: Vec<(String, pools::Made)>,
    base: Option<PathBuf>,
}

/// A route that is being made, and what was left out of it.
#[derive(Debug, Clone)]
struct Draft {
    route: Route,
    left: Vec<LeftOut>,
}

impl<'t> Importer<'t> {
    fn run(&mut self) {
        let servers: Vec<&'t Directive> = self.blocks("server");
        self.listeners(&servers);
        self.globals(&servers);
        for (index, server) in servers.iter().enumerate() {
            self.server(index, server);
        }
        self.out.forget_unreached();
        self.out.forget_pools();
        self.tell_bare();
        self.unused_upstreams();
        self.out.share_errors();
        self.out.escape();
        let count = self.out.routes.len();
        for left in &mut self.out.left_out {
            let is_gone = match &left.at {
                At::Route(index) => *index >= count,
                At::Pool(name) => !self.out.pools.iter().any(|pool| pool.name == *name),
                _ => false,
            };
            if is_gone {
                left.at = At::Top;
            }
        }
        self.out.left_out.sort_by(|one, other| one.place.cmp(&other.place));
    }

    /// The blocks of this name in `http`.
    fn blocks(&self, name: &str) -> Vec<&'t Directive> {
        self.http.iter().filter(|item| item.name == name && item.block.is_some()).collect()
    }

    fn scope(&self) -> Scope<'t> {
        Scope::new(self.http)
    }

    /// Notes the directives of a block that have no translation at all, or that nobody knows.
    fn note_left(&mut self, items: &[Directive], at: &At) {
        for item in items {
            if let Some((why, what_to_do)) = no_translation(item) {
                self.out.leave_out(LeftOut { at: at.clone(), ..left(item, why, what_to_do) });
            }
        }
    }

    /// Adds a route, with its notes beside it.
    fn push(&mut self, draft: Draft) {
        let at = At::Route(self.out.routes.len());
        for note in draft.left {
            self.out.leave_out(LeftOut { at: at.clone(), ..note });
        }
        self.out.routes.push(draft.route);
    }

    /// A path of a file that unstick will read.
    fn file(&self, written: &str) -> String {
        match &self.base {
            Some(base) => base.join(written).display().to_string(),
            None => written.to_owned(),
        }
    }
}

/// What was left out there. It is put in its place later.
fn left(item: &Directive, why: impl Into<String>, what_to_do: impl Into<String>) -> LeftOut {
    LeftOut {
        place: item.place.clone(),
        directive: item.written(),
        why: why.into(),
        what_to_do: what_to_do.into(),
        at: At::Top,
    }
}

/// Why a directive has no translation and what to do; nothing if it has one, or is switched off.
fn no_translation(item: &Directive) -> Option<(&'static str, &'static str)> {
    let is_off = item.args.len() == 1 && matches!(item.arg(0), "off" | "0") || item.written() == "satisfy all";
    match fate_of(item) {
        Some(Fate::Left(..) | Fate::Guard(..)) if is_off => None,
        Some(Fate::Left(why, what_to_do) | Fate::Guard(why, what_to_do)) => Some((why, what_to_do)),
        Some(_) => None,
        None => Some(("the importer does not know this directive", "see what it does, and whether unstick has it")),
    }
}

fn fate_of(item: &Directive) -> Option<Fate> {
    let scripted = |prefix: &str| item.name.starts_with(prefix) && item.name.contains("_by_lua");
    if scripted("access") || scripted("rewrite") {
        return fate::find(WORDS, "access_by_lua_block");
    }
    if item.name.contains("_by_lua") || item.name.starts_with("lua_") {
        return fate::find(WORDS, "js_content");
    }
    fate::find(WORDS, &item.name)
}

/// What keeps clients out of a block and cannot be translated.
fn guard_of<'t>(scope: &Scope<'t>) -> Option<&'t Directive> {
    let mut guards = WORDS.iter().filter(|word| matches!(word.fate, Fate::Guard(..)));
    let named = guards.find_map(|word| scope.one(word.name).filter(|item| no_translation(item).is_some()));
    let is_script = |item: &&Directive| item.name.contains("_by_lua") && matches!(fate_of(item), Some(Fate::Guard(..)));
    named.or_else(|| scope.own().iter().find(is_script))
}
