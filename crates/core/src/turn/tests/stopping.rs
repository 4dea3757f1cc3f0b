//! Turns that are ended by us.

use super::*;

#[test]
fn interrupted_turn_stays_interrupted() {
    let lost = Input::Lost;
    let endings = [Ending::Finished, Ending::Stopped, crashed()].map(Input::Ended);
    for ending in endings.into_iter().chain([lost]) {
        for stop in [Input::Interrupt, Input::Kill] {
            let turn = after([start(), event(text("p", "half")), stop, ending.clone()]);
            assert_eq!((turn.state(), &turn.record().failure), (RunState::Interrupted, &None));
            assert_eq!(turn.record().output(), "half");
        }
    }
}

#[test]
fn turn_finished_before_stop_is_completed() {
    for stop in [Input::Interrupt, Input::Kill, Input::LimitReached(LimitKind::Total)] {
        let turn = after([start(), finish(StepReason::Stop), stop.clone(), finished()]);
        assert_eq!(turn.state(), RunState::Completed);
        let turn = after([start(), stop, finish(StepReason::Stop), finished()]);
        assert_eq!(turn.state(), RunState::Completed);
    }
}

#[test]
fn turn_stopped_after_last_step_is_interrupted() {
    let turn = after([start(), finish(StepReason::Stop), Input::Kill, Input::Ended(Ending::Stopped)]);
    assert_eq!(turn.state(), RunState::Interrupted);
}

#[test]
fn no_control_follows_a_kill() {
    let mut turn = turn();
    let mut sent = |input| turn.apply(Duration::ZERO, &input).control;
    assert_eq!(sent(Input::Interrupt), Some(Control::Interrupt));
    assert_eq!(sent(Input::Interrupt), None);
    assert_eq!(sent(Input::LimitReached(LimitKind::Idle)), None);
    assert_eq!(sent(Input::Kill), Some(Control::Kill));
    assert_eq!(sent(Input::Kill), None);
    assert_eq!(sent(Input::Interrupt), None);

    let mut turn = super::turn();
    assert_eq!(turn.apply(Duration::ZERO, &Input::Kill).control, Some(Control::Kill));
    assert_eq!(turn.apply(Duration::ZERO, &Input::Interrupt).control, None);
}

#[test]
fn time_limit_failure_names_last_event() {
    let limits = Limits { total: Some(Duration::from_mins(1)), idle: Some(Duration::from_secs(5)) };
    for (limit, kind) in [(LimitKind::Total, FailureKind::Timeout), (LimitKind::Idle, FailureKind::IdleTimeout)] {
        let mut turn = TurnMachine::new(&Prompt::new("hello").limits(limits), SystemTime::UNIX_EPOCH);
        turn.apply(Duration::from_secs(1), &start());
        turn.apply(Duration::from_millis(2500), &event(tool("c", json!({}), running())));
        let changes = turn.apply(Duration::from_secs(9), &Input::LimitReached(limit));
        assert_eq!((changes.control, changes.ended), (Some(Control::Interrupt), None));
        // The first reason stays, even if a kill is requested later.
        assert_eq!(turn.apply(Duration::from_secs(9), &Input::Kill).control, Some(Control::Kill));
        turn.apply(Duration::from_secs(10), &Input::Ended(Ending::Stopped));
        assert_failed(&turn, kind, "last seen: tool after 2.5 s, with bash still running");
    }
    // A tool that has returned is not running.
    let call = |state| event(tool("c", json!({}), state));
    let answered = after([call(running()), call(answered("ok")), Input::LimitReached(LimitKind::Total), Input::Lost]);
    assert!(!answered.record().failure.as_ref().unwrap().to_string().contains("still running"));
    let untouched = after([Input::LimitReached(LimitKind::Total), Input::Lost]);
    assert_failed(&untouched, FailureKind::Timeout, "nothing after 0.0 s");
}

#[test]
fn idle_limit_ends_with_stop_request() {
    let at = Duration::from_secs;
    let limits = Limits { total: Some(at(20)), idle: Some(at(8)) };
    let mut turn = TurnMachine::new(&Prompt::new("hello").limits(limits), SystemTime::UNIX_EPOCH);
    let when = |turn: &TurnMachine| (turn.limit_at(LimitKind::Total), turn.limit_at(LimitKind::Idle));
    assert_eq!(when(&turn), (Some(at(20)), Some(at(8))));
    turn.apply(at(7), &start());
    assert_eq!(when(&turn), (Some(at(20)), Some(at(15))));
    turn.apply(at(14), &Input::Dropped { bytes: 1 });
    assert_eq!(when(&turn), (Some(at(20)), Some(at(22))));
    turn.apply(at(15), &Input::Interrupt);
    assert_eq!(when(&turn), (None, None));
    assert_eq!(when(&super::turn()), (None, None));
    assert_eq!(when(&after([Input::Lost])), (None, None));
}

#[test]
fn endless_unknown_steps_are_interrupted() {
    let mut turn = turn();
    let mut controls = Vec::new();
    for _ in 0..MAX_UNKNOWN_STEPS + 2 {
        for input in [start(), event(text("p", "again")), finish(StepReason::Unknown)] {
            controls.push(turn.apply(Duration::ZERO, &input).control);
        }
    }
    let sent: Vec<_> = controls.iter().enumerate().filter(|(_, control)| control.is_some()).collect();
    assert_eq!(sent, [(MAX_UNKNOWN_STEPS as usize * 3 - 1, &Some(Control::Interrupt))], "after the last one, and once");
    assert_eq!((turn.state(), turn.limit_at(LimitKind::Idle)), (RunState::Running, None));
    turn.apply(Duration::ZERO, &Input::Ended(Ending::Stopped));
    assert_failed(&turn, FailureKind::Provider, "8 answers in a row ended without a finish reason");
    assert_eq!(turn.record().output(), "again");
}

#[test]
fn sub_agent_unknown_steps_are_ignored() {
    let unknown = || [start(), finish(StepReason::Unknown)];
    let mut inputs = Vec::new();
    for _ in 0..3 {
        inputs.extend((1..MAX_UNKNOWN_STEPS).flat_map(|_| unknown()));
        inputs.extend([start(), finish(StepReason::ToolCalls)]);
    }
    inputs.extend((0..MAX_UNKNOWN_STEPS * 2).map(|_| of_sub_agent(step_finish(StepReason::Unknown, 0.0))));
    inputs.extend([start(), finish(StepReason::Stop), finished()]);
    assert_eq!(after(inputs).state(), RunState::Completed);
}

#[test]
fn first_stop_reason_wins() {
    let unknown = (0..MAX_UNKNOWN_STEPS).flat_map(|_| [start(), finish(StepReason::Unknown)]);
    let turn = after([Input::Interrupt].into_iter().chain(unknown.clone()).chain([Input::Ended(Ending::Stopped)]));
    assert_eq!(turn.state(), RunState::Interrupted);
    let turn = after(unknown.chain([Input::Interrupt, Input::Ended(Ending::Stopped)]));
    assert_failed(&turn, FailureKind::Provider, "finish reason");
}
