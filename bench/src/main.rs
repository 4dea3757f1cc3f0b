//! Measures what a turn costs: by itself, and against bare opencode on the same machine in the same run.
//!
//! ```sh
//! cargo run --release -p opencode-run-bench                  # all of it: some twenty minutes
//! cargo run --release -p opencode-run-bench -- --quick       # few repetitions: some three minutes
//! cargo run --release -p opencode-run-bench -- turns cold    # single sections
//! ```
//!
//! What is compared is measured by turns, A B A B, and medians are compared: a machine's mood hits both. The model is
//! scripted and answers at once. Nothing here passes or fails: it prints targets and figures.

#![expect(clippy::print_stderr, reason = "a program that says what kept it from measuring")]

mod figures;
mod processes;
mod report;
mod sections;
mod stage;

use clap::{Parser, ValueEnum};
use opencode_run_bench::programs::Programs;
use report::Report;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures what a turn costs, and prints it beside the targets.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    /// What to measure; all of it if nothing is named
    sections: Vec<Section>,
    /// Few repetitions
    #[arg(long)]
    quick: bool,
    /// The real opencode; the one that the tests use if it is not named
    #[arg(long, value_name = "PATH")]
    opencode: Option<PathBuf>,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Later turns of a session, against bare `opencode run` and against the raw request
    Turns,
    /// Many tasks, each in a directory of its own: how many a second, and the memory of all opencode processes
    Isolated,
    /// One `opencode-run MESSAGE` from the start, and what our own process takes in it
    Cold,
    /// A million text deltas from the fake server
    Deltas,
    /// The events of many live sessions through one connection to the fake server
    Crowd,
    /// Floods of a gigabyte or ten million events from the fake: what memory our own process takes
    Bounds,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let measured = Programs::build(arguments.opencode.clone()).and_then(|programs| measure(&arguments, &programs));
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments, programs: &Programs) -> Result<(), Box<dyn Error>> {
    let mut report = Report::begin(arguments.quick);
    // One thread: what is measured here is what one core does.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for section in Section::value_variants() {
        if !arguments.sections.is_empty() && !arguments.sections.contains(section) {
            continue;
        }
        let quick = arguments.quick;
        runtime.block_on(async {
            match section {
                Section::Turns => sections::turns::measure(programs, quick, &mut report).await,
                Section::Isolated => sections::isolated::measure(programs, quick, &mut report).await,
                Section::Cold => sections::cold::measure(programs, quick, &mut report).await,
                Section::Deltas => sections::deltas::measure(programs, quick, &mut report).await,
                Section::Crowd => sections::crowd::measure(programs, quick, &mut report).await,
                Section::Bounds => sections::bounds::measure(programs, quick, &mut report).await,
            }
        })?;
    }
    Ok(())
}
