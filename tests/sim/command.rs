//! The command line of `examples/sim.rs`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use super::run::Until;
use super::{generate, run, shrink, world};

/// Failing seeds that are told in full.
const TOLD_MAX: usize = 3;

pub(crate) fn main(arguments: Vec<String>) -> ExitCode {
    let value = |name: &str| {
        arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1)).cloned()
    };
    let number = |name: &str, default: u64| value(name).and_then(|text| text.parse().ok()).unwrap_or(default);
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let (first, count) = (number("--seed", 0), number("--seeds", 1));
    let ignored = value("--ignore").unwrap_or_default();
    let ignored: Vec<&str> = ignored.split(',').filter(|kind| !kind.is_empty()).collect();
    if let Some(file) = value("--script") {
        return script(&file, has("--words"));
    }
    if has("--print") {
        let text = |seed| serde_json::to_string(&generate::scenario(seed)).expect("it is plain data");
        (first..first + count).for_each(|seed| println!("{}", text(seed)));
        return ExitCode::SUCCESS;
    }
    if has("--hashes") {
        (first..first + count).for_each(|seed| println!("{seed} {:016x}", run::one(seed).hash));
        return ExitCode::SUCCESS;
    }
    let until = if has("--until-failure") { Until::OneFails } else { Until::AllAreRun };
    let summary = run::seeds(first, count, &ignored, until);
    let only = value("--only");
    if has("--list") {
        summary.failed.iter().for_each(|(seed, found)| println!("{seed} {}: {}", found.kind, found.what));
    }
    println!("{}", summary.coverage());
    let mut kinds = BTreeMap::<&str, (u64, u64)>::new();
    for (seed, violation) in &summary.failed {
        kinds.entry(violation.kind).or_insert((0, *seed)).0 += 1;
    }
    println!(
        "{} seeds in {:.1} s, {} with violations",
        summary.seeds,
        summary.took.as_secs_f64(),
        summary.failed.len()
    );
    for (kind, (count, seed)) in &kinds {
        println!("{count:>8}  {kind}, first with seed {seed}");
    }
    let told = summary.failed.iter().filter(|(_, violation)| only.as_ref().is_none_or(|only| violation.kind == only));
    for (seed, violation) in told.take(if has("--tell") { TOLD_MAX } else { 0 }) {
        println!("\nseed {seed}: {}: {}", violation.kind, violation.what);
        if has("--whole") {
            let scenario = generate::scenario(*seed);
            println!("{}", serde_json::to_string(&scenario).expect("it is plain data"));
            world::run(&scenario, true).words.iter().for_each(|line| println!("{line}"));
            continue;
        }
        let began = tokio::time::Instant::now();
        let smallest = shrink::shrink(generate::scenario(*seed), violation.kind);
        println!("{}\nshrunk in {:.1} s", shrink::told(&smallest), began.elapsed().as_secs_f64());
        if has("--words") {
            world::run(&smallest.scenario, true).words.iter().for_each(|line| println!("{line}"));
        }
    }
    if summary.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the scenario in a file.
fn script(file: &str, wants_words: bool) -> ExitCode {
    let text = std::fs::read_to_string(file).expect("the file is there");
    let scenario = serde_json::from_str(&text).expect("the file is a scenario");
    let outcome = world::run(&scenario, wants_words);
    outcome.words.iter().for_each(|line| println!("{line}"));
    outcome.violations.iter().for_each(|violation| println!("{}: {}", violation.kind, violation.what));
    if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
