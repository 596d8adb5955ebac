//! Orders and reports in the memory of a replica, which makes them itself: no other one knows of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::desk::{Reports, State, report};
use super::queue::Begun;

/// See the module.
#[derive(Default)]
pub(super) struct InMemory {
    name: String,
    work: Duration,
    orders: Arc<Mutex<Orders>>,
    /// Reports that are being made. They end with this.
    making: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct Orders {
    ids: HashMap<String, String>,
    states: HashMap<String, State>,
    sent: Vec<String>,
}

impl InMemory {
    /// Of a replica by name; each report takes so long.
    pub(super) fn new(name: &str, work: Duration) -> Self {
        Self { name: name.to_owned(), work, ..Self::default() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reports for InMemory {
    async fn order(&self, key: Option<&str>, number: u64) -> anyhow::Result<String> {
        let mut orders = lock(&self.orders);
        if let Some(id) = key.and_then(|key| orders.ids.get(key)) {
            return Ok(id.clone());
        }
        let id = format!("{}-{}", self.name, orders.states.len() + 1);
        orders.states.insert(id.clone(), State::Waiting);
        orders.ids.extend(key.map(|key| (key.to_owned(), id.clone())));
        let (made, work, all) = (id.clone(), self.work, Arc::clone(&self.orders));
        lock(&self.making).spawn(async move {
            sleep(work).await;
            let mut orders = lock(&all);
            orders.sent.push(made.clone());
            orders.states.insert(made, State::Ready(report(number)));
        });
        Ok(id)
    }

    async fn state(&self, id: &str) -> anyhow::Result<State> {
        Ok(lock(&self.orders).states.get(id).copied().unwrap_or(State::Unknown))
    }

    async fn sent(&self) -> anyhow::Result<Vec<String>> {
        Ok(lock(&self.orders).sent.clone())
    }

    /// The replica that has an order makes its report, once.
    async fn begun(&self) -> anyhow::Result<Vec<Begun>> {
        Ok(Vec::new())
    }
}
