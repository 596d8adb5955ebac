//! Clients that repeat a write when they have no response to it, half of them with a key and half without, while one
//! replica after the other gets SIGKILL. What is done twice then, in each arm?
//!
//! A write that a kill meets was done, and lacks its response, or was not. A client cannot tell which, and repeats it.
//! Where the effect is in a store, it is there twice in the first case, unless a key says that it is the same. Where it
//! is in a token, it was lost with the response, so nothing is done twice even without a key.

use std::cell::{Cell as Flag, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bytes::Bytes;
use fastrand::Rng;
use http::header::{COOKIE, HOST, SET_COOKIE};
use http::{Method, Request, Response, StatusCode};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::cell::Cell;
use super::fleet::Fleet;
use super::ledger::{self, KEY};
use super::sabotage::Sabotage;
use super::shop::STEP;
use super::study::caller::Caller;
use super::theory::Prediction;
use crate::trial::client::Target;
use crate::trial::fault::{self, Act};
use crate::trial::history::{History, Seen, Stage};
use crate::trial::judge::Fact;
use crate::trial::recorder::Recorder;

/// Clients at one time; every other one has keys. A replica that is to be killed waits for a third of them.
pub(super) const CLIENTS: u32 = 120;
/// For so long at most: nobody is judged by time here, so a busy machine may take its time.
pub(super) const HELD_WITHIN: Duration = Duration::from_millis(1500);
/// How long a client pauses between two writes on average.
const PAUSE: Duration = Duration::from_millis(100);
/// How often one write is sent at most.
const TRIES_MAX: u32 = 8;
/// How often a client asks for its cart in the end, and how long it pauses in between.
const READS_MAX: u32 = 5;
const READ_AGAIN: Duration = Duration::from_millis(200);
/// Writes of one client have numbers from so many times its own on.
const WRITES_MAX: u64 = 10_000;

/// What is counted.
pub(super) const KEYED: &str = "writes with a key done twice, of those met behind their effect";
const BARE: &str = "writes without a key done twice, of those met behind their effect";
const SHARE: &str = "writes without a key done twice, of those met";
const OTHERS: &str = "writes done twice, of those not met behind their effect";
const MISSING: &str = "acknowledged writes missing";
const MET: &str = "writes that a kill met, and those that had been done";

/// What a client knows of its writes.
#[derive(Debug, Default)]
struct Account {
    has_keys: bool,
    /// The number of each write, and whether it was acknowledged.
    writes: Vec<(u64, bool)>,
    /// What its cart holds in the end.
    cart: Vec<u64>,
}

/// Plays it, and counts.
pub(super) async fn play(cell: &Cell, fleet: &Fleet, recorder: &Recorder) -> anyhow::Result<()> {
    let target = fleet.front().await.target(0, None).context("there is no front")?;
    let (is_over, accounts): (Rc<Flag<bool>>, Rc<RefCell<Vec<Account>>>) = Default::default();
    // Under sabotage what should be bare is not.
    let all_have_keys = cell.plan.planted.is(Sabotage::KeysForAll);
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let (target, is_over, accounts) = (target.clone(), Rc::clone(&is_over), Rc::clone(&accounts));
        let rng = Rng::with_seed(cell.seed.wrapping_mul(u64::from(CLIENTS)).wrapping_add(number.into()));
        let client = Client {
            number,
            acts_with_key: all_have_keys || has_keys(number),
            caller: Caller::to(target.address),
            target,
            token: String::new(),
            rng,
        };
        clients.spawn_local(async move {
            let account = client.play(&is_over).await;
            accounts.borrow_mut().push(account);
        });
    }
    let played = fault::play(&cell.schedule.acts, fleet, recorder).await;
    sleep(cell.schedule.span.saturating_sub(recorder.now())).await;
    is_over.set(true);
    if played.is_ok() {
        while let Some(client) = clients.join_next().await {
            client?;
        }
    }
    clients.shutdown().await;
    played?;
    let name = |number: usize| -> Arc<str> { format!("r{number}").into() };
    let killed = cell.schedule.acts.iter().filter_map(|planned| match planned.act {
        Act::Kill(number) => Some(name(number)),
        _ => None,
    });
    let killed: Vec<Arc<str>> = killed.collect();
    let of_replica = |number| ledger::read(&cell.plan.directory, &name(number)).0;
    let seen: Vec<(SystemTime, Seen)> = (0..cell.plan.replicas).flat_map(of_replica).collect();
    count(&accounts.borrow(), &met(&seen, &killed), recorder);
    Ok(())
}

fn has_keys(client: u32) -> bool {
    client.is_multiple_of(2)
}

struct Client {
    number: u32,
    acts_with_key: bool,
    caller: Caller,
    target: Target,
    token: String,
    rng: Rng,
}

