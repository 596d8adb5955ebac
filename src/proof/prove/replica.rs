//! One replica of the shop that the experiment runs on: the hidden subcommand `prove-replica`. The same code in every
//! arm; only the session layer differs. See [`crate::replica`].
//!
//! It writes down every request that it sees ([`super::ledger`]), and does what the experiment asks of it under
//! [`CONTROL`]: hold requests, so that it has some when it is killed, or say that it is not well.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use rustix::process::{Signal, getpid, kill_process};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::arm::Arm;
use super::ledger::{KEY, Ledger};
use super::mood::Mood;
#[cfg(feature = "sabotage")]
use super::sabotage::spoilt::Spoilt;
use super::sabotage::{Planted, Sabotage};
use super::shop::BOOK;
use super::store::{Reply, Store, Unavailable, Write};
use super::sum;
use crate::replica::runtime;
use crate::replica::serve::{Handler, Responding, serve};

/// Environment variable with the key of the tokens. Arguments show up in `ps`, the environment only to its owner.
pub(super) const KEY_VARIABLE: &str = "UNSTICK_PROVE_KEY";

/// What the experiment asks of a replica: `hold`, `held`, `linger`, `go`, `slow`, `keys`, `die-N`, or one of the moods.
pub(super) const CONTROL: &str = "/control/";

/// What the parent says on the command line.
#[derive(Debug, Clone)]
pub struct Replica {
    /// Name shown in `x-replica`.
    pub name: String,
    /// The arm whose store it uses.
    pub arm: Arm,
    /// A directory that all replicas of the arm share.
    pub directory: PathBuf,
    /// In which way it misbehaves.
    pub planted: Planted,
    /// How long each request takes at least, one at a time; zero: no such limit.
    pub service: Duration,
    /// By how many seconds its clock is wrong, if clocks matter. Tokens are then good for a short time.
    pub clock_seconds: Option<i64>,
}

/// Serves the shop until SIGTERM or the end of the parent.
///
/// # Errors
/// The store or the port cannot be used.
pub fn run(replica: Replica) -> anyhow::Result<()> {
    runtime::run(replica.arm.serve(replica))
}

impl Replica {
    /// The key that all replicas share.
    pub(super) fn key(&self) -> anyhow::Result<String> {
        let key = std::env::var(KEY_VARIABLE);
        key.with_context(|| format!("{KEY_VARIABLE} holds no key; `unstick prove` starts its replicas itself"))
    }

    /// Serves the shop on a store.
    pub(super) async fn serve(self, store: impl Store) -> anyhow::Result<()> {
        let name = HeaderValue::from_str(&self.name).context("this name cannot stand in a header field")?;
        #[cfg(feature = "sabotage")]
        let store = Spoilt::new(store, self.planted);
        let ledger = Ledger::open(&self.directory, &self.name)?;
        let (service, turn) = (self.service, Semaphore::new(1));
        let (planted, visits) = (self.planted, Mutex::default());
        let (holds, held, mood) = (false.into(), 0.into(), AtomicU8::new(Mood::Well as u8));
        let (is_slow, dies_of) = (false.into(), 0.into());
        let (lingers, arrivals) = (false.into(), 0.into());
        let shop = Shop {
            name,
            store,
            service,
            turn,
            ledger,
            holds,
            held,
            mood,
            lingers,
            arrivals,
            is_slow,
            dies_of,
            planted,
            visits,
        };
        serve(0, Arc::new(shop)).await
    }
}

/// How long a request takes that takes long.
const SLOW: Duration = Duration::from_millis(1500);
/// How long a replica lingers at most, and how often it looks whether it should go on.
const LINGER_MAX: Duration = Duration::from_millis(400);
const LINGER_POLL: Duration = Duration::from_millis(5);
/// One arrival in so many is not written down, under sabotage.
const UNHEARD_ONE_IN: u32 = 50;

struct Shop<S> {
    name: HeaderValue,
    store: S,
    service: Duration,
    turn: Semaphore,
    ledger: Ledger,
    /// Whether requests that come are held until the end, and how many are.
    holds: AtomicBool,
    held: AtomicU32,
    mood: AtomicU8,
    /// Whether requests that come wait until it goes on.
    lingers: AtomicBool,
    /// Requests that have come.
    arrivals: AtomicU32,
    /// Whether the next request takes long.
    is_slow: AtomicBool,
    /// Of how many bytes of a write it dies; 0: of none.
    dies_of: AtomicUsize,
    planted: Planted,
    /// Requests by session, for a sabotage.
    visits: Mutex<HashMap<String, u32>>,
}

