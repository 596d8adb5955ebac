//! What somebody asks for over the admin port, and what the control loop makes of it. One loop does it all, so changes
//! never run beside each other, nor beside reloads.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use super::Control;
use super::explain::Question;
use super::overrides::{Entry, Override, Setting};
use super::reading::Trigger;
use super::reload::Instance;
use super::reloads::CONTROL;
use crate::config::address::Address;
use crate::config::model::{Backend, BackendState};
use crate::pool::health::Health;
use crate::pool::{Member, MemberState, Mode, Pool};

/// The most endpoints that a sentence names.
const LEFT_MAX: usize = 5;

/// Something to do, and whom to tell what became of it. If nobody waits for that any more, it is not done.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) what: What,
    /// Who asks, for the log.
    pub(crate) by: String,
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum What {
    /// Set something of an endpoint.
    Set { pool: String, endpoint: String, setting: Setting },
    /// Read the config again.
    Reload,
    /// Start a successor, and leave everything to it.
    Upgrade,
    /// Find out what would become of a request. It changes nothing. The answer is JSON.
    Route(Box<Question>),
}

/// What was done, in a sentence; or why it was not.
pub(crate) type Answer = Result<String, Refused>;

/// Why something was not done, in a sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is no such pool or endpoint.
    Unknown(String),
    /// Something else is under way.
    Busy(String),
    /// It was tried, and cannot be.
    Invalid(String),
}

/// Those who wait for the result of a reload.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Of the read that is under way.
    present: Vec<oneshot::Sender<Answer>>,
    /// Of the next one: what is being read now may be from before they asked.
    next: Vec<oneshot::Sender<Answer>>,
}

impl Waiting {
    /// The read that they wait for begins.
    pub(super) fn begin(&mut self) {
        self.present.append(&mut self.next);
    }

    /// The read that is under way has ended.
    pub(super) fn tell(&mut self, result: &Answer) {
        self.present.drain(..).for_each(|answer| _ = answer.send(result.clone()));
    }
}

impl Control {
    /// Does what somebody asks for. The answer of a reload or an upgrade comes when it is over.
    pub(super) fn grant(&mut self, ask: Ask) {
        let Ask { what, by, answer } = ask;
        if answer.is_closed() {
            tracing::info!(%by, "a change is not made, because nobody waits for it any more");
            return;
        }
        match what {
            What::Route(question) => _ = answer.send(self.route(*question)),
            What::Set { .. } | What::Reload | What::Upgrade if self.upgrades.is_under_way() => {
                let why = "an upgrade is under way: ask again when the new process serves".to_owned();
                answer.send(Err(Refused::Busy(why))).ok();
            }
            What::Set { .. } | What::Reload if self.drains_at.is_some() => {
                let why = "unstick is stopping: nothing is changed any more".to_owned();
                answer.send(Err(Refused::Busy(why))).ok();
            }
            What::Set { pool, endpoint, setting } => _ = answer.send(self.set(&pool, &endpoint, setting, &by)),
            What::Reload if self.source.file.is_none() => {
                let why = "nothing to reload: unstick was started without a config file".to_owned();
                answer.send(Err(Refused::Invalid(why))).ok();
            }
            What::Reload => {
                tracing::info!(%by, "a reload was asked for");
                self.waiting.next.push(answer);
                self.reload(Trigger::Admin);
            }
            What::Upgrade => {
                tracing::info!(%by, "an upgrade was asked for");
                self.upgrade(Some(answer));
            }
        }
    }

    fn route(&self, question: Question) -> Answer {
        let config = &self.instance.config;
        let answer = self.instance.answer(question).map_err(Refused::Invalid)?;
        Ok(config.secrets.mask(&format!("{:#}\n", answer.to_json(config))))
    }

    fn set(&mut self, pool: &str, endpoint: &str, setting: Setting, by: &str) -> Answer {
        let (changes, did) = self.instance.set(pool, endpoint, setting, by)?;
        self.publish_overrides();
        self.probers.sync(self.instance.shared.load().pools.iter());
        if !changes.is_empty() {
            let changes = changes.join("; ");
            tracing::info!(trigger = CONTROL, %by, "changed: {changes}");
            self.status.reloaded(CONTROL, Ok(format!("{changes} (by {by})")));
            self.report_held();
        }
        Ok(did)
    }
}

