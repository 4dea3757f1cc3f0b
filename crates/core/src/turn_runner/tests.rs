//! The runner with scripted executors and a paused clock: no processes and no real waiting.

mod ending;
mod limits;
mod recording;
mod starting;
mod watching;

use super::*;
use crate::mock::{Act, ScriptedExecutor};
use crate::{Ending, Event, EventItem, FailureKind, Observed, PartId, Signal, StepReason, Usage};
use async_trait::async_trait;

fn runner(executor: &ScriptedExecutor) -> TurnRunner {
    TurnRunner::new(Arc::new(executor.clone()), Task::new("task", "/tmp/task"))
}

async fn start(runner: &TurnRunner, message: &str) -> Result<TurnHandle, RunError> {
    runner.start(Prompt::new(message), SystemTime::UNIX_EPOCH).await
}

async fn run(runner: &TurnRunner, message: &str) -> Result<Arc<TurnRecord>, RunError> {
    soon(runner.run(Prompt::new(message), SystemTime::UNIX_EPOCH)).await
}

fn event(event: Event) -> Act {
    Act::Send(Observed::new(event).into())
}

fn delta(delta: &str) -> Act {
    event(Event::TextDelta { part: PartId::new("p"), delta: delta.to_owned() })
}

fn session(id: &str) -> Act {
    Act::Send(Signal::Session(SessionId::new(id)))
}

fn ended(ending: Ending) -> Act {
    Act::Send(Signal::Ended(ending))
}

fn pause(seconds: u64) -> Act {
    Act::Pause(Duration::from_secs(seconds))
}

/// The end of a turn that opencode reports as done.
fn done() -> [Act; 2] {
    let stop = Event::StepFinish { reason: StepReason::Stop, usage: Usage::default(), cost: 0.0 };
    [event(stop), ended(Ending::Finished)]
}

/// A complete turn with this answer.
fn answer(text: &str) -> Vec<Act> {
    let mut acts = vec![session("ses_1"), event(Event::StepStart), delta(text)];
    acts.extend(done());
    acts
}

/// A turn that sends one word and then runs until this control arrives.
fn until(control: Control) -> [Act; 4] {
    [event(Event::StepStart), delta("half"), Act::Await(control), ended(Ending::Stopped)]
}

/// Waits for an event that must happen. On a paused clock the timeout fires as soon as nothing can progress.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_hours(2), future).await.unwrap()
}

/// Lets every ready task run, and advances the clock by a second.
async fn a_second() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// Reads to the end; returns the numbers of the events and the count of missed ones.
async fn read_all(mut events: Events) -> (Vec<u64>, u64) {
    let mut seen = Vec::new();
    let mut missed = 0;
    while let Some(item) = soon(events.next()).await {
        match item {
            EventItem::Event(event) => seen.push(event.seq),
            EventItem::Missed(count) => missed += count,
        }
    }
    (seen, missed)
}
