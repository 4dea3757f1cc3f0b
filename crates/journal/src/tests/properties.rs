//! Properties that hold for every conversation.

use super::*;
use opencode_run_core::{
    LimitKind, PermissionRequest, ProcessExit, QuestionRequest, ReportedError, TurnFailure, Warning, WarningCode,
};
use proptest::prelude::*;

fn word() -> impl Strategy<Value = String> {
    prop_oneof![prop::sample::select(vec!["", "x", "two\nlines", "\u{2028}\"\\\0"]).prop_map(str::to_owned), ".{0,8}"]
}

fn id() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b"]).prop_map(str::to_owned)
}

fn part() -> impl Strategy<Value = PartId> {
    id().prop_map(PartId::new)
}

fn tool_state() -> impl Strategy<Value = ToolState> {
    let title = || prop::option::of(word());
    prop_oneof![
        Just(ToolState::Pending),
        (title(), prop::option::of(any::<Duration>())).prop_map(|(title, limit)| ToolState::Running { title, limit }),
        (title(), word()).prop_map(|(title, output)| ToolState::Completed { title, output }),
        (word(), any::<bool>()).prop_map(|(error, refused)| ToolState::Failed { error, refused }),
    ]
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![
        Just(json!(null)),
        any::<u64>().prop_map(|number| json!({"number": number})),
        any::<f64>().prop_map(|number| json!([number])),
        word().prop_map(|text| json!({ text.clone(): [text] })),
    ]
}

fn reason() -> impl Strategy<Value = StepReason> {
    prop_oneof![
        Just(StepReason::Stop),
        Just(StepReason::ToolCalls),
        Just(StepReason::Unknown),
        word().prop_map(StepReason::Other),
    ]
}

fn reported() -> impl Strategy<Value = ReportedError> {
    (word(), word(), any::<Option<u16>>(), any::<Option<bool>>(), prop::option::of(word())).prop_map(
        |(name, message, status, retryable, url)| {
            ReportedError::new(name, message).status(status).retryable(retryable).url(url)
        },
    )
}

fn any_event() -> impl Strategy<Value = Event> {
    let usage = (any::<u64>(), any::<u64>()).prop_map(|(input, output)| Usage { input, output, ..Usage::default() });
    let ask = (prop::option::of(id()), word(), any::<bool>()).prop_map(|(id, permission, refused)| {
        Event::Permission(PermissionRequest::new(permission, vec!["*".to_owned()]).id(id).refused(refused))
    });
    let raw = RawJson::parse("{ \"a\":\r\n1.0}".to_owned()).unwrap();
    prop_oneof![
        Just(Event::StepStart),
        (part(), word()).prop_map(|(part, delta)| Event::TextDelta { part, delta }),
        (part(), word()).prop_map(|(part, text)| Event::Text { part, text }),
        (part(), word()).prop_map(|(part, delta)| Event::ReasoningDelta { part, delta }),
        (part(), word()).prop_map(|(part, text)| Event::Reasoning { part, text }),
        (id(), word(), value(), tool_state())
            .prop_map(|(id, tool, input, state)| Event::Tool(ToolCall::new(id, tool, input, state))),
        (reason(), usage, any::<f64>()).prop_map(|(reason, usage, cost)| Event::StepFinish { reason, usage, cost }),
        ask,
        (id(), word()).prop_map(|(id, text)| Event::Question(QuestionRequest::new(id, vec![text]))),
        (any::<u32>(), word(), any::<Option<Duration>>()).prop_map(|(attempt, message, next)| Event::Retry {
            attempt,
            message,
            next
        }),
        reported().prop_map(Event::Error),
        word().prop_map(|message| Event::Warning(Warning::new(WarningCode::Compacted, message))),
        word().prop_map(move |kind| Event::Unknown { kind, raw: raw.clone() }),
    ]
}

fn ending() -> impl Strategy<Value = Ending> {
    let crashed = TurnFailure::Crashed { exit: ProcessExit::Signal(9), stderr: "killed".to_owned() };
    let limit = TurnFailure::Limit { message: "too dear".to_owned() };
    prop::sample::select(vec![Ending::Finished, Ending::Stopped, Ending::Failed(crashed), Ending::Failed(limit)])
}