impl Client {
    async fn play(mut self, is_over: &Flag<bool>) -> Account {
        let mut account = Account { has_keys: has_keys(self.number), ..Account::default() };
        let first = u64::from(self.number + 1) * WRITES_MAX;
        for number in first.. {
            sleep(PAUSE.mul_f64(2.0 * self.rng.f64())).await;
            if is_over.get() {
                break;
            }
            // The first is the login: nobody minds if that is done twice.
            let (path, body) = if number == first { ("/login", self.number.into()) } else { ("/cart", number) };
            let is_done = self.write(path, number, body).await;
            if number > first {
                account.writes.push((number, is_done));
            } else if !is_done {
                return account;
            }
        }
        match self.cart().await {
            Some(cart) => account.cart = cart,
            // Of what cannot be read nothing is known.
            None => account.writes.clear(),
        }
        account
    }

    /// Sends a write until it is acknowledged. Whether it is.
    async fn write(&mut self, path: &str, number: u64, body: u64) -> bool {
        for _ in 0..TRIES_MAX {
            let request =
                self.request(Method::POST, path).header(STEP, format!("{}-{}", self.number, number % WRITES_MAX));
            let key = self.acts_with_key.then(|| format!("{}/{number}", self.number));
            let request = if let Some(key) = key { request.header(KEY, key) } else { request };
            let Ok(request) = request.body(Bytes::from(body.to_string())) else { return false };
            match self.caller.send(request).await {
                Ok(response) if response.status() == StatusCode::NO_CONTENT => {
                    self.take_token(&response);
                    return true;
                }
                // The session is gone, or there is no room left in it.
                Ok(response) if response.status().as_u16() < 500 || response.status() == 507 => return false,
                Ok(_) | Err(_) => sleep(PAUSE.mul_f64(self.rng.f64())).await,
            }
        }
        false
    }

    fn take_token(&mut self, response: &Response<Bytes>) {
        let set = response.headers().get(SET_COOKIE).and_then(|set| set.to_str().ok());
        if let Some(cookie) = set.and_then(|set| set.split(';').next()) {
            cookie.clone_into(&mut self.token);
        }
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(path).header(HOST, &*self.target.host).header(COOKIE, &self.token)
    }

    async fn cart(&mut self) -> Option<Vec<u64>> {
        for _ in 0..READS_MAX {
            let request = self.request(Method::GET, "/cart").body(Bytes::new()).ok()?;
            match self.caller.send(request).await {
                Ok(response) if response.status() == StatusCode::OK => {
                    let cart: serde_json::Value = serde_json::from_slice(response.body()).ok()?;
                    return cart["values"].as_array()?.iter().map(serde_json::Value::as_u64).collect();
                }
                _ => sleep(READ_AGAIN).await,
            }
        }
        None
    }
}

/// Writes that a kill met, by their numbers, and whether they had been done: they have arrived at a replica that was
/// killed, and at another one after that, or after their effect.
fn met(seen: &[(SystemTime, Seen)], killed: &[Arc<str>]) -> HashMap<u64, bool> {
    let mut of_write: HashMap<u64, Vec<&(SystemTime, Seen)>> = HashMap::new();
    for one in seen {
        let (client, write) = one.1.step;
        of_write.entry(u64::from(client + 1) * WRITES_MAX + u64::from(write)).or_default().push(one);
    }
    let is_met = |all: &[&(SystemTime, Seen)], reached: Stage| {
        let was_there = |(at, seen): &(SystemTime, Seen)| {
            let comes_again = |(later, other): &(SystemTime, Seen)| {
                later > at && other.stage == Stage::Arrived && other.replica != seen.replica
            };
            seen.stage == reached && killed.contains(&seen.replica) && all.iter().any(|one| comes_again(one))
        };
        all.iter().any(|one| was_there(one))
    };
    let met = of_write.into_iter().filter(|(_, all)| is_met(all, Stage::Arrived));
    met.map(|(number, all)| (number, is_met(&all, Stage::Executed))).collect()
}

/// Counts what was done how often.
fn count(accounts: &[Account], met: &HashMap<u64, bool>, recorder: &Recorder) {
    let mut all: BTreeMap<&str, (u64, u64)> = [KEYED, BARE, SHARE, OTHERS, MISSING].map(|what| (what, (0, 0))).into();
    let mut add = |what: &'static str, is_hit: bool| {
        let (hits, trials) = all.entry(what).or_default();
        (*hits, *trials) = (*hits + u64::from(is_hit), *trials + 1);
    };
    for Account { has_keys, writes, cart } in accounts {
        for (number, is_acknowledged) in writes {
            let times = cart.iter().filter(|value| *value == number).count();
            let whats: &[&'static str] = match (met.get(number), has_keys) {
                (Some(true), true) => &[KEYED],
                (Some(true), false) => &[BARE, SHARE],
                // A kill may have come between the effect and the line that says so.
                (Some(false), false) => &[SHARE],
                (Some(false), true) | (None, _) => &[OTHERS],
            };
            whats.iter().for_each(|what| add(what, times > 1));
            if *is_acknowledged {
                add(MISSING, times == 0);
            }
        }
    }
    for (what, (hits, trials)) in all {
        recorder.count(what, hits, trials);
    }
    recorder.count(MET, met.values().filter(|is_done| **is_done).count() as u64, met.len() as u64);
}

