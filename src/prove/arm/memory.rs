//! Sessions in the replica's own memory: what most applications begin with, and what makes them need sticky sessions.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::predictions::even_spread;
use super::{Arm, Role};
use crate::prove::cell::{CellReport, JOURNEY_STEPS};
use crate::prove::event::Event;
use crate::prove::store::{Reply, Store, Unavailable, Write, new_token};
use crate::prove::theory::{Prediction, survival};
use crate::trial::history::Value;

/// See the module.
pub(super) const ARM: Arm = Arm {
    name: "memory",
    role: Role::Stateful,
    serve: |replica| Box::pin(replica.serve(Memory::default())),
    prepare: None,
    predict,
};

/// Each step goes to any replica, and only the first one's knows the session.
fn predict(report: &CellReport) -> Vec<Prediction> {
    if report.event != Event::Steady {
        return Vec::new();
    }
    let (all, survivors) = report.survivors;
    let predicted = 1.0 - survival(report.replicas, JOURNEY_STEPS);
    let mut predictions = vec![Prediction::share("journeys of 5 steps lost", all - survivors, all, predicted)];
    predictions.extend(even_spread(report));
    predictions
}

/// Sessions by token.
#[derive(Debug, Default)]
struct Memory {
    sessions: Mutex<HashMap<String, Vec<Value>>>,
}

impl Memory {
    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Vec<Value>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::store::testing::keeps_a_session;

    #[tokio::test]
    async fn it_keeps_a_session() {
        keeps_a_session(Memory::default()).await;
    }
}
