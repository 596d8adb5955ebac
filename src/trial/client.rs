//! Users: they play journeys over real connections, one session at a time, and write down what happened.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{sleep, sleep_until, timeout};

use super::application::{Application, Ask, Reply};
use super::history::{Action, Recorder, SessionId, Step, StepOutcome};
use super::scenario::Scenario;

/// A response that takes longer has failed.
const RESPONSE_DEADLINE: Duration = Duration::from_secs(5);
/// How often one request is sent at most: over other fronts, when the one it was sent to broke off.
const TRIES_MAX: u32 = 3;
/// A user whose login failed tries again after this.
const LOGIN_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a response at most.
const RESPONSE_MAX: usize = 1 << 20;

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The address to connect to.
    pub address: SocketAddr,
    /// The value of the `Host` field.
    pub host: Rc<str>,
}

/// Where users send their requests.
pub trait Front {
    /// The target of a user who has just left another one because it broke off, or who has none yet.
    fn target(&self, user: u32, left: Option<&Target>) -> Option<Target>;
    /// Whether a user leaves a target because of a response with this status.
    fn is_left_for(&self, status: StatusCode) -> bool;
}

/// What all users of a trial share.
pub struct Crowd {
    /// What they use.
    pub application: Rc<dyn Application>,
    /// Where they send their requests.
    pub front: Rc<dyn Front>,
    /// What they do.
    pub scenario: Scenario,
    /// When they bring their sessions to an end, since the beginning.
    pub until: Cell<Duration>,
    /// Where it is written down.
    pub recorder: Recorder,
    /// Sessions begun so far.
    pub sessions: Cell<SessionId>,
}

/// Plays one user's journeys, one after the other, until the time is over.
pub async fn play(crowd: Rc<Crowd>, user: u32) {
    sleep_until(crowd.recorder.at(crowd.scenario.arrival(user))).await;
    let mut user = User { crowd, number: user, token: None, session: 0, at: None, connection: None };
    let mut nth = 0;
    while !user.is_over() {
        user.session(nth).await;
        nth += 1;
    }
}

struct User {
    crowd: Rc<Crowd>,
    number: u32,
    /// What the client keeps of the session.
    token: Option<String>,
    session: SessionId,
    at: Option<Target>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl User {
    fn is_over(&self) -> bool {
        self.crowd.recorder.now() >= self.crowd.until.get()
    }

    /// One session: until it is lost, or the time is over.
    async fn session(&mut self, nth: u32) {
        self.session = self.crowd.sessions.get();
        self.crowd.sessions.set(self.session + 1);
        self.token = None;
        if self.step(Action::Login).await != StepOutcome::Done {
            sleep(LOGIN_PAUSE).await;
            return;
        }
        let mut journey = self.crowd.scenario.journey(self.number, nth);
        loop {
            let (pause, action) = journey.next_step();
            sleep(pause).await;
            if self.is_over() {
                break;
            }
            if self.step(action).await == StepOutcome::Forgotten {
                return;
            }
        }
        if self.step(Action::Read).await == StepOutcome::Forgotten {
            return;
        }
        let token = self.token.clone();
        if self.step(Action::Logout).await == StepOutcome::Done {
            self.token = token;
            self.step(Action::Reuse).await;
        }
    }

    /// Takes one step and writes down what came of it.
    async fn step(&mut self, action: Action) -> StepOutcome {
        let recorder = self.crowd.recorder.clone();
        let sent = recorder.now();
        let sent_bytes = self.token.as_ref().map_or(0, String::len);
        let (reply, tries) = self.send(action).await;
        let set_bytes = reply.token.as_ref().map_or(0, String::len);
        if let Some(token) = reply.token {
            self.token = Some(token).filter(|token| !token.is_empty());
        }
        recorder.step(Step {
            session: self.session,
            user: self.number,
            action,
            sent,
            ended: recorder.now(),
            replica: reply.replica,
            outcome: reply.outcome.clone(),
            tries,
            state_bytes: (sent_bytes + set_bytes) as u32,
            store_trips: reply.store_trips,
        });
        reply.outcome
    }

    /// Sends the request of a step. It is sent again on a new connection if the kept one turns out to be closed, and
    /// over another front if the first breaks off and there is another: the application's requests may be repeated.
    async fn send(&mut self, action: Action) -> (Reply, u32) {
        for tries in 1.. {
            let was_connected = self.connection.is_some();
            let target = self.at.clone().or_else(|| self.crowd.front.target(self.number, None));
            let Some(target) = target else { return (Reply::failed("there is no front".into()), tries) };
            self.at = Some(target.clone());
            let result = timeout(RESPONSE_DEADLINE, self.exchange(&target, action)).await;
            let result =
                result.unwrap_or_else(|_| Err(Broken { why: "no response in time".into(), was_closed: false }));
            let reply = match result {
                Ok((status, reply)) if !self.crowd.front.is_left_for(status) => return (reply, tries),
                Ok((_, reply)) => reply,
                Err(Broken { why, was_closed }) => {
                    self.connection = None;
                    // The replica or proxy may have closed a kept connection by now; a new one shows whether it is
                    // there.
                    if was_connected && was_closed && tries < TRIES_MAX {
                        continue;
                    }
                    Reply::failed(why)
                }
            };
            let other = self.crowd.front.target(self.number, Some(&target)).filter(|other| *other != target);
            let Some(other) = other else { return (reply, tries) };
            (self.at, self.connection) = (Some(other), None);
            if tries == TRIES_MAX {
                return (reply, tries);
            }
        }
        unreachable!("the last try returns")
    }

    async fn exchange(&mut self, target: &Target, action: Action) -> Result<(StatusCode, Reply), Broken> {
        let application = Rc::clone(&self.crowd.application);
        let ask = Ask { session: self.session, action, token: self.token.as_deref() };
        let mut request = application.request(&ask).map(Full::from);
        let host = HeaderValue::from_str(&target.host);
        request.headers_mut().insert(HOST, host.map_err(|error| Broken { why: error.to_string(), was_closed: false })?);
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => self.connection.insert(connect(target.address).await?),
        };
        connection.ready().await?;
        let (head, body) = connection.send_request(request).await?.into_parts();
        if head.headers.get(http::header::CONNECTION).is_some_and(|value| value == "close") {
            self.connection = None;
        }
        let body = Limited::new(body, RESPONSE_MAX).collect().await;
        let body =
            body.map_err(|error| Broken { why: format!("the response broke off: {error}"), was_closed: false })?;
        let response = Response::from_parts(head, body.to_bytes());
        Ok((response.status(), application.reply(&response)))
    }
}

/// No response, or half of one.
struct Broken {
    why: String,
    /// Whether the connection was closed before anything of a response came.
    was_closed: bool,
}

impl From<hyper::Error> for Broken {
    fn from(error: hyper::Error) -> Self {
        let was_closed = error.is_canceled() || error.is_closed() || error.is_incomplete_message();
        Self { why: error.to_string(), was_closed }
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, Broken> {
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|error| Broken { why: format!("cannot connect: {error}"), was_closed: false })?;
    stream.set_nodelay(true).ok();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
