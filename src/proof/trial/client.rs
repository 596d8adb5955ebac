//! Users: they play journeys over real connections, one session at a time, and write down what happened. Some have two
//! tabs, which share what the client keeps of the session, and do two things at once now and then.

use std::cell::{Cell, RefCell};
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
use super::history::{Action, SessionId, Step, StepOutcome};
use super::recorder::Recorder;
use super::scenario::{Next, Scenario};

/// A response that takes longer has failed.
pub(super) const RESPONSE_DEADLINE: Duration = Duration::from_secs(5);
/// How often one request is sent at most: over other fronts, when the one it was sent to broke off.
const TRIES_MAX: u32 = 3;
/// A user whose login failed tries again after this.
const LOGIN_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a response at most.
pub(super) const RESPONSE_MAX: usize = 1 << 20;

/// One end of a connection.
pub(super) type Sender = SendRequest<Full<Bytes>>;

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
    /// Whether such a response says that no replica got the request.
    fn is_unsent(&self, status: StatusCode) -> bool;
}

/// What all users of a trial share.
pub struct Crowd {
    /// What they use.
    pub application: Rc<dyn Application>,
    /// Where they send their requests.
    pub front: Rc<dyn Front>,
    /// What they do.
    pub scenario: Scenario,
    /// When they begin to bring their sessions to an end, since the beginning.
    pub until: Cell<Duration>,
    /// Where it is written down.
    pub recorder: Recorder,
    /// Sessions begun so far.
    pub sessions: Cell<SessionId>,
}

/// Plays one user's journeys, one after the other, until the time is over.
pub async fn play(crowd: Rc<Crowd>, user: u32) {
    sleep_until(crowd.recorder.at(crowd.scenario.arrival(user))).await;
    let (token, session, steps, at) = (RefCell::default(), Cell::new(0), Cell::new(0), RefCell::default());
    let user = User { crowd, number: user, token, session, steps, at };
    let mut tabs = [Tab::default(), Tab::default()];
    let mut nth = 0;
    while !user.is_over() {
        user.session(&mut tabs, nth).await;
        nth += 1;
    }
}

struct User {
    crowd: Rc<Crowd>,
    number: u32,
    /// What the client keeps of the session.
    token: RefCell<Option<String>>,
    session: Cell<SessionId>,
    /// Steps of the session so far.
    steps: Cell<u32>,
    /// Where all tabs send their requests.
    at: RefCell<Option<Target>>,
}

/// One place where a user does one thing after the other.
#[derive(Default)]
struct Tab {
    /// A connection, and where it leads.
    connection: Option<(Target, Sender)>,
    /// How many connections it has opened since it gave one up itself.
    opened: u32,
}

impl User {
    fn is_over(&self) -> bool {
        let stay = self.crowd.scenario.stay(self.number);
        self.crowd.recorder.now() >= self.crowd.until.get().saturating_add(stay)
    }

    /// One session: until it is lost, or the time is over.
    async fn session(&self, tabs: &mut [Tab; 2], nth: u32) {
        self.session.set(self.crowd.sessions.get());
        self.crowd.sessions.set(self.session.get() + 1);
        self.steps.set(0);
        self.token.replace(None);
        if self.step(&mut tabs[0], Action::Login).await != StepOutcome::Done {
            sleep(LOGIN_PAUSE).await;
            return;
        }
        let mut journey = self.crowd.scenario.journey(self.number, nth);
        loop {
            let (pause, next) = journey.next_step();
            sleep(pause).await;
            if self.is_over() {
                break;
            }
            if self.next(tabs, next).await == StepOutcome::Forgotten {
                return;
            }
        }
        let [tab, _] = tabs;
        if self.step(tab, Action::Read).await == StepOutcome::Forgotten {
            return;
        }
        let token = self.token.borrow().clone();
        if self.step(tab, Action::Logout).await == StepOutcome::Done {
            self.token.replace(token);
            self.step(tab, Action::Reuse).await;
        }
    }

    /// Does one thing, or two at once; what came of it, or of the one that found the session forgotten.
    async fn next(&self, [tab, other_tab]: &mut [Tab; 2], next: Next) -> StepOutcome {
        match next {
            Next::One(action) => self.step(tab, action).await,
            Next::Both(one, other) => {
                let (one, other) = tokio::join!(self.step(tab, one), self.step(other_tab, other));
                if other == StepOutcome::Forgotten { other } else { one }
            }
        }
    }

