//! How replicas come by another key for their tokens: every one must open with it before any seals with it, and the old
//! one opens for as long as tokens of it may be good.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::Context as _;
use tokio::time::sleep;

use super::acts::held_by;
use super::{Fleet, Parts};
use crate::prove::arm::KEYS_FILE;
use crate::prove::sabotage::{BETWEEN_REPLICAS, Sabotage};
use crate::prove::store::new_token;
use crate::trial::fault::Rekey;
use crate::trial::history::State;
use crate::trial::recorder::Recorder;

impl Fleet {
    /// Gives all replicas other keys, one replica after the other.
    pub(super) async fn rekey(&self, parts: &mut Parts, step: Rekey, recorder: &Recorder) -> anyhow::Result<()> {
        let planted = self.plan.planted;
        let new = match &parts.new_key {
            Some(key) => key.clone(),
            None => parts.new_key.insert(new_token()?).clone(),
        };
        let old = self.key.as_str();
        let keys = match step {
            Rekey::Announce if planted.is(Sabotage::KeyUnannounced) => vec![old],
            Rekey::Announce => vec![old, new.as_str()],
            Rekey::Use if planted.is(Sabotage::KeyWithoutOverlap) => vec![new.as_str()],
            Rekey::Use => vec![new.as_str(), old],
        };
        self.write_keys(&keys)?;
        if step == Rekey::Use {
            recorder.mark("the new key", State::Rekeying, 0);
        }
        for replica in &parts.replicas {
            held_by(replica.entry.address, "keys").await.context("a replica does not take the keys")?;
            if planted.is(Sabotage::KeyUnannounced) {
                sleep(BETWEEN_REPLICAS).await;
            }
        }
        if step == Rekey::Use {
            recorder.mark("the new key", State::Rekeyed, 0);
        }
        Ok(())
    }

    /// Replaces the file of keys. Nobody else may read it.
    fn write_keys(&self, keys: &[&str]) -> anyhow::Result<()> {
        let file = self.plan.directory.join(KEYS_FILE);
        let new = file.with_extension("new");
        let options = File::options().mode(0o600).write(true).create(true).truncate(true).to_owned();
        let mut opened = options.open(&new).with_context(|| new.display().to_string())?;
        opened.write_all(keys.join("\n").as_bytes())?;
        std::fs::rename(&new, &file).with_context(|| file.display().to_string())
    }
}