/// For people: what was done twice with a key, and what without one.
pub(super) fn shown(history: &History) -> String {
    let of = |what| history.count(what).unwrap_or_default();
    let (keyed, bare) = (of(KEYED), of(SHARE));
    format!(
        "{} writes with a key done twice, of {} whose replica died behind the effect\n{} of {} without a key done \
         twice",
        keyed.0, keyed.1, bare.0, bare.1
    )
}

/// What theory says. `is_in_store`: effects are in a store, and not in a token.
pub(super) fn predict(history: &History, is_in_store: bool) -> Vec<Prediction> {
    let of = |what: &str| history.count(what).unwrap_or_default();
    let (done, met) = of(MET);
    let note = |what: &str| {
        let (hits, trials) = of(what);
        [
            Fact::Note(format!("kills met {met} writes, {done} of them done and without a response")),
            Fact::Note(format!("their clients repeated them; {what}: {hits} of {trials}")),
        ]
    };
    let never = |what| {
        let (hits, trials) = of(what);
        Prediction::never(what, hits, trials, Some(&note(what)))
    };
    let (hits, trials) = of(BARE);
    let bare =
        if is_in_store { Prediction::exactly(BARE, hits, trials, 1.0).shown_by(note(BARE)) } else { never(BARE) };
    vec![never(KEYED), bare, never(OTHERS), never(MISSING)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::theory::Verdict;

    #[test]
    fn a_write_that_was_done_where_it_was_cut_is_met_behind_its_effect() {
        use Stage::{Arrived, Executed};
        let line = |second, replica: &str, stage, write| {
            let (at, replica) = (SystemTime::UNIX_EPOCH + Duration::from_secs(second), replica.into());
            (at, Seen { at: Duration::ZERO, replica, stage, step: (0, write), has_key: false, is_altered: false })
        };
        let seen = [
            // Cut behind the effect.
            [line(1, "r0", Arrived, 1), line(2, "r0", Executed, 1), line(3, "r1", Arrived, 1)],
            // Before it; the replica of the second attempt is killed later.
            [line(1, "r0", Arrived, 2), line(2, "r2", Arrived, 2), line(3, "r2", Executed, 2)],
            // Not at all.
            [line(1, "r0", Arrived, 3), line(2, "r0", Executed, 3), line(3, "r0", Executed, 3)],
            [line(1, "r1", Arrived, 4), line(2, "r1", Executed, 4), line(3, "r2", Arrived, 4)],
        ];
        let met = met(&seen.concat(), &["r0".into(), "r2".into()]);
        assert_eq!(met, HashMap::from([(WRITES_MAX + 1, true), (WRITES_MAX + 2, false)]));
    }

    /// Twenty writes that a kill met behind their effect and thirty others, of which so many are there twice, or not.
    fn history(has_keys: bool, [twice, other, missing]: [u64; 3]) -> History {
        let cart = (0..50 - missing).chain(0..twice).chain((0..other).map(|number| 20 + number)).collect();
        let account = |has_keys, cart: Vec<u64>| Account {
            has_keys,
            writes: (0..50).map(|number| (number, true)).collect(),
            cart,
        };
        let honest = (0..50).chain(0..if has_keys { 20 } else { 0 }).collect();
        let accounts: Vec<Account> = [account(has_keys, cart), account(!has_keys, honest)]
            .into_iter()
            .chain((0..20).map(|_| account(true, (0..50).collect())))
            .collect();
        let recorder = Recorder::begin();
        count(&accounts, &(0..20).map(|number| (number, true)).collect(), &recorder);
        recorder.into_history()
    }

    #[test]
    fn what_is_done_twice_is_judged_by_where_the_effect_is() {
        for (has_keys, figures, is_in_store, broken) in [
            (false, [20, 0, 0], true, None),
            (false, [19, 0, 0], true, Some(BARE)),
            (false, [20, 1, 0], true, Some(OTHERS)),
            (false, [20, 0, 1], true, Some(MISSING)),
            (true, [1, 0, 0], true, Some(KEYED)),
            (true, [0, 0, 0], true, None),
        ] {
            let all = predict(&history(has_keys, figures), is_in_store);
            let of: Vec<&Prediction> = all.iter().filter(|one| one.verdict == Verdict::Broken).collect();
            assert_eq!(of.first().map(|one| one.what.as_str()), broken, "{figures:?} {all:?}");
            assert!(of.len() <= 1 && of.iter().all(|one| (1..=4).contains(&one.counterexample.len())), "{all:?}");
        }
        let all = predict(&history(false, [1, 0, 0]), false);
        assert!(all.iter().any(|one| one.what == BARE && one.verdict == Verdict::Broken), "{all:?}");
    }
}
