//! What every review of an architecture asks.

use super::losses::Losses;
use super::{Answer, Evidence, Grade, Line, Played, Source, a_request, sum, worst};
use crate::prove::arm::{Role, replicated};
use crate::prove::event::{Event, SCALE_OUT};
use crate::prove::theory::{Verdict, percent, short};

/// In the order of a review.
pub(super) const QUESTIONS: [Line; 10] = [
    ("scale out", "2 to 20 replicas", scale_out),
    ("crash", "one replica killed", crash),
    ("deploy", "every replica replaced", deploy),
    ("spread", "of requests, in quiet", spread),
    ("memory per replica", "resident, in quiet", memory),
    ("bytes per request", "of session state", bytes),
    ("store trips", "of a request", trips),
    ("revocation", "of a copy, by the logout", revocation),
    ("single point of failure", "what fails for all", single_point),
    ("latency", "in quiet", latency),
];

/// Of the requests so many belong to new replicas after scaling out.
const FAIR: f64 = 1.0 - SCALE_OUT.0 as f64 / SCALE_OUT.1 as f64;
/// With fewer trips of a request there are none, but for a few that repeat something.
pub(super) const NO_TRIPS: f64 = 0.005;

pub(super) fn scale_out(played: &Played<'_>) -> Answer {
    let cells = played.cells(Event::ScaleOut);
    let Some(losses) = Losses::of(played, &cells) else { return played.not_measured(&played.missing(Event::ScaleOut)) };
    let Some(old) = of_old_users(&cells) else { return played.not_measured("no old user asked for anything then") };
    let mut seconds = cells.iter().map(|source| source.cell.seconds_to_fair_share);
    let slowest = seconds.try_fold(0.0, |most, one| Some(f64::max(most, one?)));
    let of_old = format!("new ones get {} of old users' requests (fair: {} %)", percent(old), short(FAIR * 100.0, 1));
    let (grade, fair) = match slowest {
        // Whoever keeps to a replica has nothing of a new one.
        _ if old < FAIR / 2.0 => (Grade::Bad, of_old),
        Some(seconds) => (Grade::Good, format!("fair share after {} s", short(seconds, 1))),
        None => (Grade::Partly, format!("no fair share\n{of_old}")),
    };
    let shown = worst(&cells, |cell| cell.seconds_to_fair_share.map_or(f64::INFINITY, |seconds| seconds));
    let of_share = shown.map(|source| source.told("s to a fair share", "newcomers"));
    let grade = losses.grade().and(grade);
    played.answer(grade, format!("{}\n{fair}", losses.text()), losses.evidence.into_iter().chain(of_share))
}

