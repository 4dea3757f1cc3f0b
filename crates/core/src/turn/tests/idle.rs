//! What is progress, and what holds the idle clock.

use super::*;

const IDLE: Duration = Duration::from_secs(8);

/// Plays inputs, each at its second, and returns the second at which the idle limit is then reached.
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
    Event::Question(QuestionAsk { id: id.to_owned(), questions: Vec::new() })
}

#[test]
fn what_moves_the_turn_moves_the_clock() {
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
fn a_provider_that_is_tried_again_for_ever_and_heartbeats_do_not() {
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
fn a_tool_at_work_holds_the_clock_as_long_as_it_may_take() {
    let two_minutes = TOOL_LIMIT.as_secs();
    for state in [ToolState::Pending, running()] {
        assert_eq!(limit_after([at_second(5, tool("c", json!({}), state))]), Some(5 + two_minutes + 8));
    }
    let own_limit = |minutes| limit_after([at_second(5, tool("c", json!({}), at_work(Some(minutes))))]);
    assert_eq!(own_limit(10), Some(5 + 600 + 8));
    assert_eq!(own_limit(1), Some(5 + 60 + 8));
    assert_eq!(own_limit(u64::from(u32::MAX)), Some(5 + LONGEST_TOOL_LIMIT.as_secs() + 8));
}

#[test]
fn the_last_of_the_tools_at_work_lets_the_clock_go() {
    let works = |id, minutes| tool(id, json!({}), at_work(Some(minutes)));
    let done = |id| tool(id, json!({}), answered("x"));
    let of_sub_agent = |event| Input::Event(Observed::new(event).from_sub_agent(SessionId::new("ses_sub")));
    let both = [at_second(0, works("c", 10)), (0, of_sub_agent(works("c", 5)))];
    assert_eq!(limit_after(both.clone()), Some(608));
    let first_done = both.into_iter().chain([at_second(20, done("c"))]);
    assert_eq!(limit_after(first_done.clone()), Some(308));
    let all_done = first_done.chain([(30, of_sub_agent(done("c")))]);
    assert_eq!(limit_after(all_done.clone()), Some(38));
    // A report that was overtaken does not set the tool to work again.
    assert_eq!(limit_after(all_done.chain([at_second(31, works("c", 10))])), Some(39));
}

#[test]
fn the_clock_stands_still_while_somebody_is_asked() {
    assert_eq!(limit_after([at_second(5, ask("a"))]), None);
    assert_eq!(limit_after([at_second(5, question("a"))]), None);
    assert_eq!(limit_after([at_second(5, ask("a")), (500, answer("a"))]), Some(508));
    let two = [at_second(5, ask("a")), at_second(6, question("b")), (500, answer("a"))];
    assert_eq!(limit_after(two.clone()), None);
    assert_eq!(limit_after(two.into_iter().chain([at_second(600, Event::StepStart), (700, answer("b"))])), Some(708));
}

#[test]
fn nobody_is_asked_where_the_policy_answers() {
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
fn the_failure_says_what_was_seen_last_also_where_it_was_no_progress() {
    let reached = |event: Event| {
        let mut turn = asking_turn(Limits { total: Some(IDLE), idle: Some(IDLE) });
        turn.apply(Duration::from_secs(1), &super::event(event));
        turn.apply(Duration::from_secs(8), &Input::LimitReached(LimitKind::Idle));
        // What comes of the interrupt is not what was seen last.
        turn.apply(Duration::from_secs(9), &super::event(text("p", "cut")));
        turn.apply(Duration::from_secs(9), &Input::Ended(Ending::Stopped));
        turn
    };
    let retry = Event::Retry { attempt: 1, message: "overloaded".to_owned(), next: None };
    assert_failed(&reached(retry), FailureKind::IdleTimeout, "no progress for 8s; last seen: retry after 1.0 s");
    assert_failed(&reached(ask("a")), FailureKind::IdleTimeout, "permission after 1.0 s, and an answer is waited for");
    let bytes = after([Input::Progress, Input::LimitReached(LimitKind::Idle), Input::Lost]);
    assert_failed(&bytes, FailureKind::IdleTimeout, "last seen: bytes of the model's answer after 1.0 s");
}
