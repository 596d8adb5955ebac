//! The files of a configuration: the static one, and those that its file provider reads.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::node::{Data, Node};
use super::text::literal;
use super::{left, toml_file, yaml};
use crate::files::{self, FILES_MAX};
use crate::imported::{LeftOut, Place, Unreadable};

/// Where Traefik looks for its files. What is not there is looked for where the configuration is.
const HOME: &str = "/etc/traefik";

/// What was read.
#[derive(Debug)]
pub(super) struct Sources {
    /// The static configuration.
    pub(super) fixed: Node,
    /// Routers, services, middlewares and the like.
    pub(super) dynamic: Node,
    pub(super) left: Vec<LeftOut>,
    /// Whether there is a static configuration, so that an entry point that it does not name is none.
    pub(super) knows_entries: bool,
}

/// Reads a file, and those that it names.
pub(super) fn load(path: &Path) -> Result<Sources, Unreadable> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let place = Place { file: name.as_str().into(), line: 1 };
    let mut sources = Sources::empty(&place);
    sources.add(read(path, &name)?, true);
    sources.follow(folder, &[])?;
    Ok(sources)
}

/// A file as a tree, and what is told of it.
pub(super) fn read(path: &Path, name: &str) -> Result<(Node, Option<LeftOut>), Unreadable> {
    let text = files::read(path)?;
    let file: Rc<str> = name.into();
    let is_toml = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("toml"));
    let parsed = if is_toml { toml_file::parse(&file, &text, literal) } else { yaml::parse(&file, &text, literal) };
    let node = parsed.map_err(|error| Unreadable { file: path.display().to_string(), ..error })?;
    let template = text.lines().position(|line| line.contains("{{")).map(|line| {
        let why = "templates of Go are not run: their text is taken as it is";
        let place = Place { file, line: line + 1 };
        left(&place, "{{ ... }}", why, "write what Traefik would make of it; unstick knows ${NAME} of the environment")
    });
    Ok((node, template))
}

impl Sources {
    pub(super) fn empty(place: &Place) -> Self {
        let nothing = || Node::empty(place.clone());
        Self { fixed: nothing(), dynamic: nothing(), left: Vec::new(), knows_entries: false }
    }

    /// Adds a file. Only the first may have a static configuration.
    fn add(&mut self, (node, template): (Node, Option<LeftOut>), is_first: bool) {
        self.left.extend(template);
        let place = node.place.clone();
        let Data::Map(entries) = node.data else { return };
        for (key, value) in entries {
            let is_dynamic = ["http", "tcp", "udp", "tls"].contains(&&*key.to_ascii_lowercase());
            let one = Node { place: place.clone(), data: Data::Map(vec![(key, value)]) };
            if is_dynamic || !is_first {
                self.check_names(&one);
                self.dynamic.join(one);
            } else {
                self.knows_entries = true;
                self.fixed.join(one);
            }
        }
    }

    /// Tells of what is there already: Traefik has it once for each provider.
    fn check_names(&mut self, more: &Node) {
        for part in ["routers", "services", "middlewares"].map(|part| format!("http.{part}")) {
            let Some(known) = self.dynamic.get(&part) else { continue };
            let known: HashSet<String> = known.entries().iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
            for (name, node) in more.get(&part).map(Node::entries).unwrap_or_default() {
                if known.contains(&name.to_ascii_lowercase()) {
                    let why = "this name is there twice; here both are one, and what the first says counts";
                    self.left.push(left(&node.place, format!("{part}.{name}"), why, "give it another name"));
                }
            }
        }
    }

    /// Reads what the file provider names. `mounts` are folders and files of a container, with where they come from.
    pub(super) fn follow(&mut self, folder: &Path, mounts: &[(String, PathBuf)]) -> Result<(), Unreadable> {
        let named: Vec<(String, Place)> = ["filename", "directory"]
            .iter()
            .filter_map(|key| self.fixed.get(&format!("providers.file.{key}")))
            .filter_map(|node| Some((node.text()?.to_owned(), node.place.clone())))
            .collect();
        for (written, place) in named {
            let found = find(folder, &written, mounts).map(|path| below(&path)).unwrap_or_default();
            if found.is_empty() {
                let why = "there is no such file here";
                self.left.push(left(&place, format!("providers.file: {written}"), why, "import that file, too"));
            }
            if found.len() > FILES_MAX {
                let message = format!("the folder has more than {FILES_MAX} files");
                return Err(Unreadable { file: written, at: None, message });
            }
            for path in found {
                let name = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
                self.add(read(&path, &name)?, false);
            }
        }
        Ok(())
    }
}

/// Where a path of a configuration is here.
pub(super) fn find(folder: &Path, written: &str, mounts: &[(String, PathBuf)]) -> Option<PathBuf> {
    let mounted = mounts.iter().filter_map(|(inside, outside)| {
        let rest = Path::new(written).strip_prefix(inside).ok()?;
        Some(if rest.as_os_str().is_empty() { outside.clone() } else { outside.join(rest) })
    });
    let at_home = Path::new(written).strip_prefix(HOME).ok().map(|rest| folder.join(rest));
    let last = Path::new(written).file_name().map(|name| folder.join(name));
    let mut candidates = mounted.chain([folder.join(written)]).chain(at_home).chain(last);
    candidates.find(|candidate| candidate.exists())
}

/// The files of a path: itself, or those in the folder that it is, sorted, with those in folders of it.
fn below(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let (mut found, mut open) = (Vec::new(), vec![path.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            // A link could lead to where it is.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(path),
                _ if path
                    .extension()
                    .is_some_and(|ending| ["yml", "yaml", "toml"].iter().any(|known| ending == *known)) =>
                {
                    found.push(path);
                }
                _ => {}
            }
        }
        if found.len() > FILES_MAX || open.len() > FILES_MAX {
            break;
        }
    }
    found.sort();
    found
}
