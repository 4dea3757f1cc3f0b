//! Combines most features: three turns of one session on the model sources of two roles, a system prompt, time
//! limits, live events, usage and cost, failures, a transcript.
//!
//! ```sh
//! cargo run --example full -- [MESSAGE]
//! ```
//!
//! Model sources are read from `.env` of the current directory, if there is one. The first turn uses the source
//! `code`, the second `write`, and the third names none, so that it stays on the model of the second. The task
//! works in a new directory under the system's temp directory.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use opencode_runner::{Event, EventItem, Limits, ModelSource, ModelSourceType, Prompt, Runner, ToolState, TurnRecord};
use std::sync::Arc;
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    opencode_runner::supervisor::init(); // first, before any runtime
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let message = std::env::args().nth(1).unwrap_or("Write primes.txt with the primes below 30.".to_owned());
    let sources = ModelSource::from_discovered_env_file(".env").source;
    let on = |message: &str, source: ModelSourceType| {
        let prompt = Prompt::new(message);
        if sources.has_model(source) { prompt.source_type(source) } else { prompt }
    };
    let prompts = [
        on(&message, ModelSourceType::Code).title("The full example"),
        on("Describe in one sentence what you did.", ModelSourceType::Write),
        Prompt::new("Say the same in German."),
    ];
    let runner = Runner::builder()
        .task_name("full")
        .workspace(std::env::temp_dir())
        .model_source(sources)
        .context("Answer in at most two sentences.")
        .limits(Limits { total: Some(Duration::from_mins(10)), idle: Some(Duration::from_mins(2)) })
        .build()
        .await?;
    println!("working in {}", runner.task_dir().path().display());

    for prompt in prompts {
        let turn = watched(&runner, prompt).await?;
        let model = turn.model.as_deref().unwrap_or("opencode's own choice");
        println!("{} by {model} after {} steps in {:?}", turn.state, turn.steps, turn.duration);
        println!("{} tokens in, {} out, ${:.4}", turn.usage.input, turn.usage.output, turn.cost);
        if let Some(failure) = &turn.failure {
            println!("{}: {failure}", failure.kind());
        }
        if let Err(error) = turn.answer() {
            println!("transcript: {}", runner.save_markdown(None).await?.display());
            return Err(error.into()); // a failed turn is a failed program
        }
    }
    println!("transcript: {}", runner.save_markdown(None).await?.display());
    Ok(())
}

/// Runs a turn to its end and prints its events.
async fn watched(runner: &Runner, prompt: Prompt) -> Result<Arc<TurnRecord>, Box<dyn std::error::Error>> {
    let mut turn = runner.start(prompt).await?.lossless();
    while let Some(item) = turn.next().await {
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
    Ok(turn.wait().await)
}
