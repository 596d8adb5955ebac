//! From what was played to findings: a pure function. The two runs on one replica say what differs anyway; whatever
//! else differs in the other two depends on the placement.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::mask::{Difference, Mask};
use super::placing::Placing;
use super::{Played, PlayedRun, PlayedStep};
use crate::trial::judge::{FACTS_MAX, Fact, Ratio};

/// What can be said of journeys that were played in several placements.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PairFindings {
    /// Journeys that were played.
    pub journeys: u64,
    /// Those that differed from themselves on one replica in the status of a response, or failed there.
    pub unsteady: Ratio,
    /// Responses on one replica, and those whose body was another one when the same journey was played there again.
    /// What differs by itself is not compared, so it can hide what depends on the placement.
    pub noisy: Ratio,
    /// Runs on several replicas, and those of which a response differed from that on one replica.
    pub runs: Ratio,
    /// Responses of such runs that followed a step on another replica, and those that were the first to differ.
    pub crossings: Ratio,
    /// Transitions from one replica to the next, with what was done on both: seen, and possible.
    pub transitions: (u64, u64),
}

/// One journey that can be judged: the run on one replica, and how many of its steps can be compared.
struct Baseline<'a> {
    run: &'a PlayedRun,
    masks: Vec<Mask>,
}

/// The first response that differs from that on one replica.
struct Found<'a> {
    step: usize,
    run: &'a PlayedRun,
    base: &'a PlayedStep,
    difference: Difference,
}