impl Instance {
    /// Sets something of an endpoint, over what the file says. Returns what has changed, and a sentence about it.
    fn set(
        &mut self,
        pool: &str,
        endpoint: &str,
        setting: Setting,
        by: &str,
    ) -> Result<(Vec<String>, String), Refused> {
        let snapshot = self.shared.load();
        let found = snapshot.pool(pool);
        let pool = found.ok_or_else(|| Refused::Unknown(format!("there is no pool `{pool}`: /status lists them")))?;
        let (address, backend, is_absent) = match self.absent(pool, endpoint) {
            Some((address, backend)) => (address.clone(), backend.clone(), true),
            None => {
                let member = member(pool, endpoint)?;
                (member.endpoint.address.clone(), self.backend(pool, member)?.clone(), false)
            }
        };
        let before = self.material.overrides.of(&pool.name, &address).cloned();
        let overrides = Arc::make_mut(&mut self.material.overrides);
        let target = (&*pool.name, &address, &backend);
        overrides.set(target, setting, (by, now())).map_err(Refused::Invalid)?;
        let mut changes = self.rebuild();
        if is_absent {
            let (name, after) = (&pool.name, self.material.overrides.of(&pool.name, &address));
            let will = after.map_or_else(|| "as the file says".to_owned(), Override::words);
            let is_same = after == before.as_ref();
            changes.extend((!is_same).then(|| format!("pool {name}: {address}, which is not there, will be {will}")));
            let already = if is_same { ", as before" } else { "" };
            let did = format!("{address} is not there now, its entry {} does not lead to it. ", backend.address);
            return Ok((changes, format!("{did}When it comes back to pool {name}, it will be {will}{already}")));
        }
        let did = self.did(pool, endpoint, setting, changes.is_empty());
        Ok((changes, did))
    }

    /// What is set of an address that its entry does not lead to now, and that entry.
    fn absent<'a>(&'a self, pool: &Pool, endpoint: &str) -> Option<(&'a Address, &'a Backend)> {
        let mut set = self.material.overrides.of_pool(&pool.name);
        let (address, set) = set.find(|(address, _)| address.to_string() == endpoint)?;
        let is_there = |member: &Member| member.endpoint.address == *address && member.state != MemberState::Held;
        let entries = self.config.pools.get(&*pool.name).map(|pool| &pool.backends);
        let entry = entries.into_iter().flatten().find(|backend| set.entry == Entry::from(*backend))?;
        (!pool.members.iter().any(is_there)).then_some((address, entry))
    }

    /// The entry of the file that an endpoint is from.
    fn backend(&self, pool: &Pool, member: &Member) -> Result<&Backend, Refused> {
        let entries = self.config.pools.get(&*pool.name).map(|pool| &pool.backends);
        let is_its = |backend: &&Backend| backend.address.to_string() == *member.backend;
        let found = entries.into_iter().flatten().find(is_its).filter(|_| member.state != MemberState::Held);
        found.ok_or_else(|| {
            Refused::Unknown(format!(
                "{} is no endpoint of pool {} any more: the file has no entry for it, and it takes requests only until \
                 a new one has passed its check",
                member.endpoint.address, pool.name
            ))
        })
    }

    /// What was done, in a sentence, and what it means for the pool.
    fn did(&self, before: &Pool, endpoint: &str, setting: Setting, is_same: bool) -> String {
        let (name, snapshot) = (&before.name, self.shared.load());
        let found = snapshot.pool(name).and_then(|pool| Some((pool, member(pool, endpoint).ok()?)));
        let Some((pool, member)) = found else { return String::new() };
        let now = match setting {
            Setting::Weight(weight) => format!("has weight {weight}"),
            Setting::State(BackendState::Drain) => format!("takes no new requests; {}", in_flight(member)),
            Setting::State(BackendState::Down) => {
                format!("takes no new requests and is not checked; {}", in_flight(member))
            }
            Setting::State(BackendState::Ready) => takes(pool, member).to_owned(),
        };
        let already = if is_same { ", as before" } else { "" };
        let set = self.material.overrides.of(name, &member.endpoint.address);
        let is_set = set.is_some_and(|set| match setting {
            Setting::State(_) => set.state.is_some(),
            Setting::Weight(_) => set.weight.is_some(),
        });
        let lasts =
            if is_set { "This lasts until its entry of the file changes" } else { "This is what the file says" };
        let left = left(pool).map(|left| format!(". {left}")).unwrap_or_default();
        format!("{endpoint} of pool {name} {now}{already}. {lasts}{left}")
    }
}

