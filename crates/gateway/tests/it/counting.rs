//! Usage counting in each protocol, streamed and not.

use opencode_run_gateway::{GatewayOptions, Prices, Protocol, Upstream};

use crate::support::{EVENTS, Recorder, Server, Setup, chunk, post, upstream};

#[tokio::test]
async fn tokens_of_all_protocols_are_counted() {
    for (protocol, rest, kind, body, expected) in [
        (
            Protocol::OpenAiCompatible,
            "chat/completions",
            "application/json",
            r#"{"choices":[{"message":{"content":"\"usage\":{\"prompt_tokens\":9}"}}],
                "usage":{"prompt_tokens":100,"completion_tokens":20,"completion_tokens_details":{"reasoning_tokens":5}}}"#,
            (100, 20, 5),
        ),
        (
            Protocol::OpenAiCompatible,
            "chat/completions",
            "text/event-stream",
            "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n\
             data: {\"choices\":[],\"usage\":{\"prompt_tokens\":100,\"completion_tokens\":20}}\n\ndata: [DONE]\n\n",
            (100, 20, 0),
        ),
        (
            Protocol::OpenAiCompatible,
            "responses",
            "text/event-stream; charset=utf-8",
            "event: response.completed\ndata: {\"response\":{\"output\":[],\"usage\":{\"input_tokens\":100,\
             \"output_tokens\":20,\"output_tokens_details\":{\"reasoning_tokens\":5}}}}\n\n",
            (100, 20, 5),
        ),
        (
            Protocol::Anthropic,
            "messages",
            "application/json",
            r#"{"content":[],"usage":{"input_tokens":40,"cache_read_input_tokens":60,"output_tokens":20}}"#,
            (100, 20, 0),
        ),
        (
            Protocol::Anthropic,
            "messages",
            "text/event-stream",
            "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":40,\"cache_read_input_tokens\":60,\
             \"output_tokens\":1}}}\n\nevent: message_delta\ndata: {\"usage\":{\"output_tokens\":20}}\n\n",
            (100, 20, 0),
        ),
        (
            Protocol::Google,
            "models/g:generateContent",
            "application/json",
            "{\n  \"candidates\": [],\n  \"usageMetadata\": {\n    \"promptTokenCount\": 100,\n    \
             \"candidatesTokenCount\": 15,\n    \"thoughtsTokenCount\": 5\n  }\n}",
            (100, 20, 5),
        ),
        (
            Protocol::Google,
            "models/g:streamGenerateContent?alt=sse",
            "text/event-stream",
            "data: {\"usageMetadata\":{\"promptTokenCount\":100,\"candidatesTokenCount\":1}}\r\n\r\n\
             data: {\"usageMetadata\":{\"promptTokenCount\":100,\"candidatesTokenCount\":15,\"thoughtsTokenCount\":5}}\r\n\r\n",
            (100, 20, 5),
        ),
    ] {
        let provider = Recorder::new(200, kind, body).await;
        let prices = Some(Prices { input: 10_000.0, output: 100_000.0 });
        let setup =
            Setup::with(GatewayOptions::default(), &Upstream { prices, ..upstream(&provider.server.url(), protocol) });
        for _ in 0..2 {
            assert_eq!(post(&setup.path, rest, "{}").await.text(), body);
        }
        for traffic in [setup.path.traffic(), setup.lease.traffic(), setup.budget.traffic()] {
            let tokens = traffic.tokens;
            assert_eq!((tokens.input / 2, tokens.output / 2, tokens.reasoning / 2), expected, "{rest} {kind}");
            assert!((traffic.cost_usd.unwrap() - 6.0).abs() < 1e-9, "{traffic:?}");
            assert_eq!((traffic.requests, traffic.unreported, traffic.running), (2, 0, 0));
            assert_eq!((traffic.bytes_sent, traffic.bytes_received), (4, 2 * body.len() as u64));
            assert_eq!(traffic.first_byte.answers, 2);
            assert!(traffic.first_byte.sum_ms >= traffic.first_byte.last_ms && traffic.first_byte.last_ms > 0.0);
        }
    }
}

#[tokio::test]
async fn aborted_answer_counts_reported_tokens() {
    let start = "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":40,\"output_tokens\":1}}}\n\n";
    let server = Server::bytes(format!("{EVENTS}{}", chunk(start))).await;
    let setup = Setup::with(GatewayOptions::default(), &upstream(&server.url(), Protocol::Anthropic));
    assert!(!post(&setup.path, "messages", "{}").await.whole);
    let traffic = setup.budget.traffic();
    assert_eq!((traffic.tokens.input, traffic.tokens.output, traffic.failed), (40, 1, 1));
}

#[tokio::test]
async fn unreported_tokens_are_counted() {
    let provider = Recorder::new(200, "text/event-stream", "data: {\"choices\":[],\"usage\":null}\n\n").await;
    let setup = Setup::new(&provider.server.url());
    setup.chat().await;
    post(&setup.path, "embeddings", "{}").await;
    let traffic = setup.budget.traffic();
    assert_eq!((traffic.requests, traffic.unreported, traffic.tokens.total()), (2, 1, 0));
    assert_eq!(traffic.cost_usd, None);
}

#[tokio::test]
async fn embeddings_count_tokens() {
    let provider = Recorder::new(200, "application/json", "{\"usage\":{\"prompt_tokens\":8,\"total_tokens\":8}}").await;
    let setup = Setup::new(&provider.server.url());
    post(&setup.path, "embeddings", "{}").await;
    assert_eq!(setup.budget.traffic().tokens.input, 8);
}

#[tokio::test]
async fn only_answers_wake_progress_watchers() {
    for (status, answered) in [(200, 2), (429, 0), (500, 0)] {
        let provider = Recorder::new(status, "application/json", "{}").await;
        let setup = Setup::new(&provider.server.url());
        let mut bytes = setup.budget.watch_bytes();
        assert!(!bytes.has_changed().unwrap());
        setup.chat().await;
        assert_eq!(bytes.has_changed().unwrap(), answered > 0, "{status}");
        assert_eq!(*bytes.borrow_and_update(), answered, "{status}");
        assert_eq!(setup.budget.traffic().bytes_received, 2, "{status}");
    }
}

#[tokio::test]
async fn traffic_serialises_to_json() {
    let provider = Recorder::new(200, "application/json", "{\"usage\":{\"prompt_tokens\":7}}").await;
    let setup = Setup::new(&provider.server.url());
    setup.chat().await;
    let json = serde_json::to_value(setup.budget.traffic()).unwrap();
    assert_eq!((&json["requests"], &json["tokens"]["input"]), (&1.into(), &7.into()));
    assert!(json["cost_usd"].is_null() && json["first_byte"]["last_ms"].is_f64(), "{json}");
}
