//! Many runs, on as many threads as there are processors; the first violation ends all.

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::check::Tally;
use crate::run::{self, Outcome};

/// Pause between two lines about the progress.
const PROGRESS: Duration = Duration::from_secs(10);

/// What many runs found.
#[derive(Debug, Default)]
pub struct Campaign {
    /// Runs that came to their end.
    pub runs: u64,
    /// What they exercised.
    pub tally: Tally,
    /// Their virtual time.
    pub virtual_ns: u64,
    /// The run with the lowest seed among those that found a violation.
    pub failed: Option<(u64, Outcome)>,
}

/// Runs these seeds with mixed faults; progress goes to standard error.
#[must_use]
pub fn run(seed: u64, runs: u64, nodes: u16, threads: usize) -> Campaign {
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let found = Mutex::new(Campaign::default());
    let lock = || found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let began = Instant::now();
    let told = Mutex::new(began);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    if place >= runs {
                        return;
                    }
                    let current = seed.saturating_add(place);
                    let outcome = run::mixed(current, nodes);
                    let mut campaign = lock();
                    campaign.runs += 1;
                    campaign.virtual_ns += outcome.virtual_ns;
                    campaign.tally += outcome.tally;
                    if !outcome.violations.is_empty() {
                        stop.store(true, Ordering::Relaxed);
                        let earlier = campaign.failed.as_ref().map_or(u64::MAX, |(seed, _)| *seed);
                        if current < earlier {
                            campaign.failed = Some((current, outcome));
                        }
                    }
                    let done = campaign.runs;
                    drop(campaign);
                    report(&told, began, done, runs);
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn report(told: &Mutex<Instant>, began: Instant, done: u64, runs: u64) {
    let Ok(mut told) = told.try_lock() else { return };
    if told.elapsed() < PROGRESS {
        return;
    }
    *told = Instant::now();
    let spent = began.elapsed().as_secs_f64();
    let left = spent / done as f64 * runs.saturating_sub(done) as f64;
    // Nothing depends on it: who closes standard error wants no progress.
    let _ = writeln!(std::io::stderr(), "{done} of {runs} runs after {spent:.0} s; about {left:.0} s left");
}
