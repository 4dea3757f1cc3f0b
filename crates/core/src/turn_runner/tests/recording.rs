//! A recorder receives every input of a turn, and replaying them reproduces the record.

use super::*;
use crate::{Input, TurnMachine, TurnStart};

#[derive(Debug, Default)]
struct Tape(Mutex<Vec<Heard>>);

#[derive(Debug, Clone, PartialEq)]
enum Heard {
    Started(TurnStart),
    Input(Duration, Input),
    Settled,
}

impl Recorder for Tape {
    fn turn_started(&self, start: &TurnStart) {
        self.0.lock().unwrap().push(Heard::Started(start.clone()));
    }

    fn input(&self, at: Duration, input: &Input) {
        self.0.lock().unwrap().push(Heard::Input(at, input.clone()));
    }

    fn flush(&self) {
        self.0.lock().unwrap().push(Heard::Settled);
    }
}

impl Tape {
    fn heard(&self) -> Vec<Heard> {
        self.0.lock().unwrap().clone()
    }

    fn replayed(&self) -> Vec<Arc<TurnRecord>> {
        let mut turns: Vec<TurnMachine> = Vec::new();
        for heard in self.heard() {
            match heard {
                Heard::Started(start) => turns.push(TurnMachine::begin(start)),
                Heard::Input(at, input) => drop(turns.last_mut().unwrap().apply(at, &input)),
                Heard::Settled => {}
            }
        }
        turns.into_iter().map(TurnMachine::into_record).map(Arc::new).collect()
    }
}

fn recorded(executor: &ScriptedExecutor) -> (TurnRunner, Arc<Tape>) {
    let tape = Arc::new(Tape::default());
    (runner(executor).recorded_by(Arc::<Tape>::clone(&tape)), tape)
}

#[tokio::test(start_paused = true)]
async fn replayed_inputs_reproduce_record() {
    let slow = [session("ses_1"), event(Event::StepStart), pause(3), delta("half"), Act::Send(Signal::Progress)];
    let limited = slow.into_iter().chain([Act::Await(Control::Interrupt), Act::Vanish]);
    let executor = ScriptedExecutor::new().turn(answer("one")).turn(until(Control::Kill)).turn(limited);
    let (runner, tape) = recorded(&executor);
    run(&runner, "first").await.unwrap();
    start(&runner, "second").await.unwrap();
    a_second().await;
    runner.interrupt();
    runner.kill();
    soon(runner.wait()).await;
    let limits = crate::Limits { total: None, idle: Some(Duration::from_secs(9)) };
    soon(runner.run(Prompt::new("third").context("be brief").limits(limits), SystemTime::UNIX_EPOCH)).await.unwrap();

    let conversation = runner.conversation();
    let states: Vec<_> = conversation.turns.iter().map(|turn| turn.state).collect();
    assert_eq!(states, [RunState::Completed, RunState::Interrupted, RunState::Error]);
    assert_eq!(tape.replayed(), conversation.turns);
}

#[tokio::test(start_paused = true)]
async fn recorder_sees_events_before_readers() {
    let (runner, tape) = recorded(&ScriptedExecutor::new().turn(answer("one")));
    start(&runner, "first").await.unwrap();
    let mut events = runner.events();
    while let Some(EventItem::Event(event)) = soon(events.next()).await {
        let heard = Heard::Input(event.at, Input::Event(event.observed.clone()));
        assert!(tape.heard().contains(&heard), "{event:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn recorder_is_flushed_before_waiting() {
    let burst = (0..5).map(|_| delta("x")).chain([pause(5), delta("y"), pause(5)]).chain(done());
    let (runner, tape) = recorded(&ScriptedExecutor::new().turn(burst));
    start(&runner, "first").await.unwrap();
    for seen in [5, 6] {
        a_second().await;
        assert_eq!((runner.current_output_len(), tape.heard().last()), (seen, Some(&Heard::Settled)));
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
    soon(runner.wait()).await;
}

#[tokio::test(start_paused = true)]
async fn recorder_is_flushed_during_backpressure() {
    let (runner, tape) = recorded(&ScriptedExecutor::new().turn((0..3000).map(|_| delta("x")).chain(done())));
    start(&runner, "flood").await.unwrap();
    let _reader = runner.lossless_events();
    a_second().await;
    assert!(runner.is_running());
    assert_eq!(tape.heard().last(), Some(&Heard::Settled));
}

#[test]
fn runtime_shutdown_is_recorded_as_lost() {
    let (runner, tape) = recorded(&ScriptedExecutor::new().turn(until(Control::Kill)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        start(&runner, "first").await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    });
    drop(runtime);
    assert!(matches!(tape.heard().last(), Some(Heard::Input(_, Input::Lost))), "{tape:?}");
    assert_eq!(tape.replayed(), runner.conversation().turns);
}

#[tokio::test(start_paused = true)]
async fn failed_start_is_not_recorded() {
    let (runner, tape) = recorded(&ScriptedExecutor::new());
    assert!(run(&runner, "first").await.is_err());
    assert_eq!(tape.heard(), []);
}
