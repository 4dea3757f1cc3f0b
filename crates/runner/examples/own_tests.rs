//! A program and its tests, which need no opencode: the executors of the feature `mock` play the turns.
//!
//! ```sh
//! cargo run --example own_tests -- README.md     # summarizes a file, with opencode's default model
//! cargo test --example own_tests                 # its tests
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use opencode_runner::{AskError, Host, Runner};

/// The longest summary, in bytes.
const MAX_SUMMARY_LEN: usize = 80;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    opencode_runner::supervisor::init(); // first, before any runtime
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().nth(1).unwrap_or_else(|| "README.md".to_owned());
    let host = Host::builder().build().await?;
    let runner = host.runner().dir(".").build().await?;
    println!("{}", summarize(&runner, &file).await?);
    runner.close().await?;
    Ok(())
}

/// Returns a summary of a file. If it is too long, a shorter one is requested once.
async fn summarize(runner: &Runner, file: &str) -> Result<String, AskError> {
    let summary = runner.ask(format!("Summarize {file} in one short sentence.")).await?;
    if summary.len() <= MAX_SUMMARY_LEN {
        return Ok(summary);
    }
    runner.ask(format!("Shorten it to {MAX_SUMMARY_LEN} characters.")).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_runner::{FailureKind, TurnFailure, mock::ScriptedExecutor};
    use std::sync::Arc;

    async fn runner(executor: &ScriptedExecutor) -> Runner {
        Host::with_executor(Arc::new(executor.clone())).runner().dir(".").build().await.unwrap()
    }

    #[tokio::test]
    async fn short_summary_needs_one_turn() {
        let executor = ScriptedExecutor::new().streams(["It is ", "a readme."]);
        assert_eq!(summarize(&runner(&executor).await, "README.md").await.unwrap(), "It is a readme.");
        let requests = executor.requests();
        assert_eq!(requests.len(), 1);
        assert!(requests[0].prompt.message.contains("README.md"));
    }

    #[tokio::test]
    async fn long_summary_is_shortened_once() {
        let executor = ScriptedExecutor::new().answers(["long ".repeat(100), "short".to_owned()]);
        assert_eq!(summarize(&runner(&executor).await, "README.md").await.unwrap(), "short");
        assert_eq!(executor.requests().len(), 2);
    }

    #[tokio::test]
    async fn failure_is_returned_with_its_record() {
        let failure = TurnFailure::Opencode { message: "no luck".to_owned() };
        let executor = ScriptedExecutor::new().fails(failure);
        let error = summarize(&runner(&executor).await, "README.md").await.unwrap_err();
        assert_eq!(error.record().unwrap().failure.as_ref().unwrap().kind(), FailureKind::Opencode);
    }
}
