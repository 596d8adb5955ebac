//! Keys that replicas share, and how they come by new ones: a file in the directory of the arm, a key on each line. The
//! first one seals, every one opens. As long as there is no such file the one of the environment does both.

use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use super::{Claims, Seal};
use crate::prove::replica::Replica;
use crate::prove::store::Unavailable;

/// The name of the file.
pub(in crate::prove) const KEYS_FILE: &str = "keys";
/// How many keys there are at most: the old one and the new one.
const KEYS_MAX: usize = 2;

/// The keys of one replica.
pub(super) struct Keyring<S> {
    file: PathBuf,
    keys: RwLock<Vec<S>>,
}

impl<S: Seal> Keyring<S> {
    /// The keys of a replica that has just been started.
    pub(super) fn of(replica: &Replica) -> anyhow::Result<Self> {
        let file = replica.directory.join(KEYS_FILE);
        let keys = if file.exists() { read(&file)? } else { vec![S::with_key(replica.key()?.as_bytes())?] };
        Ok(Self { file, keys: RwLock::new(keys) })
    }

    /// Keys that no file has.
    pub(super) fn of_keys(keys: Vec<S>) -> Self {
        Self { file: PathBuf::new(), keys: RwLock::new(keys) }
    }

    /// Reads the file again.
    pub(super) fn reload(&self) -> Result<(), Unavailable> {
        let keys = read(&self.file)?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    pub(super) fn seal(&self, claims: &Claims) -> Result<String, Unavailable> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let sealing = keys.first().ok_or_else(|| Unavailable("there is no key".into()))?;
        let token = sealing.seal(claims)?;
        Ok(token)
    }

    pub(super) fn open(&self, token: &str) -> Option<Claims> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).iter().find_map(|key| key.open(token))
    }
}

fn read<S: Seal>(file: &PathBuf) -> Result<Vec<S>, Unavailable> {
    let text = std::fs::read_to_string(file).map_err(|error| Unavailable(format!("{}: {error}", file.display())))?;
    let keys: Vec<S> = text.lines().take(KEYS_MAX).map(|key| S::with_key(key.as_bytes())).collect::<Result<_, _>>()?;
    if keys.is_empty() { Err(Unavailable("the file of keys is empty".into())) } else { Ok(keys) }
}
