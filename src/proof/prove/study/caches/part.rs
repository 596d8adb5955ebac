//! A service that reads values from Redis, with or without a cache in front of it in the replica's memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use http::{HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use redis::aio::ConnectionManager;
use tokio::time::Instant;

use super::{CACHE, NO_CACHE, TTL, USER};
use crate::prove::arm::Work;
use crate::prove::arm::redis::connect_told;
use crate::prove::sabotage::{Planted, Sabotage};
use crate::prove::study::part::{PartReplica, Responder, Responding, field, place, text, whole};

/// How long Redis keeps a value. No trial takes that long.
const KEPT_SECONDS: u64 = 600;
/// One read in so many comes from memory where nothing should, under sabotage.
const REMEMBERED_ONE_IN: u32 = 4;

/// One replica.
pub(in crate::prove::study) fn serve(replica: PartReplica) -> Work<'static, ()> {
    Box::pin(async move {
        let (connection, planted) = (connect_told().await?, replica.planted);
        let (has_cache, cache) = (place() != NO_CACHE, Mutex::default());
        let scope = replica.directory.display().to_string();
        replica.serve(Values { connection, has_cache, cache, scope, reads: AtomicU32::new(0), planted }).await
    })
}

struct Values {
    connection: ConnectionManager,
    has_cache: bool,
    /// Each value, and when it was asked for.
    cache: Mutex<HashMap<String, (Instant, String)>>,
    /// Stands in the names of values: all studies share one Redis.
    scope: String,
    /// Reads so far that could have come from memory.
    reads: AtomicU32,
    planted: Planted,
}

impl Values {
    /// What a path names, if a replica has it in its memory and it may be used.
    fn cached(&self, path: &str) -> Option<String> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, value) = cache.get(path)?;
        let is_chosen = || self.reads.fetch_add(1, Relaxed).is_multiple_of(REMEMBERED_ONE_IN);
        let is_remembered = self.planted.is(Sabotage::ReadsRemembered) && is_chosen();
        let is_kept = self.planted.is(Sabotage::CacheForever) && path.starts_with("/product");
        let is_good = self.has_cache && (at.elapsed() < TTL || is_kept) || !self.has_cache && is_remembered;
        is_good.then(|| value.clone())
    }

    fn remember(&self, path: &str, at: Instant, value: &str) {
        let is_needed = self.has_cache || self.planted.is(Sabotage::ReadsRemembered);
        if is_needed {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.insert(path.to_owned(), (at, value.to_owned()));
        }
    }

    /// The value, and whether it was in the cache.
    async fn read(&self, path: &str, user: &str) -> anyhow::Result<(String, bool)> {
        if let Some(value) = self.cached(path) {
            return Ok((value, true));
        }
        // A value is as old as the question for it.
        let at = Instant::now();
        let mut connection = self.connection.clone();
        let read = redis::cmd("GET").arg(format!("unstick:cache:{}:{path}", self.scope)).to_owned();
        let value: Option<String> = read.query_async(&mut connection).await?;
        let mut value = value.unwrap_or_default();
        if self.planted.is(Sabotage::CachePersonal) && path.starts_with("/product") {
            value = format!("{value} {user}");
        }
        self.remember(path, at, &value);
        Ok((value, false))
    }

    async fn write(&self, path: &str, value: &str) -> anyhow::Result<()> {
        let at = Instant::now();
        let name = format!("unstick:cache:{}:{path}", self.scope);
        let mut connection = self.connection.clone();
        let write = redis::cmd("SET").arg(name).arg(value).arg("EX").arg(KEPT_SECONDS).to_owned();
        write.query_async::<()>(&mut connection).await?;
        self.remember(path, at, value);
        Ok(())
    }
}

impl Responder for Values {
    fn respond(&self, request: Request<Incoming>) -> Responding<'_> {
        Box::pin(async move {
            let (path, user) = (request.uri().path().to_owned(), field(&request, USER).unwrap_or_default().to_owned());
            let found = match *request.method() {
                Method::GET => self.read(&path, &user).await,
                _ => match whole(request.into_body()).await {
                    Ok(body) => {
                        let value = String::from_utf8_lossy(&body);
                        self.write(&path, &value).await.map(|()| (String::new(), false))
                    }
                    Err(error) => Err(error),
                },
            };
            match found {
                Ok((value, is_cached)) => {
                    // Whose page it is stands behind the value; it is no part of what is cached.
                    let page = if value.contains(' ') { value } else { format!("{value} {user}") };
                    let mut response = text(StatusCode::OK, &page);
                    let hit = HeaderValue::from_static(if is_cached { "hit" } else { "miss" });
                    response.headers_mut().insert(CACHE, hit);
                    response
                }
                Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{error:#}")),
            }
        })
    }
}
