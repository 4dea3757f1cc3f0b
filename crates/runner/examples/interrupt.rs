//! Interrupts a turn that takes too long.
//!
//! ```sh
//! cargo run --example interrupt -- [SECONDS]
//! ```
//!
//! The turn is interrupted after five seconds by default. The task works in a new directory under the system's temp
//! directory, with opencode's default model.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use opencode_runner::Runner;
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    opencode_runner::supervisor::init(); // first, before any runtime
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(5), |text| text.parse())?;
    let runner = Runner::builder().task_name("interrupt").workspace(std::env::temp_dir()).build().await?;
    println!("working in {}", runner.task_dir().path().display());

    runner.start("Run the shell command `sleep 60`, then say that it is done.").await?;
    if runner.wait_timeout(Duration::from_secs(seconds)).await.is_err() {
        println!("{} after {seconds} s: interrupting", runner.state());
        runner.interrupt();
    }

    // Returns when no process of the turn is left, including those of its tools.
    let turn = runner.wait().await.ok_or("there was no turn")?;
    println!("{} in {:?}, with {} entries so far", turn.state, turn.duration, turn.entries.len());
    println!("interrupting again: {}", runner.interrupt());
    Ok(())
}
