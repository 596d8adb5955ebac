//! Runs a closure under many schedules of its threads.
//!
//! In a model all threads are coroutines of one thread of the system (shuttle's), and another one may go on wherever a
//! `stepped` type is used. So whatever can go wrong between two operations is reached, but an order of memory that is
//! weaker than `SeqCst` is not modelled: each operation is seen by all at once.
//!
//! `UNSTICK_MODEL_FACTOR=100` runs a hundred times as many schedules, `UNSTICK_MODEL_SEED` begins elsewhere. A model
//! that fails says which schedule it was; it is the same one in every run with that seed.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};

/// A schedule that takes longer goes in a circle.
const STEPS_MAX: usize = 20_000;
/// How often a schedule of the second kind interrupts the thread that comes first.
const INTERRUPTIONS: usize = 3;

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs a model.
pub(crate) fn is_running() -> bool {
    RUNNING.get()
}

/// A place where another thread of the model may go on.
pub(crate) fn step() {
    if is_running() {
        // Time does not exist in a model. This is the change to another thread and nothing else.
        shuttle::thread::sleep(Duration::ZERO);
    }
}

/// Runs `model` under `schedules` schedules: one half is drawn at each step, the other runs the threads one after the
/// other and interrupts few times, which finds rare orders in longer models.
pub(crate) fn explore(schedules: usize, model: impl Fn() + Send + Sync + 'static) {
    let (half, seed) = (schedules.div_ceil(2) * number("UNSTICK_MODEL_FACTOR", 1), number("UNSTICK_MODEL_SEED", 1));
    let model = Arc::new(model);
    run("drawn", RandomScheduler::new_from_seed(seed as u64, half), Arc::clone(&model));
    run("interrupted", PctScheduler::new_from_seed(seed as u64, INTERRUPTIONS, half), model);
}

/// Runs a small `model` under every schedule that there is. It fails if there are more than `most`.
pub(crate) fn exhaust(most: usize, model: impl Fn() + Send + Sync + 'static) {
    let count = run("next", DfsScheduler::new(Some(most), false), Arc::new(model));
    assert!(count < most, "not all schedules were run");
}

fn run<M: Fn() + Send + Sync + 'static>(kind: &str, scheduler: impl Scheduler + 'static, model: Arc<M>) -> usize {
    let mut config = Config::new();
    config.stack_size = 256 * 1024;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    // The warning that the module's text has.
    config.silence_warnings = true;
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let one = move || {
        // The dice of balancing are this thread's, and the same in every run.
        fastrand::seed(counted.fetch_add(1, Relaxed) as u64);
        model();
    };
    RUNNING.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| Runner::new(scheduler, config).run(one)));
    RUNNING.set(false);
    result.unwrap_or_else(|panic| {
        eprintln!("the {kind} schedule number {} fails", count.load(Relaxed));
        resume_unwind(panic)
    })
}

fn number(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}