fn any_input() -> impl Strategy<Value = Input> {
    let sub_agent = prop::option::weighted(0.2, Just("ses_sub"));
    let raw = prop::option::of(Just("{\"raw\":\n[true]}"));
    let event = (any_event(), sub_agent, raw).prop_map(|(event, sub_agent, raw)| {
        let mut observed = Observed::new(event);
        observed.sub_agent = sub_agent.map(SessionId::new);
        observed.raw = raw.map(|raw| RawJson::parse(raw.to_owned()).unwrap());
        Input::Event(observed)
    });
    prop_oneof![
        30 => event,
        2 => prop::sample::select(vec!["ses_1", "ses_2"]).prop_map(|id| Input::Session(SessionId::new(id))),
        1 => any::<u64>().prop_map(|bytes| Input::Dropped { bytes }),
        1 => value().prop_map(Input::Structured),
        1 => id().prop_map(|id| Input::Answered { id }),
        3 => Just(Input::Progress),
        1 => Just(Input::Interrupt),
        1 => Just(Input::Kill),
        1 => prop::sample::select(vec![LimitKind::Total, LimitKind::Idle]).prop_map(Input::LimitReached),
        1 => ending().prop_map(Input::Ended),
        1 => Just(Input::Lost),
    ]
}

/// A step of the test: a turn begins or receives an input.
#[derive(Debug, Clone)]
enum Step {
    Turn(String, Limits),
    Input(Input),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let limits = any::<(Option<Duration>, Option<Duration>)>().prop_map(|(total, idle)| Limits { total, idle });
    let turn = || (word(), limits.clone()).prop_map(|(message, limits)| Step::Turn(message, limits));
    let more = prop_oneof![1 => turn(), 20 => any_input().prop_map(Step::Input)];
    (turn(), prop::collection::vec(more, 0..60)).prop_map(|(first, mut steps)| {
        steps.insert(0, first);
        steps
    })
}

/// Records these steps, a little more than a millisecond apart, and calls `after` after each.
fn tell(steps: Vec<Step>, mut after: impl FnMut(&Recorded)) -> Recorded {
    let mut told = Recorded::new();
    for (number, step) in (0_u32..).zip(steps) {
        match step {
            Step::Turn(message, limits) => told.begin(&Prompt::new(message).limits(limits)),
            Step::Input(input) => told.input(Duration::from_nanos(1_000_003) * number, &input),
        }
        after(&told);
    }
    told
}

/// Clears the duration of a running turn, which depends on progress inputs that were not written yet.
fn without_duration(mut conversation: Conversation) -> Conversation {
    for turn in conversation.turns.iter_mut().filter(|turn| turn.failure.is_some() || turn.state == RunState::Running) {
        let turn = Arc::make_mut(turn);
        turn.duration = Duration::ZERO;
    }
    conversation
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn journal_returns_recorded_conversation(steps in steps()) {
        let told = tell(steps, |_| {});
        told.length();
        let recovered = read(&told.path()).unwrap();
        prop_assert_eq!((recovered.truncated_bytes, recovered.skipped_lines), (0, 0));
        prop_assert_eq!(without_duration(recovered.conversation), without_duration(told.live()));
    }

    #[test]
    fn any_truncation_returns_earlier_inputs(steps in steps(), cut in any::<prop::sample::Index>()) {
        let mut known = Vec::new();
        let told = tell(steps, |told| known.push((told.length(), told.live())));
        let bytes = fs::read(told.path()).unwrap();
        let after_first_turn = known[0].0;
        let cut = after_first_turn + cut.index(bytes.len() + 1 - usize::try_from(after_first_turn).unwrap()) as u64;
        fs::write(told.folder.path().join("cut"), &bytes[..usize::try_from(cut).unwrap()]).unwrap();
        let recovered = read(&told.folder.path().join("cut")).unwrap();
        // One step may write several lines or none, so the first and the last matching step are compared.
        let (length, _) = known.iter().rfind(|(length, _)| *length <= cut).unwrap();
        let candidates = known.iter().filter(|(other, _)| other == length);
        let found = without_duration(recovered.conversation);
        prop_assert!(candidates.into_iter().any(|(_, live)| without_duration(live.clone()) == found));
        prop_assert_eq!(recovered.skipped_lines, 0);
    }
}
