//! The record of a turn.

use super::*;

#[test]
fn finished_turn_ignores_input() {
    let mut turn = after([start(), event(text("p", "hi")), finish(StepReason::Stop), finished()]);
    let before = turn.record().clone();
    let inputs = [
        event(text("p", "other")),
        Input::Session(SessionId::new("ses_2")),
        Input::Dropped { bytes: 1 },
        Input::Kill,
        Input::LimitReached(LimitKind::Total),
        Input::Ended(crashed()),
        Input::Lost,
    ];
    for input in inputs {
        assert_eq!(turn.apply(Duration::from_hours(1), &input), Changes::default());
    }
    assert_eq!(turn.record(), &before);
}

#[test]
fn session_is_reported_once() {
    let mut turn = turn();
    let mut sent = |id| turn.apply(Duration::ZERO, &Input::Session(SessionId::new(id))).session;
    assert_eq!(sent("ses_1"), Some(SessionId::new("ses_1")));
    assert_eq!((sent("ses_1"), sent("ses_2")), (None, None));
}

#[test]
fn usage_includes_steps_and_sub_agents() {
    let turn = after([
        event(step_finish(StepReason::ToolCalls, 0.25)),
        of_sub_agent(step_finish(StepReason::Stop, 0.5)),
        event(step_finish(StepReason::Stop, f64::NAN)),
        event(step_finish(StepReason::Stop, f64::INFINITY)),
    ]);
    let record = turn.record();
    assert_eq!(record.usage, Usage { input: 40, output: 4, ..Usage::default() });
    assert!((record.cost - 0.75).abs() < 1e-12, "{}", record.cost);
    assert_eq!(record.steps, 3);
    let absurd =
        after([event(step_finish(StepReason::Stop, f64::MAX)), event(step_finish(StepReason::Stop, f64::MAX))]);
    assert!(absurd.record().cost.is_finite());
}

#[test]
fn whole_text_replaces_deltas() {
    let mut turn = after([event(delta("p", "Hel")), event(delta("q", "other")), event(delta("p", "lo"))]);
    assert_eq!(turn.record().output(), "Hello\n\nother");
    turn.apply(Duration::ZERO, &event(text("p", "Hello!")));
    assert_eq!(turn.record().output(), "Hello!\n\nother");
}

#[test]
fn output_excludes_sub_agents() {
    let thought = Event::Reasoning { part: PartId::new("r"), text: "hm".to_owned() };
    let turn = after([
        event(text("p0", "")),
        event(text("p1", "one")),
        of_sub_agent(text("p2", "not this")),
        event(thought),
        event(text("p3", "two")),
    ]);
    assert_eq!(turn.record().output(), "one\n\ntwo");
    assert_eq!(turn.record().output_len(), turn.record().output().len());
    assert_eq!(turn.record().entries.len(), 5);
}

#[test]
fn same_call_id_in_two_agents_is_distinct() {
    let thought = Event::ReasoningDelta { part: PartId::new("p"), delta: "hm".to_owned() };
    let turn = after([
        event(text("p", "one")),
        event(thought),
        of_sub_agent(text("p", "two")),
        event(tool("c", json!({"a": 1}), answered("one"))),
        of_sub_agent(tool("c", json!({"b": 2}), running())),
    ]);
    assert_eq!((turn.record().output(), turn.record().entries.len()), ("one".to_owned(), 5));
}

#[test]
fn tool_call_state_never_goes_back() {
    let known = |turn: &TurnMachine| match &turn.record().entries[0].content {
        EntryContent::Tool(call) => (call.input.clone(), call.state.clone()),
        other => panic!("{other:?}"),
    };
    let input = json!({"command": "ls"});
    let mut turn = after([event(tool("c", json!(null), ToolState::Pending))]);
    let mut apply = |event: Event| {
        turn.apply(Duration::ZERO, &super::event(event));
        assert_eq!(turn.record().entries.len(), 1);
        known(&turn)
    };
    assert_eq!(apply(tool("c", input.clone(), running())), (input.clone(), running()));
    assert_eq!(apply(tool("c", json!(null), ToolState::Pending)), (input.clone(), running()));
    assert_eq!(apply(tool("c", json!(null), answered("x"))), (input.clone(), answered("x")));
    assert_eq!(apply(tool("c", input.clone(), running())), (input.clone(), answered("x")));
    assert_eq!(apply(tool("c", input.clone(), answered("y"))), (input, answered("y")));
}

#[test]
fn duration_is_latest_input_time() {
    let mut turn = turn();
    turn.apply(Duration::from_secs(5), &start());
    turn.apply(Duration::from_secs(3), &finish(StepReason::Stop));
    assert_eq!(turn.record().duration, Duration::from_secs(5));
    turn.apply(Duration::from_secs(6), &finished());
    assert_eq!(turn.into_record().duration, Duration::from_secs(6));
}

#[test]
fn neutral_inputs_only_reset_idle_clock() {
    let raw = RawJson::parse("{}".to_owned()).unwrap();
    let turn = after([
        event(Event::Retry { attempt: 1, message: "later".into(), next: None }),
        event(Event::Unknown { kind: "x".into(), raw }),
    ]);
    assert!(turn.record().entries.is_empty());
    assert_eq!(turn.last, ("retry", Duration::from_secs(1)));
}

#[test]
fn full_record_counts_new_entries() {
    let mut turn = turn();
    for number in 0..MAX_ENTRIES {
        turn.apply(Duration::ZERO, &event(delta(&number.to_string(), "x")));
    }
    assert_eq!(turn.record().dropped.messages, 0);
    turn.apply(Duration::ZERO, &event(text("more", "four")));
    turn.apply(Duration::ZERO, &event(delta("more", "two")));
    turn.apply(Duration::ZERO, &event(tool("c", json!({}), answered("seven!!"))));
    turn.apply(Duration::ZERO, &reported("", None));
    turn.apply(Duration::ZERO, &event(delta("7", "yz")));
    let record = turn.record();
    assert_eq!(record.entries.len(), MAX_ENTRIES);
    assert_eq!((record.dropped.messages, record.dropped.bytes), (4, 4 + 3 + 7 + 4));
    assert!(record.output().contains("\n\nxyz\n\n"));
}

#[test]
fn known_part_allocates_only_its_text() {
    let mut turn = turn();
    let raw = RawJson::parse("{}".to_owned()).unwrap();
    for _ in 0..100_000 {
        turn.apply(Duration::ZERO, &event(delta("p", "x")));
        turn.apply(Duration::ZERO, &event(tool("c", json!({}), running())));
        turn.apply(Duration::ZERO, &event(Event::Unknown { kind: "k".to_owned(), raw: raw.clone() }));
    }
    assert_eq!((turn.record().entries.len(), turn.record().output_len()), (2, 100_000));
    assert_eq!((turn.parts.len(), turn.tools.len()), (1, 1));
}
