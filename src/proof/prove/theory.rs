//! What theory predicts, and whether a measurement agrees. Pure.
//!
//! Most predictions say that something never happens; one case breaks them. That nothing happened in n independent
//! trials bounds its probability by 1 - 0.05^(1/n) (95 %; about 3/n, the rule of three), which is rounded up. The few
//! that predict a share have a sampling error. They are rejected by the exact tails of the binomial distribution, at a
//! level that is shared by all of a run (Bonferroni): honest runs have a false alarm in one of a thousand, at most.

use serde::Serialize;

use crate::trial::judge::Fact;

/// Standard errors of a 95 % interval.
const Z_SHOWN: f64 = 1.96;
/// The probability of a false alarm in a run, over all predictions that have a sampling error.
const RUN_LEVEL: f64 = 0.001;
/// How many such predictions there are in a run at most.
pub const SAMPLED_MAX: u32 = 40;
/// With fewer trials it is not said that something never happens.
const TRIALS_MIN: u64 = 20;

/// How a prediction fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It held.
    Held,
    /// It did not.
    Broken,
    /// It must be tested, and there were too few trials.
    TooFew,
    /// There were so few trials that nothing could have broken it.
    Untested,
}

/// What a prediction is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// What is claimed.
    Claim,
    /// The apparatus: if it does not hold, the run says nothing.
    Apparatus,
}

/// A prediction beside its measurement.
#[derive(Debug, Clone, Serialize)]
pub struct Prediction {
    /// The thing that is predicted.
    pub what: String,
    /// What it is about.
    pub subject: Subject,
    /// The predicted value, for people.
    pub expected: String,
    /// The measured value, for people.
    pub measured: String,
    /// How often it happened.
    pub hits: u64,
    /// How often it could have happened.
    pub trials: u64,
    /// The predicted share or bound.
    pub predicted: f64,
    /// The measured share with its 95 % interval.
    pub interval: (f64, f64),
    /// How it fared.
    pub verdict: Verdict,
    /// At most four facts that show why it was broken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub counterexample: Vec<Fact>,
}

impl Prediction {
    /// Something that must never happen.
    pub fn never(what: &str, hits: u64, trials: u64, counterexample: Option<&[Fact]>) -> Self {
        let interval = (0.0, if hits == 0 { upper_bound(trials) } else { wilson(hits, trials, Z_SHOWN).1 });
        let verdict = match (hits, trials) {
            (0, ..TRIALS_MIN) => Verdict::TooFew,
            (0, _) => Verdict::Held,
            _ => Verdict::Broken,
        };
        let bound = if hits == 0 { format!(" (below {})", percent_up(interval.1)) } else { String::new() };
        Self {
            what: what.to_owned(),
            subject: Subject::Claim,
            expected: "0".to_owned(),
            measured: format!("{hits} of {trials}{bound}"),
            hits,
            trials,
            predicted: 0.0,
            interval,
            verdict,
            counterexample: counterexample.unwrap_or_default().to_vec(),
        }
    }

    /// A share that theory knows.
    pub fn share(what: &str, hits: u64, trials: u64, predicted: f64) -> Self {
        let interval = wilson(hits, trials, Z_SHOWN);
        let level = alarm_level();
        let is_exact = predicted == 0.0 || predicted == 1.0;
        let verdict = if is_exact {
            match trials {
                _ if hits as f64 != predicted * trials as f64 => Verdict::Broken,
                ..TRIALS_MIN => Verdict::Untested,
                _ => Verdict::Held,
            }
        } else if most_extreme(trials, predicted) > level {
            Verdict::Untested
        } else {
            let (low, high) = tails(hits, trials, predicted);
            if low.min(high) < level { Verdict::Broken } else { Verdict::Held }
        };
        let share = hits as f64 / trials.max(1) as f64;
        let (low, high) = (percent(interval.0), percent_up(interval.1));
        Self {
            what: what.to_owned(),
            subject: Subject::Claim,
            expected: percent(predicted),
            measured: format!("{} ({low}-{high}, {hits} of {trials})", percent(share)),
            hits,
            trials,
            predicted,
            interval,
            verdict,
            counterexample: Vec::new(),
        }
    }

