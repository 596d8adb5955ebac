//! Where an application keeps its state: in the memory of the process, or in a folder.
//!
//! Nothing here waits long: values are small, and the folder is on a local disk. So files are read and written where
//! the request is served.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most values in memory. Beyond, nothing new is taken.
const VALUES_MAX: usize = 10_000;

/// The most bytes of a value.
const VALUE_BYTES_MAX: u64 = 1024 * 1024;

/// Values by name. Names are those that [`is_name`] admits.
pub(super) enum Store {
    Memory(Mutex<BTreeMap<String, Vec<u8>>>),
    Folder(PathBuf),
}

/// Whether this can be the name of a value, and so of a file.
pub(super) fn is_name(name: &str) -> bool {
    (1..=100).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// A name that nobody else has.
pub(super) fn random_name() -> String {
    format!("{:032x}", fastrand::u128(..))
}

impl Store {
    pub(super) fn memory() -> Self {
        Self::Memory(Mutex::default())
    }

    pub(super) fn folder(path: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&path)?;
        Ok(Self::Folder(path))
    }

    /// Writes a value. Readers see the old one or the new one, never a part.
    pub(super) fn put(&self, name: &str, value: &[u8]) -> io::Result<()> {
        match self {
            Self::Memory(values) => {
                let mut values = locked(values);
                room_for(&values, name)?;
                values.insert(name.to_owned(), value.to_owned());
                Ok(())
            }
            Self::Folder(folder) => {
                let staged = folder.join(format!(".{}", random_name()));
                fs::write(&staged, value)?;
                fs::rename(staged, folder.join(name))
            }
        }
    }

    pub(super) fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Memory(values) => Ok(locked(values).get(name).cloned()),
            Self::Folder(folder) => present(read(folder.join(name))),
        }
    }

    /// Takes a value away. Of several that ask at one time, one gets it.
    pub(super) fn take(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Memory(values) => Ok(locked(values).remove(name)),
            Self::Folder(folder) => {
                let taken = folder.join(format!(".{}", random_name()));
                if present(fs::rename(folder.join(name), &taken))?.is_none() {
                    return Ok(None);
                }
                let value = read(taken.clone())?;
                fs::remove_file(taken)?;
                Ok(Some(value))
            }
        }
    }

    /// Adds bytes at the end, and says how many there are up to the end of these.
    pub(super) fn append(&self, name: &str, more: &[u8]) -> io::Result<u64> {
        let length = match self {
            Self::Memory(values) => {
                let mut values = locked(values);
                room_for(&values, name)?;
                let value = values.entry(name.to_owned()).or_default();
                value.extend_from_slice(more);
                value.len() as u64
            }
            Self::Folder(folder) => {
                let mut file = File::options().append(true).create(true).open(folder.join(name))?;
                // One write, which the kernel puts at the end at that moment: no lock is needed among processes.
                if file.write(more)? != more.len() {
                    return Err(io::Error::from(io::ErrorKind::WriteZero));
                }
                file.stream_position()?
            }
        };
        if length > VALUE_BYTES_MAX { Err(io::Error::from(io::ErrorKind::FileTooLarge)) } else { Ok(length) }
    }

    /// The names that begin like this.
    pub(super) fn names(&self, beginning: &str) -> io::Result<Vec<String>> {
        let names: Vec<String> = match self {
            Self::Memory(values) => locked(values).keys().cloned().collect(),
            Self::Folder(folder) => {
                let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
                entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
            }
        };
        Ok(names.into_iter().filter(|name| name.starts_with(beginning)).collect())
    }
}

fn locked<T>(values: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one call, so a panic of another holder leaves no half of one.
    values.lock().unwrap_or_else(PoisonError::into_inner)
}

fn room_for(values: &BTreeMap<String, Vec<u8>>, name: &str) -> io::Result<()> {
    if values.len() < VALUES_MAX || values.contains_key(name) { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
}

fn read(path: PathBuf) -> io::Result<Vec<u8>> {
    let mut value = Vec::new();
    File::open(path)?.take(VALUE_BYTES_MAX).read_to_end(&mut value)?;
    Ok(value)
}

fn present<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(check: impl Fn(&Store)) {
        check(&Store::memory());
        let folder = tempfile::tempdir().unwrap();
        check(&Store::folder(folder.path().join("new")).unwrap());
    }

    #[test]
    fn a_value_can_be_read_often_and_taken_once() {
        both(|store| {
            assert_eq!(store.get("a").unwrap(), None);
            store.put("a", b"1").unwrap();
            store.put("a", b"2").unwrap();
            assert_eq!(store.get("a").unwrap(), Some(b"2".to_vec()));
            assert_eq!(store.take("a").unwrap(), Some(b"2".to_vec()));
            assert_eq!(store.take("a").unwrap(), None);
            assert_eq!(store.names("").unwrap(), Vec::<String>::new());
        });
    }

    #[test]
    fn what_is_added_is_counted() {
        both(|store| {
            assert_eq!(store.append("hits-a", b"x").unwrap(), 1);
            assert_eq!(store.append("hits-b", b"x").unwrap(), 1);
            assert_eq!(store.append("hits-a", b"xy").unwrap(), 3);
            assert_eq!(store.get("hits-a").unwrap(), Some(b"xxy".to_vec()));
            let mut names = store.names("hits").unwrap();
            names.sort();
            assert_eq!(names, ["hits-a", "hits-b"]);
        });
    }

    #[test]
    fn a_folder_is_shared_and_memory_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = [0, 1].map(|_| Store::folder(folder.path().to_owned()).unwrap());
        one.append("a", b"x").unwrap();
        assert_eq!(other.append("a", b"x").unwrap(), 2);
        let [one, other] = [0, 1].map(|_| Store::memory());
        one.append("a", b"x").unwrap();
        assert_eq!(other.append("a", b"x").unwrap(), 1);
    }

    #[test]
    fn memory_takes_only_so_many_values() {
        let store = Store::memory();
        for number in 0..VALUES_MAX {
            store.put(&number.to_string(), b"").unwrap();
        }
        assert!(store.put("more", b"").is_err());
        assert!(store.append("more", b"x").is_err());
        store.put("7", b"again").unwrap();
    }

    #[test]
    fn names_stay_in_the_folder() {
        for (name, admitted) in
            [("u-1a", true), ("", false), ("..", false), ("a/b", false), (".a", false), ("a b", false)]
        {
            assert_eq!(is_name(name), admitted, "{name:?}");
        }
        assert!(!is_name(&"a".repeat(101)));
    }
}
