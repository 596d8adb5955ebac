//! A user of the system that a server runs as, where this process is root.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::Path;

use anyhow::Context as _;
use rustix::fs::OFlags;
use rustix::process::geteuid;

/// A user of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) user: u32,
    pub(super) group: u32,
}

impl Account {
    /// The first of these users that there is: for a server that refuses to run as root. `Ok(None)`: this process is
    /// not root, and the server runs as it does.
    pub(super) fn unprivileged(names: &[&str]) -> anyhow::Result<Option<Self>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let users = std::fs::read_to_string("/etc/passwd").context("/etc/passwd")?;
        let found = names.iter().find_map(|name| Self::in_text(&users, name));
        found.map(Some).with_context(|| format!("there is none of the users {}", names.join(", ")))
    }

    /// The same for a server that would run as root too: it does if the user could not enter its program's folder.
    pub(super) fn for_program(names: &[&str], program: &Path) -> anyhow::Result<Option<Self>> {
        let program = program.canonicalize().with_context(|| program.display().to_string())?;
        if !program.parent().is_some_and(is_open_to_all) {
            return Ok(None);
        }
        Self::unprivileged(names)
    }

    fn in_text(users: &str, name: &str) -> Option<Self> {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2);
        let user = ids.next()?.parse().ok()?;
        Some(Self { user, group: ids.next()?.parse().ok()? })
    }
}

/// Whether every user can enter a folder and all folders above it.
pub(super) fn is_open_to_all(folder: &Path) -> bool {
    folder.ancestors().all(|part| std::fs::metadata(part).is_ok_and(|found| found.is_dir() && found.mode() & 0o001 > 0))
}

/// Opens what a path names, but not what a link leads to: the folder may belong to a user who has put one there.
pub(super) fn open_itself(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path)
}

/// Writes a new file that only its owner may read: for secrets, which would show up in `ps` as arguments.
pub(super) fn write_private(path: &Path, text: &str, owner: Option<Account>) -> anyhow::Result<()> {
    let write = || {
        // One that is there is of an earlier start, or not ours.
        std::fs::remove_file(path).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        let mut file = open_itself(OpenOptions::new().write(true).create_new(true).mode(0o600), path)?;
        io::Write::write_all(&mut file, text.as_bytes())?;
        give_open(&file, owner)
    };
    write().with_context(|| path.display().to_string())
}

/// Gives something to the user that a server runs as.
pub(super) fn give(path: &Path, owner: Option<Account>) -> io::Result<()> {
    if owner.is_none() {
        return Ok(());
    }
    give_open(&open_itself(OpenOptions::new().read(true), path)?, owner)
}

fn give_open(file: &File, owner: Option<Account>) -> io::Result<()> {
    owner.map_or(Ok(()), |Account { user, group }| fchown(file, Some(user), Some(group)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_link_leads_to_is_neither_written_nor_given_away() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("of others"), folder.path().join("redis.conf"));
        std::fs::write(&file, "theirs").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(give(&link, Some(Account { user: 65534, group: 65534 })).is_err());
        assert!(open_itself(OpenOptions::new().append(true), &link).is_err());
        write_private(&link, "ours", None).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "theirs");
        assert!(!link.is_symlink() && std::fs::read_to_string(&link).unwrap() == "ours");
    }

    #[test]
    fn users_are_found_by_their_names() {
        let users = "root:x:0:0:root:/root:/bin/sh\npostgres2:x:9:9::/:/bin/sh\npostgres:x:101:104:P:/var:/bin/bash\n";
        assert_eq!(Account::in_text(users, "postgres"), Some(Account { user: 101, group: 104 }));
        assert_eq!(Account::in_text(users, "nobody"), None);
        let private = tempfile::tempdir().unwrap();
        assert_eq!(
            Account::for_program(&["nobody"], Path::new("/bin/sh")).ok(),
            Account::unprivileged(&["nobody"]).ok()
        );
        let of_one = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(private.path(), of_one).unwrap();
        std::fs::write(private.path().join("server"), "").unwrap();
        assert_eq!(Account::for_program(&["nobody"], &private.path().join("server")).unwrap(), None);
    }
}
