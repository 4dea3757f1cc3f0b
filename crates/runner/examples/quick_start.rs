//! Runs two turns of one session, and saves a transcript.
//!
//! ```sh
//! cargo run --example quick_start
//! ```
//!
//! The task works in a new directory under the system's temp directory, with opencode's default model.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use opencode_runner::Runner;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    opencode_runner::supervisor::init(); // first, before any runtime
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let runner = Runner::builder().task_name("hello").workspace(std::env::temp_dir()).build().await?;
    println!("working in {}", runner.task_dir().path().display());

    println!("{}", runner.ask("Write hello.txt, which says hello.").await?);
    println!("{}", runner.ask("What did you write?").await?);

    println!("transcript: {}", runner.save_markdown(None).await?.display());
    Ok(())
}
