//! Properties that hold for every sequence of inputs.

use super::*;
use crate::Entry;
use proptest::prelude::*;

fn part() -> impl Strategy<Value = PartId> {
    prop::sample::select(vec!["a", "b"]).prop_map(PartId::new)
}

fn words() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "x", "é", "two words", "\n\n"]).prop_map(str::to_owned)
}

fn tool_state() -> impl Strategy<Value = ToolState> {
    prop_oneof![
        Just(ToolState::Pending),
        (0..200_u64).prop_map(|minutes| at_work(Some(minutes))),
        Just(running()),
        words().prop_map(|output| ToolState::Completed { title: None, output }),
        (words(), any::<bool>()).prop_map(|(error, refused)| ToolState::Failed { error, refused }),
    ]
}

fn reason() -> impl Strategy<Value = StepReason> {
    prop::sample::select(vec![
        StepReason::Stop,
        StepReason::ToolCalls,
        StepReason::Length,
        StepReason::Error,
        StepReason::Unknown,
        StepReason::Other("other".to_owned()),
    ])
}

fn reported_error() -> impl Strategy<Value = ReportedError> {
    let name = prop::sample::select(vec!["", "APIError", "UnknownError"]);
    let status = prop::option::of(any::<u16>());
    (name, words(), status).prop_map(|(name, message, status)| {
        let name = name.to_owned();
        ReportedError { name, message, status, retryable: None, url: None }
    })
}

fn any_event() -> impl Strategy<Value = Event> {
    let usage = (any::<u64>(), any::<u64>()).prop_map(|(input, output)| Usage { input, output, ..Usage::default() });
    let ask = (prop::option::of(ask_id()), any::<bool>()).prop_map(|(id, refused)| permission(id, refused));
    let question = ask_id().prop_map(|id| Event::Question(QuestionRequest { id, questions: Vec::new() }));
    let raw = RawJson::parse("{}".to_owned()).unwrap();
    prop_oneof![
        Just(Event::StepStart),
        (part(), words()).prop_map(|(part, delta)| Event::TextDelta { part, delta }),
        (part(), words()).prop_map(|(part, text)| Event::Text { part, text }),
        (part(), words()).prop_map(|(part, delta)| Event::ReasoningDelta { part, delta }),
        (part(), words()).prop_map(|(part, text)| Event::Reasoning { part, text }),
        (prop::sample::select(vec!["a", "b"]), tool_state()).prop_map(|(id, state)| tool(id, json!({"x": 1}), state)),
        (reason(), usage, any::<f64>()).prop_map(|(reason, usage, cost)| Event::StepFinish { reason, usage, cost }),
        ask,
        question,
        Just(Event::Unknown { kind: "heartbeat".to_owned(), raw }),
        reported_error().prop_map(Event::Error),
        Just(Event::Retry { attempt: 1, message: String::new(), next: None }),
    ]
}

fn ask_id() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b"]).prop_map(str::to_owned)
}

fn ending() -> impl Strategy<Value = Ending> {
    prop::sample::select(vec![Ending::Finished, Ending::Stopped, crashed()])
}

fn any_input() -> impl Strategy<Value = Input> {
    let sub_agent = prop::option::weighted(0.2, Just(SessionId::new("ses_sub")));
    let event =
        (any_event(), sub_agent).prop_map(|(event, sub_agent)| Input::Event(Observed { event, sub_agent, raw: None }));
    prop_oneof![
        30 => event,
        1 => Just(Input::Session(SessionId::new("ses_1"))),
        1 => any::<u64>().prop_map(|bytes| Input::Dropped { bytes }),
        1 => Just(Input::Structured(json!({"x": 1}))),
        2 => ask_id().prop_map(|id| Input::Answered { id }),
        2 => Just(Input::Progress),
        1 => Just(Input::Interrupt),
        1 => Just(Input::Kill),
        1 => prop::sample::select(vec![LimitKind::Total, LimitKind::Idle]).prop_map(Input::LimitReached),
        2 => ending().prop_map(Input::Ended),
        1 => Just(Input::Lost),
    ]
}

