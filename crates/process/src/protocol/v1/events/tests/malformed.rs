//! Lines that resemble opencode's output.

use super::*;
use opencode_run_core::{StepReason, ToolState};

#[track_caller]
fn assert_unknown(line: &[u8], kind: &str) {
    let event = decode(line).observed.event;
    let text = String::from_utf8_lossy(line);
    assert!(matches!(&event, Event::Unknown { kind: is, .. } if is == kind), "{text}: {event:?}");
}

#[test]
fn known_kind_in_unknown_shape_is_unknown() {
    for kind in ["text", "reasoning", "tool_use", "step_finish"] {
        for rest in [json!({}), json!({"part": null}), json!({"part": []}), json!({"part": 7}), json!({"part": "x"})] {
            let mut line = rest;
            line["type"] = kind.into();
            assert_unknown(line.to_string().as_bytes(), kind);
        }
    }
    for part in [
        json!(["p", "x"]),
        json!({"id": "p"}),
        json!({"text": "x"}),
        json!({"id": 1, "text": "x"}),
        json!({"id": "p", "text": 1}),
    ] {
        assert_unknown(json!({"type": "text", "part": part}).to_string().as_bytes(), "text");
    }
    let state = json!({"status": "dreaming", "input": {}});
    let line = json!({"type": "tool_use", "part": {"id": "p", "tool": "bash", "state": state}});
    assert_unknown(line.to_string().as_bytes(), "tool_use");
}

