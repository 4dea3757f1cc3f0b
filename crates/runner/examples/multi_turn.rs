//! Runs many turns of one session, and continues the session in another runner.
//!
//! ```sh
//! cargo run --example multi_turn
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
    let runner = Runner::builder().task_name("many-turns").workspace(std::env::temp_dir()).build().await?;
    println!("working in {}", runner.task_dir().path().display());

    for message in ["Remember the number 7.", "Double it.", "Which number was the first?"] {
        let turn = runner.run(message).await?;
        println!("{message}\n  {}: {}", turn.state, turn.answer()?);
    }
    let conversation = runner.conversation();
    println!("{} turns, {} tokens", conversation.turns.len(), conversation.usage().total());

    // Another runner, or another program, continues the session in its directory.
    let session = runner.session_id().ok_or("opencode named no session")?;
    drop(runner);
    let runner = Runner::builder().session(session).build().await?;
    let turn = runner.run("And the last one?").await?;
    println!("{}: {}", turn.state, turn.answer()?);
    Ok(())
}