fn inputs() -> impl Strategy<Value = Vec<(Duration, Input)>> {
    prop::collection::vec(((0..100_u64).prop_map(Duration::from_secs), any_input()), 0..60)
}

/// The output, modelled in the simplest way: by agent, kind and id.
#[derive(Debug, Default, PartialEq)]
struct Produced {
    texts: HashMap<(Option<SessionId>, &'static str, PartId), String>,
    tools: HashMap<(Option<SessionId>, String), Option<ToolState>>,
    errors: usize,
}

impl Produced {
    /// Adds an event.
    fn replay(observed: &Observed, produced: &mut Self) {
        let agent = observed.sub_agent.clone();
        match observed.event.clone() {
            Event::TextDelta { part, delta } => {
                produced.texts.entry((agent, "text", part)).or_default().push_str(&delta);
            }
            Event::ReasoningDelta { part, delta } => {
                produced.texts.entry((agent, "reasoning", part)).or_default().push_str(&delta);
            }
            Event::Text { part, text } => drop(produced.texts.insert((agent, "text", part), text)),
            Event::Reasoning { part, text } => drop(produced.texts.insert((agent, "reasoning", part), text)),
            Event::Tool(call) => {
                let last = produced.tools.entry((agent, call.id)).or_default();
                if call.state.is_final() {
                    *last = Some(call.state);
                }
            }
            Event::Error(_) => produced.errors += 1,
            _ => {}
        }
    }

