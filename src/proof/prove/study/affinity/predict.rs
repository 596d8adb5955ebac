//! What theory says of what was seen. Pure.

use std::collections::BTreeSet;

use serde_json::json;

use super::play::{Seen, Visit};
use super::rule::{POINTS, Rule};
use super::{REPLICAS, REQUESTS_MAX, USERS, theory};
use crate::prove::study::PlaceReport;
use crate::prove::study::basket::Told;
use crate::prove::theory::{Prediction, percent};
use crate::trial::judge::Fact;

const CAME: &str = "sessions lost when a replica came";
const DIED: &str = "sessions lost when a replica died";
const ROLLED: &str = "sessions lost when all replicas were replaced";
const SPREAD: &str = "factor between a variation and that of theory";

/// How much busier than the idlest the busiest may be, if nobody keeps to any.
const EVEN_MAX: f64 = 1.02;

pub(super) fn report(place: &'static str, rule: Option<Rule>, seen: &Seen) -> PlaceReport {
    let (measured, predicted) = (variation(seen), by_theory(rule));
    let users = seen.quiet.len() as u64;
    let share = |hits: u64| percent(hits as f64 / users.max(1) as f64);
    let rolled = lost_by_any(&seen.rolled);
    let shown = format!(
        "{} of sessions lost when a 5th replica came (theory: {})\n{} when one of 5 died (theory: {})\n{} when all \
         were replaced\nvariation {} (theory: {})",
        share(lost(&seen.came)),
        percent(moved_in_theory(rule)),
        share(lost(&seen.died)),
        percent(gone_in_theory(rule)),
        share(rolled),
        percent(measured),
        percent(predicted.sqrt()),
    );
    let figures = json!({
        "users": users,
        "came": { "lost": lost(&seen.came), "moved": moved(&seen.came).count(), "predicted": moved_in_theory(rule) },
        "died": { "lost": lost(&seen.died), "predicted": gone_in_theory(rule) },
        "rolled": { "lost": rolled, "times": seen.rolled.iter().map(|visits| lost(visits)).sum::<u64>() },
        "variation": measured,
        "variation_predicted": predicted.sqrt(),
        "effective_users": theory::effective_users(&theory::zipf(USERS, REQUESTS_MAX)),
        "requests": seen.rounds,
    });
    let mut predictions = vec![failed(seen), none_lost("sessions lost in quiet", &[&seen.quiet])];
    match rule {
        None => {
            predictions.extend([none_lost(CAME, &[&seen.came]), none_lost(DIED, &[&seen.died])]);
            predictions.extend([none_lost(ROLLED, &seen.rolled.iter().collect::<Vec<_>>()), even(seen)]);
            PlaceReport::claim(place, shown, figures, predictions)
        }
        Some(rule) => {
            predictions.extend(of_rule(rule, seen));
            // If this does not hold, the apparatus sees nothing. The others are what theory claims.
            let all = Prediction::share(ROLLED, rolled, users, 1.0).shown_by(kept(&seen.rolled));
            predictions.push(all.of_apparatus());
            let requests = seen.rounds.iter().flatten().sum();
            predictions.push(theory::of_variation(SPREAD, &squares(seen), predicted, requests).shown_by(last(seen)));
            PlaceReport { place, is_control: true, shown, figures, predictions }
        }
    }
}

/// Which sessions a rule loses when a replica comes, and when one dies.
fn of_rule(rule: Rule, seen: &Seen) -> Vec<Prediction> {
    let users = seen.quiet.len() as u64;
    let (came, died) = ((lost(&seen.came), users), (lost(&seen.died), users));
    let elsewhere = moved(&seen.came).filter(|visit| visit.now.as_deref() != Some(seen.newcomer.as_str()));
    let between = |visits: Vec<&Visit>| {
        let facts: Vec<Fact> = visits.iter().take(4).map(|visit| fact(visit)).collect();
        Prediction::never("users who move between replicas that stay", visits.len() as u64, users, Some(&facts))
    };
    let shown = |prediction: Prediction, visits: &[Visit]| prediction.shown_by(moved(visits).map(fact));
    match rule {
        Rule::Cookie => vec![
            none_lost(CAME, &[&seen.came]),
            between(moved(&seen.came).collect()),
            shown(Prediction::share(DIED, died.0, died.1, 1.0 / REPLICAS as f64), &seen.died),
        ],
        Rule::AddressHash => vec![
            shown(Prediction::share(CAME, came.0, came.1, moved_in_theory(Some(rule))), &seen.came),
            shown(Prediction::share(DIED, died.0, died.1, gone_in_theory(Some(rule))), &seen.died),
        ],
        Rule::Ring => vec![
            between(elsewhere.collect()),
            shown(theory::share_of_ring(CAME, came, (POINTS, REPLICAS * POINTS)), &seen.came),
            shown(theory::share_of_ring(DIED, died, (POINTS, REPLICAS * POINTS)), &seen.died),
        ],
    }
}

