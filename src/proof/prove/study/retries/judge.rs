//! What became of orders that a kill met, by what clients saw, replicas wrote down, and the store has. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::clients::{Habit, Order};
use super::part::{self, Line, Reached};
use crate::prove::study::PlaceReport;
use crate::prove::theory::{Prediction, percent};
use crate::trial::judge::Fact;

const DOUBLED: &str = "orders with a key done twice";
const DOUBLED_SHARE: &str = "orders done twice of those cut without a key";
const MISSING_SHARE: &str = "orders never done of those given up";
const NOT_REPEATED: &str = "orders done twice that were not repeated";
const WITHOUT_EFFECT: &str = "orders acknowledged and not done";
const UNACKNOWLEDGED: &str = "orders without a response in the end";

/// Everything that is known of a place.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) orders: Vec<Order>,
    /// Names of the replicas that were killed.
    pub(super) killed: Vec<String>,
    /// What each replica has written down.
    pub(super) ledgers: Vec<(String, Vec<Line>)>,
    /// How often each order has taken effect.
    pub(super) effects: BTreeMap<u64, u64>,
}

/// Orders whose response a kill has cut off.
#[derive(Debug, Default, PartialEq, Eq)]
struct Cut {
    /// All that had arrived.
    all: BTreeSet<u64>,
    /// Those that had been done, by the ledger.
    done: BTreeSet<u64>,
}

impl Seen {
    /// Reads what replicas and the store have.
    pub(super) fn of(directory: &Path, orders: Vec<Order>, killed: Vec<String>) -> anyhow::Result<Self> {
        let mut effects = BTreeMap::new();
        for number in part::effects(directory)? {
            *effects.entry(number).or_default() += 1;
        }
        Ok(Self { orders, killed, ledgers: part::ledgers(directory)?, effects })
    }

    fn cut(&self) -> Cut {
        let mut cut = Cut::default();
        for (_, lines) in self.ledgers.iter().filter(|(name, _)| self.killed.contains(name)) {
            let reached = |reached| lines.iter().filter(move |line| line.reached == reached).map(|line| line.attempt);
            let responded: BTreeSet<_> = reached(Reached::Responds).collect();
            let has_ended = |attempt: &(u64, u32)| responded.contains(attempt);
            cut.all.extend(reached(Reached::Arrived).filter(|attempt| !has_ended(attempt)).map(|(order, _)| order));
            cut.done.extend(reached(Reached::Done).filter(|attempt| !has_ended(attempt)).map(|(order, _)| order));
        }
        cut
    }

    /// The share of an order's time at a replica that comes after its effect, of orders that came to their end. By
    /// Little's law, it is the share of those under way at any moment that have been done.
    fn share_after(&self) -> f64 {
        let (mut before, mut after) = (Duration::ZERO, Duration::ZERO);
        for (_, lines) in &self.ledgers {
            let mut open: BTreeMap<(u64, u32), (Duration, Duration)> = BTreeMap::new();
            for Line { at, reached, attempt } in lines {
                let times = open.entry(*attempt).or_default();
                match reached {
                    Reached::Arrived => times.0 = *at,
                    Reached::Done => times.1 = *at,
                    Reached::Responds => {
                        before += times.1.saturating_sub(times.0);
                        after += at.saturating_sub(times.1);
                    }
                }
            }
        }
        after.as_secs_f64() / (before + after).as_secs_f64().max(f64::MIN_POSITIVE)
    }

    fn effects_of(&self, number: u64) -> u64 {
        self.effects.get(&number).copied().unwrap_or_default()
    }

    /// What happened to an order, by the ledgers: the first three lines, and what the store has.
    fn story(&self, number: u64) -> Vec<Fact> {
        let mut lines: Vec<(Duration, String)> = Vec::new();
        for (name, of_replica) in &self.ledgers {
            for Line { at, reached, attempt } in of_replica.iter().filter(|line| line.attempt.0 == number) {
                let what = match reached {
                    Reached::Arrived => continue,
                    Reached::Done => format!("order {number} (sent {} times before) is done at {name}", attempt.1),
                    Reached::Responds => format!("{name} responds to order {number}"),
                };
                lines.push((*at, what));
            }
        }
        lines.sort();
        let count = self.effects_of(number);
        let store = format!("the store has order {number} {count} times");
        lines.into_iter().map(|(_, what)| what).take(3).chain([store]).map(Fact::Note).collect()
    }
}

