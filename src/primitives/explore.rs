//! Runs a model under many schedules, the same ones each time.

use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

/// Runs `model` under schedules at random: each step by anyone, and then with few switches at
/// places that are hard to meet.
pub(crate) fn explore(schedules: usize, model: impl Fn() + Clone + Send + Sync + 'static) {
    run(RandomScheduler::new_from_seed(SEED, schedules), model.clone());
    run(PctScheduler::new_from_seed(SEED, DEPTH, schedules), model);
}

/// Runs a small model under every schedule there is.
pub(crate) fn explore_fully(model: impl Fn() + Send + Sync + 'static) {
    run(DfsScheduler::new(None, false), model);
}

fn run(scheduler: impl Scheduler + 'static, model: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    // A chain is verified on it, in a build without optimisation.
    config.stack_size = 1024 * 1024;
    // About orderings, all of which count as sequentially consistent. What is not here is no matter
    // of correctness.
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(model);
}

const SEED: u64 = 20_260_101;
/// How many switches a schedule of few has.
const DEPTH: usize = 3;
