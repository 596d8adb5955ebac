//! A replica that takes orders for reports: its HTTP side. A report takes a while; until then its order has a number.

use std::sync::Arc;

use http::header::LOCATION;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;

use super::queue::Begun;
use crate::prove::ledger::KEY;
use crate::prove::sabotage::Sabotage;
use crate::prove::study::hold::{Held, Hold};
use crate::prove::study::part::{PartBody, PartReplica, Responder, Responding, field, text, whole};

/// The order that is refused under sabotage: one of the last, so that its client keeps no other waiting.
const REFUSED: u64 = 307;

/// What a desk knows of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// Nobody has ordered it, as far as it knows.
    Unknown,
    /// It is not ready.
    Waiting,
    /// It is ready.
    Ready(u64),
}

/// Where orders and reports are.
pub(super) trait Reports: Send + Sync + 'static {
    /// Orders a report, once for each key; its id.
    fn order(&self, key: Option<&str>, number: u64) -> impl Future<Output = anyhow::Result<String>> + Send;
    /// What is known of it.
    fn state(&self, id: &str) -> impl Future<Output = anyhow::Result<State>> + Send;
    /// The ids of all reports that were sent out, each time that one was, in order: the effect that everybody sees.
    fn sent(&self) -> impl Future<Output = anyhow::Result<Vec<String>>> + Send;
    /// Each time that a worker has begun a report, in order.
    fn begun(&self) -> impl Future<Output = anyhow::Result<Vec<Begun>>> + Send;
}

/// What a replica holds back that is to be killed: requests for reports, and orders that its workers have.
#[derive(Debug, Clone, Default)]
pub(super) struct Holds {
    pub(super) requests: Arc<Hold>,
    pub(super) orders: Arc<Hold>,
}

/// What a report says.
pub(super) fn report(number: u64) -> u64 {
    number * number + 1
}

/// Serves until SIGTERM or the end of the parent.
pub(super) async fn open(replica: PartReplica, reports: impl Reports, holds: Holds) -> anyhow::Result<()> {
    let refuses = replica.planted.is(Sabotage::OrdersRefused);
    replica.serve(Desk { reports, holds, refuses }).await
}

struct Desk<R> {
    reports: R,
    holds: Holds,
    /// Whether one order is refused, under sabotage.
    refuses: bool,
}

impl<R: Reports> Responder for Desk<R> {
    fn respond(&self, request: Request<Incoming>) -> Responding<'_> {
        Box::pin(async move {
            let response = self.response_to(request).await;
            response.unwrap_or_else(|error| text(StatusCode::SERVICE_UNAVAILABLE, &format!("{error:#}")))
        })
    }
}

impl<R: Reports> Desk<R> {
    async fn response_to(&self, request: Request<Incoming>) -> anyhow::Result<Response<PartBody>> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        match (method, path.trim_start_matches('/').split('/').collect::<Vec<_>>().as_slice()) {
            (_, ["control", "hold", enough]) => {
                let enough = enough.parse()?;
                let Holds { requests, orders } = &self.holds;
                let held = tokio::join!(requests.begin(enough), orders.begin(enough));
                Ok(text(StatusCode::OK, &serde_json::to_string(&held)?))
            }
            (Method::POST, ["reports"]) => self.order(request).await,
            (Method::GET, ["reports", id]) => Ok(match self.reports.state(id).await? {
                State::Unknown => text(StatusCode::NOT_FOUND, "there is no such report"),
                State::Waiting => text(StatusCode::ACCEPTED, "it is not ready"),
                State::Ready(report) => text(StatusCode::OK, &report.to_string()),
            }),
            (Method::GET, ["sent"]) => {
                let (sent, begun) = (self.reports.sent().await?, self.reports.begun().await?);
                Ok(text(StatusCode::OK, &serde_json::to_string(&(sent, begun))?))
            }
            _ => Ok(text(StatusCode::NOT_FOUND, "there is no such place")),
        }
    }

    async fn order(&self, request: Request<Incoming>) -> anyhow::Result<Response<PartBody>> {
        let key = field(&request, KEY).map(str::to_owned);
        let number: u64 = std::str::from_utf8(&whole(request.into_body()).await?)?.trim().parse()?;
        anyhow::ensure!(!self.refuses || number != REFUSED, "this replica does not want this order");
        let held = self.holds.requests.place();
        if held == Some(Held::Undone) {
            self.holds.requests.keep(key.clone().unwrap_or_default()).await;
        }
        let id = self.reports.order(key.as_deref(), number).await?;
        if held == Some(Held::Done) {
            self.holds.requests.keep(key.clone().unwrap_or_default()).await;
        }
        let mut response = text(StatusCode::ACCEPTED, &id);
        response.headers_mut().insert(LOCATION, HeaderValue::try_from(format!("/reports/{id}"))?);
        Ok(response)
    }
}
