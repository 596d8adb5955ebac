//! `/events`: what the page of the dashboard shows, once a second, as server-sent events.
//!
//! Each listener gets `needs` (what it needs to change something) and `history` first, then a `state` each second, and
//! soon after a verdict or a reload. All of them get the same bytes, which are made only while somebody listens. A
//! listener that is slow misses a state, and nothing piles up for it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body::{Body, Frame};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout_at};

use super::answer::Caller;
use super::authority::Needs;
use super::history::{EndpointTotals, History, Latest, Totals};
use super::places::Peer;
use super::seats::{Seat, Seats};
use super::view::StatusView;
use crate::control::requests::KINDS;
use crate::control::status::Status;

/// The time from one sample to the next.
const TICK: Duration = Duration::from_secs(1);
/// How long news waits for more of it: many endpoints may fail at one time.
const GATHERING: Duration = Duration::from_millis(100);

/// Tells a browser how long to wait, in milliseconds, before it asks again.
const RETRY: &str = "retry: 1000\n";

/// What listeners get. It belongs to the control thread.
pub(super) struct Feed {
    pub(super) status: Arc<Status>,
    history: RefCell<History>,
    /// The latest state. Each listener has a receiver, so the receivers are counted.
    news: watch::Sender<Bytes>,
    seats: Seats,
}

/// A `state`.
#[derive(Serialize)]
struct State<'a> {
    /// Now, in milliseconds since 1970.
    at: u64,
    /// When `latest` was taken.
    sampled_at: Option<u64>,
    #[serde(flatten)]
    status: StatusView,
    /// The last second of each pool that has a history, and of its endpoints.
    latest: BTreeMap<&'a str, Latest<'a>>,
    /// By kind, a number that changes when `/v1/requests` has more of them. The sample is left out: it always has.
    told: BTreeMap<&'static str, u64>,
}

impl Feed {
    /// A feed without listeners.
    pub(super) fn new(status: Arc<Status>) -> Self {
        Self { status, history: RefCell::default(), news: watch::Sender::new(Bytes::new()), seats: Seats::default() }
    }

    /// Takes a sample each second, and tells the listeners then, and soon after there is news. It does not end.
    pub(super) async fn run(self: Rc<Self>) {
        // What comes from now on is counted from here.
        self.sample();
        let mut ticks = interval_at(Instant::now() + TICK, TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.sample(),
                () = self.status.news.notified() => sleep(GATHERING).await,
            }
            if self.news.receiver_count() > 0 {
                self.news.send_replace(self.state().into());
            }
        }
    }

    fn sample(&self) {
        let snapshot = self.status.shared.load();
        let pools = snapshot.pools.iter().map(|pool| {
            let endpoints = pool.members.iter().map(|member| &member.endpoint);
            let totals = endpoints.map(|endpoint| (endpoint.address.clone(), EndpointTotals::of(endpoint)));
            (Arc::clone(&pool.name), Totals::of(pool), totals)
        });
        self.history.borrow_mut().observe(now_ms(), Instant::now(), pools);
    }

    fn state(&self) -> String {
        let history = self.history.borrow();
        let (status, sampled_at) = (StatusView::brief(&self.status), history.sampled_at());
        let told =
            KINDS.into_iter().zip(self.status.requests.newest()).filter(|(kind, _)| *kind != "sampled").collect();
        event("state", &State { at: now_ms(), sampled_at, status, latest: history.latest(), told })
    }

    /// The events for one more listener, until they end for `caller`.
    ///
    /// # Errors
    /// As many listen as may.
    pub(super) fn listen(&self, caller: &Caller) -> Result<Events, String> {
        let seat = self.seats.take(caller.door)?;
        let needs = Needs::of(caller.door, &self.status.state().access);
        let before = event("needs", &needs) + &event("history", &*self.history.borrow());
        let first = RETRY.to_owned() + &before + &self.state();
        let (closing, until, peer) = (caller.closing.clone(), caller.events_until, Rc::clone(&caller.peer));
        peer.listens.set(true);
        let source = Source { news: self.news.subscribe(), closing, until };
        Ok(Events { first: Some(first.into()), next: next(source), peer, _seat: seat })
    }
}

/// The body of a response to a listener. Dropping it frees its place.
pub(super) struct Events {
    first: Option<Bytes>,
    next: Next,
    peer: Rc<Peer>,
    _seat: Seat,
}

impl Drop for Events {
    fn drop(&mut self) {
        self.peer.listens.set(false);
    }
}

struct Source {
    news: watch::Receiver<Bytes>,
    closing: watch::Receiver<()>,
    until: Instant,
}

/// Waits for an event, and returns it with what is needed to wait for the one behind it.
type Next = Pin<Box<dyn Future<Output = Option<(Bytes, Source)>>>>;

fn next(mut source: Source) -> Next {
    Box::pin(async move {
        tokio::select! {
            changed = timeout_at(source.until, source.news.changed()) => changed.ok()?.ok()?,
            _ = source.closing.changed() => return None,
        }
        let event = source.news.borrow_and_update().clone();
        Some((event, source))
    })
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let polled = self.next.as_mut().poll(cx);
        polled.map(|found| {
            let (event, source) = found?;
            self.next = next(source);
            Some(Ok(Frame::data(event)))
        })
    }
}

/// One event as the page reads it. JSON has no line breaks of its own, so it is one line of data.
fn event(name: &str, data: &impl Serialize) -> String {
    let mut text = format!("event: {name}\ndata: ");
    match serde_json::to_string(data) {
        Ok(json) => text.push_str(&json),
        // It cannot fail: all keys are strings. The page would show what it says.
        Err(error) => _ = write!(text, "{{\"error\":{:?}}}", error.to_string()),
    }
    text + "\n\n"
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
