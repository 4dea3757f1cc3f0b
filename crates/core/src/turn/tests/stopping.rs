//! A turn that is ended from our side.

use super::*;

#[test]
fn an_interrupted_turn_is_interrupted_however_it_ends() {
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
fn a_turn_that_was_done_before_the_stop_took_effect_is_completed() {
    for stop in [Input::Interrupt, Input::Kill, Input::LimitReached(LimitKind::Total)] {
        let turn = after([start(), finish(StepReason::Stop), stop.clone(), finished()]);
        assert_eq!(turn.state(), RunState::Completed);
        let turn = after([start(), stop, finish(StepReason::Stop), finished()]);
        assert_eq!(turn.state(), RunState::Completed);
    }
}

#[test]
fn a_turn_that_the_transport_had_to_end_is_interrupted_also_after_its_last_step() {
    let turn = after([start(), finish(StepReason::Stop), Input::Kill, Input::Ended(Ending::Stopped)]);
    assert_eq!(turn.state(), RunState::Interrupted);
}

#[test]
fn each_control_is_told_once_and_none_after_a_kill() {
    let mut turn = turn();
    let mut told = |input| turn.apply(Duration::ZERO, &input).control;
    assert_eq!(told(Input::Interrupt), Some(Control::Interrupt));
    assert_eq!(told(Input::Interrupt), None);
    assert_eq!(told(Input::LimitReached(LimitKind::Idle)), None);
    assert_eq!(told(Input::Kill), Some(Control::Kill));
    assert_eq!(told(Input::Kill), None);
    assert_eq!(told(Input::Interrupt), None);

    let mut turn = super::turn();
    assert_eq!(turn.apply(Duration::ZERO, &Input::Kill).control, Some(Control::Kill));
    assert_eq!(turn.apply(Duration::ZERO, &Input::Interrupt).control, None);
}

#[test]
fn a_limit_interrupts_and_names_what_was_seen_last() {
    let limits = Limits { total: Some(Duration::from_mins(1)), idle: Some(Duration::from_secs(5)) };
    for (limit, kind) in [(LimitKind::Total, FailureKind::Timeout), (LimitKind::Idle, FailureKind::IdleTimeout)] {
        let mut turn = TurnMachine::new(&Prompt::new("hello").limits(limits), SystemTime::UNIX_EPOCH);
        turn.apply(Duration::from_secs(1), &start());
        turn.apply(Duration::from_millis(2500), &event(tool("c", json!({}), running())));
        let changes = turn.apply(Duration::from_secs(9), &Input::LimitReached(limit));
        assert_eq!((changes.control, changes.ended), (Some(Control::Interrupt), None));
        // The first reason stands, also when somebody then asks for a kill.
        assert_eq!(turn.apply(Duration::from_secs(9), &Input::Kill).control, Some(Control::Kill));
        turn.apply(Duration::from_secs(10), &Input::Ended(Ending::Stopped));
        assert_failed(&turn, kind, "last seen: tool after 2.5 s, with bash at work");
    }
    // A tool that has answered is not at work.
    let call = |state| event(tool("c", json!({}), state));
    let answered = after([call(running()), call(answered("ok")), Input::LimitReached(LimitKind::Total), Input::Lost]);
    assert!(!answered.record().failure.as_ref().unwrap().to_string().contains("at work"));
    let untouched = after([Input::LimitReached(LimitKind::Total), Input::Lost]);
    assert_failed(&untouched, FailureKind::Timeout, "nothing after 0.0 s");
}

#[test]
fn the_idle_limit_moves_and_there_is_none_once_the_turn_is_being_ended() {
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
fn steps_that_never_end_for_a_reason_are_ended() {
    let mut turn = turn();
    let mut controls = Vec::new();
    for _ in 0..UNKNOWN_STEPS + 2 {
        for input in [start(), event(text("p", "again")), finish(StepReason::Unknown)] {
            controls.push(turn.apply(Duration::ZERO, &input).control);
        }
    }
    let told: Vec<_> = controls.iter().enumerate().filter(|(_, control)| control.is_some()).collect();
    assert_eq!(told, [(UNKNOWN_STEPS as usize * 3 - 1, &Some(Control::Interrupt))], "after the last one, and once");
    assert_eq!((turn.state(), turn.limit_at(LimitKind::Idle)), (RunState::Running, None));
    turn.apply(Duration::ZERO, &Input::Ended(Ending::Stopped));
    assert_failed(&turn, FailureKind::Provider, "8 answers in a row ended without a finish reason");
    assert_eq!(turn.record().output(), "again");
}

#[test]
fn only_steps_of_the_turns_own_agent_in_a_row_count_as_endless() {
    let unknown = || [start(), finish(StepReason::Unknown)];
    let mut inputs = Vec::new();
    for _ in 0..3 {
        inputs.extend((1..UNKNOWN_STEPS).flat_map(|_| unknown()));
        inputs.extend([start(), finish(StepReason::ToolCalls)]);
    }
    inputs.extend((0..UNKNOWN_STEPS * 2).map(|_| of_sub_agent(step_finish(StepReason::Unknown, 0.0))));
    inputs.extend([start(), finish(StepReason::Stop), finished()]);
    assert_eq!(after(inputs).state(), RunState::Completed);
}

#[test]
fn whoever_asked_first_is_why_an_endless_turn_ended() {
    let unknown = (0..UNKNOWN_STEPS).flat_map(|_| [start(), finish(StepReason::Unknown)]);
    let turn = after([Input::Interrupt].into_iter().chain(unknown.clone()).chain([Input::Ended(Ending::Stopped)]));
    assert_eq!(turn.state(), RunState::Interrupted);
    let turn = after(unknown.chain([Input::Interrupt, Input::Ended(Ending::Stopped)]));
    assert_failed(&turn, FailureKind::Provider, "finish reason");
}
