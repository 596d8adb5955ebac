//! One replica of the shop that the experiment runs on: the hidden subcommand `prove-replica`. The same code in every arm; only
//! the session layer differs. See [`crate::replica`].

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::options::Sabotage;
use super::store::database::Database;
use super::store::jwt::Jwt;
use super::store::memory::Memory;
use super::store::redis::Redis;
use super::store::{Reply, Sessions, Unavailable, Write};
use crate::replica::serve::{Application, serve};
use crate::trial::history::Value;

/// Environment variable with the key of the tokens. Arguments show up in `ps`, the environment only to its owner.
pub(super) const KEY_VARIABLE: &str = "UNSTICK_PROVE_KEY";

/// Environment variable with the URL of the Redis, which may hold a password.
pub(super) const REDIS_VARIABLE: &str = "UNSTICK_PROVE_REDIS";

/// How old the answers of a sabotaged cache may be.
const STALE: Duration = Duration::from_millis(200);
/// A sabotaged replica forgets one session in so many: those whose number leaves this rest.
const FORGOTTEN: (u64, u64) = (1000, 42);

/// Where sessions are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// In the replica's memory.
    Memory,
    /// At the client, signed.
    Jwt,
    /// In this SQLite file.
    Database(PathBuf),
    /// In the Redis whose URL the environment has.
    Redis,
}

/// What the parent says on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Name shown in `x-replica`.
    pub name: String,
    /// Where sessions are.
    pub store: Store,
    /// How it is made to misbehave.
    pub sabotage: Option<Sabotage>,
    /// How long each request takes at least, one at a time; zero: no such limit.
    pub service: Duration,
}

/// Serves the shop until SIGTERM or the end of the parent.
///
/// # Errors
/// The store is not there, or the port.
pub async fn run(options: Options) -> anyhow::Result<()> {
    match options.store.clone() {
        Store::Memory => run_with(options, Memory::default()).await,
        Store::Jwt => {
            let key = std::env::var(KEY_VARIABLE);
            let key = key
                .with_context(|| format!("{KEY_VARIABLE} holds no key; `unstick prove` starts its replicas itself"))?;
            run_with(options, Jwt::new(key.as_bytes())).await
        }
        Store::Database(file) => {
            let database = Database::open(&file).with_context(|| file.display().to_string())?;
            run_with(options, database).await
        }
        Store::Redis => {
            let url = std::env::var(REDIS_VARIABLE).with_context(|| format!("{REDIS_VARIABLE} holds no URL"))?;
            run_with(options, Redis::connect(&url).await?).await
        }
    }
}

async fn run_with(options: Options, sessions: impl Sessions) -> anyhow::Result<()> {
    let name = HeaderValue::from_str(&options.name).context("this name cannot stand in a header field")?;
    let Options { sabotage, service, .. } = options;
    serve(0, Shop { name, sessions, sabotage, service, turn: Semaphore::new(1), cache: Mutex::default() }).await
}

/// Answers of a sabotaged replica by token, and when they were fresh.
type Cache = HashMap<String, (Instant, Vec<Value>)>;

struct Shop<S> {
    name: HeaderValue,
    sessions: S,
    sabotage: Option<Sabotage>,
    service: Duration,
    turn: Semaphore,
    cache: Mutex<Cache>,
}

impl<S: Sessions> Application for Shop<S> {
    async fn answer(&self, request: Request<Bytes>) -> Response<Full<Bytes>> {
        if request.uri().path() == "/healthz" {
            return self.text(StatusCode::OK, "ok");
        }
        let _turn = if self.service.is_zero() { None } else { self.turn.acquire().await.ok() };
        tokio::time::sleep(self.service).await;
        self.shop(&request)
            .await
            .unwrap_or_else(|unavailable| self.text(StatusCode::SERVICE_UNAVAILABLE, &unavailable.to_string()))
    }

    fn text(&self, status: StatusCode, message: &str) -> Response<Full<Bytes>> {
        self.response(status, format!("{message}\n"), 0)
    }
}

impl<S: Sessions> Shop<S> {
    async fn shop(&self, request: &Request<Bytes>) -> Result<Response<Full<Bytes>>, Unavailable> {
        let token = cookie(request.headers()).unwrap_or_default();
        let body = std::str::from_utf8(request.body()).unwrap_or_default();
        let is_keyed = request.headers().contains_key("idempotency-key") && self.sabotage != Some(Sabotage::Double);
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/login") => {
                let Reply { found, trips } = self.sessions.begin(body).await?;
                let is_forgotten = body.parse().is_ok_and(|number: u64| number % FORGOTTEN.0 == FORGOTTEN.1);
                if let (Some(token), Some(Sabotage::Forget), true) = (&found, self.sabotage, is_forgotten) {
                    self.sessions.end(token).await?;
                }
                Ok(self.done(StatusCode::NO_CONTENT, found.as_deref(), trips))
            }
            (&Method::GET, "/cart") => self.read(token).await,
            (&Method::POST, "/cart" | "/checkout") => match body.parse() {
                Ok(value) => self.write(token, Write { value, is_keyed }).await,
                Err(_) => Ok(self.text(StatusCode::BAD_REQUEST, "what is put into the cart is a number")),
            },
            (&Method::POST, "/logout") => {
                let Reply { found, trips } = self.sessions.end(token).await?;
                let status = if found.is_some() { StatusCode::NO_CONTENT } else { StatusCode::UNAUTHORIZED };
                Ok(self.done(status, Some(""), trips))
            }
            _ => Ok(self.text(StatusCode::NOT_FOUND, "there is nothing here")),
        }
    }

    async fn read(&self, token: &str) -> Result<Response<Full<Bytes>>, Unavailable> {
        let Reply { found, trips } = match self.cached(token) {
            Some(values) => Reply::new(Some(values), 0),
            None => self.sessions.read(token).await?,
        };
        let Some(values) = found else { return Ok(self.response(StatusCode::UNAUTHORIZED, String::new(), trips)) };
        if self.sabotage == Some(Sabotage::Stale) {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache
                .entry(token.to_owned())
                .and_modify(|(at, old)| {
                    if at.elapsed() > STALE {
                        (*at, *old) = (Instant::now(), values.clone());
                    }
                })
                .or_insert_with(|| (Instant::now(), values.clone()));
        }
        Ok(self.response(StatusCode::OK, serde_json::json!({ "values": values }).to_string(), trips))
    }

    fn cached(&self, token: &str) -> Option<Vec<Value>> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.get(token).filter(|(at, _)| at.elapsed() <= STALE).map(|(_, values)| values.clone())
    }

    async fn write(&self, token: &str, write: Write) -> Result<Response<Full<Bytes>>, Unavailable> {
        let Reply { found, trips } = self.sessions.write(token, write).await?;
        let Some(mut new_token) = found else {
            return Ok(self.response(StatusCode::UNAUTHORIZED, String::new(), trips));
        };
        if self.sabotage == Some(Sabotage::Double) {
            let again = self.sessions.write(new_token.as_deref().unwrap_or(token), write).await?;
            new_token = again.found.flatten().or(new_token);
        }
        Ok(self.done(StatusCode::NO_CONTENT, new_token.as_deref(), trips))
    }

    /// An answer without a body, with the session's new token if it has one.
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