    /// Reads a record.
    fn of(record: &TurnRecord) -> Self {
        let mut produced = Self::default();
        for Entry { sub_agent, content } in record.entries.clone() {
            let twice = match content {
                EntryContent::Text { part, text } => produced.texts.insert((sub_agent, "text", part), text).is_some(),
                EntryContent::Reasoning { part, text } => {
                    produced.texts.insert((sub_agent, "reasoning", part), text).is_some()
                }
                EntryContent::Tool(call) => {
                    let end = call.state.is_final().then_some(call.state);
                    produced.tools.insert((sub_agent, call.id), end).is_some()
                }
                EntryContent::Error(_) => {
                    produced.errors += 1;
                    false
                }
                EntryContent::Unknown(entry) => panic!("no event leads to it: {entry}"),
            };
            assert!(!twice, "one part has two entries");
        }
        produced
    }
}

/// Returns the record without the last event named in a time-limit failure.
fn without_last_seen(inputs: &[(Duration, Input)]) -> TurnRecord {
    let mut turn = turn();
    for (at, input) in inputs.iter().cloned() {
        turn.apply(at, &input);
    }
    let mut record = turn.into_record();
    if let Some(TurnFailure::Timeout { last_seen, .. } | TurnFailure::IdleTimeout { last_seen, .. }) =
        &mut record.failure
    {
        last_seen.clear();
    }
    record
}

fn tool_reports() -> Vec<Event> {
    [ToolState::Pending, running(), answered("done")].map(|state| tool("c", json!({"x": 1}), state)).to_vec()
}

proptest! {
    #[test]
    fn turn_state_is_always_legal(inputs in inputs()) {
        let mut turn = turn();
        let mut at_the_end: Option<TurnRecord> = None;
        for (at, input) in inputs {
            let may_end = matches!(input, Input::Ended(_) | Input::Lost);
            let changes = turn.apply(at, &input);
            let record = turn.record();
            if let Some(end) = &at_the_end {
                prop_assert_eq!(&changes, &Changes::default());
                prop_assert_eq!(record, end);
            } else if may_end {
                prop_assert_eq!(changes.ended, Some(turn.state()));
                prop_assert!(turn.state().is_final());
                at_the_end = Some(record.clone());
            } else {
                prop_assert_eq!((changes.ended, turn.state()), (None, RunState::Running));
            }
            prop_assert_eq!(record.failure.is_some(), record.state == RunState::Error);
            prop_assert!(record.cost.is_finite());
            prop_assert_eq!(record.output_len(), record.output().len());
            if turn.state() == RunState::Completed {
                let submitted = record.structured.is_some();
                prop_assert!(record.finish.as_ref().is_some_and(|reason| submitted || reason.is_terminal()));
            }
        }
    }

    #[test]
    fn no_output_is_lost(inputs in inputs()) {
        let mut turn = turn();
        let mut produced = Produced::default();
        for (at, input) in inputs {
            if let Input::Event(observed) = &input && !turn.state().is_final() {
                Produced::replay(observed, &mut produced);
            }
            turn.apply(at, &input);
            prop_assert_eq!(&Produced::of(turn.record()), &produced);
        }
    }

    #[test]
    fn each_control_is_sent_at_most_once(inputs in inputs()) {
        let mut turn = turn();
        let sent: Vec<_> = inputs.into_iter().filter_map(|(at, input)| turn.apply(at, &input).control).collect();
        let allowed: [&[Control]; 4] =
            [&[], &[Control::Interrupt], &[Control::Kill], &[Control::Interrupt, Control::Kill]];
        prop_assert!(allowed.contains(&sent.as_slice()), "{:?}", sent);
    }

    #[test]
    fn idle_clock_never_goes_back(inputs in inputs()) {
        let idle = Duration::from_secs(7);
        let mut turn = asking_turn(Limits { total: None, idle: Some(idle) });
        let mut now = Duration::ZERO;
        let mut last_progress = Duration::ZERO;
        for (at, input) in inputs {
            now = now.max(at);
            let before = turn.limit_at(LimitKind::Idle);
            let is_answer = matches!(input, Input::Answered { .. });
            let (is_progress, is_ask) = match &input {
                Input::Event(Observed { event, .. }) => {
                    (event.is_progress(), matches!(event, Event::Permission(_) | Event::Question(_)))
                }
                Input::Dropped { .. } | Input::Structured(_) | Input::Progress => (true, false),
                _ => (false, false),
            };
            turn.apply(now, &input);
            if is_progress {
                last_progress = now;
            }
            let Some(limit) = turn.limit_at(LimitKind::Idle) else { continue };
            prop_assert!(limit >= last_progress + idle);
            prop_assert!(limit <= now + MAX_TOOL_TIMEOUT + idle);
            if !is_progress && !is_answer && !is_ask {
                prop_assert_eq!(before, Some(limit));
            }
        }
    }

    #[test]
    fn neutral_inputs_leave_record_unchanged(
        inputs in inputs(),
        places in prop::collection::vec(any::<usize>(), 0..9),
    ) {
        let idle_talk = [
            Input::Progress,
            Input::Answered { id: "a".to_owned() },
            event(Event::Retry { attempt: 1, message: "busy".to_owned(), next: None }),
            event(permission(Some("a".to_owned()), false)),
        ];
        let mut talkative = inputs.clone();
        for (index, input) in places.into_iter().zip(idle_talk.iter().cycle()) {
            talkative.insert(index % (talkative.len() + 1), (Duration::ZERO, input.clone()));
        }
        prop_assert_eq!(without_last_seen(&inputs), without_last_seen(&talkative));
    }

    #[test]
    fn tool_reports_may_arrive_reordered(states in Just(tool_reports()).prop_shuffle()) {
        let in_order = after(tool_reports().into_iter().map(event)).into_record();
        let shuffled = after(states.into_iter().map(event)).into_record();
        prop_assert_eq!(in_order.entries, shuffled.entries);
    }

    #[test]
    fn record_survives_json(inputs in inputs()) {
        let mut turn = turn();
        for (at, input) in inputs {
            turn.apply(at, &input);
        }
        let record = turn.into_record();
        let json = serde_json::to_string(&record).unwrap();
        let read: TurnRecord = serde_json::from_str(&json).unwrap();
        // Compares texts, not values: a float may differ in its last digit after a round trip.
        prop_assert_eq!(read.output(), record.output());
        prop_assert_eq!((read.state, read.entries, read.usage), (record.state, record.entries, record.usage));
    }
}
