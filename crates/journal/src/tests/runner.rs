//! Turns that are recorded by the runner itself.

use super::*;
use opencode_run_core::mock::{Act, ScriptedExecutor};
use opencode_run_core::{Control, Signal, TurnRunner};
use std::sync::Arc;

fn signal(input: Input) -> Act {
    match input {
        Input::Event(observed) => Act::Send(observed.into()),
        Input::Session(session) => Act::Send(Signal::Session(session)),
        Input::Ended(ending) => Act::Send(Signal::Ended(ending)),
        other => panic!("{other:?}"),
    }
}

fn half_a_turn() -> Vec<Act> {
    let inputs = [Input::Session(SessionId::new("ses_1")), event(Event::StepStart), delta("Hel"), delta("lo")];
    inputs.map(signal).into()
}

fn whole_turn() -> Vec<Act> {
    let end = [finish(0.25), Input::Ended(Ending::Finished)].map(signal);
    half_a_turn().into_iter().chain(end).collect()
}

#[tokio::test(start_paused = true)]
async fn conversation_continues_after_crash() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Arc::new(Journal::new(folder.path(), task(), None));
    let stuck = half_a_turn().into_iter().chain([Act::Await(Control::Kill)]).collect::<Vec<_>>();
    let executor = ScriptedExecutor::new().turn(whole_turn()).turn(stuck);
    let runner =
        TurnRunner::new(Arc::new(executor), task()).recorded_by(Arc::<Journal>::clone(&journal) as Arc<dyn Recorder>);
    runner.run(Prompt::new("one"), SystemTime::UNIX_EPOCH).await.unwrap();
    runner.start(Prompt::new("two"), SystemTime::UNIX_EPOCH).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(runner.current_output(), "Hello");

    // The process ends here; the file is left as it is.
    let copy = folder.path().join("copy.jsonl");
    fs::copy(journal.path().unwrap(), &copy).unwrap();
    let (journal, recovered) = Journal::open(&copy).unwrap();
    let states: Vec<_> = recovered.conversation.turns.iter().map(|turn| (turn.state, turn.output())).collect();
    assert_eq!(states, [RunState::Completed, RunState::Running].map(|state| (state, "Hello".to_owned())));

    let executor = ScriptedExecutor::new().turn(whole_turn());
    let second = TurnRunner::with_conversation(Arc::new(executor.clone()), recovered.conversation)
        .recorded_by(Arc::new(journal));
    second.run(Prompt::new("three"), SystemTime::UNIX_EPOCH).await.unwrap();
    assert_eq!(executor.requests()[0].session, Some(SessionId::new("ses_1")));
    assert_eq!(read(&copy).unwrap().conversation, second.conversation());
    assert_eq!(second.conversation().turns.len(), 3);
}
