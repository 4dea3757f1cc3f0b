//! Measures the cost of a turn: by itself, and compared with bare opencode on the same machine in the same run.
//!
//! ```sh
//! cargo run --release -p opencode-run-bench                  # everything: about twenty minutes
//! cargo run --release -p opencode-run-bench -- --quick       # few repetitions: about three minutes
//! cargo run --release -p opencode-run-bench -- turns cold    # single sections
//! ```
//!
//! Compared variants are measured alternately, A B A B, and their medians are compared, so that changes of the
//! machine's speed affect both. The model is scripted and answers immediately. Nothing here passes or fails: it prints
//! targets and figures.

#![expect(clippy::print_stderr, reason = "a program that reports why it could not measure")]

mod figures;
mod processes;
mod raw;
mod report;
mod sections;
mod stage;

use clap::{Parser, ValueEnum};
use opencode_run_bench::programs::Programs;
use report::Report;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures the cost of a turn, and prints it beside the targets.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    /// The sections to measure; all of them by default
    sections: Vec<Section>,
    /// Few repetitions
    #[arg(long)]
    quick: bool,
    /// The real opencode; the one used by the tests by default
    #[arg(long, value_name = "PATH")]
    opencode: Option<PathBuf>,
    /// The real opencode 2; the one used by the tests by default
    #[arg(long, value_name = "PATH")]
    opencode2: Option<PathBuf>,
}

/// The sections of the report, one for each subject that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Later turns of a session, compared with bare `opencode run` and with the raw request
    Turns,
    /// Many tasks in separate directories: the throughput, and the memory of all opencode processes
    Isolated,
    /// One `opencode-run MESSAGE` from the start, and the cost of our own process
    Cold,
    /// opencode 2: one command from the start, later turns, and many tasks
    Second,
    /// A million text deltas from the fake server
    Deltas,
    /// A thousand text deltas a second on a terminal and into a pipe
    Streaming,
    /// The events of many live sessions through one connection to the fake server
    Crowd,
    /// Batches against the executor alone: on the fake, in new directories, with repositories; a file of a million tasks
    Batch,
    /// Floods of a gigabyte or ten million events from the fake: the memory of our own process
    Bounds,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let measured = Programs::build(arguments.opencode.clone(), arguments.opencode2.clone())
        .and_then(|programs| measure(&arguments, &programs));
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
    // A single thread, because the figures are per core.
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
                Section::Second => sections::second::measure(programs, quick, &mut report).await,
                Section::Deltas => sections::deltas::measure(programs, quick, &mut report).await,
                Section::Streaming => sections::streaming::measure(programs, quick, &mut report),
                Section::Crowd => sections::crowd::measure(programs, quick, &mut report).await,
                Section::Batch => sections::batch::measure(programs, quick, &mut report).await,
                Section::Bounds => sections::bounds::measure(programs, quick, &mut report).await,
            }
        })?;
    }
    Ok(())
}
