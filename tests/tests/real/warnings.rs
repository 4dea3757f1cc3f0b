//! Each warning code on the real opencode, on as few servers as possible.

use crate::stage::{Running, Stage};
use opencode_run_scripted_model::{Answer, ErrorReply, Finish, Part, Script, When};
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::Duration;

/// The messages of the chat, each with the codes of its turn.
const TURNS: [(&str, &[&str]); 5] = [
    ("empty", &["empty_answer", "mcp_failed", "mcp_pending", "plugin_failed", "repository_refused"]),
    ("reason", &["only_reasoning"]),
    ("cut", &["answer_cut"]),
    ("filtered", &["answer_filtered"]),
    ("oversized", &["compacted"]),
];

fn sorted_codes(result: &Value) -> Vec<String> {
    let warnings = result["warnings"].as_array().unwrap();
    let mut codes: Vec<_> = warnings.iter().map(|warning| warning["code"].as_str().unwrap().to_owned()).collect();
    codes.sort();
    codes
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn each_warning_is_reported_once() {
    let finish = |message: &str, finish| When::agent().said(message).reply(Answer::text("half").finish(finish));
    let script = Script::new()
        .rule(When::agent().said("empty").reply(Answer::text("")))
        .rule(When::agent().said("reason").reply(Answer::new([Part::reasoning("hm")])))
        .rule(finish("cut", Finish::Length))
        .rule(finish("filtered", Finish::ContentFilter))
        .rule(When::agent().said("oversized").reply(ErrorReply::new(413).message("request too large")).times(1))
        .rule(When::agent().reply(Answer::text("the answer")));
    let mut stage = Stage::new(script);
    let plugin = stage.write("broken.js", "throw new Error('it is broken')");
    let local = |command: &[&str]| json!({"type": "local", "command": command});
    stage.configure(&json!({
        "mcp": {"broken": local(&["false"]), "slow": local(&["sleep", "4"])},
        "plugin": [format!("file://{}", plugin.display())],
    }));
    let mut git = stage.sandbox.command("git");
    assert!(git.args(["init", "-q"]).status().unwrap().success());

    let arguments = ["chat", "-m", "stub/gpt-4", "--dir", ".", "--output-format", "json"];
    let mut command = stage.command(arguments);
    command.env("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1").stdin(Stdio::piped());
    // With plugins, opencode waits for the installation of a package.
    command.env("npm_config_registry", "http://127.0.0.1:9/").env("npm_config_fetch_retries", "0");
    let mut chat = Running::start(command);
    chat.say(&TURNS.map(|(message, _)| message).join("\n"));
    // An answer that was cut off by a filter is a failure.
    let done = chat.end().with_code(1);

    let results: Vec<Value> = done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(results.len(), TURNS.len(), "{}", done.stdout);
    for (result, (message, codes)) in results.iter().zip(TURNS) {
        let mut codes = codes.to_vec();
        if message == "empty" {
            // Both MCP servers end.
            codes.insert(1, "mcp_failed");
        }
        assert_eq!(sorted_codes(result), codes, "{message}: {result} {}", done.stderr);
        for warning in result["warnings"].as_array().unwrap() {
            let text = warning["message"].as_str().unwrap();
            assert_eq!(done.stderr.matches(text).count(), 1, "{text}: {}", done.stderr);
        }
    }
    assert_eq!(results[4]["output"], "the answer", "without the summary: {}", results[4]);
    stage.sandbox.assert_nothing_alive();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn warnings_about_inputs_are_in_the_result() {
    // `opencode run` prints this text in one line, which is longer than the limit.
    let text = Part::chunked_text("x".repeat(17 << 20), 4 << 20, Duration::ZERO);
    // A tool follows, because opencode exits without waiting until all is printed.
    let tool = Part::tool_call("bash", json!({"command": "true", "description": "Do nothing"}));
    let script = Script::new()
        .rule(When::agent().after_tools(0).reply(Answer::new([text, tool])))
        .rule(When::agent().reply(Answer::text("done")));
    let stage = Stage::new(script);
    stage.dot_env("MODEL_DEFAULT_BASEURL={url}\nMODEL_DEFAULT_MODEL=gpt-4\nMODEL_DEFAULT_APIKEY=k\n");
    let paper = stage.write("paper.pdf", "%PDF-1.7\n");
    let options = ["--transport", "run", "--output-format", "json", "--file", paper.to_str().unwrap()];
    let done = stage.run(options.into_iter().chain(["describe", "-"])).with_code(0);
    let codes = sorted_codes(&done.json());
    assert_eq!(codes, ["attachment_not_sent", "empty_stdin", "output_dropped"], "{}", done.stderr);
    assert_eq!(done.stderr.matches("1 message of opencode was dropped (").count(), 1, "{}", done.stderr);
    stage.end();
}
