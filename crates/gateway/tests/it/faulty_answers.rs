//! Answers with a success status that do not have the requested format.

use std::time::Duration;

use opencode_run_gateway::{AnswerFault, GatewayOptions, Protocol};

use tokio::io::AsyncWriteExt;

use crate::support::{Answer, EVENTS, KEY, Recorder, Server, Setup, chunk, post, read_request, upstream};

const STREAM: &str = r#"{"model":"m","stream":true}"#;
const WHOLE: &str = r#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":2}}"#;
const GOOD: &str =
    "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

/// Sends `times` requests to an upstream, and returns the last answer and the number of requests that arrived.
async fn asked(times: usize, content_type: &'static str, body: &'static str) -> (Setup, Answer, usize) {
    let provider = Recorder::new(200, content_type, body).await;
    let setup = Setup::new(&provider.server.url());
    let mut answer = post(&setup.path, "chat/completions", STREAM).await;
    for _ in 1..times {
        answer = post(&setup.path, "chat/completions", STREAM).await;
    }
    (setup, answer, provider.seen().len())
}

#[tokio::test]
async fn non_stream_is_rejected_with_its_text() {
    for (content_type, body, kind, words) in [
        (
            "text/html",
            "<!doctype html><title>Sign in</title>",
            "gateway_not_a_stream",
            "a web page instead of a stream of events: Sign in",
        ),
        (
            "text/event-stream",
            "\n <html><h1>Portal</h1>",
            "gateway_not_a_stream",
            "a web page instead of a stream of events: Portal",
        ),
        (
            "application/json",
            WHOLE,
            "gateway_not_a_stream",
            "a whole JSON answer instead of a stream of events: {\"choices\"",
        ),
        (
            "text/plain",
            "model is loading",
            "gateway_not_a_stream",
            "plain text instead of a stream of events: model is loading",
        ),
        ("application/json", r#"{"error":{"message":"quota is used up"}}"#, "gateway_not_a_stream", "quota is used up"),
        ("application/json", r#"{"detail":"not here"}"#, "gateway_not_a_stream", "a whole JSON answer"),
    ] {
        let (setup, answer, requests) = asked(1, content_type, body).await;
        answer.assert_fault(421, kind);
        let fault = setup.lease.answer_fault().unwrap().to_string();
        assert!(fault.contains(words), "{fault}");
        assert_eq!((requests, setup.path.traffic().failed), (1, 1), "{body}");
    }
}

#[tokio::test]
async fn rejected_answer_still_counts_tokens() {
    let (setup, _, _) = asked(1, "application/json", WHOLE).await;
    let traffic = setup.path.traffic();
    assert_eq!((traffic.tokens.input, traffic.tokens.output, traffic.unreported), (5, 2, 0));
}

#[tokio::test]
async fn fault_text_is_redacted() {
    let page: &'static str = Box::leak(format!("<html>your key {KEY} is wrong").into_boxed_str());
    let (setup, answer, _) = asked(1, "text/html", page).await;
    let fault = format!("{:?}", setup.lease.answer_fault());
    assert!(fault.contains("[redacted]") && !fault.contains(KEY) && !answer.text().contains(KEY), "{fault}");
}

#[tokio::test]
async fn third_request_after_faults_is_rejected() {
    for (body, fault) in [
        ("", AnswerFault::Empty),
        (": hi\n\n: hi\n\n", AnswerFault::Empty),
        ("data: [DONE]\n\n", AnswerFault::Empty),
        (
            "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\ndata: [DONE]\n\n",
            AnswerFault::Empty,
        ),
        ("data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\ndata: [DONE]\n\n", AnswerFault::NoFinishReason),
        ("data: {\"choices\n\n", AnswerFault::NotJson { words: "{\"choices".to_owned() }),
    ] {
        let (setup, answer, requests) = asked(3, "text/event-stream", body).await;
        answer.assert_fault(421, "gateway_faulty_answers");
        assert_eq!((requests, setup.path.traffic().refused), (2, 1), "{body}");
        assert_eq!(setup.lease.answer_fault(), Some(fault), "{body}");
    }
}

#[tokio::test]
async fn undeclared_stream_is_accepted() {
    for content_type in ["text/plain", "application/octet-stream", "application/json", "text/html"] {
        let (setup, answer, _) = asked(4, content_type, GOOD).await;
        assert_eq!((answer.status, answer.text()), (200, GOOD), "{content_type}");
        assert_eq!(setup.lease.answer_fault(), None, "{content_type}");
    }
}

#[tokio::test]
async fn non_streaming_request_accepts_any_answer() {
    let provider = Recorder::new(200, "application/json", WHOLE).await;
    for (protocol, path, body) in [
        (Protocol::OpenAiCompatible, "chat/completions", "{}"),
        (Protocol::OpenAiCompatible, "embeddings", STREAM),
        (Protocol::Google, "models/m:streamGenerateContent", "{}"),
        (Protocol::Other, "chat/completions", STREAM),
    ] {
        let setup = Setup::with(GatewayOptions::default(), &upstream(&provider.server.url(), protocol));
        for _ in 0..3 {
            let answer = post(&setup.path, path, body).await;
            assert_eq!((answer.status, answer.text()), (200, WHOLE), "{path}");
        }
    }
}

#[tokio::test]
async fn stream_error_is_recorded_as_fault() {
    let body = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\ndata: {\"error\":{\"message\":\"GPU fell over\"}}\n\n";
    let (setup, answer, requests) = asked(4, "text/event-stream", body).await;
    assert_eq!(
        (answer.status, answer.whole, requests),
        (200, true, 4),
        "whether to ask again is for the client to say"
    );
    assert_eq!(setup.lease.answer_fault(), Some(AnswerFault::Error { message: "GPU fell over".to_owned() }));
}

#[tokio::test]
async fn valid_answer_resets_fault() {
    let provider = Recorder::new(200, "text/html", "<html>").await;
    let setup = Setup::new(&provider.server.url());
    post(&setup.path, "chat/completions", STREAM).await;
    assert!(setup.lease.answer_fault().is_some());
    assert_eq!(post(&setup.path, "chat/completions", "{}").await.status, 200);
    assert_eq!(setup.lease.answer_fault(), None);
}

/// Sends the same chunk forever.
async fn endless(first: &'static str, piece: &'static str) -> Server {
    Server::tcp(move |mut stream| async move {
        read_request(&mut stream).await;
        let begun = format!("{EVENTS}{}", chunk(first));
        let mut result = stream.write_all(begun.as_bytes()).await;
        while result.is_ok() {
            result = stream.write_all(chunk(piece).as_bytes()).await;
        }
    })
    .await
}

#[tokio::test]
async fn endless_answers_are_aborted_without_retry() {
    let mut options = GatewayOptions::default();
    (options.max_event_bytes, options.max_answer_bytes) = (1 << 20, 4 << 20);
    for (first, piece, what) in [
        ("data: ", "xxxxxxxxxxxxxxxx", "an event"),
        ("data: x\n", "data: xxxxxxxxxxxx\n", "an event"),
        (": ", "xxxxxxxxxxxxxxxx", "an event"),
        (": x\n\n", ": xxxxxxxxxx\n\n", "the answer"),
        (": x\n\n", "data: {\"choices\":[{\"delta\":{\"content\":\"xxxxxxxxxxxxxxxx\"}}]}\n\n", "the answer"),
    ] {
        let server = endless(first, piece).await;
        let setup = Setup::with(options.clone(), &upstream(&server.url(), Protocol::OpenAiCompatible));
        let answer = post(&setup.path, "chat/completions", STREAM).await;
        assert_eq!((answer.status, answer.whole), (200, false), "{piece}");
        let max_bytes = if what == "an event" { 1 << 20 } else { 4 << 20 };
        // Line feeds do not count as content.
        assert!(answer.body.len() as u64 <= 2 * max_bytes, "{piece}");
        assert_eq!(setup.lease.answer_fault(), Some(AnswerFault::TooLong { what, max_bytes }), "{piece}");
        post(&setup.path, "chat/completions", STREAM).await.assert_fault(421, "gateway_faulty_answers");
        let traffic = setup.path.traffic();
        assert_eq!((traffic.requests, traffic.failed, traffic.running), (1, 1, 0), "{piece}");
    }
}

/// Sends a request through the protocol and returns the number of pieces of the answer that count as content.
async fn content_of(protocol: Protocol, body: &'static str) -> u64 {
    let provider = Recorder::new(200, "text/event-stream", body).await;
    let setup = Setup::with(GatewayOptions::default(), &upstream(&provider.server.url(), protocol));
    let bytes = setup.budget.watch_bytes();
    let content = setup.budget.watch_content();
    let route = match protocol {
        Protocol::Anthropic => "messages",
        Protocol::Google => "models/m:streamGenerateContent",
        _ => "chat/completions",
    };
    post(&setup.path, route, STREAM).await;
    assert_eq!(*bytes.borrow(), body.len() as u64, "{protocol:?}: {body}");
    *{ content }.borrow()
}

#[tokio::test]
async fn only_model_output_wakes_content_watchers() {
    const PROTOCOLS: [Protocol; 4] =
        [Protocol::OpenAiCompatible, Protocol::Anthropic, Protocol::Google, Protocol::Other];
    let empty = [
        ": hi\n\n",
        "event: ping\ndata: {\"type\":\"ping\"}\n\n",
        "data: {\"type\":\"keepalive\",\"sequence_number\":7}\n\n",
        "data: {\"id\":\"7\",\"model\":\"m\",\"status\":\"queued\",\"text\":\"\"}\n\n",
        "data:\n\n",
        "data: {}\n\ndata: null\n\ndata: 7\n\n",
        "data: {\"choices\":[]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":null,\"reasoning_content\":\"\"}}]}\n\n",
        "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"\"}}\n\n",
        "data: {\"type\":\"content_block_start\",\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        "data: {\"type\":\"response.in_progress\",\"response\":{\"id\":\"7\",\"status\":\"in_progress\"}}\n\n",
        "data: {\"type\":\"response.output_text.delta\",\"delta\":\"\"}\n\n",
        "data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"\"}]}}]}\n\n",
    ];
    for protocol in PROTOCOLS {
        for body in empty {
            assert_eq!(content_of(protocol, body).await, 0, "{protocol:?}: {body}");
        }
        assert!(content_of(protocol, GOOD).await > 0, "{protocol:?}");
    }
    // The format of another provider package.
    let other = "data: {\"type\":\"token\",\"output\":{\"text\":\"hello\"}}\n\n";
    assert_eq!(content_of(Protocol::Other, other).await, 1);
}

#[tokio::test]
async fn repeated_message_end_is_not_progress() {
    let server = Server::tcp(|mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(EVENTS.as_bytes()).await.ok();
        for _ in 0..5 {
            let end = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
            stream.write_all(chunk(end).as_bytes()).await.ok();
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        stream.write_all(b"0\r\n\r\n").await.ok();
    })
    .await;
    let setup = Setup::new(&server.url());
    let content = setup.budget.watch_content();
    post(&setup.path, "chat/completions", STREAM).await;
    assert_eq!(*content.borrow(), 1);
}
