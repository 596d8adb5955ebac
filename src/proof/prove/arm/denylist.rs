//! Sessions in signed tokens, and a list in Redis of those that ended: a logout ends the session at once, on every
//! replica, whoever has copied a token.
//!
//! What that costs: each request asks the list, and the list is state again, which all replicas share and none can do
//! without. A replica that cannot ask it responds 503: to let tokens pass would be to forget the logouts.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::ConnectionManager;
use tokio::time::Instant;

use super::jwt::Jwt;
use super::predictions::{Keeps, of_stateless};
use super::redis::{connect_told, prepare, unavailable};
use super::tokens::{Claims, Tokens};
use super::{Arm, Role};
use crate::prove::cell::CellReport;
use crate::prove::event::Event;
use crate::prove::sabotage::{Planted, Sabotage};
use crate::prove::store::{Reply, Store, Unavailable, Write};
use crate::prove::theory::Prediction;
use crate::trial::history::{Action, StepOutcome, Value};
use crate::trial::judge::Fact;

/// See the module.
pub(super) const ARM: Arm = Arm {
    name: "jwt+denylist",
    is_default: false,
    role: Role::Stateless,
    shares: false,
    has_tokens: true,
    serve: |replica| {
        Box::pin(async move {
            let tokens = Tokens::of(&replica)?.naming_sessions();
            let list = connect_told().await?;
            let (planted, memory) = (replica.planted, Mutex::default());
            replica.serve(Denylist { tokens, list, planted, memory }).await
        })
    },
    prepare: Some(|options, workspace| Box::pin(prepare(ARM.name, options, workspace))),
    fill: None,
    predict,
};

/// For how long a replica believes that a session has not ended, under sabotage.
const BELIEVED: Duration = Duration::from_secs(1);

/// What an arm with tokens does, and what the list costs.
fn predict(report: &CellReport) -> Vec<Prediction> {
    let mut predictions = of_stateless(report, Keeps::AtTheClientUntilLogout);
    if report.event == Event::Steady {
        predictions.push(asked(report));
    }
    predictions
}

/// Every request with a token asks the list, once.
fn asked(report: &CellReport) -> Prediction {
    let is_answered = |outcome: &StepOutcome| !matches!(outcome, StepOutcome::Failed(_));
    let steps = || {
        let all = report.history.steps.iter();
        all.filter(|step| step.action != Action::Login && is_answered(&step.outcome))
    };
    let once = steps().filter(|step| step.store_trips == 1).count() as u64;
    let other = steps().filter(|step| step.store_trips != 1).map(Fact::from);
    let what = "requests with a token that ask the deny-list once";
    Prediction::share(what, once, steps().count() as u64, 1.0).shown_by(other)
}

/// One replica's tokens, and its connection to the list.
struct Denylist {
    tokens: Tokens<Jwt>,
    list: ConnectionManager,
    planted: Planted,
    memory: Mutex<Memory>,
}

/// What a replica knows by itself, under sabotage.
#[derive(Debug, Default)]
struct Memory {
    denied: HashSet<String>,
    good: HashMap<String, Instant>,
}

fn key(claims: &Claims) -> String {
    format!("unstick:denied:{}", claims.session())
}

impl Denylist {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a token is good, and its session has not ended. A token that is not good costs no question.
    async fn admits(&self, token: &str) -> Result<Reply<()>, Unavailable> {
        let Some(claims) = self.tokens.open(token) else { return Ok(Reply::new(None, 0)) };
        let key = key(&claims);
        if self.planted.is(Sabotage::DenylistLocal) {
            return Ok(Reply::new((!self.memory().denied.contains(&key)).then_some(()), 1));
        }
        let is_cached = self.planted.is(Sabotage::DenylistCached);
        if is_cached && self.memory().good.get(&key).is_some_and(|at| at.elapsed() < BELIEVED) {
            return Ok(Reply::new(Some(()), 0));
        }
        let mut list = self.list.clone();
        let is_denied: bool = redis::cmd("EXISTS").arg(&key).query_async(&mut list).await.map_err(unavailable)?;
        if is_cached && !is_denied {
            self.memory().good.insert(key, Instant::now());
        }
        Ok(Reply::new((!is_denied).then_some(()), 1))
    }

    /// Enters a session, for as long as any token of it may be good: also one that is newer than the one at hand.
    async fn deny(&self, claims: &Claims) -> Result<(), Unavailable> {
        let key = key(claims);
        if self.planted.is(Sabotage::DenylistLocal) {
            self.memory().denied.insert(key);
            return Ok(());
        }
        let mut list = self.list.clone();
        let set = redis::cmd("SET").arg(key).arg(1).arg("EX").arg(self.tokens.good_for_seconds()).to_owned();
        set.query_async::<()>(&mut list).await.map_err(unavailable)
    }
}

impl Store for Denylist {
    async fn begin(&self, user: &str) -> Result<Reply<String>, Unavailable> {
        self.tokens.begin(user).await
    }

    async fn read(&self, token: &str) -> Result<Reply<Vec<Value>>, Unavailable> {
        let Reply { found, trips } = self.admits(token).await?;
        let values = if found.is_some() { self.tokens.read(token).await?.found } else { None };
        Ok(Reply::new(values, trips))
    }

    async fn write(&self, token: &str, write: Write<'_>) -> Result<Reply<Option<String>>, Unavailable> {
        let Reply { found, trips } = self.admits(token).await?;
        let written = if found.is_some() { self.tokens.write(token, write).await?.found } else { None };
        Ok(Reply::new(written, trips))
    }

    /// One that has ended already may end again: then nobody has to ask first.
    async fn end(&self, token: &str) -> Result<Reply<()>, Unavailable> {
        let Some(claims) = self.tokens.open(token) else { return Ok(Reply::new(None, 0)) };
        self.deny(&claims).await?;
        Ok(Reply::new(Some(()), 1))
    }

    fn reload(&self) -> Result<(), Unavailable> {
        self.tokens.reload()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::arm::redis::connect;
    use crate::prove::arm::redis::testing::server;
    use crate::prove::arm::tokens::testing::tokens;
    use crate::prove::store::testing::keeps_a_session;

    #[tokio::test]
    async fn a_logout_ends_every_token_of_the_session_on_every_replica() {
        let Some((_workspace, server)) = server("denylist").await else { return };
        let replica = || async {
            let tokens = tokens::<Jwt>().naming_sessions();
            let list = connect(&server.url()).await.unwrap();
            Denylist { tokens, list, planted: Planted::NOTHING, memory: Mutex::default() }
        };
        keeps_a_session(replica().await).await;
        let (one, other) = (replica().await, replica().await);
        let old = one.begin("1").await.unwrap().found.unwrap();
        let new = one.write(&old, Write { value: 1, key: None }).await.unwrap().found.unwrap().unwrap();
        let another = one.begin("1").await.unwrap().found.unwrap();
        assert_eq!(other.read(&old).await.unwrap().found.unwrap(), Vec::<Value>::new());
        other.end(&old).await.unwrap().found.unwrap();
        for replica in [&one, &other] {
            assert!(replica.read(&old).await.unwrap().found.is_none());
            assert!(replica.read(&new).await.unwrap().found.is_none(), "it is newer than the one at the logout");
            assert!(replica.write(&new, Write { value: 2, key: None }).await.unwrap().found.is_none());
            assert!(replica.read(&another).await.unwrap().found.is_some(), "it is another session");
        }
    }
}
