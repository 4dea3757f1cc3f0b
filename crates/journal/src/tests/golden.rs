//! The format of the journal, byte by byte: every kind of line as it occurs in the files of users.
//!
//! `golden/format-1.jsonl` is never regenerated. New kinds of lines or events are appended to it; changing an
//! existing line would break all existing journals.

use super::*;
use crate::line::{FORMAT, JournalLine};
use opencode_run_core::{
    LimitKind, ModelSourceType, ModelTraffic, PermissionPolicy, PermissionRequest, ProcessExit, QuestionRequest,
    ReportedError, TurnFailure, Warning, WarningCode,
};
use std::borrow::Cow;
use std::io::Cursor;

const GOLDEN: &str = include_str!("golden/format-1.jsonl");

fn observed(event: Event) -> Observed {
    Observed::new(event)
}

fn events() -> Vec<Observed> {
    let part = |id: &str| PartId::new(id);
    let call = |state| ToolCall::new("call_1", "bash", json!({"command": "ls", "timeout": 1000}), state);
    let finish = |reason| Event::StepFinish {
        reason,
        usage: Usage { input: 1, output: 2, reasoning: 3, cache_read: 4, cache_write: 5 },
        cost: 0.25,
    };
    let ask = |id: Option<&str>, refused| {
        let ask = PermissionRequest::new("external_directory", vec!["/etc/*".to_owned()]);
        Event::Permission(ask.id(id.map(str::to_owned)).refused(refused))
    };
    let error = |status: Option<u16>, retryable: Option<bool>, url: Option<&str>| {
        let error = ReportedError::new("APIError", "overloaded");
        Event::Error(error.status(status).retryable(retryable).url(url.map(str::to_owned)))
    };
    let raw = |text: &str| RawJson::parse(text.to_owned()).unwrap();
    vec![
        observed(Event::StepStart).with_raw(raw(r#"{"type":"step_start","a":1.0}"#)),
        observed(Event::TextDelta { part: part("prt_1"), delta: "Hel".to_owned() }),
        observed(Event::Text { part: part("prt_1"), text: "Hello\n\u{2028}\u{1F600}".to_owned() }),
        observed(Event::ReasoningDelta { part: part("prt_2"), delta: "hm".to_owned() }),
        observed(Event::Reasoning { part: part("prt_2"), text: "hmm".to_owned() }),
        observed(Event::Tool(call(ToolState::Pending))),
        observed(Event::Tool(call(ToolState::Running { title: None, limit: None }))),
        observed(Event::Tool(call(ToolState::Running {
            title: Some("list".to_owned()),
            limit: Some(Duration::from_millis(1500)),
        }))),
        observed(Event::Tool(call(ToolState::Completed { title: None, output: "a\nb".to_owned() }))),
        observed(Event::Tool(call(ToolState::Completed { title: Some("list".to_owned()), output: String::new() }))),
        observed(Event::Tool(call(ToolState::Failed { error: "no".to_owned(), refused: true }))),
        observed(Event::Tool(call(ToolState::Failed { error: "gone".to_owned(), refused: false }))),
        observed(ask(Some("per_1"), false)),
        observed(ask(None, true)),
        observed(Event::Question(QuestionRequest::new("que_1", vec!["Which?".to_owned()]))),
        observed(Event::Retry { attempt: 1, message: "busy".to_owned(), next: None }),
        observed(Event::Retry { attempt: 2, message: "busy".to_owned(), next: Some(Duration::from_secs(4)) }),
        observed(error(None, None, None)),
        observed(error(Some(529), Some(true), Some("http://127.0.0.1:1/v1"))),
        observed(Event::Unknown { kind: "new".to_owned(), raw: raw(r#"{"type":"new","x":[1e3]}"#) }),
        observed(Event::StepStart).from_sub_agent(SessionId::new("ses_2")),
        observed(finish(StepReason::ToolCalls)),
        observed(finish(StepReason::Length)),
        observed(finish(StepReason::ContentFilter)),
        observed(finish(StepReason::Error)),
        observed(finish(StepReason::Unknown)),
        observed(finish(StepReason::Other("new".to_owned()))),
        observed(finish(StepReason::Stop)),
    ]
}

fn traffic() -> ModelTraffic {
    let mut traffic = ModelTraffic::new(ModelSourceType::Code);
    (traffic.requests, traffic.refused, traffic.failed) = (3, 2, 1);
    (traffic.input_tokens, traffic.output_tokens, traffic.cost_usd) = (10, 20, Some(0.5));
    (traffic.bytes_sent, traffic.bytes_received, traffic.first_byte_ms) = (100, 200, Some(7.5));
    traffic
}

fn failures() -> Vec<TurnFailure> {
    let text = || "reason".to_owned();
    vec![
        TurnFailure::ModelNotFound { message: text() },
        TurnFailure::SessionNotFound { session: SessionId::new("ses_1") },
        TurnFailure::AgentNotFound { agent: text() },
        TurnFailure::Provider { message: text(), status: Some(401), retryable: Some(false), url: Some(text()) },
        TurnFailure::Provider { message: text(), status: None, retryable: None, url: None },
        TurnFailure::Permission { what: text() },
        TurnFailure::Timeout { limit: Duration::from_millis(1500), last_seen: text() },
        TurnFailure::IdleTimeout { limit: Duration::from_secs(1), last_seen: text() },
        TurnFailure::Limit { message: text() },
        TurnFailure::Crashed { exit: ProcessExit::Code(3), stderr: text() },
        TurnFailure::Crashed { exit: ProcessExit::Signal(9), stderr: String::new() },
        TurnFailure::ServerLost { message: text() },
        TurnFailure::Schema { message: text() },
        TurnFailure::Protocol { message: text() },
        TurnFailure::Configuration { message: text() },
        TurnFailure::Opencode { message: text() },
        TurnFailure::Io { message: text() },
    ]
}

/// Returns the inputs of one turn for each possible end of a turn.
fn turns() -> Vec<Vec<Input>> {
    let mut all: Vec<_> = [Input::Session(SessionId::new("ses_1"))].into();
    all.extend(events().into_iter().map(Input::Event));
    all.extend([
        Input::Answered { id: "per_1".to_owned() },
        Input::Progress,
        Input::Dropped { bytes: 7 },
        Input::Structured(json!({"a": [1, null, 1.5e300]})),
        Input::Traffic(traffic()),
        Input::Traffic(ModelTraffic::new(ModelSourceType::Default)),
        Input::Ended(Ending::Finished),
    ]);
    let mut turns = vec![all];
    turns.push(vec![Input::Interrupt, Input::Ended(Ending::Stopped)]);
    turns.push(vec![Input::Kill, Input::Ended(Ending::Stopped)]);
    turns.push(vec![Input::LimitReached(LimitKind::Total), Input::Ended(Ending::Stopped)]);
    turns.push(vec![Input::LimitReached(LimitKind::Idle), Input::Ended(Ending::Stopped)]);
    turns.push(vec![Input::Lost]);
    turns.extend(failures().into_iter().map(|failure| vec![Input::Ended(Ending::Failed(failure))]));
    let warning = Warning::new(WarningCode::McpFailed, "no answer").hint("start it");
    turns.push(vec![Input::Event(Observed::new(Event::Warning(warning))), Input::Ended(Ending::Stopped)]);
    turns
}

fn starts() -> [TurnStart; 2] {
    let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_795_356_137_035_000_001);
    let full = Prompt::new("hi\nthere")
        .context("be brief")
        .agent("plan")
        .file("/a/b.png")
        .model("a/b".parse::<opencode_run_core::ModelName>().unwrap())
        .limits(Limits { total: Some(Duration::from_mins(10)), idle: Some(Duration::from_secs(90)) })
        .permissions(PermissionPolicy::Allow);
    [full, Prompt::new("go on")].map(|prompt| TurnStart::new(&prompt, at))
}

/// Returns the journal as written by this version.
fn written() -> String {
    let isolated = Task::new("hello", "/home/me/task_hello_0a1b2c3d").isolated(true);
    let line = |line: JournalLine<'_>| serde_json::to_string(&line).unwrap() + "\n";
    let mut text = line(JournalLine::Journal { format: FORMAT, task: Cow::Owned(isolated), session: None });
    let [full, plain] = starts();
    for (number, inputs) in turns().iter().enumerate() {
        text += &line(JournalLine::Turn(Cow::Borrowed(if number == 0 { &full } else { &plain })));
        for (at, input) in (1..).zip(inputs) {
            text += &line(JournalLine::of(Duration::from_millis(at), input).unwrap());
        }
    }
    text
}

#[test]
fn golden_lines_are_written() {
    let written = written();
    for (golden, written) in GOLDEN.lines().zip(written.lines()) {
        assert_eq!(golden, written);
    }
    assert_eq!(GOLDEN.lines().count(), written.lines().count());
}

#[test]
fn golden_lines_are_read() {
    let recovered = crate::replay::recover(Path::new("golden"), Cursor::new(GOLDEN)).unwrap();
    assert_eq!((recovered.skipped_lines, recovered.truncated_bytes), (0, 0));
    insta::assert_json_snapshot!("golden_conversation", recovered.conversation);
}

#[test]
fn lines_of_newer_versions_are_skipped() {
    let newer = GOLDEN.to_owned() + "{\"checkpoint\":{\"at\":1}}\n";
    let recovered = crate::replay::recover(Path::new("golden"), Cursor::new(newer)).unwrap();
    assert_eq!((recovered.skipped_lines, recovered.conversation.turns.len()), (1, turns().len()));
}
