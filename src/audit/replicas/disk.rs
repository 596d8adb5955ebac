//! The disk of a replica: a private folder, and a copy of the folder of the user in which it runs.
//!
//! Packages and builds (`node_modules`, `.venv`, `venv` and `.git` anywhere, `target` at the top) are not copied but
//! linked. An application that names its own folder by an absolute path escapes from the copy; a fleet says so.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Component, Path, PathBuf};

/// The most bytes that are copied.
pub(super) const COPY_MAX: u64 = 1 << 30;
/// The most files, folders and links that are copied.
const ENTRIES_MAX: usize = 200_000;
/// The most fleets that are looked past for a name.
const FLEETS_MAX: u32 = 100_000;
/// What is linked wherever it is.
const LINKED: [&str; 4] = ["node_modules", ".venv", "venv", ".git"];
/// What is linked at the top.
const LINKED_AT_TOP: &str = "target";

/// Makes a new folder below the root, which nobody else can look into.
pub(super) fn fresh_folder(root: &Path) -> io::Result<PathBuf> {
    make_private(root)?;
    for number in 1..=FLEETS_MAX {
        let path = root.join(number.to_string());
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("it is full of folders of earlier runs"))
}

/// Makes a folder, and those above it, which nobody else can look into.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(path)
}

/// What a copy of a folder consists of.
#[derive(Debug)]
pub(super) struct Plan {
    source: PathBuf,
    /// Paths from the source. A folder stands before what is in it.
    entries: Vec<(PathBuf, Entry)>,
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Folder,
    File,
    /// A link, and what it leads to.
    Link(PathBuf),
}

impl Plan {
    /// Looks at a folder, leaving out one path (the folder of the audit may lie in it); `None` if it is too large.
    pub(super) fn of(source: &Path, left_out: &Path, bytes_max: u64) -> io::Result<Option<Self>> {
        let source = source.canonicalize()?;
        let left_out = left_out.canonicalize()?;
        let mut plan = Self { source, entries: Vec::new() };
        let mut ahead = vec![PathBuf::new()];
        let mut bytes = 0;
        while let Some(folder) = ahead.pop() {
            let Ok(entries) = fs::read_dir(plan.source.join(&folder)) else { continue };
            for entry in entries.flatten() {
                let path = folder.join(entry.file_name());
                // What cannot be looked at has gone since, and is no more to be copied.
                let Ok(metadata) = entry.metadata() else { continue };
                let kind = metadata.file_type();
                if plan.source.join(&path) == left_out {
                    continue;
                } else if kind.is_symlink() {
                    let Ok(target) = fs::read_link(entry.path()) else { continue };
                    let target = plan.moved(&folder, target);
                    plan.entries.push((path, Entry::Link(target)));
                } else if kind.is_dir() && is_linked(&path) {
                    plan.entries.push((path, Entry::Link(entry.path())));
                } else if kind.is_dir() {
                    plan.entries.push((path.clone(), Entry::Folder));
                    ahead.push(path);
                } else if kind.is_file() {
                    bytes += metadata.len();
                    plan.entries.push((path, Entry::File));
                }
                if bytes > bytes_max || plan.entries.len() > ENTRIES_MAX {
                    return Ok(None);
                }
            }
        }
        Ok(Some(plan))
    }

    /// What a link in a folder of the source must lead to in the copy: what lies inside stays inside, what lies outside
    /// is still found.
    fn moved(&self, folder: &Path, target: PathBuf) -> PathBuf {
        let up = |depth: usize| PathBuf::from_iter(std::iter::repeat_n("..", depth));
        let depth = folder.components().count();
        if let Ok(inner) = target.strip_prefix(&self.source) {
            return if depth == 0 { Path::new(".").join(inner) } else { up(depth).join(inner) };
        }
        let mut at = depth.cast_signed();
        let leaves = target.components().any(|part| {
            match part {
                Component::ParentDir => at -= 1,
                Component::Normal(_) => at += 1,
                Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            }
            at < 0
        });
        if target.is_relative() && leaves { self.source.join(folder).join(target) } else { target }
    }

    /// Links that lead out of the folder: what is behind them is not copied.
    pub(super) fn links_out(&self) -> Vec<String> {
        let leaves = |(path, entry): &&(PathBuf, Entry)| match entry {
            Entry::Link(target) => target.is_absolute() && !is_linked(path),
            Entry::Folder | Entry::File => false,
        };
        self.entries.iter().filter(leaves).map(|(path, _)| path.display().to_string()).collect()
    }

    /// Makes the copy, as long as it is wanted; the paths that could not be copied, with the reasons.
    pub(super) fn copy_to(&self, to: &Path, is_wanted: &dyn Fn() -> bool) -> io::Result<Vec<String>> {
        make_private(to)?;
        let mut failed = Vec::new();
        for (path, entry) in &self.entries {
            if !is_wanted() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let (from, to) = (self.source.join(path), to.join(path));
            let copied = match entry {
                Entry::Folder => DirBuilder::new().mode(0o700).create(&to),
                Entry::File => copy_file(&from, &to),
                Entry::Link(target) => symlink(target, &to),
            };
            match copied {
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Err(error),
                // What has gone since the plan was made is not missed.
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    failed.push(format!("{}: {error}", path.display()));
                }
                _ => {}
            }
        }
        Ok(failed)
    }
}

