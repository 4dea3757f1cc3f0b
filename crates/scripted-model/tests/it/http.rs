//! Answers, errors and recorded requests.

use std::time::{Duration, Instant};

use crate::client::{self, SECONDS, chat, openai, streamed};
use opencode_run_scripted_model::{
    Answer, ErrorReply, Finish, ModelStartError, Options, Part, Protocol, Script, ScriptedModel, Usage, When,
};
use serde_json::{Value, json};

#[tokio::test]
async fn builtin_replies_answer_without_rules() {
    let model = ScriptedModel::start(Script::new()).unwrap();
    let answer = chat(&model, &openai("  hello\n", true)).await;
    let message = &answer["choices"][0]["message"];
    assert_eq!(message["content"], "You said: hello");
    let title = chat(&model, &openai("hello", false)).await;
    let message = &title["choices"][0]["message"];
    assert_eq!(message["content"], "Scripted session");
}

#[tokio::test]
async fn rule_serves_all_protocols() {
    let script = Script::always(Answer::text("Hi, {last_user}").usage(Usage::new(3, 4)));
    let model = ScriptedModel::start(script).unwrap();
    let tools = json!([{"name": "bash"}]);

    let (_, openai) = streamed(&model, "/v1/chat/completions", &openai("Ann", true)).await;
    assert!(openai.contains(r#""content":"Hi, Ann""#), "{openai}");
    assert!(openai.contains(r#""prompt_tokens":3"#), "{openai}");
    assert!(openai.ends_with("data: [DONE]\n\n"), "{openai}");

    let body = json!({
        "model": "claude", "stream": true, "tools": tools, "system": "be brief",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Ben"}]}],
    });
    let (content_type, anthropic) = streamed(&model, "/v1/messages", &body).await;
    assert_eq!(content_type, "text/event-stream");
    assert!(anthropic.contains(r#""text":"Hi, Ben""#), "{anthropic}");
    assert!(anthropic.contains("event: message_stop"), "{anthropic}");

    let body = json!({
        "tools": [{"functionDeclarations": tools}],
        "contents": [{"role": "user", "parts": [{"text": "Cid"}]}],
    });
    let path = "/v1beta/models/gemini:streamGenerateContent?alt=sse";
    let (_, google) = streamed(&model, path, &body).await;
    assert!(google.contains(r#""text":"Hi, Cid""#), "{google}");
    assert!(google.contains(r#""finishReason":"STOP""#), "{google}");

    let requests = model.wait_for_requests(3, SECONDS).await.unwrap();
    let seen: Vec<_> =
        requests.iter().map(|request| (request.protocol, request.model(), request.last_user_text())).collect();
    assert_eq!(
        seen,
        [
            (Some(Protocol::OpenAi), "gpt-4", "Ann".to_owned()),
            (Some(Protocol::Anthropic), "claude", "Ben".to_owned()),
            (Some(Protocol::Google), "gemini", "Cid".to_owned()),
        ]
    );
    assert!(requests.iter().all(|request| request.has_tools()));
    assert_eq!(requests[1].system_text(), "be brief");
    assert_eq!(model.disconnects(), 0);
}

#[tokio::test]
async fn tool_call_is_followed_by_result() {
    let script = Script::new()
        .rule(When::agent().after_tools(0).reply(Part::tool_call("bash", json!({"command": "pwd"}))))
        .rule(When::agent().after_tools(1).reply("Done."));
    let model = ScriptedModel::start(script).unwrap();
    let mut body = openai("where", true);
    let first = chat(&model, &body).await;
    let choice = &first["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(call["function"]["name"], "bash");
    assert_eq!(call["function"]["arguments"], r#"{"command":"pwd"}"#);

    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(choice["message"].clone());
    messages.push(json!({"role": "tool", "tool_call_id": call["id"], "content": "/tmp"}));
    let second = chat(&model, &body).await;
    assert_eq!(second["choices"][0]["message"]["content"], "Done.");
    let results = model.requests()[1].tool_results();
    assert_eq!(results[0].name.as_deref(), Some("bash"));
    assert_eq!(results[0].text, "/tmp");
}

#[tokio::test]
async fn times_is_exact_under_concurrency() {
    let script = Script::new().rule(When::agent().reply("rare").times(5));
    let model = ScriptedModel::start(script).unwrap();
    let body = openai("x", true);
    let answers = (0..40).map(|_| chat(&model, &body));
    let answers = futures_util::future::join_all(answers).await;
    let rare = |answer: &&Value| answer["choices"][0]["message"]["content"] == "rare";
    assert_eq!(answers.iter().filter(rare).count(), 5);
    assert_eq!(model.request_count(), 40);
}

#[tokio::test]
async fn error_has_status_headers_and_body() {
    let script = Script::new()
        .rule(When::any().said("limit").reply(ErrorReply::new(429).header("retry-after", "2")))
        .rule(When::any().said("html").reply(ErrorReply::new(502).body("<html>bad gateway</html>")))
        .rule(When::any().said("own").reply(ErrorReply::new(401).message("no such key")));
    let model = ScriptedModel::start(script).unwrap();
    let post = async |text| client::post(&model, "/v1/chat/completions", &openai(text, true)).await;

    let limit = post("limit").await;
    assert_eq!(limit.status(), 429);
    assert_eq!(limit.headers()["retry-after"], "2");
    let html = post("html").await;
    assert_eq!(html.status(), 502);
    assert_eq!(html.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(html.text().await.unwrap(), "<html>bad gateway</html>");
    let own = post("own").await;
    assert_eq!(own.status(), 401);
    let own: Value = own.json().await.unwrap();
    assert_eq!(own["error"]["message"], "no such key");
    assert_eq!(own["error"]["code"], "invalid_api_key");
}

#[tokio::test]
async fn unknown_endpoint_is_recorded_and_rejected() {
    let model = ScriptedModel::start(Script::new().model("gpt-4")).unwrap();
    let unknown = client::post(&model, "/v1/responses", &json!({"model": "x"})).await;
    assert_eq!(unknown.status(), 404);
    let nonsense = client::post(&model, "/v1/messages", &json!("nonsense")).await;
    assert_eq!(nonsense.status(), 400);
    let models: Value =
        client::client().get(format!("{}/models", model.base_url())).send().await.unwrap().json().await.unwrap();
    assert_eq!(models["data"][0]["id"], "gpt-4");
    let requests = model.requests();
    assert_eq!(requests[0].protocol, None);
    assert_eq!(requests[0].path, "/v1/responses");
    assert_eq!(requests[1].body, "nonsense");
    assert_eq!((requests[2].method.as_str(), &requests[2].body), ("GET", &Value::Null));
}

#[tokio::test]
async fn requests_are_kept_and_logged() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("requests.jsonl");
    let options = Options::default().kept_requests(2).log(&log);
    let model = ScriptedModel::start_with(Script::new(), &options).unwrap();
    for text in ["one", "two", "three"] {
        chat(&model, &openai(text, true)).await;
    }
    let kept: Vec<_> = model.requests().iter().map(|request| request.last_user_text()).collect();
    assert_eq!(kept, ["two", "three"]);
    assert_eq!(model.request_count(), 3);
    let first = &model.requests()[0];
    assert_eq!(first.header("Authorization"), Some("Bearer sk-test"));
    assert!(first.elapsed < Duration::from_mins(1));

    let lines = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["protocol"], "openai");
    assert_eq!(lines[0]["path"], "/v1/chat/completions");
    assert_eq!(lines[0]["body"]["model"], "gpt-4");
    assert!(lines[0]["elapsed_ms"].is_u64());
}

#[tokio::test]
async fn usage_is_absent_unless_scripted() {
    let script = Script::always(Answer::text("cut").finish(Finish::Length));
    let model = ScriptedModel::start(script).unwrap();
    let answer = chat(&model, &openai("x", true)).await;
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer.get("usage"), None);
}

#[test]
fn port_in_use_is_an_error() {
    let model = ScriptedModel::start(Script::new()).unwrap();
    let options = Options::default().port(model.address().port());
    let error = ScriptedModel::start_with(Script::new(), &options).unwrap_err();
    assert!(matches!(error, ModelStartError::Bind { .. }));
    assert_eq!(error.to_string(), format!("listen on {}", model.address()));
    let error = ScriptedModel::start(Script::always(ErrorReply::new(42))).unwrap_err();
    assert!(matches!(error, ModelStartError::Script(_)));
}

#[tokio::test]
async fn wait_times_out() {
    let model = ScriptedModel::start(Script::new()).unwrap();
    let begun = Instant::now();
    let error = model.wait_for_requests(1, Duration::from_millis(50)).await.unwrap_err();
    assert!(begun.elapsed() >= Duration::from_millis(50));
    assert_eq!(error.to_string(), "timed out after 50ms: 0 of 1 requests");
}
