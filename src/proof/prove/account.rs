//! A user of the system that a server runs as, where this process is root.

use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::Path;

use anyhow::Context as _;
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

/// Writes a file that only its owner may read: for secrets, which would show up in `ps` as arguments.
pub(super) fn write_private(path: &Path, text: &str, owner: Option<Account>) -> anyhow::Result<()> {
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        give(path, owner)
    };
    write().with_context(|| path.display().to_string())
}

/// Gives something to the user that a server runs as.
pub(super) fn give(path: &Path, owner: Option<Account>) -> std::io::Result<()> {
    owner.map_or(Ok(()), |Account { user, group }| chown(path, Some(user), Some(group)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