/// The share of the requests of old users that new replicas got, where it was least; `None` if there were none.
pub(super) fn of_old_users(cells: &[Source<'_>]) -> Option<f64> {
    cells.iter().filter_map(|source| source.cell.newcomers).map(|(old, _)| old).reduce(f64::min)
}

/// Trips to a store in words.
pub(super) fn in_words(trips: f64) -> String {
    match short(trips, 2) {
        _ if trips < NO_TRIPS => "no trip to a store".to_owned(),
        one if one == "1" => "1 trip to a store".to_owned(),
        more => format!("{more} trips to a store"),
    }
}

fn crash(played: &Played<'_>) -> Answer {
    lost_in(played, Event::Crash)
}

fn deploy(played: &Played<'_>) -> Answer {
    lost_in(played, Event::Rolling)
}

pub(super) fn lost_in(played: &Played<'_>, event: Event) -> Answer {
    match Losses::of(played, &played.cells(event)) {
        Some(losses) => played.answer(losses.grade(), losses.text(), losses.evidence),
        None => played.not_measured(&played.missing(event)),
    }
}

fn spread(played: &Played<'_>) -> Answer {
    played.in_quiet(|cells| {
        let Some(shown) = worst(cells, |cell| cell.measures.variation.0) else { return played.not_measured("") };
        let measures = &shown.cell.measures;
        let (variation, by_lot) = measures.variation;
        let mut predictions = shown.cell.predictions.iter();
        let is_broken = predictions.any(|one| one.what == "spread" && one.verdict == Verdict::Broken);
        let grade = match variation / by_lot {
            _ if is_broken => Grade::Bad,
            ..=1.0 => Grade::Good,
            ..=2.0 => Grade::Partly,
            _ => Grade::Bad,
        };
        let text = format!(
            "variation {}\nby lot: {}\nbusiest over idlest: {}",
            percent(variation),
            percent(by_lot),
            short(measures.largest_over_smallest, 3)
        );
        played.answer(grade, text, [shown.figure("measures/variation"), shown.told("spread", "measures/spread")])
    })
}

fn memory(played: &Played<'_>) -> Answer {
    played.in_quiet(|cells| {
        let all = || cells.iter().flat_map(|source| source.cell.memory_kib.iter().map(|(_, kib)| *kib));
        let (Some(least), Some(most)) = (all().min(), all().max()) else {
            return played.not_measured("no replica was alive at the end");
        };
        let mean = all().sum::<u64>() as f64 / all().count() as f64;
        let mib = |kib: f64| short(kib / 1024.0, 1);
        let text = format!("{} MiB\n{} to {}", mib(mean), mib(least as f64), mib(most as f64));
        played.answer(Grade::Figure, text, figures(cells, "memory_kib"))
    })
}

fn bytes(played: &Played<'_>) -> Answer {
    played.in_quiet(|cells| {
        let bytes = a_request(cells, |cell| cell.measures.state_bytes);
        played.answer(Grade::Figure, format!("{bytes:.0} B"), figures(cells, "measures/state_bytes"))
    })
}

fn trips(played: &Played<'_>) -> Answer {
    played.in_quiet(|cells| {
        let trips = a_request(cells, |cell| cell.measures.store_trips);
        played.answer(Grade::Figure, short(trips, 2), figures(cells, "measures/store_trips"))
    })
}

fn latency(played: &Played<'_>) -> Answer {
    played.in_quiet(|cells| {
        let Some(shown) = worst(cells, |cell| cell.measures.latency_ms.1) else { return played.not_measured("") };
        let (p50, p99) = shown.cell.measures.latency_ms;
        let text = format!("p50 {} ms\np99 {} ms", short(p50, 1), short(p99, 1));
        played.answer(Grade::Figure, text, [shown.figure("measures/latency_ms")])
    })
}

fn figures(cells: &[Source<'_>], path: &str) -> Vec<Evidence> {
    cells.iter().map(|source| source.figure(path)).collect()
}

fn revocation(played: &Played<'_>) -> Answer {
    played.in_quiet(|cells| {
        let (good, logouts) = (sum(cells, |one| one.reused.count), sum(cells, |one| one.logouts));
        let (known, forgotten) = cells.iter().fold((0, 0), |(all, lost), one| {
            let (more, gone) = one.cell.measures.forgotten;
            (all + more, lost + gone)
        });
        // A session that most replicas do not know anyway is neither over nor not.
        if played.arm.role() == Role::Stateful && forgotten > 0 {
            let share = percent(forgotten as f64 / known.max(1) as f64);
            return played.not_measured(&format!("{share} of steps find the session forgotten before"));
        }
        let grade = match good {
            _ if logouts == 0 => return played.not_measured("nobody logged out"),
            0 => Grade::Good,
            good if good == logouts => Grade::Bad,
            _ => Grade::Partly,
        };
        let shown = worst(cells, |cell| cell.findings.reused.count);
        let evidence = shown.map(|source| source.told("good after logout", "findings/reused/count"));
        played.answer(grade, format!("{good} of {logouts} still good after the logout"), evidence)
    })
}

/// What ends, and fails for all: the store if there is one, else a replica.
fn single_point(played: &Played<'_>) -> Answer {
    let answer = match (&played.cells(Event::Failover)[..], &played.cells(Event::StoreRestart)[..]) {
        ([], []) => without_restart(played),
        ([], restarted) => restart(played, restarted),
        (failed_over, []) => failover(played, failed_over),
        (failed_over, restarted) => failover(played, failed_over).besides(restart(played, restarted)),
    };
    with_proxies(played, answer)
}

fn restart(played: &Played<'_>, cells: &[Source<'_>]) -> Answer {
    let (failed, requests) = (sum(cells, |one| one.failed.count), sum(cells, |one| one.requests));
    let shown = worst(cells, |cell| cell.failing_seconds);
    let seconds = shown.map_or(0.0, |source| source.cell.failing_seconds);
    let losses = Losses::of(played, cells);
    let lost = losses.as_ref().map_or_else(|| played.missing(Event::StoreRestart), Losses::lost);
    let has_lost = losses.as_ref().is_some_and(Losses::has_lost);
    let (grade, text) = match failed {
        0 if !has_lost => (Grade::Good, format!("none seen: the store was restarted, 0 of {requests} failed\n{lost}")),
        _ => {
            let within = short(seconds, 1);
            (Grade::Bad, format!("the store: restarted, {failed} of {requests} failed, within {within} s\n{lost}"))
        }
    };
    let evidence = shown.map(|source| source.figure("findings/failed/count"));
    played.answer(grade, text, evidence.into_iter().chain(losses.into_iter().flat_map(|losses| losses.evidence)))
}

fn failover(played: &Played<'_>, cells: &[Source<'_>]) -> Answer {
    let (failed, requests) = (sum(cells, |one| one.failed.count), sum(cells, |one| one.requests));
    let shown = worst(cells, |cell| cell.failing_seconds);
    let seconds = shown.map_or(0.0, |source| source.cell.failing_seconds);
    // What the copy had is never lost, which says nothing of the rest.
    let is_write = |what: &str| what == replicated::LACKED || what == replicated::ALL;
    let writes = |source: &Source<'_>| source.cell.predictions.iter().find(|one| is_write(&one.what)).cloned();
    let (lost, trials) =
        cells.iter().filter_map(writes).fold((0, 0), |(hits, trials), one| (hits + one.hits, trials + one.trials));
    let grade = if (failed, lost) == (0, 0) { Grade::Good } else { Grade::Partly };
    let text = format!(
        "the store, until its copy takes over: {failed} of {requests} failed, within {} s\n{lost} of {trials} \
         acknowledged writes lost",
        short(seconds, 1)
    );
    let of_writes = cells.iter().filter_map(|source| source.prediction(is_write));
    let of_failed = shown.map(|source| source.figure("findings/failed/count"));
    played.answer(grade, text, of_failed.into_iter().chain(of_writes))
}

