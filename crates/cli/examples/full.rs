//! Most of it at once: model sources, a context, time limits, live events, usage and cost, honest failures, a transcript.
//!
//! ```sh
//! cargo run --example full -- [MESSAGE]
//! ```
//!
//! Model sources are read from `.env` of the current directory, if there is one. The task works in a new directory under
//! the folder for temporary files.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use opencode_run::{Event, EventItem, Limits, ModelSource, Prompt, Runner, ToolState};
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    opencode_run::supervisor::init(); // first, before any runtime
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let message = std::env::args().nth(1).unwrap_or("Write primes.txt with the primes below 30.".to_owned());
    let runner = Runner::builder()
        .task_name("full")
        .workspace(std::env::temp_dir())
        .model_source(ModelSource::from_found_env_file(".env").source)
        .context("Answer in at most two sentences.")
        .limits(Limits { total: Some(Duration::from_mins(10)), idle: Some(Duration::from_mins(2)) })
        .build()
        .await?;
    println!("working in {}", runner.task_dir().path().display());

    runner.start(Prompt::new(message).title("The full example")).await?;
    let mut events = runner.every_event();
    while let Some(item) = events.next().await {
        let EventItem::Event(event) = item else { continue };
        match &event.observed.event {
            Event::Text { text, .. } => println!("text: {text}"),
            Event::Tool(call) => match &call.state {
                ToolState::Completed { title, .. } => println!("{}: {}", call.tool, title.as_deref().unwrap_or("done")),
                ToolState::Failed { error, .. } => println!("{} failed: {error}", call.tool),
                _ => {}
            },
            _ => {}
        }
    }

    let turn = runner.wait().await.ok_or("there was no turn")?;
    println!("{} after {} steps in {:?}", turn.state, turn.steps, turn.duration);
    println!("{} tokens in, {} out, ${:.4}", turn.usage.input, turn.usage.output, turn.cost);
    println!("transcript: {}", runner.save_markdown(None).await?.display());
    if let Some(failure) = &turn.failure {
        println!("{}: {failure}", failure.kind());
    }
    turn.answer()?; // a failed turn is a failed program
    Ok(())
}
