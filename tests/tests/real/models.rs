//! Model sources of OpenAI-compatible providers, and the choice of a turn's model.

use crate::stage::Stage;
use opencode_run_scripted_model::Script;
use serde_json::json;

const SOURCES: &str = "
MODEL_CODE_BASEURL={url}
MODEL_CODE_APIKEY=sk-of-code
MODEL_CODE_MODEL=meta/llama-3
MODEL_CODE_TEMPERATURE=0.3
MODEL_CODE_MAX_TOKENS=1234
MODEL_CODE_TOP_P=0.85
MODEL_CODE_TOP_K=17

MODEL_WRITE_BASEURL={url}
MODEL_WRITE_APIKEY=sk-of-write
MODEL_WRITE_MODEL=writer
MODEL_WRITE_MAX_TOKENS=50000
MODEL_WRITE_CONTEXT=200000

MODEL_DEFAULT_BASEURL={url}
MODEL_DEFAULT_MODEL=plain
";

fn answering() -> Script {
    Script::always("Done.")
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn source_settings_reach_the_model() {
    let stage = Stage::new(answering());
    stage.dot_env(SOURCES);
    let done = stage.run(["--model-source-type", "code", "hello"]).with_code(0);
    let request = stage.request();
    assert_eq!(request.path, "/v1/chat/completions");
    assert_eq!(request.header("authorization"), Some("Bearer sk-of-code"));
    assert_eq!(request.model(), "meta/llama-3");
    for (parameter, value) in [("temperature", 0.3), ("max_tokens", 1234.0), ("top_p", 0.85), ("top_k", 17.0)] {
        assert_eq!(request.body[parameter].as_f64(), Some(value), "{parameter} in {}", request.body);
    }
    let host = stage.model.address().to_string();
    for told in [".env", "code: meta/llama-3", "write: writer", "default: plain", &host] {
        assert!(done.stderr.contains(told), "{told} is not in {}", done.stderr);
    }
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn large_token_limit_reaches_the_model() {
    let mut stage = Stage::new(answering());
    // A user who enables only some providers still gets that of the source.
    stage.configure(&json!({"enabled_providers": ["stub"], "agent": {"build": {"prompt": "PROMPT-OF-THE-USER"}}}));
    stage.dot_env(SOURCES);
    stage.run(["--model-source-type", "write", "-m", "stub/gpt-5", "hello"]).with_code(0);
    stage.run(["--model-source-type", "write", "hello"]).with_code(0);
    stage.run(["hello"]).with_code(0);
    let requests = stage.requests();
    assert_eq!(requests.iter().map(|request| request.model()).collect::<Vec<_>>(), ["gpt-5", "writer", "plain"]);
    assert_eq!(requests[1].body["max_tokens"], 50_000);
    assert_eq!(requests[1].header("authorization"), Some("Bearer sk-of-write"));
    assert_eq!(requests[2].header("authorization"), None, "a source without a key sends none");
    for request in &requests[1..] {
        assert!(request.system_text().contains("PROMPT-OF-THE-USER"));
        for parameter in ["temperature", "top_p", "top_k"] {
            assert_eq!(request.body.get(parameter), None, "{parameter} in {}", request.body);
        }
    }
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn role_without_source_falls_back() {
    let stage = Stage::new(answering());
    stage.write("named.env", &SOURCES.replace("{url}", &stage.model.base_url()));
    let only_code = SOURCES.split("MODEL_WRITE").next().unwrap().replace("{url}", &stage.model.base_url());
    stage.write("code.env", &only_code);
    stage.run(["--config", "../named.env", "--model-source-type", "plan", "hello"]).with_code(0);
    assert_eq!(stage.request().model(), "plain");
    let none = stage.run(["--config", "../code.env", "--model-source-type", "plan", "hello"]).with_code(3);
    assert!(none.stderr.contains("`plan`") && none.stderr.contains("configured: code"), "{}", none.stderr);
    let none = stage.run(["--model-source-type", "plan", "hello"]).with_code(3);
    assert!(none.stderr.contains("no source is configured"), "{}", none.stderr);
    let wrong = stage.run(["--model-source-type", "cdoe", "hello"]).with_code(2);
    assert!(wrong.stderr.contains("plan"), "{}", wrong.stderr);
    stage.dot_env(SOURCES);
    let unread = stage.turn(["--no-env", "--model-source-type", "plan", "hello"]).with_code(0);
    assert_eq!(unread.json()["model"], "stub/gpt-4");
    assert!(!unread.stderr.contains(".env"), "{}", unread.stderr);
    assert_eq!(stage.requests().len(), 2);
    assert_eq!(stage.task_dirs().len(), 2, "a refused turn leaves no directory");
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn named_env_file_is_strict() {
    let stage = Stage::new(answering());
    let file = stage.sandbox.path("named.env");
    for (text, told) in [
        ("MODEL_CODE_MODEL=a/b\nMODEL_CODE_TEMPERATURE=hot\n", ":2"),
        ("MODEL_CODE_BASEURL=http://127.0.0.1:1/v1\n", "MODEL_CODE_MODEL"),
        ("MODEL_CDOE_MODEL=a/b\n", "MODEL_CODE_MODEL"),
        ("MODEL_CODE_MODEL=a/b\nMODEL_CODE_TOP_K=5\n", "TOP_K"),
        ("\u{fffd}", "named.env"),
    ] {
        let bytes = if text.starts_with('M') { text.as_bytes() } else { b"MODEL_CODE_MODEL=\xff\n" };
        std::fs::write(&file, bytes).unwrap();
        let done = stage.turn(["--config", "../named.env", "hello"]).with_code(3);
        assert_eq!(done.json()["error"]["kind"], "config");
        assert!(done.stderr.contains("named.env") && done.stderr.contains(told), "{told}: {}", done.stderr);
    }
    // In an auto-discovered file, an ambiguous setting is a warning.
    stage.dot_env("DATABASE=x\nMODEL_CDOE_MODEL=a/b\n");
    let done = stage.turn(["hello"]).with_code(0);
    assert!(done.stderr.contains("MODEL_CODE_MODEL") && !done.stderr.contains("DATABASE"), "{}", done.stderr);
    assert_eq!(stage.requests().len(), 1);
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn unreadable_user_configuration_is_not_quoted() {
    let mut stage = Stage::new(answering());
    stage
        .sandbox
        .set("OPENCODE_CONFIG_CONTENT", "{\"provider\": {\"x\": {\"options\": {\"apiKey\": \"sk-1234\"}}} oops}");
    let done = stage.turn(["--context", "x", "hello"]).with_code(3);
    assert_eq!(done.json()["error"]["kind"], "config");
    assert!(done.stderr.contains("OPENCODE_CONFIG_CONTENT") && !done.stderr.contains("sk-1234"), "{}", done.stderr);
    assert_eq!((stage.requests().len(), stage.task_dirs().len()), (0, 0));
    stage.end();
}
