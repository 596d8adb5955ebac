//! Journeys of the shop that are played in several placements, and compared (see [`crate::trial::pairs`]). Nothing here
//! says what a response must be.

use std::time::Duration;

use http::header::COOKIE;
use http::{HeaderName, Method};

use super::cell::Cell;
use super::fleet::Fleet;
use super::ledger::KEY;
use super::sabotage::Sabotage;
use super::shop::{self, SESSION};
use super::sum::SUM;
use crate::trial::history::Action;
use crate::trial::pairs::journey::{Ask, Journey, Source, UNIQUE};
use crate::trial::pairs::play::{self, Rules};
use crate::trial::recorder::Recorder;
use crate::trial::scenario::{Next, Scenario};

/// Steps between the login and the end.
const STEPS: usize = 8;
/// One journey for so many users, within bounds.
const ONE_FOR: u32 = 2;
const JOURNEYS: (u32, u32) = (20, 200);
/// Journeys that are played at one time.
/// With more of them steps of one journey would not follow each other within a few milliseconds.
const SIDE_BY_SIDE: usize = 2;
/// How many times longer than usual it may take on a busy machine.
const PATIENCE: u32 = 12;
/// One keyed write in so many is sent again.
const AGAIN_ONE_IN: u32 = 2;

/// Plays the journeys of a cell, and writes them down.
pub(super) async fn play(cell: &Cell, fleet: &Fleet, recorder: &Recorder) -> anyhow::Result<()> {
    let count = (cell.users / ONE_FOR).clamp(JOURNEYS.0, JOURNEYS.1);
    let journeys = (0..count).map(|number| journey(cell.seed, number)).collect();
    let mut places = fleet.places().await;
    if cell.plan.planted.is(Sabotage::BlindPairs) {
        let one = places[0].target.clone();
        places.iter_mut().for_each(|place| place.target = one.clone());
    }
    let rules = Rules {
        places,
        // They are there for the experiment, and change with the replica or with how much it has to ask.
        ignored: vec!["x-replica", "x-store-trips", SUM],
        seed: cell.seed,
        side_by_side: SIDE_BY_SIDE,
        until: cell.schedule.span * PATIENCE,
    };
    play::play(journeys, rules, recorder.clone()).await
}

/// A login, steps as users draw them, a read, a logout, and a use of the old cookie.
fn journey(seed: u64, number: u32) -> Journey {
    let scenario = Scenario {
        seed,
        writes: &shop::WRITES,
        again_one_in: AGAIN_ONE_IN,
        tabs_one_in: 0,
        // What all share differs between two runs, whoever placed them.
        looks: 0,
        pause: Duration::ZERO,
        arrivals: Duration::ZERO,
        late_one_in: 0,
        late: (Duration::ZERO, Duration::ZERO),
        leaving: Duration::ZERO,
    };
    let mut drawn = scenario.journey(number, 0);
    let steps = (0..STEPS).map(|_| match drawn.next_step().1 {
        Next::One(action) | Next::Both(action, _) => action,
    });
    let all = std::iter::once(Action::Login).chain(steps).chain([Action::Read, Action::Logout, Action::Reuse]);
    Journey { steps: all.map(ask).collect() }
}

/// The request of a step. A key is of its run alone: a write of another run is another write.
fn ask(action: Action) -> Ask {
    let (path, body) = shop::line(action, &format!("{{{{{UNIQUE}}}}}"));
    let mut fields = Vec::new();
    if action != Action::Login {
        fields.push((COOKIE, format!("{SESSION}={{{{{SESSION}}}}}")));
    }
    if let (Some(body), true) = (&body, action.bears_key()) {
        fields.push((HeaderName::from_static(KEY), format!("{{{{{UNIQUE}}}}}{path}/{body}")));
    }
    // The cookie is used once more after the logout, as a thief would.
    let takes_cookie = action != Action::Logout;
    let takes = takes_cookie.then(|| (SESSION.to_owned(), Source::Cookie(SESSION.to_owned())));
    let method = if body.is_some() { Method::POST } else { Method::GET };
    Ask {
        action: word(action),
        method,
        target: path.into_owned(),
        fields,
        body: body.unwrap_or_default(),
        takes: takes.into_iter().collect(),
    }
}

/// What a step does, without its value.
fn word(action: Action) -> String {
    match action {
        Action::Login => "logs in".to_owned(),
        Action::Read => "reads".to_owned(),
        Action::Write { kind, is_keyed: true, .. } => kind.to_owned(),
        Action::Write { kind, is_keyed: false, .. } => format!("{kind} without a key"),
        Action::Again { kind, .. } => format!("{kind} again"),
        Action::Look { .. } => "looks at what all share".to_owned(),
        Action::Post { .. } => "adds to what all share".to_owned(),
        Action::Logout => "logs out".to_owned(),
        Action::Reuse => "reads with the old cookie".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Response;
    use http::header::SET_COOKIE;

    use super::*;
    use crate::trial::pairs::journey::Values;

    #[test]
    fn the_seed_decides_every_journey() {
        assert_eq!(journey(7, 1), journey(7, 1));
        assert_ne!(journey(7, 1), journey(8, 1));
        assert_ne!(journey(7, 1), journey(7, 2));
        let actions: Vec<_> = journey(7, 1).steps.into_iter().map(|ask| ask.action).collect();
        assert_eq!(actions.len(), STEPS + 4);
        assert_eq!((actions[0].as_str(), actions[STEPS + 2].as_str()), ("logs in", "logs out"));
    }

    #[test]
    fn requests_bear_what_responses_have_brought() {
        let mut values = Values::of_run("u123456");
        let login = ask(Action::Login);
        let request = login.request(&values).unwrap();
        assert_eq!((request.uri().path(), request.body().as_ref()), ("/login", &b"u123456"[..]));
        assert!(!request.headers().contains_key(COOKIE));
        let response = Response::builder().header(SET_COOKIE, "session=abc; Path=/").body(Bytes::new()).unwrap();
        values.take(&login, &response);
        let write = ask(Action::Write { kind: "writes", value: 5, is_keyed: true }).request(&values).unwrap();
        assert_eq!(write.headers()[COOKIE], "session=abc");
        assert_eq!(write.headers()[KEY], "u123456/cart/5");
        let gone = Response::builder().header(SET_COOKIE, "session=; Path=/").body(Bytes::new()).unwrap();
        values.take(&ask(Action::Logout), &gone);
        let reuse = ask(Action::Reuse).request(&values).unwrap();
        assert_eq!(reuse.method(), Method::GET);
        assert_eq!(reuse.headers()[COOKIE], "session=abc");
    }
}
