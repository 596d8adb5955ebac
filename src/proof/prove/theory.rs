//! What theory predicts, and whether a measurement agrees. Pure.
//!
//! Most predictions say that something never happens; one case breaks them. That nothing happened in n independent
//! trials bounds its probability by 1 - 0.05^(1/n) (95 %; about 3/n, the rule of three), which is rounded up. A share
//! that follows from a rotation is met exactly. The few others have a sampling error: see [`level`](super::level).

use serde::Serialize;

use super::level::Chance;

use crate::trial::judge::Fact;

/// Standard errors of a 95 % interval.
const Z_SHOWN: f64 = 1.96;
/// With fewer trials it is not said that something never happens.
pub const TRIALS_MIN: u64 = 20;

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
    /// What chance may make of it, if it has a sampling error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chance: Option<Chance>,
    /// At most four facts that show why it was broken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub counterexample: Vec<Fact>,
    /// Whether a machine that is too slow could break it as well: there is a deadline in it.
    #[serde(skip)]
    pub is_timed: bool,
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
            chance: None,
            counterexample: counterexample.unwrap_or_default().to_vec(),
            is_timed: false,
        }
    }

    /// A share that theory knows, of trials that are independent of each other.
    pub fn share(what: &str, hits: u64, trials: u64, predicted: f64) -> Self {
        if predicted == 0.0 || predicted == 1.0 {
            return Self::exactly(what, hits, trials, predicted);
        }
        Self::by_chance(what, (hits, trials), predicted, Chance::of_binomial(hits, trials, predicted))
    }

    /// A share that theory knows, of trials that are spread in another way.
    pub(super) fn by_chance(what: &str, (hits, trials): (u64, u64), predicted: f64, chance: Chance) -> Self {
        let prediction = Self::exactly(what, hits, trials, predicted);
        Self { verdict: chance.verdict_alone(), chance: Some(chance), ..prediction }
    }

    /// A share without a sampling error: all, nothing, or that of a rotation. Where the last round of it is not
    /// complete, less than one trial may be missing.
    pub fn exactly(what: &str, hits: u64, trials: u64, predicted: f64) -> Self {
        let interval = wilson(hits, trials, Z_SHOWN);
        let verdict = match trials {
            _ if (hits as f64 - predicted * trials as f64).abs() > 1.0 - 1e-6 => Verdict::Broken,
            ..TRIALS_MIN => Verdict::TooFew,
            _ => Verdict::Held,
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
            chance: None,
            counterexample: Vec::new(),
            is_timed: false,
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
            chance: None,
            counterexample: Vec::new(),
            is_timed: false,
        }
    }

    /// The same, about the apparatus.
    pub fn of_apparatus(self) -> Self {
        Self { subject: Subject::Apparatus, ..self }
    }

    /// The same; what it says is not tested if there were too few trials, and that is no reason to say nothing.
    pub fn or_untested(self) -> Self {
        let verdict = if self.verdict == Verdict::TooFew { Verdict::Untested } else { self.verdict };
        Self { verdict, chance: self.chance.map(Chance::or_untested), ..self }
    }

    /// The same, not tested if the machine is too busy to say anything about time.
    pub fn unless_busy(self, is_busy: bool) -> Self {
        if !is_busy {
            return self;
        }
        let measured = format!("{} (the machine is too busy)", self.measured);
        Self { verdict: Verdict::Untested, chance: None, measured, counterexample: Vec::new(), ..self }
    }

    /// The same; a machine that is too slow could break it as well.
    pub fn by_the_clock(self) -> Self {
        Self { is_timed: true, ..self }
    }

    /// The same, if that is how it was broken.
    pub fn by_the_clock_if(self, is_late: bool) -> Self {
        if is_late { self.by_the_clock() } else { self }
    }

    /// The same; without enough trials nothing can be concluded.
    pub fn or_too_few(self) -> Self {
        let verdict = if self.verdict == Verdict::Untested { Verdict::TooFew } else { self.verdict };
        Self { verdict, ..self }
    }

    /// The same with what shows it, if it is broken.
    pub fn shown_by(self, facts: impl IntoIterator<Item = Fact>) -> Self {
        let is_broken = self.verdict == Verdict::Broken;
        let counterexample = facts.into_iter().take(crate::trial::judge::FACTS_MAX).filter(|_| is_broken).collect();
        Self { counterexample, ..self }
    }

    /// Judges it at the level of the whole run, if it has a sampling error.
    pub(super) fn judge_at(&mut self, level: f64) {
        let Some(chance) = self.chance else { return };
        self.verdict = chance.verdict(level);
        if self.verdict != Verdict::Broken {
            self.counterexample.clear();
        }
    }
}

