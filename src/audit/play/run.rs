//! Carries out what a run is made of.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, LOCATION};
use http::{HeaderValue, Method, Request, StatusCode};
use tokio::time::{Instant, sleep};
use unstick_proof::trial::pairs::journey::{Unmade, Values};

use super::connection::Connector;
use super::jar::{Jar, url};
use super::plan::Plan;
use super::talk::{Channel, open_event_stream, open_websocket, talk};
use super::{REDIRECTS_MAX, REQUEST_DEADLINE, capture, content};
use crate::journey::{self, Act, Content, Journey, Step, Talk, fill_target};
use crate::outcome::{Body, Outcome, Received};
use crate::replicas::{Fleet, Key, Trouble};

/// What is done in a run, one after the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Move {
    /// A step, by its place in the plan, on a replica.
    Step(usize, usize),
    /// A replica gets SIGKILL.
    Kill(usize),
    /// A replica that does not run is started.
    Start(usize, Key),
    /// Nothing happens for some time.
    Pause(Duration),
}

/// What is played, and where.
#[derive(Clone, Copy)]
pub struct Stage<'a> {
    /// The journey.
    pub journey: &'a Journey,
    /// Its steps one by one.
    pub plan: &'a Plan,
    /// The replicas.
    pub fleet: &'a Fleet,
    /// No request is waited for any longer than until then.
    pub until: Instant,
}

/// What came of a run: for each step that was played its place in the plan, and its outcome.
pub type Took = Vec<(usize, Outcome)>;

/// Plays runs.
pub struct Player {
    connector: Connector,
    /// What all replicas are asked for.
    host: String,
}

/// What a run knows at one moment.
struct State {
    values: Values,
    jars: HashMap<String, Jar>,
    /// What is open, by the step of the journey that opened it.
    channels: HashMap<usize, Channel>,
    /// Steps that are not repeated any more.
    over: HashSet<usize>,
}

impl Player {
    /// One that asks all replicas for this host.
    pub fn new(connector: Connector, host: String) -> Self {
        Self { connector, host }
    }

    /// Plays a run. `unique` is the value that no other run has. It ends early when `is_enough` says so of an outcome.
    ///
    /// # Errors
    /// A replica could not be killed or started.
    pub async fn run(
        &self,
        stage: Stage<'_>,
        moves: &[Move],
        unique: &str,
        is_enough: &dyn Fn(usize, &Outcome) -> bool,
    ) -> Result<Took, Trouble> {
        let mut state = State {
            values: Values::of_run(unique),
            jars: HashMap::new(),
            channels: HashMap::new(),
            over: HashSet::new(),
        };
        let mut took = Vec::new();
        for each in moves {
            match *each {
                Move::Step(at, replica) => {
                    let outcome = self.step(stage, at, replica, &mut state).await;
                    let is_over = is_enough(at, &outcome);
                    took.push((at, outcome));
                    if is_over {
                        break;
                    }
                }
                Move::Kill(replica) => stage.fleet.kill(replica).await?,
                Move::Start(replica, key) => stage.fleet.start(replica, key).await?,
                Move::Pause(time) => sleep(time).await,
            }
        }
        Ok(took)
    }

    async fn step(&self, stage: Stage<'_>, at: usize, replica: usize, state: &mut State) -> Outcome {
        let number = stage.plan.0[at].step;
        let step = &stage.journey.steps[number];
        if state.over.contains(&number) {
            return Outcome::Skipped;
        }
        let result = match &step.act {
            Act::Request(request) => self.ask(stage, replica, step, request, state).await,
            Act::WebSocket(request, talk) => self.open(stage, replica, number, (request, talk), state).await,
            Act::EventStream(request, talk) => self.open(stage, replica, number, (request, talk), state).await,
            Act::Talk(opener, what) => match state.channels.get_mut(opener) {
                None => Err(Unplayed::Lacking(format!("what {} opens", stage.journey.steps[*opener].name))),
                Some(channel) => go_on(channel, what, StatusCode::OK, step, &mut state.values).await,
            },
        };
        match result {
            Ok(received) => {
                if step.until == Some(received.status) {
                    state.over.insert(number);
                }
                Outcome::of(&received, step, &state.values)
            }
            Err(Unplayed::Lacking(name)) => Outcome::Lacking(name),
            Err(Unplayed::Failed(why)) => Outcome::Failed(why),
        }
    }

