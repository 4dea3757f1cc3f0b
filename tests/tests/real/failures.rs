//! Turns that fail, and their messages.

use crate::stage::{Done, Stage, shell};
use opencode_run_scripted_model::{Answer, ErrorReply, Part, Script, Usage, When};
use serde_json::{Value, json};

/// Asserts that a turn failed in this way, and returns its message.
#[track_caller]
fn failed(done: Done, kind: &str) -> (Value, String) {
    let done = done.with_code(1);
    let json = done.json();
    assert_eq!((&json["state"], &json["error"]["kind"]), (&"error".into(), &kind.into()), "{json}");
    assert!(done.stderr.contains("error: "), "{}", done.stderr);
    (json, done.stderr)
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn rejected_key_names_its_source() {
    let stage = Stage::new(Script::always(ErrorReply::new(401).message("no such key")));
    stage.dot_env("MODEL_CODE_BASEURL={url}\nMODEL_CODE_APIKEY=sk-1\nMODEL_CODE_MODEL=m\n");
    let arguments = ["--model-source-type", "code", "--output-format", "json", "--save-markdown=t.md", "hello"];
    let (json, stderr) = failed(stage.run(arguments), "provider");
    let message = json["error"]["message"].as_str().unwrap();
    assert!(message.contains("401") && message.contains("no such key"), "{message}");
    assert!(stderr.contains("`code`"), "{stderr}");
    let transcript = std::fs::read_to_string(stage.sandbox.path("workspace/t.md")).unwrap();
    assert!(transcript.contains("no such key"), "{transcript}");
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn missing_v1_in_base_url_is_suspected() {
    let stage = Stage::new(Script::always("Done."));
    let url = stage.model.base_url().replace("/v1", "");
    stage.dot_env(&format!("MODEL_DEFAULT_BASEURL={url}\nMODEL_DEFAULT_MODEL=m\n"));
    let (json, stderr) = failed(stage.run(["--output-format", "json", "hello"]), "provider");
    assert!(json["error"]["hint"].as_str().unwrap().contains("/v1"), "{json}");
    assert!(stderr.contains(&url) && stderr.contains("may lack /v1"), "{stderr}");
    assert_eq!(stage.request().path, "/chat/completions");
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn recovering_provider_is_not_failure() {
    let script = Script::new()
        .rule(When::agent().reply(ErrorReply::new(500).message("broken").header("retry-after", "1")).times(1))
        .rule(When::agent().reply("Recovered."));
    let stage = Stage::new(script);
    let done = stage.turn(["hello"]).with_code(0);
    assert_eq!((&done.json()["output"], &done.json()["error"]), (&"Recovered.".into(), &Value::Null));
    assert_eq!(stage.requests().len(), 2);
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn error_after_step_keeps_output() {
    let script =
        Script::new()
            .rule(When::agent().after_tools(0).reply(
                Answer::new([Part::text("I look."), crate::stage::bash("echo seen")]).usage(Usage::new(100, 10)),
            ))
            .rule(When::agent().after_tools(1).reply(ErrorReply::new(400).message("too much")));
    let stage = Stage::new(script);
    let (json, _) = failed(stage.turn(["look"]), "provider");
    assert_eq!((&json["output"], &json["usage"]["input"], &json["steps"]), (&"I look.".into(), &100.into(), &1.into()));
    assert!(json["session_id"].as_str().unwrap().starts_with("ses_"));
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn unknown_model_fails_with_suggestions() {
    let stage = Stage::new(Script::always("Done."));
    let (json, stderr) = failed(stage.run(["-m", "stub/gpt", "--output-format", "json", "hello"]), "model_not_found");
    let message = &json["error"]["message"];
    assert_eq!(message, "Model not found: stub/gpt. Did you mean: stub/gpt-4, stub/gpt-5?");
    assert!(stderr.contains("`opencode-run models`"), "{stderr}");
    let (json, _) = failed(stage.run(["-m", "stu/gpt-4", "--output-format", "json", "hello"]), "model_not_found");
    assert!(json["error"]["message"].as_str().unwrap().contains("Did you mean: stub/gpt-4"), "{json}");
    let done = stage.run(["-m", "gpt-4", "hello"]).with_code(2);
    assert!(done.stderr.contains("provider/model"), "{}", done.stderr);
    assert_eq!((stage.requests().len(), stage.task_dirs().len()), (0, 0), "nothing half-made is left");
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn unknown_variant_is_wrong_usage() {
    let stage = Stage::new(Script::always("Done."));
    let arguments = ["-m", "stub/gpt-4", "--variant", "nope", "--output-format", "json", "hello"];
    let done = stage.run(arguments).with_code(2);
    let json = done.json();
    let message = "the model stub/gpt-4 has no variant `nope`: it has no variants";
    assert_eq!((&json["error"]["kind"], &json["error"]["message"]), (&"usage".into(), &message.into()));
    assert_eq!((stage.requests().len(), stage.task_dirs().len()), (0, 0), "nothing half-made is left");
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn unknown_model_creates_no_session() {
    let stage = Stage::new(Script::always("Done."));
    let sessions = || {
        let mut list = stage.sandbox.command(&stage.opencode);
        let output = list.args(["session", "list", "--format", "json"]).output().unwrap();
        let list = String::from_utf8(output.stdout).unwrap();
        if list.trim().is_empty() { 0 } else { serde_json::from_str::<Vec<Value>>(&list).unwrap().len() }
    };
    let unknown = |transport: &str| {
        let arguments = ["-m", "stub/gpt", "--dir", ".", "--transport", transport, "--output-format", "json", "hello"];
        let (json, _) = failed(stage.run(arguments), "model_not_found");
        let message = json["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("Did you mean: ") && message.contains("gpt-4"), "{transport}: {message}");
    };
    unknown("serve");
    assert_eq!(sessions(), 0);
    // The documented difference: opencode's own process is not queried for models.
    unknown("run");
    assert_eq!(sessions(), 1);
    assert_eq!(stage.requests().len(), 0);
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn unknown_agent_is_wrong_usage() {
    let stage = Stage::new(Script::always("Done."));
    for agent in ["nope", "general"] {
        let done = stage.turn(["--agent", agent, "hello"]).with_code(2);
        assert_eq!(done.json()["error"]["kind"], "usage", "{}", done.stdout);
        assert!(done.stderr.contains(agent), "{}", done.stderr);
        assert_eq!(stage.requests().len(), 0, "{agent}");
    }
    stage.turn(["--agent", "plan", "hello"]).with_code(0);
    assert_eq!(stage.requests().len(), 1);
    stage.end();
}

/// A model that reads outside of its directory, repeatedly or until it is refused.
fn reads_outside(gives_up: bool) -> Script {
    let read = || Part::tool_call("read", json!({"filePath": "/etc/hostname"}));
    let script =
        if gives_up { Script::new().rule(When::agent().after_tools(1).reply("I gave up.")) } else { Script::new() };
    script.rule(When::agent().reply(vec![Part::text("I read."), read()]))
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn agent_continues_after_refused_permission() {
    let stage = Stage::new(reads_outside(true));
    let done = stage.turn(["read"]).with_code(0);
    assert_eq!(done.json()["output"], "I read.\n\nI gave up.");
    assert!(done.stderr.contains("permission refused: external_directory"), "{}", done.stderr);
    let told = stage.requests()[1].body.to_string();
    assert!(told.contains("policy does not allow it"), "{told}");
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn insisting_agent_ends_with_error() {
    let stage = Stage::new(reads_outside(false));
    let (json, stderr) = failed(stage.turn(["read"]), "permission");
    assert!(json["output"].as_str().unwrap().starts_with("I read."), "{json}");
    assert!(stderr.contains("external_directory") && stderr.contains("hint: "), "{stderr}");
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn permission_is_allowed_by_policy() {
    let stage = Stage::new(reads_outside(true));
    let host = std::fs::read_to_string("/etc/hostname").unwrap();
    for transport in ["serve", "run"] {
        let done = stage.turn(["--transport", transport, "--permission", "allow", "read"]).with_code(0);
        assert!(!done.stderr.contains("refused"), "{}", done.stderr);
        let told = stage.requests().last().unwrap().body.to_string();
        assert!(told.contains(host.trim()), "{told}");
    }
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn run_ends_on_refused_permission() {
    let stage = Stage::new(reads_outside(false));
    let (json, stderr) = failed(stage.turn(["--transport", "run", "read"]), "permission");
    assert_eq!(json["output"], "I read.");
    assert!(stderr.contains("external_directory") && stderr.contains("hint: "), "{stderr}");
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn failed_tool_does_not_fail_turn() {
    let mut stage = Stage::new(shell("echo out; exit 3", "It failed, and that is fine."));
    // A dead proxy in the environment does not block a provider on loopback.
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
        stage.sandbox.set(name, "http://127.0.0.1:9");
    }
    stage.sandbox.set("NO_PROXY", "example.com");
    let done = stage.turn(["try"]).with_code(0);
    assert_eq!(done.json()["output"], "It failed, and that is fine.");
    stage.end();
}
