//! Does to the command what can be done to it, at random, several at a time, and looks after each whether all that is
//! promised has held.
//!
//! ```sh
//! cargo run --release -p opencode-run-bench --bin chaos                              # for a minute
//! cargo run --release -p opencode-run-bench --bin chaos -- --seconds 1800            # for half an hour
//! cargo run --release -p opencode-run-bench --bin chaos -- --seed 4711 --cases 1     # one case again
//! ```
//!
//! Each case has a number of its own, from which all of it follows: how opencode is driven, what it does (the scripted
//! stand-in of the tests), what it leaves behind, how it comes to its end, and when. After it the following has to hold:
//!
//! - The command ended in time, with an exit code, a state and a kind of failure that the case allows and that agree with
//!   each other. A success is one only if the whole answer is there.
//! - Within three seconds nothing that it started is alive.
//! - The journal can be read, and `opencode-run resume` goes on from it. The transcript is whole.
//!
//! What is violated is printed with the case's number, and then the end is 1.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints what it found")]

mod checks;
mod course;
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
use tally::Tally;

/// How often it is said how far it is.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// Does random faults to the command, and checks what is promised after each.
#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Arguments {
    /// For how long new cases are begun
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// How many cases at most
    #[arg(long, value_name = "N")]
    cases: Option<u64>,
    /// The number of the first case; the next ones follow it
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How many cases are played at a time
    #[arg(long, value_name = "N", default_value_t = 4)]
    at_once: usize,
    /// How many seconds a machine that does much else may take beyond what is promised
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

/// Plays cases until the time is over; returns whether all that is promised held in each.
///
/// # Errors
///
/// If a case could not be played. What was counted until then is printed all the same.
fn play(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let programs = Programs::build(None)?;
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..1 << 40));
    println!("the first case is {seed}, {} at a time, for {} s", arguments.at_once, arguments.seconds);
    let began = Instant::now();
    let until = began + Duration::from_secs(arguments.seconds);
    let next = AtomicU64::new(0);
    let tally = Mutex::new(Tally::new(SAY_EVERY));
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
                let plan = Plan::draw(case, &play::ready(&sandbox));
                let played = play::play(&plan, &sandbox, &programs, Duration::from_secs(arguments.slack));
                (plan, played)
            });
            let (plan, played) = match played {
                Ok(played) => played,
                // The support of the tests panics where the machine fails it, as a full disk does: that is nothing which the
                // command has violated, and the next cases would fare no better.
                Err(panic) => {
                    broken.get_or_init(|| format!("case {case} could not be played: {}", said_by(panic.as_ref())));
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

/// Returns what a panic said.
fn said_by(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref().copied()).unwrap_or("a panic without a word")
}