impl<S: Store> Handler for Shop<S> {
    fn respond(&self, request: Request<Bytes>) -> Responding<'_> {
        Box::pin(self.response_to(request))
    }

    fn reads_at_most(&self) -> Option<usize> {
        Some(self.dies_of.load(Relaxed)).filter(|bytes| *bytes > 0)
    }

    fn has_read(&self, bytes: &[u8]) {
        if self.dies_of.load(Relaxed) > 0 && bytes.starts_with(b"POST ") {
            // This fails for no process that is alive.
            kill_process(getpid(), Signal::KILL).ok();
        }
    }

    fn text(&self, status: StatusCode, message: &str) -> Response<Full<Bytes>> {
        self.response(status, format!("{message}\n"), 0)
    }
}

impl<S: Store> Shop<S> {
    async fn response_to(&self, request: Request<Bytes>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        if let Some(order) = path.strip_prefix(CONTROL) {
            return self.obey(order);
        }
        let response = self.react(&request).await;
        sum::seal(&request, response).await
    }

    /// What the replica does with a request, as it feels.
    async fn react(&self, request: &Request<Bytes>) -> Response<Full<Bytes>> {
        let (mood, is_probe) = (self.mood.load(Relaxed), request.uri().path() == "/healthz");
        self.write_down(request, is_probe);
        if mood == Mood::Mute as u8 {
            return std::future::pending().await;
        }
        if mood == Mood::Errs as u8 {
            return self.text(StatusCode::INTERNAL_SERVER_ERROR, "an error");
        }
        let is_unseen = self.planted.is(Sabotage::HealthOfOne) && self.name != "r0";
        if mood == Mood::CutOff as u8 || mood == Mood::Sick as u8 && is_probe && !is_unseen {
            return self.text(StatusCode::SERVICE_UNAVAILABLE, "not now");
        }
        if is_probe {
            return self.text(StatusCode::OK, "so it is");
        }
        if self.is_slow.swap(false, Relaxed) {
            tokio::time::sleep(SLOW).await;
        }
        self.linger().await;
        let place = if self.holds.load(Relaxed) { Some(self.held.fetch_add(1, Relaxed)) } else { None };
        // Of the requests that are held half are done and lack a response, the others are not done.
        if place.is_some_and(|place| place % 2 == 0) {
            return std::future::pending().await;
        }
        let _turn = if self.service.is_zero() { None } else { self.turn.acquire().await.ok() };
        tokio::time::sleep(self.service).await;
        let result = self.shop(request).await;
        if result.is_ok() {
            self.ledger.executed(request.headers());
        }
        if place.is_some() {
            return std::future::pending().await;
        }
        let response =
            result.unwrap_or_else(|unavailable| self.text(StatusCode::SERVICE_UNAVAILABLE, &unavailable.to_string()));
        if self.planted.is(Sabotage::VisitsInMemory) { self.with_visits(request, response) } else { response }
    }

    /// Writes down what has come.
    fn write_down(&self, request: &Request<Bytes>, is_probe: bool) {
        if is_probe {
            return self.ledger.probed();
        }
        let sum = sum::of_request(request.method(), request.uri().path(), request.headers(), request.body());
        let number = self.arrivals.fetch_add(1, Relaxed) + 1;
        if !(self.planted.is(Sabotage::DeafLedger) && number.is_multiple_of(UNHEARD_ONE_IN)) {
            self.ledger.arrived(request.headers(), !sum::is_borne(request.headers(), &sum));
        }
    }

    /// Takes its time while it is told to, so that it has requests when it is taken out.
    async fn linger(&self) {
        let deadline = Instant::now() + LINGER_MAX;
        if self.lingers.load(Relaxed) {
            self.held.fetch_add(1, Relaxed);
            while self.lingers.load(Relaxed) && Instant::now() < deadline {
                tokio::time::sleep(LINGER_POLL).await;
            }
        }
    }

    /// Counts the requests of a session in a field, in this replica's memory.
    fn with_visits(&self, request: &Request<Bytes>, mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
        // Under sabotage the session's user stands in front of its token.
        let user = cookie(request.headers()).unwrap_or_default().split('~').next().unwrap_or_default();
        let mut visits = self.visits.lock().unwrap_or_else(PoisonError::into_inner);
        let count = visits.entry(user.to_owned()).or_default();
        *count += 1;
        response.headers_mut().insert("x-visits", HeaderValue::from(*count));
        response
    }

