//! Warnings with a code: in the JSON, and once on stderr.

use crate::support::{Case, Running, Transport};
use opencode_run_tests::script::Act;
use opencode_run_tests::serve_script::{Fault, RouteFault, Serving, TurnAct};
use serde_json::{Value, json};
use std::fs::File;
use std::process::Command;

fn run(mut command: Command) -> (Value, String) {
    let outcome = Running::spawn(&mut command).wait();
    (outcome.object(), outcome.stderr)
}

/// Asserts that there is one warning, in the JSON and on stderr.
#[track_caller]
fn assert_warning((json, stderr): &(Value, String), code: &str, text: &str) {
    let codes: Vec<_> = json["warnings"].as_array().unwrap().iter().map(|warning| warning["code"].clone()).collect();
    assert_eq!(codes, [code], "{json} {stderr}");
    assert_eq!(stderr.matches(text).count(), 1, "{stderr}");
}

/// Returns an event of the server's stream.
fn event(kind: &str, properties: &Value) -> TurnAct {
    let payload = json!({"type": kind, "properties": properties});
    TurnAct::Event { data: json!({"directory": "{{cwd}}", "payload": payload}).to_string() }
}

#[test]
fn problems_of_the_server_warn_once() {
    let failed = "Failed to load plugin x.js: it is broken";
    let acts = [
        event("session.error", &json!({"error": {"name": "UnknownError", "data": {"message": failed}}})),
        event("session.compacted", &json!({"sessionID": "{{session}}"})),
        Act::Pause { ms: 3200 }.into(),
        TurnAct::replay("1.18.33/plain-text"),
    ];
    let mut serving = Serving::doing(acts).fault(RouteFault::new("GET /mcp", Fault::Late { ms: 3100 }));
    serving.mcp.insert("tools".to_owned(), json!({"status": "failed", "error": "Connection closed"}));
    let case = Case::new(|script, _| script.on("serve", [serving.act()])).on(Transport::Serve);
    let mut git = case.sandbox.command("git");
    assert!(git.args(["init", "-q"]).status().unwrap().success());
    let mut command = case.command(&["--output-format", "json", "--dir", ".", "x"]);
    command.env("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1");
    let (json, stderr) = run(command);
    assert_eq!(json["output"], "Hello from the model.", "{stderr}");
    let mut codes: Vec<_> =
        json["warnings"].as_array().unwrap().iter().map(|warning| warning["code"].clone()).collect();
    codes.sort_by_key(ToString::to_string);
    assert_eq!(codes, ["compacted", "mcp_failed", "mcp_pending", "plugin_failed", "repository_refused"], "{stderr}");
    for text in [
        "replaced it by a summary",
        "`tools` is not available: Connection closed",
        "`tools` takes long to start",
        failed,
        "git config --global --add safe.directory",
    ] {
        assert_eq!(stderr.matches(text).count(), 1, "{text}: {stderr}");
    }
    case.sandbox.assert_nothing_alive();
}

#[test]
fn empty_stdin_warns() {
    let case = Case::replaying("1.18.33/plain-text");
    let mut command = case.command(&["--output-format", "json", "review this", "-"]);
    command.stdin(File::open("/dev/null").unwrap());
    assert_warning(&run(command), "empty_stdin", "warning: stdin is empty");
    let (json, _) = run(case.command(&["--output-format", "json", "review this"]));
    assert_eq!(json["warnings"], Value::Array(Vec::new()));
    case.sandbox.assert_nothing_alive();
}

#[test]
fn attachment_of_text_only_model_warns() {
    let case = Case::new(|script, _| script.on("serve", [Serving::replaying("1.18.33/plain-text").act()]));
    let case = case.on(Transport::Serve);
    let image = case.sandbox.path("picture.png");
    std::fs::write(&image, b"\x89PNG\r\n\x1a\n").unwrap();
    let config = case.sandbox.path("models.env");
    let source = "MODEL_DEFAULT_BASEURL=http://127.0.0.1:9/v1\nMODEL_DEFAULT_MODEL=m\n";
    let turn = || {
        let image = image.to_str().unwrap();
        let config = config.to_str().unwrap();
        run(case.command(&["--config", config, "--output-format", "json", "--file", image, "describe"]))
    };
    std::fs::write(&config, source).unwrap();
    assert_warning(&turn(), "attachment_not_sent", "set MODEL_DEFAULT_INPUT=text,image");
    std::fs::write(&config, format!("{source}MODEL_DEFAULT_INPUT=text,image\n")).unwrap();
    let (json, stderr) = turn();
    assert_eq!(json["warnings"], Value::Array(Vec::new()), "{stderr}");
    case.sandbox.assert_nothing_alive();
}
