//! Sets a model source for a role in the program.
//!
//! ```sh
//! cargo run --example model_source -- PROVIDER/MODEL                         # a model that opencode knows
//! BASE_URL=http://localhost:11434/v1 cargo run --example model_source -- MODEL   # any OpenAI-compatible server
//! ```
//!
//! With `BASE_URL`, the key is taken from `API_KEY` if one is needed. Without arguments no source is set, and the
//! turn uses opencode's default model. The task works in a new directory under the system's temp directory.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use opencode_runner::{ModelConfig, ModelSource, ModelSourceType, Prompt, Runner};
use std::env;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    opencode_runner::supervisor::init(); // first, before any runtime
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut sources = ModelSource::new();
    if let Some(model) = env::args().nth(1) {
        let config = ModelConfig {
            base_url: env::var("BASE_URL").ok(),
            api_key: env::var("API_KEY").ok().map(Into::into),
            temperature: Some(0.2),
            max_tokens: Some(4000),
            ..ModelConfig::new(model)
        };
        sources.set_model(ModelSourceType::Code, config);
    }
    for problem in sources.problems() {
        println!("{}: {}", problem.0, problem.1);
    }

    let mut prompt = Prompt::new("Write fib.py, which prints the first ten Fibonacci numbers.");
    if sources.has_model(ModelSourceType::Code) {
        prompt = prompt.source_type(ModelSourceType::Code);
    }
    let runner =
        Runner::builder().task_name("model-source").workspace(env::temp_dir()).model_source(sources).build().await?;
    println!("working in {}", runner.task_dir().path().display());

    let turn = runner.run(prompt).await?;
    println!("{} by {}: {}", turn.state, turn.model.as_deref().unwrap_or("opencode's own choice"), turn.answer()?);
    Ok(())
}
