//! Runs one turn of opencode, without the library `opencode-runner`.
//!
//! ```sh
//! cargo run -p opencode-run-process --example one_turn -- 'Say hello.'
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use opencode_run_core::{Prompt, Task, TurnRunner};
use opencode_run_process::{Launch, Locator, RunExecutor, TaskDir, supervisor};
use std::sync::Arc;
use std::time::SystemTime;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    supervisor::init(); // first, before any runtime
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let prompt = std::env::args().nth(1).unwrap_or_else(|| "Say hello.".to_owned());
    let opencode = Locator::from_path_variable(std::env::var_os("PATH")).locate().await?;
    println!("opencode {}", opencode.version());
    let directory = TaskDir::create(&std::env::temp_dir(), "greet").await?;

    let launch = Launch::new(opencode, std::env::vars_os()).supervised_by(supervisor::current());
    let runner = TurnRunner::new(Arc::new(RunExecutor::new(launch)), Task::new("greet", directory.path()));
    let turn = runner.run(Prompt::new(prompt), SystemTime::now()).await?;
    println!("{}", turn.answer()?);

    directory.remove()?;
    Ok(())
}
