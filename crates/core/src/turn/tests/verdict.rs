//! The outcome of a turn.

use super::*;

#[test]
fn finished_turn_with_terminal_step_completes() {
    for reason in [StepReason::Stop, StepReason::Length, StepReason::ContentFilter, StepReason::Other("x".into())] {
        let turn = after([start(), event(text("p", "hi")), finish(reason.clone()), finished()]);
        assert_eq!(turn.state(), RunState::Completed);
        assert_eq!((&turn.record().failure, &turn.record().finish), (&None, &Some(reason)));
    }
}

#[test]
fn turn_continues_after_tool_calls() {
    let mut turn = after([start(), event(tool("c", json!({}), answered("ok"))), finish(StepReason::ToolCalls)]);
    assert_eq!(turn.state(), RunState::Running);
    for input in [start(), finish(StepReason::Stop), finished()] {
        assert_eq!(turn.state(), RunState::Running);
        turn.apply(Duration::from_secs(9), &input);
    }
    assert_eq!((turn.state(), turn.record().steps), (RunState::Completed, 2));
}

#[test]
fn structured_value_from_tool_completes_turn() {
    let value = || Input::Structured(json!({"colour": "red"}));
    let turn = after([start(), finish(StepReason::ToolCalls), value(), finished()]);
    assert_eq!((turn.state(), &turn.record().failure), (RunState::Completed, &None));
    let open = after([start(), value(), finished()]);
    assert_failed(&open, FailureKind::Protocol, "in the middle of a step");
}

#[test]
fn end_without_terminal_step_is_protocol_failure() {
    assert_failed(&after([finished()]), FailureKind::Protocol, "without a single finished step");
    for reason in [StepReason::ToolCalls, StepReason::Unknown] {
        let words = format!("ended in {reason}: more was to follow");
        assert_failed(&after([start(), finish(reason), finished()]), FailureKind::Protocol, &words);
    }
    let open = after([start(), event(text("p", "half")), finished()]);
    assert_failed(&open, FailureKind::Protocol, "in the middle of a step");
    let second_open = after([start(), finish(StepReason::Stop), start(), finished()]);
    assert_failed(&second_open, FailureKind::Protocol, "in the middle of a step");
}

#[test]
fn unreadable_output_failure_counts_dropped_bytes() {
    let turn = after([Input::Dropped { bytes: 50 }, Input::Dropped { bytes: 2 }, finished()]);
    assert_failed(&turn, FailureKind::Protocol, "52 bytes");
    assert_eq!(turn.record().dropped.messages, 2);
}

#[test]
fn step_with_error_is_provider_failure() {
    let turn = after([start(), finish(StepReason::Error), finished()]);
    assert_failed(&turn, FailureKind::Provider, "ended with an error");
}

#[test]
fn final_refusal_is_permission_failure() {
    let call = || event(tool("c", json!({}), refused()));
    let turn = after([start(), call(), finish(StepReason::ToolCalls), finished()]);
    assert_failed(&turn, FailureKind::Permission, "bash: rejected");
    assert_failed(&after([start(), call(), finished()]), FailureKind::Permission, "bash: rejected");

    let id = None;
    let permission = "external_directory".to_owned();
    let patterns = vec!["/etc/*".to_owned()];
    let ask = Event::Permission(PermissionRequest::new(permission, patterns).id(id).refused(true));
    let turn = after([start(), event(ask), finish(StepReason::ToolCalls), finished()]);
    assert_failed(&turn, FailureKind::Permission, "external_directory (/etc/*)");
}

#[test]
fn refusal_message_is_independent_of_order() {
    let ask = PermissionRequest::new("edit", vec!["/etc/*".into()]).refused(true);
    let asked = event(Event::Permission(ask));
    let failed = event(tool("c", json!({}), refused()));
    for two in [[asked.clone(), failed.clone()], [failed, asked]] {
        let turn = after([start()].into_iter().chain(two).chain([finish(StepReason::ToolCalls), finished()]));
        assert_failed(&turn, FailureKind::Permission, "edit (/etc/*)");
    }
}

