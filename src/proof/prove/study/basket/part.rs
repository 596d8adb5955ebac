//! One replica with baskets: `POST /login`, `GET /basket`, `POST /basket`, `GET /`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::header::{COOKIE, HeaderValue, SET_COOKIE};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::Semaphore;

use crate::prove::arm::{Work, jwt, memory};
use crate::prove::replica::KEY_VARIABLE;
use crate::prove::store::{Store, Unavailable, Write};
use crate::prove::study::part::{PartBody, PartReplica, Responder, Responding, field, text, whole};

/// Environment variable: `memory` or `token`.
pub(super) const KEEPS: &str = "UNSTICK_STUDY_KEEPS";
/// Environment variable: how many milliseconds a request takes.
pub(in crate::prove::study) const SERVICE_MS: &str = "UNSTICK_STUDY_SERVICE_MS";
/// Environment variable: how many requests it does at one time.
pub(in crate::prove::study) const AT_ONCE: &str = "UNSTICK_STUDY_AT_ONCE";

/// Field of a request that takes no time.
pub(super) const RETURNS: &str = "x-returns";

/// Serves it, as its environment says.
pub(in crate::prove::study) fn serve(replica: PartReplica) -> Work<'static, ()> {
    Box::pin(async move {
        match std::env::var(KEEPS).as_deref() {
            Ok("memory") => replica.serve(Baskets::new(memory::store())?).await,
            Ok("token") => {
                let key = std::env::var(KEY_VARIABLE).with_context(|| format!("{KEY_VARIABLE} is not set"))?;
                replica.serve(Baskets::new(jwt::store(key.as_bytes()))?).await
            }
            other => anyhow::bail!("{KEEPS} is {other:?}"),
        }
    })
}

struct Baskets<S> {
    store: S,
    service: Duration,
    turns: Arc<Semaphore>,
}

impl<S: Store> Baskets<S> {
    fn new(store: S) -> anyhow::Result<Self> {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u32>()).transpose();
        let service = Duration::from_millis(number(SERVICE_MS)?.unwrap_or_default().into());
        let turns = Arc::new(Semaphore::new(number(AT_ONCE)?.unwrap_or(u32::MAX >> 4) as usize));
        Ok(Self { store, service, turns })
    }

    async fn response_to(&self, request: Request<Incoming>) -> Result<Response<PartBody>, Unavailable> {
        if !self.service.is_zero() && field(&request, RETURNS).is_none() {
            let _turn = self.turns.acquire().await.map_err(|error| Unavailable(error.to_string()))?;
            tokio::time::sleep(self.service).await;
        }
        let cookie = field(&request, COOKIE.as_str()).and_then(|text| text.strip_prefix("session="));
        let token = cookie.unwrap_or_default().to_owned();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        match (method, path.as_str()) {
            (Method::POST, "/login") => {
                let token = self.store.begin("user").await?.found;
                Ok(with_token(StatusCode::NO_CONTENT, token.as_deref()))
            }
            (Method::GET, "/basket") => match self.store.read(&token).await?.found {
                Some(values) => Ok(text(StatusCode::OK, &serde_json::json!(values).to_string())),
                None => Ok(text(StatusCode::UNAUTHORIZED, "")),
            },
            (Method::POST, "/basket") => {
                let body = whole(request.into_body()).await.map_err(|error| Unavailable(error.to_string()))?;
                let value = std::str::from_utf8(&body).ok().and_then(|text| text.parse().ok());
                let value = value.ok_or_else(|| Unavailable("what is put into a basket is a number".into()))?;
                match self.store.write(&token, Write { value, key: None }).await?.found {
                    Some(token) => Ok(with_token(StatusCode::NO_CONTENT, token.as_deref())),
                    None => Ok(text(StatusCode::UNAUTHORIZED, "")),
                }
            }
            (Method::GET, "/") => Ok(text(StatusCode::OK, "here")),
            _ => Ok(text(StatusCode::NOT_FOUND, "")),
        }
    }
}

impl<S: Store> Responder for Baskets<S> {
    fn respond(&self, request: Request<Incoming>) -> Responding<'_> {
        Box::pin(async move {
            let response = self.response_to(request).await;
            response.unwrap_or_else(|error| text(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()))
        })
    }
}

/// A response without a body, with the session's new token if it has one.
fn with_token(status: StatusCode, token: Option<&str>) -> Response<PartBody> {
    let mut response = text(status, "");
    let cookie = token.map(|token| HeaderValue::try_from(format!("session={token}")));
    if let Some(Ok(cookie)) = cookie {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}
