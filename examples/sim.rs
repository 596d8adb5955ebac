//! Long runs of the simulator in `tests/sim`: `cargo run --release --example sim -- --seeds 1000000`.
//!
//! `--seed S` is the first seed. With `--words` the events of each failing seed are printed. `--hashes` prints the hash
//! of each trace, so that two processes can be compared. `--ignore KIND` does not look at violations of one kind.

#[path = "../tests/sim/mod.rs"]
mod sim;

fn main() -> std::process::ExitCode {
    sim::command::main(std::env::args().skip(1).collect())
}
