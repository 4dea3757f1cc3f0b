//! Saves the conversation as Markdown, in the task's directory and elsewhere.
//!
//! ```sh
//! cargo run --example save_markdown -- [PATH]
//! ```
//!
//! The task works in a new directory under the system's temp directory, with opencode's default model.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use opencode_runner::Runner;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    opencode_runner::supervisor::init(); // first, before any runtime
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let runner = Runner::builder().task_name("transcript").workspace(std::env::temp_dir()).build().await?;
    println!("working in {}", runner.task_dir().path().display());

    let turn = runner.run("List three colours.").await?;
    println!("{}: {}", turn.state, turn.answer()?);

    // `conversation.md` in the task's directory, or the given path.
    let saved = runner.save_markdown(None).await?;
    println!("saved to {}", saved.display());
    if let Some(path) = std::env::args().nth(1).map(PathBuf::from) {
        println!("saved to {}", runner.save_markdown(Some(&path)).await?.display());
    }

    println!("\n{}", runner.conversation_markdown());
    Ok(())
}