pub(super) fn report(place: &'static str, habit: Habit, seen: &Seen) -> PlaceReport {
    let (cut, after) = (seen.cut(), seen.share_after());
    let doubled: BTreeSet<u64> =
        seen.effects.iter().filter(|(_, count)| **count > 1).map(|(order, _)| *order).collect();
    let repeated: BTreeSet<u64> =
        seen.orders.iter().filter(|order| order.tries > 1).map(|order| order.number).collect();
    let count = |set: &BTreeSet<u64>, other: &BTreeSet<u64>| set.intersection(other).count() as u64;
    let missing: BTreeSet<u64> = cut.all.iter().filter(|order| seen.effects_of(**order) == 0).copied().collect();
    let (doubled_cut, missing_cut) = (count(&doubled, &cut.all), count(&missing, &cut.all));
    let trials = cut.all.len() as u64;
    let shown = match habit {
        Habit::RepeatsWithKey => format!("{} orders done twice", doubled.len()),
        Habit::Repeats => beside(doubled_cut, trials, "done twice", after),
        Habit::GivesUp => beside(missing_cut, trials, "never done", 1.0 - after),
    };
    let shown = format!("{shown}\n{}", of_kills(seen, &cut));
    let figures = json!({
        "orders": seen.orders.len(), "kills": seen.killed.len(), "cut": cut.all.len(), "cut_done": cut.done.len(),
        "repeated": repeated.len(), "doubled": doubled.len(), "missing": missing.len(), "share_after_effect": after,
    });
    let mut predictions = vec![without_effect(seen)];
    match habit {
        Habit::RepeatsWithKey => {
            let example = doubled.first().map(|order| seen.story(*order)).unwrap_or_default();
            // Only those that had been done and were sent again could be done twice.
            predictions.push(Prediction::never(DOUBLED, doubled.len() as u64, cut.done.len() as u64, Some(&example)));
            predictions.push(unacknowledged(seen));
            PlaceReport::claim(place, shown, figures, predictions)
        }
        Habit::Repeats => {
            predictions.push(not_repeated(seen, &doubled, &repeated));
            predictions
                .push(Prediction::share(DOUBLED_SHARE, doubled_cut, trials, after).shown_by(examples(seen, &cut.all)));
            PlaceReport::control(place, shown, figures, predictions)
        }
        Habit::GivesUp => {
            predictions.push(not_repeated(seen, &doubled, &repeated));
            predictions.push(
                Prediction::share(MISSING_SHARE, missing_cut, trials, 1.0 - after).shown_by(examples(seen, &cut.all)),
            );
            PlaceReport::control(place, shown, figures, predictions)
        }
    }
}

/// What became of orders that were cut, beside theory.
fn beside(hits: u64, trials: u64, what: &str, predicted: f64) -> String {
    let share = percent(hits as f64 / trials.max(1) as f64);
    format!("{share} of cut orders {what} (theory: {})", percent(predicted))
}

fn of_kills(seen: &Seen, cut: &Cut) -> String {
    let [orders, kills] = [seen.orders.len(), seen.killed.len()];
    format!("{orders} orders, {} cut by {kills} kills, {} of them done", cut.all.len(), cut.done.len())
}

/// An acknowledged order has taken effect, whatever was killed.
fn without_effect(seen: &Seen) -> Prediction {
    let acknowledged = || seen.orders.iter().filter(|order| order.is_acknowledged);
    let bad: Vec<u64> = acknowledged().map(|order| order.number).filter(|order| seen.effects_of(*order) == 0).collect();
    let example = bad.first().map(|order| seen.story(*order)).unwrap_or_default();
    Prediction::never(WITHOUT_EFFECT, bad.len() as u64, acknowledged().count() as u64, Some(&example))
}

/// Who repeats has a response in the end.
fn unacknowledged(seen: &Seen) -> Prediction {
    let bad: Vec<&Order> = seen.orders.iter().filter(|order| !order.is_acknowledged).collect();
    let note =
        |order: &&Order| Fact::Note(format!("order {}, sent {} times: {}", order.number, order.tries, order.trouble));
    let example: Vec<Fact> = bad.iter().take(4).map(note).collect();
    Prediction::never(UNACKNOWLEDGED, bad.len() as u64, seen.orders.len() as u64, Some(&example)).by_the_clock()
}

/// Nobody but the client repeats what bears no key.
fn not_repeated(seen: &Seen, doubled: &BTreeSet<u64>, repeated: &BTreeSet<u64>) -> Prediction {
    let bad: Vec<u64> = doubled.difference(repeated).copied().collect();
    let example = bad.first().map(|order| seen.story(*order)).unwrap_or_default();
    Prediction::never(NOT_REPEATED, bad.len() as u64, (seen.orders.len() - repeated.len()) as u64, Some(&example))
}

