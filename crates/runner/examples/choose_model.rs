//! Uses a model for all turns, and another one for one of them.
//!
//! ```sh
//! cargo run --example choose_model -- PROVIDER/MODEL [OTHER_PROVIDER/MODEL]
//! ```
//!
//! `opencode models` lists the names. Without one, both turns use opencode's default model. The task works in a new
//! directory under the system's temp directory.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use opencode_runner::{ModelName, Prompt, Runner};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    opencode_runner::supervisor::init(); // first, before any runtime
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let for_all = arguments.next();
    let for_one = arguments.next();

    let mut builder = Runner::builder().task_name("choose-model").workspace(std::env::temp_dir());
    if let Some(name) = for_all {
        builder = builder.model(name);
    }
    let runner = builder.build().await?;
    println!("working in {}", runner.task_dir().path().display());

    let turn = runner.run("Which model are you?").await?;
    println!("{} by {}: {}", turn.state, turn.model.as_deref().unwrap_or("opencode's own choice"), turn.answer()?);

    let mut prompt = Prompt::new("And which model are you now?");
    if let Some(name) = for_one {
        prompt = prompt.model(name.parse::<ModelName>()?);
    }
    let turn = runner.run(prompt).await?;
    println!("{} by {}: {}", turn.state, turn.model.as_deref().unwrap_or("opencode's own choice"), turn.answer()?);
    Ok(())
}
