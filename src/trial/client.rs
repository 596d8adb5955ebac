//! Users: they play journeys over real connections, with one cookie each, and write down what happened.
//!
//! The interface of the application is that of the shop in `prove::replica`: `POST /login`, `GET /cart`, `POST /cart`,
//! `POST /checkout`, `POST /logout`; every POST bears an `Idempotency-Key`.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, COOKIE, HOST, SET_COOKIE};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::{sleep, sleep_until, timeout};

use super::history::{Action, Outcome, Recorder, SessionId, Step, Value};
use super::scenario::Scenario;

/// An answer that takes longer has failed.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
/// How often one request is sent at most: over other fronts, when the one it was sent to broke off.
const TRIES_MAX: u32 = 3;
/// A user whose login failed tries again after this.
const LOGIN_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of an answer at most.
const ANSWER_MAX: usize = 1 << 20;

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whom to connect to.
    pub address: SocketAddr,
    /// What the `Host` field says.
    pub host: Rc<str>,
}

/// Where users send their requests.
pub trait Front {
    /// Where to for a user who has just left a target (because it broke off), or who has none yet.
    fn target(&self, user: u32, left: Option<&Target>) -> Option<Target>;
    /// Whether a user leaves a target because of such an answer.
    fn is_left_for(&self, status: StatusCode) -> bool;
}

/// What all users of a trial share.
pub struct Crowd {
    /// Where to.
    pub front: Rc<dyn Front>,
    /// What to do.
    pub scenario: Scenario,
    /// When to bring sessions to an end, since the beginning.
    pub until: Cell<Duration>,
    /// Where it is written down.
    pub recorder: Recorder,
    /// Sessions begun so far.
    pub sessions: Cell<SessionId>,
}

/// Plays one user's journeys, one after the other, until the time is over.
pub async fn play(crowd: Rc<Crowd>, user: u32) {
    sleep_until(crowd.recorder.at(crowd.scenario.arrival(user))).await;
    let mut user = User { crowd, number: user, cookie: None, session: 0, at: None, connection: None };
    let mut nth = 0;
    while !user.is_over() {
        user.session(nth).await;
        nth += 1;
    }
}

struct User {
    crowd: Rc<Crowd>,
    number: u32,
    cookie: Option<String>,
    session: SessionId,
    at: Option<Target>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// An answer, as far as it matters.
struct Answer {
    outcome: Outcome,
    replica: Option<Arc<str>>,
    store_trips: u32,
    set_cookie: Option<String>,
    status: StatusCode,
}

#[derive(Deserialize)]
struct Cart {
    values: Vec<Value>,
}

impl User {
    fn is_over(&self) -> bool {
        self.crowd.recorder.now() >= self.crowd.until.get()
    }

    /// One session: until it is lost, or the time is over.
    async fn session(&mut self, nth: u32) {
        self.session = self.crowd.sessions.get();
        self.crowd.sessions.set(self.session + 1);
        self.cookie = None;
        if self.step(Action::Login).await != Outcome::Done {
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
            if self.step(action).await == Outcome::Forgotten {
                return;
            }
        }
        if self.step(Action::Read).await == Outcome::Forgotten {
            return;
        }
        let cookie = self.cookie.clone();
        if self.step(Action::Logout).await == Outcome::Done {
            self.cookie = cookie;
            self.step(Action::Reuse).await;
        }
    }

    /// Does it and writes it down.
    async fn step(&mut self, action: Action) -> Outcome {
        let recorder = self.crowd.recorder.clone();
        let sent = recorder.now();
        let sent_bytes = self.cookie.as_ref().map_or(0, String::len);
        let (answer, tries) = self.send(action).await;
        let set_bytes = answer.set_cookie.as_ref().map_or(0, String::len);
        if let Some(cookie) = answer.set_cookie {
            self.cookie = Some(cookie).filter(|cookie| !cookie.is_empty());
        }
        recorder.step(Step {
            session: self.session,
            user: self.number,
            action,
            sent,
            ended: recorder.now(),
            replica: answer.replica,
            outcome: answer.outcome.clone(),
            tries,
            state_bytes: (sent_bytes + set_bytes) as u32,
            store_trips: answer.store_trips,
        });
        answer.outcome
    }

    /// Sends it; on a new connection if the one that was kept turns out to be closed, and over another front if there is one and the
    /// first breaks off: all requests may be repeated, by their method or their key.
    async fn send(&mut self, action: Action) -> (Answer, u32) {
        for tries in 1.. {
            let was_connected = self.connection.is_some();
            let target = self.at.clone().or_else(|| self.crowd.front.target(self.number, None));
            let Some(target) = target else { return (Answer::failed("there is no front"), tries) };
            self.at = Some(target.clone());
            let result = timeout(ANSWER_DEADLINE, self.exchange(&target, action)).await;
            let result = result.unwrap_or_else(|_| Err(Broken { why: "no answer in time".into(), was_closed: false }));
            let answer = match result {
                Ok(answer) if !self.crowd.front.is_left_for(answer.status) => return (answer, tries),
                Ok(answer) => answer,
                Err(Broken { why, was_closed }) => {
                    self.connection = None;
                    // A connection that was kept may be closed by now; a new one tells.
                    if was_connected && was_closed && tries < TRIES_MAX {
                        continue;
                    }
                    Answer::failed(&why)
                }
            };
            let other = self.crowd.front.target(self.number, Some(&target)).filter(|other| *other != target);
            let Some(other) = other else { return (answer, tries) };
            (self.at, self.connection) = (Some(other), None);
            if tries == TRIES_MAX {
                return (answer, tries);
            }
        }
        unreachable!("the last try returns")
    }

