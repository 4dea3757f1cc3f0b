//! Progress and the idle clock.

use super::*;

const IDLE: Duration = Duration::from_secs(8);

/// Applies each input at its second and returns the second at which the idle limit is reached afterwards.
fn limit_after(inputs: impl IntoIterator<Item = (u64, Input)>) -> Option<u64> {
    let mut turn = asking_turn(Limits { total: None, idle: Some(IDLE) });
    for (at, input) in inputs {
        turn.apply(Duration::from_secs(at), &input);
    }
    turn.limit_at(LimitKind::Idle).map(|limit| limit.as_secs())
}

fn at_second(at: u64, event: Event) -> (u64, Input) {
    (at, super::event(event))
}

fn answer(id: &str) -> Input {
    Input::Answered { id: id.to_owned() }
}

fn ask(id: &str) -> Event {
    permission(Some(id.to_owned()), false)
}

fn question(id: &str) -> Event {
    Event::Question(QuestionRequest { id: id.to_owned(), questions: Vec::new() })
}

#[test]
fn progress_resets_idle_clock() {
    let thought = Event::ReasoningDelta { part: PartId::new("r"), delta: "hm".to_owned() };
    let error = ReportedError { name: String::new(), message: String::new(), status: None, retryable: None, url: None };
    let events = [
        Event::StepStart,
        delta("p", "x"),
        text("p", "x"),
        thought,
        tool("c", json!({}), answered("x")),
        step_finish(StepReason::ToolCalls, 0.0),
        Event::Error(error),
    ];
    for event in events {
        assert_eq!(limit_after([at_second(5, event.clone())]), Some(13), "{event:?}");
        let of_sub_agent = Observed::new(event).from_sub_agent(SessionId::new("ses_sub"));
        assert_eq!(limit_after([(5, Input::Event(of_sub_agent))]), Some(13));
    }
    for input in [Input::Progress, Input::Dropped { bytes: 1 }, Input::Structured(json!(1))] {
        assert_eq!(limit_after([(5, input)]), Some(13));
    }
}

#[test]
fn retries_and_heartbeats_are_not_progress() {
    let raw = RawJson::parse("{}".to_owned()).unwrap();
    let retry = Event::Retry { attempt: 1, message: "overloaded".to_owned(), next: Some(Duration::from_secs(2)) };
    let heartbeat = Event::Unknown { kind: "server.heartbeat".to_owned(), raw };
    let empty = [delta("p", ""), Event::ReasoningDelta { part: PartId::new("r"), delta: String::new() }];
    for event in empty {
        assert_eq!(limit_after([at_second(5, event.clone())]), Some(8), "{event:?}");
    }
    let still = [retry, heartbeat, permission(Some("a".to_owned()), true), permission(None, false)];
    for event in still {
        assert_eq!(limit_after([at_second(5, event.clone())]), Some(8), "{event:?}");
    }
    assert_eq!(limit_after([(5, Input::Session(SessionId::new("ses_1")))]), Some(8));
    assert_eq!(limit_after([(5, answer("never asked"))]), Some(8));
}

#[test]
fn running_tool_suspends_idle_clock() {
    let two_minutes = TOOL_TIMEOUT.as_secs();
    for state in [ToolState::Pending, running()] {
        assert_eq!(limit_after([at_second(5, tool("c", json!({}), state))]), Some(5 + two_minutes + 8));
    }
    let own_limit = |minutes| limit_after([at_second(5, tool("c", json!({}), at_work(Some(minutes))))]);
    assert_eq!(own_limit(10), Some(5 + 600 + 8));
    assert_eq!(own_limit(1), Some(5 + 60 + 8));
    assert_eq!(own_limit(u64::from(u32::MAX)), Some(5 + MAX_TOOL_TIMEOUT.as_secs() + 8));
}

#[test]
fn last_finished_tool_resumes_idle_clock() {
    let works = |id, minutes| tool(id, json!({}), at_work(Some(minutes)));
    let done = |id| tool(id, json!({}), answered("x"));
    let of_sub_agent = |event| Input::Event(Observed::new(event).from_sub_agent(SessionId::new("ses_sub")));
    let both = [at_second(0, works("c", 10)), (0, of_sub_agent(works("c", 5)))];
    assert_eq!(limit_after(both.clone()), Some(608));
    let first_done = both.into_iter().chain([at_second(20, done("c"))]);
    assert_eq!(limit_after(first_done.clone()), Some(308));
    let all_done = first_done.chain([(30, of_sub_agent(done("c")))]);
    assert_eq!(limit_after(all_done.clone()), Some(38));
    // A late report does not restart the tool.
    assert_eq!(limit_after(all_done.chain([at_second(31, works("c", 10))])), Some(39));
}

#[test]
fn open_request_suspends_idle_clock() {
    assert_eq!(limit_after([at_second(5, ask("a"))]), None);
    assert_eq!(limit_after([at_second(5, question("a"))]), None);
    assert_eq!(limit_after([at_second(5, ask("a")), (500, answer("a"))]), Some(508));
    let two = [at_second(5, ask("a")), at_second(6, question("b")), (500, answer("a"))];
    assert_eq!(limit_after(two.clone()), None);
    assert_eq!(limit_after(two.into_iter().chain([at_second(600, Event::StepStart), (700, answer("b"))])), Some(708));
}

#[test]
fn automatic_policy_keeps_idle_clock_running() {
    for policy in [PermissionPolicy::Allow, PermissionPolicy::Deny] {
        let limits = Limits { total: None, idle: Some(IDLE) };
        let mut turn =
            TurnMachine::new(&Prompt::new("hello").limits(limits).permissions(policy), SystemTime::UNIX_EPOCH);
        turn.apply(Duration::from_secs(5), &event(ask("a")));
        turn.apply(Duration::from_secs(5), &event(question("b")));
        assert_eq!(turn.limit_at(LimitKind::Idle), Some(IDLE));
    }
}

#[test]
fn idle_failure_names_last_event() {
    let reached = |event: Event| {
        let mut turn = asking_turn(Limits { total: Some(IDLE), idle: Some(IDLE) });
        turn.apply(Duration::from_secs(1), &super::event(event));
        turn.apply(Duration::from_secs(8), &Input::LimitReached(LimitKind::Idle));
        // Events that follow the interrupt are not reported as the last one.
        turn.apply(Duration::from_secs(9), &super::event(text("p", "cut")));
        turn.apply(Duration::from_secs(9), &Input::Ended(Ending::Stopped));
        turn
    };
    let retry = Event::Retry { attempt: 1, message: "overloaded".to_owned(), next: None };
    assert_failed(&reached(retry), FailureKind::IdleTimeout, "no progress for 8s; last seen: retry after 1.0 s");
    assert_failed(
        &reached(ask("a")),
        FailureKind::IdleTimeout,
        "permission after 1.0 s, waiting for an answer from the user",
    );
    let bytes = after([Input::Progress, Input::LimitReached(LimitKind::Idle), Input::Lost]);
    assert_failed(&bytes, FailureKind::IdleTimeout, "last seen: bytes of the model's answer after 1.0 s");
}
