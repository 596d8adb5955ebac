//! How this process was started, so that its successor is started in the same way.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{Access, access};

/// Tells a process that its standard input is a channel to the process before it. Its value is the version of what is
/// said there.
pub(super) const VARIABLE: &str = "UNSTICK_UPGRADE";

/// What a supervisor has said to this process alone.
const OURS_ALONE: [&str; 6] =
    ["LISTEN_FDS", "LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDNAMES", "LISTEN_FDS_FIRST_FD", "WATCHDOG_PID"];

/// The program, the arguments and the folder of the first start. The path of the program is kept as it was written, not
/// the file that it led to: a package puts a new file there, and a deployment turns a symbolic link.
#[derive(Debug, Clone)]
pub struct Launch {
    program: PathBuf,
    arguments: Vec<OsString>,
    folder: PathBuf,
}

impl Launch {
    /// How this process was started. `None` if the system does not say it. It is called at the start, before anybody
    /// replaces the program.
    pub fn look() -> Option<Self> {
        let mut arguments = env::args_os();
        let name = arguments.next()?;
        let folder = named_folder(env::current_dir().ok()?, env::var_os("PWD").map(PathBuf::from));
        let program = resolve(&name, &folder, env::var_os("PATH").as_deref(), is_program)?;
        Some(Self { program, arguments: arguments.collect(), folder })
    }

    /// The path that is started.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Starts it once more, with `channel` as its standard input.
    pub(super) fn command(&self, channel: OwnedFd) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(&self.folder).stdin(Stdio::from(channel));
        OURS_ALONE.iter().for_each(|name| _ = command.env_remove(name));
        command.env("PWD", &self.folder).env(VARIABLE, super::wire::VERSION);
        command
    }
}

/// The folder by the name that the shell has for it, if that leads to the same one: it may contain a symbolic link that
/// will lead to the next version.
fn named_folder(real: PathBuf, named: Option<PathBuf>) -> PathBuf {
    let id = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    let is_same = |named: &PathBuf| named.is_absolute() && id(named).is_some() && id(named) == id(&real);
    named.filter(is_same).unwrap_or(real)
}

/// The path of the program that was started as `name`, found as a shell does.
fn resolve(name: &OsStr, folder: &Path, path: Option<&OsStr>, is_program: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    if name.as_encoded_bytes().contains(&b'/') {
        return Some(folder.join(name));
    }
    let mut places = env::split_paths(path?).map(|place| folder.join(place).join(name));
    places.find(|program| is_program(program))
}

fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_as_a_shell_does() {
        let is_there = |path: &Path| [Path::new("/usr/bin/unstick"), Path::new("/srv/bin/unstick")].contains(&path);
        let found = |name: &str, path: Option<&str>| {
            let program = resolve(name.as_ref(), Path::new("/srv"), path.map(OsStr::new), is_there);
            program.map(|path| path.display().to_string())
        };
        for (name, path, expected) in [
            ("/opt/unstick", Some("/usr/bin"), Some("/opt/unstick")),
            ("./unstick", None, Some("/srv/./unstick")),
            ("bin/unstick", None, Some("/srv/bin/unstick")),
            ("unstick", Some("/bin:/usr/bin:bin"), Some("/usr/bin/unstick")),
            ("unstick", Some("/bin:bin"), Some("/srv/bin/unstick")),
            ("unstick", Some("/bin"), None),
            ("unstick", None, None),
        ] {
            assert_eq!(found(name, path).as_deref(), expected, "{name} {path:?}");
        }
    }

    #[test]
    fn the_folder_keeps_the_name_that_may_lead_elsewhere_later() {
        let folder = tempfile::tempdir().unwrap();
        let [real, link, other] = ["1.0", "current", "2.0"].map(|name| folder.path().join(name));
        fs::create_dir(&real).unwrap();
        fs::create_dir(&other).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let named = |named: Option<&Path>| named_folder(real.clone(), named.map(Path::to_owned));
        assert_eq!(named(Some(&link)), link);
        for wrong in [None, Some(other.as_path()), Some(Path::new("current")), Some(Path::new("/nonexistent"))] {
            assert_eq!(named(wrong), real, "{wrong:?}");
        }
    }

    #[test]
    fn what_was_said_to_this_process_is_not_said_to_the_next() {
        let launch = Launch { program: "/bin/true".into(), arguments: vec!["run".into()], folder: "/".into() };
        let command = launch.command(fs::File::open("/dev/null").unwrap().into());
        let removed = |name: &str| command.get_envs().any(|(known, value)| known == name && value.is_none());
        assert!(OURS_ALONE.iter().all(|name| removed(name)));
        assert!(command.get_envs().any(|(name, value)| name == VARIABLE && value.is_some()));
        assert_eq!(command.get_current_dir(), Some(Path::new("/")));
    }
}
