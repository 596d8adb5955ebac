//! A deterministic simulator of the data path.
//!
//! The proxy's own code (one worker, h2) runs over simulated sockets (`wire`) with paused time, between scripted
//! clients and replicas. A seed makes a scenario (`generate`), and the dice of that seed make the moments. `judge` has
//! the rules that hold for every run. A seed that breaks one is made smaller (`shrink`) and printed as a script that
//! `examples/sim.rs` runs again.

#![allow(dead_code, reason = "tests and `examples/sim.rs` use other parts of it")]

pub(crate) mod command;
mod dice;
mod generate;
mod h1_client;
mod h1_replica;
mod h2;
mod h2_client;
mod h2_replica;
mod hpack;
mod http1;
mod judge;
mod net;
mod record;
mod run;
mod scenario;
mod shrink;
mod tunnel;
mod wire;
mod world;

/// Where the hashes of a second process are written to.
#[cfg(test)]
const HASHES: &str = "UNSTICK_SIM_HASHES";

/// Scenarios that found a fault of the proxy. They are kept as scripts, since another generator makes other scenarios
/// of the same seeds.
#[test]
fn scenarios_that_found_faults_find_none_any_more() {
    let scripts = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sim/found")).unwrap();
    let scripts: Vec<_> = scripts.map(|entry| entry.unwrap().path()).collect();
    assert!(!scripts.is_empty());
    for script in scripts {
        let scenario = serde_json::from_str(&std::fs::read_to_string(&script).unwrap()).unwrap();
        let found = world::run(&scenario, false).violations;
        assert!(found.is_empty(), "{}: {}", script.display(), found[0].what);
    }
}

#[test]
fn no_seed_breaks_a_rule_and_each_is_the_same_run_in_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hashes");
    let mut process = std::process::Command::new(std::env::current_exe().unwrap());
    process.args(["--exact", "sim::hashes_for_another_process"]).env(HASHES, &file);
    let process = process.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();

    let seeds = std::env::var("UNSTICK_SIM_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5_000);
    let summary = run::seeds(0, seeds, &judge::NOT_YET, run::Until::AllAreRun);
    let told = summary.failed.first().map(|(seed, violation)| {
        format!("seed {seed}: {}", shrink::told(&shrink::shrink(generate::scenario(*seed), violation.kind)))
    });
    assert!(summary.failed.is_empty(), "{} seeds failed\n{}", summary.failed.len(), told.unwrap_or_default());
    let reached = summary.coverage();
    for kind in run::EXPECTED {
        assert!(summary.coverage.contains_key(kind), "not reached: {kind}\n{reached}");
    }
    tell(&format!("simulated {seeds} seeds, which reached:\n{reached}"));

    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let (here, there) = (hashes(&summary), std::fs::read_to_string(&file).unwrap());
    for (here, there) in here.lines().zip(there.lines()) {
        assert_eq!(here, there, "the first of the seeds that differ");
    }
    assert!(seeds < run::HASHED || here == there, "another process runs other seeds");
}

#[test]
fn hashes_for_another_process() {
    let Some(file) = std::env::var_os(HASHES) else {
        // Only the test above needs them, in a process of its own.
        return assert_ne!(run::one(0).hash, run::one(1).hash);
    };
    let summary = run::seeds(0, run::HASHED, &[], run::Until::AllAreRun);
    std::fs::write(file, hashes(&summary)).unwrap();
}

/// Seeds and the hashes of their traces.
#[cfg(test)]
fn hashes(summary: &run::Summary) -> String {
    summary.hashes.iter().map(|(seed, hash)| format!("{seed} {hash:016x}\n")).collect()
}

/// Prints a text also if the test passes.
#[cfg(test)]
fn tell(text: &str) {
    use std::io::Write as _;
    writeln!(std::io::stderr(), "{text}").unwrap();
}
