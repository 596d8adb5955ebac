//! Plays journeys in all placements, several side by side. One that differs is made smaller: parts of it of at most
//! four steps are played, the shortest first, until one differs too.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use http::header::HOST;
use http::{HeaderValue, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::journey::{Journey, Unmade, Values};
use super::judge::differs;
use super::mask::Outcome;
use super::placing::{PLACINGS, Placing};
use super::{Played, PlayedRun, PlayedStep};
use crate::trial::client::{RESPONSE_DEADLINE, RESPONSE_MAX, Sender, Target, connect};
use crate::trial::judge::FACTS_MAX;
use crate::trial::recorder::Recorder;

/// Parts of a journey that are tried at most.
const PARTS_MAX: usize = 200;

/// A replica on which steps can be placed.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its name.
    pub name: Arc<str>,
    /// Where requests reach it, and no other.
    pub target: Target,
}

/// How journeys are played.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The replicas.
    pub places: Vec<Place>,
    /// Fields of responses that name the replica.
    pub ignored: Vec<&'static str>,
    /// Where steps go is drawn from this.
    pub seed: u64,
    /// Journeys that are played at one time.
    pub side_by_side: usize,
    /// When no journey is begun any more, since the beginning.
    pub until: Duration,
}

/// Plays journeys and writes them down.
///
/// # Errors
/// Its own tasks failed.
pub async fn play(journeys: Vec<Journey>, rules: Rules, recorder: Recorder) -> anyhow::Result<()> {
    let queue: VecDeque<(u64, Journey)> = (0..).zip(journeys).collect();
    let player = Rc::new(Player { rules, recorder, queue: RefCell::new(queue), has_part: RefCell::default() });
    let mut tasks = JoinSet::new();
    for _ in 0..player.rules.side_by_side {
        let player = Rc::clone(&player);
        tasks.spawn_local(async move { player.work().await });
    }
    while let Some(task) = tasks.join_next().await {
        task?;
    }
    Ok(())
}

struct Player {
    rules: Rules,
    recorder: Recorder,
    queue: RefCell<VecDeque<(u64, Journey)>>,
    /// Whether a part that differs has been found, or is being searched for.
    has_part: RefCell<bool>,
}

/// Where the steps of a journey go in each placement.
type Places = Vec<(Placing, Vec<usize>)>;

impl Player {
    async fn work(&self) {
        while self.recorder.now() < self.rules.until {
            let next = self.queue.borrow_mut().pop_front();
            let Some((number, journey)) = next else { return };
            // Seeds that differ by little make first numbers that are related.
            let salt = Rng::with_seed(self.rules.seed).u64(..);
            let mut dice = Rng::with_seed(Rng::with_seed(salt ^ number).u64(..));
            let (steps, replicas) = (journey.steps.len(), self.rules.places.len());
            let home = dice.usize(..replicas.max(1));
            let places: Places =
                PLACINGS.map(|placing| (placing, placing.places(steps, replicas, home, &mut dice))).to_vec();
            let played = self.runs(&journey, &places, &mut dice).await;
            let found = differs(&played);
            self.recorder.played(played);
            if let Some((placing, step)) = found.filter(|_| !self.has_part.replace(true)) {
                let is_found = self.search(&journey, &places, (placing, step), &mut dice).await;
                self.has_part.replace(is_found);
            }
        }
    }

    /// Plays parts of a journey, each step where it was, until one differs. Whether one does.
    async fn search(
        &self,
        journey: &Journey,
        places: &Places,
        (placing, step): (Placing, usize),
        dice: &mut Rng,
    ) -> bool {
        for chosen in parts(step).take(PARTS_MAX) {
            if self.recorder.now() >= self.rules.until {
                break;
            }
            let part = Journey { steps: chosen.iter().map(|step| journey.steps[*step].clone()).collect() };
            let is_needed = |(known, _): &&(Placing, Vec<usize>)| !known.crosses() || *known == placing;
            let of_part =
                |(placing, all): &(Placing, Vec<usize>)| (*placing, chosen.iter().map(|step| all[*step]).collect());
            let places: Places = places.iter().filter(is_needed).map(of_part).collect();
            let played = Played { is_part: true, ..self.runs(&part, &places, dice).await };
            if differs(&played).is_some() {
                self.recorder.played(played);
                return true;
            }
        }
        false
    }