#[test]
fn unknown_kind_keeps_its_name() {
    assert_unknown(br#"{"type":"session.compacted","sessionID":"ses_1","x":[1]}"#, "session.compacted");
    assert_unknown(br#"{"type":""}"#, "");
}

#[test]
fn untyped_line_is_unreadable() {
    let lines: [&[u8]; 14] = [
        b"warning: something",
        b"{",
        b"{}",
        b"[]",
        // A list is not an object, although a lenient reader would take its items for fields.
        b"[\"step_start\"]",
        b" [\"text\",\"ses_1\"]",
        b"null",
        b"\"text\"",
        b"{\"type\":5}",
        b"{\"type\":\"text\"",
        b"{\"type\":\"text\"} {\"type\":\"text\"}",
        b"{\"type\":NaN}",
        b"\xff\xfe\x00",
        b"\0",
    ];
    for line in lines {
        assert_unknown(line, "unreadable");
    }
    let raw = decode(b"oh \"no\"").observed.raw.unwrap();
    assert_eq!(raw.get(), r#""oh \"no\"""#);
}

#[test]
fn invalid_utf8_is_replaced() {
    let line = b"{\"type\":\"text\",\"part\":{\"id\":\"p\",\"text\":\"a\xff\xc3b\"}}";
    let Event::Text { text, .. } = decode(line).observed.event else { panic!("it is a text") };
    assert_eq!(text, "a\u{fffd}\u{fffd}b");
}

#[test]
fn invalid_counts_do_not_hide_step_end() {
    let big = json!(1e300);
    let nonsense =
        [json!(null), json!("many"), json!([1]), json!({}), json!(-5), json!(true), big, json!("NaN"), json!(0.2)];
    for value in &nonsense {
        for part in [
            json!({"reason": "stop", "tokens": value, "cost": value}),
            json!({"reason": "stop", "tokens": {"input": value, "cache": value}, "cost": value}),
            json!({"reason": "stop", "tokens": {"input": value, "cache": {"read": value}}, "cost": value}),
        ] {
            let event = decode_json(&json!({"type": "step_finish", "part": part}));
            let Event::StepFinish { reason, usage, cost } = event else { panic!("{part}") };
            assert_eq!((reason, usage.total()), (StepReason::Stop, 0), "{part}");
            assert!(cost >= 0.0, "{part}");
        }
    }
}

#[test]
fn valid_counts_are_read() {
    let tokens = json!({"input": 12.6, "output": u64::MAX, "reasoning": 1.8e19, "cache": {"read": 3, "write": 4e19}});
    let line = json!({"type": "step_finish", "part": {"reason": "stop", "tokens": tokens, "cost": 0.25}});
    let Event::StepFinish { usage, cost, .. } = decode_json(&line) else { panic!("it is a step's end") };
    assert_eq!((usage.input, usage.output, usage.cache_read, usage.cache_write), (13, u64::MAX, 3, 0));
    assert_eq!(usage.reasoning, 18_000_000_000_000_000_000);
    assert!((cost - 0.25).abs() < f64::EPSILON);
    // Adding such numbers must not panic either.
    assert_eq!(usage.total(), u64::MAX);
}

#[test]
fn invalid_reason_is_unknown() {
    for reason in [json!(null), json!(3), json!([]), json!("unknown")] {
        let event = decode_json(&json!({"type": "step_finish", "part": {"reason": reason}}));
        assert!(matches!(event, Event::StepFinish { reason: StepReason::Unknown, .. }), "{event:?}");
    }
}

#[test]
fn error_of_any_shape_is_an_error() {
    for (error, name, message) in [
        (json!({"name": "APIError", "data": {"message": "boom"}}), "APIError", "boom"),
        (json!({"name": "X", "data": null}), "X", "{\"data\":null,\"name\":\"X\"}"),
        (json!({"name": 5, "data": {"message": ["a"]}}), "", "[\"a\"]"),
        (json!({"message": "flat"}), "", "flat"),
        (json!("just text"), "", "just text"),
        (json!(null), "", "no message"),
    ] {
        let Event::Error(reported) = decode_json(&json!({"type": "error", "error": error})) else { panic!("{error}") };
        assert_eq!((reported.name.as_str(), reported.message.as_str()), (name, message));
    }
    assert!(matches!(decode(br#"{"type":"error"}"#).observed.event, Event::Error(_)));
    let odd = json!({"statusCode": "500", "isRetryable": "yes", "metadata": null, "message": "boom"});
    let Event::Error(reported) = decode_json(&json!({"type": "error", "error": {"name": "APIError", "data": odd}}))
    else {
        panic!("it is an error")
    };
    assert_eq!((reported.status, reported.retryable, reported.url), (None, None, None));
}

#[test]
fn tool_output_may_be_json() {
    let state = |status: &str, value: Value| json!({"status": status, "input": null, "output": value, "error": value});
    let call = |state: Value| {
        let line = json!({"type": "tool_use", "part": {"id": "p", "tool": "x", "state": state}});
        let Event::Tool(call) = decode_json(&line) else { panic!("it is a call") };
        call.state
    };
    assert_eq!(
        call(state("completed", json!({"a": 1}))),
        ToolState::Completed { title: None, output: "{\"a\":1}".into() }
    );
    assert_eq!(call(state("error", json!(null))), ToolState::Failed { error: String::new(), refused: false });
}

#[test]
fn deep_nesting_is_harmless() {
    for depth in [100, 1_000, 200_000] {
        let deep = "[".repeat(depth) + &"]".repeat(depth);
        for line in [
            deep.clone(),
            format!("{{\"type\":\"new\",\"x\":{deep}}}"),
            format!("{{\"type\":\"error\",\"error\":{deep}}}"),
            format!(
                "{{\"type\":\"tool_use\",\"part\":{{\"id\":\"p\",\"tool\":\"x\",\"state\":{{\"status\":\"error\",\"input\":{deep}}}}}}}"
            ),
        ] {
            let decoded = decode(line.as_bytes());
            assert!(decoded.observed.raw.is_some());
        }
    }
}

#[test]
fn overly_nested_input_is_kept_as_text() {
    for depth in 90..125 {
        let deep = "[".repeat(depth) + &"]".repeat(depth);
        let part = format!(r#"{{"id":"p","tool":"x","state":{{"status":"pending","input":{deep}}}}}"#);
        let line = format!(r#"{{"type":"tool_use","part":{part}}}"#);
        crate::fuzzing::run_output(line.as_bytes());
        let Event::Tool(call) = decode(line.as_bytes()).observed.event else { panic!("it is a call") };
        assert_eq!(call.input.is_string(), depth > 100, "{depth}");
        assert_eq!(call.input.as_str().map_or_else(|| call.input.to_string(), str::to_owned), deep);
    }
}