fn is_linked(path: &Path) -> bool {
    let is_at_top = path.components().count() == 1;
    path.file_name()
        .is_some_and(|name| LINKED.iter().any(|linked| name == *linked) || is_at_top && name == LINKED_AT_TOP)
}

/// Copies content, permissions and the time of the last change, by which build tools and Python know what is new.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    let modified = fs::metadata(from)?.modified()?;
    // A copy that looks newer than it is costs time only.
    File::open(to).and_then(|file| file.set_modified(modified)).ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn write(root: &Path, path: &str, content: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    #[test]
    fn a_copy_has_what_the_folder_has() {
        let folder = tempfile::tempdir().unwrap();
        let (source, to) = (folder.path().join("source"), folder.path().join("to"));
        for path in
            ["app.js", "sub/deep/a.txt", "node_modules/m.js", "sub/node_modules/n.js", "target/t", "sub/target/u"]
        {
            write(&source, path, path);
        }
        write(&source, "audit/left-out", "");
        fs::set_permissions(source.join("app.js"), fs::Permissions::from_mode(0o755)).unwrap();
        let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        File::open(source.join("app.js")).unwrap().set_modified(long_ago).unwrap();
        let plan = Plan::of(&source, &source.join("audit"), COPY_MAX).unwrap().expect("small enough");
        assert_eq!(plan.copy_to(&to, &|| true).unwrap(), Vec::<String>::new());

        for path in
            ["app.js", "sub/deep/a.txt", "node_modules/m.js", "sub/node_modules/n.js", "target/t", "sub/target/u"]
        {
            assert_eq!(fs::read_to_string(to.join(path)).unwrap(), path);
        }
        let is_link = |path: &str| fs::symlink_metadata(to.join(path)).unwrap().is_symlink();
        assert!(is_link("node_modules") && is_link("sub/node_modules") && is_link("target"));
        assert!(!is_link("sub") && !is_link("sub/target") && !is_link("app.js"));
        assert!(!to.join("audit").exists());
        let metadata = fs::metadata(to.join("app.js")).unwrap();
        assert_eq!((metadata.permissions().mode() & 0o777, metadata.modified().unwrap()), (0o755, long_ago));
    }

    #[test]
    fn links_lead_into_the_copy_or_out_of_it_as_before() {
        let folder = tempfile::tempdir().unwrap();
        let (source, to) = (folder.path().join("source"), folder.path().join("to"));
        write(&source, "sub/data", "inside");
        write(folder.path(), "beside", "outside");
        let links: [(&str, PathBuf); 5] = [
            ("near", "sub/data".into()),
            ("sub/up", "../sub/data".into()),
            ("sub/whole", source.canonicalize().unwrap().join("sub/data")),
            ("sub/out", "../../beside".into()),
            ("broken", "nowhere".into()),
        ];
        for (link, target) in &links {
            symlink(target, source.join(link)).unwrap();
        }
        let plan = Plan::of(&source, folder.path(), COPY_MAX).unwrap().expect("small enough");
        assert_eq!(plan.links_out(), ["sub/out"]);
        assert_eq!(plan.copy_to(&to, &|| true).unwrap(), Vec::<String>::new());

        fs::write(to.join("sub/data"), "changed").unwrap();
        let table = [("near", "changed"), ("sub/up", "changed"), ("sub/whole", "changed"), ("sub/out", "outside")];
        for (link, content) in table {
            assert_eq!(fs::read_to_string(to.join(link)).unwrap(), content, "{link}");
        }
        assert_eq!(fs::read_link(to.join("broken")).unwrap(), Path::new("nowhere"));
        assert_eq!(fs::read_to_string(source.join("sub/data")).unwrap(), "inside");
    }

    #[test]
    fn a_folder_that_is_too_large_is_not_copied() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        write(&source, "sub/ten", "0123456789");
        write(&source, "node_modules/not-counted", "0123456789");
        assert!(Plan::of(&source, folder.path(), 9).unwrap().is_none());
        assert!(Plan::of(&source, folder.path(), 10).unwrap().is_some());
    }

    #[test]
    fn a_copy_that_is_not_wanted_any_more_stops() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        (0..10).for_each(|number| write(&source, &number.to_string(), ""));
        let plan = Plan::of(&source, folder.path(), COPY_MAX).unwrap().expect("small enough");
        let asked = std::cell::Cell::new(0);
        let is_wanted = || asked.replace(asked.get() + 1) < 3;
        let error = plan.copy_to(&folder.path().join("to"), &is_wanted).expect_err("it is not wanted");
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        assert_eq!(fs::read_dir(folder.path().join("to")).unwrap().count(), 3);
    }

    #[test]
    fn what_is_no_file_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        write(&source, "a", "a");
        let socket = std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap();
        let plan = Plan::of(&source, folder.path(), COPY_MAX).unwrap().expect("small enough");
        assert_eq!(plan.copy_to(&folder.path().join("to"), &|| true).unwrap(), Vec::<String>::new());
        assert!(folder.path().join("to/a").exists() && !folder.path().join("to/socket").exists());
        drop(socket);
    }

    #[test]
    fn each_fleet_has_a_fresh_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("not/yet/there");
        let (one, other) = (fresh_folder(&root).unwrap(), fresh_folder(&root).unwrap());
        assert_ne!(one, other);
        assert_eq!(fs::metadata(&one).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&other).unwrap().count(), 0);
    }
}