    /// A request, and those that it is redirected to, if they are to be followed.
    async fn ask(
        &self,
        stage: Stage<'_>,
        replica: usize,
        step: &Step,
        asked: &journey::Request,
        state: &mut State,
    ) -> Result<Received, Unplayed> {
        let mut asked = asked.clone();
        for _ in 0..=REDIRECTS_MAX {
            let request = self.made(&asked, &step.actor, state)?;
            let at = url(&self.host, &request.uri().to_string());
            let origin = stage.fleet.origin(replica);
            let within = REQUEST_DEADLINE.min(stage.until.saturating_duration_since(Instant::now()));
            let received = super::exchange::exchange(&self.connector, origin, request, within).await;
            let received = received.map_err(Unplayed::Failed)?;
            self.keep(&step.actor, at.as_ref(), &received, state);
            capture::take(&step.captures, &received, &[], &mut state.values);
            let next = at.filter(|_| asked.follow && received.status.is_redirection()).and_then(|at| {
                let location = received.headers.get(LOCATION)?.to_str().ok()?;
                at.join(location).ok().filter(|next| next.host() == at.host())
            });
            let Some(next) = next else { return Ok(received) };
            let keeps = matches!(received.status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
            if !keeps && asked.method != Method::HEAD {
                (asked.method, asked.content) = (Method::GET, Content::None);
            }
            asked.target = next[url::Position::BeforePath..url::Position::AfterQuery].to_owned();
        }
        Err(Unplayed::Failed(format!("more than {REDIRECTS_MAX} redirects")))
    }

    fn made(&self, asked: &journey::Request, actor: &str, state: &State) -> Result<Request<Bytes>, Unplayed> {
        let value = |name: &str| state.values.get(name).map(str::to_owned);
        let target = fill_target(&asked.target, value).map_err(Unplayed::Lacking)?;
        let cookie = url(&self.host, &target).and_then(|at| state.jars.get(actor)?.field(&at));
        content::request(asked, &state.values, &self.host, cookie).map_err(Unplayed::from)
    }

    fn keep(&self, actor: &str, at: Option<&url::Url>, received: &Received, state: &mut State) {
        if let Some(at) = at {
            state.jars.entry(actor.to_owned()).or_default().keep(at, &received.headers);
        }
    }

    /// Opens a WebSocket or an event stream, and says on it what is to be said at once.
    async fn open(
        &self,
        stage: Stage<'_>,
        replica: usize,
        number: usize,
        (asked, what): (&journey::Request, &Talk),
        state: &mut State,
    ) -> Result<Received, Unplayed> {
        let step = &stage.journey.steps[number];
        let mut request = self.made(asked, &step.actor, state)?;
        let at = url(&self.host, &request.uri().to_string());
        let origin = stage.fleet.origin(replica);
        let opened = if matches!(step.act, Act::WebSocket(..)) {
            open_websocket(&self.connector, origin, request).await
        } else {
            request.headers_mut().entry(ACCEPT).or_insert(HeaderValue::from_static("text/event-stream"));
            open_event_stream(&self.connector, origin, request).await
        };
        let (received, channel) = opened.map_err(Unplayed::Failed)?;
        self.keep(&step.actor, at.as_ref(), &received, state);
        capture::take(&step.captures, &received, &[], &mut state.values);
        let Some(mut channel) = channel else { return Ok(received) };
        let said = go_on(&mut channel, what, received.status, step, &mut state.values).await;
        state.channels.insert(number, channel);
        let said = said?;
        Ok(Received { headers: received.headers, ..said })
    }
}

/// Talks, and takes what the step says from what came.
async fn go_on(
    channel: &mut Channel,
    what: &Talk,
    status: StatusCode,
    step: &Step,
    values: &mut Values,
) -> Result<Received, Unplayed> {
    let said = talk(channel, what, values).await.map_err(Unplayed::Failed)?;
    // Others may have come before or not: what counts is the message that was awaited.
    let awaited = said.messages.last().filter(|_| said.broken_off.is_none()).cloned().unwrap_or_default();
    let body = Body::Whole(awaited.into());
    let received = Received { status, headers: http::HeaderMap::new(), body, broken_off: said.broken_off };
    capture::take(&step.captures, &received, &said.messages, values);
    Ok(received)
}

/// Why there is no response.
enum Unplayed {
    /// A value is missing.
    Lacking(String),
    /// In words.
    Failed(String),
}

impl From<Unmade> for Unplayed {
    fn from(unmade: Unmade) -> Self {
        match unmade {
            Unmade::Missing(name) => Self::Lacking(name),
            Unmade::Invalid(_) => Self::Failed(unmade.to_string()),
        }
    }
}
