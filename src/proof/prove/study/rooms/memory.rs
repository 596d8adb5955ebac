//! Rooms in the memory of a replica: those who are at another one hear nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::broadcast::Receiver;

use super::store::{Present, Rooms, Said};

/// See the module.
#[derive(Default)]
pub(super) struct InMemory {
    said: Mutex<HashMap<String, Vec<Said>>>,
    present: Present,
}

impl Rooms for InMemory {
    async fn say(&self, room: &str, from: u32, number: u32) -> anyhow::Result<u64> {
        let mut rooms = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let all = rooms.entry(room.to_owned()).or_default();
        if let Some(same) = all.iter().find(|said| (said.from, said.number) == (from, number)) {
            return Ok(same.id);
        }
        let said = Said { id: all.len() as u64 + 1, from, number };
        all.push(said);
        self.present.tell(room, said);
        Ok(said.id)
    }

    async fn after(&self, room: &str, id: u64) -> anyhow::Result<Vec<Said>> {
        let rooms = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(rooms.get(room).into_iter().flatten().filter(|said| said.id > id).copied().collect())
    }

    fn live(&self, room: &str) -> Receiver<Said> {
        self.present.hear(room)
    }
}