    /// A figure with an upper limit; it was made of `trials` requests, and `trials_min` are needed to tell.
    pub fn at_most(what: &str, figure: f64, limit: f64, (trials, trials_min): (u64, u64)) -> Self {
        let verdict = match figure <= limit {
            _ if trials < trials_min => Verdict::Untested,
            true => Verdict::Held,
            false => Verdict::Broken,
        };
        Self {
            what: what.to_owned(),
            subject: Subject::Claim,
            expected: format!("at most {}", rounded(limit)),
            measured: rounded(figure),
            hits: 0,
            trials,
            predicted: limit,
            interval: (figure, figure),
            verdict,
            counterexample: Vec::new(),
        }
    }

    /// The same, about the apparatus.
    pub fn of_apparatus(self) -> Self {
        Self { subject: Subject::Apparatus, ..self }
    }

    /// The same; what it says is not tested if there were too few trials, and that is no reason to say nothing.
    pub fn or_untested(self) -> Self {
        let verdict = if self.verdict == Verdict::TooFew { Verdict::Untested } else { self.verdict };
        Self { verdict, ..self }
    }

    /// The same, not tested if the machine is too busy to say anything about time.
    pub fn unless_busy(self, is_busy: bool) -> Self {
        if !is_busy {
            return self;
        }
        let measured = format!("{} (the machine is too busy)", self.measured);
        Self { verdict: Verdict::Untested, measured, counterexample: Vec::new(), ..self }
    }

    /// The same with what shows it, if it is broken.
    pub fn shown_by(self, facts: impl IntoIterator<Item = Fact>) -> Self {
        let is_broken = self.verdict == Verdict::Broken;
        let counterexample = facts.into_iter().take(crate::trial::judge::FACTS_MAX).filter(|_| is_broken).collect();
        Self { counterexample, ..self }
    }
}

/// The smallest tail that does not break a prediction about a share.
pub(super) fn alarm_level() -> f64 {
    RUN_LEVEL / f64::from(SAMPLED_MAX) / 2.0
}

/// The interval of a share that is shown.
pub(super) fn wilson_shown(hits: u64, trials: u64) -> (f64, f64) {
    wilson(hits, trials, Z_SHOWN)
}

