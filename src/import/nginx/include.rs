//! Reads nginx.conf with all that it includes, as one tree.

use std::path::{Path, PathBuf};

use super::grammar::{Directive, parse};
use crate::files::{self, FILES_MAX};
use crate::imported::{At, Imported, LeftOut, Unreadable};
use crate::value::reference;

/// How deeply files may include each other.
const DEPTH_MAX: usize = 16;
/// Where distributions keep what absolute paths name. In a copy of that folder they are beside the main file.
const USUAL_FOLDER: &str = "/etc/nginx";

/// Reads the file; includes that cannot be found go to what was left out.
pub(super) fn read(path: &Path, imported: &mut Imported) -> Result<Vec<Directive>, Unreadable> {
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let mut reader = Reader { folder, files: 0, imported };
    reader.file(path, 0)
}

struct Reader<'a> {
    /// The folder of the main file. Includes begin there, also those of included files.
    folder: PathBuf,
    files: usize,
    imported: &'a mut Imported,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, depth: usize) -> Result<Vec<Directive>, Unreadable> {
        self.files += 1;
        if self.files > FILES_MAX || depth > DEPTH_MAX {
            let message = format!("more than {FILES_MAX} files, or includes deeper than {DEPTH_MAX}");
            return Err(Unreadable { file: path.display().to_string(), at: None, message });
        }
        let named = path.strip_prefix(&self.folder).unwrap_or(path).display().to_string();
        let text = files::read(path)?;
        let is_template = path.extension().is_some_and(|extension| extension == "template");
        let parsed = parse(&named, &if is_template { referring(&text) } else { text });
        let parsed = parsed.map_err(|error| Unreadable { file: path.display().to_string(), ..error })?;
        self.expand(parsed, depth)
    }

    fn expand(&mut self, directives: Vec<Directive>, depth: usize) -> Result<Vec<Directive>, Unreadable> {
        let mut all = Vec::new();
        for mut directive in directives {
            if let Some(block) = directive.block.take() {
                directive.block = Some(self.expand(block, depth)?);
            }
            if directive.name != "include" || directive.block.is_some() {
                all.push(directive);
                continue;
            }
            for path in self.paths(&directive) {
                all.extend(self.file(&path, depth + 1)?);
            }
        }
        Ok(all)
    }

    /// The files that an `include` names, sorted.
    fn paths(&mut self, include: &Directive) -> Vec<PathBuf> {
        let written = include.arg(0);
        let mut candidates = vec![self.folder.join(written)];
        if let Ok(below) = Path::new(written).strip_prefix(USUAL_FOLDER) {
            candidates.push(self.folder.join(below));
        }
        let is_pattern = written.contains(['*', '?', '[']);
        for candidate in &candidates {
            let found: Vec<PathBuf> = if is_pattern {
                glob::glob(&candidate.to_string_lossy()).map(|found| found.flatten().collect()).unwrap_or_default()
            } else {
                candidate.exists().then(|| candidate.clone()).into_iter().collect()
            };
            if !found.is_empty() {
                return found;
            }
        }
        let is_known = candidates.iter().any(|path| path.parent().is_some_and(Path::is_dir)) && is_pattern
            || written.ends_with("mime.types");
        if !is_known {
            self.imported.leave_out(LeftOut {
                place: include.place.clone(),
                directive: include.written(),
                why: "the file is not here, so what it says is unknown".to_owned(),
                what_to_do: "run `unstick import` where nginx runs, or copy the file there".to_owned(),
                at: At::Top,
            });
        }
        Vec::new()
    }
}

/// A template of `envsubst`: `$NAME` and `${NAME}` in capitals are of the environment, and nginx has no such variables.
fn referring(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (inner, is_braced) = after.strip_prefix('{').map_or((after, false), |inner| (inner, true));
        let is_of_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        let (name, next) = inner.split_at(inner.find(|c| !is_of_name(c)).unwrap_or(inner.len()));
        let next = if is_braced { next.strip_prefix('}') } else { Some(next) };
        let is_name = name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_');
        match next.filter(|next| is_name && !next.starts_with(|c: char| c.is_ascii_lowercase())) {
            Some(next) => {
                out.push_str(&reference(name, None));
                rest = next;
            }
            None => {
                out.push('$');
                rest = after;
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::shown;

    #[test]
    fn capitals_are_of_the_environment() {
        for (text, expected) in [
            ("listen ${PORT};", "listen ${PORT};"),
            ("$API_1/x", "${API_1}/x"),
            ("$host${uri} $1 $ ${a", "$host${uri} $1 $ ${a"),
            ("$Xy", "$Xy"),
        ] {
            assert_eq!(shown(&referring(text)), expected);
        }
        assert!(!referring("$host").contains(crate::value::MARKS) && referring("$A").contains(crate::value::MARKS));
    }
}
