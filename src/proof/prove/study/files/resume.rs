//! A large upload in the middle of which the replica that takes a part is killed. The client asks another one what is
//! there, sends the rest, and says that it is complete. Meanwhile somebody looks for the file all the time.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use aws_lc_rs::digest;
use bytes::Bytes;
use fastrand::Rng;
use http::header::RANGE;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::large::{self, Transfer};
use super::sign::hex;
use super::uploads::{begin, call, path};
use super::{LARGE, PART};
use crate::prove::ask;
use crate::prove::study::caller::{Caller, replica_of};
use crate::prove::study::stage::Stage;
use crate::prove::theory::Prediction;
use crate::trial::judge::Fact;

/// Parts of it, and the one in the middle of which the replica is killed.
const PARTS: usize = LARGE as usize / PART;
const CUT: usize = 4;
/// Pause between two looks for the file, and at how much the replica has taken.
const LOOK: Duration = Duration::from_millis(10);
/// Of the half of a part that is sent, a replica has taken this much when it is killed. The rest may be on its way.
const TAKEN: usize = PART / 2 - (1 << 20);
/// How long that may take.
const HALF_WITHIN: Duration = Duration::from_secs(20);
/// How often a part is sent at most.
const TRIES_MAX: usize = 3;
/// Bytes at the end of the file that a look asks for.
const END: u64 = 1024;

const DIFFER: &str = "resumed uploads that are not whole";
const FORGOTTEN: &str = "acknowledged parts that are lost with a replica";
const HALF: &str = "looks that find half a file";

/// A look for the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) ended: Duration,
    pub(super) replica: String,
    pub(super) status: u16,
    /// Whether it found the end of the file, as it must be.
    pub(super) is_whole: bool,
}

/// What became of the upload.
#[derive(Debug, Clone, Default)]
pub(super) struct Resumed {
    pub(super) killed: String,
    /// Parts that were acknowledged before, and those that a living replica knew of afterwards.
    pub(super) acknowledged: Vec<usize>,
    pub(super) known: Vec<usize>,
    pub(super) asked: String,
    /// Whether that has told anything.
    pub(super) is_told: bool,
    /// When the client said that it is complete.
    pub(super) completed: Duration,
    pub(super) looks: Vec<Look>,
    /// SHA-256 of what was sent, and what came when the file was read.
    pub(super) sum: String,
    pub(super) came: Option<Transfer>,
    /// Why it could not be completed.
    pub(super) trouble: Option<String>,
}

/// The bytes of a part.
fn content(seed: u64, number: usize) -> Bytes {
    let mut content = vec![0; PART];
    Rng::with_seed(seed ^ number as u64).fill(&mut content);
    content.into()
}

/// Plays it. The victim is dead afterwards.
pub(super) async fn play(stage: &mut Stage, victim: usize, name: &str, seed: u64) -> anyhow::Result<Resumed> {
    let (front, began) = (stage.front(), Instant::now());
    let mut caller = Caller::to(front);
    let mut resumed = Resumed { killed: stage.replica(victim).name.clone(), ..Resumed::default() };
    let mut sum = digest::Context::new(&digest::SHA256);
    (1..=PARTS).for_each(|number| sum.update(&content(seed, number)));
    resumed.sum = hex(sum.finish().as_ref());
    let last = content(seed, PARTS).slice(PART - END as usize..);
    let (is_over, mut looking) = (Rc::new(Cell::new(false)), JoinSet::new());
    looking.spawn_local(look(Caller::to(front), name.to_owned(), (last, began), Rc::clone(&is_over)));
    let id = begin(&mut caller, None, name).await?;
    for number in 1..CUT {
        if put(&mut caller, &path(name, &id, Some(number)), content(seed, number)).await {
            resumed.acknowledged.push(number);
        }
    }
    cut(stage, victim, &path(name, &id, Some(CUT)), content(seed, CUT)).await?;
    for _ in 0..TRIES_MAX {
        match call(&mut caller, None, (Method::GET, &path(name, &id, None)), Bytes::new()).await {
            Ok(response) if !response.status().is_server_error() => {
                resumed.asked = replica_of(&response).unwrap_or_default();
                resumed.known = serde_json::from_slice(response.body()).unwrap_or_default();
                resumed.is_told = true;
                break;
            }
            Ok(_) | Err(_) => {}
        }
    }
    for number in (1..=PARTS).filter(|number| !resumed.known.contains(number)) {
        put(&mut caller, &path(name, &id, Some(number)), content(seed, number)).await;
    }
    resumed.completed = began.elapsed();
    let count = Bytes::from(PARTS.to_string());
    resumed.trouble = match call(&mut caller, None, (Method::POST, &path(name, &id, None)), count).await {
        Ok(response) if response.status().is_success() => None,
        Ok(response) => Some(format!("{} {}", response.status(), String::from_utf8_lossy(response.body()))),
        Err(error) => Some(format!("{error:#}")),
    };
    resumed.came = large::get(front, name).await.ok();
    is_over.set(true);
    resumed.looks = looking.join_next().await.context("nobody looked")???;
    Ok(resumed)
}