/// A figure with three digits behind the point at most.
fn rounded(figure: f64) -> String {
    let text = format!("{figure:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The 95 % upper bound of the probability of something that did not happen in so many trials.
pub fn upper_bound(trials: u64) -> f64 {
    1.0 - 0.05f64.powf(1.0 / trials.max(1) as f64)
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

/// The smallest tail that so many trials can show.
fn most_extreme(trials: u64, p: f64) -> f64 {
    let n = trials as f64;
    p.powf(n).min((1.0 - p).powf(n))
}

/// The share of journeys of `steps` steps that end in the session they began in, when each step goes to any of
/// `replicas` replicas and only the first one's knows the session: `k^-(n-1)`.
pub fn survival(replicas: usize, steps: u32) -> f64 {
    (replicas as f64).powi(1 - steps.cast_signed())
}

/// The coefficient of variation that `requests` would show if each were sent to one of `replicas` replicas drawn at
/// random.
pub fn random_variation(replicas: usize, requests: u64) -> f64 {
    (replicas.saturating_sub(1) as f64 / requests.max(1) as f64).sqrt()
}

/// Wilson's interval of a share, at `z` standard errors.
pub fn wilson(hits: u64, trials: u64, z: f64) -> (f64, f64) {
    if trials == 0 {
        return (0.0, 1.0);
    }
    let n = trials as f64;
    let share = hits as f64 / n;
    let scale = 1.0 + z * z / n;
    let centre = share + z * z / (2.0 * n);
    let spread = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    (((centre - spread) / scale).max(0.0), ((centre + spread) / scale).min(1.0))
}

/// A share for people. A small one gets more digits.
pub fn percent(share: f64) -> String {
    digits(share * 100.0, f64::round)
}

/// A bound for people: never rounded down.
pub fn percent_up(bound: f64) -> String {
    digits(bound * 100.0, |scaled| (scaled - 1e-9).ceil())
}

fn digits(percent: f64, round: fn(f64) -> f64) -> String {
    let places = match percent {
        0.0 | 100.0 => 0,
        ..0.1 => 3,
        ..10.0 => 2,
        _ => 1,
    };
    let scale = 10f64.powi(places);
    format!("{:.*} %", places as usize, round(percent * scale) / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survival_is_a_power() {
        assert_eq!(survival(1, 5), 1.0);
        assert_eq!(survival(2, 2), 0.5);
        assert!((survival(3, 5) - 1.0 / 81.0).abs() < 1e-12);
    }

    #[test]
    fn wilson_agrees_with_tables() {
        // Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20.
        for (hits, trials, low, high) in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)] {
            let (l, h) = wilson(hits, trials, Z_SHOWN);
            assert!((l - low).abs() < 1e-3 && (h - high).abs() < 1e-3, "{hits}/{trials}: {l} {h}");
        }
    }

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
    fn bounds_are_rounded_up() {
        assert_eq!(percent_up(upper_bound(9)), "28.4 %");
        assert_eq!(percent_up(upper_bound(2700)), "0.12 %");
        assert_eq!(percent_up(0.05), "5.00 %");
        assert_eq!(percent(0.283_4), "28.3 %");
        assert_eq!(percent_up(0.000_011), "0.002 %");
        assert_eq!((percent(0.0), percent_up(1.0)), ("0 %".to_owned(), "100 %".to_owned()));
    }

    #[test]
    fn predictions_hold_or_break() {
        for (prediction, expected) in [
            (Prediction::never("x", 0, 1000, None), Verdict::Held),
            (Prediction::never("x", 1, 1000, None), Verdict::Broken),
            (Prediction::never("x", 1, 5, None), Verdict::Broken),
            (Prediction::never("x", 0, 5, None), Verdict::TooFew),
            (Prediction::never("x", 0, 5, None).or_untested(), Verdict::Untested),
            (Prediction::never("x", 1, 5, None).or_untested(), Verdict::Broken),
            (Prediction::share("x", 33, 100, 1.0 / 3.0), Verdict::Held),
            (Prediction::share("x", 48, 100, 1.0 / 3.0), Verdict::Held),
            (Prediction::share("x", 60, 100, 1.0 / 3.0), Verdict::Broken),
            (Prediction::share("x", 12, 100, 1.0 / 3.0), Verdict::Broken),
            (Prediction::share("x", 5, 8, 1.0 / 3.0), Verdict::Untested),
            (Prediction::share("x", 99, 100, 1.0), Verdict::Broken),
            (Prediction::share("x", 100, 100, 1.0), Verdict::Held),
            (Prediction::share("x", 10, 10, 1.0), Verdict::Untested),
            (Prediction::share("x", 9, 10, 1.0), Verdict::Broken),
            (Prediction::at_most("x", 1.005, 1.01, (900, 20)), Verdict::Held),
            (Prediction::at_most("x", 1.02, 1.01, (900, 20)), Verdict::Broken),
            (Prediction::at_most("x", 1.02, 1.01, (19, 20)), Verdict::Untested),
        ] {
            assert_eq!(prediction.verdict, expected, "{prediction:?}");
        }
        assert_eq!(Prediction::never("x", 0, 3000, None).measured, "0 of 3000 (below 0.100 %)");
        let broken = Prediction::at_most("x", 2.0, 1.0, (20, 20));
        let notes = |count| (0..count).map(|n| Fact::Note(format!("{n}")));
        assert_eq!(broken.shown_by(notes(9)).counterexample.len(), 4);
        let held = Prediction::at_most("x", 1.0, 1.0, (20, 20));
        assert!(held.shown_by(notes(2)).counterexample.is_empty());
    }

    #[test]
    fn false_alarms_are_as_rare_as_the_level_says() {
        // The probability of all outcomes that break a prediction.
        for (trials, p) in [(80, 1.0 / 3.0), (500, 2.0 / 3.0), (2000, 0.5)] {
            let mass = |hits| tails(hits, trials, p).0 - if hits == 0 { 0.0 } else { tails(hits - 1, trials, p).0 };
            let breaks = |hits: &u64| Prediction::share("x", *hits, trials, p).verdict == Verdict::Broken;
            let alarm: f64 = (0..=trials).filter(breaks).map(mass).sum();
            assert!(alarm <= RUN_LEVEL / f64::from(SAMPLED_MAX) && alarm > 0.0, "{trials} {p}: {alarm}");
        }
    }
}
