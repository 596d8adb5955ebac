//! The places of replicas on the disk: made before they start, and described where they are less apart than they look.

use std::io;
use std::path::{Path, PathBuf};

use super::Disk;
use super::disk::{COPY_MAX, Plan, fresh_folder, make_private};
use super::trouble::Trouble;

/// So many paths are named in a note.
const NAMED_MAX: usize = 3;

/// The place of a replica.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Where it runs.
    pub(super) folder: PathBuf,
    /// `{dir}`.
    pub(super) private: PathBuf,
}

/// A fresh folder below the root, whose name can stand in a command as it is.
pub(super) fn private_folder(root: &Path) -> Result<PathBuf, Trouble> {
    let made = fresh_folder(root).and_then(|folder| folder.canonicalize());
    let folder = made.map_err(|source| Trouble::Folder { path: root.to_owned(), source })?;
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@=".contains(c);
    if folder.to_str().is_some_and(|path| path.chars().all(is_plain)) {
        return Ok(folder);
    }
    // It is empty, and of no use.
    std::fs::remove_dir(&folder).ok();
    Err(Trouble::FolderName { path: folder })
}

/// What places are wanted.
#[derive(Debug)]
pub(super) struct Wish {
    /// What is copied.
    pub(super) source: PathBuf,
    /// What is not copied even if it lies in the source.
    pub(super) root: PathBuf,
    /// Where they are made.
    pub(super) to: PathBuf,
    pub(super) disk: Disk,
    /// For so many replicas.
    pub(super) count: usize,
    /// What will run there.
    pub(super) command: String,
}

impl Wish {
    /// Makes the places, as long as they are wanted; what is to be known of them, in sentences.
    pub(super) fn make(&self, is_wanted: &dyn Fn() -> bool) -> io::Result<(Vec<Place>, Vec<String>)> {
        let plan = Plan::of(&self.source, &self.root, COPY_MAX)?;
        let mut notes = self.shared(plan.as_ref());
        let mut places = Vec::new();
        let own = if self.disk == Disk::Own { self.count } else { 1 };
        for number in 1..=own {
            let (private, folder) = (self.to.join(format!("{number}/dir")), self.to.join(format!("{number}/work")));
            make_private(&private)?;
            let Some(plan) = &plan else {
                places.push(Place { folder: self.source.clone(), private });
                continue;
            };
            let failed = plan.copy_to(&folder, is_wanted)?;
            if number == 1 && !failed.is_empty() {
                notes.push(format!("Not copied for the replicas: {}.", listed(&failed)));
            }
            places.push(Place { folder, private });
        }
        places.extend(std::iter::repeat_n(places[0].clone(), self.count - own));
        Ok((places, notes))
    }

    /// What replicas share although it may look as if they did not, in sentences.
    fn shared(&self, plan: Option<&Plan>) -> Vec<String> {
        let path = self.source.display().to_string();
        let Some(plan) = plan else {
            return vec![format!(
                "The folder {path} is too large to be copied (more than 1 GiB or 200000 files): all replicas run in \
                 it, and share what they write there."
            )];
        };
        let mut notes = Vec::new();
        let out = plan.links_out();
        if !out.is_empty() {
            notes.push(format!("Links lead out of {path}, so replicas share what is behind: {}.", listed(&out)));
        }
        // The root of the disk is in every path.
        if path.len() > 1 && self.command.contains(&path) {
            notes.push(format!("The command names {path}, so replicas may share what they write there."));
        }
        notes
    }
}

/// The first of these, and how many others there are.
fn listed(paths: &[String]) -> String {
    let named = paths.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    if paths.len() > NAMED_MAX { format!("{named} and {} more", paths.len() - NAMED_MAX) } else { named }
}
