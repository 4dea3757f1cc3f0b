use serde_json::json;

use super::*;
use crate::Usage;

const PROTOCOLS: [Protocol; 3] = [Protocol::OpenAi, Protocol::Anthropic, Protocol::Google];

fn lay_out(protocol: Protocol, streaming: bool, answer: &Answer) -> AnswerPlan {
    let head = Head { model: "gpt-4".into(), number: 7, created: 1_700_000_000, usage: answer.usage };
    let placeholders = Placeholders { last_user: "hello".into(), turn: 2 };
    plan(protocol, streaming, head, answer, &placeholders)
}

/// Reasoning, a chunked text, two tool calls, and tokens of every kind.
fn rich_answer() -> Answer {
    Answer::new([
        Part::reasoning("hm"),
        Part::chunked_text("{last_user} ünd {turn}", 5, Duration::from_millis(3)),
        Part::tool_call("bash", json!({"command": "pwd"})),
        Part::tool_call("read", json!({"path": "a"})),
    ])
    .usage(Usage::new(100, 20).reasoning(7).cache_read(30).cache_write(11))
}

/// Returns the steps as received by a client, with pauses in brackets.
fn transcript(plan: &AnswerPlan) -> String {
    let steps = plan.steps.iter().map(|step| match step {
        Step::Send(text) => text.replace('\r', "\\r"),
        other => format!("[{other:?}]\n"),
    });
    format!("{} {}\n\n", plan.status, plan.content_type) + &steps.collect::<String>()
}

#[test]
fn openai_stream_has_its_wire_format() {
    insta::assert_snapshot!(transcript(&lay_out(Protocol::OpenAi, true, &rich_answer())));
}

#[test]
fn anthropic_stream_has_its_wire_format() {
    insta::assert_snapshot!(transcript(&lay_out(Protocol::Anthropic, true, &rich_answer())));
}

#[test]
fn google_stream_has_its_wire_format() {
    insta::assert_snapshot!(transcript(&lay_out(Protocol::Google, true, &rich_answer())));
}

#[test]
fn unstreamed_answers_have_their_wire_formats() {
    let answers = PROTOCOLS.map(|protocol| {
        let plan = lay_out(protocol, false, &rich_answer());
        let [Step::Pause(time), Step::Send(json)] = plan.steps.as_slice() else { panic!("{:?}", plan.steps) };
        // Three chunks of at most five characters have two intervals.
        assert_eq!(*time, Duration::from_millis(6));
        serde_json::from_str::<serde_json::Value>(json).unwrap()
    });
    insta::assert_json_snapshot!(answers);
}

#[test]
fn error_in_stream_has_protocol_format() {
    let answer = Answer::new([Part::text("a"), Part::stream_error("overloaded"), Part::text("b")]);
    let streams = PROTOCOLS.map(|protocol| transcript(&lay_out(protocol, true, &answer)));
    insta::assert_snapshot!(streams.join("\n----\n"));
    for protocol in PROTOCOLS {
        let plan = lay_out(protocol, false, &answer);
        assert_eq!(plan.status, 500);
        assert!(matches!(&plan.steps[..], [Step::Send(body)] if body.contains("overloaded")));
    }
}

#[test]
fn parts_after_an_early_end_are_not_sent() {
    for protocol in PROTOCOLS {
        for (part, end) in
            [(Part::drop_connection(), Some(Step::Cut)), (Part::stall(), Some(Step::Stall)), (Part::end_early(), None)]
        {
            let answer = Answer::new([Part::text("a"), part, Part::text("b")]);
            let mut steps = lay_out(protocol, true, &answer).steps;
            if end.is_some() {
                assert_eq!(steps.pop(), end, "{protocol:?}");
            }
            assert_eq!(steps.len(), 2, "{protocol:?}: {steps:?}");
            let whole = lay_out(protocol, false, &answer).steps;
            assert_eq!(whole.last() == Some(&Step::Stall), end == Some(Step::Stall));
            if let Some(Step::Send(json)) = whole.first() {
                assert!(serde_json::from_str::<serde_json::Value>(json).is_err());
            }
        }
    }
}

#[test]
fn finish_reasons_have_protocol_names() {
    let names = |protocol| {
        [Finish::Stop, Finish::ToolCalls, Finish::Length, Finish::ContentFilter].map(|finish| {
            let answer = Answer::text("a").finish(finish);
            let plan = lay_out(protocol, false, &answer);
            let Some(Step::Send(json)) = plan.steps.last() else { panic!("{:?}", plan.steps) };
            let json: serde_json::Value = serde_json::from_str(json).unwrap();
            let name = match protocol {
                Protocol::OpenAi => &json["choices"][0]["finish_reason"],
                Protocol::Anthropic => &json["stop_reason"],
                Protocol::Google => &json["candidates"][0]["finishReason"],
            };
            name.as_str().unwrap().to_owned()
        })
    };
    assert_eq!(names(Protocol::OpenAi), ["stop", "tool_calls", "length", "content_filter"]);
    assert_eq!(names(Protocol::Anthropic), ["end_turn", "tool_use", "max_tokens", "refusal"]);
    assert_eq!(names(Protocol::Google), ["STOP", "STOP", "MAX_TOKENS", "SAFETY"]);
}

#[test]
fn chunks_are_counted_in_characters() {
    let words = Words::new("").chunked(2, Duration::ZERO);
    assert_eq!(chunks("äöü", &words), ["äö", "ü"]);
    assert_eq!(chunks("abcd", &words), ["ab", "cd"]);
    assert!(chunks("", &words).is_empty());
    assert_eq!(chunks("abc", &Words::new("")), ["abc"]);
}
