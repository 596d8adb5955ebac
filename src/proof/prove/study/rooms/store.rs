//! What a replica needs of what keeps rooms: all that differs between the places of the study.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{Receiver, Sender, channel};

/// Messages that a member may be behind before it reads them again from what keeps them.
const BEHIND_MAX: usize = 256;

/// A message of a room. Who said it and its number tell it from all others; a sender counts its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Said {
    /// Its place in the room: 1, 2, 3 and so on.
    pub(super) id: u64,
    pub(super) from: u32,
    pub(super) number: u32,
}

/// What keeps rooms.
pub(super) trait Rooms: Send + Sync + 'static {
    /// Says something in a room, once for each sender and number; its id.
    fn say(&self, room: &str, from: u32, number: u32) -> impl Future<Output = anyhow::Result<u64>> + Send;
    /// What was said in a room after an id, in order.
    fn after(&self, room: &str, id: u64) -> impl Future<Output = anyhow::Result<Vec<Said>>> + Send;
    /// What is said from now on. Some of it may be missing.
    fn live(&self, room: &str) -> Receiver<Said>;
}

/// Those who are in rooms at this replica.
#[derive(Default)]
pub(super) struct Present(Mutex<HashMap<String, Sender<Said>>>);

impl Present {
    /// Hears a room from now on.
    pub(super) fn hear(&self, room: &str) -> Receiver<Said> {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.entry(room.to_owned()).or_insert_with(|| channel(BEHIND_MAX).0).subscribe()
    }

    /// Tells a room.
    pub(super) fn tell(&self, room: &str, said: Said) {
        let rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = rooms.get(room) {
            // This fails only if nobody is there.
            sender.send(said).ok();
        }
    }
}
