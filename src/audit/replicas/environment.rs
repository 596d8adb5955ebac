//! The environment of a replica: what belongs to a user lies in its private folder.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use super::disk::make_private;

/// Variables, and the folders below the private one that they name.
const FOLDERS: [(&str, &str); 9] = [
    ("HOME", "home"),
    ("TMPDIR", "tmp"),
    ("TMP", "tmp"),
    ("TEMP", "tmp"),
    ("XDG_CACHE_HOME", "xdg/cache"),
    ("XDG_CONFIG_HOME", "xdg/config"),
    ("XDG_DATA_HOME", "xdg/data"),
    ("XDG_RUNTIME_DIR", "xdg/runtime"),
    ("XDG_STATE_HOME", "xdg/state"),
];

/// Toolchains that are found below `HOME` unless a variable says where. They are no state of an application, and
/// without them many commands do not run at all.
const TOOLS: [(&str, &str); 12] = [
    ("ASDF_DATA_DIR", ".asdf"),
    ("BUN_INSTALL", ".bun"),
    ("CARGO_HOME", ".cargo"),
    ("GOPATH", "go"),
    ("MISE_DATA_DIR", ".local/share/mise"),
    ("NVM_DIR", ".nvm"),
    ("PYENV_ROOT", ".pyenv"),
    ("PYTHONUSERBASE", ".local"),
    ("RBENV_ROOT", ".rbenv"),
    ("RUSTUP_HOME", ".rustup"),
    ("SDKMAN_DIR", ".sdkman"),
    ("VOLTA_HOME", ".volta"),
];

/// Makes the folders below the private one, and says which variables name them.
pub(super) fn private(folder: &Path) -> io::Result<Vec<(String, OsString)>> {
    let mut variables = Vec::new();
    for (name, path) in FOLDERS {
        let path = folder.join(path);
        make_private(&path)?;
        variables.push((name.to_owned(), path.into()));
    }
    Ok(variables)
}

/// Where the toolchains of the user are, as far as no variable says so yet.
pub(super) fn tools(variable: impl Fn(&str) -> Option<OsString>) -> Vec<(String, OsString)> {
    let Some(home) = variable("HOME") else { return Vec::new() };
    let unset = TOOLS.iter().filter(|(name, _)| variable(name).is_none());
    let found = unset.map(|(name, path)| (*name, Path::new(&home).join(path))).filter(|(_, path)| path.is_dir());
    found.map(|(name, path)| (name.to_owned(), path.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_is_private_and_there() {
        let folder = tempfile::tempdir().unwrap();
        let variables = private(folder.path()).unwrap();
        assert_eq!(variables.len(), FOLDERS.len());
        for (name, path) in variables {
            assert!(Path::new(&path).starts_with(folder.path()) && Path::new(&path).is_dir(), "{name}");
        }
    }

    #[test]
    fn toolchains_are_still_found() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".cargo")).unwrap();
        std::fs::create_dir(home.path().join(".nvm")).unwrap();
        let found = tools(|name| match name {
            "HOME" => Some(home.path().into()),
            "NVM_DIR" => Some("/elsewhere".into()),
            _ => None,
        });
        assert_eq!(found, [("CARGO_HOME".to_owned(), home.path().join(".cargo").into())]);
        assert_eq!(tools(|_| None), []);
    }
}