/// Sends a part until it is acknowledged.
async fn put(caller: &mut Caller, path: &str, content: Bytes) -> bool {
    for _ in 0..TRIES_MAX {
        let response = call(caller, None, (Method::PUT, path), content.clone()).await;
        if response.is_ok_and(|response| response.status() == StatusCode::CREATED) {
            return true;
        }
    }
    false
}

/// Sends half of a part to a replica, and kills it when it has that.
async fn cut(stage: &mut Stage, victim: usize, path: &str, content: Bytes) -> anyhow::Result<()> {
    let replica = stage.replica(victim).clone();
    let before = taken(&replica).await?;
    let (front, mut sending) = (stage.front(), JoinSet::new());
    let deadline = Instant::now() + HALF_WITHIN;
    while taken(&replica).await? < before + TAKEN as u64 {
        // A proxy that has no replica at the moment says so at once, and then it is sent again.
        sending.try_join_next();
        if sending.is_empty() {
            let half = Half { first: Some(content.slice(..PART / 2)), length: PART as u64 };
            let request = Request::put(path).header("content-length", PART).header("host", &replica.name);
            let request = request.body(half.boxed_unsync())?;
            sending.spawn_local(async move { large::exchange(front, request).await });
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "{} does not take half a part in time; try again where nothing else runs",
            replica.name
        );
        sleep(LOOK).await;
    }
    stage.kill(victim).await
}

/// Bytes of parts that a replica has taken.
async fn taken(replica: &crate::prove::study::stage::Member) -> anyhow::Result<u64> {
    Ok(std::str::from_utf8(&ask::get(replica.address, "/taken").await?)?.parse()?)
}

/// Looks for the file again and again, until there is nothing to look for.
async fn look(
    mut caller: Caller,
    name: String,
    (last, began): (Bytes, Instant),
    is_over: Rc<Cell<bool>>,
) -> anyhow::Result<Vec<Look>> {
    let mut looks = Vec::new();
    while !is_over.get() {
        let range = format!("bytes={}-{}", LARGE - END, LARGE - 1);
        let request = Request::get(format!("/{name}")).header(RANGE, range).body(Bytes::new())?;
        if let Ok(response) = caller.send(request).await {
            let (status, replica) = (response.status().as_u16(), replica_of(&response).unwrap_or_default());
            let is_whole = status == 206 && *response.body() == last;
            looks.push(Look { ended: began.elapsed(), replica, status, is_whole });
        }
        sleep(LOOK).await;
    }
    Ok(looks)
}

impl Resumed {
    /// Looks that found something before there was a file, or something else than the file. A range that is not within
    /// the file is a file, too: a shorter one.
    fn half(&self) -> impl Iterator<Item = &Look> {
        let is_something = |look: &&Look| [200, 206, 416].contains(&look.status);
        self.looks.iter().filter(is_something).filter(|look| !look.is_whole || look.ended < self.completed)
    }