#[test]
fn refusal_before_further_step_is_harmless() {
    let call = event(tool("c", json!({}), refused()));
    let turn = after([start(), call, finish(StepReason::ToolCalls), start(), finish(StepReason::Stop), finished()]);
    assert_eq!(turn.state(), RunState::Completed);
}

#[test]
fn only_last_steps_refusal_fails_turn() {
    let call = || tool("c", json!({}), refused());
    let earlier = [start(), event(call()), finish(StepReason::ToolCalls), start(), finish(StepReason::ToolCalls)];
    assert_failed(&after(earlier.into_iter().chain([finished()])), FailureKind::Protocol, "more was to follow");
    let of_another = after([start(), of_sub_agent(call()), finish(StepReason::ToolCalls), finished()]);
    assert_failed(&of_another, FailureKind::Protocol, "more was to follow");
}

#[test]
fn sub_agent_errors_do_not_fail_turn() {
    let error = ReportedError { name: "X".into(), message: "y".into(), status: None, retryable: None, url: None };
    let turn = after([
        start(),
        of_sub_agent(Event::StepStart),
        of_sub_agent(tool("c", json!({}), refused())),
        of_sub_agent(Event::Error(error)),
        finish(StepReason::Stop),
        finished(),
    ]);
    assert_eq!((turn.state(), turn.record().steps), (RunState::Completed, 1));
    // A sub-agent's last step does not end the turn either.
    let turn = after([start(), of_sub_agent(step_finish(StepReason::Stop, 0.0)), finished()]);
    assert_failed(&turn, FailureKind::Protocol, "in the middle of a step");
    // A sub-agent's step neither clears the error of the turn's own agent nor starts a step of that agent.
    let error = reported("APIError", Some(500));
    let turn = after([start(), finish(StepReason::Stop), error, of_sub_agent(Event::StepStart), finished()]);
    assert_failed(&turn, FailureKind::Provider, "boom");
    let turn = after([start(), finish(StepReason::Stop), of_sub_agent(Event::StepStart), finished()]);
    assert_eq!(turn.state(), RunState::Completed);
}

#[test]
fn final_reported_error_fails_turn() {
    let provider = after([start(), reported("APIError", Some(500)), finished()]);
    assert_failed(&provider, FailureKind::Provider, "with status 500: boom");
    let unreachable = ReportedError::new("Weird", "boom").retryable(true);
    assert_failed(&after([event(Event::Error(unreachable)), finished()]), FailureKind::Provider, "boom");
    assert_failed(&after([reported("Weird", Some(503)), finished()]), FailureKind::Provider, "503");
    assert_failed(&after([reported("UnknownError", None), finished()]), FailureKind::Opencode, "UnknownError: boom");
    assert_failed(&after([reported("", None), finished()]), FailureKind::Opencode, "opencode failed: boom");
    // A terminal step does not clear an error that was reported within or after it.
    let late = after([start(), finish(StepReason::Stop), reported("APIError", Some(500)), finished()]);
    assert_failed(&late, FailureKind::Provider, "boom");
}

#[test]
fn recovered_error_is_only_recorded() {
    let turn = after([start(), reported("APIError", None), start(), finish(StepReason::Stop), finished()]);
    assert_eq!(turn.state(), RunState::Completed);
    assert!(matches!(turn.record().entries[0].content, EntryContent::Error(_)));
}

#[test]
fn transport_failure_is_turn_failure() {
    let turn = after([start(), finish(StepReason::Stop), Input::Ended(crashed())]);
    assert_failed(&turn, FailureKind::Crashed, "exit code 3");
    assert_failed(&after([start(), Input::Lost]), FailureKind::Protocol, "the executor is gone");
}

#[test]
fn external_stop_is_interrupted() {
    assert_eq!(after([start(), Input::Ended(Ending::Stopped)]).state(), RunState::Interrupted);
}
