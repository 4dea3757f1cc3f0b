//! Monitors a running turn: its events, its state, its output so far.
//!
//! ```sh
//! cargo run --example monitor
//! ```
//!
//! The task works in a new directory under the system's temp directory, with opencode's default model.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use opencode_runner::{EventItem, Runner};
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    opencode_runner::supervisor::init(); // first, before any runtime
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let runner = Runner::builder().task_name("monitor").workspace(std::env::temp_dir()).build().await?;
    println!("working in {}", runner.task_dir().path().display());

    let mut turn = runner.start("Write haiku.txt, a haiku about waiting, and show it with cat.").await?;
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            item = turn.next() => match item {
                Some(EventItem::Event(event)) => println!("{:?} {}", event.at, event.observed.event.kind()),
                Some(EventItem::Missed(count)) => println!("missed {count} events"),
                None => break,
            },
            _ = every_second.tick() => println!("{}: {} bytes of output", runner.state(), runner.current_output_len()),
        }
    }

    // Reading does not consume the events.
    for event in runner.recent_events(3) {
        println!("one of the last: {}", event.observed.event.kind());
    }
    let record = turn.wait().await;
    println!("{} in {:?}: {}", record.state, record.duration, record.answer()?);
    Ok(())
}
