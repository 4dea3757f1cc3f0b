//! An executor for another agent: a command that reads the prompt from stdin and prints the answer.
//!
//! ```sh
//! cargo run --example other_agent -- 'tr a-z A-Z' 'Say hello.'
//! cargo test --example other_agent
//! ```
//!
//! The turns have events, limits, an interrupt, a journal and a transcript like those of opencode.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use opencode_runner::{
    Control, Ending, Event, Executor, FailureKind, Host, Observed, PartId, Signal, StartError, StartedTurn, StepReason,
    TurnDriver, TurnFailure, TurnRequest, Usage, async_trait,
};
use std::error::Error;
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

fn main() -> Result<(), Box<dyn Error>> {
    opencode_runner::supervisor::init(); // first, before any runtime
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_else(|| "tr a-z A-Z".to_owned());
    let prompt = arguments.next().unwrap_or_else(|| "Say hello.".to_owned());
    let host = Host::with_executor(Arc::new(ShellAgent { command }));
    let runner = host.runner().task_name("other-agent").workspace(std::env::temp_dir()).build().await?;
    println!("{}", runner.ask(prompt).await?);
    Ok(())
}

/// Runs each turn as a process of a shell command in the task's directory.
struct ShellAgent {
    command: String,
}

#[async_trait]
impl Executor for ShellAgent {
    async fn start(&self, request: TurnRequest) -> Result<StartedTurn, StartError> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &self.command]).current_dir(&request.task.directory).kill_on_drop(true);
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut agent = started
            .map_err(|error| StartError::new(FailureKind::Io, "the agent cannot be started").caused_by(error))?;
        // Written while the output is read: the agent may print before it has read everything.
        let stdin = agent.stdin.take();
        tokio::spawn(async move {
            if let Some(mut stdin) = stdin {
                stdin.write_all(request.prompt.message.as_bytes()).await.ok();
            }
        });
        let (turn, driver) = StartedTurn::channel(16);
        tokio::spawn(drive(agent, driver));
        Ok(turn)
    }
}

/// Reports the output of an agent line by line, and its end after the process has exited.
async fn drive(mut agent: Child, mut driver: TurnDriver) {
    let Some(stdout) = agent.stdout.take() else { return };
    let reading = report_output(BufReader::new(stdout).lines(), &driver.signals);
    let control = tokio::select! {
        () = reading => None,
        // A closed channel counts as a kill.
        control = driver.controls.recv() => Some(control.unwrap_or(Control::Kill)),
    };
    if control.is_some() {
        agent.start_kill().ok();
    }
    let ending = match agent.wait().await {
        _ if control.is_some() => Ending::Stopped,
        Ok(status) if status.success() => Ending::Finished,
        Ok(status) => Ending::Failed(TurnFailure::Io { message: format!("the agent ended with {status}") }),
        Err(error) => Ending::Failed(TurnFailure::Io { message: error.to_string() }),
    };
    driver.signals.send(Signal::Ended(ending)).await.ok();
}

async fn report_output(mut lines: Lines<BufReader<ChildStdout>>, signals: &tokio::sync::mpsc::Sender<Signal>) {
    let part = PartId::new("answer");
    let mut text = String::new();
    signals.send(Observed::new(Event::StepStart).into()).await.ok();
    while let Ok(Some(line)) = lines.next_line().await {
        let delta = if text.is_empty() { line } else { format!("\n{line}") };
        text.push_str(&delta);
        let event = Event::TextDelta { part: part.clone(), delta };
        signals.send(Observed::new(event).into()).await.ok();
    }
    let stop = Event::StepFinish { reason: StepReason::Stop, usage: Usage::default(), cost: 0.0 };
    for event in [Event::Text { part, text }, stop] {
        signals.send(Observed::new(event).into()).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_runner::{RunState, Runner};
    use std::time::{Duration, Instant};

    async fn runner(command: &str, folder: &tempfile::TempDir) -> Runner {
        let agent = ShellAgent { command: command.to_owned() };
        Host::with_executor(Arc::new(agent)).runner().dir(folder.path()).build().await.unwrap()
    }

    #[tokio::test]
    async fn output_is_the_answer() {
        let folder = tempfile::tempdir().unwrap();
        let runner = runner("tr a-z A-Z; echo; pwd", &folder).await;
        let place = folder.path().canonicalize().unwrap();
        assert_eq!(runner.ask("hello").await.unwrap(), format!("HELLO\n{}", place.display()));
    }

    #[tokio::test]
    async fn exit_code_fails_the_turn() {
        let folder = tempfile::tempdir().unwrap();
        let record = runner("echo started; exit 3", &folder).await.run("hello").await.unwrap();
        assert_eq!(record.output().as_str(), "started");
        assert!(record.failure.as_ref().unwrap().to_string().contains('3'), "{:?}", record.failure);
    }

    #[tokio::test]
    async fn interrupt_ends_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        let start = Instant::now();
        let turn = runner("exec sleep 60", &folder).await.start("hello").await.unwrap();
        turn.interrupt();
        assert_eq!(turn.wait().await.state, RunState::Interrupted);
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