    /// Takes one step and writes down what came of it.
    async fn step(&self, tab: &mut Tab, action: Action) -> StepOutcome {
        let recorder = self.crowd.recorder.clone();
        let number = self.steps.replace(self.steps.get() + 1);
        let sent = recorder.now();
        let token = self.token.borrow().clone();
        let sent_bytes = token.as_ref().map_or(0, String::len);
        let session = self.session.get();
        let opened = tab.opened;
        let ask = Ask { session, number, action, token: token.as_deref() };
        let (reply, tries) = self.send(tab, &ask).await;
        let set_bytes = reply.token.as_ref().map_or(0, String::len);
        if let Some(token) = reply.token {
            self.token.replace(Some(token).filter(|token| !token.is_empty()));
        }
        recorder.step(Step {
            session,
            number,
            user: self.number,
            action,
            sent,
            ended: recorder.now(),
            replica: reply.replica,
            outcome: reply.outcome.clone(),
            tries,
            state_bytes: (sent_bytes + set_bytes) as u32,
            store_trips: reply.store_trips,
            is_altered: reply.is_altered,
            is_reconnected: opened > 0 && tab.opened > opened,
        });
        reply.outcome
    }

    /// Sends the request of a step. It is sent again on a new connection if the kept one turns out to be closed, and
    /// over another front if the first breaks off and there is another. A bare write is sent again only if it cannot
    /// have arrived.
    async fn send(&self, tab: &mut Tab, ask: &Ask<'_>) -> (Reply, u32) {
        for tries in 1.. {
            let Some(target) = self.target() else { return (Reply::failed("there is no front".into()), tries) };
            tab.connection.take_if(|(at, _)| *at != target);
            let was_connected = tab.connection.is_some();
            let result = timeout(RESPONSE_DEADLINE, self.exchange(tab, &target, ask)).await;
            if result.is_err() {
                tab.opened = 0;
            }
            let (reply, may_have_arrived) = match result.unwrap_or_else(|_| Err(Broken::late())) {
                Ok((status, reply)) if !self.crowd.front.is_left_for(status) => return (reply, tries),
                Ok((status, reply)) => (reply, !self.crowd.front.is_unsent(status)),
                Err(Broken { why, how }) => {
                    tab.connection = None;
                    let may_be_repeated = how == How::Unsent || !ask.action.is_bare();
                    // The replica or proxy may have closed a kept connection by now; a new one shows whether it is
                    // there.
                    if was_connected && how != How::Late && may_be_repeated && tries < TRIES_MAX {
                        continue;
                    }
                    (Reply::failed(why), how != How::Unsent)
                }
            };
            if !self.leave(&target) {
                return (reply, tries);
            }
            if tries == TRIES_MAX || ask.action.is_bare() && may_have_arrived {
                return (reply, tries);
            }
        }
        unreachable!("the last try returns")
    }

    /// Where the user sends requests.
    fn target(&self) -> Option<Target> {
        let mut at = self.at.borrow_mut();
        *at = at.take().or_else(|| self.crowd.front.target(self.number, None));
        at.clone()
    }

    /// Leaves a target, unless the other tab has left it already. Returns whether there is another one.
    fn leave(&self, target: &Target) -> bool {
        let mut at = self.at.borrow_mut();
        if at.as_ref() == Some(target) {
            let other = self.crowd.front.target(self.number, Some(target)).filter(|other| other != target);
            *at = other.or_else(|| at.take());
        }
        at.as_ref() != Some(target)
    }

    async fn exchange(&self, tab: &mut Tab, target: &Target, ask: &Ask<'_>) -> Result<(StatusCode, Reply), Broken> {
        let application = &self.crowd.application;
        let mut request = application.request(ask).map(Full::from);
        let host = HeaderValue::from_str(&target.host).map_err(|error| Broken::unsent(&error))?;
        request.headers_mut().insert(HOST, host);
        let (_, connection) = match &mut tab.connection {
            Some(connection) => connection,
            None => {
                tab.opened += 1;
                tab.connection.insert((target.clone(), connect(target.address).await?))
            }
        };
        connection.ready().await.map_err(|error| Broken::unsent(&error))?;
        let sent = connection.try_send_request(request).await;
        let (head, body) = sent
            .map_err(|mut error| {
                let (is_unsent, error) = (error.take_message().is_some(), error.into_error());
                let is_closed = error.is_canceled() || error.is_closed() || error.is_incomplete_message();
                let how = if is_unsent {
                    How::Unsent
                } else if is_closed {
                    How::Closed
                } else {
                    How::Late
                };
                Broken { why: error.to_string(), how }
            })?
            .into_parts();
        if head.headers.get(http::header::CONNECTION).is_some_and(|value| value == "close") {
            tab.connection = None;
        }
        let body = Limited::new(body, RESPONSE_MAX).collect().await;
        let body = body.map_err(|error| Broken { why: format!("the response broke off: {error}"), how: How::Late })?;
        let response = Response::from_parts(head, body.to_bytes());
        Ok((response.status(), application.reply(ask, &response)))
    }
}