/// The share of users who move when a replica comes.
fn moved_in_theory(rule: Option<Rule>) -> f64 {
    match rule {
        None | Some(Rule::Cookie) => 0.0,
        Some(Rule::AddressHash) => theory::moved_by_hash(REPLICAS, REPLICAS + 1),
        Some(Rule::Ring) => 1.0 / (REPLICAS + 1) as f64,
    }
}

/// The share of users who move when a replica dies. With cookies nobody is at the one that came last.
fn gone_in_theory(rule: Option<Rule>) -> f64 {
    match rule {
        None => 0.0,
        Some(Rule::Cookie) => 1.0 / REPLICAS as f64,
        Some(Rule::AddressHash) => theory::moved_by_hash(REPLICAS + 1, REPLICAS),
        Some(Rule::Ring) => 1.0 / (REPLICAS + 1) as f64,
    }
}

/// The square of the variation of requests per replica.
fn by_theory(rule: Option<Rule>) -> f64 {
    let same = match rule {
        None => return 0.0,
        Some(Rule::Cookie | Rule::AddressHash) => theory::same_by_lot(REPLICAS),
        Some(Rule::Ring) => theory::same_on_ring(REPLICAS, POINTS),
    };
    theory::variation_squared(&theory::zipf(USERS, REQUESTS_MAX), REPLICAS, same)
}

fn squares(seen: &Seen) -> Vec<f64> {
    seen.rounds.iter().map(|counts| theory::measured_squared(counts)).collect()
}

fn variation(seen: &Seen) -> f64 {
    let squares = squares(seen);
    (squares.iter().sum::<f64>() / squares.len().max(1) as f64).sqrt()
}

/// Nobody keeps to a replica, so all get the same.
fn even(seen: &Seen) -> Prediction {
    let sum = |place: usize| seen.rounds.iter().filter_map(|counts| counts.get(place)).sum::<u64>();
    let sums: Vec<u64> = (0..seen.rounds.first().map_or(0, Vec::len)).map(sum).collect();
    let (most, least) =
        (sums.iter().max().copied().unwrap_or_default(), sums.iter().min().copied().unwrap_or_default());
    let trials = (sums.iter().sum(), 1000);
    Prediction::at_most("spread", most as f64 / least.max(1) as f64, EVEN_MAX, trials)
        .by_the_clock()
        .shown_by(last(seen))
}

/// The requests of the last round.
fn last(seen: &Seen) -> Option<Fact> {
    seen.rounds.last().map(|counts| Fact::Note(format!("requests of each replica in the last round: {counts:?}")))
}

fn is_lost(visit: &&Visit) -> bool {
    matches!(visit.told, Told::Lost | Told::Changed)
}

fn lost(visits: &[Visit]) -> u64 {
    visits.iter().filter(is_lost).count() as u64
}

/// Users who lost a session in any of these.
fn lost_by_any(all: &[Vec<Visit>]) -> u64 {
    all.iter().flatten().filter(is_lost).map(|visit| visit.user).collect::<BTreeSet<_>>().len() as u64
}

/// Users who lost none, as they should have.
fn kept(all: &[Vec<Visit>]) -> Vec<Fact> {
    let lost: BTreeSet<u32> = all.iter().flatten().filter(is_lost).map(|visit| visit.user).collect();
    let visits = all.last().map(Vec::as_slice).unwrap_or_default();
    visits.iter().filter(|visit| !lost.contains(&visit.user)).map(fact).collect()
}

