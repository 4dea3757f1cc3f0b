//! Reads model sources from a `.env` file.
//!
//! ```sh
//! cargo run --example env_file -- models.env      # a named file: its problems are errors
//! cargo run --example env_file                    # `.env` of the current directory: its problems are warnings
//! ```
//!
//! Without a file the turn uses opencode's default model. The task works in a new directory under the system's temp
//! directory.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use opencode_runner::{ModelSource, ModelSourceType, Prompt, Runner};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    opencode_runner::supervisor::init(); // first, before any runtime
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let sources = if let Some(file) = std::env::args().nth(1) {
        ModelSource::from_env_file(file)?
    } else {
        let found = ModelSource::from_discovered_env_file(".env");
        for warning in &found.warnings {
            println!("warning: {warning}");
        }
        found.source
    };
    for summary in sources.summaries() {
        println!("{summary}");
    }

    let mut prompt = Prompt::new("Say in one sentence what a good commit message holds.");
    if sources.has_model(ModelSourceType::Write) {
        prompt = prompt.source_type(ModelSourceType::Write);
    }
    let runner =
        Runner::builder().task_name("env-file").workspace(std::env::temp_dir()).model_source(sources).build().await?;
    println!("working in {}", runner.task_dir().path().display());

    let turn = runner.run(prompt).await?;
    println!("{} by {}: {}", turn.state, turn.model.as_deref().unwrap_or("opencode's own choice"), turn.answer()?);
    Ok(())
}
