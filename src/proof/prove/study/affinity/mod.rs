//! What a client that keeps to one replica loses, and what that does to the spread: by a cookie, by a hash of its
//! address, and by a ring. Beside it: sessions that no replica keeps, through the proxy.
//!
//! The affinity is the harness's: the proxy has a route and a pool for each replica, and the client names one. With it,
//! sessions are in the memory of replicas.

mod play;
mod predict;
mod rule;
pub(super) mod theory;

use super::basket::{self, Keeps};
use super::{Bench, PlaceReport, Study, StudyReport};
use crate::prove::arm::Work;
use play::Play;
use rule::Rule;

/// See the module.
pub(super) const STUDY: Study =
    Study { name: "affinity", question: "what do sticky sessions lose, and how uneven is the load?", seconds: 14, run };

/// Replicas at the beginning. One more comes, and one is killed.
const REPLICAS: usize = 4;
/// Users, each with a session.
const USERS: u32 = 240;
/// How often the spread is measured, each time with other draws.
const ROUNDS: u64 = 12;
/// Requests of the most active user in such a round.
const REQUESTS_MAX: u64 = 30;

const PLACES: [(&str, Option<Rule>); 4] = [
    ("cookie", Some(Rule::Cookie)),
    ("address hash", Some(Rule::AddressHash)),
    ("consistent hash", Some(Rule::Ring)),
    ("none (token)", None),
];

fn run<'a>(bench: &'a Bench<'a>) -> Work<'a, StudyReport> {
    Box::pin(async move {
        let mut columns: Vec<PlaceReport> = Vec::new();
        for (place, rule) in PLACES {
            let keeps = if rule.is_some() { Keeps::Memory } else { Keeps::Token };
            let stage = basket::stage(bench, keeps, REPLICAS, &[], rule.is_some()).await?;
            let seen = Play::begin(stage, rule, bench).play().await?;
            columns.push(predict::report(place, rule, &seen));
        }
        Ok(STUDY.report(columns, Vec::new()))
    })
}