    fn obey(&self, order: &str) -> Response<Full<Bytes>> {
        match order {
            "linger" => self.lingers.store(true, Relaxed),
            "go" => self.lingers.store(false, Relaxed),
            "hold" => self.holds.store(true, Relaxed),
            "sick" => self.mood.store(Mood::Sick as u8, Relaxed),
            "mute" => self.mood.store(Mood::Mute as u8, Relaxed),
            "err" => self.mood.store(Mood::Errs as u8, Relaxed),
            "cut" => self.mood.store(Mood::CutOff as u8, Relaxed),
            "well" => self.mood.store(Mood::Well as u8, Relaxed),
            "slow" => self.is_slow.store(true, Relaxed),
            "keys" => {
                if let Err(unavailable) = self.store.reload() {
                    return self.text(StatusCode::INTERNAL_SERVER_ERROR, &unavailable.to_string());
                }
            }
            other => {
                let bytes = other.strip_prefix("die-").and_then(|bytes| bytes.parse().ok());
                self.dies_of.store(bytes.unwrap_or_default(), Relaxed);
            }
        }
        self.text(StatusCode::OK, &self.held.load(Relaxed).to_string())
    }

    async fn shop(&self, request: &Request<Bytes>) -> Result<Response<Full<Bytes>>, Unavailable> {
        let token = cookie(request.headers()).unwrap_or_default();
        let body = std::str::from_utf8(request.body()).unwrap_or_default();
        let key = request.headers().get(KEY).and_then(|key| key.to_str().ok());
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/login") => {
                let Reply { found, trips } = self.store.begin(body).await?;
                Ok(self.done(StatusCode::NO_CONTENT, found.as_deref(), trips))
            }
            (&Method::GET, "/cart") => self.read(token).await,
            (&Method::POST, "/cart" | "/checkout") => match body.parse() {
                Ok(value) => self.write(token, Write { value, key }).await,
                Err(_) => Ok(self.text(StatusCode::BAD_REQUEST, "what is put into the cart is a number")),
            },
            (&Method::POST, "/logout") => {
                let Reply { found, trips } = self.store.end(token).await?;
                let status = if found.is_some() { StatusCode::NO_CONTENT } else { StatusCode::UNAUTHORIZED };
                Ok(self.done(status, Some(""), trips))
            }
            (method, path) => match path.strip_prefix(BOOK) {
                Some(book) => self.book(method, book, body).await,
                None => Ok(self.text(StatusCode::NOT_FOUND, "there is nothing here")),
            },
        }
    }

    /// Reads or writes what all share.
    async fn book(&self, method: &Method, book: &str, body: &str) -> Result<Response<Full<Bytes>>, Unavailable> {
        if method == Method::GET {
            let Reply { found, trips } = self.store.look(book).await?;
            let values = found.unwrap_or_default();
            return Ok(self.response(StatusCode::OK, serde_json::json!({ "values": values }).to_string(), trips));
        }
        match body.parse() {
            Ok(value) => Ok(self.done(StatusCode::NO_CONTENT, None, self.store.post(book, value).await?.trips)),
            Err(_) => Ok(self.text(StatusCode::BAD_REQUEST, "what is written into a book is a number")),
        }
    }

    async fn read(&self, token: &str) -> Result<Response<Full<Bytes>>, Unavailable> {
        let Reply { found, trips } = self.store.read(token).await?;
        let Some(values) = found else { return Ok(self.response(StatusCode::UNAUTHORIZED, String::new(), trips)) };
        Ok(self.response(StatusCode::OK, serde_json::json!({ "values": values }).to_string(), trips))
    }

    async fn write(&self, token: &str, write: Write<'_>) -> Result<Response<Full<Bytes>>, Unavailable> {
        let Reply { found, trips } = self.store.write(token, write).await?;
        let Some(new_token) = found else {
            return Ok(self.response(StatusCode::UNAUTHORIZED, String::new(), trips));
        };
        let (length, most) = (new_token.as_ref().map_or(0, String::len), self.store.token_max());
        if length > most {
            let message = format!(
                "{length} bytes of session: a browser would drop the cookie; {most} fit. Nothing was changed: order, \
                 or take something out"
            );
            return Ok(self.response(StatusCode::INSUFFICIENT_STORAGE, message, trips));
        }
        Ok(self.done(StatusCode::NO_CONTENT, new_token.as_deref(), trips))
    }

    /// A response without a body, with the session's new token if it has one.
    fn done(&self, status: StatusCode, token: Option<&str>, trips: u32) -> Response<Full<Bytes>> {
        let mut response = self.response(status, String::new(), trips);
        let cookie =
            token.map(|token| HeaderValue::try_from(format!("session={token}; HttpOnly; SameSite=Lax; Path=/")));
        if let Some(Ok(cookie)) = cookie {
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
        response
    }

    fn response(&self, status: StatusCode, body: String, trips: u32) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert("x-replica", self.name.clone());
        response.headers_mut().insert("x-store-trips", HeaderValue::from(trips));
        response
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let pairs =
        headers.get_all(COOKIE).iter().filter_map(|field| field.to_str().ok()).flat_map(|field| field.split(';'));
    pairs.into_iter().find_map(|pair| pair.trim().strip_prefix("session="))
}
