//! An HTTP client and its requests.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails the test")]

use std::time::Duration;

use opencode_run_scripted_model::ScriptedModel;
use serde_json::{Value, json};

/// A timeout that is longer than anything here takes.
pub(crate) const SECONDS: Duration = Duration::from_secs(10);

/// Returns a client without a connection pool, so that dropping a response closes its connection.
pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap()
}

/// Returns a streaming request of the OpenAI-compatible protocol.
pub(crate) fn openai(text: &str, tools: bool) -> Value {
    let mut body = json!({
        "model": "gpt-4",
        "stream": true,
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": text}],
    });
    if tools {
        body["tools"] = json!([{"type": "function", "function": {"name": "bash"}}]);
    }
    body
}

/// Sends a request; `path` begins after the port.
pub(crate) async fn post(model: &ScriptedModel, path: &str, body: &Value) -> reqwest::Response {
    client()
        .post(format!("http://{}{path}", model.address()))
        .header("Authorization", "Bearer sk-test")
        .json(body)
        .send()
        .await
        .unwrap()
}

/// Sends a chat request without streaming, and returns the answer.
pub(crate) async fn chat(model: &ScriptedModel, body: &Value) -> Value {
    let mut body = body.clone();
    body["stream"] = Value::Bool(false);
    let response = post(model, "/v1/chat/completions", &body).await;
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

/// Sends a request, and returns the answer's content type and its whole body.
pub(crate) async fn streamed(model: &ScriptedModel, path: &str, body: &Value) -> (String, String) {
    let response = post(model, path, body).await;
    assert_eq!(response.status(), 200);
    let content_type = response.headers()["content-type"].to_str().unwrap();
    let content_type = content_type.to_owned();
    (content_type, response.text().await.unwrap())
}