    async fn exchange(&mut self, target: &Target, action: Action) -> Result<Answer, Broken> {
        let request = self.request(&target.host, action);
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => self.connection.insert(connect(target.address).await?),
        };
        connection.ready().await?;
        let response = connection.send_request(request).await?;
        let (head, body) = response.into_parts();
        if head.headers.get(http::header::CONNECTION).is_some_and(|value| value == "close") {
            self.connection = None;
        }
        let body = Limited::new(body, ANSWER_MAX).collect().await;
        let body = body.map_err(|error| Broken { why: format!("the answer broke off: {error}"), was_closed: false })?;
        Ok(Answer::read(&Response::from_parts(head, body.to_bytes())))
    }

    fn request(&self, host: &str, action: Action) -> Request<Full<Bytes>> {
        let (path, body) = match action {
            Action::Read | Action::Reuse => ("/cart", None),
            Action::Login => ("/login", Some(format!("{}", self.session))),
            Action::Write(value) => ("/cart", Some(value.to_string())),
            Action::Checkout(value) => ("/checkout", Some(value.to_string())),
            Action::Logout => ("/logout", Some(String::new())),
        };
        let mut request = Request::builder().uri(path).header(HOST, host);
        if let Some(cookie) = &self.cookie {
            request = request.header(COOKIE, format!("session={cookie}"));
        }
        if let Some(body) = &body {
            let key = format!("{}-{path}-{body}", self.session);
            request = request.method("POST").header("idempotency-key", key).header(CONTENT_LENGTH, body.len());
        }
        request.body(Full::from(body.unwrap_or_default())).expect("made of valid parts")
    }
}

/// No answer, or half of one.
struct Broken {
    why: String,
    /// Whether the connection was closed before anything of an answer came.
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

impl Answer {
    fn failed(why: &str) -> Self {
        let outcome = Outcome::Failed(why.to_owned());
        Self { outcome, replica: None, store_trips: 0, set_cookie: None, status: StatusCode::BAD_GATEWAY }
    }

    fn read(response: &Response<Bytes>) -> Self {
        let headers = response.headers();
        let outcome = match response.status() {
            StatusCode::OK => match serde_json::from_slice::<Cart>(response.body()) {
                Ok(cart) => Outcome::Values(cart.values.into()),
                Err(error) => Outcome::Failed(format!("the answer is no cart: {error}")),
            },
            StatusCode::NO_CONTENT => Outcome::Done,
            StatusCode::UNAUTHORIZED => Outcome::Forgotten,
            status => Outcome::Failed(format!(
                "{} {}",
                status.as_u16(),
                text(headers, "x-unstick-error").unwrap_or("by the replica")
            )),
        };
        Self {
            outcome,
            replica: text(headers, "x-replica").map(Arc::from),
            store_trips: text(headers, "x-store-trips").and_then(|trips| trips.parse().ok()).unwrap_or_default(),
            set_cookie: text(headers, SET_COOKIE.as_str()).and_then(session_in),
            status: response.status(),
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The value of the session cookie in a `Set-Cookie` field; empty if it is taken away.
fn session_in(field: &str) -> Option<String> {
    let value = field.strip_prefix("session=")?;
    Some(value.split(';').next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let answer = |status: u16, headers: &[(&str, &str)], body: &'static str| {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(*name, *value);
            }
            Answer::read(&response.body(Bytes::from(body)).unwrap())
        };
        let read = answer(200, &[("x-replica", "a"), ("x-store-trips", "2")], r#"{"values":[1,2]}"#);
        assert_eq!((read.outcome, read.store_trips), (Outcome::Values([1, 2].into()), 2));
        assert_eq!(read.replica.as_deref(), Some("a"));
        assert_eq!(answer(401, &[], "").outcome, Outcome::Forgotten);
        assert_eq!(
            answer(502, &[("x-unstick-error", "upstream-closed")], "").outcome,
            Outcome::Failed("502 upstream-closed".into())
        );
        assert_eq!(answer(204, &[("set-cookie", "session=abc; Path=/")], "").set_cookie.as_deref(), Some("abc"));
        assert_eq!(answer(204, &[("set-cookie", "session=; Max-Age=0")], "").set_cookie.as_deref(), Some(""));
        assert!(matches!(answer(200, &[], "<html>").outcome, Outcome::Failed(_)));
    }
}