/// No response, or half of one.
pub(super) struct Broken {
    /// In words.
    pub(super) why: String,
    how: How,
}

/// How it broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// The request was not sent.
    Unsent,
    /// The connection was closed before anything of a response came.
    Closed,
    /// In any other way.
    Late,
}

impl Broken {
    fn unsent(error: &dyn std::error::Error) -> Self {
        Self { why: error.to_string(), how: How::Unsent }
    }

    fn late() -> Self {
        Self { why: "no response in time".into(), how: How::Late }
    }
}

/// Opens a connection.
pub(super) async fn connect(address: SocketAddr) -> Result<Sender, Broken> {
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|error| Broken { why: format!("cannot connect: {error}"), how: How::Unsent })?;
    stream.set_nodelay(true).ok();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| Broken::unsent(&error))?;
    tokio::spawn(connection);
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use http::Request;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::task::LocalSet;

    use super::*;
    use crate::trial::scenario;

    /// Everything is done as soon as it is responded to.
    struct Anything;

    impl Application for Anything {
        fn request(&self, _: &Ask<'_>) -> Request<Bytes> {
            Request::new(Bytes::new())
        }

        fn reply(&self, _: &Ask<'_>, _: &Response<Bytes>) -> Reply {
            Reply { outcome: StepOutcome::Done, ..Reply::failed(String::new()) }
        }
    }

    struct Only(Target);

    impl Front for Only {
        fn target(&self, _: u32, _: Option<&Target>) -> Option<Target> {
            Some(self.0.clone())
        }

        fn is_left_for(&self, _: StatusCode) -> bool {
            false
        }

        fn is_unsent(&self, _: StatusCode) -> bool {
            false
        }
    }

    /// What a server does with the second request.
    #[derive(Clone, Copy, PartialEq)]
    enum Second {
        IsNotAnswered,
        EndsTheConnection,
    }

    /// Responds to every request but the second, on any number of connections.
    async fn serve(listener: TcpListener, second: Second) {
        let requests = Rc::new(Cell::new(0));
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let requests = Rc::clone(&requests);
            tokio::task::spawn_local(async move {
                let mut bytes = [0; 1024];
                while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {
                    requests.set(requests.get() + 1);
                    match (requests.get(), second) {
                        (2, Second::IsNotAnswered) => {}
                        (2, Second::EndsTheConnection) => return,
                        _ => stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap(),
                    }
                }
            });
        }
    }

    /// The outcomes of the first three steps of a user, and whether a kept connection was gone at each.
    async fn first_steps(second: Second) -> Vec<(bool, bool)> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target { address: listener.local_addr().unwrap(), host: "shop.test".into() };
        let (application, front, recorder) = (Rc::new(Anything), Rc::new(Only(target)), Recorder::begin());
        let scenario = scenario::tests::scenario(1);
        let (until, sessions) = (Cell::new(Duration::MAX), Cell::new(1));
        let crowd = Crowd { application, front, scenario, until, recorder: recorder.clone(), sessions };
        tokio::task::spawn_local(serve(listener, second));
        tokio::task::spawn_local(play(Rc::new(crowd), 0));
        while recorder.len() < 3 {
            sleep(Duration::from_millis(10)).await;
        }
        let steps = recorder.into_history().steps;
        steps[..3].iter().map(|step| (step.outcome == StepOutcome::Done, step.is_reconnected)).collect()
    }

    #[tokio::test]
    async fn a_connection_that_the_client_gives_up_is_not_closed_under_it() {
        let (late, closed) = LocalSet::new()
            .run_until(async {
                tokio::join!(first_steps(Second::IsNotAnswered), first_steps(Second::EndsTheConnection))
            })
            .await;
        assert_eq!(late, [(true, false), (false, false), (true, false)]);
        assert_eq!(closed, [(true, false), (true, true), (true, false)]);
    }
}