/// What became of the first orders that were cut.
fn examples(seen: &Seen, cut: &BTreeSet<u64>) -> Vec<Fact> {
    cut.first().map(|order| seen.story(*order)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::prove::theory::Verdict;

    /// A place where `cut` orders were cut by a kill, the first `done` of them after their effect, and each is done
    /// once more by somebody else if `again`.
    fn seen(cut: u64, done: u64, again: bool) -> Seen {
        let at = Duration::from_millis;
        let line = |ms, reached, order, times| Line { at: at(ms), reached, attempt: (order, times) };
        let (mut dead, mut alive, mut orders, mut effects) = (Vec::new(), Vec::new(), Vec::new(), BTreeMap::new());
        for order in 0..cut {
            dead.push(line(0, Reached::Arrived, order, 0));
            if order < done {
                dead.push(line(30, Reached::Done, order, 0));
                *effects.entry(order).or_default() += 1;
            }
            orders.push(Order {
                number: order,
                tries: 1 + u32::from(again),
                is_acknowledged: again,
                trouble: "502".into(),
            });
        }
        for order in (0..cut).filter(|_| again).chain(cut..200) {
            let times = u32::from(order < cut);
            alive.extend([line(100, Reached::Arrived, order, times), line(130, Reached::Done, order, times)]);
            alive.push(line(190, Reached::Responds, order, times));
            *effects.entry(order).or_default() += 1;
        }
        orders.extend((cut..200).map(|number| Order {
            number,
            tries: 1,
            is_acknowledged: true,
            trouble: String::new(),
        }));
        Seen { orders, killed: vec!["r0".into()], ledgers: vec![("r0".into(), dead), ("r1".into(), alive)], effects }
    }

    fn verdicts(habit: Habit, seen: &Seen) -> Vec<(String, Verdict)> {
        let report = report("x", habit, seen);
        assert!(report.predictions.iter().all(|one| one.counterexample.len() <= 4));
        report
            .predictions
            .into_iter()
            .filter(|one| one.verdict != Verdict::Held)
            .map(|one| (one.what, one.verdict))
            .collect()
    }

    #[test]
    fn what_a_kill_meets_is_judged_by_what_clients_do_then() {
        assert!((seen(60, 40, true).share_after() - 2.0 / 3.0).abs() < 1e-9);
        assert_eq!(seen(60, 40, true).cut().done.len(), 40);
        assert!(verdicts(Habit::Repeats, &seen(60, 40, true)).is_empty());
        assert!(verdicts(Habit::GivesUp, &seen(60, 40, false)).is_empty());
        let share = |what: &str, verdict| vec![(what.to_owned(), verdict)];
        assert_eq!(verdicts(Habit::Repeats, &seen(60, 3, true)), share(DOUBLED_SHARE, Verdict::Broken));
        assert_eq!(verdicts(Habit::GivesUp, &seen(60, 3, false)), share(MISSING_SHARE, Verdict::Broken));
        assert_eq!(verdicts(Habit::RepeatsWithKey, &seen(60, 40, true)), share(DOUBLED, Verdict::Broken));
        let mut keyed = seen(60, 40, true);
        keyed.effects.values_mut().for_each(|count| *count = 1);
        assert!(verdicts(Habit::RepeatsWithKey, &keyed).is_empty());
        keyed.effects.remove(&150);
        assert_eq!(verdicts(Habit::RepeatsWithKey, &keyed), share(WITHOUT_EFFECT, Verdict::Broken));
        keyed.orders[5].is_acknowledged = false;
        keyed.effects.insert(150, 1);
        assert_eq!(verdicts(Habit::RepeatsWithKey, &keyed), share(UNACKNOWLEDGED, Verdict::Broken));
        let mut twice = seen(60, 40, true);
        twice.effects.insert(150, 2);
        assert_eq!(verdicts(Habit::Repeats, &twice), share(NOT_REPEATED, Verdict::Broken));
        assert_eq!(twice.story(3).len(), 4);
    }

    /// Clients who order at one of three replicas that take exponential times before the effect and behind it, and
    /// repeat what a kill cuts off. Times are those of the study, and kills come at random moments.
    fn simulated(rng: &mut Rng, meets_only_before: bool) -> Seen {
        let exponential = |mean: f64, rng: &mut Rng| -mean * (1.0 - rng.f64()).ln();
        let mut kills: Vec<(f64, usize)> = Vec::new();
        let mut at = 0.0;
        for number in 0..8 {
            at += 250.0 + 150.0 * rng.f64();
            kills.push((at, number % 3));
        }
        let (mut seen, mut number, end) = (Seen::default(), 0, at + 250.0);
        let mut ledgers: Vec<(f64, usize, Line)> = Vec::new();
        for _ in 0..40 {
            let mut now = 0.0;
            while now < end {
                number += 1;
                let mut tries = 0;
                loop {
                    now += exponential(20.0, rng);
                    let replica = rng.usize(..3);
                    let attempt = (number, tries);
                    let mut line = |at: f64, reached| {
                        let line = Line { at: Duration::from_secs_f64(at / 1000.0), reached, attempt };
                        ledgers.push((at, replica, line));
                    };
                    let (effect, response) = (now + exponential(30.0, rng), exponential(60.0, rng));
                    let response = effect + response;
                    line(now, Reached::Arrived);
                    let kill = kills.iter().find(|(at, of)| *of == replica && *at >= now && *at < response);
                    let is_done = kill.is_none_or(|(at, _)| *at >= effect && !meets_only_before);
                    if is_done {
                        line(effect, Reached::Done);
                        *seen.effects.entry(number).or_default() += 1;
                    }
                    tries += 1;
                    let Some((at, _)) = kill else {
                        line(response, Reached::Responds);
                        now = response;
                        break;
                    };
                    now = *at;
                }
                seen.orders.push(Order { number, tries, is_acknowledged: true, trouble: String::new() });
            }
        }
        // A replica that comes in the place of one that was killed has another name.
        let name = |at: f64, replica: usize| {
            let before = kills.iter().filter(|(kill, of)| *of == replica && *kill < at).count();
            format!("r{}", replica + 3 * before)
        };
        let mut by_name: BTreeMap<String, Vec<Line>> = BTreeMap::new();
        let arrived: BTreeMap<(u64, u32), f64> =
            ledgers.iter().filter(|one| one.2.reached == Reached::Arrived).map(|one| (one.2.attempt, one.0)).collect();
        for (_, replica, line) in ledgers {
            by_name.entry(name(arrived[&line.attempt], replica)).or_default().push(line);
        }
        seen.killed = kills.iter().map(|(at, replica)| name(*at, *replica)).collect();
        seen.ledgers = by_name.into_iter().collect();
        seen
    }

    #[test]
    fn simulated_clients_order_twice_as_often_as_theory_says() {
        let (mut rng, mut tails, mut worst) = (Rng::with_seed(9), 0.0, 1.0f64);
        for run in 0..200 {
            let report = report("x", Habit::Repeats, &simulated(&mut rng, false));
            let share = report.predictions.iter().find(|one| one.what == DOUBLED_SHARE).unwrap();
            assert!(share.trials > 40 && (share.predicted - 2.0 / 3.0).abs() < 0.06, "{run}: {share:?}");
            let tail = share.chance.unwrap().tail;
            (tails, worst) = (tails + tail, worst.min(tail));
        }
        // Were the share wrong, or trials not independent, small tails would be more frequent.
        assert!(worst > 0.000_2 && tails / 200.0 > 0.2, "{worst} {tails}");
        let report = report("x", Habit::Repeats, &simulated(&mut rng, true));
        assert!(report.predictions.iter().any(|one| one.what == DOUBLED_SHARE && one.verdict == Verdict::Broken));
    }

    #[test]
    fn the_share_that_a_kill_meets_behind_the_effect_is_that_of_a_simulation() {
        // Servers that are always busy, one order after the other, with exponential times; a look at a random moment.
        let mut rng = Rng::with_seed(5);
        let exponential = |mean: f64, rng: &mut Rng| -mean * rng.f64().max(1e-12).ln();
        for (before, after) in [(30.0, 60.0), (50.0, 10.0), (20.0, 20.0)] {
            let (mut hits, looks) = (0u32, 20_000u32);
            for _ in 0..looks {
                let (mut at, moment) = (0.0, 2000.0 + rng.f64() * 1000.0);
                let is_after = loop {
                    let (first, second) = (exponential(before, &mut rng), exponential(after, &mut rng));
                    if at + first + second > moment {
                        break at + first <= moment;
                    }
                    at += first + second;
                };
                hits += u32::from(is_after);
            }
            let share = f64::from(hits) / f64::from(looks);
            assert!((share - after / (before + after)).abs() < 0.015, "{before} {after}: {share}");
        }
    }
}