/// Whether an endpoint that is ready takes requests, in words.
fn takes(pool: &Pool, member: &Member) -> &'static str {
    match (member.endpoint.health(), member.is_up(pool.mode())) {
        (Health::Healthy, _) => "takes requests",
        (Health::Unhealthy, true) => "takes requests although its check fails",
        (Health::Unchecked, true) => "takes requests before its first check",
        (_, false) => "takes requests when its check passes",
    }
}

/// What to know of the endpoints that a pool is left with, if they are not well.
fn left(pool: &Pool) -> Option<String> {
    let (name, mode) = (&pool.name, pool.mode());
    let mut taking = pool.members.iter().filter(|member| member.state.takes_requests()).peekable();
    if taking.peek().is_none() {
        return Some(format!("No endpoint of pool {name} takes requests now"));
    }
    if taking.any(|member| member.endpoint.health() == Health::Healthy) {
        let unwell = "Too few endpoints of pool {name} are healthy: those that fail their check get requests, too";
        return (mode == Mode::FailOpen).then(|| unwell.replace("{name}", name));
    }
    let up: Vec<String> = pool
        .members
        .iter()
        .filter(|member| member.is_up(mode))
        .map(|member| member.endpoint.address.to_string())
        .collect();
    let named = up.iter().take(LEFT_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    Some(match up.len().saturating_sub(LEFT_MAX) {
        _ if up.is_empty() => format!("No healthy endpoint is left in pool {name}: it takes no requests"),
        0 => format!("No healthy endpoint is left in pool {name}: all requests go to {named}"),
        more => format!("No healthy endpoint is left in pool {name}: all requests go to {named} and {more} more"),
    })
}

/// In whole milliseconds, as a successor is told.
fn now() -> SystemTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let whole = Duration::from_millis(u64::try_from(since.as_millis()).unwrap_or_default());
    SystemTime::UNIX_EPOCH + whole
}

fn in_flight(member: &Member) -> String {
    match member.endpoint.in_flight() {
        0 => "none is in flight".to_owned(),
        1 => "1 is in flight".to_owned(),
        several => format!("{several} are in flight"),
    }
}

/// The endpoint of a pool that has this address.
fn member<'p>(pool: &'p Pool, endpoint: &str) -> Result<&'p Member, Refused> {
    let found = pool.members.iter().find(|member| member.endpoint.address.to_string() == endpoint);
    let name = &pool.name;
    found.ok_or_else(|| {
        Refused::Unknown(format!("pool {name} has no endpoint `{endpoint}`: /status lists them, each by its address"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_during_a_read_waits_for_the_next_one() {
        let mut waiting = Waiting::default();
        let (first, mut of_first) = oneshot::channel();
        let (second, mut of_second) = oneshot::channel();
        waiting.next.push(first);
        waiting.begin();
        waiting.next.push(second);
        waiting.tell(&Ok("one".into()));
        assert_eq!(of_first.try_recv(), Ok(Ok("one".into())));
        assert!(of_second.try_recv().is_err(), "what was read may be from before");
        waiting.tell(&Ok("a read that nobody asked for".into()));
        assert!(of_second.try_recv().is_err());
        waiting.begin();
        waiting.tell(&Ok("two".into()));
        assert_eq!(of_second.try_recv(), Ok(Ok("two".into())));
    }
}