/// A store that nobody could restart, or none: then what a replica takes along says it.
fn without_restart(played: &Played<'_>) -> Answer {
    let users = played.of_users();
    let trips = a_request(&users, |cell| cell.measures.store_trips);
    if trips >= NO_TRIPS {
        let is_played = played.report.cells.iter().any(|cell| cell.event == Event::StoreRestart);
        let why = if is_played { "it has no process of ours to end" } else { "store-restart was not played" };
        let text = format!("the store: a request makes {}\n{why}", in_words(trips));
        let shown = users.first().map(|source| source.figure("measures/store_trips"));
        return played.answer(Grade::Bad, text, shown);
    }
    let crashed = played.cells(Event::Crash);
    let Some(losses) = Losses::of(played, &crashed) else { return played.not_measured(&played.missing(Event::Crash)) };
    let replicas = crashed.first().map_or(0, |source| source.cell.replicas);
    let text = match losses.has_lost() {
        false => format!("none seen: no trip to a store, and a replica took nothing along\n{}", losses.lost()),
        true => format!("each replica, for its sessions\n{} with one of {replicas}", losses.lost()),
    };
    let of_trips = crashed.first().map(|source| source.figure("measures/store_trips"));
    let grade = if losses.has_lost() { Grade::Bad } else { Grade::Good };
    played.answer(grade, text, losses.evidence.into_iter().chain(of_trips))
}

/// The tier of proxies can be one, too.
fn with_proxies(played: &Played<'_>, mut answer: Answer) -> Answer {
    let cells = played.cells(Event::TwoProxies);
    let Some(losses) = Losses::of(played, &cells).filter(|_| answer.grade != Grade::NotMeasured) else { return answer };
    answer.text.push_str(&format!("\nof 2 proxies one killed: {}", losses.failed()));
    if losses.has_lost() {
        answer.text.push_str(&format!(", {}", losses.lost()));
    }
    answer.grade = answer.grade.and(losses.grade());
    answer.evidence.extend(cells.iter().map(|source| source.told("requests failed", "findings/failed/count")));
    answer
}
