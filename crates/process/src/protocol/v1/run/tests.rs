//! The decisions about the process. Recordings of whole turns are replayed in the tests of the events.

use super::*;
use opencode_run_core::FailureKind;
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);

/// A turn, and the time that passes in it.
struct Played {
    run: RunProtocol,
    now: Instant,
}

impl Played {
    fn new(plan: RunPlan) -> Self {
        let now = Instant::now();
        Self { run: RunProtocol::new(plan, now), now }
    }

    fn step(&mut self, input: RunInput<'_>) -> Vec<RunAction> {
        let mut actions = Vec::new();
        self.run.step(self.now, input, &mut actions);
        actions
    }

    fn stdout(&mut self, kind: &str) -> Vec<RunAction> {
        self.step(RunInput::Stdout(json!({"type": kind, "part": {}}).to_string().as_bytes()))
    }

    /// Lets time pass until a timer fires.
    fn fire(&mut self, timer: RunTimer) -> Vec<RunAction> {
        self.now = self.run.due(timer).unwrap();
        self.step(RunInput::Timer(timer))
    }

    /// Returns the actions after the exit of the process.
    fn exit(&mut self, exit: ProcessExit) -> Vec<RunAction> {
        assert_eq!(self.step(RunInput::Exited(exit)), [RunAction::Kill], "its tools may have left processes");
        self.step(RunInput::Over { stderr: "" })
    }
}

fn failure_kind(actions: &[RunAction]) -> Option<FailureKind> {
    match actions {
        [RunAction::Finish(Ending::Failed(failure))] => Some(failure.kind()),
        _ => None,
    }
}

#[test]
fn interrupt_escalates_until_the_exit() {
    let mut turn = Played::new(RunPlan::default());
    let began = turn.now;
    let interrupt = RunInput::Control(Some(Control::Interrupt));
    assert_eq!(turn.step(interrupt), [RunAction::SignalProcess(StopSignal::Interrupt)]);
    assert_eq!(turn.fire(RunTimer::Escalation), [RunAction::SignalProcess(StopSignal::Terminate)]);
    assert_eq!(turn.fire(RunTimer::Escalation), [RunAction::Kill]);
    assert_eq!(turn.now - began, 2 * STAGE_TIMEOUT);
    assert_eq!(turn.run.due(RunTimer::Escalation), None);
    assert_eq!(turn.exit(ProcessExit::Signal(9)), [RunAction::Finish(Ending::Stopped)]);
}

#[test]
fn kill_or_lost_consumer_ends_the_process() {
    for control in [Some(Control::Kill), None] {
        let mut turn = Played::new(RunPlan::default());
        assert_eq!(turn.step(RunInput::Control(control)), [RunAction::Kill]);
        assert_eq!(turn.exit(ProcessExit::Signal(9)), [RunAction::Finish(Ending::Stopped)]);
    }
}

#[test]
fn turn_may_end_before_its_interrupt() {
    let mut turn = Played::new(RunPlan::default());
    turn.stdout("step_start");
    turn.step(RunInput::Control(Some(Control::Interrupt)));
    assert_eq!(turn.exit(ProcessExit::Code(0)), [RunAction::Finish(Ending::Finished)]);
}

#[test]
fn hidden_exit_ends_in_a_kill() {
    let mut turn = Played::new(RunPlan::default());
    assert_eq!(turn.step(RunInput::OutputsEnded), []);
    assert_eq!(turn.fire(RunTimer::Escalation), [RunAction::Kill]);
    // The exit never came.
    let actions = turn.step(RunInput::Over { stderr: "" });
    assert_eq!(failure_kind(&actions), Some(FailureKind::Crashed));

    let mut interrupted = Played::new(RunPlan::default());
    interrupted.step(RunInput::Control(Some(Control::Interrupt)));
    interrupted.step(RunInput::OutputsEnded);
    let terminate = [RunAction::SignalProcess(StopSignal::Terminate)];
    assert_eq!(interrupted.fire(RunTimer::Escalation), terminate, "its stages stay");
}

#[test]
fn silent_start_is_restarted_and_then_fails() {
    let mut turn = Played::new(RunPlan { is_metered: true, start_limit: Some(SECOND), ..RunPlan::default() });
    assert_eq!(turn.step(RunInput::Stdout(b" \t")), [], "a blank line begins nothing");
    assert_eq!(turn.fire(RunTimer::Silence), [RunAction::Kill]);
    assert_eq!(turn.exit(ProcessExit::Signal(9)), [RunAction::Restart { pause: Duration::ZERO }]);
    assert_eq!(turn.step(RunInput::Restarted(Ok(()))), []);
    assert_eq!(turn.fire(RunTimer::Silence), [RunAction::Kill]);
    assert_eq!(failure_kind(&turn.exit(ProcessExit::Signal(9))), Some(FailureKind::Opencode));
}

#[test]
fn any_output_begins_the_turn() {
    let limited = || Played::new(RunPlan { start_limit: Some(SECOND), ..RunPlan::default() });
    for begin in [
        |turn: &mut Played| turn.stdout("step_start"),
        |turn: &mut Played| turn.step(RunInput::Progress),
        |turn: &mut Played| turn.step(RunInput::Skipped { bytes: 7 }),
    ] {
        let mut turn = limited();
        assert!(turn.run.due(RunTimer::Silence).is_some());
        assert!(matches!(begin(&mut turn)[..], [RunAction::Emit(_)]));
        assert_eq!(turn.run.due(RunTimer::Silence), None);
    }
    let mut stopped = limited();
    stopped.step(RunInput::Control(Some(Control::Interrupt)));
    assert_eq!(stopped.run.due(RunTimer::Silence), None, "a turn that is being ended is not restarted");
}

/// Returns a turn whose process found the database locked, and has exited.
fn locked() -> Played {
    let mut turn = Played::new(RunPlan { locked_pauses: vec![SECOND], ..RunPlan::default() });
    assert_eq!(turn.step(RunInput::Stderr("database is locked")), []);
    assert_eq!(turn.exit(ProcessExit::Code(1)), [RunAction::Restart { pause: SECOND }]);
    turn
}

#[test]
fn locked_database_retries_are_limited() {
    let mut turn = locked();
    turn.step(RunInput::Restarted(Ok(())));
    turn.step(RunInput::Stderr("database is locked"));
    assert_eq!(failure_kind(&turn.exit(ProcessExit::Code(1))), Some(FailureKind::Crashed));
}

#[test]
fn pause_before_a_restart_can_be_ended() {
    for control in [Some(Control::Interrupt), Some(Control::Kill), None] {
        let actions = locked().step(RunInput::Control(control));
        assert_eq!(actions, [RunAction::Finish(Ending::Stopped)], "no process is left to signal");
    }
    let actions = locked().step(RunInput::Restarted(Err("no such file".to_owned())));
    assert_eq!(failure_kind(&actions), Some(FailureKind::Opencode));
}

#[test]
fn unknown_agent_ends_the_process() {
    let mut turn = Played::new(RunPlan { agent: Some("nope".to_owned()), ..RunPlan::default() });
    let line = "! agent \"nope\" not found. Falling back to default agent";
    assert_eq!(turn.step(RunInput::Stderr(line)), [RunAction::Kill]);
    assert_eq!(turn.step(RunInput::Stderr(line)), [], "once");
    let failure = TurnFailure::AgentNotFound { agent: "nope".to_owned() };
    assert_eq!(turn.exit(ProcessExit::Signal(9)), [RunAction::Finish(Ending::Failed(failure))]);
}
