//! In the replica's own memory: what most applications begin with, and what makes them need sticky sessions.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Reply, Sessions, Unavailable, Write, new_token};
use crate::trial::history::Value;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::prove) struct Memory {
    sessions: Mutex<HashMap<String, Vec<Value>>>,
}

impl Memory {
    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Vec<Value>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions for Memory {
    async fn begin(&self, _user: &str) -> Result<Reply<String>, Unavailable> {
        let token = new_token()?;
        self.sessions().insert(token.clone(), Vec::new());
        Ok(Reply::new(Some(token), 0))
    }

    async fn read(&self, token: &str) -> Result<Reply<Vec<Value>>, Unavailable> {
        Ok(Reply::new(self.sessions().get(token).cloned(), 0))
    }

    async fn write(&self, token: &str, write: Write) -> Result<Reply<Option<String>>, Unavailable> {
        let mut sessions = self.sessions();
        let Some(values) = sessions.get_mut(token) else { return Ok(Reply::new(None, 0)) };
        if !write.is_keyed || !values.contains(&write.value) {
            values.push(write.value);
        }
        Ok(Reply::new(Some(None), 0))
    }

    async fn end(&self, token: &str) -> Result<Reply<()>, Unavailable> {
        Ok(Reply::new(self.sessions().remove(token).map(drop), 0))
    }
}