/// Judges journeys.
pub fn judge(played: &[Played]) -> PairFindings {
    let mut findings = PairFindings { transitions: transitions(played), ..PairFindings::default() };
    let noise = noise(played);
    let mut smallest: Option<Vec<Fact>> = None;
    for journey in played {
        let baseline = Baseline::of(journey, &noise);
        let found: Vec<(&PlayedRun, Option<Found<'_>>)> =
            crossing(journey).map(|run| (run, baseline.find(run))).collect();
        let differing = found.iter().filter_map(|(_, found)| found.as_ref());
        let facts = differing.map(|found| found.facts(&journey.actions)).min_by_key(Vec::len);
        if journey.is_part {
            smallest = [smallest, facts].into_iter().flatten().min_by_key(Vec::len);
            continue;
        }
        findings.journeys += 1;
        findings.unsteady.trials += 1;
        if let Some(facts) = baseline.unsteady(journey) {
            findings.unsteady.hits.add(facts);
        }
        findings.add_noise(journey);
        for (run, found) in found {
            findings.add(run, baseline.masks.len(), found.map(|found| (found.step, found.facts(&journey.actions))));
        }
    }
    // The smallest part that differs is the best example.
    for tally in [&mut findings.runs.hits, &mut findings.crossings.hits] {
        if let (Some(facts), 1..) = (&smallest, tally.count) {
            tally.examples.insert(0, facts.clone());
        }
    }
    findings
}

/// Whether some response depends on the placement.
pub fn differs(journey: &Played) -> Option<(Placing, usize)> {
    let noise = noise(std::slice::from_ref(journey));
    let baseline = Baseline::of(journey, &noise);
    let first = crossing(journey).find_map(|run| baseline.find(run));
    first.map(|found| (found.run.placing, found.step))
}

impl PairFindings {
    fn add_noise(&mut self, journey: &Played) {
        for (step, mask) in own_masks(journey).iter().enumerate() {
            self.noisy.trials += 1;
            if mask.has_body() {
                let action = &journey.actions[step];
                self.noisy
                    .hits
                    .add([Fact::Note(format!("step {step} {action}, twice on one replica: not the same body"))]);
            }
        }
    }

    fn add(&mut self, run: &PlayedRun, comparable: usize, found: Option<(usize, Vec<Fact>)>) {
        self.runs.trials += u64::from(comparable > 0);
        let compared = found.as_ref().map_or(comparable, |(step, _)| step + 1);
        let moves = run.steps.windows(2).take(compared.saturating_sub(1));
        self.crossings.trials += moves.filter(|pair| pair[0].replica != pair[1].replica).count() as u64;
        if let Some((_, facts)) = found {
            self.runs.hits.add(facts.clone());
            self.crossings.hits.add(facts);
        }
    }
}

fn crossing(journey: &Played) -> impl Iterator<Item = &PlayedRun> {
    journey.runs.iter().filter(|run| run.placing.crosses())
}

fn run_of(journey: &Played, placing: Placing) -> Option<&PlayedRun> {
    journey.runs.iter().find(|run| run.placing == placing)
}

/// What differs between the two runs on one replica, by what the step does: noise of one journey is noise of all.
fn noise(played: &[Played]) -> BTreeMap<&str, Mask> {
    let mut noise: BTreeMap<&str, Mask> = BTreeMap::new();
    for journey in played {
        let masks = own_masks(journey);
        for (action, mask) in journey.actions.iter().zip(&masks) {
            noise.entry(action).or_default().add(mask);
        }
    }
    noise
}

/// What differs in this journey, up to the first step that did not have the same status twice.
fn own_masks(journey: &Played) -> Vec<Mask> {
    let (Some(one), Some(again)) = (run_of(journey, Placing::Alone), run_of(journey, Placing::Again)) else {
        return Vec::new();
    };
    let pairs = one.steps.iter().zip(&again.steps);
    pairs.map_while(|(one, again)| Mask::between(&one.outcome, &again.outcome)).collect()
}

impl<'a> Baseline<'a> {
    fn of(journey: &'a Played, noise: &BTreeMap<&str, Mask>) -> Self {
        const NOTHING: &PlayedRun = &PlayedRun { placing: Placing::Alone, steps: Vec::new() };
        let mut masks = own_masks(journey);
        for (mask, action) in masks.iter_mut().zip(&journey.actions) {
            if let Some(known) = noise.get(action.as_str()) {
                mask.add(known);
            }
        }
        Self { run: run_of(journey, Placing::Alone).unwrap_or(NOTHING), masks }
    }

    /// The first step that differs in a run on several replicas. What follows may be its consequence.
    fn find(&self, run: &'a PlayedRun) -> Option<Found<'a>> {
        for (step, (mask, base)) in self.masks.iter().zip(&self.run.steps).enumerate() {
            let difference = match run.steps.get(step) {
                Some(other) => mask.difference(&base.outcome, &other.outcome),
                // The request lacked a value: the step before brought it only on one replica.
                None => return None,
            };
            if let Some(difference) = difference {
                return Some(Found { step, run, base, difference });
            }
        }
        None
    }

    /// The facts if the journey differs from itself on one replica, or is not complete there.
    fn unsteady(&self, journey: &Played) -> Option<Vec<Fact>> {
        let step = self.masks.len();
        if step == journey.actions.len() {
            return None;
        }
        let again = run_of(journey, Placing::Again);
        let status = |run: Option<&PlayedRun>| {
            run.and_then(|run| run.steps.get(step)).map_or("not sent".to_owned(), |step| step.outcome.status())
        };
        let action = &journey.actions[step];
        Some(vec![Fact::Note(format!(
            "{action} on one replica: {}, and again: {}",
            status(Some(self.run)),
            status(again)
        ))])
    }
}

impl Found<'_> {
    /// At most four facts: the steps up to the one that differs, or the last of them.
    fn facts(&self, actions: &[String]) -> Vec<Fact> {
        let first = (self.step + 1).saturating_sub(FACTS_MAX);
        let line = |step: usize| {
            let PlayedStep { replica, sent, outcome, .. } = &self.run.steps[step];
            let action = actions.get(step).map_or("", String::as_str);
            let at = sent.as_secs_f64();
            let line = format!("{at:8.3} s  step {step} {action}: {replica} responds, {}", outcome.status());
            if step < self.step {
                return Fact::Note(line);
            }
            let Difference { at, one, other } = &self.difference;
            Fact::Note(format!("{line}; {at}: {other}, but {one} if all steps are at {}", self.base.replica))
        };
        (first..=self.step).map(line).collect()
    }
}

/// Transitions that were seen, and how many there could be: each pair of things that were done one after the other in
/// some journey, on each pair of replicas.
fn transitions(played: &[Played]) -> (u64, u64) {
    let (mut seen, mut pairs, mut replicas) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for journey in played.iter().filter(|journey| !journey.is_part) {
        pairs.extend(journey.actions.windows(2).map(|pair| (&pair[0], &pair[1])));
        for run in &journey.runs {
            replicas.extend(run.steps.iter().map(|step| &step.replica));
            for (steps, actions) in run.steps.windows(2).zip(journey.actions.windows(2)) {
                seen.insert((&steps[0].replica, &steps[1].replica, &actions[0], &actions[1]));
            }
        }
    }
    (seen.len() as u64, (pairs.len() * replicas.len() * replicas.len()) as u64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::mask::Outcome;
    use super::super::placing::PLACINGS;
    use super::*;

    /// A response: its status, and its body.
    type Said = (u16, &'static str);

    fn run(placing: Placing, places: &[&str], said: &[Said]) -> PlayedRun {
        let step = |(replica, (status, body)): (&&str, &Said)| PlayedStep {
            replica: (*replica).into(),
            sent: Duration::ZERO,
            ended: Duration::ZERO,
            outcome: match status {
                0 => Outcome::Failed((*body).into()),
                status => Outcome::Response { status: *status, fields: BTreeMap::new(), body: (*body).into() },
            },
        };
        PlayedRun { placing, steps: places.iter().zip(said).map(step).collect() }
    }

    /// Three steps in all placements: what each run was told.
    fn journey(said: [[Said; 3]; 4]) -> Played {
        let places = [["a", "a", "a"], ["a", "a", "a"], ["a", "b", "a"], ["b", "a", "b"]];
        let runs = PLACINGS.into_iter().zip(places).zip(said);
        let runs = runs.map(|((placing, places), said)| run(placing, &places, &said)).collect();
        Played { actions: ["logs in", "writes", "reads"].map(String::from).to_vec(), runs, is_part: false }
    }

    const GOOD: [Said; 3] = [(204, ""), (204, ""), (200, "[1]")];

    fn notes(facts: &[Fact]) -> Vec<&str> {
        let mut notes = Vec::new();
        for fact in facts {
            let Fact::Note(note) = fact else { panic!("{fact:?}") };
            notes.push(note.as_str());
        }
        notes
    }

    #[test]
    fn journeys_that_agree_are_clean() {
        let timed = |body| [(204, ""), (204, ""), (200, body)];
        let noisy = [timed("[1] 3 ms"), timed("[1] 4 ms"), timed("[1] 5 ms"), timed("[1] 1.5 ms")];
        for (said, noise) in [([GOOD; 4], 0), (noisy, 1)] {
            let findings = judge(&[journey(said)]);
            assert_eq!((findings.noisy.trials, findings.noisy.hits.count), (3, noise));
            assert_eq!((findings.journeys, findings.unsteady.hits.count), (1, 0));
            assert_eq!((findings.runs.trials, findings.runs.hits.count), (2, 0));
            assert_eq!((findings.crossings.trials, findings.crossings.hits.count), (4, 0));
        }
    }

    #[test]
    fn journeys_that_depend_on_the_placement_are_found_at_their_first_difference() {
        for (bad, place, crossings) in [
            ([(204, ""), (204, ""), (200, "[]")], "reads: b responds, 200; body: [], but [1] if", 4),
            ([(204, ""), (401, ""), (401, "")], "writes: a responds, 401; status: 401, but 204", 3),
            ([(204, ""), (204, ""), (0, "closed")], "reads: b responds, failed (closed); status: failed (closed)", 4),
        ] {
            let findings = judge(&[journey([GOOD, GOOD, GOOD, bad])]);
            assert_eq!((findings.runs.trials, findings.runs.hits.count), (2, 1), "{bad:?}");
            assert_eq!((findings.crossings.trials, findings.crossings.hits.count), (crossings, 1), "{bad:?}");
            let example = findings.crossings.hits.example().unwrap();
            let shown = notes(example);
            assert!(shown.last().unwrap().contains(place), "{shown:?}");
            assert!(shown.last().unwrap().ends_with("if all steps are at a"), "{shown:?}");
        }
    }

    #[test]
    fn noise_of_one_journey_is_noise_of_all() {
        let with = |time: &'static str| [(204, ""), (204, ""), (200, time)];
        let (one, two, three) = (r#"{"all":[1],"at":1}"#, r#"{"all":[1],"at":2}"#, r#"{"all":[],"at":1}"#);
        // By chance both runs on one replica were in the same second.
        let lucky = journey([with(one), with(one), with(two), with(two)]);
        assert_eq!(judge(std::slice::from_ref(&lucky)).crossings.hits.count, 2);
        let noisy = journey([with(one), with(two), with(one), with(two)]);
        assert_eq!(judge(&[lucky.clone(), noisy.clone()]).crossings.hits.count, 0);
        let wrong = journey([with(one), with(one), with(three), with(one)]);
        assert_eq!(judge(&[lucky, noisy, wrong]).crossings.hits.count, 1);
    }

    #[test]
    fn a_journey_that_differs_from_itself_accuses_nobody() {
        let bad = [(204, ""), (500, ""), (200, "[]")];
        let findings = judge(&[journey([GOOD, bad, bad, bad])]);
        assert_eq!((findings.unsteady.trials, findings.unsteady.hits.count), (1, 1));
        assert_eq!(notes(findings.unsteady.hits.example().unwrap()), ["writes on one replica: 204, and again: 500"]);
        assert_eq!(findings.crossings.hits.count, 0);
        assert_eq!(findings.crossings.trials, 0, "only the login could be compared, and it followed nothing");
        let mut cut = journey([GOOD; 4]);
        cut.runs[0].steps.pop();
        assert_eq!(judge(&[cut]).unsteady.hits.count, 1, "a step that was not sent");
        assert_eq!(judge(&[]), PairFindings::default());
    }

    #[test]
    fn the_smallest_part_that_differs_is_shown_and_not_counted() {
        let bad = [(204, ""), (204, ""), (200, "[]")];
        let whole = journey([GOOD, GOOD, bad, bad]);
        let mut part = journey([GOOD, GOOD, GOOD, bad]);
        part.is_part = true;
        part.actions.remove(1);
        part.runs.iter_mut().for_each(|run| drop(run.steps.remove(1)));
        let findings = judge(&[whole, part]);
        assert_eq!((findings.journeys, findings.runs.hits.count), (1, 2));
        assert_eq!(findings.runs.hits.example().unwrap().len(), 2);
        assert!(findings.runs.hits.examples[1].len() == 3);
    }

    #[test]
    fn transitions_are_counted() {
        // Two pairs of actions on two replicas: eight; a -> a, a -> b, b -> a are seen for both.
        assert_eq!(judge(&[journey([GOOD; 4])]).transitions, (6, 8));
    }

    #[test]
    fn what_differs_is_told_for_the_search_of_a_smaller_part() {
        let bad = [(204, ""), (401, ""), (401, "")];
        assert_eq!(differs(&journey([GOOD; 4])), None);
        assert_eq!(differs(&journey([GOOD, GOOD, bad, bad])), Some((Placing::InTurn, 1)));
        assert_eq!(differs(&journey([GOOD, GOOD, GOOD, bad])), Some((Placing::Adversarial, 1)));
    }
}
