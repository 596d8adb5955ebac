//! Clients who order reports with a key, repeat some of the orders, and ask for the reports.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use http::{Request, StatusCode};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::desk::State;
use super::talk::{Accepted, Asked, Job};
use crate::prove::ledger::KEY;
use crate::prove::study::caller::{Caller, replica_of};

/// One order in so many is sent again when it has been accepted.
const REPEATED_ONE_IN: u32 = 4;
/// How long an order is sent again and again until it is accepted. No kill and no edit takes so long.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(10);
/// Pause before an order is sent again, and between two questions for one report.
const AGAIN: Duration = Duration::from_millis(50);

/// What all clients share.
pub(super) struct Crowd {
    pub(super) front: SocketAddr,
    pub(super) began: Instant,
    pub(super) jobs: RefCell<Vec<Job>>,
    /// Requests, and those that had no response of a replica, in words.
    pub(super) requests: Cell<u64>,
    pub(super) failed: RefCell<Vec<String>>,
    /// An order was accepted, or a client has come to its end.
    pub(super) news: Notify,
}

impl Crowd {
    /// With so many orders.
    pub(super) fn new(front: SocketAddr, orders: usize) -> Self {
        let job = |number| Job { key: format!("key-{number}"), number: number as u64, ..Job::default() };
        Self {
            front,
            began: Instant::now(),
            jobs: RefCell::new((1..=orders).map(job).collect()),
            requests: Cell::default(),
            failed: RefCell::default(),
            news: Notify::new(),
        }
    }

    /// How many orders have been accepted.
    pub(super) fn accepted(&self) -> usize {
        self.jobs.borrow().iter().filter(|job| !job.accepted.is_empty()).count()
    }

    /// Waits until so many orders have been accepted; `false`: they are not in time.
    pub(super) async fn wait_accepted(&self, orders: usize, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        while self.accepted() < orders {
            tokio::select! {
                () = self.news.notified() => {}
                () = sleep_until(deadline) => return false,
            }
        }
        true
    }

    /// Sends an order until it is accepted.
    pub(super) async fn order(&self, caller: &mut Caller, place: usize) {
        let (key, number) = {
            let jobs = self.jobs.borrow();
            (jobs[place].key.clone(), jobs[place].number)
        };
        let until = Instant::now() + ACCEPTED_WITHIN;
        while Instant::now() < until {
            let request = Request::post("/reports").header(KEY, &key).body(Bytes::from(number.to_string()));
            if let Some((StatusCode::ACCEPTED, replica, id)) = self.call(caller, request).await {
                self.jobs.borrow_mut()[place].accepted.push(Accepted { at: self.began.elapsed(), replica, id });
                self.news.notify_one();
                return;
            }
            sleep(AGAIN).await;
        }
        let last = self.failed.borrow().last().cloned();
        self.jobs.borrow_mut()[place].refused = last;
    }

    /// Asks for a report that has been ordered. What the replica says; `None`: there was no response of one.
    pub(super) async fn ask(&self, caller: &mut Caller, place: usize) -> Option<Asked> {
        let id = self.jobs.borrow()[place].id()?.to_owned();
        let request = Request::get(format!("/reports/{id}")).body(Bytes::new());
        let (status, replica, text) = self.call(caller, request).await?;
        let state = match status {
            StatusCode::NOT_FOUND => State::Unknown,
            StatusCode::OK => State::Ready(text.parse().unwrap_or_default()),
            _ => State::Waiting,
        };
        Some(Asked { at: self.began.elapsed(), replica, state })
    }

    /// Asks, and writes down what the replica says.
    pub(super) async fn ask_and_note(&self, caller: &mut Caller, place: usize) {
        let asked = self.ask(caller, place).await;
        self.jobs.borrow_mut()[place].asked.extend(asked);
    }

    /// A response of a replica: its status, the replica, its text.
    async fn call(
        &self,
        caller: &mut Caller,
        request: http::Result<Request<Bytes>>,
    ) -> Option<(StatusCode, String, String)> {
        self.requests.set(self.requests.get() + 1);
        let response = match request {
            Ok(request) => caller.send(request).await,
            Err(error) => Err(error.into()),
        };
        let why = match response {
            Ok(response) => {
                let (status, text) = (response.status(), String::from_utf8_lossy(response.body()).trim().to_owned());
                match replica_of(&response) {
                    Some(replica) if !status.is_server_error() => return Some((status, replica, text)),
                    replica => format!("{status} by {}: {text}", replica.as_deref().unwrap_or("the proxy")),
                }
            }
            Err(error) => format!("{error:#}"),
        };
        self.failed.borrow_mut().push(format!("{:.3} s: {why}", self.began.elapsed().as_secs_f64()));
        None
    }
}

/// One client: what it orders, and when.
pub(super) struct Client {
    pub(super) crowd: Rc<Crowd>,
    pub(super) places: Vec<usize>,
    /// Mean pause between two orders.
    pub(super) pause: Duration,
    /// How long it waits for the next of its reports when it has ordered all.
    pub(super) patience: Duration,
    pub(super) rng: Rng,
}

impl Client {
    /// Until all its reports are ready, or its patience is over.
    pub(super) async fn run(mut self) {
        let crowd = Rc::clone(&self.crowd);
        let mut caller = Caller::to(crowd.front);
        for place in &self.places {
            sleep(self.pause.mul_f64(0.5 + self.rng.f64())).await;
            crowd.order(&mut caller, *place).await;
            crowd.ask_and_note(&mut caller, *place).await;
            let is_accepted = crowd.jobs.borrow()[*place].id().is_some();
            if self.rng.u32(..REPEATED_ONE_IN) == 0 && is_accepted {
                crowd.order(&mut caller, *place).await;
            }
        }
        let mut until = Instant::now() + self.patience;
        loop {
            let open = self.places.len();
            let is_open = |place: &usize| {
                let jobs = crowd.jobs.borrow();
                jobs[*place].id().is_some() && !jobs[*place].is_done()
            };
            self.places.retain(is_open);
            if self.places.len() < open {
                until = Instant::now() + self.patience;
            }
            if self.places.is_empty() || Instant::now() > until {
                return;
            }
            for place in &self.places {
                crowd.ask_and_note(&mut caller, *place).await;
            }
            sleep(AGAIN).await;
        }
    }
}