fn moved(visits: &[Visit]) -> impl Iterator<Item = &Visit> {
    visits.iter().filter(|visit| visit.now.is_some() && visit.before != visit.now)
}

fn none_lost(what: &str, all: &[&Vec<Visit>]) -> Prediction {
    let visits = || all.iter().flat_map(|visits| visits.iter());
    let facts: Vec<Fact> = visits().filter(is_lost).take(4).map(fact).collect();
    let (count, trials) = (visits().filter(is_lost).count(), visits().count());
    Prediction::never(what, count as u64, trials as u64, Some(&facts))
}

fn failed(seen: &Seen) -> Prediction {
    let all = || [&seen.quiet, &seen.came, &seen.died].into_iter().chain(&seen.rolled).flatten();
    let is_failed = |visit: &&Visit| matches!(visit.told, Told::Failed(_) | Told::NoSuchReplica);
    let facts: Vec<Fact> = all().filter(is_failed).take(4).map(fact).collect();
    Prediction::never("requests failed", all().filter(is_failed).count() as u64, all().count() as u64, Some(&facts))
        .by_the_clock()
}

fn fact(visit: &Visit) -> Fact {
    let name = |replica: &Option<String>| replica.clone().unwrap_or_else(|| "nobody".to_owned());
    let Visit { user, before, now, told } = visit;
    Fact::Note(format!("user {user} was at {}, is at {}: {told:?}", name(before), name(now)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::theory::Verdict;

    /// Visits of users of whom so many have moved, and lost their session.
    fn visits(moved: u32, to: &str) -> Vec<Visit> {
        let visit = |user| Visit {
            user,
            before: Some(format!("r{}", user % 4)),
            now: Some(if user < moved { to.to_owned() } else { format!("r{}", user % 4) }),
            told: if user < moved { Told::Lost } else { Told::Kept },
        };
        (0..USERS).map(visit).collect()
    }

    fn seen(came: u32, to: &str, died: u32, rolled: u32) -> Seen {
        let rounds = vec![vec![160, 310, 225, 220]; 12];
        let rolled = vec![visits(rolled, "r9"), visits(0, "r9")];
        let (came, died) = (visits(came, to), visits(died, "r9"));
        let (newcomer, victim) = ("r4".to_owned(), "r1".to_owned());
        Seen { quiet: visits(0, ""), came, newcomer, died, victim, rolled, rounds }
    }

    fn broken(rule: Option<Rule>, seen: &Seen) -> Vec<String> {
        let report = report("x", rule, seen);
        let is_broken = |one: &&Prediction| one.verdict == Verdict::Broken;
        assert!(report.predictions.iter().filter(is_broken).all(|one| one.counterexample.len() <= 4));
        report.predictions.iter().filter(is_broken).map(|one| one.what.clone()).collect()
    }

    #[test]
    fn each_rule_loses_what_theory_says() {
        assert!(broken(Some(Rule::Cookie), &seen(0, "r4", 62, USERS)).is_empty());
        assert!(broken(Some(Rule::AddressHash), &seen(190, "r7", 195, USERS)).is_empty());
        assert!(broken(Some(Rule::Ring), &seen(50, "r4", 45, USERS)).is_empty());
        let mut even = seen(0, "r4", 0, 0);
        even.rounds = vec![vec![230, 231, 230, 230]; 12];
        assert!(broken(None, &even).is_empty());
    }

    #[test]
    fn what_is_unlike_theory_is_found() {
        assert_eq!(broken(Some(Rule::Ring), &seen(190, "r7", 45, USERS)).len(), 2, "it is a hash by number");
        assert_eq!(broken(Some(Rule::AddressHash), &seen(50, "r4", 195, USERS)), [CAME]);
        assert_eq!(broken(Some(Rule::Cookie), &seen(0, "r4", 62, USERS - 1)), [ROLLED]);
        assert_eq!(broken(None, &seen(1, "r4", 0, 0)), [CAME, "spread"]);
        let mut half = seen(0, "r4", 62, USERS);
        half.rounds = vec![vec![0, 450, 0, 465]; 12];
        assert_eq!(broken(Some(Rule::Cookie), &half), [SPREAD]);
        half.quiet[3].told = Told::Failed("502".into());
        assert_eq!(broken(Some(Rule::Cookie), &half), ["requests failed", SPREAD]);
    }
}
