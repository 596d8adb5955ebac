//! What all users share: products that are read and not changed by them.

use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;
use http::Method;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::super::PlaceReport;
use super::super::caller::Caller;
use super::{Asked, OF_ALL, REPLICAS, Reader, SLOW, TTL, pause, theory};
use crate::prove::theory::{Prediction, percent};
use crate::trial::judge::Fact;

/// Products of the catalogue.
const PRODUCTS: usize = 40;
/// Who reads at one time, and how often each does, on average.
const READERS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);
/// When reads begin to count, and when they end, in lifetimes.
const SETTLED: f64 = 2.5;
const OVER: f64 = 6.0;
/// If more than one read in so many is slow, the machine is too busy for random moments.
const SLOW_ONE_IN: usize = 20;
/// Reads of each product after it has changed: more than one at each replica.
const READS_AFTER: usize = 2 * REPLICAS;
/// How often a product is written at most, until one write is acknowledged.
const WRITES_MAX: usize = 5;
/// What a product shows, and what it shows after it has changed.
const FIRST: &str = "first";
const SECOND: &str = "second";

/// What was found.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// Reads of a catalogue that nobody changes: what was asked for, and by whom.
    quiet: Vec<(String, Asked)>,
    /// Reads after it was changed and a lifetime is over.
    after: Vec<(String, Asked)>,
}

/// Reads, changes every product, and reads again when every entry has expired.
pub(super) async fn play(seed: u64, front: SocketAddr) -> anyhow::Result<Found> {
    let began = Instant::now();
    let mut editor = Reader { caller: Caller::to(front), user: "editor".into(), began };
    fill(&mut editor, FIRST).await?;
    let (mut seeds, mut running, begin) = (Rng::with_seed(seed), JoinSet::new(), Instant::now());
    for number in 0..READERS {
        let mut rng = Rng::with_seed(seeds.u64(..));
        running.spawn_local(async move {
            let mut reader = Reader { caller: Caller::to(front), user: format!("u{number}"), began };
            let (mut reads, mut next) = (Vec::new(), begin);
            loop {
                next += pause(&mut rng, PAUSE);
                if next >= begin + TTL.mul_f64(OVER) {
                    return reads;
                }
                sleep_until(next).await;
                let read = reader.ask(Method::GET, &product(rng.usize(..PRODUCTS)), "").await;
                if next >= begin + TTL.mul_f64(SETTLED) {
                    reads.push((reader.user.clone(), read));
                }
            }
        });
    }
    let mut found = Found::default();
    while let Some(reads) = running.join_next().await {
        found.quiet.extend(reads?);
    }
    fill(&mut editor, SECOND).await?;
    sleep_until(Instant::now() + TTL).await;
    for number in 0..PRODUCTS {
        for _ in 0..READS_AFTER {
            let read = editor.ask(Method::GET, &product(number), "").await;
            found.after.push((editor.user.clone(), read));
        }
    }
    Ok(found)
}

fn product(number: usize) -> String {
    format!("/product/{number}")
}

async fn fill(editor: &mut Reader, value: &'static str) -> anyhow::Result<()> {
    for number in 0..PRODUCTS {
        let mut writes = 1;
        while editor.ask(Method::PUT, &product(number), value).await.has_failed {
            anyhow::ensure!(writes < WRITES_MAX, "the catalogue cannot be written");
            writes += 1;
        }
    }
    Ok(())
}

/// What theory says of it, beside what was found.
pub(super) fn of(found: &Found) -> PlaceReport {
    let Found { quiet, after } = found;
    let hits = quiet.iter().filter(|(_, read)| read.is_hit).count() as u64;
    let (reads, rereads) = (quiet.len() as u64, after.len() as u64);
    // By the reads that there really were.
    let per_ttl = reads as f64 / ((OVER - SETTLED) * (PRODUCTS * REPLICAS) as f64);
    let is_wrong = |(user, read): &&(String, Asked)| !read.has_failed && (read.value != FIRST || read.user != *user);
    let is_old = |(_, read): &&(String, Asked)| !read.has_failed && read.value == FIRST;
    let has_failed = |(_, read): &&(String, Asked)| read.has_failed;
    let never = |what, among: &[(String, Asked)], trials, is_it: &dyn Fn(&&(String, Asked)) -> bool| {
        let facts: Vec<Fact> = among.iter().find(is_it).map(fact).into_iter().collect();
        Prediction::never(what, among.iter().filter(is_it).count() as u64, trials, Some(&facts))
    };
    let everything: Vec<_> = quiet.iter().chain(after).cloned().collect();
    let slow = quiet.iter().filter(|(_, read)| read.took > SLOW).count();
    let is_busy = slow > quiet.len() / SLOW_ONE_IN;
    let predictions = vec![
        never("wrong pages of the catalogue", quiet, reads, &is_wrong),
        never("pages of the old catalogue after the lifetime", after, rereads, &is_old),
        never("requests failed", &everything, reads + rereads, &has_failed).by_the_clock(),
        Prediction::share("reads from the cache", hits, reads, theory::hit_share(per_ttl))
            .shown_by([Fact::Note(format!("{hits} hits of {reads} reads, {per_ttl:.2} in a lifetime at each entry"))])
            .by_the_clock()
            .unless_busy(is_busy),
    ];
    let share = hits as f64 / reads.max(1) as f64;
    let wrong = quiet.iter().filter(is_wrong).count();
    let figures = json!({
        "ttl_ms": TTL.as_millis(), "reads": reads, "hits": hits, "wrong": wrong, "reads_per_ttl": per_ttl,
        "old_after_ttl": after.iter().filter(is_old).count(),
    });
    let shown = format!(
        "{wrong} of {reads} pages wrong while nobody changes it\n{} of reads save a trip to the store\na change shows \
         everywhere after {} ms",
        percent(share),
        TTL.as_millis()
    );
    PlaceReport::claim(OF_ALL, shown, figures, predictions)
}

fn fact((user, read): &(String, Asked)) -> Fact {
    let Asked { sent, replica, value, user: shown, has_failed, .. } = read;
    let came = if *has_failed { "it fails".to_owned() } else { format!("\"{value}\", the page of {shown}") };
    Fact::Note(format!("{:8.3} s  {user} reads a product at {replica}: {came}", sent.as_secs_f64()))
}
