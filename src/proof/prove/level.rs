//! At which level predictions about shares are judged: one for the whole run, however many there are. Pure.
//!
//! A share that was measured in independent trials has a sampling error. It is rejected by the exact tails of its
//! distribution. If a run makes n such predictions, of arms in events, again in each repetition, and of places of
//! studies, each is judged at the n-th part of the level of the run (Bonferroni): then an honest run has a false alarm
//! with at most that probability, whether or not its predictions depend on each other. How many there are is known only
//! when all is measured, so predictions say at first how they would fare alone, and are judged in the end.

use serde::Serialize;

use super::theory::{Prediction, Verdict};

/// The probability of a false alarm in a run, over all predictions that have a sampling error.
const RUN_LEVEL: f64 = 0.001;

/// What chance may make of a share that is as theory says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Chance {
    /// The probability of what was measured, or of anything that is further off on the same side.
    pub tail: f64,
    /// The same of no hits, or of nothing but hits: the greater one. If that is no reason to reject, nothing would be.
    pub furthest: f64,
    #[serde(skip)]
    if_too_few: Verdict,
}

impl Chance {
    /// By the probability of at most, and of at least so many hits.
    pub(super) fn of_tails((low, high): (f64, f64), furthest: f64) -> Self {
        Self { tail: low.min(high), furthest, if_too_few: Verdict::TooFew }
    }

    /// Of independent trials that all have the same probability.
    pub(super) fn of_binomial(hits: u64, trials: u64, p: f64) -> Self {
        let n = trials as f64;
        Self::of_tails(tails(hits, trials, p), p.powf(n).max((1.0 - p).powf(n)))
    }

    /// The same; too few trials are no reason to say nothing.
    pub(super) fn or_untested(self) -> Self {
        Self { if_too_few: Verdict::Untested, ..self }
    }

    /// How it fares at a level, half of which is on each side.
    pub(super) fn verdict(self, level: f64) -> Verdict {
        match level / 2.0 {
            side if self.tail < side => Verdict::Broken,
            side if self.furthest >= side => self.if_too_few,
            _ => Verdict::Held,
        }
    }

    /// How it fares in a run that predicts nothing else of this kind. With others it is not judged more strictly.
    pub(super) fn verdict_alone(self) -> Verdict {
        self.verdict(RUN_LEVEL)
    }
}

/// How many of these predictions have a sampling error.
pub(super) fn sampled<'a>(predictions: impl Iterator<Item = &'a Prediction>) -> usize {
    predictions.filter(|one| one.chance.is_some()).count()
}

/// The level of each of so many predictions.
pub(super) fn of_each(sampled: usize) -> f64 {
    RUN_LEVEL / sampled.max(1) as f64
}

/// The probability of at most, and of at least so many hits.
fn tails(hits: u64, trials: u64, p: f64) -> (f64, f64) {
    let odds = (p / (1.0 - p)).ln();
    let mut log = trials as f64 * (1.0 - p).ln();
    let (mut low, mut high) = (0.0, 0.0);
    for k in 0..=trials {
        let probability = log.exp();
        if k <= hits {
            low += probability;
        }
        if k >= hits {
            high += probability;
        }
        log += ((trials - k) as f64 / (k + 1) as f64).ln() + odds;
    }
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_exact() {
        // Binomial(10, 1/2): P(X <= 2) = 56/1024, P(X >= 2) = 1013/1024. Binomial(4, 1/3): P(X >= 3) = 9/81.
        let (low, high) = tails(2, 10, 0.5);
        assert!((low - 56.0 / 1024.0).abs() < 1e-12 && (high - 1013.0 / 1024.0).abs() < 1e-12);
        assert!((tails(3, 4, 1.0 / 3.0).1 - 9.0 / 81.0).abs() < 1e-12);
        let (low, high) = tails(33_000, 100_000, 1.0 / 3.0);
        assert!((0.0..0.02).contains(&low) && high > 0.98, "{low} {high}");
    }

    #[test]
    fn an_honest_run_has_a_false_alarm_as_rarely_as_its_level_says() {
        // The probability of all outcomes that break a prediction, over all of a run.
        let runs: [&[(u64, f64)]; 3] =
            [&[(500, 2.0 / 3.0)], &[(80, 1.0 / 3.0), (500, 2.0 / 3.0), (2000, 0.5)], &[(90, 0.25); 200]];
        for predictions in runs {
            let level = of_each(predictions.len());
            let alarm = |(trials, p): &(u64, f64)| -> f64 {
                let mass =
                    |hits| tails(hits, *trials, *p).0 - if hits == 0 { 0.0 } else { tails(hits - 1, *trials, *p).0 };
                let breaks = |hits: &u64| Chance::of_binomial(*hits, *trials, *p).verdict(level) == Verdict::Broken;
                (0..=*trials).filter(breaks).map(mass).sum()
            };
            let whole: f64 = predictions.iter().map(alarm).sum();
            assert!(whole <= RUN_LEVEL && whole > 0.0, "{}: {whole}", predictions.len());
        }
    }

    #[test]
    fn the_more_predictions_a_run_makes_the_more_each_of_them_needs() {
        let of = |hits, trials| Prediction::share("x", hits, trials, 1.0 / 3.0);
        for (prediction, others, expected) in [
            // 50 of 100 are in the tail of 0.04 %.
            (of(50, 100), 0, Verdict::Broken),
            (of(50, 100), 1, Verdict::Held),
            (of(60, 100), 1, Verdict::Broken),
            (of(60, 100), 1000, Verdict::Broken),
            // None of 20 has a probability of 0.03 %, and none of 40 one of 0.00001 %.
            (of(7, 20), 0, Verdict::Held),
            (of(7, 20), 9, Verdict::TooFew),
            (of(7, 20).or_untested(), 9, Verdict::Untested),
            (of(13, 40), 900, Verdict::Held),
        ] {
            let note = [crate::trial::judge::Fact::Note("so it was".into())];
            let mut prediction = prediction.shown_by(note);
            let (what, all) = (format!("{prediction:?}"), others + sampled(std::iter::once(&prediction)));
            prediction.judge_at(of_each(all));
            assert_eq!(prediction.verdict, expected, "{others}: {what}");
            assert_eq!(prediction.counterexample.len(), usize::from(expected == Verdict::Broken), "{what}");
        }
        let mut exact = Prediction::share("x", 100, 100, 1.0);
        exact.judge_at(0.0);
        assert_eq!((exact.verdict, sampled(std::iter::once(&exact))), (Verdict::Held, 0));
    }
}
