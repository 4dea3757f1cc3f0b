//! Chaos testing: injects random faults into the command, several cases at a time, and checks all guarantees after
//! each case.
//!
//! ```sh
//! cargo run --release -p opencode-run-bench --bin chaos                              # one minute
//! cargo run --release -p opencode-run-bench --bin chaos -- --seconds 1800            # half an hour
//! cargo run --release -p opencode-run-bench --bin chaos -- --seed 4711 --cases 1     # repeat one case
//! cargo run --release -p opencode-run-bench --bin chaos -- --generation 2            # only opencode 2
//! ```
//!
//! Each case is derived from its number: how opencode is driven, what it does (the scripted fake of the tests),
//! which processes it leaves behind, and how and when it is ended. After each case the following must hold:
//!
//! - The command ended in time, and its exit code, state and kind of failure are allowed in this case and agree
//!   with each other. A success requires the whole answer.
//! - Within three seconds no process that it started is alive.
//! - The journal is readable, and `opencode-run resume` continues from it. The transcript is complete.
//!
//! Violations are printed with the number of the case, and the exit code is 1.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints what it found")]

mod checks;
mod course;
mod course2;
mod outcome;
mod plan;
mod play;
mod tally;

use clap::Parser;
use opencode_run_bench::programs::Programs;
use opencode_run_tests::Sandbox;
use plan::Plan;
use std::any::Any;
use std::error::Error;
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tally::Statistics;

/// The interval of progress reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(30);

/// Injects random faults into the command, and checks all guarantees after each.
#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Arguments {
    /// Start new cases for this many seconds
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// Run at most this many cases
    #[arg(long, value_name = "N")]
    cases: Option<u64>,
    /// The number of the first case; the following ones count up from it
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Only cases of this generation of opencode, 1 or 2
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=2))]
    generation: Option<u8>,
    /// The number of concurrent cases
    #[arg(long, value_name = "N", default_value_t = 4)]
    at_once: usize,
    /// The extra time in seconds that a busy machine may take beyond the guarantees
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    slack: u64,
}

fn main() -> ExitCode {
    match play(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs cases until the time is over; returns whether all guarantees held in each.
///
/// # Errors
///
/// If a case could not be run. The counts so far are printed anyway.
fn play(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let programs = Programs::build(None, None)?;
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..1 << 40));
    println!("the first case is {seed}, {} at a time, for {} s", arguments.at_once, arguments.seconds);
    let began = Instant::now();
    let until = began + Duration::from_secs(arguments.seconds);
    let next = AtomicU64::new(0);
    let tally = Mutex::new(Statistics::new(REPORT_INTERVAL));
    let broken = OnceLock::new();
    let worker = || {
        while broken.get().is_none() {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if Instant::now() >= until || arguments.cases.is_some_and(|cases| number >= cases) {
                return;
            }
            let case = seed.wrapping_add(number);
            let played = catch_unwind(|| {
                let sandbox = Sandbox::new();
                let plan = Plan::draw(case, arguments.generation, &play::ready(&sandbox));
                let played = play::play(&plan, &sandbox, &programs, Duration::from_secs(arguments.slack));
                (plan, played)
            });
            let (plan, played) = match played {
                Ok(played) => played,
                // The test support panics if the machine fails, for example with a full disk. That is not a
                // violation by the command, and further cases would fail in the same way.
                Err(panic) => {
                    broken.get_or_init(|| format!("case {case} could not be run: {}", panic_message(panic.as_ref())));
                    return;
                }
            };
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            match &played {
                Err(violation) => println!("VIOLATED in case {case}: {violation}\n  {plan:?}"),
                Ok(played) if played.is_late() => println!("late in case {case}: {played:?}"),
                Ok(_) => {}
            }
            tally.add(&plan, played.ok().as_ref(), began.elapsed());
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..arguments.at_once.max(1) {
            scope.spawn(worker);
        }
    });
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    tally.print(began.elapsed());
    match broken.into_inner() {
        Some(why) => Err(why.into()),
        None => Ok(tally.violations() == 0),
    }
}

/// Returns the message of a panic.
fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref().copied()).unwrap_or("a panic without a message")
}
