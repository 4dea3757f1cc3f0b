//! Kills a turn.
//!
//! ```sh
//! cargo run --example kill -- [SECONDS]
//! ```
//!
//! The turn is killed after five seconds by default. The task works in a new directory under the system's temp
//! directory, with opencode's default model.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use opencode_runner::Runner;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    opencode_runner::supervisor::init(); // first, before any runtime
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(5), |text| text.parse())?;
    let runner = Runner::builder().task_name("kill").workspace(std::env::temp_dir()).build().await?;
    println!("working in {}", runner.task_dir().path().display());
    println!("killing nothing: {}", runner.kill());

    runner.start("Run the shell command `sleep 60`, then say that it is done.").await?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;

    let killed_at = Instant::now();
    println!("killing the turn: {}", runner.kill());
    let turn = runner.wait().await.ok_or("there was no turn")?;
    println!("{}: nothing of it was left after {:?}", turn.state, killed_at.elapsed());
    Ok(())
}
