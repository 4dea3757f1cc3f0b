//! Runs a turn in a program without an async runtime.
//!
//! ```sh
//! cargo run --example blocking
//! ```
//!
//! The task works in a new directory under the system's temp directory, which is removed at the end.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use opencode_runner::{DirectoryCleanup, EventItem, blocking};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    opencode_runner::supervisor::init(); // first
    let builder = opencode_runner::Runner::builder().task_name("blocking").workspace(std::env::temp_dir());
    let runner = blocking::Runner::build(builder.cleanup(DirectoryCleanup::Remove))?;
    println!("working in {}", runner.as_async().task_dir().path().display());

    println!("{}", runner.ask("Write hello.txt, which says hello.")?);

    let mut turn = runner.start("What did you write?")?;
    for item in &mut turn {
        if let EventItem::Event(event) = item {
            println!("{:?} {}", event.at, event.observed.event.kind());
        }
    }
    println!("{}", turn.answer()?);

    runner.close()?;
    Ok(())
}
