//! Load that triples, triples again, doubles and falls, and a controller that follows it by what the proxy says: how
//! many requests replicas have under way. It starts replicas and writes them into the file; it takes them out when they
//! have drained. Sessions are in tokens; beside that, in the memory of replicas, with users who keep to one.

mod judge;
mod play;
mod scaler;
mod trace;
mod users;

use std::time::Duration;

use super::basket::Keeps;
use super::{Bench, Study, StudyReport};
use crate::prove::arm::Work;

/// See the module.
pub(super) const STUDY: Study = Study {
    name: "autoscaling",
    question: "do new replicas help at once, and what is lost when they go again?",
    seconds: 20,
    run,
};

/// The fewest replicas, and the most.
const FEWEST: usize = 2;
const MOST: usize = 20;
/// How long a replica takes for a request, and how many it does at one time.
const SERVICE: Duration = Duration::from_millis(80);
const AT_ONCE: usize = 2;
/// How long a user pauses between two requests, on average.
const PAUSE: Duration = Duration::from_millis(640);

fn run<'a>(bench: &'a Bench<'a>) -> Work<'a, StudyReport> {
    Box::pin(async move {
        let trace = trace::trace(bench.seed());
        // Both see the same machine at the same time.
        let (token, memory) =
            tokio::try_join!(play::play(bench, Keeps::Token, &trace), play::play(bench, Keeps::Memory, &trace))?;
        let columns = vec![judge::stateless(&token, &memory), judge::sticky(&memory)];
        Ok(STUDY.report(columns, Vec::new()))
    })
}
