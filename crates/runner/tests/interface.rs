//! Uses the interface of the library only by names of this crate.

use opencode_runner::{
    Ending, Event, Executor, Host, Journal, Observed, PartId, Prompt, RunState, Signal, StartError, StartedTurn,
    StepReason, Task, TurnRequest, TurnRunner, Usage, async_trait, mock, read_journal,
};
use std::sync::Arc;
use std::time::SystemTime;

/// An executor for another agent.
struct Parrot;

#[async_trait]
impl Executor for Parrot {
    async fn start(&self, request: TurnRequest) -> Result<StartedTurn, StartError> {
        let (turn, driver) = StartedTurn::channel(8);
        tokio::spawn(async move {
            let text = Event::Text { part: PartId::new("p1"), text: request.prompt.message };
            let stop = Event::StepFinish { reason: StepReason::Stop, usage: Usage::default(), cost: 0.0 };
            for event in [Event::StepStart, text, stop] {
                driver.signals.send(Observed::new(event).into()).await.ok();
            }
            driver.signals.send(Signal::Ended(Ending::Finished)).await.ok();
        });
        Ok(turn)
    }
}

#[tokio::test]
async fn executor_needs_no_other_crate() {
    let folder = tempfile::tempdir().unwrap();
    let runner = Host::with_executor(Arc::new(Parrot)).runner().dir(folder.path()).build().await.unwrap();
    assert_eq!(runner.ask("hello").await.unwrap(), "hello");
}

#[tokio::test]
async fn journal_is_played_again() {
    let folder = tempfile::tempdir().unwrap();
    let task = Task::new("t", folder.path());
    let journal = Arc::new(Journal::new(folder.path().to_owned(), task.clone(), None));
    let turns = TurnRunner::new(Arc::new(Parrot), task).recorded_by(Arc::<Journal>::clone(&journal));
    turns.run(Prompt::new("hello"), SystemTime::UNIX_EPOCH).await.unwrap();
    let path = journal.path().unwrap();
    drop((turns, journal));
    assert_eq!(read_journal(&path).unwrap().conversation.turns.len(), 1);

    let again = Host::with_executor(Arc::new(mock::from_journal(&path).unwrap()));
    let runner = again.runner().dir(folder.path()).build().await.unwrap();
    let record = runner.run("whatever").await.unwrap();
    assert_eq!((record.state, record.output().as_str()), (RunState::Completed, "hello"));
}
