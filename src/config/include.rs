//! The key `include`: which other files are parts of the config.
//!
//! Only the first file may include others. So the order of all files is seen in one place, and nothing can go in a
//! circle. Wildcards are for names of files, not of folders: the folders that must be watched are then known.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use glob::MatchOptions;
use unstick_reading::{Document, Section, Sink, Value};

use super::outside::World;

/// The most files that a config includes.
pub(super) const FILES_MAX: usize = 1000;
/// A file whose name begins with a dot is hidden: what an editor is writing, or a folder of Kubernetes.
const MATCHING: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// The files of one folder that are included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// The folder.
    pub folder: PathBuf,
    name: Name,
}

/// Which names of files fit.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    One(String),
    Any(glob::Pattern),
}

impl Pattern {
    /// Reads `conf.d/*.toml`, which begins in `folder`; what is wrong, and, after `; `, what to write.
    fn parse(folder: &Path, text: &str) -> Result<Self, String> {
        let is_wild = |text: &str| text.contains(['*', '?', '[']);
        let (below, name) = text
            .rsplit_once('/')
            .map_or(("", text), |(below, name)| (if below.is_empty() { "/" } else { below }, name));
        if matches!(name, "" | "." | "..") {
            return Err(format!("`{text}` names no file; write \"conf.d/*.toml\" for all of a folder"));
        }
        if is_wild(below) {
            return Err(format!("`{text}` has a wildcard in a folder; write one pattern for each folder"));
        }
        let name = if is_wild(name) {
            let pattern = glob::Pattern::new(name).map_err(|error| format!("`{text}` is no pattern: {}", error.msg))?;
            Name::Any(pattern)
        } else {
            Name::One(name.to_owned())
        };
        Ok(Self { folder: folder.join(below), name })
    }

    /// Whether a file of the folder with this name is meant.
    pub fn fits(&self, name: &OsStr) -> bool {
        match &self.name {
            Name::One(wanted) => name == wanted.as_str(),
            Name::Any(pattern) => name.to_str().is_some_and(|name| pattern.matches_with(name, MATCHING)),
        }
    }

    /// The only file that is meant, if it is called by its name.
    pub(super) fn file(&self) -> Option<PathBuf> {
        match &self.name {
            Name::One(name) => Some(self.folder.join(name)),
            Name::Any(_) => None,
        }
    }
}

/// A file that is a part of the config.
pub(super) struct Included {
    pub(super) name: String,
    pub(super) text: String,
}

/// The patterns of the first file, in their order.
pub(super) fn patterns<'a>(top: &Section<'a>) -> Vec<(Pattern, Value<'a>)> {
    let elements = top.get("include").and_then(|value| value.array()).unwrap_or_default();
    let pattern = |value: Value<'a>| {
        let folder = value.sink.folder_of(value.span.start);
        Some((value.parsed(|text| Pattern::parse(folder, text))?, value))
    };
    elements.into_iter().filter_map(pattern).collect()
}

/// A file that is included, or why the folder of its pattern cannot be looked into, and the number of the pattern.
type Found = (usize, io::Result<PathBuf>);

/// The files that are included, each once: those of a pattern in the order of their names. One more than is possible,
/// if there are more.
pub(super) fn files<'p>(patterns: impl Iterator<Item = &'p Pattern>, first: &Path, world: &dyn World) -> Vec<Found> {
    let (mut found, mut known) = (Vec::new(), HashSet::new());
    for (nth, pattern) in patterns.enumerate() {
        let files = world.files(pattern).unwrap_or_else(|error| {
            found.push((nth, Err(error)));
            Vec::new()
        });
        if known.is_empty() && !files.is_empty() {
            known.insert(world.identity(first));
        }
        for file in files {
            if found.len() <= FILES_MAX && known.insert(world.identity(&file)) {
                found.push((nth, Ok(file)));
            }
        }
    }
    found
}

/// Reads the files that are included.
pub(super) fn read(patterns: &[(Pattern, Value<'_>)], first: &Path, world: &dyn World) -> Vec<Included> {
    let mut included = Vec::new();
    for (nth, (pattern, file)) in
        files(patterns.iter().map(|(pattern, _)| pattern), first, world).into_iter().enumerate()
    {
        let (pattern, value) = &patterns[pattern];
        match file {
            Ok(_) if nth == FILES_MAX => {
                let message = format!("more than {FILES_MAX} files are included");
                value.report(message, Some("put what belongs together into one file".to_owned()));
            }
            Ok(file) => included.extend(text(&file, value, world)),
            Err(error) => value.report(format!("cannot look into {}: {error}", pattern.folder.display()), None),
        }
    }
    included
}

/// Reads a file; what is wrong with it is reported where it is included.
fn text(file: &Path, value: &Value<'_>, world: &dyn World) -> Option<Included> {
    let name = file.display().to_string();
    let bytes = world.text(file).map_err(|error| {
        let help = (error.kind() == io::ErrorKind::NotFound)
            .then(|| "a file that may be absent is included by a pattern: \"local*.toml\"".to_owned());
        value.report(format!("cannot read {name}: {error}"), help);
    });
    let text = String::from_utf8(bytes.ok()?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let help = "TOML files are UTF-8: save it as such".to_owned();
        value.report(format!("{name} is not UTF-8 (byte {at})"), Some(help));
    });
    Some(Included { name, text: text.ok()? })
}

/// Reports an `include` in a file that is itself included.
pub(super) fn refuse(part: &mut Document<'_>, sink: &Sink<'_>) {
    let table = part.table.get_mut();
    if let Some((key, _)) = table.get_key_value("include") {
        let help = "add the pattern to the first file; a relative one begins where that file is".to_owned();
        sink.report(key.span(), "a file that is included includes no others", Some(help));
        table.remove("include");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_folder_and_the_names_of_files() {
        for (text, folder, fitting, other) in [
            ("conf.d/*.toml", "etc/conf.d", "a.toml", "a.toml.bak"),
            ("conf.d/*.toml", "etc/conf.d", "b c.toml", ".a.toml"),
            ("/run/x/site-[ab]?.toml", "/run/x", "site-a1.toml", "site-c1.toml"),
            ("pools.toml", "etc", "pools.toml", "Pools.toml"),
            ("../shared.toml", "etc/..", "shared.toml", "x"),
            ("/all.toml", "/", "all.toml", "x"),
        ] {
            let pattern = Pattern::parse(Path::new("etc"), text).unwrap();
            assert_eq!(pattern.folder, Path::new(folder), "{text}");
            assert!(pattern.fits(OsStr::new(fitting)) && !pattern.fits(OsStr::new(other)), "{text}");
        }
    }

    #[test]
    fn what_is_no_pattern_says_what_to_write() {
        for (text, part) in [
            ("", "names no file"),
            ("conf.d/", "names no file"),
            ("..", "names no file"),
            ("*/a.toml", "wildcard in a folder"),
            ("**/a.toml", "wildcard in a folder"),
            ("a***.toml", "is no pattern"),
            ("[", "is no pattern"),
        ] {
            let why = Pattern::parse(Path::new("etc"), text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
    }
}
