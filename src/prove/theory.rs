//! What theory predicts, and whether a measurement agrees. Pure.
//!
//! A share is shown with its 95 % interval (Wilson 1927). It is *rejected* only when the predicted value lies outside
//! the interval of four standard errors (1 in 16,000): a run makes dozens of predictions, and at 95 % every other
//! honest run would fail. That nothing happened in n trials bounds its probability by 3/n (the rule of three, 95 %).

use serde::Serialize;

use crate::trial::history::Step;

/// Standard errors of a 95 % interval.
const Z_SHOWN: f64 = 1.96;
/// Standard errors beyond which a prediction is rejected.
const Z_REJECTED: f64 = 4.0;
/// With fewer trials a prediction is not judged.
const TRIALS_MIN: u64 = 20;

/// How a prediction fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It held.
    Held,
    /// It did not.
    Broken,
    /// There were too few trials.
    TooFew,
}

/// A prediction beside its measurement.
#[derive(Debug, Clone, Serialize)]
pub struct Prediction {
    /// The thing that is predicted.
    pub what: String,
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
    /// Steps that show why it was broken, if single steps can.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub counterexample: Vec<Step>,
}

impl Prediction {
    /// Something that must never happen.
    pub fn never(what: &str, hits: u64, trials: u64, counterexample: Option<&[Step]>) -> Self {
        let interval = (0.0, if hits == 0 { 3.0 / trials.max(1) as f64 } else { wilson(hits, trials, Z_SHOWN).1 });
        let verdict = match (hits, trials) {
            (0, ..TRIALS_MIN) => Verdict::TooFew,
            (0, _) => Verdict::Held,
            _ => Verdict::Broken,
        };
        let bound = if hits == 0 { format!(" (below {})", percent(interval.1)) } else { String::new() };
        Self {
            what: what.to_owned(),
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
        let (low, high) = wilson(hits, trials, Z_REJECTED);
        let is_exact = predicted == 0.0 || predicted == 1.0;
        let agrees =
            if is_exact { hits as f64 == predicted * trials as f64 } else { (low..=high).contains(&predicted) };
        let verdict = match (trials, agrees) {
            (..TRIALS_MIN, _) => Verdict::TooFew,
            (_, true) => Verdict::Held,
            (_, false) => Verdict::Broken,
        };
        let share = hits as f64 / trials.max(1) as f64;
        Self {
            what: what.to_owned(),
            expected: percent(predicted),
            measured: format!(
                "{} ({}-{}, {hits} of {trials})",
                percent(share),
                percent(interval.0),
                percent(interval.1)
            ),
            hits,
            trials,
            predicted,
            interval,
            verdict,
            counterexample: Vec::new(),
        }
    }

    /// A figure with an upper limit; it was made of `trials` requests.
    pub fn at_most(what: &str, figure: f64, limit: f64, trials: u64) -> Self {
        let verdict = match (trials, figure <= limit) {
            (..TRIALS_MIN, _) => Verdict::TooFew,
            (_, true) => Verdict::Held,
            (_, false) => Verdict::Broken,
        };
        Self {
            what: what.to_owned(),
            expected: format!("at most {limit}"),
            measured: format!("{figure:.3}"),
            hits: 0,
            trials,
            predicted: limit,
            interval: (figure, figure),
            verdict,
            counterexample: Vec::new(),
        }
    }
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
    let percent = share * 100.0;
    match percent {
        0.0 | 100.0 => format!("{percent:.0} %"),
        ..0.1 => format!("{percent:.3} %"),
        ..10.0 => format!("{percent:.2} %"),
        _ => format!("{percent:.1} %"),
    }
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
    fn predictions_hold_or_break() {
        for (prediction, expected) in [
            (Prediction::never("x", 0, 1000, None), Verdict::Held),
            (Prediction::never("x", 1, 1000, None), Verdict::Broken),
            (Prediction::never("x", 1, 5, None), Verdict::Broken),
            (Prediction::never("x", 0, 5, None), Verdict::TooFew),
            (Prediction::share("x", 33, 100, 1.0 / 3.0), Verdict::Held),
            (Prediction::share("x", 45, 100, 1.0 / 3.0), Verdict::Held),
            (Prediction::share("x", 60, 100, 1.0 / 3.0), Verdict::Broken),
            (Prediction::share("x", 99, 100, 1.0), Verdict::Broken),
            (Prediction::share("x", 100, 100, 1.0), Verdict::Held),
            (Prediction::share("x", 10, 10, 1.0), Verdict::TooFew),
            (Prediction::at_most("x", 1.005, 1.01, 900), Verdict::Held),
            (Prediction::at_most("x", 1.02, 1.01, 900), Verdict::Broken),
        ] {
            assert_eq!(prediction.verdict, expected, "{prediction:?}");
        }
        assert_eq!(
            Prediction::never("x", 0, 3000, None).measured,
            "0 of 3000 (below 0.100 %)".replace("0.100", "0.10")
        );
    }
}
