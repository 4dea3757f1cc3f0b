use super::*;

fn meaning(data: &str) -> Meaning {
    read(SseEvent { name: b"", data: Some(data.as_bytes()) }, &mut ToolCalls::default())
}

#[test]
fn message_end_is_recognised_in_each_format() {
    for (data, finishes, ends_stream) in [
        ("[DONE]", false, true),
        (r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#, true, false),
        (r#"{"choices":[{"delta":{"content":"x"},"finish_reason":null}]}"#, false, false),
        (r#"{"choices":[],"usage":{"prompt_tokens":1}}"#, false, false),
        (r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}"#, true, false),
        (r#"{"type":"message_delta","delta":{"stop_reason":null}}"#, false, false),
        (r#"{"type":"message_stop"}"#, false, true),
        (r#"{"type":"response.completed","response":{"error":null}}"#, true, true),
        (r#"{"type":"response.incomplete","response":{}}"#, true, true),
        (r#"{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"}]}"#, true, false),
        (r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#, true, false),
        (r#"{"choices":[{"delta":{"content":"[DONE] \"finish_reason\":\"stop\""}}]}"#, false, false),
    ] {
        let meaning = meaning(data);
        assert_eq!((meaning.finishes, meaning.ends_stream, meaning.fault), (finishes, ends_stream, None), "{data}");
    }
    let large = read(SseEvent { name: b"response.completed", data: None }, &mut ToolCalls::default());
    assert!(large.finishes && large.is_uncertain);
}

#[test]
fn only_model_output_is_content() {
    for data in [
        r#"{"choices":[{"delta":{"content":"x"}}]}"#,
        r#"{"choices":[{"delta":{"content":"\ud83d"}}]}"#,
        r#"{"choices":[{"delta":{"reasoning_content":" "}}]}"#,
        r#"{"choices":[{"delta":{"reasoning_details":[{"type":"t","text":"x"}]}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{"}}]}}]}"#,
        r#"{"choices":[{"text":"x"}]}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{"}}"#,
        r#"{"type":"response.output_text.delta","delta":"x"}"#,
        r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}],"role":"model"}}]}"#,
    ] {
        assert!(meaning(data).has_content, "{data}");
    }
    for data in [
        r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#,
        r#"{"choices":[{"delta":{"content":null,"tool_calls":[]}}]}"#,
        r#"{"choices":[{"delta":{}}]}"#,
        r#"{"choices":[]}"#,
        r#"{"type":"ping"}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""}}"#,
        r#"{"type":"response.in_progress","response":{"id":"x"}}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":""}],"role":"model"}}]}"#,
        r#"{"candidates":[{"content":{"role":"model"}}]}"#,
        "",
    ] {
        let meaning = meaning(data);
        assert_eq!((meaning.has_content, meaning.fault), (false, None), "{data}");
    }
}

#[test]
fn stream_errors_are_parsed() {
    for (data, words) in [
        (r#"{"error":{"message":"boom","code":502}}"#, "boom"),
        (r#"{"error":"boom"}"#, "boom"),
        (r#"{"error":{"code":7}}"#, r#"{"code":7}"#),
        (r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, "Overloaded"),
        (r#"{"type":"error","message":"boom","code":"x"}"#, "boom"),
        (r#"{"type":"response.failed","response":{"error":{"message":"boom"}}}"#, "boom"),
        (r#"{"choices":[{"delta":{"content":""},"finish_reason":"error"}],"error":{"message":"boom"}}"#, "boom"),
    ] {
        let meaning = meaning(data);
        assert_eq!(meaning.fault, Some(AnswerFault::Error { message: words.to_owned() }), "{data}");
        assert!(meaning.ends_stream, "{data}");
    }
    for data in [r#"{"error":null,"choices":[]}"#, r#"{"error":{},"choices":[]}"#, r#"{"error":"","choices":[]}"#] {
        assert_eq!(meaning(data).fault, None, "{data}");
    }
}

#[test]
fn malformed_event_is_reported() {
    let cut = "{\"choices";
    assert!(matches!(meaning(cut).fault, Some(AnswerFault::NotJson { words }) if words == cut));
    assert!(matches!(meaning("<html>").fault, Some(AnswerFault::NotJson { .. })));
    assert!(matches!(meaning(r#"{"foo":1}"#).fault, Some(AnswerFault::Malformed { .. })));
    let mut calls = ToolCalls::default();
    let mut call = |data: &str| read(SseEvent { name: b"", data: Some(data.as_bytes()) }, &mut calls).fault;
    let begins = r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f"}}]}}]}"#;
    let goes_on = r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}}]}"#;
    let late = r#"{"choices":[{"delta":{"tool_calls":[{"index":1,"function":{"arguments":""}}]}}]}"#;
    assert_eq!((call(begins), call(goes_on)), (None, None));
    assert!(matches!(call(late), Some(AnswerFault::Malformed { what, .. }) if what.contains("tool call")));
}
