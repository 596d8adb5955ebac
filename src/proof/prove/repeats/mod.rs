//! Clients that repeat a write when they have no response to it, half of them with a key and half without, while one
//! replica after the other gets SIGKILL. What is done twice then, in each arm?
//!
//! A write that a kill meets was done, and lacks its response, or was not. A client cannot tell which, and repeats it.
//! Where the effect is in a store, it is there twice in the first case, unless a key says that it is the same. Where it
//! is in a token, it was lost with the response, so nothing is done twice even without a key.

mod judge;

use std::cell::{Cell as Flag, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bytes::Bytes;
use fastrand::Rng;
use http::header::{COOKIE, HOST, SET_COOKIE};
use http::{Method, Request, Response, StatusCode};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::cell::Cell;
use super::fleet::Fleet;
use super::ledger::{self, KEY};
use super::sabotage::Sabotage;
use super::shop::STEP;
use super::study::caller::Caller;
use crate::trial::client::Target;
use crate::trial::fault::{self, Act};
use crate::trial::history::Seen;
use crate::trial::judge::STORE_DEADLINE;
use crate::trial::recorder::Recorder;
use judge::{Account, End, WRITES_MAX, Write, count, met};
pub(super) use judge::{KEYED, predict, shown};

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
            let written = self.write(path, number, body).await;
            if number > first {
                account.writes.push(written);
            } else if written.end != End::Acknowledged {
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

    /// Sends a write until it is acknowledged.
    async fn write(&mut self, path: &str, number: u64, body: u64) -> Write {
        let mut write = Write { number, end: End::Unknown, was_late: false };
        for _ in 0..TRIES_MAX {
            let began = Instant::now();
            let request =
                self.request(Method::POST, path).header(STEP, format!("{}-{}", self.number, number % WRITES_MAX));
            let key = self.acts_with_key.then(|| format!("{}/{number}", self.number));
            let request = if let Some(key) = key { request.header(KEY, key) } else { request };
            let Ok(request) = request.body(Bytes::from(body.to_string())) else { return write };
            match self.caller.send(request).await {
                Ok(response) if response.status() == StatusCode::NO_CONTENT => {
                    self.take_token(&response);
                    return Write { end: End::Acknowledged, ..write };
                }
                Ok(response) if response.status() == StatusCode::INSUFFICIENT_STORAGE => {
                    return Write { end: End::NoRoom, ..write };
                }
                Ok(response) if response.status().as_u16() < 500 => return Write { end: End::Refused, ..write },
                Ok(_) | Err(_) => write.was_late |= began.elapsed() >= STORE_DEADLINE,
            }
            sleep(PAUSE.mul_f64(self.rng.f64())).await;
        }
        write
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
                // The session is gone, and all that was in it.
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED => return Some(Vec::new()),
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