/// A figure with three digits behind the point at most.
fn rounded(figure: f64) -> String {
    short(figure, 3)
}

/// A figure with so many digits behind the point at most: a whole number has none.
pub fn short(figure: f64, places: usize) -> String {
    let text = format!("{figure:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// The 95 % upper bound of the probability of something that did not happen in so many trials.
pub fn upper_bound(trials: u64) -> f64 {
    1.0 - 0.05f64.powf(1.0 / trials.max(1) as f64)
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
    use fastrand::Rng;

    use super::*;

    /// Users who pause at random and ask, each time the next replica, as round-robin has it: of steps behind the login
    /// how many there are, how many are not where the login was, and how many where the step before was; and of
    /// journeys of so many steps the share that stays with one replica.
    fn by_turns(replicas: usize, users: usize, steps: usize, rng: &mut Rng) -> ([u64; 3], f64) {
        let mut pauses: Vec<(f64, usize)> = Vec::new();
        for user in 0..users {
            let mut at = 0.0;
            for _ in 0..steps {
                at -= (1.0 - rng.f64()).ln();
                pauses.push((at, user));
            }
        }
        pauses.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut of_user = vec![Vec::new(); users];
        pauses.iter().enumerate().for_each(|(turn, (_, user))| of_user[*user].push(turn % replicas));
        let elsewhere = of_user.iter().flat_map(|all| all[1..].iter().map(move |at| at != &all[0]));
        let same = of_user.iter().flat_map(|all| all.windows(2).map(|pair| pair[0] == pair[1]));
        let count = |all: &mut dyn Iterator<Item = bool>| all.filter(|is_it| *is_it).count() as u64;
        let whole = of_user.iter().filter(|all| all.iter().all(|at| *at == all[0])).count();
        let trials = (users * (steps - 1)) as u64;
        ([trials, count(&mut { elsewhere }), count(&mut { same })], whole as f64 / users as f64)
    }

    #[test]
    fn steps_of_many_users_meet_replicas_as_if_each_drew_one() {
        let mut rng = Rng::with_seed(4);
        for (replicas, steps) in [(2, 4), (3, 3), (3, 5), (5, 2)] {
            let ([trials, elsewhere, same], whole) = by_turns(replicas, 20_000, steps, &mut rng);
            let k = replicas as f64;
            for (hits, expected) in [(elsewhere, 1.0 - 1.0 / k), (same, 1.0 / k)] {
                let share = hits as f64 / trials as f64;
                assert!((share - expected).abs() < 0.012, "{replicas} {steps}: {share} {expected}");
            }
            assert!((whole - survival(replicas, steps as u32)).abs() < 0.015, "{replicas} {steps}: {whole}");
        }
        // And their sampling error is not larger than that of lots: 400 honest runs break nothing.
        for _ in 0..400 {
            let ([trials, elsewhere, same], _) = by_turns(3, 100, 8, &mut rng);
            for (hits, expected) in [(elsewhere, 2.0 / 3.0), (same, 1.0 / 3.0)] {
                let prediction = Prediction::share("x", hits, trials, expected);
                let tail = prediction.chance.unwrap().tail;
                assert!(tail > 0.000_05, "{hits} of {trials}: {tail}");
            }
        }
    }

    #[test]
    fn sticky_users_lose_the_share_of_the_replicas_that_go() {
        let mut rng = Rng::with_seed(5);
        for (replicas, gone) in [(3, 1), (3, 2), (6, 4), (4, 4)] {
            let mut dead: Vec<usize> = (0..replicas).collect();
            rng.shuffle(&mut dead);
            let lost = (0..60_000).filter(|_| dead[..gone].contains(&rng.usize(..replicas))).count();
            let share = lost as f64 / 60_000.0;
            assert!((share - gone as f64 / replicas as f64).abs() < 0.01, "{replicas} {gone}: {share}");
        }
    }

    #[test]
    fn what_is_drawn_varies_as_theory_says_and_stays_within_its_bound() {
        let mut rng = Rng::with_seed(6);
        for (replicas, requests) in [(3, 300), (10, 50)] {
            let squared = |rng: &mut Rng| {
                let mut counts = vec![0.0; replicas];
                (0..requests).for_each(|_| counts[rng.usize(..replicas)] += 1.0);
                let mean = requests as f64 / replicas as f64;
                counts.iter().map(|count| (count / mean - 1.0).powi(2)).sum::<f64>() / replicas as f64
            };
            let mean = (0..4000).map(|_| squared(&mut rng)).sum::<f64>() / 4000.0;
            let factor = mean.sqrt() / random_variation(replicas, requests);
            assert!((factor - 1.0).abs() < 0.03, "{replicas} {requests}: {factor}");
        }
        for trials in [9, 60, 400] {
            // As often as that happens, nothing happens in so many trials in 5 % of all runs.
            let p = upper_bound(trials);
            let quiet = (0..20_000).filter(|_| (0..trials).all(|_| rng.f64() >= p)).count();
            assert!((quiet as f64 / 20_000.0 - 0.05).abs() < 0.006, "{trials}: {quiet}");
        }
    }

    #[test]
    fn survival_is_a_power() {
        assert_eq!(survival(1, 5), 1.0);
        assert_eq!(survival(2, 2), 0.5);
        assert!((survival(3, 5) - 1.0 / 81.0).abs() < 1e-12);
    }

    #[test]
    fn requests_by_lot_spread_as_the_formula_says() {
        let mut rng = fastrand::Rng::with_seed(3);
        for (replicas, requests) in [(3, 2000), (20, 500), (2, 100)] {
            let squares = (0..2000).map(|_| {
                let mut counts = vec![0.0f64; replicas];
                (0..requests).for_each(|_| counts[rng.usize(..replicas)] += 1.0);
                let mean = requests as f64 / replicas as f64;
                counts.iter().map(|count| (count / mean - 1.0).powi(2)).sum::<f64>() / replicas as f64
            });
            let simulated = (squares.sum::<f64>() / 2000.0).sqrt();
            let formula = random_variation(replicas, requests);
            assert!((simulated / formula - 1.0).abs() < 0.1, "{replicas} {requests}: {simulated} {formula}");
        }
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
    fn bounds_are_rounded_up() {
        assert_eq!(percent_up(upper_bound(9)), "28.4 %");
        assert_eq!(percent_up(upper_bound(2700)), "0.12 %");
        assert_eq!(percent_up(0.05), "5.00 %");
        assert_eq!(percent(0.283_4), "28.3 %");
        assert_eq!(percent_up(0.000_011), "0.002 %");
        assert_eq!((percent(0.0), percent_up(1.0)), ("0 %".to_owned(), "100 %".to_owned()));
    }

    #[test]
    fn whole_numbers_are_printed_as_such() {
        let all = [(30.0, 1), (29.96, 1), (0.04, 1), (18.44, 1), (100.0, 0), (1.7045, 2), (f64::INFINITY, 1)];
        let texts = all.map(|(figure, places)| short(figure, places));
        assert_eq!(texts, ["30", "30", "0", "18.4", "100", "1.7", "inf"]);
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
            (Prediction::share("x", 45, 100, 1.0 / 3.0), Verdict::Held),
            (Prediction::share("x", 60, 100, 1.0 / 3.0), Verdict::Broken),
            (Prediction::share("x", 12, 100, 1.0 / 3.0), Verdict::Broken),
            (Prediction::share("x", 5, 8, 1.0 / 3.0), Verdict::TooFew),
            (Prediction::share("x", 5, 8, 1.0 / 3.0).or_untested(), Verdict::Untested),
            (Prediction::share("x", 60, 100, 1.0 / 3.0).or_untested(), Verdict::Broken),
            (Prediction::exactly("x", 33, 99, 1.0 / 3.0), Verdict::Held),
            (Prediction::exactly("x", 34, 99, 1.0 / 3.0), Verdict::Broken),
            (Prediction::exactly("x", 32, 99, 1.0 / 3.0), Verdict::Broken),
            (Prediction::exactly("x", 33, 100, 1.0 / 3.0), Verdict::Held),
            (Prediction::exactly("x", 34, 100, 1.0 / 3.0), Verdict::Held),
            (Prediction::exactly("x", 35, 100, 1.0 / 3.0), Verdict::Broken),
            (Prediction::exactly("x", 5, 15, 1.0 / 3.0), Verdict::TooFew),
            (Prediction::share("x", 99, 100, 1.0), Verdict::Broken),
            (Prediction::share("x", 100, 100, 1.0), Verdict::Held),
            (Prediction::share("x", 10, 10, 1.0), Verdict::TooFew),
            (Prediction::share("x", 0, 0, 1.0), Verdict::TooFew),
            (Prediction::share("x", 10, 10, 1.0).or_untested(), Verdict::Untested),
            (Prediction::share("x", 9, 10, 1.0), Verdict::Broken),
            (Prediction::at_most("x", 1.005, 1.01, (900, 20)), Verdict::Held),
            (Prediction::at_most("x", 1.02, 1.01, (900, 20)), Verdict::Broken),
            (Prediction::at_most("x", 1.02, 1.01, (19, 20)), Verdict::Untested),
            (Prediction::at_most("x", 1.02, 1.01, (19, 20)).or_too_few(), Verdict::TooFew),
            (Prediction::at_most("x", 1.02, 1.01, (20, 20)).or_too_few(), Verdict::Broken),
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
}