    /// What is claimed of it.
    pub(super) fn claims(&self) -> Vec<Prediction> {
        let Self { killed, acknowledged, known, asked, is_told, completed, looks, sum, came, trouble } = self;
        let story = format!("{killed} is killed in the middle of part {CUT} of {PARTS}");
        let lost: Vec<usize> = acknowledged.iter().filter(|number| !known.contains(number)).copied().collect();
        let forgotten = Prediction::at_most(FORGOTTEN, lost.len() as f64, 0.0, (acknowledged.len() as u64, 1));
        let forgotten = forgotten.by_the_clock_if(!is_told).shown_by(
            [story.clone(), format!("{asked} is asked for the parts and does not know {lost:?}")].map(Fact::Note),
        );
        let is_whole = came.as_ref().is_some_and(|came| came.sum == *sum && came.length == LARGE);
        let is_another = came.as_ref().is_some_and(|came| came.status == StatusCode::OK && trouble.is_none());
        let came = came.as_ref().map_or("nothing".to_owned(), |Transfer { replica, status, length, .. }| {
            format!("{status} and {} KiB of {}, by {replica}", length >> 10, LARGE >> 10)
        });
        let told = trouble.as_deref().unwrap_or("done");
        let ended = [story, format!("its client completes it: {told}; a read of it brings {came}")].map(Fact::Note);
        let differ = Prediction::at_most(DIFFER, f64::from(u8::from(!is_whole)), 0.0, (1, 1));
        let half: Vec<&Look> = self.half().collect();
        let fact = |look: &&Look| {
            let (at, Look { replica, status, .. }) = (look.ended.as_secs_f64(), *look);
            Fact::Note(format!("{at:.3} s: {status} by {replica} where no whole file can be"))
        };
        let said = Fact::Note(format!("the client says at {:.3} s that it is complete", completed.as_secs_f64()));
        let facts: Option<Vec<Fact>> = half.first().map(|look| vec![fact(look), said]);
        vec![
            forgotten,
            Prediction::never(HALF, half.len() as u64, looks.len() as u64, facts.as_deref()),
            // Nothing may come of a slow machine; another file never does.
            differ.by_the_clock_if(!is_another).shown_by(ended),
        ]
    }
}

/// The first half of a part. The rest never comes.
struct Half {
    first: Option<Bytes>,
    length: u64,
}

impl Body for Half {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.first.take().map_or(Poll::Pending, |first| Poll::Ready(Some(Ok(Frame::data(first)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::theory::Verdict;

    #[test]
    fn half_a_file_is_told_from_a_whole_one() {
        let ms = Duration::from_millis;
        let look = |at, status, is_whole| Look { ended: ms(at), replica: "r2".into(), status, is_whole };
        let came =
            |sum: &str| Transfer { replica: "r0".into(), status: StatusCode::OK, sum: sum.into(), length: LARGE };
        let of = |looks: &[Look], sum: &str, known: &[usize]| Resumed {
            killed: "r1".into(),
            acknowledged: vec![1, 2, 3],
            known: known.to_vec(),
            completed: ms(500),
            looks: [(0..30).map(|at| look(at, 404, false)).collect(), looks.to_vec()].concat(),
            sum: "a".into(),
            came: Some(came(sum)),
            ..Resumed::default()
        };
        let all = [1, 2, 3];
        for (resumed, expected) in [
            (of(&[look(501, 206, true), look(502, 503, false)], "a", &all), vec![]),
            (of(&[look(499, 206, true)], "a", &all), vec![HALF]),
            (of(&[look(400, 416, false)], "a", &all), vec![HALF]),
            (of(&[look(600, 200, false)], "a", &all), vec![HALF]),
            (of(&[], "b", &all), vec![DIFFER]),
            (of(&[], "a", &[1, 3]), vec![FORGOTTEN]),
        ] {
            let broken: Vec<Prediction> =
                resumed.claims().into_iter().filter(|one| one.verdict == Verdict::Broken).collect();
            assert_eq!(broken.iter().map(|one| one.what.as_str()).collect::<Vec<_>>(), expected);
            assert!(broken.iter().all(|one| (1..=4).contains(&one.counterexample.len())));
        }
    }
}
