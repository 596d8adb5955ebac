//! Sessions in the replica's own memory: what most applications begin with, and what makes them need sticky sessions.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::predictions::{of_pairs, placement};
use super::{Arm, Role};
use crate::prove::cell::CellReport;
use crate::prove::event::Event;
use crate::prove::store::{Reply, Store, Unavailable, Write, new_token};
use crate::prove::theory::Prediction;
use crate::trial::history::Value;
use crate::trial::judge::Ratio;

/// See the module.
pub(super) const ARM: Arm = Arm {
    name: "memory",
    is_default: true,
    role: Role::Stateful,
    shares: false,
    has_tokens: false,
    serve: |replica| Box::pin(replica.serve(Memory::default())),
    prepare: None,
    fill: None,
    predict,
};

/// Each step goes to any replica, and only that of the login knows the session. This is judged step by step: journeys
/// that were under way at the end would distort a share of journeys.
fn predict(report: &CellReport) -> Vec<Prediction> {
    if let Some(pairs) = &report.pairs {
        let Ratio { trials, hits } = &pairs.runs;
        let differ = Prediction::share("runs on several replicas that differ", hits.count, *trials, 1.0);
        return vec![differ.of_apparatus(), of_pairs(pairs)];
    }
    if report.event != Event::Steady {
        return Vec::new();
    }
    let (steps, forgotten) = report.measures.forgotten;
    let predicted = 1.0 - 1.0 / report.replicas as f64;
    let share = Prediction::share("steps that find the session forgotten", forgotten, steps, predicted);
    let mut predictions = vec![share.of_apparatus()];
    predictions.extend(placement(report));
    predictions
}

/// An empty store.
pub(in crate::prove) fn store() -> impl Store {
    Memory::default()
}

/// Sessions by token.
#[derive(Debug, Default)]
struct Memory {
    sessions: Mutex<HashMap<String, Cart>>,
}

#[derive(Debug, Default)]
struct Cart {
    values: Vec<Value>,
    keys: HashSet<String>,
}

impl Memory {
    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Cart>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
    async fn begin(&self, _user: &str) -> Result<Reply<String>, Unavailable> {
        let token = new_token()?;
        self.sessions().insert(token.clone(), Cart::default());
        Ok(Reply::new(Some(token), 0))
    }

    async fn read(&self, token: &str) -> Result<Reply<Vec<Value>>, Unavailable> {
        Ok(Reply::new(self.sessions().get(token).map(|cart| cart.values.clone()), 0))
    }

    async fn write(&self, token: &str, write: Write<'_>) -> Result<Reply<Option<String>>, Unavailable> {
        let mut sessions = self.sessions();
        let Some(cart) = sessions.get_mut(token) else { return Ok(Reply::new(None, 0)) };
        if write.key.is_none_or(|key| cart.keys.insert(key.to_owned())) {
            cart.values.push(write.value);
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