    async fn runs(&self, journey: &Journey, places: &Places, dice: &mut Rng) -> Played {
        let mut runs = Vec::new();
        for (placing, places) in places {
            // No number: it can be told from those of the application.
            let unique = format!("u{:011x}", dice.u64(..1 << 44));
            runs.push(PlayedRun { placing: *placing, steps: self.run(journey, places, &unique).await });
        }
        let actions = journey.steps.iter().map(|ask| ask.action.clone()).collect();
        Played { actions, runs, is_part: false }
    }

    async fn run(&self, journey: &Journey, places: &[usize], unique: &str) -> Vec<PlayedStep> {
        let (mut values, mut connections, mut steps) = (Values::of_run(unique), HashMap::new(), Vec::new());
        for (ask, place) in journey.steps.iter().zip(places) {
            let Some(place) = self.rules.places.get(*place) else { break };
            let sent = self.recorder.now();
            let outcome = match ask.request(&values) {
                Ok(request) => {
                    let exchange = exchange(&mut connections, place, request.map(Full::new));
                    let result = timeout(RESPONSE_DEADLINE, exchange).await;
                    match result.unwrap_or_else(|_| Err("no response in time".into())) {
                        Ok(response) => {
                            values.take(ask, &response);
                            Outcome::of(&response, &values, &self.rules.ignored)
                        }
                        Err(why) => Outcome::Failed(why),
                    }
                }
                Err(Unmade::Missing(_)) => break,
                Err(unmade) => Outcome::Failed(unmade.to_string()),
            };
            steps.push(PlayedStep { replica: Arc::clone(&place.name), sent, ended: self.recorder.now(), outcome });
        }
        steps
    }
}

/// Sends a request over the run's connection to a place, and opens it if there is none.
async fn exchange(
    connections: &mut HashMap<Arc<str>, Sender>,
    place: &Place,
    mut request: http::Request<Full<bytes::Bytes>>,
) -> Result<Response<bytes::Bytes>, String> {
    let host = HeaderValue::from_str(&place.target.host).map_err(|error| error.to_string())?;
    request.headers_mut().insert(HOST, host);
    let mut connection = match connections.remove(&place.name) {
        Some(connection) => connection,
        None => connect(place.target.address).await.map_err(|broken| broken.why)?,
    };
    connection.ready().await.map_err(|error| error.to_string())?;
    let (head, body) = connection.send_request(request).await.map_err(|error| error.to_string())?.into_parts();
    let is_last = head.headers.get(http::header::CONNECTION).is_some_and(|value| value == "close");
    let body = Limited::new(body, RESPONSE_MAX).collect().await;
    let body = body.map_err(|error| format!("the response broke off: {error}"))?.to_bytes();
    if !is_last {
        connections.insert(Arc::clone(&place.name), connection);
    }
    Ok(Response::from_parts(head, body))
}

/// Parts of a journey that end with a step: with one step before it, then two, then three.
fn parts(last: usize) -> impl Iterator<Item = Vec<usize>> {
    (1..FACTS_MAX).flat_map(move |count| {
        let mut chosen = Vec::new();
        combinations(0, last, count, &mut Vec::new(), &mut chosen);
        chosen.into_iter().map(move |mut part| {
            part.push(last);
            part
        })
    })
}

fn combinations(from: usize, to: usize, count: usize, part: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
    if count == 0 {
        all.push(part.clone());
        return;
    }
    for step in from..to {
        part.push(step);
        combinations(step + 1, to, count - 1, part, all);
        part.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_and_end_with_the_step_that_differs() {
        let all: Vec<_> = parts(3).collect();
        assert_eq!(all[..4], [vec![0, 3], vec![1, 3], vec![2, 3], vec![0, 1, 3]]);
        assert_eq!(all.last().unwrap(), &[0, 1, 2, 3]);
        assert_eq!(all.len(), 3 + 3 + 1);
        assert!(all.iter().all(|part| part.len() <= FACTS_MAX));
        assert_eq!(parts(0).count(), 0, "the first step depends on nothing");
        assert!(parts(11).count() > PARTS_MAX, "so there is a bound");
    }
}
